/*
 * One service's effects: what the machine in svc.c asks for is done here, what the keeper reports is turned into its
 * events. Nothing here decides.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "proc/spawn.h"
#include "sup/files.h"
#include "sup/pipes_uv.h"
#include "sup/said.h"
#include "sup/sup_uv.h"

/* --------------------------------------------------------------------------------------------------- start */

/* The descriptors of one start: rows for 0, 1, 2 and the ends of pipes, and what travels with the message. */
struct table {
	struct mps_fd rows[4 + CONF_WIRES_MAX];
	size_t n_rows;
	int fds[4 + CONF_WIRES_MAX];
	size_t n_fds;
	bool owned[4 + CONF_WIRES_MAX];
};
_Static_assert(4 + CONF_WIRES_MAX < KEEPER_FDS_MAX, "a long description is a descriptor too");

static void put_role(struct table *t, int child, int role)
{
	t->rows[child] = (struct mps_fd){ child, role, MPS_FD_ROLE };
}

static void put_fd(struct table *t, int child, int fd, bool owned)
{
	t->rows[child] = (struct mps_fd){ child, (int)t->n_fds, 0 };
	t->fds[t->n_fds] = fd;
	t->owned[t->n_fds++] = owned;
}

static void table_fini(struct table *t)
{
	for (size_t i = 0; i < t->n_fds; i++)
		if (t->owned[i])
			fd_close(&t->fds[i]);
}

static bool wants_prefix(const struct unit *u)
{
	const char *prefix = u->svc.conf->log_prefix;

	return prefix == NULL ? u->sup->options->foreground : strcasecmp(prefix, "none") != 0;
}

/* A device or a FIFO is none. */
static bool is_rotated(const struct conf_log *log)
{
	struct stat st;

	if (log->maxbytes <= 0)
		return false;
	return log->kind == CONF_LOG_AUTO || stat(log->path, &st) < 0 || S_ISREG(st.st_mode);
}

/* Somebody has to look at the bytes: to rotate the file, or to do something with each line. */
static bool is_captured(const struct unit *u, const struct conf_log *log, bool to_terminal)
{
	const char *prefix = u->svc.conf->log_prefix;

	if (log->kind == CONF_LOG_NONE && !log->syslog)
		return false;
	if (u->svc.conf->log_timestamp || u->sup->conf->supervisord.strip_ansi || log->syslog)
		return true;
	if (!to_terminal && is_rotated(log))
		return true;
	return to_terminal ? wants_prefix(u) : prefix != NULL && strcasecmp(prefix, "none") != 0;
}

/* Where the stream of a program goes when nobody looks at the bytes: a descriptor of its own, or -errno. */
static int open_direct(struct unit *u, const struct conf_log *log, bool is_err)
{
	char **path = is_err ? &u->auto_err : &u->auto_out;
	int fd;

	if (log->kind == CONF_LOG_FILE)
		return files_open_log(log->path, 0644);
	if (u->sup->options->foreground)
		return files_open_log(is_err ? "/dev/stderr" : "/dev/stdout", 0);
	if (*path != NULL && (fd = files_open_log(*path, 0600)) >= 0)
		return fd;
	free(TAKE_PTR(*path));
	fd = files_make_auto(u->sup->conf, u->svc.conf->name, is_err ? "stderr" : "stdout", path);
	if (fd >= 0)
		takeover_save_auto(u, is_err);
	return fd;
}

/*
 * The keeper holds the log pipes too, so that no worker finds them broken when the supervisor dies. Which one it is tells
 * the order of its ends: of standard error the one for writing comes first. Our end of the channel is the last.
 */
static void keep_pipes(struct unit *u)
{
	struct keeper_message m = { .type = KEEPER_KEEP, .instance = u->svc.id };
	int fds[5];
	size_t n = 0;

	for (int i = 0; i < 2; i++) {
		const struct capture *c = i ? u->err : u->out;

		if (c == NULL)
			continue;
		fds[n + (size_t)i] = capture_read_end(c);
		fds[n + (size_t)!i] = capture_write_end(c);
		n += 2;
	}
	if (u->channel != NULL)
		fds[n++] = channel_fd(u->channel);
	link_send(u->sup, &m, NULL, fds, n);
}

