/*
 * mpsup run: the supervisor in the foreground, in the place of this process.
 */
#include "base/cleanup.h"
#include "mpsup/cmd.h"
#include "mpsup/launch.h"
#include "mpsup/verbs.h"

static int run(struct cmd_context *ctx)
{
	struct launch l = LAUNCH_INIT;
	AUTO_FREE char *config = NULL;
	struct err err = ERR_INIT;
	int r;

	if (ctx->argc > 0) {
		err_set(&err, 0, "run takes no names; it starts what has autostart");
		return cmd_fail(EXIT_USAGE, &err);
	}
	r = cmd_config_path(ctx, &config, &err);
	if (r < 0)
		return cmd_fail(EXIT_GENERIC, &err);
	r = launch_prepare(&l, config, ctx->insecure);
	if (r == 0)
		r = launch_exec(&l);
	launch_fini(&l);
	return r;
}

const struct cmd cmd_run = {
	.name = "run",
	.args = "",
	.summary = "run the programs in the foreground",
	.help = "For containers and terminals: the supervisor stays in the foreground. The\n"
		"output of the programs goes to standard output and error, with their names,\n"
		"its log to standard error. SIGTERM or SIGINT ends all.",
	.flags = CMD_CONFIG,
	.run = run,
};
