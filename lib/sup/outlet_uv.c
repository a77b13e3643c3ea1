/*
 * Sinks in the loop: see outlet_uv.h.
 */
#include "sup/outlet_uv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/xalloc.h"
#include "sup/rotate.h"

enum { RETRY_MS = 100 }; /* a full disk tells nobody when it has room again */

/* ---------------------------------------------------------------------------------------------- compression */

/* Survives its outlet: the thread cannot be stopped at once. */
struct compression {
	uv_work_t work;
	struct outlet *outlet; /* NULL = gone */
	struct rotate_job *job;
};

static void compress_next(struct outlet *o);

static void on_work(uv_work_t *work)
{
	struct compression *c = work->data;

	rotate_job_run(c->job);
}

static void on_worked(uv_work_t *work, int status)
{
	struct compression *c = work->data;
	struct outlet *o = c->outlet;
	int r;

	(void)status;
	r = rotate_job_end(c->job);
	free(c);
	if (o == NULL)
		return;
	o->compression = NULL;
	if (r < 0)
		activity_log(&o->sup->log, SVC_LOG_ERRO, "cannot compress a backup of %s: %s",
			     o->sink.path, path_strerror(-r));
	else
		compress_next(o);
}

static void compress_next(struct outlet *o)
{
	struct sink *k = &o->sink;
	struct compression *c;
	struct rotate_job *job;

	if (!k->compress || k->kind != SINK_FILE || k->backups <= 0 || o->compression != NULL)
		return;
	job = rotate_job_new(k->path, k->backups);
	if (job == NULL)
		return;
	c = xmalloc(sizeof(*c));
	*c = (struct compression){ .outlet = o, .job = job };
	c->work.data = c;
	o->compression = c;
	uv_queue_work(&o->sup->loop, &c->work, on_work, on_worked);
}

static void compress_stop(struct outlet *o)
{
	if (o->compression == NULL)
		return;
	o->compression->outlet = NULL;
	rotate_job_cancel(o->compression->job);
	o->compression = NULL;
}

/* ------------------------------------------------------------------------------------------- dropped backups */

struct closing {
	uv_work_t work;
	int fd;
};

static void on_close_work(uv_work_t *work)
{
	struct closing *c = work->data;

	fd_close(&c->fd);
}

static void on_close_done(uv_work_t *work, int status)
{
	(void)status;
	free(work->data);
}

/* Giving back the blocks of a large file would hold the loop for milliseconds. */
static void close_gone(struct outlet *o)
{
	struct closing *c;

	if (o->sink.gone < 0)
		return;
	c = xmalloc(sizeof(*c));
	c->work.data = c;
	c->fd = TAKE_FD(o->sink.gone);
	uv_queue_work(&o->sup->loop, &c->work, on_close_work, on_close_done);
}

/* -------------------------------------------------------------------------------------------------- writing */

static void on_writable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	outlet_flush(poll->data);
}

static void on_retry(uv_timer_t *timer)
{
	outlet_flush(timer->data);
}

static void wait_for_room(struct outlet *o)
{
	struct epoll_event e = { .events = EPOLLOUT };

	o->waiting = true;
	if (o->epoll >= 0)
		epoll_ctl(o->epoll, EPOLL_CTL_ADD, o->sink.fd, &e); /* or it is watched already */
	if (o->polls)
		uv_poll_start(&o->wait.poll, o->epoll >= 0 ? UV_READABLE : UV_WRITABLE,
			      on_writable);
	else
		uv_timer_start(&o->wait.timer, on_retry, RETRY_MS, 0);
}

static void stop_waiting(struct outlet *o)
{
	if (!o->waiting)
		return;
	o->waiting = false;
	if (o->polls)
		uv_poll_stop(&o->wait.poll);
	else
		uv_timer_stop(&o->wait.timer);
}

static const char *name_of(const struct outlet *o)
{
	return o->sink.path != NULL ? o->sink.path : "the standard output";
}

/* Once, until it works again. */
static void complain(struct outlet *o, int error)
{
	if (o->complained || error == EAGAIN || error == EINTR)
		return;
	o->complained = true;
	activity_log(&o->sup->log, SVC_LOG_CRIT, "cannot write output of programs to %s: %s",
		     name_of(o), path_strerror(error));
}

static void close_if_unused(struct outlet *o);

void outlet_written(struct outlet *o, int error)
{
	struct sink *k = &o->sink;
	bool has_moved = k->written != o->written;
	int trouble = k->trouble;

	k->trouble = 0;
	if (has_moved) {
		o->written = k->written;
		o->progress = mps_now();
	}
	if (k->rotations != o->rotations) {
		for (; o->rotations != k->rotations; o->rotations++)
			events_log_rotated(o->sup, o->unit, k->path);
		close_gone(o);
		compress_next(o);
	}
	if (error != 0 || trouble != 0)
		complain(o, error != 0 ? error : trouble);
	else if (has_moved)
		o->complained = false;
	if (error != 0)
		wait_for_room(o);
	else
		stop_waiting(o);
}

void outlet_flush(struct outlet *o)
{
	int r = sink_flush(&o->sink);

	outlet_written(o, -r);
	if (r == 0) {
		capture_resume(o);
		close_if_unused(o);
	}
}

