/*
 * The methods of the control protocol: one table, a handler each. A handler answers at once, or leaves waiters behind
 * that answer when the services have got where the request wants them.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/sig.h"
#include "base/xalloc.h"
#include "proc/spawn.h"
#include "sup/control.h"
#include "sup/sup_uv.h"

enum { ROWS_A_PART = 64 };

/* Names, paths and messages may hold any byte; JSON holds UTF-8. What is not becomes '?'. */
static json_t *text(const char *s)
{
	json_t *json;
	char *copy;

	if (s == NULL)
		return json_null();
	json = json_string(s);
	if (json != NULL)
		return json;
	copy = xstrdup(s);
	for (char *p = copy; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	json = json_string(copy);
	free(copy);
	return json;
}

static double seconds(struct mps_time t)
{
	return (double)t.ns / (double)MPS_NS_PER_S;
}

/* -------------------------------------------------------------------------------------------------- targets */

static void add_unit(struct svc *svc, void *user)
{
	struct request *r = user;

	if (r->n_list % 64 == 0)
		r->list = xrealloc(r->list, (r->n_list + 64) * sizeof(*r->list));
	r->list[r->n_list++] = svc->user;
}

/* As status' "errors" and the other methods' "processes" have it; both name the target and the fault. */
static void add_bad_name(struct request *r, const char *target, const struct err *err)
{
	if (r->rows == NULL)
		r->rows = json_array();
	json_array_append_new(r->rows,
			      json_pack("{s:o, s:o, s:i, s:s, s:o}", "name", text(target), "target",
					text(target), "code", FAULT_BAD_NAME, "status",
					fault_name(FAULT_BAD_NAME), "message", text(err->text)));
}

/* Each service once, however often it was named. */
static void drop_doubles(struct request *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_list; i++) {
		if (r->list[i]->listed == r)
			continue;
		r->list[i]->listed = r;
		r->list[n++] = r->list[i];
	}
	for (size_t i = 0; i < n; i++)
		r->list[i]->listed = NULL;
	r->n_list = n;
}

/* "targets": absent = all. Fills r->list, and r->rows with those that are nothing. False after an answer was sent. */
static bool find_targets(struct request *r)
{
	json_t *targets = json_object_get(r->params, "targets"), *target;
	struct err err = ERR_INIT;
	size_t i;

	if (targets == NULL) {
		order_find(r->sup->index, "all", add_unit, r, &err);
		return true;
	}
	json_array_foreach (targets, i, target) {
		const char *name = json_string_value(target);

		if (name == NULL)
			break;
		if (order_find(r->sup->index, name, add_unit, r, &err) < 0)
			add_bad_name(r, name, &err);
	}
	if (!json_is_array(targets) || i < json_array_size(targets)) {
		request_fail(r, FAULT_INCORRECT_PARAMETERS, "targets: not a list of names");
		return false;
	}
	drop_doubles(r);
	return true;
}

/* --------------------------------------------------------------------------------------------------- status */

/* What supervisorctl prints behind the state. Its times are local, without seconds. */
static json_t *compat_text(const struct unit *u, struct mps_time now)
{
	const struct svc *s = &u->svc;
	char buffer[64];
	time_t at = (time_t)(s->changed_wall.ns / MPS_NS_PER_S);
	int64_t up = (now.ns - s->started.ns) / MPS_NS_PER_S;
	struct tm tm;

	switch (s->state) {
	case SVC_RUNNING:
		snprintf(buffer, sizeof(buffer), "pid %d, uptime ", s->pid);
		if (up >= 86400)
			snprintf(buffer + strlen(buffer), 32, "%lld day%s, ", (long long)up / 86400,
				 up < 2 * 86400 ? "" : "s");
		snprintf(buffer + strlen(buffer), 32, "%lld:%02lld:%02lld",
			 (long long)up % 86400 / 3600, (long long)up % 3600 / 60,
			 (long long)up % 60);
		return json_string(buffer);
	case SVC_FATAL:
	case SVC_BACKOFF:
		return text(s->spawn_error != NULL
				    ? s->spawn_error
				    : "Exited too quickly (process log may have details)");
	case SVC_STOPPED:
	case SVC_EXITED:
		if (s->gen == 0)
			return json_string("Not started");
		localtime_r(&at, &tm);
		strftime(buffer, sizeof(buffer), "%b %d %I:%M %p", &tm);
		return json_string(buffer);
	case SVC_STARTING:
	case SVC_STOPPING:
	case SVC_UNKNOWN:
	case N_SVC_STATES:
		break;
	}
	return json_string("");
}

