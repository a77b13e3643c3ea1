/*
 * The runtime directory while we run: when somebody removes it, the lock in it or the control socket, they are made
 * again. rundir.c says how, control_uv.c binds the socket.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "sup/rundir.h"
#include "sup/sup_uv.h"

enum { SETTLE_MS = 100 }; /* rm -r is let finish, else it finds its directory full again */

struct runtime {
	struct sup *sup;
	uv_fs_event_t watch; /* of the directory, or of what is left above it */
	uv_timer_t settle;
	struct stat lock, socket; /* as we know them */
	char *lock_path;
	int lock_fd; /* -1 until we had to make one; the first is the keeper's */
	bool failed; /* and that was told */
	int n_open;
};

static bool is_same(const char *path, const struct stat *known)
{
	struct stat st;

	return lstat(path, &st) == 0 && st.st_dev == known->st_dev && st.st_ino == known->st_ino;
}

static bool is_whole(const struct runtime *rt)
{
	return is_same(rt->lock_path, &rt->lock) && is_same(rt->sup->socket_path, &rt->socket);
}

static void remember(struct runtime *rt)
{
	if (lstat(rt->lock_path, &rt->lock) < 0 || lstat(rt->sup->socket_path, &rt->socket) < 0)
		memset(&rt->socket, 0, sizeof(rt->socket)); /* gone already: never whole */
}

/* -------------------------------------------------------------------------------------------------- making */

static int make_directory(const char *dir, struct err *err)
{
	struct stat st;

	/* With user= it lies in a folder of root's, where we could not make it. */
	if (lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
	    (st.st_mode & rundir_forbidden(geteuid())) == 0)
		return 0;
	return rundir_make(dir, geteuid(), getegid(), err);
}

static int take_lock(struct runtime *rt, struct err *err)
{
	struct sup *s = rt->sup;
	int fd, r = rundir_lock(s->options->dir, s->options->name, &fd, err);
	if (r < 0)
		return r;
	fd_close(&rt->lock_fd);
	rt->lock_fd = fd;
	rundir_write_pid(fd, s->keeper_pid);
	return 0;
}

static int make_lock(struct runtime *rt, struct err *err)
{
	return is_same(rt->lock_path, &rt->lock) ? 0 : take_lock(rt, err);
}

static int make_again(struct runtime *rt, struct err *err)
{
	int r = make_directory(rt->sup->options->dir, err);

	if (r == 0)
		r = make_lock(rt, err);
	if (r == 0)
		r = control_listen(rt->sup, err);
	if (r == 0) {
		takeover_keep(rt->sup);
		remember(rt);
		sup_say_hello(rt->sup); /* the tracker's socket has gone too */
	}
	return r;
}

/* ------------------------------------------------------------------------------------------------ watching */

static void on_settled(uv_timer_t *timer);

static void on_change(uv_fs_event_t *watch, const char *file, int events, int status)
{
	struct runtime *rt = watch->data;

	(void)file;
	(void)events;
	(void)status;
	if (!uv_is_active((uv_handle_t *)&rt->settle))
		uv_timer_start(&rt->settle, on_settled, SETTLE_MS, 0);
}

/* The directory, or the lowest one above it that there is: something may be made there that lets us make ours. */
static void watch_lowest(struct runtime *rt)
{
	AUTO_FREE char *path = xstrdup(rt->sup->options->dir);
	char *slash;

	uv_fs_event_stop(&rt->watch);
	while (uv_fs_event_start(&rt->watch, on_change, path, 0) < 0 &&
	       (slash = strrchr(path, '/')) != NULL && slash != path)
		*slash = '\0';
}

static void mend(struct runtime *rt)
{
	struct activity *log = &rt->sup->log;
	struct err err = ERR_INIT;

	if (make_again(rt, &err) == 0) {
		activity_log(log, SVC_LOG_WARN, "%s or what was in it had been removed: made again",
			     rt->sup->options->dir);
		rt->failed = false;
	} else if (!rt->failed) {
		activity_log(log, SVC_LOG_CRIT,
			     "%s or what was in it has been removed, and nobody can ask us: %s",
			     rt->sup->options->dir, err.text);
		rt->failed = true;
	}
}

static void on_settled(uv_timer_t *timer)
{
	struct runtime *rt = timer->data;

	if (!is_whole(rt))
		mend(rt);
	/* A watch ends with its directory, so it is laid anew, and what came before it is looked for. */
	watch_lowest(rt);
	if (!rt->failed && !is_whole(rt))
		on_change(&rt->watch, NULL, 0, 0);
}

/* --------------------------------------------------------------------------------------------- opening, closing */

void runtime_open(struct sup *s)
{
	struct runtime *rt = xcalloc(1, sizeof(*rt));

	rt->sup = s;
	rt->lock_fd = -1;
	rt->lock_path = xasprintf("%s/lock", s->options->dir);
	rt->n_open = 2;
	uv_fs_event_init(&s->loop, &rt->watch);
	uv_timer_init(&s->loop, &rt->settle);
	rt->watch.data = rt->settle.data = rt;
	s->runtime = rt;
	watch_lowest(rt);
	/* The keeper has it, unless it is one that the supervisor before us had to make. */
	take_lock(rt, NULL);
	remember(rt);
	if (!is_whole(rt))
		on_change(&rt->watch, NULL, 0, 0);
}

static void on_closed(uv_handle_t *handle)
{
	struct runtime *rt = handle->data;

	if (--rt->n_open > 0)
		return;
	fd_close(&rt->lock_fd);
	free(rt->lock_path);
	free(rt);
}

void runtime_close(struct sup *s)
{
	if (s->runtime == NULL)
		return;
	uv_close((uv_handle_t *)&s->runtime->watch, on_closed);
	uv_close((uv_handle_t *)&s->runtime->settle, on_closed);
	s->runtime = NULL;
}
