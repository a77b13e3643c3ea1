/*
 * mpsup stop: stops programs; without a name everything, the supervisor too.
 */
#include "mpsup/change.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/halt.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

static int stop(struct client **client, struct cmd_context *ctx, bool *ret_lost)
{
	struct change change = {
		.method = "stop",
		.no_wait = change_no_wait(),
		.outcome = { .done = change_no_wait() ? "stopping" : "stopped",
			     .harmless = FAULT_NOT_RUNNING,
			     .no_group = EXIT_GENERIC,
			     .json = ctx->json },
	};
	json_t *targets = connect_names(ctx);

	if (ctx->argc == 0)
		json_array_append_new(targets, json_string("all"));
	return change_run(client, ctx, &change, targets, ret_lost);
}

static int stop_all(struct client **client, struct cmd_context *ctx)
{
	bool lost = false;
	int code = 0, last;

	/* With --json there is one document, and a shutdown that nobody waits for needs no stop before it. */
	if (!ctx->json && !change_no_wait())
		code = stop(client, ctx, &lost);
	if (lost)
		return code;
	last = halt_supervisor(client, ctx, !change_no_wait());
	return last != 0 ? last : code;
}

static int run(struct cmd_context *ctx)
{
	struct err err = ERR_INIT;
	struct client *client;
	int r = connect_open(ctx, &client, &err);

	if (r < 0)
		return cmd_fail(connect_exit_code(r), &err);
	r = ctx->argc > 0 ? stop(&client, ctx, NULL) : stop_all(&client, ctx);
	client_close(client);
	return r;
}

const struct cmd cmd_stop = {
	.name = "stop",
	.args = "[NAME...]",
	.summary = "stop programs; without a name all of them and the supervisor",
	.help = "Waits until each program has ended with all that it started. 'mpsup stop all'\n"
		"leaves the supervisor running.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = change_options,
	.on_option = change_on_option,
	.run = run,
};
