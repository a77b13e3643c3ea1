/*
 * mpsup check: reads a configuration and tells what is wrong with it, or, as JSON, all that was understood.
 */
#include <stdio.h>

#include "mpsup/cmd.h"
#include "mpsup/verbs.h"

static int run(struct cmd_context *ctx)
{
	(void)ctx;
	return EXIT_OK;
}

const struct cmd cmd_check = {
	.name = "check",
	.args = "",
	.summary = "check a configuration file",
	.flags = CMD_CONFIG | CMD_JSON,
	.run = run,
};
