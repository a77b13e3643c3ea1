/*
 * mpsup help: the list of verbs, or all about one.
 */
#include <stdio.h>

#include "mpsup/cmd.h"
#include "mpsup/verbs.h"

static int run(struct cmd_context *ctx)
{
	struct err err = ERR_INIT;

	if (ctx->argc == 0) {
		cmd_overview(stdout);
		return EXIT_OK;
	}
	for (int i = 0; i < ctx->argc; i++) {
		const struct cmd *cmd = cmd_find(ctx->argv[i], &err);

		if (cmd == NULL)
			return cmd_fail(EXIT_USAGE, &err);
		if (i > 0)
			printf("\n");
		cmd_usage(cmd, stdout);
	}
	return EXIT_OK;
}

const struct cmd cmd_help = {
	.name = "help",
	.args = "[VERB...]",
	.summary = "list the verbs, or explain some of them",
	.run = run,
};