void outlet_reopen_all(struct sup *s)
{
	struct outlet *o, *next;

	HASH_ITER (hh, s->outlets, o, next)
		if (o->sink.kind == SINK_FILE) {
			sink_reopen(&o->sink);
			outlet_flush(o);
		}
}

/* --------------------------------------------------------------------------------------------- begin and end */

static void add(struct outlet *o, dev_t dev, ino_t inode)
{
	o->id = (struct outlet_id){ dev, inode };
	HASH_ADD(hh, o->sup->outlets, id, sizeof(o->id), o);
}

static void on_changed(struct sink *k, dev_t dev, ino_t inode, void *user)
{
	struct outlet *o = user;

	(void)dev;
	(void)inode;
	HASH_DEL(o->sup->outlets, o);
	add(o, k->dev, k->inode);
	if (o == o->sup->log_file)
		sup_tell_log(o->sup);
}

static struct outlet *find(struct sup *s, dev_t dev, ino_t inode)
{
	struct outlet_id id = { dev, inode };
	struct outlet *o;

	HASH_FIND(hh, s->outlets, &id, sizeof(id), o);
	return o;
}

/* Somebody has moved its file away, and made another with this name: the lines of all go to the new one. */
static struct outlet *find_path(struct sup *s, const char *path)
{
	struct outlet *o = NULL;

	if (path != NULL)
		HASH_FIND(hh_path, s->paths, path, strlen(path), o);
	if (o != NULL)
		sink_reopen(&o->sink);
	return o;
}

static struct outlet *outlet_new(struct sup *s)
{
	struct outlet *o = xcalloc(1, sizeof(*o));

	o->sup = s;
	o->users = 1;
	o->epoll = -1;
	return o;
}

struct outlet *outlet_get(struct sup *s, const struct sink_spec *spec)
{
	struct outlet *o;
	struct stat st;
	int r;

	o = fstat(spec->fd, &st) == 0 ? find(s, st.st_dev, st.st_ino) : NULL;
	if (o == NULL)
		o = find_path(s, spec->path);
	if (o != NULL) {
		if (spec->fd >= 0)
			close(spec->fd);
		sink_set_rotation(&o->sink, spec->maxbytes, spec->backups, spec->compress);
		o->users++;
		return o;
	}
	o = outlet_new(s);
	r = sink_init(&o->sink, &s->logs, spec);
	if (r < 0) {
		free(o);
		errno = -r;
		return NULL;
	}
	o->sink.on_changed = on_changed;
	o->sink.user = o;
	o->is_tty = isatty(o->sink.fd);
	o->polls = o->sink.kind == SINK_STREAM &&
		   uv_poll_init(&s->loop, &o->wait.poll, o->sink.fd) == 0;
	if (!o->polls)
		uv_timer_init(&s->loop, &o->wait.timer);
	o->wait.handle.data = o;
	if (o->sink.fd >= 0)
		add(o, o->sink.dev, o->sink.inode);
	else
		add(o, UINT64_MAX, (uintptr_t)o);
	if (o->sink.kind == SINK_FILE)
		HASH_ADD_KEYPTR(hh_path, s->paths, o->sink.path, strlen(o->sink.path), o);
	compress_next(o);
	if (window_len(&o->sink.window) > 0)
		wait_for_room(o); /* left by the process before us */
	return o;
}

struct outlet *outlet_get_syslog(struct sup *s)
{
	struct outlet *o = find(s, 0, 0);

	if (o != NULL) {
		o->users++;
		return o;
	}
	o = outlet_new(s);
	sink_init_syslog(&o->sink, &s->logs, "/dev/log");
	o->epoll = epoll_create1(EPOLL_CLOEXEC);
	o->polls = o->epoll >= 0 && uv_poll_init(&s->loop, &o->wait.poll, o->epoll) == 0;
	if (!o->polls) {
		fd_close(&o->epoll);
		uv_timer_init(&s->loop, &o->wait.timer);
	}
	o->wait.handle.data = o;
	add(o, 0, 0);
	/* Left by the process before us. Without its daemon it waits for the next line, and is lost with that. */
	if (window_len(&o->sink.window) > 0 && sink_connect_syslog(&o->sink) == 0)
		wait_for_room(o);
	return o;
}

static void on_closed(uv_handle_t *handle)
{
	struct outlet *o = handle->data;

	sink_fini(&o->sink, false);
	fd_close(&o->epoll);
	free(o);
}

static void outlet_close(struct outlet *o)
{
	if (o->closing)
		return;
	o->closing = true;
	compress_stop(o);
	HASH_DEL(o->sup->outlets, o);
	if (o->sink.kind == SINK_FILE)
		HASH_DELETE(hh_path, o->sup->paths, o);
	uv_close(&o->wait.handle, on_closed);
}

static void close_if_unused(struct outlet *o)
{
	if (o->users == 0 && window_len(&o->sink.window) == 0)
		outlet_close(o);
}

void outlet_release(struct outlet *o)
{
	o->users--;
	close_if_unused(o);
}

void outlet_close_all(struct sup *s)
{
	struct outlet *o, *next;

	HASH_ITER (hh, s->outlets, o, next)
		outlet_close(o);
}
