/*
 * The methods that change what runs: start, stop, restart and signal. A handler answers at once, or leaves waiters behind
 * that answer when the services have got where the request wants them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sig.h"
#include "base/xalloc.h"
#include "sup/method.h"
#include "sup/said.h"

/* ------------------------------------------------------------------------------------------------- waiters */

json_t *change_row(const struct waiter *w)
{
	const struct svc *s = w->unit != NULL ? &w->unit->svc : NULL;

	return json_pack("{s:o, s:i, s:s, s:o, s:s}", "name",
			 method_text(s != NULL ? s->name : w->name), "code", (int)w->code, "status",
			 fault_name(w->code), "message", method_text(w->message), "state",
			 svc_state_name(s != NULL ? s->state : SVC_STOPPED));
}

/* All results, in parts; unknown targets first. */
static void produce_results(struct request *r)
{
	size_t end = r->at + METHOD_ROWS < r->n_waiters ? r->at + METHOD_ROWS : r->n_waiters;
	json_t *rows = r->at == 0 && r->rows != NULL ? json_incref(r->rows) : json_array();
	bool more = end < r->n_waiters;

	for (; r->at < end; r->at++)
		json_array_append_new(rows, change_row(r->waiters[r->at]));
	request_answer_part(r, json_pack("{s:o}", "processes", rows), more);
}

static void finish_if_done(struct request *r)
{
	if (r->n_pending > 0 || r->produce != NULL)
		return;
	r->produce = r->results != NULL ? r->results : produce_results;
	r->produce(r);
}

struct waiter *change_wait(struct request *r, struct unit *u, bool for_stop)
{
	struct waiter *w = xcalloc(1, sizeof(*w));

	if (r->n_waiters % 64 == 0)
		r->waiters = xrealloc(r->waiters, (r->n_waiters + 64) * sizeof(struct waiter *));
	r->waiters[r->n_waiters++] = w;
	*w = (struct waiter){ .next = u->waiters, .unit = u, .request = r, .for_stop = for_stop };
	u->waiters = w;
	r->n_pending++;
	return w;
}

static void settle(struct waiter *w, enum fault code, const char *message)
{
	struct waiter **at = &w->unit->waiters;

	w->done = true;
	w->code = code;
	w->message = xstrdup(message);
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	w->request->n_pending--;
}

void change_forget(struct request *r)
{
	upgrade_forget(r);
	for (size_t i = 0; i < r->n_waiters; i++) {
		if (!r->waiters[i]->done)
			settle(r->waiters[i], FAULT_FAILED, "");
		free(r->waiters[i]->message);
		free(r->waiters[i]->name);
		free(r->waiters[i]);
	}
	free(r->waiters);
	r->waiters = NULL;
	r->n_waiters = 0;
}

void change_forget_removed(struct request *r)
{
	size_t n = r->at;

	for (size_t i = r->at; i < r->n_list; i++)
		if (!r->list[i]->removed || r->list[i]->leaving)
			r->list[n++] = r->list[i];
	if (r->at < r->n_list)
		r->n_list = n;
	for (size_t i = 0; i < r->n_waiters; i++) {
		struct waiter *w = r->waiters[i];

		if (w->unit == NULL || !w->unit->removed || w->unit->leaving)
			continue;
		if (!w->done)
			settle(w, FAULT_NOT_RUNNING, "removed");
		w->name = xstrdup(w->unit->svc.name);
		w->unit = NULL;
	}
	if (r->all_told)
		finish_if_done(r);
}

static void settle_failed_start(struct waiter *w)
{
	const struct svc *s = &w->unit->svc;
	AUTO_FREE char *end = svc_has_run(s) ? svc_exit_text(&s->last_exit) : NULL;
	AUTO_FREE char *why = NULL;

	if (s->spawn_error == NULL) {
		settle(w, FAULT_ABNORMAL_TERMINATION, end != NULL ? end : "ended too early");
		return;
	}
	why = xasprintf("%s%s%s", s->spawn_error, end != NULL ? ": " : "", end != NULL ? end : "");
	settle(w, FAULT_SPAWN_ERROR, why);
}

