/*
 * What happens in /dev/shm, told by inotify(7): an object that was told of has come into being, and is known by its inode
 * from here on; one has gone; one has another name. Where there is no inotify its identity is looked up when it is told
 * of, and in the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/feature.h"
#include "keeper/tracker.h"

#define TMPFS 0x01021994 /* TMPFS_MAGIC of linux/magic.h */

enum { READ_SIZE = 16 << 10 };

/* What has been read, and which of it is worked off: more is read while one is. */
static struct {
	struct buf events;
	size_t at;
} told;

#define MASK (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR)

bool shm_is_tmpfs(void)
{
	struct statfs fs;

	return statfs(SHM_FOLDER, &fs) == 0 && fs.f_type == TMPFS;
}

void shm_open_watch(struct keeper *k)
{
	struct tracker *t = k->tracker;

	if (t->inotify >= 0 || !feature_allowed(FEATURE_INOTIFY) || !shm_is_tmpfs() ||
	    buf_reserve(&told.events, READ_SIZE) == NULL)
		return;
	t->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (t->inotify < 0)
		return;
	keeper_lift(&t->inotify);
	if (inotify_add_watch(t->inotify, SHM_FOLDER, MASK) < 0 ||
	    keeper_watch(k, t->inotify, EPOLLIN, WATCH_SHM, NO_SLOT, 0) < 0)
		keeper_unwatch(k, &t->inotify);
}

void shm_watch_closing(struct tracker *t)
{
	inotify_add_watch(t->inotify, SHM_FOLDER, MASK | IN_CLOSE);
}

/* ------------------------------------------------------------------------------------------------------ events */

static struct stake_name name_in(enum track_type type, const char *name)
{
	return (struct stake_name){ type, name, strlen(name) };
}

/* They lie at multiples of their alignment. */
static const struct inotify_event *event_at(size_t at)
{
	return (const void *)(told.events.p + at);
}

static size_t next_of(size_t at)
{
	return at + sizeof(struct inotify_event) + event_at(at)->len;
}

/* The one that has got another name: of what is known to have gone, else the only one. NULL: nobody knows. */
static struct track_record *moved_from(struct tracker *t, enum track_type type, const char *name)
{
	struct track_record *r = track_find(&t->registry, type, name, strlen(name)), *known = r;
	struct track_identity now;

	object_identify(type, name, &now);
	while (known != NULL &&
	       (!track_knows(known) || known->gone || known->identity.ino == now.ino))
		known = track_next(known);
	return known != NULL || r == NULL || track_next(r) != NULL ? known : r;
}

static void on_moved_from(struct tracker *t, enum track_type type, const char *name,
			  uint32_t cookie)
{
	struct track_record *r = moved_from(t, type, name);

	if (r == NULL)
		return;
	t->moved = (struct moved){
		.cookie = cookie,
		.identity = r->gone ? (struct track_identity){ 0 } : r->identity,
		.creator = r->creator,
		.told_ns = r->told_ns,
		.holding = holding_of(r),
		.list = (int)((struct owned *)(void *)r->owner - holding_of(r)->lists),
	};
	/* Its other name comes at once; until then the holding must not go. */
	leak_take_out(t, r);
}

/* It goes on under that name, whoever has told of that. */
static void on_moved_to(struct tracker *t, enum track_type type, const char *name)
{
	struct track_record *r = track_find(&t->registry, type, name, strlen(name)), *next;
	struct moved m = t->moved;

	for (; r != NULL; r = next) {
		next = track_next(r);
		if (track_knows(r) || !r->attempt)
			leak_forget(t, r);
	}
	if (t->moved.holding == NULL) /* it went with its last record */
		return;
	t->moved = (struct moved){ 0 };
	r = track_add(&t->registry, &m.holding->lists[m.list].owner, type, name, strlen(name),
		      &m.creator);
	if (r == NULL)
		return;
	r->identity = m.identity;
	track_told(&t->registry, r, m.told_ns);
	r->over = m.list != LIVE;
	holding_changed(t, m.holding);
	if (object_settle(r))
		track_journal_add(&t->journal, r);
	else
		leak_forget(t, r);
}

/* All that is told by now. False: there is no memory for it. */
static bool read_queued(int fd)
{
	for (int left = shm_queued(fd); left > 0;) {
		char *to = buf_reserve(&told.events, READ_SIZE);
		ssize_t n = to != NULL ? read(fd, to, READ_SIZE) : -1;

		told.events.failed = false;
		if (n <= 0)
			return false;
		told.events.len += (size_t)n;
		left -= (int)n;
	}
	return true;
}

/* What is told by now of the name whose event it is, behind that, is that it has gone. */
static bool has_gone(void *user)
{
	const struct tracker *t = user;
	size_t at = told.at;

	if (!read_queued(t->inotify))
		return true; /* what has the name may be a stranger's */
	while ((at = next_of(at)) < told.events.len)
		if (event_at(at)->len == event_at(told.at)->len &&
		    strcmp(event_at(at)->name, event_at(told.at)->name) == 0 &&
		    (event_at(at)->mask & (IN_DELETE | IN_MOVED_FROM)))
			return true;
	return false;
}

static void on_event(struct tracker *t, const struct inotify_event *e)
{
	AUTO_FREE char *name = NULL;
	enum track_type type;
	const struct track_record *r;
	struct stake_name stake;

	if (e->mask & IN_Q_OVERFLOW)
		walk_on_event(t, e->mask, TRACK_SHARED_MEMORY, "", NULL);
	if (e->len == 0 || (e->mask & IN_ISDIR))
		return;
	type = object_of_shm_file(e->name, &name);
	if (name == NULL)
		return;
	if ((e->mask & IN_MOVED_TO) && e->cookie != 0 && e->cookie == t->moved.cookie) {
		on_moved_to(t, type, name);
		return;
	}
	r = track_find(&t->registry, type, name, strlen(name));
	if (r == NULL) {
		walk_on_event(t, e->mask, type, name, e->name);
		return;
	}
	if (e->mask & IN_CLOSE)
		return;
	stake = name_in(type, name);
	if (e->mask & IN_MOVED_FROM)
		on_moved_from(t, type, name, e->cookie);
	else if (e->mask & (IN_CREATE | IN_MOVED_TO))
		stake_made(&t->stakes, &stake, has_gone, t);
	else
		stake_standing(&t->stakes, &stake);
}

int shm_queued(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) == 0 ? n : 0;
}

/* `size` bytes of them at least, if there are so many. */
static void read_some(struct keeper *k, int size)
{
	struct tracker *t = k->tracker;

	while (size > 0) {
		char *to = buf_reserve(&told.events, READ_SIZE);
		ssize_t n = to != NULL ? read(t->inotify, to, READ_SIZE) : -1;

		told.events.failed = false;
		if (n <= 0)
			return;
		told.events.len = (size_t)n;
		for (told.at = 0; told.at < told.events.len; told.at = next_of(told.at))
			on_event(t, event_at(told.at));
		size -= (int)told.events.len;
		buf_reset(&told.events);
	}
}

void shm_on_event(struct keeper *k)
{
	if (k->tracker != NULL && k->tracker->inotify >= 0)
		read_some(k, 1);
}

/* What is there now, and no more where somebody makes them as fast as we read. */
void shm_catch_up(struct keeper *k)
{
	if (k->tracker != NULL && k->tracker->inotify >= 0)
		read_some(k, shm_queued(k->tracker->inotify));
}

void shm_read(struct keeper *k)
{
	shm_catch_up(k);
	scan_read(k);
}
