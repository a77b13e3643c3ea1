/*
 * mpsup sem: one command while holding a unit of a semaphore.
 */
#include <string.h>

#include "conf/types.h"
#include "mpsup.h"
#include "mpsup/cmd.h"
#include "mpsup/hold.h"
#include "mpsup/verbs.h"

static struct hold_verb verb = HOLD_VERB("sem");

static const struct cmd_option options[] = {
	{ 'n', "units", "N", "so many commands run at a time (1 to 120)" },
	{ 't', "timeout", "SECONDS", "wait so long, then exit with 124; 0 = do not wait" },
	{ 'm', "manager", "MANAGER", "of this manager (NAME or address): any client of it" },
	{ 0, "authkey-file", "FILE", "the key that this manager asks for" },
	{ 0 },
};

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	int64_t units;

	if (strcmp(o->name, "units") != 0)
		return hold_on_option(&verb, o, value, err);
	if (type_integer(value, &units) < 0 || units < 1 || units > MPS_SEMAPHORE_HOLDERS_MAX)
		return err_set(err, EXIT_USAGE, "--units: '%s' is no number from 1 to %d", value,
			       MPS_SEMAPHORE_HOLDERS_MAX);
	verb.units = (uint32_t)units;
	return 0;
}

static int run(struct cmd_context *ctx)
{
	struct err err = ERR_INIT;

	if (ctx->argc >= 2 && verb.units > 0)
		return hold_run(&verb, ctx);
	err_set(&err, 0,
		"sem needs a name, -n and a command (such as: mpsup sem uploads -n 4 -- curl ...)");
	return cmd_fail(EXIT_USAGE, &err);
}

const struct cmd cmd_sem = {
	.name = "sem",
	.args = "NAME -n N [--] COMMAND [ARGUMENT...]",
	.summary = "run one command when fewer than N of its kind run",
	.help = "Of all commands with a semaphore of this name, which are this user's on this\n"
		"machine, N run at a time; N is the same for all as long as one of them runs or\n"
		"waits. It is run as by `mpsup exec`; its place is free when it ends, whoever is\n"
		"killed. Exits with the command's status, 124 when there was no place in time,\n"
		"125 to 127 as exec.",
	.flags = CMD_NAMED | CMD_CONFIG,
	.options = options,
	.on_option = on_option,
	.run = run,
};