/* Has the service got where the request wants it, or can it not any more? */
static void check_start(struct waiter *w)
{
	const struct svc *s = &w->unit->svc;

	switch (s->state) {
	case SVC_STARTING:
		w->begun = true;
		break;
	case SVC_RUNNING:
		if (w->begun)
			settle(w, FAULT_SUCCESS, "started");
		break;
	case SVC_BACKOFF:
		if (s->busy == 0)
			settle_failed_start(w);
		break;
	case SVC_STOPPED: /* a stop has taken the start back */
		settle(w, FAULT_FAILED, w->unit->removed ? "removed" : "stopped meanwhile");
		break;
	case SVC_EXITED:
		/* Whoever asks late finds a one-off that has been RUNNING and has done its work. */
		if (w->begun && svc_exit_is_expected(s, &s->last_exit))
			settle(w, FAULT_SUCCESS, "started");
		else if (w->begun)
			settle_failed_start(w);
		break;
	case SVC_FATAL:
	case SVC_UNKNOWN:
		settle_failed_start(w);
		break;
	case SVC_STOPPING:
	case N_SVC_STATES:
		break;
	}
}

static void check(struct waiter *w)
{
	/* A stop has done its work also where another request's start follows at once. */
	if (w->for_stop && svc_is_stopped(&w->unit->svc))
		settle(w, FAULT_SUCCESS, "stopped");
	else if (!w->for_stop && !w->unit->svc.passing)
		check_start(w);
}

static void tell_progress(struct request *r, const struct unit *u, enum svc_state from)
{
	if (!r->progress)
		return;
	request_event(r, "state",
		      json_pack("{s:o, s:s, s:s, s:i}", "name", method_text(u->svc.name), "state",
				svc_state_name(u->svc.state), "from", svc_state_name(from), "pid",
				u->svc.pid));
}

void change_on_state(struct unit *u, enum svc_state from)
{
	for (struct waiter *w = u->waiters, *next; w != NULL; w = next) {
		struct request *r = w->request;

		next = w->next;
		tell_progress(r, u, from);
		check(w);
		/* Not while the handler still adds to it: then it looks itself. */
		if (r->all_told)
			finish_if_done(r);
	}
}

void change_all_told(struct request *r)
{
	r->all_told = true;
	finish_if_done(r);
}

bool change_wants_wait(const struct request *r)
{
	return !json_is_false(json_object_get(r->params, "wait"));
}

/* Who does not wait is told that it was asked for, and not, by chance, of a failure that is there already. */
static bool settle_unless_waited_for(struct request *r, struct waiter *w)
{
	if (change_wants_wait(r))
		return false;
	settle(w, FAULT_SUCCESS, w->for_stop ? "stopping" : "starting");
	return true;
}

static void begin_wait(struct request *r, struct waiter *w, enum svc_event event)
{
	settle_unless_waited_for(r, w);
	unit_event(w->unit, event, NULL);
	if (!w->done)
		check(w);
}

/* What is not up yet is told as status shows it: that it is RUNNING is what everybody thinks of. */
static void settle_started(struct waiter *w)
{
	const struct svc *s = &w->unit->svc;
	AUTO_FREE char *info = svc_info(s, mps_now(), mps_wall());
	AUTO_FREE char *text =
		xasprintf("%s%s%s", svc_state_name(s->state), *info ? ", " : "", info);

	settle(w, FAULT_ALREADY_STARTED, s->state == SVC_RUNNING ? "already started" : text);
}

static void start_one(struct request *r, struct unit *u)
{
	enum svc_state state = u->svc.state;
	struct waiter *w = change_wait(r, u, false);
	bool on_its_way = state == SVC_STARTING || (state == SVC_BACKOFF && u->svc.busy > 0);

	if (on_its_way && change_wants_wait(r))
		w->begun = true; /* the answer is how it ends, as for one that we start */
	else if (on_its_way || state == SVC_RUNNING || state == SVC_BACKOFF)
		settle_started(w);
	else
		begin_wait(r, w, SVC_EV_START);
}

