/*
 * Following another supervisor, and writing down what one that follows us needs.
 *
 * What a service is to do is in its record before the keeper hears of it; the keeper tells of every instance as it is.
 * Between the two there is no third thing, so whoever comes next compares: what has happened is fed to the service as if
 * it were just reported, a start or a signal that never arrived is sent again. state.c is where it is written.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/wire.h"
#include "base/xalloc.h"
#include "proc/tag.h"
#include "sup/control.h"
#include "sup/pipes_uv.h"
#include "sup/said.h"
#include "sup/sup_uv.h"

/* What lib/keeper/keeper.h says of the descriptors that the keeper hands down. */
enum { STDERR_FD = 5, STATE_FD = 6 };

enum { GARBAGE_MAX = 1 << 20 }; /* bytes of replaced texts */

/* --------------------------------------------------------------------------------------- before there is a loop */

/* The last text of that kind and number; it goes into *texts. 0 or -errno. */
static int find_text(const struct state *st, enum state_kind wanted, uint32_t number, char **texts,
		     const char **ret, size_t *ret_n)
{
	struct wire w = { 0 };
	enum state_kind kind;
	const char *p;
	uint32_t id;
	size_t n;
	int r = state_read_texts(st, texts, &w.n);

	w.p = *texts;
	*ret = NULL;
	while (r == 0 && state_next_text(&w, &kind, &id, &p, &n))
		if (kind == wanted && id == number) {
			*ret = p;
			*ret_n = n;
		}
	return r < 0 ? r : *ret == NULL ? -EPROTO : 0;
}

int sup_load(const char *path, struct sup_heritage *h, struct conf **ret, struct err *err)
{
	struct conf_options o = { .record = &h->record };
	AUTO_FREE char *texts = NULL;
	int r;

	*h = (struct sup_heritage){ .state.fd = -1, .stderr_fd = -1 };
	/* Before anything else is opened: what is open was handed down. */
	if (fd_set_cloexec(STDERR_FD, true) == 0)
		h->stderr_fd = STDERR_FD;
	if (fd_set_cloexec(STATE_FD, true) < 0) {
		*ret = conf_load(path, &o);
		return 0;
	}
	r = state_open(&h->state, STATE_FD, err);
	if (r < 0)
		return r;
	o.record = NULL;
	r = find_text(&h->state, STATE_CONF, 0, &texts, &o.replay, &o.replay_size);
	if (r < 0)
		return err_set(err, r, "the state has no configuration: %s", strerror(-r));
	*ret = conf_load(path, &o);
	return 1;
}

/* --------------------------------------------------------------------------------------------- writing it down */

void takeover_save_whole(struct sup *s)
{
	struct state_whole whole = {
		.started = s->started.ns,
		.started_wall = s->started_wall.ns,
		.phase = s->phase,
		.exit_status = s->exit_status,
		.next_id = (uint32_t)s->n_ids,
		.asked_to_end = s->asked_to_end,
		.kill_all = s->kill_all,
		.reload = s->n_reloads,
		.reloading = s->reload != NULL,
		.reload_again = s->reload_again,
	};

	memcpy(whole.heard, s->heard, sizeof(whole.heard));
	if (s->state.head != NULL)
		state_put_whole(&s->state, &whole);
}

static uint32_t hash_error(const char *text)
{
	return text != NULL ? (uint32_t)svc_name_hash(text) | 1 : 0;
}

static void add_text(struct sup *s, enum state_kind kind, uint32_t id, const char *text)
{
	if (s->state.head == NULL)
		return;
	if (s->state.garbage > GARBAGE_MAX)
		takeover_write_texts(s, NULL);
	state_add_text(&s->state, kind, id, text, text != NULL ? strlen(text) : 0);
}

void takeover_save(struct unit *u)
{
	struct sup *s = u->sup;
	struct svc_record before, now;
	struct svc_rings rings;

	if (s->state.head == NULL)
		return;
	if (hash_error(u->svc.spawn_error) != u->saved_error) {
		u->saved_error = hash_error(u->svc.spawn_error);
		add_text(s, STATE_ERROR, u->svc.id, u->svc.spawn_error);
	}
	rings = state_rings(&s->state, u->svc.id);
	state_get(&s->state, u->svc.id, &before);
	svc_save(&u->svc, &before, &now, &rings);
	now.last_status = u->exit_status;
	now.reload = u->reload;
	state_put(&s->state, u->svc.id, &now);
}

void takeover_save_auto(struct unit *u, bool is_err)
{
	add_text(u->sup, is_err ? STATE_AUTO_ERR : STATE_AUTO_OUT, u->svc.id,
		 is_err ? u->auto_err : u->auto_out);
}

