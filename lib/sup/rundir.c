/*
 * The runtime directory and its lock. See rundir.h.
 */
#include "sup/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"

static int open_directory(const char *dir, struct err *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return err_set(err, -errno, "runtime directory %s: %s", dir, strerror(errno));
	return fd;
}

static int check(int fd, const char *dir, uid_t owner, mode_t forbidden, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "runtime directory %s: %s", dir, strerror(errno));
	if (st.st_uid != owner)
		return err_set(err, -EPERM,
			       "runtime directory %s belongs to user %u, not to %u; "
			       "remove it or set XDG_RUNTIME_DIR",
			       dir, (unsigned)st.st_uid, (unsigned)owner);
	if (st.st_mode & forbidden)
		return err_set(err, -EPERM,
			       "runtime directory %s is open to others (mode %03o); chmod 700 it",
			       dir, (unsigned)st.st_mode & 0777);
	return 0;
}

/*
 * Root takes over what an instance of another user has left. The folder is root's before anything in it is touched, so
 * that its last owner cannot put links there; nothing in it is chowned, as it may be a link to somebody else's file.
 */
static int adopt(int fd, uid_t uid, gid_t gid)
{
	struct stat st;

	if (geteuid() != 0 || fd_is_locked(fd, "lock") || fstat(fd, &st) < 0 || st.st_uid == uid)
		return 0;
	if (fchown(fd, 0, 0) < 0 || fchmod(fd, 0700) < 0)
		return -errno;
	/* Somebody may have come between. */
	if (fd_is_locked(fd, "lock"))
		return fchown(fd, st.st_uid, st.st_gid) < 0 ? -errno : 0;
	if ((unlinkat(fd, "lock", 0) < 0 && errno != ENOENT) || fchown(fd, uid, gid) < 0)
		return -errno;
	return 0;
}

static int taken(int fd, const char *name, struct err *err)
{
	char text[32] = "", since[32] = "?";
	struct stat st;
	struct tm tm;
	long pid;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n > 0)
		text[n] = '\0';
	if (fstat(fd, &st) == 0 && localtime_r(&st.st_mtime, &tm) != NULL)
		strftime(since, sizeof(since), "%Y-%m-%d %H:%M:%S", &tm);
	pid = strtol(text, NULL, 10);
	if (pid <= 0)
		return err_set(err, -EWOULDBLOCK, "already running: %s (since %s)", name, since);
	return err_set(err, -EWOULDBLOCK, "already running: %s (pid %ld, since %s)", name, pid,
		       since);
}

static int held_by_other(int dir_fd, const char *name, struct err *err)
{
	AUTO_CLOSE int lock =
		openat(dir_fd, "lock", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return taken(lock, name, err);
}

static int no_place(const char *dir, struct err *err)
{
	return err_set(err, -errno, "runtime directory %s: %s; %s", dir, strerror(errno),
		       geteuid() == 0 ? "it must be possible to write to /run"
				      : "set XDG_RUNTIME_DIR to a folder of yours");
}

mode_t rundir_forbidden(uid_t uid)
{
	return uid == 0 ? 066 : 077;
}

static int make(const char *dir, uid_t uid, gid_t gid, bool *ret_is_new, struct err *err)
{
	AUTO_FREE char *path = xstrdup(dir);
	AUTO_CLOSE int parent_fd = -1, fd = -1;
	char *slash = path;
	int r;

	while ((slash = strchr(slash + 1, '/')) != NULL) {
		*slash = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return no_place(path, err);
		*slash = '/';
	}
	*ret_is_new = mkdir(dir, 0700) == 0;
	if (*ret_is_new) {
		if (uid != geteuid() && lchown(dir, uid, gid) < 0)
			return err_set(err, -errno, "runtime directory %s: chown: %s", dir,
				       strerror(errno));
	} else if (errno != EEXIST)
		return no_place(dir, err);
	/* Whoever may rename in the folder above could put a directory of theirs in its place. */
	*strrchr(path, '/') = '\0';
	parent_fd = open_directory(path, err);
	r = parent_fd < 0 ? parent_fd : check(parent_fd, path, geteuid(), 022, err);
	if (r < 0)
		return r;
	/* Other users' way to what is for them leads through it. */
	if (geteuid() == 0 && fchmod(parent_fd, 0711) < 0)
		return err_set(err, -errno, "runtime directory %s: chmod: %s", path,
			       strerror(errno));
	fd = open_directory(dir, err);
	if (fd < 0)
		return fd;
	r = adopt(fd, uid, gid);
	if (r < 0)
		return err_set(err, r, "runtime directory %s: %s", dir, strerror(-r));
	if (uid == 0 && fchmod(fd, 0711) < 0)
		return err_set(err, -errno, "runtime directory %s: chmod: %s", dir,
			       strerror(errno));
	r = check(fd, dir, uid, rundir_forbidden(uid), err);
	/* A person wants to know that it is in use, whosever it is. */
	return r < 0 && fd_is_locked(fd, "lock") ? held_by_other(fd, strrchr(dir, '/') + 1, err)
						 : r;
}

int rundir_make(const char *dir, uid_t uid, gid_t gid, struct err *err)
{
	bool is_new = false;
	int r = make(dir, uid, gid, &is_new, err);

	if (r < 0 && is_new)
		rmdir(dir);
	return r;
}

/* True while the name still leads to the file that was locked: the one before us removes it when it goes. */
static bool is_current(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

int rundir_lock(const char *dir, const char *name, int *ret_fd, struct err *err)
{
	AUTO_FREE char *path = xasprintf("%s/lock", dir);

	for (;;) {
		AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		int r;

		if (fd < 0)
			return err_set(err, -errno, "%s: %s", path, strerror(errno));
		r = fd_lock(fd);
		if (r < 0)
			return r == -EWOULDBLOCK ? taken(fd, name, err)
						 : err_set(err, r, "%s: %s", path, strerror(-r));
		if (!is_current(fd, path))
			continue;
		*ret_fd = TAKE_FD(fd);
		return 0;
	}
}

int rundir_lock_itself(const char *dir, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	int r = fd < 0 ? -errno : fd_lock(fd);

	if (r < 0)
		return err_set(err, r, "runtime directory %s: %s", dir, strerror(-r));
	if (!is_current(fd, dir))
		return err_set(err, -ENOENT, "runtime directory %s has gone", dir);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

void rundir_remove(const char *dir, int fd)
{
	AUTO_FREE char *path = xasprintf("%s/lock", dir);

	if (!is_current(fd, path))
		return;
	unlink(path);
	rmdir(dir);
}

int rundir_write_pid(int fd, pid_t pid)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%d\n", (int)pid);

	/* In this order it is never empty for those who read it. */
	if (pwrite(fd, text, (size_t)n, 0) < 0 || ftruncate(fd, n) < 0)
		return -errno;
	return 0;
}

bool rundir_is_held(const char *dir)
{
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && fd_is_locked(fd, "lock");
}

int rundir_wait_unlocked(int fd)
{
	while (flock(fd, LOCK_SH) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}
