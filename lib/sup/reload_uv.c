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

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "conf/diff.h"
#include "conf/keys.h"
#include "sup/method.h"
#include "sup/pipes_uv.h"
#include "sup/reloaded.h"

/* One that is at work, from the moment when the new configuration is in force. */
struct reload {
	struct conf *old; /* some units still use it */
	struct socket_of *old_sockets;
	struct buf record; /* of the files of the new one, for whoever follows us in the middle */
	size_t n_left;	   /* units that do, or that are going */
	bool was_active;   /* something ran when it began */
};

/* ------------------------------------------------------------------------------------------------ reading */

/* Relative paths mean what they meant at the start. */
static struct conf *load(struct sup *s, bool insecure, struct buf *record)
{
	AUTO_CLOSE int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool moved = s->start_dir >= 0 && here >= 0 && fchdir(s->start_dir) == 0;
	const struct conf_options o = {
		.record = record,
		.insecure = insecure || s->options->insecure,
	};
	struct conf *conf = conf_load(s->conf->path, &o);

	if (moved && fchdir(here) < 0)
		activity_log(&s->log, SVC_LOG_CRIT, "reload: cannot go back: %s", strerror(errno));
	return conf;
}

static void log_error(struct sup *s, const struct conf_message *m)
{
	AUTO_BUF place = BUF_INIT;

	if (m->file != NULL && m->line > 0)
		buf_addf(&place, "%s:%d: ", m->file, m->line);
	else if (m->file != NULL)
		buf_addf(&place, "%s: ", m->file);
	activity_log(&s->log, SVC_LOG_ERRO, "reload: %s%s%s%s", place.len > 0 ? place.p : "",
		     m->key != NULL ? m->key : "", m->key != NULL ? ": " : "", m->text);
}

