/*
 * mpsup ls: the supervisors of this user on this machine.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/table.h"
#include "base/xalloc.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/terminal.h"
#include "mpsup/usage.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

/* One that hangs is as good as dead to who lists all. */
#define ANSWER_MS 2000

static int is_instance(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* What `info` answers, or {"name", "state": "dead", "reason"}; NULL where one has ended in good order. */
static json_t *ask(const char *base, const char *name)
{
	AUTO_FREE char *path = xasprintf("%s/%s/control.sock", base, name);
	struct client *client = NULL;
	json_t *info = NULL;
	struct err err = ERR_INIT;
	int r = client_connect(path, &client, &err);

	if (r == 0)
		r = client_set_timeout(client, ANSWER_MS);
	if (r == 0)
		r = client_call(client, "info", NULL, NULL, NULL, &info, &err);
	client_close(client);
	if (r == 0 && json_is_object(info))
		return info;
	json_decref(info);
	if (r == -ENOENT)
		return NULL;
	return json_pack("{s:s, s:s, s:s}", "name", name, "state", "dead", "reason", err.text);
}

static json_t *ask_all(const char *base)
{
	struct dirent **entries = NULL;
	json_t *all = json_array();
	int n = scandir(base, &entries, is_instance, alphasort);

	for (int i = 0; i < n; i++) {
		json_t *info = ask(base, entries[i]->d_name);

		if (info != NULL)
			json_array_append_new(all, info);
		free(entries[i]);
	}
	free(entries);
	return all;
}

static void add_number(struct table *t, const json_t *info, const char *key)
{
	json_t *value = json_object_get(info, key);

	if (json_is_integer(value))
		table_addf(t, NULL, "%lld", (long long)json_integer_value(value));
	else
		table_add(t, "\xe2\x80\x93", NULL);
}

static void add_row(struct table *t, const json_t *info)
{
	const char *name = json_string_value(json_object_get(info, "name"));
	const char *state = json_string_value(json_object_get(info, "state"));
	const char *config = json_string_value(json_object_get(info, "config"));
	json_t *uptime = json_object_get(info, "uptime");
	char span[32] = "\xe2\x80\x93";

	if (json_is_number(uptime))
		usage_format_span(span, sizeof(span), json_number_value(uptime));
	if (state == NULL)
		state = "UNKNOWN";
	table_add(t, name != NULL ? name : "?", NULL);
	table_add(t, state,
		  strcmp(state, "dead") == 0 ? terminal_state_sgr("FATAL")
					     : terminal_state_sgr(state));
	add_number(t, info, "keeper_pid");
	add_number(t, info, "supervisor_pid");
	table_add(t, span, NULL);
	add_number(t, info, "programs");
	table_add(t, config != NULL ? config : "\xe2\x80\x93", NULL);
}

static void print_table(const json_t *all)
{
	static const struct table_column columns[] = {
		{ "NAME", false, 0 },	   { "STATE", false, 0 },  { "KEEPER", true, 2 },
		{ "SUPERVISOR", true, 3 }, { "UPTIME", false, 1 }, { "PROGRAMS", true, 4 },
		{ "CONFIG", false, 0 },
	};
	AUTO_BUF out = BUF_INIT;
	struct table table;
	json_t *info;
	size_t i;

	table_init(&table, columns, ARRAY_SIZE(columns));
	json_array_foreach (all, i, info)
		add_row(&table, info);
	table_render(&table, &out, terminal_width(), terminal_has_colours());
	if (out.len > 0)
		fwrite(out.p, 1, out.len, stdout);
	table_fini(&table);
}

static int run(struct cmd_context *ctx)
{
	AUTO_FREE char *base = client_runtime_base();
	json_t *all;

	if (cmd_takes_nothing(ctx, "ls") != EXIT_OK)
		return EXIT_USAGE;
	all = ask_all(base);
	if (ctx->json) {
		connect_print_json(json_pack("{s:o}", "supervisors", all));
		return EXIT_OK;
	}
	if (json_array_size(all) == 0)
		fprintf(stderr, "mpsup: no supervisor in %s; mpsup start starts one\n", base);
	else
		print_table(all);
	json_decref(all);
	return EXIT_OK;
}

const struct cmd cmd_ls = {
	.name = "ls",
	.args = "",
	.summary = "list the supervisors of this user",
	.help = "One that does not answer is dead: the next start of its configuration cleans\n"
		"up after it.",
	.flags = CMD_JSON,
	.run = run,
};