static char *said_text(const struct unit *u)
{
	struct buf b = BUF_INIT;

	if (u->said != NULL)
		said_encode(u->said, &b);
	return xbuf_take(&b);
}

void takeover_save_said(struct unit *u)
{
	AUTO_FREE char *text = said_text(u);
	uint32_t hash = text[0] != '\0' ? hash_error(text) : 0;

	if (hash == u->saved_said)
		return;
	u->saved_said = hash;
	add_text(u->sup, STATE_SAID, u->svc.id, text);
}

void takeover_save_gone(struct sup *s, uint32_t id, uint32_t gen)
{
	const struct svc_record r = { .gen = gen };

	if (s->state.head != NULL)
		state_put(&s->state, id, &r);
}

static void encode_unit(struct buf *b, const struct unit *u)
{
	AUTO_FREE char *said = said_text(u);
	const struct {
		enum state_kind kind;
		const char *text;
	} rows[] = { { STATE_ERROR, u->svc.spawn_error },
		     { STATE_AUTO_OUT, u->auto_out },
		     { STATE_AUTO_ERR, u->auto_err },
		     { STATE_SAID, said[0] != '\0' ? said : NULL } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].text != NULL)
			state_encode_text(b, rows[i].kind, u->svc.id, rows[i].text,
					  strlen(rows[i].text));
}

/* Of the memory of the logs, in the order of sup->kept_logs. */
static const char *const log_names[] = { "logs", "logs-out", "logs-in" };

/* The descriptors of instance 0 but the state, and what they are: "INODE MODE control", "INODE MODE fcgi ADDRESS". */
struct fd_list {
	int *fds;
	size_t n;
	struct buf names;
};

static void list_fd(struct fd_list *l, int fd, const char *what, const char *address)
{
	AUTO_FREE char *name = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	name = xasprintf("%ju %d %s %s", (uintmax_t)st.st_ino, fcntl(fd, F_GETFL) & O_ACCMODE, what,
			 address);
	l->fds = xrealloc(l->fds, (l->n + 1) * sizeof(int));
	l->fds[l->n++] = fd;
	wire_put_str(&l->names, name);
}

static void list_sockets(struct fd_list *l, const struct socket_of *o)
{
	for (; o != NULL; o = o->next)
		list_fd(l, o->fd, "fcgi", o->address);
}

/* While a reload is at work both are needed: whoever follows goes on with it. */
static struct fd_list list_fds(struct sup *s)
{
	const int logs[] = { s->logs.memfd, s->logs.mid[0], s->logs.mid[1] };
	struct fd_list l = { .names = BUF_INIT };

	for (size_t i = 0; i < ARRAY_SIZE(logs); i++)
		list_fd(&l, logs[i], log_names[i], "");
	list_fd(&l, s->kept_listener >= 0 ? s->kept_listener : control_listener(s), "control", "");
	list_fd(&l, s->kept_notify >= 0 ? s->kept_notify : notify_fd(s), "notify", "");
	list_sockets(&l, s->sockets);
	list_sockets(&l, reload_old_sockets(s));
	if (l.names.failed)
		abort();
	return l;
}

static void fd_list_fini(struct fd_list *l)
{
	free(l->fds);
	buf_fini(&l->names);
}

int takeover_write_texts(struct sup *s, const struct buf *conf)
{
	AUTO_FREE char *texts = NULL;
	AUTO_BUF all = BUF_INIT;
	const struct buf *next;
	struct fd_list l;
	const char *p = conf != NULL ? conf->p : NULL;
	size_t n = conf != NULL ? conf->len : 0;
	int r = conf != NULL ? 0 : find_text(&s->state, STATE_CONF, 0, &texts, &p, &n);

	if (r < 0)
		return r;
	state_encode_text(&all, STATE_CONF, 0, p, n);
	if (conf == NULL && (next = reload_record(s)) != NULL)
		state_encode_text(&all, STATE_NEXT, s->n_reloads, next->p, next->len);
	l = list_fds(s);
	state_encode_text(&all, STATE_FDS, 0, l.names.p, l.names.len);
	fd_list_fini(&l);
	for (size_t i = 0; i < s->n_units; i++)
		if (!s->units[i]->removed)
			encode_unit(&all, s->units[i]);
	if (all.failed)
		abort();
	return state_replace_texts(&s->state, &all);
}

int takeover_save_next(struct sup *s, const struct buf *conf)
{
	return state_add_text(&s->state, STATE_NEXT, s->n_reloads + 1, conf->p, conf->len);
}

static void send_fds(struct sup *s, const int *fds, size_t n, size_t first)
{
	struct keeper_message m = { .type = KEEPER_KEEP, .first = (uint32_t)first };

	link_send(s, &m, NULL, fds, n);
}

