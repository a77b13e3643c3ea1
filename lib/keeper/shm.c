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
#include <sys/random.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/feature.h"
#include "base/limits.h"
#include "keeper/tracker.h"

#define TMPFS 0x01021994 /* TMPFS_MAGIC of linux/magic.h */

enum { READ_SIZE = 16 << 10, ENDS_BITS = 12 };

/* By the hash of a name, places of what ends what had it. */
struct ends {
	uint64_t last, last_moved;
};

/*
 * What has been read, and how much of it is worked off: more is read while one is. A place is counted from the first byte
 * ever read; 0 = none. Each event that ends something tells in its `wd` (there is one watch) how far behind it lies the one
 * before of the same hash; so whether one comes behind an event is known without a look at all that do.
 */
static struct {
	struct buf events;
	size_t at;
	uint64_t dropped; /* bytes that are in the buffer no more */
	struct ends ends[1 << ENDS_BITS];
	uint64_t lost; /* where some may be missing */
	uint64_t seed;
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
	if (getrandom(&told.seed, sizeof(told.seed), GRND_NONBLOCK) < 0)
		told.seed = (uint64_t)mps_now().ns;
	t->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (t->inotify < 0)
		return;
	keeper_lift(&t->inotify);
	if (inotify_add_watch(t->inotify, SHM_FOLDER, MASK) < 0 ||
	    keeper_watch(k, t->inotify, EPOLLIN, WATCH_SHM, NO_SLOT, 0) < 0)
		keeper_unwatch(k, &t->inotify);
}

void shm_close_watch(struct tracker *t)
{
	if (t->inotify >= 0) /* there is one watch, whose number this is again */
		inotify_rm_watch(t->inotify, inotify_add_watch(t->inotify, SHM_FOLDER, MASK));
}

void shm_watch_closing(struct tracker *t)
{
	inotify_add_watch(t->inotify, SHM_FOLDER, MASK | IN_CLOSE);
}

/* ------------------------------------------------------------------------------------------------------- queue */

int shm_queued(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) == 0 ? n : 0;
}

/* They lie at multiples of their alignment. */
static struct inotify_event *event_at(size_t at)
{
	return (void *)(told.events.p + at);
}

static size_t next_of(size_t at)
{
	return at + sizeof(struct inotify_event) + event_at(at)->len;
}

static struct ends *ends_of(const char *name)
{
	uint64_t h = told.seed;

	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(0x9e3779b97f4a7c15);
	return &told.ends[h >> (64 - ENDS_BITS)];
}

static void note_end(size_t at)
{
	struct inotify_event *e = event_at(at);
	uint64_t place = told.dropped + at;
	struct ends *ends;

	if (e->mask & IN_Q_OVERFLOW)
		told.lost = place;
	if (e->len == 0 || (e->mask & IN_ISDIR) ||
	    (e->mask & (IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)) == 0)
		return;
	ends = ends_of(e->name);
	e->wd = ends->last >= told.dropped ? (int)(place - ends->last) : 0;
	ends->last = place;
	if (e->mask & IN_MOVED_FROM)
		ends->last_moved = place;
}

static void drop_worked_off(void)
{
	buf_drop(&told.events, told.at);
	told.dropped += told.at;
	told.at = 0;
}

/* Bytes that are read from there and not worked off yet. */
static size_t left_over(void)
{
	return told.events.len - told.at;
}

/* Some of what is queued. How much; 0 = nothing, or there is no memory for it. */
static size_t read_one(int fd)
{
	size_t at;
	char *to;
	ssize_t n;

	if (left_over() <= told.at) /* each byte is moved once, then */
		drop_worked_off();
	at = told.events.len;
	to = buf_reserve(&told.events, READ_SIZE);
	n = to != NULL ? read(fd, to, READ_SIZE) : -1;
	told.events.failed = false;
	if (n <= 0)
		return 0;
	for (told.events.len += (size_t)n; at < told.events.len; at = next_of(at))
		note_end(at);
	return (size_t)n;
}

