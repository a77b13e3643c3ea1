/*
 * The verbs that change what runs. See change.h.
 */
#include "mpsup/change.h"

#include <errno.h>
#include <string.h>

#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/progress.h"
#include "mpsup/terminal.h"
#include "sup/client.h"

static bool no_wait;

const struct cmd_option change_options[] = {
	{ 0, "no-wait", NULL, "do not wait for the outcome" },
	{ 0 },
};

int change_on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	(void)o;
	(void)value;
	(void)err;
	no_wait = true;
	return 0;
}

bool change_no_wait(void)
{
	return no_wait;
}

struct running {
	struct change *change;
	struct progress progress;
	json_t *stopped; /* names that a restart has stopped, as keys */
	json_t *rows;
};

static void on_row(json_t *row, void *user)
{
	struct running *run = user;

	json_array_append(run->rows, row);
}

static void on_event(json_t *message, void *user)
{
	struct running *run = user;
	json_t *data = json_object_get(message, "data");
	const char *name = json_string_value(json_object_get(data, "name"));
	const char *from = json_string_value(json_object_get(data, "from"));

	if (name != NULL && from != NULL && strcmp(from, "STOPPING") == 0)
		json_object_set_new(run->stopped, name, json_true());
	progress_event(&run->progress, data);
}

static bool is_named(const json_t *targets, const char *name)
{
	json_t *target;
	size_t i;

	json_array_foreach (targets, i, target)
		if (strcmp(json_string_value(target), name) == 0)
			return true;
	return false;
}

/* supervisorctl's restart is a stop and then a start: the lines of the first come first. */
static void print_stop(const struct running *run, const char *name, bool named)
{
	struct outcome stops = { .done = "stopped", .harmless = FAULT_NOT_RUNNING };
	bool stopped = json_object_get(run->stopped, name) != NULL;
	json_t *line;

	if (!stopped && !named)
		return;
	line = json_pack("{s:s, s:i}", "name", name, "code",
			 stopped ? FAULT_SUCCESS : FAULT_NOT_RUNNING);
	outcome_add(&stops, line);
	json_decref(line);
}

static void print_stops(const struct running *run, const json_t *targets)
{
	json_t *row;
	size_t i;

	json_array_foreach (run->rows, i, row) {
		const char *name = json_string_value(json_object_get(row, "name"));
		json_int_t code = json_integer_value(json_object_get(row, "code"));

		if (name != NULL && code != FAULT_BAD_NAME)
			print_stop(run, name, is_named(targets, name));
	}
}

/* Of a group, or all, supervisorctl tells only what it has touched. */
static bool is_untouched(const struct change *change, const json_t *targets, const json_t *row)
{
	const char *name = json_string_value(json_object_get(row, "name"));
	json_int_t code = json_integer_value(json_object_get(row, "code"));

	return !change->outcome.json && code == (json_int_t)change->outcome.harmless &&
	       name != NULL && !is_named(targets, name);
}

static void print_rows(const struct running *run, const json_t *targets)
{
	struct change *change = run->change;
	json_t *row;
	size_t i;

	if (change->stops_first && !change->no_wait && !change->outcome.json)
		print_stops(run, targets);
	json_array_foreach (run->rows, i, row)
		if (is_untouched(change, targets, row))
			outcome_pass_over(&change->outcome, row);
		else
			outcome_add(&change->outcome, row);
}

static int ask(struct client *client, struct running *run, const json_t *targets, bool progress,
	       struct err *err)
{
	const struct connect_on on = { .row = on_row, .event = on_event, .user = run };
	const struct change *change = run->change;

	json_array_clear(run->rows);
	return connect_rows(client, change->method,
			    json_pack("{s:O, s:b, s:b}", "targets", targets, "wait",
				      !change->no_wait, "progress", progress),
			    &on, err);
}

/* The one before may have done it: that there was nothing left to do is no news then. */
static void take_as_done(const struct running *run, const json_t *targets)
{
	json_t *row;
	size_t i;

	json_array_foreach (run->rows, i, row) {
		const char *name = json_string_value(json_object_get(row, "name"));

		if (name == NULL || !is_named(targets, name) ||
		    json_integer_value(json_object_get(row, "code")) !=
			    (json_int_t)run->change->outcome.harmless)
			continue;
		json_object_set_new(row, "code", json_integer(FAULT_SUCCESS));
		json_object_set_new(row, "status", json_string(fault_name(FAULT_SUCCESS)));
		json_object_set_new(row, "message", json_string(run->change->outcome.done));
	}
}

int change_run(struct client **client, const struct cmd_context *ctx, struct change *change,
	       json_t *targets, bool *ret_lost)
{
	struct running run = { .change = change, .stopped = json_object(), .rows = json_array() };
	bool progress = !change->no_wait && (change->stops_first || terminal_is_tty());
	struct err err = ERR_INIT;
	int r, code;

	progress_init(&run.progress, !change->no_wait && !change->outcome.json);
	r = ask(*client, &run, targets, progress, &err);
	/* A restart is not asked for twice; what the one before had begun of it goes on. */
	while (r == -ECONNRESET && !change->stops_first && connect_again(client, ctx)) {
		r = ask(*client, &run, targets, progress, &err);
		take_as_done(&run, targets);
	}
	progress_wipe(&run.progress);
	print_rows(&run, targets);
	code = outcome_finish(&change->outcome);
	/* A stop of all that is the first half of a shutdown has no use for it. */
	if (r == 0 && json_array_size(run.rows) == 0 && ret_lost == NULL)
		connect_tell_empty(ctx);
	if (r == -ECONNRESET && change->stops_first)
		err_set(&err, r,
			"the supervisor went away before it answered; if another has taken over, "
			"it goes on with "
			"what was begun (see mpsup status)");
	if (ret_lost != NULL && (r == -ECONNRESET || r == FAULT_SHUTDOWN_STATE))
		*ret_lost = r == -ECONNRESET;
	else if (r != 0)
		code = cmd_fail(connect_exit_code(r), &err);
	progress_fini(&run.progress);
	json_decref(run.stopped);
	json_decref(run.rows);
	json_decref(targets);
	return code;
}
