/*
 * The table of the programs. See listing.h.
 */
#include "mpsup/listing.h"

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

#define NONE "\xe2\x80\x93" /* en dash */

static const struct table_column columns[] = {
	{ "NAME", false, 0 },	     { "STATE", false, 0 }, { "PID", false, 2 },
	{ "UPTIME", false, 3 },	     { "CPU", true, 4 },    { "MEM", true, 5 },
	{ "\xe2\x86\xba", true, 1 }, /* restarts */
	{ "METHOD", false, 6 },	     /* where any is not spawn */
	{ "INFO", false, 0 },
};
enum { N_COLUMNS = ARRAY_SIZE(columns), METHOD_COLUMN = N_COLUMNS - 2 };

void listing_init(struct listing *l)
{
	*l = (struct listing){ .rows = json_array(), .errors = json_array() };
}

void listing_fini(struct listing *l)
{
	free(l->list);
	json_decref(l->rows);
	json_decref(l->errors);
	*l = (struct listing){ 0 };
}

const char *listing_text(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text != NULL ? text : "";
}

/* ------------------------------------------------------------------------------------------------- fetching */

json_t *listing_params(const struct cmd_context *ctx)
{
	json_t *params = json_object();

	if (ctx->argc > 0)
		json_object_set_new(params, "targets", connect_names(ctx));
	return params;
}

void listing_only_table(json_t *params)
{
	json_object_set_new(params, "fields",
			    json_pack("[s, s, s, s, s, s, s]", "name", "state", "pid", "uptime",
				      "restarts", "start_method", "info"));
	json_object_set_new(params, "brief", json_true());
}

static bool is_down(const char *state)
{
	return strcmp(state, "STOPPED") == 0 || strcmp(state, "EXITED") == 0 ||
	       strcmp(state, "FATAL") == 0 || strcmp(state, "UNKNOWN") == 0;
}

struct fetch {
	struct listing *listing;
	struct snapshot *snapshot;
};

static void on_row(json_t *row, void *user)
{
	const struct fetch *f = user;
	struct listing *l = f->listing;

	if (is_down(listing_text(row, "state")) && l->exit_code == EXIT_OK)
		l->exit_code = EXIT_DOWN;
	json_array_append(l->rows, row);
	if (f->snapshot != NULL)
		snapshot_expect(f->snapshot, json_array_size(l->rows));
}

static void on_error(json_t *error, void *user)
{
	struct listing *l = ((const struct fetch *)user)->listing;

	json_array_append(l->errors, error);
	l->exit_code = EXIT_UNREACHABLE;
}

int listing_fetch(struct listing *l, struct client *client, json_t *params,
		  struct snapshot *snapshot, struct err *err)
{
	struct fetch f = { l, snapshot };
	const struct connect_on on = { .row = on_row, .error = on_error, .user = &f };

	return connect_rows(client, "status", params, &on, err);
}

void listing_measure(struct listing *l, struct snapshot *now, const struct snapshot *before)
{
	AUTO_FREE pid_t *mains = xcalloc(json_array_size(l->rows) + 1, sizeof(*mains));
	json_t *row;
	size_t i;

	l->n = json_array_size(l->rows);
	l->list = xcalloc(l->n + 1, sizeof(*l->list));
	json_array_foreach (l->rows, i, row)
		mains[i] = (pid_t)json_integer_value(json_object_get(row, "pid"));
	snapshot_finish(now, mains, l->n);
	json_array_foreach (l->rows, i, row) {
		struct listing_row *r = &l->list[i];

		r->json = row;
		r->has_usage = snapshot_usage(now, i, before, &r->usage);
	}
}

/* ------------------------------------------------------------------------------------------------- printing */

void listing_add_usage(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct listing_row *r = &l->list[i];

		if (!r->has_usage)
			continue;
		json_object_set_new(r->json, "cpu", json_real(r->usage.cpu));
		json_object_set_new(r->json, "rss", json_integer((json_int_t)r->usage.rss));
	}
}

json_t *listing_json(const struct listing *l)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < l->n; i++)
		json_array_append(rows, l->list[i].json);
	return rows;
}

/* Rows for a table are brief. */
static const char *method_of(const json_t *row)
{
	const char *method = listing_text(row, "start_method");

	return method[0] != '\0' ? method : "spawn";
}

