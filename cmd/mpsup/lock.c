/*
 * mpsup lock: one command while holding a lock.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/types.h"
#include "mpsup/claim.h"
#include "mpsup/cmd.h"
#include "mpsup/command.h"
#include "mpsup/verbs.h"

static int64_t timeout = INT64_MAX;
static bool shared;

static const struct cmd_option options[] = {
	{ 't', "timeout", "SECONDS", "wait so long at most, and exit with 124; 0 = do not wait" },
	{ 's', "shared", NULL, "others may hold it with --shared at the same time" },
	{ 0 },
};

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	if (strcmp(o->name, "shared") == 0) {
		shared = true;
		return 0;
	}
	return type_time(value, &timeout, err) < 0 ? err_prefix(err, EXIT_USAGE, "--timeout: ") : 0;
}

static void on_wait(const struct claim *c)
{
	char holder[256];

	if (!isatty(STDERR_FILENO))
		return;
	claim_holder(c, holder, sizeof(holder));
	fprintf(stderr, "mpsup: lock: waiting%s\n", holder);
}

static int run(struct cmd_context *ctx)
{
	struct front_options front = COMMAND_OPTIONS("lock");
	struct claim claim = CLAIM_INIT;
	struct err err = ERR_INIT;
	int r;

	if (ctx->argc < 2) {
		err_set(&err, 0,
			"lock needs a name and a command (such as: mpsup lock deploy -- make "
			"install)");
		return cmd_fail(EXIT_USAGE, &err);
	}
	front_open_standard();
	r = claim_lock(&claim, ctx->argv[0], shared, timeout, on_wait, &err);
	if (r < 0) {
		err_prefix(&err, 0, "lock %s: ", ctx->argv[0]);
		return cmd_fail(r == -ETIMEDOUT ? EXIT_TIMEOUT
				: r == -EINVAL	? EXIT_USAGE
						: EXEC_FAILED,
				&err);
	}
	front.hold = claim.fd;
	front.argv = ctx->argv + 1;
	r = command_run(&front, true);
	claim_end(&claim);
	return r;
}

const struct cmd cmd_lock = {
	.name = "lock",
	.args = "NAME [--] COMMAND [ARGUMENT...]",
	.summary = "run one command while holding a lock",
	.help = "Of all commands with a lock of this name, which are this user's on this machine, "
		"one runs at a time. It is run "
		"as by\n"
		"`mpsup exec`, and the lock is free again when it and all that it has started is "
		"gone, whoever is killed. Exits "
		"with\n"
		"the command's status, 124 when the lock was not free in time, 125 to 127 as exec.",
	.flags = CMD_NAMED,
	.options = options,
	.on_option = on_option,
	.run = run,
};
