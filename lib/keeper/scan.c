/*
 * What programs make in /dev/shm and do not tell of: static ones, those that make system calls of their own, those that
 * get other rights when they are started. fanotify(7) names who has made a file, its name and its handle; whose he is
 * his tag tells. What nobody can be named for is left alone: it may be a stranger's. Without the right to ask so much of
 * the kernel open files have to do (scan_walk.c).
 *
 * Only what lies in /dev/shm itself; where that is no tmpfs it is somebody's own affair, and nothing is looked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/feature.h"
#include "keeper/tracker.h"
#include "proc/tree.h"

#ifndef FAN_REPORT_TARGET_FID /* Linux 5.17 */
#define FAN_REPORT_TARGET_FID 0x00001000
#endif
/* FAN_UNLIMITED_MARKS needs the same right as to be told who it was: without that all would be nobody's. */
#define FAN_INIT                                                                                   \
	(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_MARKS |                      \
	 FAN_REPORT_DFID_NAME | FAN_REPORT_FID | FAN_REPORT_TARGET_FID)

void scan_open(struct keeper *k)
{
	struct tracker *t = k->tracker;

	if (t->fanotify >= 0 || t->walk != NULL || !shm_is_tmpfs())
		return;
	shm_open_watch(k);
	if (feature_allowed(FEATURE_FANOTIFY))
		t->fanotify = fanotify_init(FAN_INIT, O_RDONLY);
	keeper_lift(&t->fanotify);
	if (t->fanotify >= 0 &&
	    (fanotify_mark(t->fanotify, FAN_MARK_ADD | FAN_MARK_ONLYDIR, FAN_CREATE | FAN_MOVED_TO,
			   AT_FDCWD, SHM_FOLDER) < 0 ||
	     keeper_watch(k, t->fanotify, EPOLLIN, WATCH_SCAN, NO_SLOT, 0) < 0))
		keeper_unwatch(k, &t->fanotify);
	if (t->fanotify < 0)
		walk_open(k);
}

/*
 * Before the descriptors are closed, and of both at a time: at the close of each the kernel waits for a grace period
 * (fsnotify_destroy_group(), up to 30 ms) where marks are left to be freed.
 */
void scan_close(struct tracker *t)
{
	if (t->fanotify >= 0)
		fanotify_mark(t->fanotify, FAN_MARK_FLUSH, 0, AT_FDCWD, SHM_FOLDER);
	shm_close_watch(t);
}

/* ------------------------------------------------------------------------------------------------------- whose */

/* Dead and reaped: only of a main process, and of one that has spoken, it is known whose he was. */
static struct holding *whose_dead(struct keeper *k, struct sender *s)
{
	const struct tracker *t = k->tracker;
	uint32_t index = slot_of_pid(k, s->pid);

	if (index != NO_SLOT)
		return holding_of_slot(k, index);
	for (uint32_t i = 0; i < t->n_clients; i++)
		if (t->clients[i] != NULL && t->clients[i]->pid == s->pid)
			return t->clients[i]->holding;
	return NULL;
}

/* False: nobody's of ours, or of an instance whose affair it is. */
static bool identify(struct keeper *k, pid_t pid, struct sender *ret)
{
	struct sender s = { .pid = pid };

	if (pid <= 1)
		return false;
	s.holding = track_whose(k, pid, &s.over);
	if (s.holding == NULL && kill(pid, 0) < 0 && errno == ESRCH)
		s.holding = whose_dead(k, &s);
	if (s.holding == NULL || s.holding->slot == NO_SLOT || !k->slots[s.holding->slot].scan)
		return false;
	*ret = s;
	return true;
}

/* As the kernel knows him, at any of four places. */
static bool is_uid_of(pid_t pid, uid_t uid)
{
	AUTO_FREE char *line = NULL;
	size_t room = 0;
	bool found = false;
	char path[32];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f != NULL && !found && getline(&line, &room, f) > 0) {
		unsigned u[4];

		if (sscanf(line, "Uid: %u %u %u %u", &u[0], &u[1], &u[2], &u[3]) != 4)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(u); i++)
			found = found || u[i] == uid;
		break;
	}
	if (f != NULL)
		fclose(f);
	return found;
}

/* ----------------------------------------------------------------------------------------------------- records */

int scan_stat(const char *file, struct statx *ret)
{
	AUTO_FREE char *path = NULL;

	if (asprintf(&path, SHM_FOLDER "/%s", file) < 0)
		return -ENOMEM;
	return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, ret) < 0
		       ? -errno
		       : 0;
}

static struct track_identity identity_of(const struct statx *st)
{
	return (struct track_identity){
		.ino = st->stx_ino,
		.born_ns = st->stx_mask & STATX_BTIME
				   ? st->stx_btime.tv_sec * MPS_NS_PER_S + st->stx_btime.tv_nsec
				   : 0,
	};
}

/* It was there before his instance, or is another user's by now. */
static bool is_others(const struct keeper *k, const struct sender *maker, const struct statx *st)
{
	const struct slot *slot = &k->slots[maker->holding->slot];
	int64_t born = identity_of(st).born_ns;

	return born == 0 || S_ISDIR(st->stx_mode) ||
	       (!maker->over && born < slot->began - MPS_COARSE_LAG_NS) ||
	       (st->stx_uid != slot->uid && !is_uid_of(maker->pid, st->stx_uid));
}