static void add_row(struct table *t, const json_t *row, const struct usage *usage, bool method)
{
	json_int_t pid = json_integer_value(json_object_get(row, "pid"));
	json_t *uptime = json_object_get(row, "uptime");
	const char *state = listing_text(row, "state");
	char span[32] = NONE, cpu[32] = NONE, size[32] = NONE;

	if (json_is_number(uptime))
		usage_format_span(span, sizeof(span), json_number_value(uptime));
	if (usage != NULL) {
		usage_format_cpu(cpu, sizeof(cpu), usage->cpu);
		usage_format_size(size, sizeof(size), usage->rss);
	}
	table_add(t, listing_text(row, "name"), NULL);
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
	if (method)
		table_add(t, method_of(row), NULL);
	table_add(t, listing_text(row, "info"), NULL);
}

static bool has_methods(const struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(method_of(l->list[i].json), "spawn") != 0)
			return true;
	return false;
}

void listing_add_table(const struct listing *l, struct buf *out, unsigned width, bool colours)
{
	struct table_column shown[N_COLUMNS];
	bool methods = has_methods(l);
	struct table table;

	if (l->n == 0 && json_array_size(l->errors) > 0)
		return;
	memcpy(shown, columns, sizeof(shown));
	if (!methods)
		shown[METHOD_COLUMN] = columns[METHOD_COLUMN + 1];
	table_init(&table, shown, methods ? N_COLUMNS : N_COLUMNS - 1);
	for (size_t i = 0; i < l->n; i++)
		add_row(&table, l->list[i].json, l->list[i].has_usage ? &l->list[i].usage : NULL,
			methods);
	table_render(&table, out, width, colours);
	table_fini(&table);
}

void listing_print_errors(const struct listing *l)
{
	json_t *error;
	size_t i;

	fflush(stdout);
	json_array_foreach (l->errors, i, error)
		fprintf(stderr, "mpsup: %s\n", listing_text(error, "message"));
}

/* -------------------------------------------------------------------------------------------------- sorting */

const char *const listing_states[] = { "FATAL",	  "UNKNOWN", "BACKOFF", "STARTING", "STOPPING",
				       "RUNNING", "EXITED",  "STOPPED", NULL };

static double state_number(const struct listing_row *row)
{
	const char *state = listing_text(row->json, "state");
	size_t i = 0;

	while (listing_states[i] != NULL && strcmp(listing_states[i], state) != 0)
		i++;
	return (double)i;
}

static double pid_number(const struct listing_row *row)
{
	return json_number_value(json_object_get(row->json, "pid"));
}

static double uptime_number(const struct listing_row *row)
{
	return json_number_value(json_object_get(row->json, "uptime"));
}

static double cpu_number(const struct listing_row *row)
{
	return row->has_usage ? row->usage.cpu : -1;
}

static double memory_number(const struct listing_row *row)
{
	return row->has_usage ? (double)row->usage.rss : -1;
}

static double restarts_number(const struct listing_row *row)
{
	return json_number_value(json_object_get(row->json, "restarts"));
}

const struct listing_sort listing_sorts[] = {
	{ 'c', "cpu", true, cpu_number },
	{ 'm', "memory", true, memory_number },
	{ 'n', "name", false, NULL },
	{ 's', "state", false, state_number },
	{ 'p', "pid", false, pid_number },
	{ 'u', "uptime", true, uptime_number },
	{ 'r', "restarts", true, restarts_number },
	{ 0 },
};

struct order {
	const struct listing_sort *by;
	bool reverse;
};

static int compare(const void *a, const void *b, void *user)
{
	const struct listing_row *x = a, *y = b;
	const struct order *o = user;
	int r = 0;

	if (o->by->number != NULL) {
		double m = o->by->number(x), n = o->by->number(y);

		r = o->by->descending != o->reverse ? (m < n) - (m > n) : (m > n) - (m < n);
	}
	if (r != 0)
		return r;
	r = strverscmp(listing_text(x->json, "name"), listing_text(y->json, "name"));
	return o->by->number == NULL && o->reverse ? -r : r;
}

void listing_sort(struct listing *l, const struct listing_sort *by, bool reverse)
{
	struct order order = { by, reverse };

	if (l->n > 0)
		qsort_r(l->list, l->n, sizeof(*l->list), compare, &order);
}
