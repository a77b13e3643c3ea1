/*
 * Another configuration, while everything runs. It is read as a whole, and any mistake means that nothing changes. Else
 * what differs is done process by process (conf/diff.h): what is the same is not touched; a change that needs no restart
 * is in force at once; one that does when the process has ended; what is gone is stopped. When all of that has come to
 * rest, what went is forgotten and what is new is started: it may want the port that an old one had.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "conf/diff.h"
#include "conf/keys.h"
#include "sup/method.h"
#include "sup/pipes_uv.h"

enum { MESSAGES_MAX = 200 }; /* in an answer */

/* One that is at work, from the moment when the new configuration is in force. */
struct reload {
	struct conf *old; /* some units still use it */
	struct socket_of *old_sockets;
	struct buf
		record; /* of the files of the new one: whoever follows us in the middle begins anew, from the old one */
	size_t n_left;	 /* units that do, or that are going */
	bool was_active; /* something ran when it began */
};

/* What is told of one process, or of the supervisor. */
struct report_row {
	char *name;
	const char *action;
	const struct key **keys;
	size_t n_keys;
	struct waiter *waiter; /* NULL = nothing is waited for */
};

struct report {
	json_t *messages;
	size_t n_errors;
	struct report_row *rows;
	size_t n, cap;
};

/* ------------------------------------------------------------------------------------------------- report */

static struct report *report_new(void)
{
	struct report *report = xcalloc(1, sizeof(*report));

	report->messages = json_array();
	return report;
}

void report_free(struct report *report)
{
	if (report == NULL)
		return;
	for (size_t i = 0; i < report->n; i++) {
		free(report->rows[i].name);
		free(report->rows[i].keys);
	}
	free(report->rows);
	json_decref(report->messages);
	free(report);
}

/* Takes name and keys. The row stays where it is only until the next. */
static struct report_row *report_add(struct report *report, char *name, const char *action,
				     const struct key **keys_of_it, size_t n)
{
	if (report->n == report->cap) {
		report->cap = 2 * report->cap + 16;
		report->rows = xrealloc(report->rows, report->cap * sizeof(*report->rows));
	}
	report->rows[report->n] = (struct report_row){ name, action, keys_of_it, n, NULL };
	return &report->rows[report->n++];
}

/* Those of [supervisord]: what is in force now, and what a start of its own needs. */
static void report_own(struct report *report, const struct diff *d, bool live)
{
	const struct key **list = xmalloc((d->n_own + 1) * sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < d->n_own; i++)
		if (!!(d->own[i]->flags & KEY_LIVE) == live)
			list[n++] = d->own[i];
	if (n == 0) {
		free(list);
		return;
	}
	report_add(report, xstrdup("[supervisord]"), live ? diff_kind_word(DIFF_LIVE) : "pending",
		   list, n);
}

static const char *pipe_action(enum diff_kind kind)
{
	return kind == DIFF_RESTART ? "made anew" : diff_kind_word(kind);
}

static void report_pipes(struct report *report, struct diff *d)
{
	for (size_t i = 0; i < d->n_pipes; i++) {
		struct diff_pipe *row = &d->pipes[i];
		const struct conf_pipe *p = row->to != NULL ? row->to : row->from;

		if (row->kind != DIFF_SAME)
			report_add(report, xasprintf("[pipe:%s]", p->name), pipe_action(row->kind),
				   TAKE_PTR(row->keys), row->n_keys);
	}
}

static void report_message(struct report *report, const struct conf_message *m)
{
	static const char *const words[] = { "error", "warning", "note" };

	if (m->level == CONF_NOTE || json_array_size(report->messages) >= MESSAGES_MAX)
		return;
	json_array_append_new(report->messages,
			      json_pack("{s:o, s:i, s:s, s:o, s:o}", "file", method_text(m->file),
					"line", m->line, "level", words[m->level], "key",
					method_text(m->key), "text", method_text(m->text)));
}

