/*
 * What has an inode: files in /dev/shm and elsewhere, folders, message queues of mq_open(3).
 *
 * F_SETLEASE(F_WRLCK) is granted only to whoever is the one who has the file open; open(2) of others counts, a map counts
 * after its descriptor has been closed, and so does what somebody does right now: the kernel compares the counts of
 * readers and writers of the inode (check_conflicting_open() in fs/locks.c), so O_RDONLY suffices to ask, and to ask
 * wakes nobody. Message queues are files to the kernel, so a descriptor of mq_open(3) takes a lease as well; no mounted
 * /dev/mqueue is needed for it.
 *
 * The lease is held until the name is gone. Who opens the file meanwhile waits for us (with O_NONBLOCK: EWOULDBLOCK) and
 * breaks the lease, which is seen by F_GETLEASE: then it is in use. Between that look and unlink(2) somebody could still
 * find the name. So it is renamed first, to one that follows from its inode (".mpsup-INODE"): nobody finds it any more, and
 * when then the lease is whole it goes, else it gets its name back. What is left is a process that has found the name
 * before and was held up for all of that time before the kernel counted it. When we are killed in between, the file is
 * found under its hidden name by whoever asks next.
 *
 * A broken lease sends a signal, SIGIO unless told otherwise, which would be our death: SIGURG is ignored by default.
 *
 * All is done by the descriptor of the folder that it lies in, and only with what has the inode, the birth and the owner
 * that are on record: whatever a program puts in the way, it loses nothing but what is its own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/feature.h"
#include "base/limits.h"
#include "base/mtime.h"
#include "track/look.h"

/* Of one walk through a folder. */
struct walk {
	uid_t uid;
	dev_t dev;
	bool unlink;
	bool searched;	  /* there are no leases, and /proc has nobody who uses anything in it */
	const char *root; /* its path as the kernel has it */
	struct task *task;
	bool resumes;	/* on the way to where it was when the time was up */
	bool has_begun; /* something was done in this part of it */
};

static enum object_state unknown(int r)
{
	errno = -r;
	return r == -ENOENT ? OBJECT_ABSENT : OBJECT_UNKNOWN;
}

/* --------------------------------------------------------------------------------------------------- names */

/* The folder (O_PATH) that `path` lies in. */
static int open_parent(const char *path, const char **ret_base)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	int fd;

	if (parent == NULL)
		return -ENOMEM;
	fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	*ret_base = slash + 1;
	return fd;
}

static int stat_at(int dir, const char *base, struct statx *ret)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (base[0] == '\0' ? AT_EMPTY_PATH : 0);

	return statx(dir, base, flags, STATX_BASIC_STATS | STATX_BTIME, ret) < 0 ? -errno : 0;
}

static int64_t ns_of(const struct statx_timestamp *t)
{
	return t->tv_sec * MPS_NS_PER_S + t->tv_nsec;
}

static struct track_identity identity_of(const struct statx *st)
{
	return (struct track_identity){ .ino = st->stx_ino,
					.born_ns = st->stx_mask & STATX_BTIME
							   ? ns_of(&st->stx_btime)
							   : 0 };
}

static bool is_it(const struct statx *st, const struct track_identity *id)
{
	struct track_identity now = identity_of(st);

	return now.ino == id->ino && now.born_ns == id->born_ns;
}

/* Both ways to open it are tried: the lease does not care. */
static mqd_t open_queue(const char *name)
{
	mqd_t q = mq_open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	return q < 0 && errno == EACCES ? mq_open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC) : q;
}

static int open_named(enum track_type type, const char *name, struct look *l)
{
	const char *base = "";

	if (type == TRACK_MQUEUE) {
		l->fd = open_queue(name);
		return l->fd < 0 ? -errno : stat_at(l->fd, base, &l->st);
	}
	l->path = object_path(type, name);
	if (l->path == NULL)
		return -ENOMEM;
	l->fd = open_parent(l->path, &base);
	return l->fd < 0 ? l->fd : stat_at(l->fd, base, &l->st);
}

int file_look(enum track_type type, const char *name, struct look *ret)
{
	const struct statx_timestamp *time;
	int r = open_named(type, name, ret);

	if (r < 0)
		return r;
	time = ret->st.stx_mask & STATX_BTIME ? &ret->st.stx_btime : &ret->st.stx_ctime;
	ret->identity = identity_of(&ret->st);
	ret->not_before_ns = ns_of(time);
	/* Some file systems know seconds only; that of message queues is one. */
	ret->tick_ns = MPS_COARSE_LAG_NS + (time->tv_nsec == 0 ? MPS_NS_PER_S : 0);
	ret->uid = ret->st.stx_uid;
	return 0;
}

/* --------------------------------------------------------------------------------------------------- leases */

