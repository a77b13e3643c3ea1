/*
 * Following another supervisor. What it has left is written by takeover_save_uv.c, its descriptors are found again by
 * takeover_fds_uv.c.
 *
 * What a service is to do is in its record before the keeper hears of it; the keeper tells of every instance as it is.
 * Between the two there is no third thing, so whoever comes next compares: what has happened is fed to the service as if
 * it were just reported, a start or a signal that never arrived is sent again.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/wire.h"
#include "base/xalloc.h"
#include "sup/pipes_uv.h"
#include "sup/said.h"
#include "sup/takeover_uv.h"

int sup_load(const char *path, bool insecure, struct sup_heritage *h, struct conf **ret,
	     struct err *err)
{
	struct conf_options o = { .record = &h->record, .insecure = insecure };
	AUTO_FREE char *texts = NULL;
	int r;

	*h = (struct sup_heritage){ .state.fd = -1 };
	takeover_look_around(h);
	if (h->state.fd < 0) {
		*ret = conf_load(path, &o);
		return 0;
	}
	r = state_open(&h->state, STATE_FD, err);
	if (r < 0)
		return r;
	o.record = NULL;
	r = state_find_text(&h->state, STATE_CONF, 0, &texts, &o.replay, &o.replay_size);
	if (r < 0)
		return err_set(err, r, "the state has no configuration: %s", strerror(-r));
	*ret = conf_load(path, &o);
	return 1;
}

struct takeover {
	struct state_whole whole;
	struct keeper_message welcome;
	uint32_t left; /* INSTANCEs that are still to come */
	int *fds;      /* of the unit whose INSTANCE comes next */
	size_t n_fds;
	uint32_t fds_of;
	bool *told; /* by number: the keeper has said what it is */
	size_t n_running;
};

/* Numbers of records by the hash of their names. */
struct by_name {
	uint64_t name;
	uint32_t id;
};

static int compare_names(const void *a, const void *b)
{
	uint64_t x = ((const struct by_name *)a)->name, y = ((const struct by_name *)b)->name;

	return x < y ? -1 : x > y;
}

struct by_name *takeover_index(const struct sup *s, size_t *ret_n)
{
	struct by_name *list;
	struct state_whole whole;
	size_t n = 0;

	state_get_whole(&s->state, &whole);
	list = xcalloc(whole.next_id + 1, sizeof(*list));
	for (uint32_t id = 1; id < whole.next_id && id < s->state.capacity; id++) {
		struct svc_record r;

		state_get(&s->state, id, &r);
		if (r.name != 0)
			list[n++] = (struct by_name){ r.name, id };
	}
	qsort(list, n, sizeof(*list), compare_names);
	*ret_n = n;
	return list;
}

uint32_t takeover_find(const struct by_name *list, size_t n, const char *name)
{
	const struct by_name key = { svc_name_hash(name), 0 };
	const struct by_name *found = bsearch(&key, list, n, sizeof(key), compare_names);

	return found != NULL ? found->id : 0;
}

void takeover_restore(struct unit *u)
{
	struct sup *s = u->sup;
	const struct svc_rings rings = state_rings(&s->state, u->svc.id);
	struct svc_record r;

	state_get(&s->state, u->svc.id, &r);
	if (r.name == 0 || !svc_restore(&u->svc, &r, &rings))
		return;
	u->exit_status = r.last_status;
	u->reload = r.reload;
	u->restored_gen = u->svc.gen;
	u->ended = svc_is_ended(&u->svc);
}

static void take_text(struct unit *u, enum state_kind kind, const char *p, size_t n)
{
	char **at;

	if (kind == STATE_SAID) {
		said_restore(u, p, n);
		return;
	}
	at = kind == STATE_AUTO_OUT   ? &u->auto_out
	     : kind == STATE_AUTO_ERR ? &u->auto_err
				      : &u->svc.spawn_error;

	free(*at);
	*at = n > 0 ? xstrndup(p, n) : NULL;
	u->saved_error = takeover_hash(u->svc.spawn_error);
}

/* Descriptors first: units_too is false before there are units. */
static void take_texts(struct sup *s, bool units_too)
{
	AUTO_FREE char *texts = NULL;
	struct wire w = { 0 }, names = { 0 };
	enum state_kind kind;
	const char *p;
	uint32_t id;
	size_t n;

	if (state_read_texts(&s->state, &texts, &w.n) < 0)
		return;
	w.p = texts;
	while (state_next_text(&w, &kind, &id, &p, &n)) {
		if (kind == STATE_FDS)
			names = (struct wire){ p, n, false };
		else if (units_too && id > 0 && id < s->n_ids && s->by_id[id] != NULL)
			take_text(s->by_id[id], kind, p, n);
	}
	if (!units_too)
		takeover_take_fds(s, &names);
}

