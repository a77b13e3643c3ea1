/*
 * Leftovers of dead instances. What is gone is noted in the journal itself by a line at its end, so a sweep that is killed
 * does no harm. A folder is swept by one at a time, and not while a tracker is started in it. Another instance that starts
 * meanwhile replaces the journal; then we write to a file that has no name any more.
 */
#include "track/sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mtime.h"
#include "proc/tag.h"
#include "proc/tree.h"
#include "track/journal.h"
#include "track/slate.h"

#define JOURNAL "ipc.journal"
enum { PATIENCE_S = 5 };

/* One journal. */
struct sweep {
	const struct track_sweep *how;
	int dir; /* the folder that it lies in */
	const char *base;
	int fd;
	bool all;   /* one of many: nobody has looked yet whether it is dead */
	bool noted; /* something has been written to it */
	struct track_registry registry;
	struct track_heir heir;
	struct track_owner untold; /* what only the slates tell of */
};

static bool is_old_enough(const struct sweep *s, const struct track_record *record, int64_t now)
{
	return s->how->older_than_ns <= 0 || now - record->told_ns >= s->how->older_than_ns;
}

static void tell(const struct sweep *s, const struct track_record *record, enum object_state state)
{
	const char *owner = record->owner->name;

	if (s->how->tell == NULL || state == OBJECT_ABSENT || state == OBJECT_FOREIGN)
		return;
	if (owner[0] == '\0' && s->heir.who != NULL)
		owner = s->heir.who;
	s->how->tell(record, state, owner, s->how->user);
}

/* A line that the end of the journal has torn must not become a whole one by ours: a bad escape spoils it. */
static void begin_note(struct sweep *s, struct buf *b)
{
	if (!s->noted)
		buf_adds(b, " %\n");
	s->noted = true;
}

static bool note(struct sweep *s, const struct buf *b)
{
	return !b->failed && fd_write_all(s->fd, b->p, b->len) == 0;
}

static void forget(struct sweep *s, struct track_record *record)
{
	AUTO_BUF b = BUF_INIT;

	begin_note(s, &b);
	track_journal_put_gone(&b, record);
	note(s, &b); /* on a full disk it is asked for again by the next sweep, and absent then */
	track_remove(&s->registry, record);
}

/* What stays of what the slates tell goes into the journal, which is all that the next sweep reads. */
static bool note_untold(struct sweep *s)
{
	AUTO_BUF b = BUF_INIT;

	if (s->untold.first == NULL)
		return true;
	begin_note(s, &b);
	for (const struct track_record *r = s->untold.first; r != NULL; r = r->next)
		track_journal_put(&b, r);
	return note(s, &b);
}

/* Who is killed while the object has another name leaves what it is to the next, who finds it by that. */
static enum object_state unlink_on_record(struct sweep *s, struct track_record *record)
{
	AUTO_BUF b = BUF_INIT;

	if (object_learn(record)) {
		begin_note(s, &b);
		track_journal_put(&b, record);
		note(s, &b);
	}
	return object_unlink(record);
}

/* Of those that have told of that name. */
static bool any_lives(const struct sweep *s, const struct track_record *record)
{
	const struct track_record *r = track_find(&s->registry, (enum track_type)record->type,
						  record->name, record->name_length);

	while (r != NULL && !object_has_creator(r))
		r = track_next(r);
	return r != NULL;
}

static void sweep_record(struct sweep *s, struct track_record *record)
{
	enum object_state state;

	/* A tracker that is killed is not the end of the program that it was started for. */
	if (any_lives(s, record))
		state = OBJECT_USED;
	else
		state = s->how->dry_run ? object_ask(record) : unlink_on_record(s, record);

	tell(s, record, state);
	if (!s->how->dry_run && state != OBJECT_USED && state != OBJECT_UNKNOWN)
		forget(s, record);
}

static void sweep_records(struct sweep *s)
{
	struct track_registry *r = &s->registry;
	struct track_record *next;
	int64_t now = mps_wall().ns;

	object_adopt_temporaries(r, NULL);
	r->pinned++;
	for (size_t i = 0; i < r->n_buckets; i++)
		for (struct track_record *at = r->buckets[i]; at != NULL; at = next) {
			next = at->next_in_bucket;
			if (is_old_enough(s, at, now))
				sweep_record(s, at);
		}
	r->pinned--;
}

/* ------------------------------------------------------------------------------------------------- processes */

/* What descends from the programs of a keeper. A journal of a plain user tells of no others' processes. */
struct lineage {
	uint32_t keeper;
	uid_t uid;
};

static bool is_left(pid_t pid, void *user)
{
	const struct lineage *l = user;
	uint32_t keeper, instance, gen;
	char path[32];
	struct stat st;

	if (!tag_parse(tag_get(pid), &keeper, &instance, &gen) || keeper != l->keeper)
		return false;
	snprintf(path, sizeof(path), "/proc/%d", pid);
	return l->uid == 0 || (stat(path, &st) == 0 && st.st_uid == l->uid);
}