static bool is_terminal(const struct unit *u, const struct conf_log *log)
{
	return (log->kind == CONF_LOG_AUTO && u->sup->options->foreground) ||
	       (log->kind == CONF_LOG_FILE && files_standard_fd(log->path) >= 0);
}

static int put_stream(struct unit *u, struct table *t, bool is_err, struct err *err)
{
	const struct conf_log *log = is_err ? &u->svc.conf->err : &u->svc.conf->out;
	struct capture **capture = is_err ? &u->err : &u->out;
	int child = is_err ? 2 : 1, fd;

	if (log->kind == CONF_LOG_NONE && !log->syslog) {
		put_role(t, child, MPS_FD_NULL);
		return 0;
	}
	if (is_captured(u, log, is_terminal(u, log))) {
		if (*capture == NULL && (*capture = capture_new(u, is_err)) != NULL)
			keep_pipes(u);
		if (*capture == NULL)
			return err_set(err, -errno, "%s: %s",
				       is_err ? "stderr_logfile" : "stdout_logfile",
				       strerror(errno));
		put_fd(t, child, capture_write_end(*capture), false);
		return 0;
	}
	fd = open_direct(u, log, is_err);
	if (fd < 0)
		return err_set(err, fd, "%s %s: %s", is_err ? "stderr_logfile" : "stdout_logfile",
			       log->path != NULL ? log->path : "AUTO", strerror(-fd));
	put_fd(t, child, fd, true);
	return 0;
}

static int put_wires(struct unit *u, struct table *t, struct err *err)
{
	const struct conf_proc *conf = u->svc.conf;

	for (size_t i = 0; i < conf->n_wires; i++) {
		const struct conf_wire *w = &conf->wires[i];
		struct mps_fd *row = &t->rows[w->fd <= 2 ? (size_t)w->fd : t->n_rows++];
		int fd = pipes_end(u, w, err);

		if (fd < 0)
			return fd;
		*row = (struct mps_fd){ w->fd, (int)t->n_fds, 0 };
		t->owned[t->n_fds] = true;
		t->fds[t->n_fds++] = fd;
	}
	return 0;
}

static int put_channel(struct unit *u, struct table *t, struct err *err)
{
	int end, r;

	if (!worker_has_channel(u->svc.conf)) {
		if (u->channel != NULL) { /* before a reload it had */
			channel_close(u);
			keep_pipes(u);
		}
		return 0;
	}
	r = channel_make(u, &end);
	if (r < 0)
		return err_set(err, r, "control: %s", strerror(-r));
	keep_pipes(u);
	t->rows[t->n_rows++] = (struct mps_fd){ worker_channel_fd(u->svc.conf), (int)t->n_fds, 0 };
	t->owned[t->n_fds] = true;
	t->fds[t->n_fds++] = end;
	return 0;
}

static void put_stdin(struct unit *u, struct table *t)
{
	const struct conf_proc *conf = u->svc.conf;

	if (conf->kind == CONF_FCGI_PROGRAM)
		put_fd(t, 0, sockets_find(u->sup->sockets, conf), false);
	else
		put_role(t, 0, conf->stdin_mode == CONF_STDIN_NULL ? MPS_FD_NULL : MPS_FD_IDLE);
}

static int fill_table(struct unit *u, struct table *t, struct err *err)
{
	const struct conf_proc *conf = u->svc.conf;
	int r = 0;

	t->n_rows = 3;
	put_stdin(u, t);
	if (conf_wire_at(conf, 1) == NULL)
		r = put_stream(u, t, false, err);
	if (r == 0 && !conf->redirect_stderr && conf_wire_at(conf, 2) == NULL)
		r = put_stream(u, t, true, err);
	if (r == 0)
		r = put_wires(u, t, err);
	if (r < 0)
		return r;
	if (conf->redirect_stderr) {
		t->rows[2] = t->rows[1];
		t->rows[2].child = 2;
	}
	return put_channel(u, t, err);
}

