/*
 * mpsup restart: stops programs and starts them again, in one request, so that nothing stays down if we die in between.
 */
#include "mpsup/change.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

static int run(struct cmd_context *ctx)
{
	struct change change = {
		.method = "restart",
		.no_wait = change_no_wait(),
		.stops_first = true,
		.outcome = { .done = change_no_wait() ? "restarting" : "started",
			     .harmless = FAULT_ALREADY_STARTED,
			     .no_group = EXIT_USAGE,
			     .json = ctx->json },
	};
	struct err err = ERR_INIT;
	struct client *client;
	json_t *targets;
	int r = connect_open(ctx, &client, &err);

	if (r < 0)
		return cmd_fail(connect_exit_code(r), &err);
	targets = connect_names(ctx);
	if (ctx->argc == 0)
		json_array_append_new(targets, json_string("all"));
	r = change_run(&client, ctx, &change, targets, NULL);
	client_close(client);
	return r;
}

const struct cmd cmd_restart = {
	.name = "restart",
	.args = "[NAME...]",
	.summary = "stop programs and start them again; without a name all",
	.help = "Programs that were down are started. The supervisor itself goes on.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = change_options,
	.on_option = change_on_option,
	.run = run,
};