static void set_exit(json_t *row, int code, int status)
{
	if (code == CLD_EXITED)
		json_object_set_new(row, "code", json_integer(status));
	else if (code == CLD_KILLED || code == CLD_DUMPED) {
		json_object_set_new(row, "signal", text(sig_name(status)));
		json_object_set_new(row, "core", json_boolean(code == CLD_DUMPED));
	} else {
		json_object_set_new(row, "spawnerr", json_true());
	}
}

static json_t *exit_of(const struct svc *s)
{
	json_t *e = json_object();

	set_exit(e, s->last_exit.code, s->last_exit.status);
	return e;
}

static json_t *row_of(const struct unit *u, struct mps_time now, struct mps_time wall)
{
	const struct svc *s = &u->svc;
	bool up = s->pid != 0 && s->state != SVC_BACKOFF;
	AUTO_FREE char *info = svc_info(s, now, wall);
	json_t *row = json_object();

	json_object_set_new_nocheck(row, "name", text(s->name));
	json_object_set_new_nocheck(row, "group", text(s->conf->group));
	json_object_set_new_nocheck(row, "process", text(s->conf->name));
	json_object_set_new_nocheck(row, "state", json_string_nocheck(svc_state_name(s->state)));
	json_object_set_new_nocheck(row, "statecode", json_integer(svc_state_code(s->state)));
	json_object_set_new_nocheck(row, "pid", json_integer(s->pid));
	json_object_set_new_nocheck(
		row, "uptime",
		up ? json_real(seconds((struct mps_time){ now.ns - s->started.ns })) : json_null());
	json_object_set_new_nocheck(row, "restarts", json_integer(s->restarts));
	json_object_set_new_nocheck(row, "info", text(info));
	json_object_set_new_nocheck(row, "changed",
				    s->changed_wall.ns ? json_real(seconds(s->changed_wall))
						       : json_null());
	if (s->last_exit.code != 0)
		json_object_set_new_nocheck(row, "exit", exit_of(s));
	if (s->spawn_error != NULL)
		json_object_set_new_nocheck(row, "spawnerr", text(s->spawn_error));
	return row;
}

static json_t *history_of(const struct svc *s)
{
	unsigned from = s->n_history > SVC_HISTORY ? s->n_history - SVC_HISTORY : 0;
	json_t *list = json_array();

	for (unsigned i = from; i < s->n_history; i++) {
		const struct svc_past *p = &s->history[i % SVC_HISTORY];
		json_t *one = json_pack("{s:f, s:f}", "ended", seconds(p->ended), "uptime",
					(double)p->uptime_ns / (double)MPS_NS_PER_S);

		set_exit(one, p->code, p->status);
		json_array_append_new(list, one);
	}
	return list;
}

static json_t *log_path(const struct conf_log *log, const char *auto_path)
{
	if (log->kind == CONF_LOG_FILE)
		return text(log->path);
	return log->kind == CONF_LOG_AUTO ? text(auto_path) : json_null();
}

static void add_detail(json_t *row, const struct unit *u)
{
	const struct conf_proc *c = u->svc.conf;
	AUTO_FREE char *place =
		xasprintf("%s:%d", c->place.file != NULL ? c->place.file : "", c->place.line);

	json_object_set_new(row, "stdout_logfile", log_path(&c->out, u->auto_out));
	json_object_set_new(row, "stderr_logfile",
			    c->redirect_stderr ? json_null() : log_path(&c->err, u->auto_err));
	json_object_set_new(row, "command", text(c->command));
	json_object_set_new(row, "directory", text(c->directory));
	json_object_set_new(row, "config", text(place));
	json_object_set_new(row, "start_method", json_string("spawn"));
	json_object_set_new(row, "history", history_of(&u->svc));
}

/* The next rows; the errors come with the last. */
static void produce_status(struct request *r)
{
	bool detail = json_is_true(json_object_get(r->params, "detail"));
	bool compat = json_is_true(json_object_get(r->params, "compat"));
	struct mps_time now = mps_now(), wall = mps_wall();
	json_t *rows = json_array(), *result;
	size_t end = r->at + ROWS_A_PART < r->n_list ? r->at + ROWS_A_PART : r->n_list;
	bool more = end < r->n_list;

	for (; r->at < end; r->at++) {
		json_t *row = row_of(r->list[r->at], now, wall);

		if (detail)
			add_detail(row, r->list[r->at]);
		if (compat)
			json_object_set_new(row, "compat", compat_text(r->list[r->at], now));
		json_array_append_new(rows, row);
	}
	result = json_pack("{s:o}", "processes", rows);
	if (!more && r->rows != NULL)
		json_object_set(result, "errors", r->rows);
	request_answer(r, result, more);
	if (more)
		request_continue(r);
	else
		request_end(r);
}