/* From here on the memory of the logs is ours: who had it is gone. */
static int open_log(struct sup *s, struct err *err)
{
	int r;

	if (s->options->heritage->stderr_fd >= 0) {
		dup2(s->options->heritage->stderr_fd, STDERR_FILENO);
		fd_close(&s->options->heritage->stderr_fd);
	}
	activity_fini(&s->log);
	r = capture_open(s, err);
	if (r > 0)
		takeover_keep(s);
	return r < 0 ? r : 0;
}

static void log_it(struct sup *s)
{
	const struct keeper_message *m = &s->takeover->welcome;
	size_t n = s->takeover->n_running;
	const char *how = m->code == CLD_EXITED ? "has exited with status" : "was ended by signal";

	if (m->code == 0)
		activity_log(&s->log, SVC_LOG_INFO,
			     "supervisor (pid %d) has made room for pid %d, mpsup " MPSUP_VERSION
			     ", which has taken over %zu program%s",
			     m->before, (int)getpid(), n, n == 1 ? "" : "s");
	else
		activity_log(&s->log, SVC_LOG_CRIT,
			     "supervisor (pid %d) %s %u; pid %d has taken over %zu program%s",
			     m->before, how, m->status, (int)getpid(), n, n == 1 ? "" : "s");
}

/* A record of what is no unit: by its name nobody may find it any more. */
static void free_id(struct sup *s, uint32_t id, uint32_t gen)
{
	struct svc_record r;

	if (id == 0 || id >= s->n_ids || s->by_id[id] != NULL || pipes_has_id(s, id))
		return;
	state_get(&s->state, id, &r);
	if (r.name != 0)
		units_free_id(s, id, gen > r.gen ? gen : r.gen);
}

int takeover_resume_reload(struct sup *s, const struct socket_of *kept, struct err *err)
{
	const struct takeover *t = s->takeover;
	AUTO_FREE char *texts = NULL;
	const char *p;
	size_t n;

	/* Without a text it was done, but for starting what it has added. */
	if (t == NULL || !t->whole.reloading ||
	    state_find_text(&s->state, STATE_NEXT, t->whole.reload, &texts, &p, &n) < 0)
		return 0;
	return reload_resume(s, p, n, kept, err);
}

void takeover_on_unknown(struct sup *s, const struct keeper_message *m)
{
	struct keeper_message forget = { .type = KEEPER_FORGET, .instance = m->instance };

	keeper_link_send(s, &forget, NULL, NULL, 0);
	free_id(s, m->instance, m->gen);
}

static void finish(struct sup *s)
{
	struct takeover *t = s->takeover;
	struct err err = ERR_INIT;
	bool reloading, again;

	/* Of those that were never started the keeper knows nothing. */
	for (size_t i = 0; i < s->n_units; i++)
		if (!s->units[i]->reconciled)
			unit_reconcile(s->units[i], &(struct keeper_message){ 0 });
	pipes_settle(s);
	for (uint32_t id = 1; id < s->n_ids; id++)
		if (!t->told[id])
			free_id(s, id, 0);
	logs_slots_adopted(&s->logs);
	takeover_write_texts(s, NULL);
	log_it(s);
	sup_tell_log(s);
	events_takeover(s, &t->welcome);
	if (control_open(s, &err) < 0)
		activity_log(&s->log, SVC_LOG_CRIT, "%s", err.text);
	runtime_open(s);
	if (t->whole.phase == SUP_STARTING)
		sup_begin(s);
	else if (t->whole.phase == SUP_STOPPING)
		sup_resume_shutdown(s);
	reloading = t->whole.reloading;
	again = t->whole.reload_again;
	free(t->fds);
	free(t->told);
	free(TAKE_PTR(s->takeover));
	if (s->reload != NULL)
		reload_resumed(s);
	else if (reloading && s->phase == SUP_RUNNING)
		sup_start_new(s); /* which it had added */
	if (again)
		reload_on_signal(s);
	takeover_save_whole(s);
	signals_serve(s);
}

