/*
 * mpsup lock: one command while holding a lock.
 */
#include <string.h>

#include "mpsup/cmd.h"
#include "mpsup/hold.h"
#include "mpsup/verbs.h"

static struct hold_verb verb = HOLD_VERB("lock");

static const struct cmd_option options[] = {
	{ 't', "timeout", "SECONDS", "wait so long, then exit with 124; 0 = do not wait" },
	{ 's', "shared", NULL, "others may hold it with --shared at the same time" },
	{ 'm', "manager", "MANAGER", "of this manager (NAME or address): any client of it" },
	{ 0, "authkey-file", "FILE", "the key that this manager asks for" },
	{ 0 },
};

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	if (strcmp(o->name, "shared") != 0)
		return hold_on_option(&verb, o, value, err);
	verb.shared = true;
	return 0;
}

static int run(struct cmd_context *ctx)
{
	struct err err = ERR_INIT;

	if (ctx->argc >= 2)
		return hold_run(&verb, ctx);
	err_set(&err, 0,
		"lock needs a name and a command (such as: mpsup lock deploy -- make install)");
	return cmd_fail(EXIT_USAGE, &err);
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
