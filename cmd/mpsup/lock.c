/*
 * mpsup lock: one command while holding a lock.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/types.h"
#include "mpsup/hold.h"
#include "mpsup/cmd.h"
#include "mpsup/command.h"
#include "mpsup/reach.h"
#include "mpsup/verbs.h"

static int64_t timeout = INT64_MAX;
static bool shared;

static struct reach reach = { .remote = true };

static const struct cmd_option options[] = {
	{ 't', "timeout", "SECONDS", "wait so long, then exit with 124; 0 = do not wait" },
	{ 's', "shared", NULL, "others may hold it with --shared at the same time" },
	{ 'm', "manager", "MANAGER", "of this manager (NAME or address): any client of it" },
	{ 0, "authkey-file", "FILE", "the key that this manager asks for" },
	{ 0 },
};

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	if (strcmp(o->name, "manager") == 0 || strcmp(o->name, "authkey-file") == 0) {
		*(o->name[0] == 'm' ? &reach.manager : &reach.key_file) = value;
		return 0;
	}
	if (strcmp(o->name, "shared") == 0) {
		shared = true;
		return 0;
	}
	return type_time(value, &timeout, err) < 0 ? err_prefix(err, EXIT_USAGE, "--timeout: ") : 0;
}

static void on_wait(const struct hold *c)
{
	char holder[256];

	if (!isatty(STDERR_FILENO))
		return;
	hold_holder(c, holder, sizeof(holder));
	fprintf(stderr, "mpsup: lock: waiting%s\n", holder);
}

/* 0, or an exit code with err. */
static int take(struct hold *hold, struct cmd_context *ctx, struct err *err)
{
	int r;

	if (reach.manager != NULL && shared)
		return err_set(err, EXIT_USAGE, "a manager's locks are not --shared");
	if (reach.manager != NULL)
		return hold_object(hold, &reach, ctx, ctx->argv[0], 0, timeout, on_wait, err);
	r = hold_lock(hold, ctx->argv[0], shared, timeout, on_wait, err);
	return r == -ETIMEDOUT ? EXIT_TIMEOUT : r == -EINVAL ? EXIT_USAGE : r < 0 ? EXEC_FAILED : 0;
}

static int run(struct cmd_context *ctx)
{
	struct front_options front = COMMAND_OPTIONS("lock");
	struct hold hold = HOLD_INIT;
	struct err err = ERR_INIT;
	int r;

	if (ctx->argc < 2) {
		err_set(&err, 0,
			"lock needs a name and a command (such as: mpsup lock deploy -- make "
			"install)");
		return cmd_fail(EXIT_USAGE, &err);
	}
	front_open_standard();
	r = take(&hold, ctx, &err);
	if (r != 0) {
		err_prefix(&err, 0, "lock %s: ", ctx->argv[0]);
		return cmd_fail(r, &err);
	}
	front.hold = hold.fd;
	front.argv = ctx->argv + 1;
	r = command_run(&front, true);
	hold_end(&hold);
	return r;
}

const struct cmd cmd_lock = {
	.name = "lock",
	.args = "NAME [--] COMMAND [ARGUMENT...]",
	.summary = "run one command while holding a lock",
	.help = "Of all commands with a lock of this name, which are this user's on this\n"
		"machine, one runs at a time. It is run as by `mpsup exec`, and the lock is free\n"
		"again when it and all that it has started is gone, whoever is killed. Exits\n"
		"with the command's status, 124 when the lock was not free in time, 125 to 127\n"
		"as exec.",
	.flags = CMD_NAMED | CMD_CONFIG,
	.options = options,
	.on_option = on_option,
	.run = run,
};