/*
 * One that ends by itself removes its socket, and leaves on purpose what is there then (kill_mode). One that dies has
 * closed its descriptors, by which others know, before it is dead.
 */
static bool was_killed(const struct sweep *s)
{
	const struct track_heir *h = &s->heir;

	return h->keeper > 0 && !h->other_boot &&
	       (!track_heir_has_keeper(h) || process_is_ending(h->keeper)) &&
	       faccessat(s->dir, "ipc.sock", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void end_processes(const struct sweep *s)
{
	struct lineage l = { tag_keeper_id_of(s->heir.keeper, s->heir.keeper_start), s->heir.uid };
	size_t n = 0;

	if (s->how->dry_run || s->how->older_than_ns > 0 || !was_killed(s))
		return;
	processes_kill(is_left, &l, PATIENCE_S * MPS_NS_PER_S, &n);
	if (n > 0 && s->how->killed != NULL)
		s->how->killed(n, s->heir.who, s->how->user);
}

/* ------------------------------------------------------------------------------------------------- journals */

static bool is_current(const struct sweep *s)
{
	struct stat a, b;

	return fstat(s->fd, &a) == 0 && fstatat(s->dir, s->base, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/*
 * The slates go, and the journal where nothing is left of it. Under the instance's lock: not while one starts. The caller
 * of a single sweep has it, or knows.
 */
static void tidy(struct sweep *s)
{
	AUTO_CLOSE int lock = -1;
	char fresh[NAME_MAX + 1];

	if (s->all) {
		lock = openat(s->dir, "lock", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (lock >= 0 && fd_lock(lock) < 0)
			return;
	}
	if (!is_current(s))
		return;
	if (note_untold(s))
		slate_remove_at(s->dir);
	if (s->registry.n > 0)
		return;
	unlinkat(s->dir, s->base, 0);
	unlinkat(s->dir, "ipc.sock", 0);
	if (snprintf(fresh, sizeof(fresh), "%s.new", s->base) < (int)sizeof(fresh))
		unlinkat(s->dir, fresh, 0);
}

/* A folder of one user and a journal of another do not go together. */
static bool is_of_folder(const struct sweep *s)
{
	struct stat a, b;

	return fstat(s->fd, &a) == 0 && fstat(s->dir, &b) == 0 && a.st_uid == b.st_uid;
}

/* 1: it is not dead. */
static int sweep_open(struct sweep *s)
{
	int r = track_journal_read_fd(s->fd, &s->registry, &s->heir);

	if (r < 0)
		return r;
	if (s->all && track_heir_has_keeper(&s->heir))
		r = 1;
	if (r == 0) {
		end_processes(s);
		s->untold.name = "";
		slate_read_at(s->dir, &s->registry, &s->untold);
		sweep_records(s);
	}
	if (r == 0 && !s->how->dry_run)
		tidy(s);
	track_registry_fini(&s->registry);
	track_heir_fini(&s->heir);
	return r;
}

static int sweep_at(int dir, const char *base, const struct track_sweep *how, bool all)
{
	int flags = (how->dry_run ? O_RDONLY : O_RDWR | O_APPEND) | O_NOFOLLOW | O_NONBLOCK;
	AUTO_CLOSE int fd = openat(dir, base, flags | O_CLOEXEC);
	struct sweep s = { .how = how, .dir = dir, .base = base, .fd = fd, .all = all };

	if (fd < 0)
		return -errno;
	if (all && !is_of_folder(&s))
		return -EPERM;
	return sweep_open(&s);
}

int track_sweep_journal(const char *path, const struct track_sweep *s)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *parent =
		slash != NULL ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	AUTO_CLOSE int dir = -1;

	if (parent == NULL)
		return -ENOMEM;
	dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	return sweep_at(dir, slash != NULL ? slash + 1 : path, s, false);
}

/* The number of a process would not tell it: it may live in another PID namespace. */
bool track_dir_is_held(int dir)
{
	return fd_is_locked(dir, "lock") || fd_is_locked(dir, ".");
}

/* Of mpsup exec, or of a program that has its own tracker: it stays only if they are killed. */
static bool removes_itself(const char *folder)
{
	return strncmp(folder, "exec-", strlen("exec-")) == 0 ||
	       strncmp(folder, "track-", strlen("track-")) == 0;
}

int track_sweep_all(const char *base, const struct track_sweep *s)
{
	DIR *d = opendir(base);
	const struct dirent *e;
	int n = 0;

	if (d == NULL)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d)) != NULL) {
		AUTO_CLOSE int dir = -1;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		dir = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		/*
		 * What cannot be read is not ours, or none: the others do not wait for it. And one sweep at a time: of two who
		 * ask for an object one finds it gone, and the other in use by the first.
		 */
		if (dir < 0 || track_dir_is_held(dir) || (!s->dry_run && fd_lock(dir) < 0))
			continue;
		n += sweep_at(dir, JOURNAL, s, true) == 0;
		if (!s->dry_run && removes_itself(e->d_name) &&
		    faccessat(dir, JOURNAL, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
			unlinkat(dir, "lock", 0);
			unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
		}
	}
	closedir(d);
	return n;
}
