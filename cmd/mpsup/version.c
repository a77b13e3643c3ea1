/*
 * mpsup version: what this is, in one line.
 */
#include <stdio.h>

#include "mpsup/cmd.h"
#include "mpsup/verbs.h"

static int run(struct cmd_context *ctx)
{
	if (cmd_takes_nothing(ctx, "version") != EXIT_OK)
		return EXIT_USAGE;
	if (ctx->json)
		printf("{\"version\":\"%s\"}\n", MPSUP_VERSION);
	else
		printf("mpsup %s\n", MPSUP_VERSION);
	return EXIT_OK;
}

const struct cmd cmd_version = {
	.name = "version",
	.args = "",
	.summary = "print the version",
	.flags = CMD_JSON,
	.run = run,
};
