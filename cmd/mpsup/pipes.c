/*
 * mpsup pipes: what stands between the programs, and how much lies in it.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/table.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/listing.h"
#include "mpsup/terminal.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

static void take_rows(json_t *all, const json_t *result)
{
	json_t *rows = json_object_get(result, "pipes");

	if (json_is_array(rows))
		json_array_extend(all, rows);
}

static void on_part(json_t *message, void *user)
{
	take_rows(user, json_object_get(message, "result"));
}

/* "a, b:3": the number where it is not the one that goes without saying. */
static void add_ends(struct table *t, const json_t *row, const char *side, int usual)
{
	json_t *list = json_object_get(row, side), *end;
	AUTO_BUF b = BUF_INIT;
	size_t i;

	json_array_foreach (list, i, end) {
		int fd = (int)json_integer_value(json_object_get(end, "fd"));

		buf_addf(&b, "%s%s", i > 0 ? ", " : "", listing_text(end, "program"));
		if (fd != usual)
			buf_addf(&b, ":%d", fd);
	}
	table_add(t, b.p != NULL ? b.p : "", NULL);
}

static void add_number(struct table *t, const json_t *row, const char *key, const char *back)
{
	const json_t *there = json_object_get(row, key), *other = json_object_get(row, back);

	if (!json_is_integer(there))
		table_add(t, "\xe2\x80\x93", NULL);
	else if (json_is_integer(other))
		table_addf(t, NULL, "%lld/%lld", (long long)json_integer_value(there),
			   (long long)json_integer_value(other));
	else
		table_addf(t, NULL, "%lld", (long long)json_integer_value(there));
}

static void print_table(const json_t *rows)
{
	static const struct table_column columns[] = {
		{ "NAME", false, 0 },	{ "MODE", false, 1 },	 { "STATE", false, 0 },
		{ "WAITING", true, 0 }, { "CAPACITY", true, 2 }, { "FROM", false, 0 },
		{ "TO", false, 0 },
	};
	AUTO_BUF out = BUF_INIT;
	struct table t;
	json_t *row;
	size_t i;

	table_init(&t, columns, sizeof(columns) / sizeof(columns[0]));
	json_array_foreach (rows, i, row) {
		table_add(&t, listing_text(row, "name"), NULL);
		table_add(&t, listing_text(row, "mode"), NULL);
		table_add(&t, listing_text(row, "state"), NULL);
		add_number(&t, row, "waiting", "waiting_back");
		add_number(&t, row, "capacity", "");
		add_ends(&t, row, "from", 1);
		add_ends(&t, row, "to", 0);
	}
	table_render(&t, &out, terminal_width(), terminal_has_colours());
	if (out.len > 0)
		fwrite(out.p, 1, out.len, stdout);
	table_fini(&t);
}

static int run(struct cmd_context *ctx)
{
	json_t *rows = json_array(), *result = NULL;
	struct err err = ERR_INIT;
	struct client *client;
	int r;

	if (cmd_takes_nothing(ctx, "pipes") != EXIT_OK)
		return EXIT_USAGE;
	r = connect_open(ctx, &client, &err);
	if (r == 0) {
		r = client_call(client, "pipes", NULL, on_part, rows, &result, &err);
		client_close(client);
	}
	if (r == 0)
		take_rows(rows, result);
	if (r != 0)
		cmd_fail(connect_exit_code(r), &err);
	else if (ctx->json)
		connect_print_json(json_pack("{s:O}", "pipes", rows));
	else if (json_array_size(rows) > 0)
		print_table(rows);
	else
		fprintf(stderr, "mpsup: the configuration has no [pipe:NAME]\n");
	json_decref(result);
	json_decref(rows);
	return r == 0 ? EXIT_OK : connect_exit_code(r);
}

const struct cmd cmd_pipes = {
	.name = "pipes",
	.args = "",
	.summary = "show the pipes between programs",
	.help = "WAITING is what was written and is not read yet, of a duplex pipe each way.\n"
		"STATE: open; ended, there is no producer any more; broken, no consumer;\n"
		"closed, neither.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.run = run,
};