/* 0: nobody but us has it open, and the lease is ours; 1: somebody has; -errno: there are none here. */
static int lease_take(int fd)
{
	if (!feature_allowed(FEATURE_LEASE))
		return -EOPNOTSUPP;
	if (fcntl(fd, F_SETSIG, SIGURG) < 0)
		return -errno;
	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0)
		return 0;
	return errno == EAGAIN ? 1 : -errno;
}

/* Not left to close(2): a child that is about to exec may have a copy. */
static void lease_give_back(int fd)
{
	int saved = errno;

	fcntl(fd, F_SETLEASE, F_UNLCK);
	errno = saved;
}

/* ----------------------------------------------------------------------------------------------- one file */

/* Sockets and links are but names; the rest is looked for in /proc. */
static int search_one(const struct statx *st, const char *base)
{
	if (S_ISLNK(st->stx_mode) || S_ISSOCK(st->stx_mode))
		return 0;
	return search_file(makedev(st->stx_dev_major, st->stx_dev_minor), st->stx_ino, base);
}

/* Where the lease does not tell. */
static int search_in_use(const struct statx *st, const char *base, struct walk *w)
{
	int r;

	if (w == NULL)
		return search_one(st, base);
	if (w->searched)
		return 0;
	r = search_folder(w->root);
	w->searched = r == 0;
	return r;
}

static enum object_state unlink_checked(int dir, const char *base, const struct track_identity *id)
{
	struct statx st;
	int r = stat_at(dir, base, &st);

	if (r < 0)
		return unknown(r);
	if (!is_it(&st, id))
		return OBJECT_FOREIGN;
	return unlinkat(dir, base, 0) < 0 ? unknown(-errno) : OBJECT_FREE;
}

struct hidden {
	char name[32];
};

static struct hidden hidden_name(const struct track_identity *id)
{
	struct hidden h;

	snprintf(h.name, sizeof(h.name), OBJECT_HIDDEN "%llx", (unsigned long long)id->ino);
	return h;
}

/* It gets its name back. Where there is another of that name by now, what is ours goes all the same: it has none. */
static enum object_state show(int dir, const struct hidden *h, const char *base,
			      enum object_state state)
{
	if (renameat2(dir, h->name, dir, base, RENAME_NOREPLACE) == 0)
		return state;
	if (errno == EEXIST && state == OBJECT_USED && unlinkat(dir, h->name, 0) == 0)
		return OBJECT_FREE;
	return unknown(-errno);
}

/* `fd` has the lease. */
static enum object_state unlink_leased(int dir, const char *base, int fd,
				       const struct track_identity *id)
{
	struct hidden h = hidden_name(id);
	struct statx st;

	if (fcntl(fd, F_GETLEASE) != F_WRLCK)
		return OBJECT_USED;
	/* Where there is no such call, or the name is a hidden one already. */
	if (renameat2(dir, base, dir, h.name, RENAME_NOREPLACE) < 0)
		return errno == ENOENT ? OBJECT_ABSENT : unlink_checked(dir, base, id);
	if (stat_at(dir, h.name, &st) < 0 || !is_it(&st, id))
		return show(dir, &h, base, OBJECT_FOREIGN);
	if (fcntl(fd, F_GETLEASE) != F_WRLCK)
		return show(dir, &h, base, OBJECT_USED);
	return unlinkat(dir, h.name, 0) < 0 ? unknown(-errno) : OBJECT_FREE;
}

static int open_to_ask(int dir, const char *base)
{
	int flags = O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC;
	int fd = openat(dir, base, O_RDONLY | flags);

	return fd < 0 && errno == EACCES ? openat(dir, base, O_WRONLY | flags) : fd;
}

/* `w` is NULL or the folder's that it is in. */
static enum object_state regular(int dir, const char *base, const struct statx *st, bool unlink,
				 struct walk *w)
{
	struct track_identity id = identity_of(st);
	AUTO_CLOSE int fd = open_to_ask(dir, base);
	enum object_state state = OBJECT_FREE;
	struct statx opened;
	int r = -EACCES;
	bool leased;

	if (fd < 0 && (errno == EWOULDBLOCK || errno == ETXTBSY)) /* somebody else's lease */
		return OBJECT_USED;
	if (fd < 0 && errno != EACCES)
		return unknown(-errno);
	if (fd >= 0) {
		r = stat_at(fd, "", &opened);
		if (r < 0)
			return unknown(r);
		if (!is_it(&opened, &id))
			return OBJECT_FOREIGN;
		r = lease_take(fd);
	}
	leased = r == 0;
	if (r < 0)
		r = search_in_use(st, base, w);
	if (r != 0)
		return r > 0 ? OBJECT_USED : unknown(r);
	if (unlink)
		state = leased ? unlink_leased(dir, base, fd, &id) : unlink_checked(dir, base, &id);
	if (leased)
		lease_give_back(fd);
	return state;
}