static void do_status(struct request *r)
{
	if (!find_targets(r)) {
		request_end(r);
		return;
	}
	r->produce = produce_status;
	r->produce(r);
}

/* ------------------------------------------------------------------------------------- start, stop, restart */

static json_t *result_row(const struct unit *u, enum fault code, const char *message)
{
	return json_pack("{s:o, s:i, s:s, s:o, s:s}", "name", text(u->svc.name), "code", (int)code,
			 "status", fault_name(code), "message", text(message), "state",
			 svc_state_name(u->svc.state));
}

/* All results, in parts; unknown targets first. */
static void produce_results(struct request *r)
{
	size_t end = r->at + ROWS_A_PART < r->n_waiters ? r->at + ROWS_A_PART : r->n_waiters;
	json_t *rows = r->at == 0 && r->rows != NULL ? json_incref(r->rows) : json_array();
	bool more = end < r->n_waiters;

	for (; r->at < end; r->at++) {
		const struct waiter *w = r->waiters[r->at];

		json_array_append_new(rows, result_row(w->unit, w->code, w->message));
	}
	request_answer(r, json_pack("{s:o}", "processes", rows), more);
	if (more)
		request_continue(r);
	else
		request_end(r);
}

static void finish_if_done(struct request *r)
{
	if (r->n_pending > 0 || r->produce != NULL)
		return;
	r->produce = produce_results;
	r->produce(r);
}

static struct waiter *add_waiter(struct request *r, struct unit *u, bool for_stop)
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

void method_forget(struct request *r)
{
	for (size_t i = 0; i < r->n_waiters; i++) {
		if (!r->waiters[i]->done)
			settle(r->waiters[i], FAULT_FAILED, "");
		free(r->waiters[i]->message);
		free(r->waiters[i]);
	}
	free(r->waiters);
	r->waiters = NULL;
	r->n_waiters = 0;
}

static void settle_failed_start(struct waiter *w)
{
	const struct svc *s = &w->unit->svc;
	AUTO_FREE char *why = s->last_exit.code != 0 ? svc_exit_text(&s->last_exit) : NULL;

	if (s->spawn_error != NULL)
		settle(w, FAULT_SPAWN_ERROR, s->spawn_error);
	else
		settle(w, FAULT_ABNORMAL_TERMINATION, why != NULL ? why : "ended too early");
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
		settle(w, FAULT_FAILED, "stopped meanwhile");
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
	if (w->unit->svc.passing)
		return;
	if (!w->for_stop)
		check_start(w);
	else if (svc_is_stopped(&w->unit->svc))
		settle(w, FAULT_SUCCESS, "stopped");
}

static void tell_progress(struct request *r, const struct unit *u, enum svc_state from)
{
	if (!r->progress)
		return;
	request_event(r, "state",
		      json_pack("{s:o, s:s, s:s, s:i}", "name", text(u->svc.name), "state",
				svc_state_name(u->svc.state), "from", svc_state_name(from), "pid",
				u->svc.pid));
}

void method_on_state(struct unit *u, enum svc_state from)
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

static bool wants_wait(const struct request *r)
{
	return !json_is_false(json_object_get(r->params, "wait"));
}

static void begin_wait(struct request *r, struct waiter *w, enum svc_event event)
{
	unit_event(w->unit, event, NULL);
	if (!w->done)
		check(w);
	if (!w->done && !wants_wait(r))
		settle(w, FAULT_SUCCESS, w->for_stop ? "stopping" : "starting");
}

static void start_one(struct request *r, struct unit *u)
{
	enum svc_state state = u->svc.state;
	struct waiter *w = add_waiter(r, u, false);
	bool on_its_way = state == SVC_STARTING || (state == SVC_BACKOFF && u->svc.busy > 0);

	if (on_its_way && wants_wait(r))
		w->begun = true; /* the answer is how it ends, as for one that we start */
	else if (on_its_way || state == SVC_RUNNING || state == SVC_BACKOFF)
		settle(w, FAULT_ALREADY_STARTED, "already started");
	else
		begin_wait(r, w, SVC_EV_START);
}