void takeover_keep(struct sup *s)
{
	struct fd_list l;

	if (s->state.head == NULL)
		return;
	l = list_fds(s);
	state_add_text(&s->state, STATE_FDS, 0, l.names.p, l.names.len);
	for (size_t at = 0, step; at < l.n; at += step) {
		step = l.n - at < KEEPER_FDS_MAX ? l.n - at : KEEPER_FDS_MAX;
		send_fds(s, l.fds + at, step, at + 1);
	}
	fd_list_fini(&l);
}

int takeover_open(struct sup *s, struct err *err)
{
	int r = state_create(&s->state, (uint32_t)s->n_ids, err);

	if (r < 0)
		return r;
	r = takeover_write_texts(s, &s->options->heritage->record);
	buf_fini(&s->options->heritage->record);
	if (r < 0)
		return err_set(err, r, "the state: %s", strerror(-r));
	takeover_save_whole(s);
	send_fds(s, &s->state.fd, 1, 0);
	takeover_keep(s);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ taking over */

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

/*
 * A descriptor that was handed down, by its inode, since the list and the descriptors are not always of the same moment;
 * and by its mode, which tells the two ends of a pipe apart.
 */
static int find_fd(const struct sup *s, uintmax_t ino, long mode)
{
	struct stat st;

	for (size_t i = 0; i < s->n_handed; i++)
		if (fstat(s->handed[i], &st) == 0 && st.st_ino == ino &&
		    (fcntl(s->handed[i], F_GETFL) & O_ACCMODE) == mode)
			return s->handed[i];
	return -1;
}

/* What follows the numbers; NULL = no such name. */
static const char *parse_name(const char *name, uintmax_t *ret_ino, long *ret_mode)
{
	char *end;

	*ret_ino = strtoumax(name, &end, 10);
	*ret_mode = strtol(end, &end, 10);
	return *end == ' ' ? end + 1 : NULL;
}

static void take_fds(struct sup *s, struct wire *names)
{
	const char *name;

	while (names->n > 0 && (name = wire_str(names)) != NULL) {
		uintmax_t ino;
		long mode;
		const char *what = parse_name(name, &ino, &mode);
		int fd = what != NULL ? find_fd(s, ino, mode) : -1;

		if (fd < 0)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(log_names); i++)
			if (strncmp(what, log_names[i], strlen(log_names[i])) == 0 &&
			    what[strlen(log_names[i])] == ' ')
				s->kept_logs[i] = fd;
		if (strcmp(what, "control ") == 0)
			s->kept_listener = fd;
		else if (strcmp(what, "notify ") == 0)
			s->kept_notify = fd;
		else if (strncmp(what, "fcgi ", 5) == 0)
			sockets_add(&s->sockets, what + 5, fd);
	}
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
	u->saved_error = hash_error(u->svc.spawn_error);
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
		take_fds(s, &names);
}

static bool is_known_fd(const struct sup *s, int fd)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->kept_logs); i++)
		if (fd == s->kept_logs[i])
			return true;
	for (const struct socket_of *o = s->sockets; o != NULL; o = o->next)
		if (fd == o->fd)
			return true;
	return fd == s->kept_listener || fd == s->kept_notify;
}

static void close_unknown_fds(struct sup *s)
{
	for (size_t i = 0; i < s->n_handed; i++)
		if (!is_known_fd(s, s->handed[i]))
			close(s->handed[i]);
	free(TAKE_PTR(s->handed));
	s->n_handed = 0;
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
	const char *how = m->code == CLD_EXITED ? "has exited with status" : "was ended by signal";

	if (m->code == 0)
		activity_log(&s->log, SVC_LOG_INFO,
			     "supervisor (pid %d) has made room for pid %d, mpsup " MPSUP_VERSION
			     ", which has taken over %zu programs",
			     m->before, (int)getpid(), s->takeover->n_running);
	else
		activity_log(&s->log, SVC_LOG_CRIT,
			     "supervisor (pid %d) %s %u; pid %d has taken over %zu programs",
			     m->before, how, m->status, (int)getpid(), s->takeover->n_running);
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
	    find_text(&s->state, STATE_NEXT, t->whole.reload, &texts, &p, &n) < 0)
		return 0;
	return reload_resume(s, p, n, kept, err);
}

void takeover_on_unknown(struct sup *s, const struct keeper_message *m)
{
	struct keeper_message forget = { .type = KEEPER_FORGET, .instance = m->instance };

	link_send(s, &forget, NULL, NULL, 0);
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
	memcpy(s->heard, t->whole.heard, sizeof(s->heard));
	s->phase = t->whole.phase == SUP_STOPPING ? SUP_STOPPING : SUP_RUNNING;
	take_texts(s, false);
	close_unknown_fds(s);
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
	link_send(s, &kill, NULL, NULL, 0);
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