/* False when there are mistakes; they are told then. */
static bool is_good(struct sup *s, const struct conf *conf, struct reloaded *report)
{
	for (size_t i = 0; i < conf->n_messages; i++) {
		const struct conf_message *m = &conf->messages[i];

		reloaded_message(report, m);
		if (m->level == CONF_ERROR)
			log_error(s, m);
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

void reload_put_off_end(struct sup *s)
{
	if (s->n_active_foreground > 0)
		return;
	s->reload_over = true;
	takeover_save_whole(s);
}

static void take_next(struct unit *u)
{
	unit_use_conf(u, u->next_conf);
	u->next_conf = NULL;
	if (u->next_logs)
		unit_close_logs(u);
	u->next_logs = false;
	u->reload = u->sup->n_reloads;
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

/* With what settings u will be started by this reload; NULL: it will not. */
static const struct conf_proc *will_start(const struct unit *u)
{
	if (u->start_later)
		return u->svc.conf;
	return u->next_conf != NULL && comes_back(u, u->next_conf) ? u->next_conf : NULL;
}

bool reload_brings(const struct sup *s, const char *pipe, enum conf_side side)
{
	for (size_t i = 0; s->reload != NULL && i < s->n_units; i++) {
		const struct conf_proc *conf = will_start(s->units[i]);

		for (size_t k = 0; conf != NULL && k < conf->n_wires; k++)
			if (conf->wires[k].side == side && strcmp(conf->wires[k].pipe, pipe) == 0)
				return true;
	}
	return false;
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
	else
		takeover_save(u);
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
		if (u->reload == s->n_reloads) { /* it has been, before we followed another */
			unit_use_conf(u, row->to);
			break;
		}
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
		if (!s->units[i]->left_over)
			list[s->units[i]->svc.conf - s->conf->procs] = s->units[i];
	return list;
}

static void note(struct reloaded *report, struct unit *u, struct diff_row *row, struct request *r)
{
	const struct conf_proc *p = row->to != NULL ? row->to : row->from;
	struct reloaded_row *told;

	if (row->kind == DIFF_SAME)
		return;
	told = reloaded_add(report, unit_name(p), action_of(u, row), TAKE_PTR(row->keys),
			    row->n_keys);
	if (r != NULL && u != NULL && change_wants_wait(r))
		told->waiter = wait_for(r, u);
}

/* For a look only. While a reload is at work, what runs belongs to two configurations. */
static void note_all(struct sup *s, struct reloaded *report, struct diff *d)
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

/* The new configuration is in force from here on; nothing is done yet about those that run. */
static void enter(struct sup *s, struct conf *conf, struct buf *record, struct socket_of *sockets,
		  struct diff *d, struct reloaded *report, struct request *r)
{
	AUTO_FREE struct unit **of = units_by_conf(s);
	const struct conf *old = s->conf;
	struct reload *reload = xcalloc(1, sizeof(*reload));

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
		if (report != NULL)
			note(report, u, row, r);
	}
	for (size_t i = 0; i < d->n_pipes; i++)
		if (d->pipes[i].kind == DIFF_LIVE)
			pipes_reconfigure(s, d->pipes[i].to->name);
	units_arrange(s);
	takeover_save_whole(
		s); /* before anything is done: whoever follows us goes on with it, and knows the new numbers */
}

/* A list of its own: a request that is answered meanwhile must not disturb it. Stops go from the last to the first. */
static void act_all(struct sup *s)
{
	size_t n = s->n_units;
	AUTO_FREE struct unit **all = xmalloc((n + 1) * sizeof(struct unit *));

	memcpy(all, s->units, n * sizeof(struct unit *));
	while (n > 0)
		act(all[--n]);
	if (--s->reload->n_left == 0)
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

const struct buf *reload_record(const struct sup *s)
{
	return s->reload != NULL ? &s->reload->record : NULL;
}

const struct socket_of *reload_old_sockets(const struct sup *s)
{
	return s->reload != NULL ? s->reload->old_sockets : NULL;
}

void reload_free_old(struct sup *s)
{
	while (s->n_left_over == 0 && s->n_old_confs > 0)
		conf_free(s->old_confs[--s->n_old_confs]);
	if (s->n_old_confs == 0)
		free(TAKE_PTR(s->old_confs));
}

void reload_free(struct sup *s)
{
	if (s->reload == NULL)
		return;
	s->old_confs = xrealloc(s->old_confs, (s->n_old_confs + 1) * sizeof(struct conf *));
	s->old_confs[s->n_old_confs++] = s->reload->old;
	reload_free_old(s);
	sockets_free(s->reload->old_sockets);
	buf_fini(&s->reload->record);
	free(TAKE_PTR(s->reload));
}

static void complete(struct sup *s)
{
	bool was_active = s->reload->was_active || s->reload_over;
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
	pipes_settle(s);
	for (size_t i = 0; i < s->servers.n; i++)
		units_drop_server(s, s->servers.v[i].name);
	takeover_keep(s);
	if (was_active) /* before it is written down that the reload is done: else nobody would look again */
		sup_check_all_ended(s, !s->reload_over);
	s->reload_over = false;
	takeover_save_whole(s);
}

/* ---------------------------------------------------------------------------------------------- asking for */

/* What stands in the way although the files are good. 0 or -errno. */
static int prepare(struct sup *s, const struct conf *conf, const struct buf *record,
		   const struct diff *d, struct socket_of **ret, struct err *err)
{
	size_t n = 0;
	int r;

	for (size_t i = 0; i < d->n; i++)
		n += d->rows[i].kind == DIFF_ADDED;
	if (!units_have_room(s, n + pipes_count_new(s, conf)))
		return err_set(err, -ENOSPC, "%zu processes more are too many for this supervisor",
			       n);
	r = takeover_save_next(s, record);
	if (r < 0)
		return err_set(err, r, "the state: %s", strerror(-r));
	return sockets_open(conf, s->sockets, ret, err);
}

/* Fills the report; the request, if there is one, gets its waiters. */
static void run(struct sup *s, struct reloaded *report, struct request *r, bool dry)
{
	AUTO_BUF record = BUF_INIT;
	bool insecure = r != NULL && json_is_true(json_object_get(r->params, "insecure"));
	struct conf *conf = load(s, insecure, &record);
	struct socket_of *sockets = NULL;
	struct err err = ERR_INIT;
	struct diff *d;

	if (!is_good(s, conf, report)) {
		conf_free(conf);
		return;
	}
	d = diff_new(s->conf, conf);
	if (!dry && prepare(s, conf, &record, d, &sockets, &err) < 0) {
		struct conf_message m = { .text = err.text, .level = CONF_ERROR };

		reloaded_message(report, &m);
		report->n_errors = 1;
		activity_log(&s->log, SVC_LOG_ERRO, "reload: %s: nothing was changed", err.text);
		conf_free(conf);
		diff_free(d);
		return;
	}
	reloaded_own(report, d, true);
	reloaded_own(report, d, false);
	reloaded_pipes(report, d);
	if (dry) {
		note_all(s, report, d);
		conf_free(conf);
	} else {
		s->n_reloads++;
		enter(s, conf, &record, sockets, d, report, r);
		tell_event(s, d);
		act_all(s);
		reloaded_log(s, report);
	}
	diff_free(d);
}

static void again(struct sup *s)
{
	struct reloaded *report = reloaded_new();

	run(s, report, NULL, false);
	reloaded_free(report);
}

/* The next supervisor has read the old configuration when it is asked to follow us: until it has, that stays in force. */
void reload_go_on(struct sup *s)
{
	if (s->phase != SUP_RUNNING || s->upgrading || (s->reload != NULL && s->reload->n_left > 0))
		return;
	if (s->reload != NULL) {
		complete(s);
	} else if (s->n_left_over > 0) { /* some may have had their room */
		units_arrange(s);
		reload_free_old(s);
	}
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
	r->results = reloaded_produce;
	r->report = reloaded_new();
	run(r->sup, r->report, r, dry);
	change_all_told(r);
}

/* ------------------------------------------------------------------------------------------- from another one */

int reload_resume(struct sup *s, const char *record, size_t n, const struct socket_of *kept,
		  struct err *err)
{
	const struct conf_options o = { .replay = record, .replay_size = n };
	struct conf *conf = conf_load(s->conf->path, &o);
	struct socket_of *sockets = NULL;
	AUTO_BUF copy = BUF_INIT;
	struct diff *d;
	int r = sockets_open(conf, kept, &sockets, err);

	if (r < 0) {
		conf_free(conf);
		return r;
	}
	buf_add(&copy, record, n);
	pipes_restore(s, conf);
	d = diff_new(s->conf, conf);
	enter(s, conf, &copy, sockets, d, NULL, NULL);
	diff_free(d);
	return 0;
}

void reload_resumed(struct sup *s)
{
	activity_log(&s->log, SVC_LOG_INFO, "reload: goes on");
	if (s->phase == SUP_RUNNING)
		act_all(s);
}
