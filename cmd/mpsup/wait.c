/*
 * mpsup wait: until programs have got somewhere, or cannot any more. Nothing is asked twice: what changes is told.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "conf/types.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/follow.h"
#include "mpsup/outcome.h"
#include "mpsup/progress.h"
#include "mpsup/verbs.h"
#include "sup/events.h"
#include "sup/goal.h"

enum { PROGRESS_S = 1 }; /* what takes longer is shown on a terminal */
enum { LOOK_S = 1 };	 /* the supervisor has at least so long to tell how things are */

static const char *wanted = "running";
static goal_set goal = 1u << SVC_RUNNING;
static int64_t timeout_ns = -1; /* none */
static bool any;

static const struct cmd_option options[] = {
	{ 0, "for", "STATE", "running (default), exited, stopped ... down or settled" },
	{ 0, "any", NULL, "wait for any of them, not for all" },
	{ 0, "timeout", "SECONDS", "give up after this time; 0 = only look" },
	{ 0 },
};

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	int r = 0;

	if (o == &options[0]) {
		wanted = value;
		r = goal_parse(value, &goal, err);
	} else if (o == &options[1]) {
		any = true;
	} else {
		r = type_time(value, &timeout_ns, err);
	}
	return r < 0 ? err_prefix(err, EXIT_USAGE, "--%s: ", o->name) : 0;
}

struct waiting {
	json_t *states; /* name -> state, in the order of starting */
	size_t n_reached, n_hopeless;
	struct outcome unknown; /* names that mean nothing */
	bool reloaded;		/* there may be others now */
	bool ending;		/* the supervisor is */
	struct progress progress;
	bool shown;
};

/* ------------------------------------------------------------------------------------------------ what is known */

static enum goal_verdict judge(const char *state)
{
	enum svc_state s = goal_state(state);

	return s < N_SVC_STATES ? goal_judge(goal, s) : GOAL_OPEN;
}

static void count(struct waiting *w, const json_t *state, size_t step)
{
	enum goal_verdict verdict = state != NULL ? judge(json_string_value(state)) : GOAL_OPEN;

	if (verdict == GOAL_REACHED)
		w->n_reached += step;
	else if (verdict == GOAL_HOPELESS)
		w->n_hopeless += step;
}

static void take_state(struct waiting *w, json_t *data)
{
	const char *name = json_string_value(json_object_get(data, "name"));
	json_t *state = json_object_get(data, "state");

	if (name == NULL || !json_is_string(state))
		return;
	count(w, json_object_get(w->states, name), (size_t)-1);
	count(w, state, 1);
	json_object_set(w->states, name, state);
	if (w->shown)
		progress_event(&w->progress, data);
}

static void forget(struct waiting *w)
{
	json_object_clear(w->states);
	w->n_reached = w->n_hopeless = 0;
}

static enum goal_verdict judge_all(const struct waiting *w)
{
	size_t n = json_object_size(w->states);

	if (w->n_reached == n || (any && w->n_reached > 0))
		return GOAL_REACHED;
	if (w->n_hopeless == n || (!any && w->n_hopeless > 0))
		return GOAL_HOPELESS;
	return w->ending && !goal_is_at_rest(goal) ? GOAL_HOPELESS : GOAL_OPEN;
}

static void on_begin(json_int_t n_missed, void *user)
{
	(void)n_missed; /* the rows tell all that matters */
	forget(user);
}

static void on_row(json_t *row, void *user)
{
	take_state(user, row);
}

static void on_error(json_t *error, void *user)
{
	struct waiting *w = user;

	outcome_add(&w->unknown, error);
}

static void on_event(json_t *message, void *user)
{
	const char *name = json_string_value(json_object_get(message, "event"));
	json_t *data = json_object_get(message, "data");
	int type = name != NULL ? event_find(name, NULL) : -1;
	struct waiting *w = user;

	/* What is only passed through has not been reached. */
	if (type == EVENT_STATE && !json_is_true(json_object_get(data, "passing")))
		take_state(w, data);
	else if (type == EVENT_RELOAD)
		w->reloaded = true;
	else if (type == EVENT_SHUTDOWN)
		w->ending = true;
}

/* ----------------------------------------------------------------------------------------------------- waiting */

static void show(struct waiting *w)
{
	const char *name;
	json_t *state;

	w->shown = true;
	json_object_foreach (w->states, name, state) {
		json_t *data = json_pack("{s:s, s:O}", "name", name, "state", state);

		progress_event(&w->progress, data);
		json_decref(data);
	}
}

/* 0: the verdict is known, or a name is not; else what follow_next() returns. */
static int wait_for_it(struct waiting *w, struct follow *f, struct cmd_context *ctx,
		       struct err *err)
{
	struct mps_time from = mps_now(), at = { from.ns + PROGRESS_S * MPS_NS_PER_S };
	int64_t look_ns = LOOK_S * MPS_NS_PER_S;
	int r;