static void log_row(struct sup *s, const struct report_row *row)
{
	AUTO_BUF line = BUF_INIT;

	buf_addf(&line, "reload: %s %s", row->name, row->action);
	for (size_t i = 0; i < row->n_keys; i++)
		buf_addf(&line, "%s%s", i == 0 ? " (" : ", ", row->keys[i]->name);
	buf_adds(&line, row->n_keys > 0 ? ")" : "");
	if (line.failed)
		abort();
	activity_log(&s->log, SVC_LOG_INFO, "%s", line.p);
}

static void log_report(struct sup *s, const struct report *report)
{
	for (size_t i = 0; i < report->n; i++)
		log_row(s, &report->rows[i]);
	if (report->n == 0)
		activity_log(&s->log, SVC_LOG_INFO, "reload: nothing has changed");
}

static json_t *json_of(const struct report_row *row)
{
	json_t *one = row->waiter != NULL ? change_row(row->waiter) : json_object();
	json_t *list = json_array();

	for (size_t i = 0; i < row->n_keys; i++)
		json_array_append_new(list, json_string(row->keys[i]->name));
	json_object_set_new(one, "name", method_text(row->name));
	json_object_set_new(one, "action", json_string(row->action));
	json_object_set_new(one, "keys", list);
	return one;
}

static void produce_report(struct request *r)
{
	const struct report *report = r->report;
	size_t end = r->at + METHOD_ROWS < report->n ? r->at + METHOD_ROWS : report->n;
	json_t *rows = json_array(), *result;
	bool more = end < report->n;

	for (; r->at < end; r->at++)
		json_array_append_new(rows, json_of(&report->rows[r->at]));
	result = json_pack("{s:o}", "processes", rows);
	if (!more) {
		json_object_set(result, "messages", report->messages);
		json_object_set_new(result, "errors", json_integer((json_int_t)report->n_errors));
	}
	request_answer(r, result, more);
	if (more)
		request_continue(r);
	else
		request_end(r);
}

/* ------------------------------------------------------------------------------------------------ reading */

/* Relative paths mean what they meant at the start. */
static struct conf *load(struct sup *s, struct buf *record)
{
	AUTO_CLOSE int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool moved = s->start_dir >= 0 && here >= 0 && fchdir(s->start_dir) == 0;
	struct conf *conf = conf_load(s->conf->path, &(struct conf_options){ .record = record });

	if (moved && fchdir(here) < 0)
		activity_log(&s->log, SVC_LOG_CRIT, "reload: cannot go back: %s", strerror(errno));
	return conf;
}

/* False when there are mistakes; they are told then. */
static bool is_good(struct sup *s, const struct conf *conf, struct report *report)
{
	for (size_t i = 0; i < conf->n_messages; i++) {
		const struct conf_message *m = &conf->messages[i];

		report_message(report, m);
		if (m->level == CONF_ERROR)
			activity_log(&s->log, SVC_LOG_ERRO, "reload: %s:%d: %s%s%s",
				     m->file != NULL ? m->file : "", m->line,
				     m->key != NULL ? m->key : "", m->key != NULL ? ": " : "",
				     m->text);
	}
	report->n_errors = conf->n_errors;
	if (conf->n_errors > 0)
		activity_log(&s->log, SVC_LOG_ERRO, "reload: %zu error%s: nothing was changed",
			     conf->n_errors, conf->n_errors == 1 ? "" : "s");
	return conf->n_errors == 0;
}

/* --------------------------------------------------------------------------------------------- applying it */

static void let_go(struct unit *u)
{
	if (--u->sup->reload->n_left == 0)
		sup_later(u->sup);
}

static void take_next(struct unit *u)
{
	unit_use_conf(u, u->next_conf);
	u->next_conf = NULL;
	if (u->next_logs)
		unit_close_logs(u);
	u->next_logs = false;
	let_go(u);
}

