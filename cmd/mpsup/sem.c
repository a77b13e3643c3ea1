/*
 * mpsup sem: one command while holding a unit of a semaphore.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/types.h"
#include "mpsup.h"
#include "mpsup/hold.h"
#include "mpsup/cmd.h"
#include "mpsup/command.h"
#include "mpsup/reach.h"
#include "mpsup/verbs.h"

static int64_t timeout = INT64_MAX;
static int64_t units;

static struct reach reach = { .remote = true };

static const struct cmd_option options[] = {
	{ 'n', "units", "N", "so many commands run at a time (1 to 120)" },
	{ 't', "timeout", "SECONDS", "wait so long, then exit with 124; 0 = do not wait" },
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
	if (strcmp(o->name, "timeout") == 0)
		return type_time(value, &timeout, err) < 0
			       ? err_prefix(err, EXIT_USAGE, "--timeout: ")
			       : 0;
	if (type_integer(value, &units) < 0 || units < 1 || units > MPS_SEMAPHORE_HOLDERS_MAX)
		return err_set(err, EXIT_USAGE, "--units: '%s' is no number from 1 to %d", value,
			       MPS_SEMAPHORE_HOLDERS_MAX);
	return 0;
}

static void on_wait(const struct hold *c)
{
	(void)c;
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "mpsup: sem: waiting, all %d units are held\n", (int)units);
}

/* 0, or an exit code with err. */
static int take(struct hold *hold, struct cmd_context *ctx, struct err *err)
{
	int r;

	if (reach.manager != NULL)
		return hold_object(hold, &reach, ctx, ctx->argv[0], (uint32_t)units, timeout,
				   on_wait, err);
	r = hold_unit(hold, ctx->argv[0], (uint32_t)units, timeout, on_wait, err);
	return r == -ETIMEDOUT ? EXIT_TIMEOUT : r == -EINVAL ? EXIT_USAGE : r < 0 ? EXEC_FAILED : 0;
}

static int run(struct cmd_context *ctx)
{
	struct front_options front = COMMAND_OPTIONS("sem");
	struct hold hold = HOLD_INIT;
	struct err err = ERR_INIT;
	int r;

	if (ctx->argc < 2 || units == 0) {
		err_set(&err, 0,
			"sem needs a name, -n and a command (such as: mpsup sem uploads -n 4 -- "
			"curl ...)");
		return cmd_fail(EXIT_USAGE, &err);
	}
	front_open_standard();
	r = take(&hold, ctx, &err);
	if (r != 0) {
		err_prefix(&err, 0, "sem %s: ", ctx->argv[0]);
		return cmd_fail(r, &err);
	}
	front.hold = hold.fd;
	front.argv = ctx->argv + 1;
	r = command_run(&front, true);
	hold_end(&hold);
	return r;
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
