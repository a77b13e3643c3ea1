/*
 * mpsup exec: one command under a keeper of its own. What it does is command.c's and front.c's: here are the options.
 */
#include <string.h>

#include "base/cleanup.h"
#include "conf/types.h"
#include "mpsup/cmd.h"
#include "mpsup/command.h"
#include "mpsup/verbs.h"

static struct front_options front = COMMAND_OPTIONS("exec");
static bool tracks = true;

static const struct cmd_option options[] = {
	{ 't', "timeout", "SECONDS", "end it after this time, and exit with 124; 0 = never" },
	{ 'g', "grace", "SECONDS", "between TERM and KILL of what is left (default: 0.5)" },
	{ 0, "track", "HOW", "find its IPC objects by preload (default), scan or off" },
	{ 0 },
};

static int set_track(const char *value, struct err *err)
{
	static const char *const words[] = { "preload", "scan", "off" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(value, words[i]) == 0) {
			tracks = i < 2;
			front.preload = i == 0;
			return 0;
		}
	return err_set(err, EXIT_USAGE, "--track '%s' is none of preload, scan, off", value);
}

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	int r;

	if (strcmp(o->name, "track") == 0)
		return set_track(value, err);
	r = type_time(value, strcmp(o->name, "grace") == 0 ? &front.grace.ns : &front.timeout.ns,
		      err);
	return r < 0 ? err_prefix(err, EXIT_USAGE, "--%s: ", o->name) : 0;
}

static int run(struct cmd_context *ctx)
{
	struct err err = ERR_INIT;

	if (ctx->argc == 0) {
		err_set(&err, 0, "exec needs a command (such as: mpsup exec -- make test)");
		return cmd_fail(EXIT_USAGE, &err);
	}
	front.argv = ctx->argv;
	return command_run(&front, tracks);
}

const struct cmd cmd_exec = {
	.name = "exec",
	.args = "[--] COMMAND [ARGUMENT...]",
	.summary = "run one command, and leave nothing of it behind",
	.help = "For CI jobs, entry points of containers and scripts: no configuration and no\n"
		"daemon. The command has this terminal, these signals and these descriptors;\n"
		"its exit status is the result (128 + N for signal N). When it is over,\n"
		"whatever it has started ends too. Exits with 127 when the command is not\n"
		"found, 126 when it cannot be executed, 124 when it was ended by --timeout (137\n"
		"when it took a KILL), 125 when mpsup fails.",
	.flags = CMD_COMMAND,
	.options = options,
	.on_option = on_option,
	.run = run,
};