static enum keeper_leftovers leftovers_of(const struct conf_proc *conf)
{
	switch (conf->kill_mode) {
	case CONF_KILL_TREE:
		return KEEPER_LEFT_END;
	case CONF_KILL_GROUP:
		return KEEPER_LEFT_GROUP;
	case CONF_KILL_PROCESS:
		return KEEPER_LEFT_KEEP;
	}
	return KEEPER_LEFT_END;
}

static int send_start(struct unit *u, const struct mps_spawn *spawn, const struct table *t)
{
	struct keeper_message m = {
		.type = KEEPER_START,
		.instance = u->svc.id,
		.gen = u->svc.gen,
		.start = { .leftovers = leftovers_of(u->svc.conf),
			   .grace = { u->svc.conf->stopwaitsecs * MPS_NS_PER_S } },
	};
	AUTO_BUF rest = BUF_INIT;

	mps_spawn_encode(spawn, &rest);
	if (rest.failed)
		abort();
	return link_send(u->sup, &m, &rest, t->fds, t->n_fds);
}

static void start_now(struct unit *u)
{
	struct svc *svc = &u->svc;
	struct worker_spawn w = { 0 };
	struct err err = ERR_INIT;
	struct table t = { 0 };
	int r;

	r = worker_prepare(&u->sup->base, svc->conf, svc->name, svc->gen, &w, &err);
	/* Who asks for a start wants what is on disk now; one that has only crashed goes on with what it had. */
	w.spawn.renew = svc->restarts == 0 && svc->backoff == 0;
	if (r == 0)
		r = fill_table(u, &t, &err);
	if (r == 0) {
		w.spawn.fds = t.rows;
		w.spawn.n_fds = t.n_rows;
		r = send_start(u, &w.spawn, &t);
		if (r < 0)
			err_set(&err, r, "keeper: %s", strerror(-r));
	}
	if (r < 0) {
		sup_defer(u->sup, u, xstrdup(err.text), mps_error_passes(-r));
	}
	table_fini(&t);
	worker_spawn_fini(&w);
}

/*
 * While the socket is full a start waits as a unit, not as a message: ten thousand descriptions in memory are more than
 * all else that the supervisor holds.
 */
static void on_start(struct svc *svc)
{
	struct unit *u = svc->user;
	struct sup *s = u->sup;

	takeover_save(u); /* before the keeper hears of it, so that it is never started twice */
	if (s->link.first == NULL && s->start_first == NULL) {
		start_now(u);
		return;
	}
	if (u->in_start)
		return;
	u->in_start = true;
	u->next_start = NULL;
	if (s->start_last != NULL)
		s->start_last->next_start = u;
	else
		s->start_first = u;
	s->start_last = u;
}

void unit_start_waiting(struct sup *s)
{
	while (s->phase != SUP_DONE && s->link.first == NULL && s->start_first != NULL) {
		struct unit *u = s->start_first;

		s->start_first = u->next_start;
		if (s->start_first == NULL)
			s->start_last = NULL;
		u->in_start = false;
		if (u->svc.state == SVC_STARTING)
			start_now(u);
		else /* stopped meanwhile: the machine waits for the answer to its start */
			sup_defer(s, u, xstrdup("stopped before it was started"), false);
	}
}

/* -------------------------------------------------------------------------------------------- other effects */

static void on_signal(struct svc *svc, int sig, enum svc_scope scope)
{
	static const enum keeper_scope scopes[] = {
		[SVC_SCOPE_MAIN] = KEEPER_SCOPE_MAIN,
		[SVC_SCOPE_GROUP] = KEEPER_SCOPE_GROUP,
		[SVC_SCOPE_TREE] = KEEPER_SCOPE_TREE,
	};
	struct unit *u = svc->user;
	struct keeper_message m = {
		.type = KEEPER_SIGNAL,
		.instance = svc->id,
		.gen = svc->gen,
		.signal = (uint32_t)sig,
		.scope = scopes[scope],
	};

	link_send(u->sup, &m, NULL, NULL, 0);
}

