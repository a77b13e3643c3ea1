/*
 * mpsup shutdown: ends the supervisor with everything it runs.
 */
#include "mpsup/change.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/halt.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

static int run(struct cmd_context *ctx)
{
	struct err err = ERR_INIT;
	struct client *client;
	int r;

	if (ctx->argc > 0) {
		err_set(&err, 0, "shutdown takes no names; mpsup stop NAME stops one program");
		return cmd_fail(EXIT_USAGE, &err);
	}
	r = connect_open(ctx, &client, &err);
	if (r < 0)
		return cmd_fail(connect_exit_code(r), &err);
	r = halt_supervisor(&client, ctx, !change_no_wait());
	client_close(client);
	return r;
}

const struct cmd cmd_shutdown = {
	.name = "shutdown",
	.args = "",
	.summary = "end the supervisor with everything it runs",
	.help = "Waits until it has gone.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = change_options,
	.on_option = change_on_option,
	.run = run,
};
