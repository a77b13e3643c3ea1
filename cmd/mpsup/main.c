/*
 * mpsup: the options before the verb, the verb, its options, and the exit code. What verbs there are is cmd.c's list.
 */
#include <errno.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/title.h"
#include "base/xalloc.h"
#include "mpsup/cmd.h"
#include "mpsup/front.h"
#include "sup/sup.h"

static int usage_error(const struct cmd *cmd, const struct err *err)
{
	fprintf(stderr, "mpsup: %s%s%s\n", cmd ? cmd->name : "", cmd ? ": " : "", err->text);
	fprintf(stderr, "try 'mpsup %s%s--help'\n", cmd ? cmd->name : "", cmd ? " " : "");
	return EXIT_USAGE;
}

/* What was printed must have arrived: a full disk is no success. */
static int finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	fprintf(stderr, "mpsup: cannot write the output: %s\n", strerror(errno));
	return code == EXIT_OK ? EXIT_GENERIC : code;
}

static int status_of_failure = EXIT_GENERIC;

/*
 * What was printed until then is, and the terminal is given back. By one thread: exit(3) is not for
 * two, and another that fails meanwhile waits for the end.
 */
static void out_of_memory(void)
{
	static const char text[] = "mpsup: out of memory\n";
	static atomic_flag is_begun = ATOMIC_FLAG_INIT;
	static _Thread_local bool is_ours;

	if (is_ours)
		abort(); /* in what exit(3) calls */
	while (atomic_flag_test_and_set(&is_begun))
		pause();
	is_ours = true;
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	exit(status_of_failure);
}

int main(int argc, char **argv)
{
	struct cmd_context ctx = { 0 };
	struct err err = ERR_INIT;
	const struct cmd *cmd;
	int r;

	xalloc_on_failure(out_of_memory);
	buf_on_failure(xalloc_failed);
	json_set_alloc_funcs(xmalloc, free);
	sup_own_memory();
	title_init(argc, argv);
	r = cmd_options(NULL, argc, argv, &ctx, &err);
	if (r == CMD_DONE)
		return finish(EXIT_OK);
	if (r != 0)
		return usage_error(NULL, &err);
	if (ctx.argc == 0) {
		cmd_overview(stderr);
		return EXIT_USAGE;
	}
	cmd = cmd_find(ctx.argv[0], &err);
	if (cmd == NULL)
		return usage_error(NULL, &err);
	if (cmd->flags & (CMD_COMMAND | CMD_NAMED))
		status_of_failure = EXEC_FAILED;
	r = cmd_options(cmd, ctx.argc, ctx.argv, &ctx, &err);
	if (r == CMD_DONE)
		return finish(EXIT_OK);
	if (r != 0)
		return usage_error(cmd, &err);
	return finish(cmd->run(&ctx));
}
