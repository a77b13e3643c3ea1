/*
 * mpsup status: a table of the programs, in supervisorctl's format or as JSON; all about one of them (detail.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/detail.h"
#include "mpsup/listing.h"
#include "mpsup/snapshot.h"
#include "mpsup/terminal.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

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

static int compare_rows(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	int r = strcmp(listing_text(x, "group"), listing_text(y, "group"));

	return r != 0 ? r : strcmp(listing_text(x, "process"), listing_text(y, "process"));
}

/* supervisorctl names what it does not know on standard output. */
static void add_compat_errors(const struct listing *l, struct buf *out)
{
	json_t *error;
	size_t i;

	json_array_foreach (l->errors, i, error) {
		const char *target = listing_text(error, "target");
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
		if (characters(listing_text(sorted[i], "name")) > width)
			width = characters(listing_text(sorted[i], "name"));
	}
	qsort(sorted, n, sizeof(json_t *), compare_rows);
	for (size_t i = 0; i < n; i++) {
		const char *name = listing_text(sorted[i], "name");
		size_t more = strlen(name) - characters(name);

		buf_addf(out, "%-*s%-10s%s\n", (int)(width + 3 + more), name,
			 listing_text(sorted[i], "state"), listing_text(sorted[i], "compat"));
	}
	free(sorted);
	add_compat_errors(l, out);
}

static void print_json(const struct listing *l, json_t *supervisor)
{
	connect_print_json(json_pack("{s:O, s:O, s:O}", "processes", l->rows, "errors", l->errors,
				     "supervisor", supervisor));
}

static void print(const struct listing *l, bool one)
{
	AUTO_BUF out = BUF_INIT;

	if (compat)
		add_compat(l, &out);
	else if (one)
		detail_add(&out, json_array_get(l->rows, 0));
	else
		listing_add_table(l, &out, terminal_width(), terminal_has_colours());
	if (out.len > 0)
		fwrite(out.p, 1, out.len, stdout);
	if (!compat)
		listing_print_errors(l);
}

static json_t *params_of(const struct cmd_context *ctx, bool detail)
{
	json_t *params = listing_params(ctx);

	json_object_set_new(params, "detail", json_boolean(detail));
	json_object_set_new(params, "compat", json_boolean(compat));
	if (compat && !ctx->json)
		json_object_set_new(params, "fields",
				    json_pack("[s, s, s, s, s]", "name", "group", "process",
					      "state", "compat"));
	else if (!detail && !ctx->json)
		listing_only_table(params);
	return params;
}

static int list(struct client *client, struct cmd_context *ctx, struct snapshot *snapshot)
{
	bool detail = ctx->argc == 1 && !compat && strcmp(ctx->argv[0], "all") != 0, one;
	json_t *supervisor = NULL;
	struct err err = ERR_INIT;
	struct listing l;
	int r;

	listing_init(&l);
	r = listing_fetch(&l, client, params_of(ctx, detail), snapshot, &err);
	if (r == 0 && ctx->json)
		r = client_call(client, "info", NULL, NULL, NULL, &supervisor, &err);
	one = detail && json_array_size(l.rows) == 1;
	if (r == 0 && snapshot != NULL)
		listing_measure(&l, snapshot, NULL);
	if (ctx->json || one)
		listing_add_usage(&l);
	if (r == 0 && one)
		detail_fill(json_array_get(l.rows, 0), snapshot);
	if (r != 0)
		l.exit_code = cmd_fail(EXIT_UNREACHABLE, &err);
	else if (ctx->json)
		print_json(&l, supervisor);
	else
		print(&l, one);
	r = l.exit_code;
	listing_fini(&l);
	json_decref(supervisor);
	return r;
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
	.help = "A NAME that means one process shows all about it: its process tree, the end of\n"
		"its log, past runs. Exit code 0: all is well, 3: something is STOPPED, EXITED,\n"
		"FATAL or UNKNOWN, 4: an unknown name, or no supervisor.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = options,
	.on_option = on_option,
	.run = run,
};