void scan_found(struct keeper *k, const struct sender *maker, enum track_type type,
		const char *name, const struct statx *st)
{
	struct tracker *t = k->tracker;
	const struct stake_name stake = { type, name, strlen(name) };
	struct track_record *r = track_find(&t->registry, type, name, strlen(name));
	struct sender s = *maker;
	struct proc_stat proc;

	/* Somebody has told of it, and it is known when inotify tells. */
	for (; r != NULL; r = track_next(r))
		if (!track_knows(r) || r->identity.ino == st->stx_ino)
			return;
	if (s.holding->slot == NO_SLOT || is_others(k, maker, st))
		return;
	stake_standing(&t->stakes, &stake);
	s.start = proc_stat_read(s.pid, &proc) == 0 ? proc.start_ticks : 0;
	s.uid = st->stx_uid;
	s.sent_ns = identity_of(st).born_ns;
	if (!s.over && s.start != 0)
		sysv_seen(k, s.holding->slot, s.pid, s.start);
	r = track_record(t, &s, type, name, strlen(name));
	if (r == NULL) {
		track_drop(t);
		return;
	}
	r->found = true;
	r->identity = identity_of(st);
	track_journal_add(&t->journal, r);
}

/* ------------------------------------------------------------------------------------------------------ events */

struct made {
	const char *name;
	const struct file_handle *what;
};

/* `event` is the whole of it. False where it does not say both. */
static bool read_info(const char *event, const struct fanotify_event_metadata *m, struct made *ret)
{
	const char *at = event + m->metadata_len, *end = event + m->event_len;

	*ret = (struct made){ 0 };
	while (at + sizeof(struct fanotify_event_info_fid) <= end) {
		const struct fanotify_event_info_fid *i = (const void *)at;
		const struct file_handle *h = (const void *)i->handle;

		if (i->hdr.len == 0)
			break;
		if (i->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME)
			ret->name = (const char *)h->f_handle + h->handle_bytes;
		else if (i->hdr.info_type == FAN_EVENT_INFO_TYPE_FID)
			ret->what = h;
		at += i->hdr.len;
	}
	return ret->name != NULL && ret->what != NULL &&
	       ret->what->handle_bytes <= sizeof(((struct homeless *)NULL)->handle);
}

/* What has that name now is still what was made. */
static bool is_still(const char *file, const struct file_handle *what)
{
	_Alignas(struct file_handle) char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	struct file_handle *now = (void *)room;
	AUTO_FREE char *path = NULL;
	int mount;

	now->handle_bytes = MAX_HANDLE_SZ;
	return asprintf(&path, SHM_FOLDER "/%s", file) > 0 &&
	       name_to_handle_at(AT_FDCWD, path, now, &mount, 0) == 0 &&
	       now->handle_type == what->handle_type && now->handle_bytes == what->handle_bytes &&
	       memcmp(now->f_handle, what->f_handle, what->handle_bytes) == 0;
}

static bool is_homeless(const struct homeless *h, const struct file_handle *what)
{
	return h->maker.holding != NULL && h->size == what->handle_bytes &&
	       memcmp(h->handle, what->f_handle, h->size) == 0;
}

static void on_made(struct keeper *k, const struct sender *maker, const struct made *made)
{
	struct homeless *h = &k->tracker->homeless;
	AUTO_FREE char *name = NULL;
	enum track_type type;
	struct statx st;

	type = object_of_shm_file(made->name, &name);
	if (name == NULL)
		return;
	if (scan_stat(made->name, &st) == 0 && is_still(made->name, made->what)) {
		if (is_homeless(h, made->what)) /* no more: its next name is inotify's matter */
			h->maker.holding = NULL;
		scan_found(k, maker, type, name, &st);
		return;
	}
	*h = (struct homeless){ .maker = *maker, .size = made->what->handle_bytes };
	memcpy(h->handle, made->what->f_handle, h->size);
}

static void on_event(struct keeper *k, const char *event, const struct fanotify_event_metadata *m)
{
	const struct homeless *h = &k->tracker->homeless;
	struct sender maker;
	struct made made;

	if (m->mask & FAN_Q_OVERFLOW) /* nobody can tell any more who has made what */
		track_drop(k->tracker);
	if ((m->mask & (FAN_CREATE | FAN_MOVED_TO)) == 0 || !read_info(event, m, &made))
		return;
	if (m->mask & FAN_CREATE) {
		if (identify(k, m->pid, &maker))
			on_made(k, &maker, &made);
	} else if (is_homeless(h, made.what)) {
		maker = h->maker;
		on_made(k, &maker, &made);
	}
}

/* They lie at multiples of 4. How many there were. */
static int on_events(struct keeper *k, const char *at, const char *end)
{
	struct fanotify_event_metadata m;
	int n;

	for (n = 0; at + sizeof(m) <= end; n++) {
		memcpy(&m, at, sizeof(m));
		if (m.event_len < sizeof(m) || m.event_len > (size_t)(end - at))
			break;
		on_event(k, at, &m);
		at += m.event_len;
	}
	return n;
}

void scan_read(struct keeper *k)
{
	_Alignas(struct fanotify_event_metadata) char events[16 << 10];
	struct tracker *t = k->tracker;
	int left = t != NULL && t->fanotify >= 0 ? shm_queued(t->fanotify) : 0;

	/* It counts each event as if it had no name. */
	for (left /= (int)FAN_EVENT_METADATA_LEN; left > 0;) {
		ssize_t n = read(t->fanotify, events, sizeof(events));

		if (n <= 0)
			return;
		/* So nothing that inotify tells later is of what had these names before. */
		shm_catch_up(k);
		left -= on_events(k, events, events + n);
	}
}
