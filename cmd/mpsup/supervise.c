/*
 * mpsup supervise: the supervisor itself. Hidden: the keeper starts it, with its socket on KEEPER_SUPERVISOR_FD.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "mpsup/cmd.h"
#include "sup/sup.h"

/* What lib/keeper/keeper.h says of the descriptors that the keeper hands down. */
enum { SOCKET_FD = 3, READY_FD = 4 };

static struct {
	const char *name;
	const char *dir;
	bool foreground;
	bool ready;
} settings;

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	(void)err;
	if (strcmp(o->name, "name") == 0)
		settings.name = value;
	else if (strcmp(o->name, "dir") == 0)
		settings.dir = value;
	else if (strcmp(o->name, "foreground") == 0)
		settings.foreground = true;
	else
		settings.ready = true;
	return 0;
}

static int supervise(struct conf *conf, struct sup_heritage *heritage, bool insecure,
		     bool is_ready_open)
{
	struct sup_options o = {
		.conf = conf,
		.heritage = heritage,
		.name = settings.name,
		.dir = settings.dir,
		.foreground = settings.foreground,
		.keeper_fd = SOCKET_FD,
		.insecure = insecure,
		.ready_fd = settings.ready && is_ready_open ? READY_FD : -1,
	};
	struct err err = ERR_INIT;
	int r;

	r = sup_run(&o, &err);
	return r < 0 ? cmd_fail(EXIT_GENERIC, &err) : r;
}

static int run(struct cmd_context *ctx)
{
	struct sup_heritage heritage;
	struct err err = ERR_INIT;
	struct conf *conf = NULL;
	bool is_ready_open;
	socklen_t n = sizeof(int);
	int type, r;

	if (settings.name == NULL || settings.dir == NULL || ctx->config == NULL ||
	    getsockopt(SOCKET_FD, SOL_SOCKET, SO_TYPE, &type, &n) < 0) {
		err_set(&err, 0,
			"supervise is started by mpsup itself; use 'mpsup start' or 'mpsup run'");
		return cmd_fail(EXIT_USAGE, &err);
	}
	fd_set_cloexec(SOCKET_FD, true);
	is_ready_open = fd_set_cloexec(READY_FD, true) == 0;
	r = sup_load(ctx->config, ctx->insecure, &heritage, &conf, &err);
	if (r < 0) {
		r = cmd_fail(EXIT_GENERIC, &err);
	} else if (r == 0 && conf->n_errors > 0) {
		err_set(&err, 0, "%s has errors; 'mpsup check' shows them", ctx->config);
		r = cmd_fail(EXIT_GENERIC, &err);
	} else {
		r = supervise(TAKE_PTR(conf), &heritage, ctx->insecure, is_ready_open);
	}
	conf_free(conf);
	buf_fini(&heritage.record);
	return r;
}

static const struct cmd_option options[] = {
	{ 0, "name", "NAME", "name of the instance" },
	{ 0, "dir", "DIR", "its runtime directory" },
	{ 0, "foreground", NULL, "pass the output of the programs through" },
	{ 0, "ready", NULL, "say 'R' on descriptor 4 when ready" },
	{ 0 },
};

const struct cmd cmd_supervise = {
	.name = "supervise",
	.args = "",
	.summary = "be the supervisor (the keeper starts it)",
	.flags = CMD_CONFIG | CMD_HIDDEN,
	.options = options,
	.on_option = on_option,
	.run = run,
};
