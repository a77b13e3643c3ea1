/*
 * mpsup tell: a program, or a script that is one, tells its supervisor something.
 */
#include <string.h>

#include "base/buf.h"
#include "mpsup/cmd.h"
#include "mpsup/verbs.h"
#include "sup/tell.h"

static int join(const struct cmd_context *ctx, struct buf *text, struct err *err)
{
	for (int i = 0; i < ctx->argc; i++) {
		const char *equals = strchr(ctx->argv[i], '=');

		if (equals == NULL || equals == ctx->argv[i] || strchr(ctx->argv[i], '\n') != NULL)
			return err_set(err, EXIT_USAGE,
				       "'%.60s' is not VARIABLE=VALUE (such as READY=1)",
				       ctx->argv[i]);
		buf_addf(text, "%s%s", i > 0 ? "\n" : "", ctx->argv[i]);
	}
	return text->len > 0
		       ? 0
		       : err_set(err, EXIT_USAGE, "tell needs VARIABLE=VALUE: mpsup tell READY=1");
}

static int run(struct cmd_context *ctx)
{
	struct err err = ERR_INIT;
	AUTO_BUF text = BUF_INIT;
	int r = join(ctx, &text, &err);

	if (r == 0 && !text.failed)
		r = tell_supervisor(text.p, &err) < 0 ? EXIT_GENERIC : 0;
	return r != 0 ? cmd_fail(r, &err) : EXIT_OK;
}

const struct cmd cmd_tell = {
	.name = "tell",
	.args = "VARIABLE=VALUE...",
	.summary = "inside a program: say that it is ready, or what to restart",
	.help = "READY=1, STATUS=TEXT, WATCHDOG=1 and others as of sd_notify(3); START=, STOP=,\n"
		"RESTART= and KILL=NAME, where control= of the program allows it. NAME 1 is the\n"
		"program itself. Exits 0 when it has been read, whether it could be done or\n"
		"not: the log tells that. See mpsup-worker(7).",
	.run = run,
};