static void stop_one(struct request *r, struct unit *u)
{
	struct waiter *w = change_wait(r, u, true);

	if (svc_is_stopped(&u->svc))
		settle(w, FAULT_NOT_RUNNING, "not running");
	else
		begin_wait(r, w, SVC_EV_STOP);
}

static void restart_one(struct request *r, struct unit *u)
{
	struct waiter *w = change_wait(r, u, false);

	begin_wait(r, w, SVC_EV_RESTART);
}

static void for_each_target(struct request *r, void (*one)(struct request *r, struct unit *u))
{
	if (!method_find_targets(r)) {
		request_end(r);
		return;
	}
	r->progress = json_is_true(json_object_get(r->params, "progress"));
	for (size_t i = 0; i < r->n_list; i++)
		one(r, r->list[i]);
	change_all_told(r);
}

/* With no targets: waits for what is on its way up, which is what a fresh supervisor's client wants. */
static void wait_for_starting(struct request *r)
{
	for (size_t i = 0; i < r->sup->n_units; i++) {
		struct unit *u = r->sup->units[i];

		if (!u->svc.conf->autostart)
			continue;
		r->progress = json_is_true(json_object_get(r->params, "progress"));
		change_wait(r, u, false)->begun = true;
	}
	for (size_t i = 0; i < r->n_waiters; i++)
		if (!settle_unless_waited_for(r, r->waiters[i]))
			check(r->waiters[i]);
	change_all_told(r);
}

void method_start(struct request *r)
{
	json_t *targets = json_object_get(r->params, "targets");

	if (json_is_array(targets) && json_array_size(targets) == 0)
		wait_for_starting(r);
	else
		for_each_target(r, start_one);
}

void method_stop(struct request *r)
{
	for_each_target(r, stop_one);
}

void method_restart(struct request *r)
{
	for_each_target(r, restart_one);
}
/* -------------------------------------------------------------------------------------------------- signal */

static void signal_one(struct request *r, struct unit *u)
{
	struct waiter *w = change_wait(r, u, false);

	if (!svc_is_signallable(&u->svc)) {
		settle(w, FAULT_NOT_RUNNING, "not running");
		return;
	}
	u->svc.ops->signal(&u->svc, r->signal, SVC_SCOPE_MAIN);
	settle(w, FAULT_SUCCESS, "signalled");
}

void method_signal(struct request *r)
{
	const char *name = json_string_value(json_object_get(r->params, "signal"));

	r->signal = name != NULL ? sig_parse(name) : -EINVAL;
	if (r->signal < 0) {
		request_fail(r, FAULT_BAD_SIGNAL, "no signal '%s' (such as HUP, SIGTERM or 15)",
			     name != NULL ? name : "");
		request_end(r);
		return;
	}
	for_each_target(r, signal_one);
}

/* ---------------------------------------------------------------------------------------------------- send */

static void send_one(struct request *r, struct unit *u)
{
	json_t *text = json_object_get(r->params, "text");
	struct waiter *w = change_wait(r, u, false);
	int error;

	if (!svc_is_signallable(&u->svc)) {
		settle(w, FAULT_NOT_RUNNING, "not running");
		return;
	}
	error = text != NULL ? channel_say(u, "MESSAGE", json_string_value(text))
			     : channel_say(u, "RELOAD", "1");
	if (error == 0)
		settle(w, FAULT_SUCCESS, "sent");
	else if (error == -EAGAIN)
		settle(w, FAULT_FAILED, "it does not read its messages");
	else if (error == -EMSGSIZE)
		settle(w, FAULT_FAILED, "the message is too long");
	else
		settle(w, FAULT_FAILED, "it has no channel (control=self would give it one)");
}

/* "text", one line; without it the request to read the settings again. */
void method_send(struct request *r)
{
	json_t *text = json_object_get(r->params, "text");

	if (text != NULL && (!json_is_string(text) || strchr(json_string_value(text), '\n'))) {
		request_fail(r, FAULT_INCORRECT_PARAMETERS, "text: not one line of text");
		request_end(r);
		return;
	}
	for_each_target(r, send_one);
}
