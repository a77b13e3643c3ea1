/*
 * mpsup send: a message to programs, over the channel of each.
 */
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/outcome.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

static bool reload;

static const struct cmd_option options[] = {
	{ 'r', "reload", NULL, "ask them to read their settings again; no TEXT" },
	{ 0 },
};

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	(void)o, (void)value, (void)err;
	reload = true;
	return 0;
}

static int send_text(struct client *client, struct cmd_context *ctx, const char *text)
{
	struct outcome outcome = {
		.done = "sent",
		.no_group = EXIT_GENERIC,
		.json = ctx->json,
	};
	json_t *params = json_pack("{s:o}", "targets", connect_names(ctx));

	if (text != NULL)
		json_object_set_new(params, "text", connect_name(text));
	return outcome_of(client, "send", params, &outcome);
}

static int run(struct cmd_context *ctx)
{
	const char *text = NULL;
	struct err err = ERR_INIT;
	struct client *client;
	int r;

	if (ctx->argc < (reload ? 1 : 2)) {
		err_set(&err, 0, "send needs a name and a text: mpsup send web 'one line'");
		return cmd_fail(EXIT_USAGE, &err);
	}
	if (!reload)
		text = ctx->argv[--ctx->argc];
	r = connect_open(ctx, &client, &err);
	if (r < 0)
		return cmd_fail(connect_exit_code(r), &err);
	r = send_text(client, ctx, text);
	client_close(client);
	return r;
}

const struct cmd cmd_send = {
	.name = "send",
	.args = "NAME... TEXT",
	.summary = "send a line of text to programs that have a channel",
	.help = "They get MESSAGE=TEXT on MPSUP_CONTROL_FD, which control=self, group or all\n"
		"gives them. See mpsup-worker(7).",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = options,
	.on_option = on_option,
	.run = run,
};