void reload_on_state(struct unit *u)
{
	if (u->next_conf != NULL && !svc_is_signallable(&u->svc))
		take_next(u);
	if (u->leaving && svc_is_ended(&u->svc)) {
		u->leaving = false;
		let_go(u);
	}
}

/* The keys that decide where output goes. */
static bool is_about_logs(const struct key *key)
{
	return strncmp(key->name, "std", 3) == 0 || strncmp(key->name, "log_", 4) == 0 ||
	       strcmp(key->name, "redirect_stderr") == 0;
}

/* One that is down: a program given up or ended gets another chance; one that was stopped by a request stays so. */
static bool comes_back(const struct unit *u, const struct conf_proc *next)
{
	if (u->svc.state == SVC_STOPPING)
		return u->svc.want_start;
	if (!svc_is_stopped(&u->svc))
		return true;
	return next->autostart && (u->svc.state != SVC_STOPPED || svc_is_fresh(&u->svc));
}

static void restart(struct unit *u)
{
	bool starts = comes_back(u, u->next_conf);

	if (u->svc.state == SVC_STOPPING)
		return; /* what follows was decided, and takes the new settings along */
	if (svc_is_signallable(&u->svc)) {
		unit_event(u, SVC_EV_RESTART, NULL);
		return;
	}
	take_next(u);
	if (starts)
		unit_event(u, SVC_EV_START, NULL);
}

static void act(struct unit *u)
{
	if (u->next_conf != NULL)
		restart(u);
	else if (u->leaving && !svc_is_stopped(&u->svc))
		unit_event(u, SVC_EV_STOP, NULL);
	else if (u->leaving)
		reload_on_state(u);
}

/* What becomes of u, without any event yet. */
static void mark(struct unit *u, const struct diff_row *row)
{
	struct sup *s = u->sup;

	switch (row->kind) {
	case DIFF_SAME:
	case DIFF_LIVE:
		unit_use_conf(u, row->to);
		break;
	case DIFF_RESTART:
		u->next_conf = row->to;
		for (size_t i = 0; i < row->n_keys; i++)
			u->next_logs = u->next_logs || is_about_logs(row->keys[i]);
		s->reload->n_left++;
		break;
	case DIFF_ADDED:
		u->start_later = row->to->autostart;
		break;
	case DIFF_REMOVED:
		u->removed = u->leaving = true;
		s->reload->n_left++;
		break;
	}
}

static const char *action_of(const struct unit *u, const struct diff_row *row)
{
	if (row->kind == DIFF_RESTART && u != NULL && !comes_back(u, row->to))
		return "changed";
	return diff_kind_word(row->kind);
}

/* What the one who asked for the reload waits for at u. */
static struct waiter *wait_for(struct request *r, struct unit *u)
{
	struct waiter *w;

	if (u->removed)
		return svc_is_stopped(&u->svc) ? NULL : change_wait(r, u, true);
	if (u->start_later)
		return change_wait(r, u, false);
	if (u->next_conf == NULL || (svc_is_stopped(&u->svc) && !comes_back(u, u->next_conf)))
		return NULL;
	if (u->svc.state == SVC_STOPPING && u->svc.stop_asked && !u->svc.want_start)
		return change_wait(r, u, true);
	w = change_wait(r, u, false);
	w->begun = u->svc.state == SVC_STOPPING;
	return w;
}

/* By the place of their settings in the configuration that is in force. */
static struct unit **units_by_conf(const struct sup *s)
{
	struct unit **list = xcalloc(s->conf->n_procs + 1, sizeof(*list));

	for (size_t i = 0; i < s->n_units; i++)
		list[s->units[i]->svc.conf - s->conf->procs] = s->units[i];
	return list;
}

static void note(struct report *report, struct unit *u, struct diff_row *row, struct request *r)
{
	const struct conf_proc *p = row->to != NULL ? row->to : row->from;
	struct report_row *told;

	if (row->kind == DIFF_SAME)
		return;
	told = report_add(report, unit_name(p), action_of(u, row), TAKE_PTR(row->keys),
			  row->n_keys);
	if (r != NULL && u != NULL && change_wants_wait(r))
		told->waiter = wait_for(r, u);
}