int takeover_begin(struct sup *s, const struct keeper_message *welcome)
{
	struct takeover *t = s->takeover = xcalloc(1, sizeof(*t));
	struct err err = ERR_INIT;
	int r;

	t->welcome = *welcome;
	t->left = welcome->count;
	state_get_whole(&s->state, &t->whole);
	s->started.ns = t->whole.started;
	s->started_wall.ns = t->whole.started_wall;
	s->exit_status = t->whole.exit_status;
	s->asked_to_end = t->whole.asked_to_end;
	s->kill_all = t->whole.kill_all;
	s->n_reloads = t->whole.reload;
	s->reload_over = t->whole.reload_over;
	memcpy(s->heard, t->whole.heard, sizeof(s->heard));
	s->phase = t->whole.phase == SUP_STOPPING ? SUP_STOPPING : SUP_RUNNING;
	take_texts(s, false);
	takeover_close_unknown(s);
	r = open_log(s, &err);
	if (r == 0)
		r = notify_open(s, &err);
	if (r == 0)
		r = sup_make_programs(s, &err);
	if (r < 0) {
		activity_log(&s->log, SVC_LOG_CRIT, "cannot take over: %s", err.text);
		return r;
	}
	take_texts(s, true);
	t->told = xcalloc(s->n_ids, sizeof(*t->told));
	if (t->left == 0)
		finish(s);
	return 0;
}

static void add_fds(int **list, size_t *n_list, int *fds, size_t n)
{
	*list = xrealloc(*list, (*n_list + n) * sizeof(int));
	for (size_t i = 0; i < n; i++)
		(*list)[(*n_list)++] = TAKE_FD(fds[i]);
}

void takeover_on_kept(struct sup *s, const struct keeper_message *m, int *fds, size_t n)
{
	struct takeover *t = s->takeover;

	if (n == 0)
		return;
	if (m->instance == 0) {
		add_fds(&s->handed, &s->n_handed, fds, n);
	} else if (t != NULL) {
		add_fds(&t->fds, &t->n_fds, fds, n);
		t->fds_of = m->instance;
	}
}

/* No program of the configuration: somebody has taken it out, and was killed before it was ended. */
static void end_unknown(struct sup *s, const struct keeper_message *m)
{
	struct keeper_message kill = {
		.type = KEEPER_SIGNAL,
		.instance = m->instance,
		.gen = m->gen,
		.signal = SIGKILL,
		.scope = KEEPER_SCOPE_TREE,
	};

	if (m->state > KEEPER_IS_ENDING) {
		takeover_on_unknown(s, m);
		return;
	}
	activity_log(&s->log, SVC_LOG_WARN, "pid %d is of no program any more: killing it", m->pid);
	keeper_link_send(s, &kill, NULL, NULL, 0);
}

/* Its record was refused, but the keeper has started it: it goes on as what the keeper says that it is. */
static void adopt_unrecorded(struct unit *u, const struct keeper_message *m)
{
	bool begun = m->state == KEEPER_IS_BEGUN || m->state == KEEPER_IS_FAILED;
	const struct svc_record r = {
		.name = svc_name_hash(u->svc.name),
		.gen = m->gen,
		.state = begun ? SVC_STARTING : SVC_RUNNING,
		.pid = begun ? 0 : m->pid,
		.started = m->started.ns,
		.started_wall = mps_wall().ns - (mps_now().ns - m->started.ns),
		.changed = mps_now().ns,
		.changed_wall = mps_wall().ns,
	};

	if (u->svc.gen != 0 || m->gen == 0 || !svc_restore(&u->svc, &r, &(struct svc_rings){ 0 }))
		return;
	activity_log(
		&u->sup->log, SVC_LOG_CRIT,
		"what is written down about %s makes no sense: it goes on as it is, with pid %d",
		u->svc.name, m->pid);
	u->restored_gen = u->svc.gen;
	sup_on_state(u, SVC_STOPPED);
	takeover_save(u);
}

void takeover_on_instance(struct sup *s, const struct keeper_message *m)
{
	struct takeover *t = s->takeover;
	struct unit *u = m->instance < s->n_ids ? s->by_id[m->instance] : NULL;
	bool has_fds, is_pipe;

	if (t == NULL)
		return;
	has_fds = t->n_fds > 0 && t->fds_of == m->instance;
	is_pipe = has_fds && pipes_adopt(s, m->instance, t->fds, t->n_fds);
	if (u != NULL && has_fds)
		unit_adopt(u, t->fds, t->n_fds);
	for (size_t i = 0; i < t->n_fds; i++)
		fd_close(&t->fds[i]);
	t->n_fds = 0;
	t->n_running += m->state <= KEEPER_IS_ALIVE;
	if (m->instance < s->n_ids)
		t->told[m->instance] = true;
	if (u != NULL) {
		adopt_unrecorded(u, m);
		unit_reconcile(u, m);
	} else if (!is_pipe)
		end_unknown(s, m);
	if (--t->left == 0)
		finish(s);
}
