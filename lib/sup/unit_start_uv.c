/*
 * One start of a service: the descriptors that its process gets, the pipes of its logs, the message to the keeper, and
 * its turn when the socket is full. When it is started is the machine's business (svc.c), what comes of it unit_uv.c's.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/xalloc.h"
#include "proc/spawn.h"
#include "sup/files.h"
#include "sup/pipes_uv.h"
#include "sup/said.h"
#include "sup/sup_uv.h"

enum { IPC_NAME_MAX = 255 }; /* of a name that is only for people */

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
	keeper_link_send(u->sup, &m, NULL, fds, n);
}

static bool is_terminal(const struct unit *u, const struct conf_log *log)
{
	return (log->kind == CONF_LOG_AUTO && u->sup->options->foreground) ||
	       (log->kind == CONF_LOG_FILE && files_standard_fd(log->path) >= 0);
}

static int refuse_log(const struct unit *u, const struct conf_log *log, bool is_err, int r,
		      struct err *err)
{
	struct conf_place place = { u->svc.conf->place.file, log->line };

	err_set(err, r, "%s %s: %s", is_err ? "stderr_logfile" : "stdout_logfile",
		log->path != NULL ? log->path : "AUTO", path_strerror(-r));
	return worker_fail_at(&u->sup->base, &place, r, err);
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
			return refuse_log(u, log, is_err, -errno, err);
		put_fd(t, child, capture_write_end(*capture), false);
		return 0;
	}
	fd = open_direct(u, log, is_err);
	if (fd < 0)
		return refuse_log(u, log, is_err, fd, err);
	put_fd(t, child, fd, true);
	return 0;
}

/* `fd` of its process is not the file at `path` (any more). */
static bool has_other_file(const struct unit *u, int fd, const char *path, char *ret_has,
			   size_t size)
{
	AUTO_FREE char *link = xasprintf("/proc/%d/fd/%d", (int)u->svc.pid, fd);
	struct stat has, at;
	ssize_t n;

	if (stat(link, &has) < 0 || !S_ISREG(has.st_mode))
		return false;
	if (stat(path, &at) == 0 && at.st_dev == has.st_dev && at.st_ino == has.st_ino)
		return false;
	n = readlink(link, ret_has, size - 1);
	ret_has[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static void tell_moved(const struct unit *u, bool is_err)
{
	const struct conf_log *log = is_err ? &u->svc.conf->err : &u->svc.conf->out;
	const char *path = log->path != NULL ? log->path : is_err ? u->auto_err : u->auto_out;
	char has[PATH_MAX];

	if ((is_err ? u->err : u->out) != NULL || path == NULL || is_terminal(u, log) ||
	    conf_wire_at(u->svc.conf, is_err ? 2 : 1) != NULL)
		return;
	if (has_other_file(u, is_err ? 2 : 1, path, has, sizeof(has)))
		activity_log(&u->sup->log, SVC_LOG_WARN,
			     "%s writes to %s itself, and to %s only after a restart", u->svc.name,
			     has, path);
}

void unit_tell_moved(const struct sup *s)
{
	for (size_t i = 0; i < s->n_units; i++)
		for (int is_err = 0; is_err < 2 && s->units[i]->svc.pid > 0; is_err++)
			tell_moved(s->units[i], is_err);
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

static enum keeper_cleanup cleanup_of(const struct conf_proc *conf)
{
	switch (conf->ipc_cleanup) {
	case CONF_CLEANUP_EXIT:
		return KEEPER_CLEAN_EXIT;
	case CONF_CLEANUP_SHUTDOWN:
		return KEEPER_CLEAN_SHUTDOWN;
	case CONF_CLEANUP_OFF:
		return KEEPER_CLEAN_OFF;
	}
	return KEEPER_CLEAN_EXIT;
}

static int send_start(struct unit *u, const struct mps_spawn *spawn, const struct table *t)
{
	AUTO_FREE char *name = xstrndup(u->svc.name, IPC_NAME_MAX);
	struct keeper_message m = {
		.type = KEEPER_START,
		.instance = u->svc.id,
		.gen = u->svc.gen,
		.start = { .leftovers = leftovers_of(u->svc.conf),
			   .grace = { u->svc.conf->stopwaitsecs * MPS_NS_PER_S },
			   .cleanup = cleanup_of(u->svc.conf),
			   .scan = u->svc.conf->track != CONF_TRACK_OFF,
			   .name = name },
	};
	AUTO_BUF rest = BUF_INIT;

	mps_spawn_encode(spawn, &rest);
	if (rest.failed)
		xalloc_failed();
	return keeper_link_send(u->sup, &m, &rest, t->fds, t->n_fds);
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
void unit_start(struct unit *u)
{
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
