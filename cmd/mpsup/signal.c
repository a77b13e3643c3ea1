/*
 * mpsup signal: sends a signal to programs.
 */
#include "base/sig.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/outcome.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

static int send_signal(struct client *client, struct cmd_context *ctx, const char *signal_name)
{
	struct outcome outcome = {
		.done = "signalled",
		.no_group = EXIT_GENERIC,
		.json = ctx->json,
	};

	return outcome_of(client, "signal",
			  json_pack("{s:o, s:s}", "targets", connect_names(ctx), "signal",
				    signal_name),
			  &outcome);
}

static int run(struct cmd_context *ctx)
{
	struct err err = ERR_INIT;
	struct client *client;
	const char *signal_name;
	int r;

	if (ctx->argc < 2) {
		err_set(&err, 0, "signal needs a signal and a name: mpsup signal HUP web");
		return cmd_fail(EXIT_USAGE, &err);
	}
	signal_name = ctx->argv[0];
	ctx->argc--;
	ctx->argv++;
	if (sig_parse(signal_name) < 0) {
		err_set(&err, 0, "'%s' is no signal (such as HUP, USR1 or 15)", signal_name);
		return cmd_fail(EXIT_GENERIC, &err);
	}
	r = connect_open(ctx, &client, &err);
	if (r < 0)
		return cmd_fail(connect_exit_code(r), &err);
	r = send_signal(client, ctx, signal_name);
	client_close(client);
	return r;
}

const struct cmd cmd_signal = {
	.name = "signal",
	.args = "SIGNAL NAME...",
	.summary = "send a signal to programs",
	.help = "SIGNAL is a name (HUP, SIGHUP) or a number.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.run = run,
};
