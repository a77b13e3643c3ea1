/*
 * Following files. See trail.h. The file itself is watched for what is added, its folder for a new one in its place.
 */
#include "mpsup/trail.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "sup/logfile.h"

enum {
	BLOCK = 64 << 10,
	FILE_EVENTS = IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF,
	FOLDER_EVENTS =
		IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR,
	TRIES = 16, /* of opening what is in our place: it may be replaced again and again */
};

struct trail {
	char *path;
	const char *base; /* in path, behind the last slash */
	size_t index;	  /* in trails.list */
	int fd;		  /* -1 = none yet */
	off_t at;
	int folder;	 /* watch of its folder; -1 = none */
	bool is_lost;	 /* nothing is in its place: all folders above are watched */
	bool complained; /* that it cannot be read */
	void *user;
};

int trails_init(struct trails *ts, const struct trail_on *on, struct err *err)
{
	*ts = (struct trails){ .inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .on = on };
	if (ts->inotify < 0)
		return err_set(err, -errno, "inotify: %s%s", strerror(errno),
			       errno == EMFILE ? "; see fs.inotify.max_user_instances" : "");
	return 0;
}

static void trail_free(struct trail *t)
{
	fd_close(&t->fd);
	free(t->path);
	free(t);
}

void trails_fini(struct trails *ts)
{
	for (size_t i = 0; i < ts->n; i++)
		trail_free(ts->list[i]);
	free(ts->list);
	free(ts->wds);
	fd_close(&ts->inotify);
}

static void note(struct trails *ts, struct trail *t, const char *text)
{
	AUTO_FREE char *line = xasprintf("%s: %s", t->path, text);

	ts->on->note(line, t->user);
}

/* ------------------------------------------------------------------------------------------------------ watches */

static int watch(struct trails *ts, struct trail *t, const char *path, uint32_t events)
{
	int wd = inotify_add_watch(ts->inotify, path, events);

	if (wd < 0 && errno == ENOSPC && !t->complained) {
		t->complained = true;
		note(ts, t, "cannot be followed: fs.inotify.max_user_watches is too small");
	}
	return wd;
}

static void watch_file(struct trails *ts, struct trail *t)
{
	char link[40];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", t->fd);
	ts->wds[t->index] = watch(ts, t, link, FILE_EVENTS);
}

/* The kernel has one watch for a file, however many ask for it. */
static void unwatch_file(struct trails *ts, struct trail *t)
{
	int wd = ts->wds[t->index];

	ts->wds[t->index] = -1;
	for (size_t i = 0; i < ts->n; i++)
		if (ts->wds[i] == wd)
			return;
	if (wd >= 0)
		inotify_rm_watch(ts->inotify, wd);
}

static void watch_folder(struct trails *ts, struct trail *t)
{
	AUTO_FREE char *folder = xstrndup(t->path, (size_t)(t->base - t->path));

	t->folder = watch(ts, t, folder, FOLDER_EVENTS);
}

/*
 * The folders above it too, as far as they are there. That the own one is removed would not be told, as the open file keeps
 * it. From the top, so that what is made meanwhile is told.
 */
static void watch_all_above(struct trails *ts, struct trail *t)
{
	for (const char *at = t->path; (at = strchr(at, '/')) != NULL && at + 1 < t->base; at++) {
		AUTO_FREE char *folder = xstrndup(t->path, (size_t)(at - t->path) + 1);

		if (watch(ts, t, folder, FOLDER_EVENTS) < 0)
			return;
	}
	watch_folder(ts, t);
}

/* ------------------------------------------------------------------------------------------------------ reading */

static void read_on(struct trails *ts, struct trail *t)
{
	static char block[BLOCK];
	struct stat st;
	ssize_t n;

	if (t->fd < 0)
		return;
	if (fstat(t->fd, &st) == 0 && st.st_size < t->at) {
		note(ts, t, "was truncated");
		ts->on->cut(t->user);
		t->at = 0;
	}
	while ((n = pread(t->fd, block, sizeof(block), t->at)) > 0) {
		t->at += n;
		ts->on->data(block, (size_t)n, t->user);
	}
}

static void read_backups(struct trails *ts, struct trail *t, struct logfile *l)
{
	char block[BLOCK];
	struct err err = ERR_INIT;
	ssize_t n;

	while ((n = logfile_read(l, block, sizeof(block), &err)) > 0)
		ts->on->data(block, (size_t)n, t->user);
	if (n < 0)
		ts->on->note(err.text, t->user);
}

