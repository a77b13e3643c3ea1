/*
 * mpsup status: a table of the programs, in supervisorctl's format or as JSON; all about one of them (detail.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/table.h"
#include "base/xalloc.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/detail.h"
#include "mpsup/snapshot.h"
#include "mpsup/terminal.h"
#include "mpsup/usage.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

#define NONE "\xe2\x80\x93" /* en dash */

static bool compat;

static const struct cmd_option options[] = {
	{ 0, "compat", NULL, "print exactly what supervisorctl status prints" },
	{ 0 },
};

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	(void)o;
	(void)value;
	(void)err;
	compat = true;
	return 0;
}

static const struct table_column columns[] = {
	{ "NAME", false, 0 },	     { "STATE", false, 0 }, { "PID", false, 2 },
	{ "UPTIME", false, 3 },	     { "CPU", true, 4 },    { "MEM", true, 5 },
	{ "\xe2\x86\xba", true, 1 }, /* restarts */
	{ "INFO", false, 0 },
};

/* What has arrived so far. */
struct listing {
	json_t *rows;
	json_t *errors;
	json_t *supervisor;	   /* with --json: who answers, or NULL */
	struct snapshot *snapshot; /* NULL with --compat, which shows no usage */
	int exit_code;
};

static const char *text_of(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text != NULL ? text : "";
}

static bool is_down(const char *state)
{
	return strcmp(state, "STOPPED") == 0 || strcmp(state, "EXITED") == 0 ||
	       strcmp(state, "FATAL") == 0 || strcmp(state, "UNKNOWN") == 0;
}

static void add_row(struct table *t, const json_t *row, const struct usage *usage)
{
	json_int_t pid = json_integer_value(json_object_get(row, "pid"));
	json_t *uptime = json_object_get(row, "uptime");
	const char *state = text_of(row, "state");
	char span[32] = NONE, cpu[32] = NONE, size[32] = NONE;

	if (json_is_number(uptime))
		usage_format_span(span, sizeof(span), json_number_value(uptime));
	if (usage != NULL) {
		usage_format_cpu(cpu, sizeof(cpu), usage->cpu);
		usage_format_size(size, sizeof(size), usage->rss);
	}
	table_add(t, text_of(row, "name"), NULL);
	table_add(t, state, terminal_state_sgr(state));
	if (pid > 0)
		table_addf(t, NULL, "%lld", (long long)pid);
	else
		table_add(t, NONE, NULL);
	table_add(t, span, NULL);
	table_add(t, cpu, NULL);
	table_add(t, size, NULL);
	table_addf(t, NULL, "%lld",
		   (long long)json_integer_value(json_object_get(row, "restarts")));
	table_add(t, text_of(row, "info"), NULL);
}

static void on_row(json_t *row, void *user)
{
	struct listing *l = user;

	if (is_down(text_of(row, "state")) && l->exit_code == EXIT_OK)
		l->exit_code = EXIT_DOWN;
	json_array_append(l->rows, row);
}

static void on_error(json_t *error, void *user)
{
	struct listing *l = user;

	json_array_append(l->errors, error);
	l->exit_code = EXIT_UNREACHABLE;
}

static int compare_rows(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	int r = strcmp(text_of(x, "group"), text_of(y, "group"));

	return r != 0 ? r : strcmp(text_of(x, "process"), text_of(y, "process"));
}

/* supervisorctl names what it does not know on standard output. */
static void add_compat_errors(const struct listing *l, struct buf *out)
{
	json_t *error;
	size_t i;

	json_array_foreach (l->errors, i, error) {
		const char *target = text_of(error, "target");
		size_t n = strlen(target);
		bool group = n > 1 && strcmp(target + n - 2, ":*") == 0;

		if (group || (n > 0 && target[n - 1] == ':'))
			buf_addf(out, "%.*s: ERROR (no such group)\n", (int)strcspn(target, ":"),
				 target);
		else
			buf_addf(out, "%s: ERROR (no such process)\n", target);
	}
}