static void stop_one(struct request *r, struct unit *u)
{
	struct waiter *w = add_waiter(r, u, true);

	if (svc_is_stopped(&u->svc))
		settle(w, FAULT_NOT_RUNNING, "not running");
	else
		begin_wait(r, w, SVC_EV_STOP);
}

static void restart_one(struct request *r, struct unit *u)
{
	struct waiter *w = add_waiter(r, u, false);

	begin_wait(r, w, SVC_EV_RESTART);
}

static void for_each_target(struct request *r, void (*one)(struct request *r, struct unit *u))
{
	if (!find_targets(r)) {
		request_end(r);
		return;
	}
	r->progress = json_is_true(json_object_get(r->params, "progress"));
	for (size_t i = 0; i < r->n_list; i++)
		one(r, r->list[i]);
	r->all_told = true;
	finish_if_done(r);
}

/* With no targets: waits for what is on its way up, which is what a fresh supervisor's client wants. */
static void wait_for_starting(struct request *r)
{
	for (size_t i = 0; i < r->sup->n_units; i++) {
		struct unit *u = r->sup->units[i];

		if (!u->svc.conf->autostart)
			continue;
		r->progress = json_is_true(json_object_get(r->params, "progress"));
		add_waiter(r, u, false)->begun = true;
	}
	for (size_t i = 0; i < r->n_waiters; i++) {
		check(r->waiters[i]);
		if (!r->waiters[i]->done && !wants_wait(r))
			settle(r->waiters[i], FAULT_SUCCESS, "starting");
	}
	r->all_told = true;
	finish_if_done(r);
}

static void do_start(struct request *r)
{
	json_t *targets = json_object_get(r->params, "targets");

	if (json_is_array(targets) && json_array_size(targets) == 0)
		wait_for_starting(r);
	else
		for_each_target(r, start_one);
}

static void do_stop(struct request *r)
{
	for_each_target(r, stop_one);
}

static void do_restart(struct request *r)
{
	for_each_target(r, restart_one);
}

/* -------------------------------------------------------------------------------------------------- others */

static void signal_one(struct request *r, struct unit *u)
{
	struct waiter *w = add_waiter(r, u, false);

	if (!svc_is_signallable(&u->svc)) {
		settle(w, FAULT_NOT_RUNNING, "not running");
		return;
	}
	u->svc.ops->signal(&u->svc, r->signal, SVC_SCOPE_MAIN);
	settle(w, FAULT_SUCCESS, "signalled");
}

static void do_signal(struct request *r)
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

static void do_shutdown(struct request *r)
{
	sup_shutdown(r->sup, 0);
	request_answer(r, json_true(), false);
	request_end(r);
}

static void do_info(struct request *r)
{
	const struct sup *s = r->sup;
	json_t *info =
		json_pack("{s:s, s:i, s:o, s:o, s:o, s:s, s:i, s:i, s:f, s:f, s:I, s:o, s:o}",
			  "version", MPSUP_VERSION, "protocol", 1, "name", text(s->options->name),
			  "identifier", text(s->conf->supervisord.identifier), "config",
			  text(s->conf->path), "state",
			  s->phase == SUP_STOPPING ? "STOPPING" : "RUNNING", "keeper_pid",
			  s->keeper_pid, "supervisor_pid", (int)getpid(), "started",
			  seconds(s->started_wall), "uptime",
			  seconds((struct mps_time){ mps_now().ns - s->started.ns }), "programs",
			  (json_int_t)s->n_units, "runtime_dir", text(s->options->dir), "logfile",
			  text(s->log.path));

	request_answer(r, info, false);
	request_end(r);
}

static const struct method {
	const char *name;
	void (*run)(struct request *r);
	bool changes; /* refused while all is being stopped */
} methods[] = {
	{ "info", do_info, false },	    { "status", do_status, false },
	{ "start", do_start, true },	    { "stop", do_stop, false },
	{ "restart", do_restart, true },    { "signal", do_signal, false },
	{ "shutdown", do_shutdown, false },
};

void method_run(struct request *r, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (strcmp(methods[i].name, name) != 0)
			continue;
		if (methods[i].changes && r->sup->phase >= SUP_STOPPING) {
			request_fail(r, FAULT_SHUTDOWN_STATE, "the supervisor is shutting down");
			request_end(r);
			return;
		}
		methods[i].run(r);
		return;
	}
	request_fail(r, FAULT_UNKNOWN_METHOD, "no method '%s'", name);
	request_end(r);
}