/* For a look only. While a reload is at work, what runs belongs to two configurations. */
static void note_all(struct sup *s, struct report *report, struct diff *d)
{
	AUTO_FREE struct unit **of = s->reload == NULL ? units_by_conf(s) : NULL;

	for (size_t i = 0; i < d->n; i++) {
		struct diff_row *row = &d->rows[i];

		note(report,
		     of != NULL && row->from != NULL ? of[row->from - s->conf->procs] : NULL, row,
		     NULL);
	}
}

static void tell_event(struct sup *s, const struct diff *d)
{
	json_t *added = json_array(), *removed = json_array(), *changed = json_array();

	for (size_t i = 0; i < d->n; i++) {
		const struct diff_row *row = &d->rows[i];
		const struct conf_proc *p = row->to != NULL ? row->to : row->from;
		json_t *list = row->kind == DIFF_ADDED	   ? added
			       : row->kind == DIFF_REMOVED ? removed
							   : changed;
		AUTO_FREE char *name = unit_name(p);

		if (row->kind != DIFF_SAME)
			json_array_append_new(list, method_text(name));
	}
	events_reload(s, json_pack("{s:o, s:o, s:o}", "added", added, "removed", removed, "changed",
				   changed));
}

/* The new configuration is in force from here on; what it means for those that run is begun. */
static void apply(struct sup *s, struct conf *conf, struct buf *record, struct socket_of *sockets,
		  struct diff *d, struct report *report, struct request *r)
{
	AUTO_FREE struct unit **of = units_by_conf(s);
	AUTO_FREE struct unit **all = NULL;
	const struct conf *old = s->conf;
	struct reload *reload = xcalloc(1, sizeof(*reload));
	size_t n;

	reload->was_active = s->n_active > 0;
	reload->n_left = 1; /* until all were told */
	reload->old_sockets = s->sockets;
	reload->record = *record;
	*record = (struct buf)BUF_INIT;
	s->sockets = sockets;
	s->reload = reload;
	takeover_keep(s);
	reload->old = sup_use_conf(s, conf);
	for (size_t i = 0; i < d->n; i++) {
		struct diff_row *row = &d->rows[i];
		struct unit *u =
			row->from != NULL ? of[row->from - old->procs] : units_add(s, row->to);

		mark(u, row);
		note(report, u, row, r);
	}
	for (size_t i = 0; i < d->n_pipes; i++)
		if (d->pipes[i].kind == DIFF_LIVE)
			pipes_reconfigure(s, d->pipes[i].to->name);
	units_arrange(s);
	takeover_save_whole(
		s); /* before anything is done: whoever follows us begins it anew, and knows the new numbers */
	tell_event(s, d);
	/* A list of its own: a request that is answered meanwhile must not disturb it. Stops go from the last to the first. */
	n = s->n_units;
	all = xmalloc((n + 1) * sizeof(struct unit *));
	memcpy(all, s->units, n * sizeof(struct unit *));
	while (n > 0)
		act(all[--n]);
	if (--reload->n_left == 0)
		sup_later(s);
}

static void start_added(struct sup *s)
{
	for (size_t i = 0; i < s->n_units; i++) {
		struct unit *u = s->units[i];

		if (!u->start_later)
			continue;
		u->start_later = false;
		unit_event(u, SVC_EV_START, NULL);
	}
}

const struct socket_of *reload_old_sockets(const struct sup *s)
{
	return s->reload != NULL ? s->reload->old_sockets : NULL;
}

void reload_free(struct sup *s)
{
	if (s->reload == NULL)
		return;
	conf_free(s->reload->old);
	sockets_free(s->reload->old_sockets);
	buf_fini(&s->reload->record);
	free(TAKE_PTR(s->reload));
}