/* Python pads by characters, printf by bytes. */
static size_t characters(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void add_compat(const struct listing *l, struct buf *out)
{
	size_t n = json_array_size(l->rows), width = 30;
	json_t **sorted = xcalloc(n + 1, sizeof(json_t *));

	for (size_t i = 0; i < n; i++) {
		sorted[i] = json_array_get(l->rows, i);
		if (characters(text_of(sorted[i], "name")) > width)
			width = characters(text_of(sorted[i], "name"));
	}
	qsort(sorted, n, sizeof(json_t *), compare_rows);
	for (size_t i = 0; i < n; i++) {
		const char *name = text_of(sorted[i], "name");
		size_t more = strlen(name) - characters(name);

		buf_addf(out, "%-*s%-10s%s\n", (int)(width + 3 + more), name,
			 text_of(sorted[i], "state"), text_of(sorted[i], "compat"));
	}
	free(sorted);
	add_compat_errors(l, out);
}

static void print_errors(const struct listing *l)
{
	json_t *error;
	size_t i;

	fflush(stdout);
	json_array_foreach (l->errors, i, error)
		fprintf(stderr, "mpsup: %s\n", text_of(error, "message"));
}

static void finish_snapshot(const struct listing *l)
{
	AUTO_FREE pid_t *mains = xcalloc(json_array_size(l->rows) + 1, sizeof(*mains));
	json_t *row;
	size_t i;

	json_array_foreach (l->rows, i, row)
		mains[i] = (pid_t)json_integer_value(json_object_get(row, "pid"));
	snapshot_finish(l->snapshot, mains, i);
}

static void add_usage(const struct listing *l)
{
	struct usage usage;
	json_t *row;
	size_t i;

	json_array_foreach (l->rows, i, row) {
		if (!snapshot_usage(l->snapshot, i, NULL, &usage))
			continue;
		json_object_set_new(row, "cpu", json_real(usage.cpu));
		json_object_set_new(row, "rss", json_integer((json_int_t)usage.rss));
	}
}

static void add_table(const struct listing *l, struct buf *out)
{
	struct table table;
	struct usage usage;
	json_t *row;
	size_t i;

	if (json_array_size(l->rows) == 0 && json_array_size(l->errors) > 0)
		return;
	table_init(&table, columns, ARRAY_SIZE(columns));
	json_array_foreach (l->rows, i, row)
		add_row(&table, row, snapshot_usage(l->snapshot, i, NULL, &usage) ? &usage : NULL);
	table_render(&table, out, terminal_width(), terminal_has_colours());
	table_fini(&table);
}

static void print(const struct listing *l, bool json, bool one)
{
	AUTO_BUF out = BUF_INIT;

	if (l->snapshot != NULL)
		finish_snapshot(l);
	if (l->snapshot != NULL && (json || one))
		add_usage(l);
	if (one)
		detail_fill(json_array_get(l->rows, 0), l->snapshot);
	if (json) {
		connect_print_json(json_pack("{s:O, s:O, s:O*}", "processes", l->rows, "errors",
					     l->errors, "supervisor", l->supervisor));
		return;
	}
	if (compat)
		add_compat(l, &out);
	else if (one)
		detail_add(&out, json_array_get(l->rows, 0));
	else
		add_table(l, &out);
	if (out.len > 0)
		fwrite(out.p, 1, out.len, stdout);
	if (!compat)
		print_errors(l);
}

/* Only what is printed: the rest would cost both sides as much again. JSON has all. */
static json_t *params_of(const struct cmd_context *ctx, bool detail)
{
	json_t *params = json_pack("{s:b, s:b}", "detail", detail, "compat", compat),
	       *fields = NULL;

	if (ctx->argc > 0)
		json_object_set_new(params, "targets", connect_names(ctx));
	if (compat && !ctx->json)
		fields =
			json_pack("[s, s, s, s, s]", "name", "group", "process", "state", "compat");
	else if (!detail && !ctx->json)
		fields = json_pack("[s, s, s, s, s, s]", "name", "state", "pid", "uptime",
				   "restarts", "info");
	if (fields != NULL)
		json_object_set_new(params, "fields", fields);
	return params;
}

static int list(struct client *client, struct cmd_context *ctx, struct snapshot *snapshot)
{
	bool detail = ctx->argc == 1 && !compat && strcmp(ctx->argv[0], "all") != 0;
	struct listing l = { .rows = json_array(), .errors = json_array(), .snapshot = snapshot };
	const struct connect_on on = { .row = on_row, .error = on_error, .user = &l };
	struct err err = ERR_INIT;
	int r = connect_rows(client, "status", params_of(ctx, detail), &on, &err);

	if (r == 0 && ctx->json)
		r = client_call(client, "info", NULL, NULL, NULL, &l.supervisor, &err);
	if (r != 0)
		l.exit_code = cmd_fail(EXIT_UNREACHABLE, &err);
	else
		print(&l, ctx->json, detail && json_array_size(l.rows) == 1);
	json_decref(l.rows);
	json_decref(l.errors);
	json_decref(l.supervisor);
	return l.exit_code;
}

static int run(struct cmd_context *ctx)
{
	struct snapshot *snapshot = compat ? NULL : snapshot_new();
	struct err err = ERR_INIT;
	struct client *client;
	int r = connect_open(ctx, &client, &err);

	if (r < 0) {
		r = cmd_fail(EXIT_UNREACHABLE, &err);
	} else {
		r = list(client, ctx, snapshot);
		client_close(client);
	}
	snapshot_free(snapshot);
	return r;
}

const struct cmd cmd_status = {
	.name = "status",
	.args = "[NAME...]",
	.summary = "show what the programs do",
	.help = "A NAME that means one process shows all about it: its process tree, the end of "
		"its log, past runs.\n"
		"Exit code 0: all is well, 3: something is STOPPED, EXITED, FATAL or UNKNOWN, 4: "
		"an unknown name, or no\n"
		"supervisor.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = options,
	.on_option = on_option,
	.run = run,
};