static bool on_ask(struct svc *svc)
{
	return channel_say(svc->user, "STOP", "1") == 0;
}

/* Before a program pays for its silence, what it has said is heard: perhaps it was we who were late. */
static void on_timer(uv_timer_t *timer)
{
	struct unit *u = timer->data;

	if (u->svc.state == SVC_RUNNING || u->svc.conf->ready == CONF_READY_NOTIFY) {
		notify_listen(u->sup);
		channel_listen(u);
	}
	unit_event(u, SVC_EV_TIMER, NULL);
}

/* Rounded up to libuv's milliseconds, so that the time has come when the timer fires. */
static void on_timer_set(struct svc *svc, struct mps_time at)
{
	struct unit *u = svc->user;
	int64_t left;

	if (at.ns == 0) {
		uv_timer_stop(&u->timer);
		return;
	}
	uv_update_time(&u->sup->loop);
	left = at.ns - (int64_t)uv_now(&u->sup->loop) * MPS_NS_PER_MS;
	uv_timer_start(&u->timer, on_timer,
		       left <= 0 ? 0 : (uint64_t)((left + MPS_NS_PER_MS - 1) / MPS_NS_PER_MS), 0);
}

static void on_state(struct svc *svc, enum svc_state from)
{
	sup_on_state(svc->user, from);
}

static void on_log(struct svc *svc, enum svc_level level, const char *text)
{
	struct unit *u = svc->user;

	activity_log(&u->sup->log, level, "%s", text);
}

static uint32_t on_random(struct svc *svc)
{
	uint32_t v = 0;

	(void)svc;
	if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v))
		v = (uint32_t)mps_now().ns;
	return v;
}

static const struct svc_ops ops = {
	.start = on_start,
	.signal = on_signal,
	.ask = on_ask,
	.timer = on_timer_set,
	.on_state = on_state,
	.log = on_log,
	.random = on_random,
};

/* -------------------------------------------------------------------------------------------------- events */

void unit_event(struct unit *u, enum svc_event event, const struct svc_arg *arg)
{
	svc_event(&u->svc, event, arg, mps_now());
	takeover_save(u);
}

static void join_busy(struct unit *u)
{
	struct sup *s = u->sup;

	if (u->in_busy)
		return;
	u->in_busy = true;
	u->next_busy = NULL;
	if (s->busy_last != NULL)
		s->busy_last->next_busy = u;
	else
		s->busy_first = u;
	s->busy_last = u;
}

void unit_relief(struct sup *s)
{
	while (s->busy_first != NULL) {
		struct unit *u = s->busy_first;

		s->busy_first = u->next_busy;
		if (s->busy_first == NULL)
			s->busy_last = NULL;
		u->in_busy = false;
		if (u->svc.state != SVC_BACKOFF || u->svc.busy == 0)
			continue;
		unit_event(u, SVC_EV_RELIEF, NULL);
		return;
	}
}

void unit_fail(struct unit *u, const char *text, bool passes)
{
	struct svc_arg arg = { .text = text };

	/* Not one that was being stopped before it was there, nor each further try for a resource. */
	if (u->svc.state == SVC_STARTING && u->svc.pid == 0 && (!passes || u->svc.busy == 0))
		events_spawn_error(u, text);
	unit_event(u, passes ? SVC_EV_SPAWN_BUSY : SVC_EV_SPAWN_FAILED, &arg);
	if (passes && u->svc.state == SVC_BACKOFF)
		join_busy(u);
}

static void on_failed(struct unit *u, const struct keeper_message *m)
{
	AUTO_FREE char *text = worker_failure_text(&u->sup->base, u->svc.conf,
						   (enum mps_step)m->code, (int)m->status, m->text);

	unit_fail(u, text, mps_error_passes((int)m->status));
}

static void drain(struct unit *u, bool is_end)
{
	if (u->out != NULL)
		capture_drain(u->out, is_end);
	if (u->err != NULL)
		capture_drain(u->err, is_end);
}