/* All that is queued by now. False: it is too much. */
static bool read_ahead(int fd)
{
	for (size_t n, left = (size_t)shm_queued(fd); left > 0; left -= n < left ? n : left)
		if (left_over() >= TRACK_AHEAD_MAX || (n = read_one(fd)) == 0)
			return false;
	return true;
}

/* Of the event that is being worked off. */
static uint64_t here(void)
{
	return told.dropped + told.at;
}

/* What has its name ends, or gives way to another, behind it. */
static bool is_ended(void)
{
	const char *name = event_at(told.at)->name;

	for (uint64_t at = ends_of(name)->last; at > here();) {
		const struct inotify_event *e = event_at(at - told.dropped);

		if (strcmp(e->name, name) == 0)
			return true;
		if (e->wd == 0)
			break;
		at -= (uint64_t)e->wd;
	}
	return false;
}

/*
 * What comes of it is looked at when that is worked off: who makes and unlinks a name again and again makes us look once.
 * A rename takes along what is known before it.
 */
static bool is_passed(void)
{
	return ends_of(event_at(told.at)->name)->last_moved <= here() && is_ended();
}

/* ------------------------------------------------------------------------------------------------------ events */

static struct stake_name name_in(enum track_type type, const char *name)
{
	return (struct stake_name){ type, name, strlen(name) };
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

/*
 * What is told by now, behind the event that is being worked off, is that what it tells of has gone. Where that may be
 * among what is lost, or is too much to be read, it has if fanotify tells who has made what there is: that finds it if it
 * is ours. Else nobody would ever tell that it was, and it is taken for what was told of, as without inotify.
 */
static bool has_gone(void *user)
{
	const struct tracker *t = user;
	bool all = read_ahead(t->inotify);

	return is_ended() || (t->fanotify >= 0 && (!all || told.lost > here()));
}

static void on_event(struct tracker *t, const struct inotify_event *e)
{
	AUTO_FREE char *name = NULL;
	enum track_type type;
	const struct track_record *r;
	struct stake_name stake;
	bool passed;

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
	passed = is_passed();
	if (e->mask & IN_MOVED_FROM)
		on_moved_from(t, type, name, e->cookie);
	else if ((e->mask & (IN_CREATE | IN_MOVED_TO)) && passed)
		stake_passed(&t->stakes, &stake);
	else if (e->mask & (IN_CREATE | IN_MOVED_TO))
		stake_made(&t->stakes, &stake, has_gone, t);
	else if (!passed)
		stake_standing(&t->stakes, &stake);
}

/*
 * So many bytes of what is told, if there are so many and there is time for it, and nothing of what is read ahead
 * meanwhile.
 */
static void work_off(struct tracker *t, size_t size, struct mps_time until)
{
	while (size > 0 && (left_over() > 0 || read_one(t->inotify) > 0)) {
		size_t n = next_of(told.at) - told.at;

		on_event(t, event_at(told.at));
		told.at += n;
		size -= n < size ? n : size;
		if (mps_now().ns >= until.ns)
			break;
	}
	drop_worked_off();
}

void shm_on_event(struct keeper *k)
{
	struct tracker *t = k->tracker;

	if (t == NULL || t->inotify < 0)
		return;
	if (left_over() == 0)
		read_one(t->inotify);
	work_off(t, left_over(), t->turn_until);
}

bool shm_has_more(void)
{
	return left_over() > 0;
}

/*
 * What was told until now, and no more where somebody makes them as fast as we read: what is read ahead meanwhile waits
 * for the next time, TRACK_AHEAD_MAX at most.
 */
void shm_catch_up(struct keeper *k)
{
	struct tracker *t = k->tracker;

	if (t != NULL && t->inotify >= 0)
		work_off(t, left_over() + (size_t)shm_queued(t->inotify),
			 (struct mps_time){ INT64_MAX });
}

void shm_read(struct keeper *k)
{
	shm_catch_up(k);
	scan_read(k);
}