	if (timeout_ns >= 0)
		f->deadline.ns = from.ns + (timeout_ns > look_ns ? timeout_ns : look_ns);
	r = follow_open(f, ctx, err);
	if (timeout_ns >= 0)
		f->deadline.ns = from.ns + timeout_ns;
	while (r == 0 && w->unknown.exit_code == 0 && judge_all(w) == GOAL_OPEN) {
		r = follow_next(f, w->shown ? (struct mps_time){ 0 } : at, err);
		if (!w->shown && mps_now().ns >= at.ns)
			show(w);
		if (r == -ETIMEDOUT && (timeout_ns < 0 || mps_now().ns < f->deadline.ns))
			r = 0; /* that was only to show it */
		if (r == 0 && w->reloaded) {
			w->reloaded = false;
			forget(w);
			r = follow_look(f, err);
		}
	}
	return r;
}

/* ----------------------------------------------------------------------------------------------------- the end */

static void print(const struct waiting *w, const char *result, bool json)
{
	json_t *rows = json_array(), *state;
	const char *name;

	json_object_foreach (w->states, name, state) {
		if (!json)
			printf("%s: %s\n", name, json_string_value(state));
		else
			json_array_append_new(rows, json_pack("{s:s, s:O, s:b}", "name", name,
							      "state", state, "reached",
							      judge(json_string_value(state)) ==
								      GOAL_REACHED));
	}
	if (json)
		connect_print_json(json_pack("{s:s, s:O}", "result", result, "processes", rows));
	json_decref(rows);
	fflush(stdout);
}

static int fail_hopeless(const struct waiting *w)
{
	struct err err = ERR_INIT;
	const char *name;
	json_t *state = NULL;

	if (w->n_hopeless == 0 || (any && w->n_hopeless < json_object_size(w->states))) {
		err_set(&err, 0, "the supervisor is shutting down");
		return cmd_fail(EXIT_NOT_RUNNING, &err);
	}
	json_object_foreach (w->states, name, state)
		if (judge(json_string_value(state)) == GOAL_HOPELESS)
			break;
	err_set(&err, 0, "%s is %s: it will not be %s unless somebody starts it", name,
		json_string_value(state), wanted);
	return cmd_fail(EXIT_NOT_RUNNING, &err);
}

static int finish(struct waiting *w, int r, bool json, struct err *err)
{
	size_t n = json_object_size(w->states);

	progress_wipe(&w->progress);
	if (w->unknown.exit_code != 0)
		return outcome_finish(&w->unknown);
	if (r == -ETIMEDOUT && n > 0) {
		print(w, "timeout", json);
		err_set(err, 0, "timed out: %zu of %zu %s", w->n_reached, n, wanted);
		return cmd_fail(EXIT_TIMEOUT, err);
	}
	if (r == -ETIMEDOUT)
		return cmd_fail(EXIT_TIMEOUT, err);
	if (follow_is_over(r) && n > 0) {
		err_set(err, 0, "the supervisor has %s",
			w->ending ? "ended" : "gone without a shutdown");
		return cmd_fail(EXIT_NOT_RUNNING, err);
	}
	if (r != 0)
		return cmd_fail(connect_exit_code(r), err);
	print(w, judge_all(w) == GOAL_REACHED ? "reached" : "unreachable", json);
	return judge_all(w) == GOAL_REACHED ? EXIT_OK : fail_hopeless(w);
}

static int run_for(struct cmd_context *ctx)
{
	struct waiting w = { .states = json_object(),
			     .unknown = { .no_group = EXIT_GENERIC, .json = ctx->json } };
	struct follow f = { .types =
				    json_pack("[s, s, s]", event_name(EVENT_STATE),
					      event_name(EVENT_RELOAD), event_name(EVENT_SHUTDOWN)),
			    .targets = connect_names(ctx),
			    .fields = json_pack("[s, s]", "name", "state"),
			    .begin = on_begin,
			    .row = on_row,
			    .error = on_error,
			    .event = on_event,
			    .user = &w };
	struct err err = ERR_INIT;
	int r;

	progress_init(&w.progress, !ctx->json);
	r = wait_for_it(&w, &f, ctx, &err);
	r = finish(&w, r, ctx->json, &err);
	progress_fini(&w.progress);
	follow_close(&f);
	json_decref(f.types);
	json_decref(f.targets);
	json_decref(f.fields);
	json_decref(w.states);
	return r;
}

static int run(struct cmd_context *ctx)
{
	struct err err = ERR_INIT;

	if (ctx->argc > 0)
		return run_for(ctx);
	err_set(&err, 0, "wait needs a name: mpsup wait web");
	return cmd_fail(EXIT_USAGE, &err);
}

const struct cmd cmd_wait = {
	.name = "wait",
	.args = "NAME...",
	.summary = "wait until programs are RUNNING, or in another state",
	.help = "STATE is a state's name, or several with commas; 'down' is STOPPED, EXITED,\n"
		"FATAL and UNKNOWN, and 'settled' these and RUNNING. Exit code 0: all are\n"
		"there, 7: one cannot get there any more, 124: not in time.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = options,
	.on_option = on_option,
	.run = run,
};