static void on_exited(struct unit *u, const struct keeper_message *m)
{
	struct svc_arg arg = {
		.exit = { .code = (int)m->code,
			  .status = (int)m->status,
			  .tree_left = m->tree_left,
			  .wall = m->time },
	};

	u->exit_status = arg.exit.code == CLD_EXITED ? arg.exit.status : 128 + arg.exit.status;
	/* What is left of its tree may be in the middle of a line. */
	drain(u, !m->tree_left);
	if (svc_is_signallable(&u->svc) && !u->svc.exited)
		events_exit(u, m->pid, &arg.exit);
	unit_event(u, SVC_EV_EXITED, &arg);
	unit_relief(u->sup);
}

static void on_reaped(struct sup *s, const struct keeper_message *m)
{
	struct svc_exit e = { .code = (int)m->code, .status = (int)m->status };
	AUTO_FREE char *text = svc_exit_text(&e);

	activity_log(&s->log, SVC_LOG_INFO, "reaped unknown pid %d (%s)", m->pid, text);
}

static void on_unit_message(struct unit *u, const struct keeper_message *m)
{
	struct svc_arg arg = { .pid = m->pid };

	if (m->gen != u->svc.gen)
		return; /* an answer to an earlier start */
	if (m->type == KEEPER_STARTED) {
		unit_event(u, SVC_EV_STARTED, &arg);
		unit_relief(u->sup);
	} else if (m->type == KEEPER_FAILED) {
		on_failed(u, m);
	} else if (m->type == KEEPER_EXITED) {
		on_exited(u, m);
	} else if (m->type == KEEPER_GONE) {
		drain(u, true);
		unit_event(u, SVC_EV_GONE, NULL);
		unit_relief(u->sup);
	}
}

void unit_on_message(struct sup *s, const struct keeper_message *m)
{
	if (m->type == KEEPER_WELCOME)
		sup_on_welcome(s, m);
	else if (m->type == KEEPER_REAPED)
		on_reaped(s, m);
	else if (m->type == KEEPER_INSTANCE)
		takeover_on_instance(s, m);
	else if (m->type == KEEPER_SERVER && m->text != NULL)
		servers_set(&s->servers, m->text, m->pid, m->count);
	else if (m->type == KEEPER_RETIRE)
		upgrade_retire(s);
	else if (m->type == KEEPER_SIGNALLED)
		signals_on_told(s, m);
	else if (m->type == KEEPER_REFUSED)
		upgrade_on_refused(s, m);
	else if (m->instance < s->n_ids && s->by_id[m->instance] != NULL)
		on_unit_message(s->by_id[m->instance], m);
	else if (m->type == KEEPER_GONE || (m->type == KEEPER_EXITED && !m->tree_left))
		takeover_on_unknown(s, m);
}

/* ------------------------------------------------------------------------------------------------ takeover */

/* As keep_pipes() has left them. Whether one is wanted was decided when it was made: its program writes to it. */
void unit_adopt(struct unit *u, int *fds, size_t n)
{
	for (; n >= 2; fds += 2, n -= 2) {
		bool is_err = (fcntl(fds[0], F_GETFL) & O_ACCMODE) == O_WRONLY;
		struct capture **capture = is_err ? &u->err : &u->out;

		*capture = capture_adopt(u, is_err, (int[]){ fds[is_err], fds[!is_err] });
		if (*capture != NULL)
			fds[0] = fds[1] = -1;
		else
			activity_log(&u->sup->log, SVC_LOG_CRIT, "the output of %s is not read: %s",
				     u->svc.name, strerror(errno));
	}
	if (n == 1 && channel_adopt(u, fds[0]) == 0)
		fds[0] = -1;
}

static void reconcile_started(struct unit *u, const struct keeper_message *m)
{
	struct svc_arg arg = { .pid = m->pid };

	if (u->svc.pid != 0 || u->svc.exited)
		return;
	svc_event(&u->svc, SVC_EV_STARTED, &arg, m->started);
	takeover_save(u);
}