static enum object_state special(int dir, const char *base, const struct statx *st, bool unlink)
{
	struct track_identity id = identity_of(st);
	int r = search_one(st, base);

	if (r != 0)
		return r > 0 ? OBJECT_USED : unknown(r);
	return unlink ? unlink_checked(dir, base, &id) : OBJECT_FREE;
}

/* -------------------------------------------------------------------------------------------------- folders */

static bool is_mount(const struct statx *st, const struct walk *w)
{
	return (st->stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0 ||
	       makedev(st->stx_dev_major, st->stx_dev_minor) != w->dev;
}

static enum object_state folder(int dir, const char *base, const struct statx *st, unsigned depth,
				struct walk *w);

static enum object_state entry(int dir, const char *name, unsigned depth, struct walk *w)
{
	struct statx st;
	int r = stat_at(dir, name, &st);

	if (r == -ENOENT) /* it went by itself */
		return OBJECT_FREE;
	if (r < 0)
		return unknown(r);
	if (st.stx_uid != w->uid || is_mount(&st, w))
		return OBJECT_FOREIGN;
	if (S_ISDIR(st.stx_mode))
		return folder(dir, name, &st, depth + 1, w);
	return S_ISREG(st.stx_mode) ? regular(dir, name, &st, w->unlink, w)
				    : special(dir, name, &st, w->unlink);
}

/* To the entry that was next in this folder. What has gone from there meanwhile, or come, is asked when it is unlinked. */
static void resume(DIR *dir, unsigned depth, struct walk *w)
{
	if (w->resumes && depth < w->task->walk->depth)
		seekdir(dir, w->task->walk->levels[depth].at);
	else
		w->resumes = false;
}

/* It is another one than that into which we had gone. */
static void check_way(const struct dirent *e, unsigned depth, struct walk *w)
{
	if (w->resumes && e->d_ino != w->task->walk->levels[depth].ino)
		w->resumes = false;
}

static bool is_time_up(struct walk *w)
{
	if (w->task->walk == NULL || !w->has_begun || mps_now().ns < w->task->until.ns)
		return false;
	w->task->paused = true;
	w->task->walk->depth = 0;
	return true;
}

static void remember(struct walk *w, unsigned depth, long at, uint64_t ino)
{
	struct object_walk *to = w->task->walk;

	to->levels[depth].at = at;
	to->levels[depth].ino = ino;
	if (to->depth <= depth)
		to->depth = depth + 1;
}

/* What the first one says that is not free. */
static enum object_state entries(DIR *dir, unsigned depth, struct walk *w)
{
	enum object_state state = OBJECT_FREE;
	const struct dirent *e;
	long at;

	resume(dir, depth, w);
	while (at = telldir(dir), (e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		check_way(e, depth, w);
		if (!is_time_up(w))
			state = entry(dirfd(dir), e->d_name, depth, w);
		if (w->task->paused) {
			remember(w, depth, at, e->d_ino);
			return state;
		}
		w->has_begun = true;
		if (state != OBJECT_FREE && state != OBJECT_ABSENT)
			return state;
	}
	return OBJECT_FREE;
}

/* Somebody may make files while we remove them: they use it, then. */
static enum object_state remove_folder(int dir, const char *base, const struct track_identity *id)
{
	struct statx st;
	int r = stat_at(dir, base, &st);

	if (r == 0 && !is_it(&st, id))
		return OBJECT_FOREIGN;
	if (r == 0 && unlinkat(dir, base, AT_REMOVEDIR) < 0)
		r = -errno;
	if (r == -ENOTEMPTY || r == -EEXIST)
		return OBJECT_USED;
	return r < 0 ? unknown(r) : OBJECT_FREE;
}

static DIR *open_folder(int dir, const char *base, const struct track_identity *id, bool writable)
{
	AUTO_CLOSE int fd =
		openat(dir, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct statx st;
	DIR *d;

	if (fd < 0 || stat_at(fd, "", &st) < 0)
		return NULL;
	if (!is_it(&st, id)) {
		errno = ESTALE;
		return NULL;
	}
	/* What is read-only is so for the sake of people (the module caches of compilers); a failure is seen soon. */
	if (writable && (st.stx_mode & 0700) != 0700)
		(void)!fchmod(fd, (st.stx_mode & 07777) | 0700);
	d = fdopendir(fd);
	if (d != NULL)
		fd = -1;
	return d;
}

static enum object_state folder(int dir, const char *base, const struct statx *st, unsigned depth,
				struct walk *w)
{
	struct track_identity id = identity_of(st);
	enum object_state state;
	DIR *d;

	if (depth >= TRACK_FOLDER_DEPTH_MAX)
		return unknown(-ENAMETOOLONG);
	d = open_folder(dir, base, &id, w->unlink);
	if (d == NULL)
		return unknown(-errno);
	state = entries(d, depth, w);
	closedir(d);
	if (w->task->paused)
		return state;
	return state == OBJECT_FREE && w->unlink ? remove_folder(dir, base, &id) : state;
}

/* All of it is asked before the first of it goes. What was unlinked is not there to be met again, so that has no place. */
static enum object_state ask_and_unlink(int dir, const char *base, const struct statx *st,
					struct walk *w)
{
	struct object_walk all_at_once = { 0 };
	struct object_walk *walk = w->task->walk != NULL ? w->task->walk : &all_at_once;
	enum object_state state = OBJECT_FREE;

	if (!is_it(st, &walk->of))
		*walk = (struct object_walk){ .of = identity_of(st) };
	w->searched = walk->searched;
	w->resumes = !walk->unlinks && walk->depth > 0;
	if (!walk->unlinks)
		state = folder(dir, base, st, 0, w);
	walk->searched = w->searched;
	if (w->task->paused || state != OBJECT_FREE || !w->task->unlink)
		return state;
	walk->unlinks = w->unlink = true;
	w->resumes = false;
	return folder(dir, base, st, 0, w);
}

static enum object_state whole_folder(int dir, const char *base, const struct statx *st,
				      const char *path, struct task *task)
{
	struct walk w = { .uid = st->stx_uid,
			  .dev = makedev(st->stx_dev_major, st->stx_dev_minor),
			  .task = task };
	AUTO_FREE char *real = realpath(path, NULL);

	if (real == NULL)
		return unknown(-errno);
	w.root = real;
	if (is_mount(st, &w))
		return OBJECT_FOREIGN;
	return ask_and_unlink(dir, base, st, &w);
}

/* --------------------------------------------------------------------------------------------------- queues */

static enum object_state unlink_queue(const char *name, mqd_t q)
{
	struct statx st;

	/* There is no other look at its name: it would break our lease. */
	if (stat_at(q, "", &st) < 0)
		return OBJECT_UNKNOWN;
	if (st.stx_nlink == 0)
		return OBJECT_ABSENT;
	return mq_unlink(name) < 0 ? unknown(-errno) : OBJECT_FREE;
}

static enum object_state leased_queue(const char *name, mqd_t q, bool unlink)
{
	enum object_state state = OBJECT_FREE;

	if (unlink)
		state = fcntl(q, F_GETLEASE) != F_WRLCK ? OBJECT_USED : unlink_queue(name, q);
	lease_give_back(q);
	return state;
}

static enum object_state queue(const char *name, const struct look *now, bool unlink)
{
	const struct statx *st = &now->st;
	int r = lease_take(now->fd);

	if (r == 0)
		return leased_queue(name, now->fd, unlink);
	if (r < 0)
		r = search_file(makedev(st->stx_dev_major, st->stx_dev_minor), st->stx_ino,
				name + 1);
	if (r != 0)
		return r > 0 ? OBJECT_USED : unknown(r);
	return unlink ? unlink_queue(name, now->fd) : OBJECT_FREE;
}

/* ------------------------------------------------------------------------------------------------------ all */

enum object_state file_ask(const struct track_record *record, const struct look *now,
			   struct task *task)
{
	bool unlink = task->unlink;
	const struct statx *st = &now->st;
	const char *base = now->path != NULL ? strrchr(now->path, '/') + 1 : "";

	if (record->type == TRACK_MQUEUE)
		return queue(record->name, now, unlink);
	if (S_ISDIR(st->stx_mode))
		return record->type == TRACK_FOLDER
			       ? whole_folder(now->fd, base, st, now->path, task)
			       : OBJECT_FOREIGN;
	return S_ISREG(st->stx_mode) ? regular(now->fd, base, st, unlink, NULL)
				     : special(now->fd, base, st, unlink);
}

enum object_state file_ask_hidden(const struct track_record *record, bool unlink)
{
	struct hidden h = hidden_name(&record->identity);
	AUTO_FREE char *path = NULL;
	AUTO_CLOSE int dir = -1;
	enum object_state state;
	const char *base = NULL;
	struct statx st;

	if (record->type == TRACK_MQUEUE)
		return OBJECT_ABSENT;
	path = object_path(record->type, record->name);
	dir = path != NULL ? open_parent(path, &base) : -1;
	if (dir < 0 || stat_at(dir, h.name, &st) < 0 || !is_it(&st, &record->identity) ||
	    st.stx_uid != record->creator.uid || !S_ISREG(st.stx_mode))
		return OBJECT_ABSENT;
	state = regular(dir, h.name, &st, unlink, NULL);
	/* Who found it just before it was hidden may want others to find it. */
	if (state == OBJECT_USED && unlink)
		(void)!renameat2(dir, h.name, dir, base, RENAME_NOREPLACE);
	return state;
}