/* Another file is in the place of ours: the rest of ours, then what was rotated away since, then that. */
static void change_over(struct trails *ts, struct trail *t)
{
	struct err err = ERR_INIT;
	struct logfile l;
	bool moved;

	read_on(ts, t);
	if (logfile_open(&l, t->path, &err) < 0) {
		if (!t->complained)
			ts->on->note(err.text, t->user);
		t->complained = true;
		return;
	}
	t->complained = false;
	moved = t->fd >= 0 && logfile_start_behind(&l, t->fd);
	if (t->fd >= 0 && !moved)
		ts->on->cut(t->user);
	unwatch_file(ts, t);
	fd_close(&t->fd);
	read_backups(ts, t, &l);
	t->fd = logfile_take_fd(&l, &t->at);
	logfile_close(&l);
	watch_file(ts, t);
	read_on(ts, t);
}

enum place { OURS, ANOTHER, NOTHING };

/* What is where our file was, or should be. */
static enum place look(const struct trail *t)
{
	struct stat there, ours;

	if (stat(t->path, &there) < 0)
		return NOTHING;
	if (t->fd < 0 || fstat(t->fd, &ours) < 0)
		return ANOTHER;
	return ours.st_ino == there.st_ino && ours.st_dev == there.st_dev ? OURS : ANOTHER;
}

/* Each watch comes before the look that it is for. */
static void check(struct trails *ts, struct trail *t)
{
	enum place place = look(t);

	for (int i = 0; i < TRIES && place == ANOTHER; i++) {
		watch_folder(ts, t);
		change_over(ts, t);
		if (t->complained)
			return;
		place = look(t);
	}
	if (place == NOTHING && !t->is_lost) {
		t->is_lost = true;
		watch_all_above(ts, t);
		check(ts, t);
		return;
	}
	t->is_lost = place == NOTHING;
	read_on(ts, t);
}

struct trail *trails_add(struct trails *ts, const char *path, int fd, off_t at, void *user)
{
	struct trail *t = xcalloc(1, sizeof(*t));
	char *slash;

	*t = (struct trail){
		.path = xstrdup(path), .index = ts->n, .fd = fd, .at = at, .user = user
	};
	slash = strrchr(t->path, '/');
	t->base = slash != NULL ? slash + 1 : t->path;
	ts->list = xrealloc(ts->list, (ts->n + 1) * sizeof(struct trail *));
	ts->wds = xrealloc(ts->wds, (ts->n + 1) * sizeof(*ts->wds));
	ts->list[ts->n] = t;
	ts->wds[ts->n++] = -1;
	if (fd >= 0)
		watch_file(ts, t);
	watch_folder(ts, t);
	check(ts, t);
	return t;
}

void trails_drop(struct trails *ts, struct trail *t)
{
	size_t last = ts->n - 1;

	read_on(ts, t);
	unwatch_file(ts, t);
	ts->list[t->index] = ts->list[last];
	ts->list[t->index]->index = t->index;
	ts->wds[t->index] = ts->wds[last];
	ts->n = last;
	trail_free(t);
}

void trails_drain(struct trails *ts)
{
	for (size_t i = 0; i < ts->n; i++)
		check(ts, ts->list[i]);
}

/* ------------------------------------------------------------------------------------------------------- events */

static void take_for_file(struct trails *ts, struct trail *t, uint32_t mask)
{
	if (mask & IN_IGNORED)
		ts->wds[t->index] = -1;
	read_on(ts, t);
	if (mask & ~(uint32_t)IN_MODIFY)
		check(ts, t);
}

/* Of one that is lost anything that was made may be the way to it. */
static void take_for_folder(struct trails *ts, struct trail *t, const struct inotify_event *e)
{
	if (t->is_lost && e->mask & (IN_CREATE | IN_MOVED_TO))
		watch_all_above(ts, t);
	else if (t->folder != e->wd || (e->len > 0 && strcmp(e->name, t->base) != 0))
		return;
	check(ts, t);
}

static void take(struct trails *ts, const struct inotify_event *e)
{
	if (e->mask & IN_Q_OVERFLOW) {
		trails_drain(ts);
		return;
	}
	for (size_t i = 0; i < ts->n; i++) {
		if (ts->wds[i] == e->wd)
			take_for_file(ts, ts->list[i], e->mask);
		if (!(e->mask & IN_MODIFY))
			take_for_folder(ts, ts->list[i], e);
	}
}

void trails_take(struct trails *ts)
{
	_Alignas(struct inotify_event) char events[16 << 10];
	ssize_t n = read(ts->inotify, events, sizeof(events));

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *e = (const struct inotify_event *)(events + at);

		take(ts, e);
		at += (ssize_t)sizeof(*e) + e->len;
	}
}