static void reconcile_exited(struct unit *u, const struct keeper_message *m)
{
	struct keeper_message exited = *m;

	exited.tree_left = m->state == KEEPER_IS_ENDING;
	reconcile_started(u, m);
	if (!u->svc.exited && !svc_is_stopped(&u->svc) && u->svc.state != SVC_BACKOFF)
		on_exited(u, &exited);
	else if (u->svc.exited && m->state == KEEPER_IS_ENDED) {
		drain(u, true);
		unit_event(u, SVC_EV_GONE, NULL);
	}
}

static void reconcile_same(struct unit *u, const struct keeper_message *m)
{
	switch ((enum keeper_instance)m->state) {
	case KEEPER_IS_BEGUN:
		break;
	case KEEPER_IS_ALIVE:
		reconcile_started(u, m);
		break;
	case KEEPER_IS_ENDING:
	case KEEPER_IS_ENDED:
		reconcile_exited(u, m);
		return;
	case KEEPER_IS_FAILED:
		on_failed(u, m);
		return;
	}
	svc_repeat_stop(&u->svc, m->sent);
}

/* The START was never sent. */
static void reconcile_unsent(struct unit *u)
{
	if (u->svc.state == SVC_STARTING)
		on_start(&u->svc);
	else if (u->svc.state == SVC_STOPPING)
		unit_fail(u, "stopped before it was started", false);
}

void unit_reconcile(struct unit *u, const struct keeper_message *m)
{
	struct svc *svc = &u->svc;

	u->reconciled = true;
	/* Its resource came back, or a client was faster: it has gone on already. */
	if (svc->gen != u->restored_gen)
		return;
	if (svc->timer_at.ns != 0)
		on_timer_set(svc, svc->timer_at);
	if (svc->state == SVC_BACKOFF && svc->busy > 0)
		join_busy(u);
	/* While there was no supervisor nobody heard it. */
	if (svc->state == SVC_RUNNING)
		unit_event(u, SVC_EV_ALIVE, NULL);
	if (m->gen == svc->gen && m->gen != 0)
		reconcile_same(u, m);
	else
		reconcile_unsent(u);
}

/* ------------------------------------------------------------------------------------------- life of a unit */

char *unit_name(const struct conf_proc *conf)
{
	if (strcmp(conf->group, conf->name) == 0)
		return xstrdup(conf->name);
	return xasprintf("%s:%s", conf->group, conf->name);
}

struct unit *unit_new(struct sup *s, uint32_t id, const struct conf_proc *conf)
{
	struct unit *u = xcalloc(1, sizeof(*u));
	AUTO_FREE char *name = unit_name(conf);

	u->sup = s;
	uv_timer_init(&s->loop, &u->timer);
	u->timer.data = u;
	svc_init(&u->svc, id, name, conf, &ops, u);
	return u;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct unit *u = handle->data;

	svc_fini(&u->svc);
	free(u->auto_out);
	free(u->auto_err);
	free(u->failure);
	said_free(u->said);
	free(u);
}

void unit_close_logs(struct unit *u)
{
	struct keeper_message m = { .type = KEEPER_KEEP, .instance = u->svc.id };

	if (u->out != NULL)
		capture_close(TAKE_PTR(u->out));
	if (u->err != NULL)
		capture_close(TAKE_PTR(u->err));
	channel_close(u);
	link_send(u->sup, &m, NULL, NULL, 0);
}

void unit_use_conf(struct unit *u, const struct conf_proc *conf)
{
	bool was_daemon = u->svc.conf->daemon;

	if (!u->ended &&
	    conf != u->svc.conf) { /* in this order: an end that it keeps is not let go */
		pipes_enter(u->sup, conf);
		pipes_leave(u->sup, u->svc.conf);
	}
	u->svc.conf = conf;
	if (!u->ended && was_daemon != conf->daemon)
		u->sup->n_active_foreground += conf->daemon ? (size_t)-1 : 1;
	if (u->out != NULL)
		capture_reconfigure(u->out);
	if (u->err != NULL)
		capture_reconfigure(u->err);
}

void unit_close(struct unit *u)
{
	if (u->out != NULL)
		capture_close(u->out);
	if (u->err != NULL)
		capture_close(u->err);
	channel_close(u);
	uv_close((uv_handle_t *)&u->timer, on_timer_closed);
}