static void complete(struct sup *s)
{
	bool was_active = s->reload->was_active;
	int r = takeover_write_texts(s, &s->reload->record);

	if (r < 0)
		activity_log(&s->log, SVC_LOG_CRIT,
			     "reload: the state: %s: the configuration is lost if the supervisor "
			     "is killed",
			     strerror(-r));
	units_arrange(s);
	pipes_arrange(s);
	start_added(s);
	reload_free(s);
	takeover_keep(s);
	takeover_save_whole(s);
	if (was_active)
		sup_check_all_ended(s, true);
}

/* ---------------------------------------------------------------------------------------------- asking for */

/* What stands in the way although the files are good. 0 or -errno. */
static int prepare(struct sup *s, const struct conf *conf, const struct diff *d,
		   struct socket_of **ret, struct err *err)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n; i++)
		n += d->rows[i].kind == DIFF_ADDED;
	if (!units_have_room(s, n + pipes_count_new(s, conf)))
		return err_set(err, -ENOSPC, "%zu processes more are too many for this supervisor",
			       n);
	return sockets_open(conf, s->sockets, ret, err);
}

/* Fills the report; the request, if there is one, gets its waiters. */
static void run(struct sup *s, struct report *report, struct request *r, bool dry)
{
	AUTO_BUF record = BUF_INIT;
	struct conf *conf = load(s, &record);
	struct socket_of *sockets = NULL;
	struct err err = ERR_INIT;
	struct diff *d;

	if (!is_good(s, conf, report)) {
		conf_free(conf);
		return;
	}
	d = diff_new(s->conf, conf);
	if (!dry && prepare(s, conf, d, &sockets, &err) < 0) {
		struct conf_message m = { .text = err.text, .level = CONF_ERROR };

		report_message(report, &m);
		report->n_errors = 1;
		activity_log(&s->log, SVC_LOG_ERRO, "reload: %s: nothing was changed", err.text);
		conf_free(conf);
		diff_free(d);
		return;
	}
	report_own(report, d, true);
	report_own(report, d, false);
	report_pipes(report, d);
	if (dry) {
		note_all(s, report, d);
		conf_free(conf);
	} else {
		apply(s, conf, &record, sockets, d, report, r);
		log_report(s, report);
	}
	diff_free(d);
}

static void again(struct sup *s)
{
	struct report *report = report_new();

	run(s, report, NULL, false);
	report_free(report);
}

/* The next supervisor has read the old configuration when it is asked to follow us: until it has, that stays in force. */
void reload_go_on(struct sup *s)
{
	if (s->phase != SUP_RUNNING || s->upgrading || (s->reload != NULL && s->reload->n_left > 0))
		return;
	if (s->reload != NULL)
		complete(s);
	if (!s->reload_again)
		return;
	s->reload_again = false;
	again(s);
	takeover_save_whole(s); /* also where nothing has come of it */
}

/* Written down first: it is as good as done. */
void reload_on_signal(struct sup *s)
{
	s->reload_again = true; /* the file may have changed since it was read */
	takeover_save_whole(s);
	if (s->takeover == NULL)
		reload_go_on(s);
}

void method_reload(struct request *r)
{
	bool dry = json_is_true(json_object_get(r->params, "dry_run"));

	if (!dry && (r->sup->reload != NULL || r->sup->upgrading)) {
		request_fail(
			r, FAULT_FAILED,
			r->sup->upgrading
				? "an upgrade is under way"
				: "a reload is at work, and not all that it stops has ended yet");
		request_end(r);
		return;
	}
	if (r->sup->phase != SUP_RUNNING) {
		request_fail(r, FAULT_FAILED, "the supervisor is still starting");
		request_end(r);
		return;
	}
	r->progress = json_is_true(json_object_get(r->params, "progress"));
	r->results = produce_report;
	r->report = report_new();
	run(r->sup, r->report, r, dry);
	change_all_told(r);
}
