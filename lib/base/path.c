/*
 * Opening by name for root. See path.h.
 */
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"

enum { LINKS_MAX = 40, OVERFLOW_UID = 65534 };

struct walk {
	int at;		 /* where we are, O_PATH */
	struct buf left; /* of the path, with what links have put before it */
	struct buf seen; /* what we have come through, for messages */
	struct buf open; /* the first folder whose names others may change; empty = none */
	bool exposed;	 /* there is one */
	bool shared;	 /* or others may add names to this one */
	int links;
};

#define WALK_INIT                                                                                  \
	{                                                                                          \
		.at = -1                                                                           \
	}

static void walk_fini(struct walk *w)
{
	fd_close(&w->at);
	buf_fini(&w->left);
	buf_fini(&w->seen);
	buf_fini(&w->open);
}

#define AUTO_WALK __attribute__((cleanup(walk_fini))) struct walk

/* In a user namespace, files of those whom it does not know seem to be this user's; they are out of reach of all others. */
static bool is_unknown(uid_t uid)
{
	unsigned first, outside, n;
	bool is_known = false;
	FILE *f;

	if (uid != OVERFLOW_UID)
		return false;
	f = fopen("/proc/self/uid_map", "re");
	if (f == NULL)
		return false;
	while (fscanf(f, "%u %u %u", &first, &outside, &n) == 3)
		is_known = is_known || (uid >= first && uid - first < n);
	fclose(f);
	return !is_known;
}

static bool is_trusted(uid_t uid)
{
	return uid == 0 || is_unknown(uid);
}

static bool is_writable(const struct stat *st)
{
	return !is_trusted(st->st_uid) || (st->st_mode & (S_IWGRP | S_IWOTH)) != 0;
}

/* Others may make names there, but not change those of root. */
static bool is_sticky(const struct stat *st)
{
	return is_trusted(st->st_uid) && (st->st_mode & S_ISVTX) != 0;
}

/* We are in the folder fd now, by this name. */
static int enter(struct walk *w, int fd, const char *name)
{
	struct stat st;

	if (fd < 0)
		return -errno;
	fd_close(&w->at);
	w->at = fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (name[0] == '/')
		buf_reset(&w->seen);
	else if (w->seen.len > 0 && w->seen.p[w->seen.len - 1] != '/')
		buf_addc(&w->seen, '/');
	buf_adds(&w->seen, name);
	w->shared = is_writable(&st);
	if (w->shared && !is_sticky(&st) && !w->exposed) {
		w->exposed = true;
		buf_adds(&w->open, w->seen.p);
	}
	return w->seen.failed || w->open.failed ? -ENOMEM : 0;
}

static int start(struct walk *w, const char *path)
{
	const char *from = path[0] == '/' ? "/" : ".";

	return enter(w, open(from, O_PATH | O_DIRECTORY | O_CLOEXEC), from);
}

static bool is_proc(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* A link of the folder where we are, opened: what it says goes before what is left. */
static int follow(struct walk *w, int link)
{
	AUTO_BUF left = BUF_INIT;
	char *to = buf_reserve(&left, PATH_MAX);
	ssize_t n = to != NULL ? readlinkat(link, "", to, PATH_MAX) : 0;
	struct stat st;

	if (to == NULL)
		return -ENOMEM;
	if (n < 0 || fstat(link, &st) < 0)
		return -errno;
	if (n == 0 || n >= PATH_MAX)
		return -ENAMETOOLONG;
	if (++w->links > LINKS_MAX || w->exposed || !is_trusted(st.st_uid))
		return -ELOOP;
	left.len = (size_t)n;
	if (w->left.len > 0) {
		buf_addc(&left, '/');
		buf_add(&left, w->left.p, w->left.len);
	}
	left.p[left.len] = '\0';
	if (left.failed)
		return -ENOMEM;
	buf_fini(&w->left);
	w->left = left;
	left = (struct buf)BUF_INIT;
	return w->left.p[0] == '/' ? start(w, w->left.p) : 0;
}

/* One name that is not the last. */
static int step(struct walk *w, const char *name, bool make)
{
	AUTO_CLOSE int next = -1;
	struct stat st;

	if (make)
		mkdirat(w->at, name, 0755);
	next = openat(w->at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (next < 0 || fstat(next, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode) && is_proc(w->at) && !w->exposed) {
		fd_close(&next);
		next = openat(w->at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		return enter(w, TAKE_FD(next), name);
	}
	if (S_ISLNK(st.st_mode))
		return follow(w, next);
	return S_ISDIR(st.st_mode) ? enter(w, TAKE_FD(next), name) : -ENOTDIR;
}

/* The first name of what is left, ended by NUL, and what follows it; NULL = there is none. */
static char *first_name(struct walk *w, char **ret_rest)
{
	char *name = w->left.p + strspn(w->left.p, "/"), *end = name + strcspn(name, "/");

	*ret_rest = end + strspn(end, "/");
	return name;
}

/* Up to the last name, which is what is left then. */
static int walk(struct walk *w, bool make)
{
	int r = 0;

	while (r == 0) {
		AUTO_FREE char *name = NULL;
		char *first, *rest;

		first = first_name(w, &rest);
		if (*rest == '\0') {
			buf_drop(&w->left, (size_t)(first - w->left.p));
			return strchr(w->left.p, '/') != NULL ? -EISDIR : 0;
		}
		name = strndup(first, strcspn(first, "/"));
		if (name == NULL)
			return -ENOMEM;
		buf_drop(&w->left, (size_t)(rest - w->left.p));
		r = step(w, name, make);
	}
	return r;
}

static int walk_begin(struct walk *w, const char *path, bool make)
{
	int r;

	if (path[0] == '\0')
		return -ENOENT;
	buf_adds(&w->left, path);
	r = w->left.failed ? -ENOMEM : start(w, path);
	return r == 0 ? walk(w, make) : r;
}

static int check_opened(const struct walk *w, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((!w->shared && !w->exposed) || S_ISDIR(st.st_mode))
		return 0;
	if (!w->exposed && !is_trusted(st.st_uid))
		return -EMLINK;
	if (!S_ISREG(st.st_mode))
		return w->exposed ? -EMLINK : 0;
	return st.st_nlink > 1 ? -EMLINK : 0;
}

/*
 * Why the last name could not be opened (r). Where it is a link that may be followed, we are at what it names, again without
 * the last: 1. The kernel may have refused before us (fs.protected_symlinks, fs.protected_regular in proc(5)).
 */
static int follow_last(struct walk *w, int r)
{
	AUTO_CLOSE int fd = openat(w->at, w->left.p, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISLNK(st.st_mode)) {
		int why = check_opened(w, fd);

		return why < 0 ? why : r;
	}
	buf_reset(&w->left);
	r = follow(w, fd);
	if (r == 0)
		r = walk(w, false);
	return r == 0 ? 1 : r;
}

int path_open(const char *path, int flags, mode_t mode)
{
	AUTO_WALK w = WALK_INIT;
	AUTO_CLOSE int fd = -1;
	int r;

	flags |= O_CLOEXEC;
	if (geteuid() != 0 || path[0] == '\0') {
		fd = open(path, flags, mode);
		return fd < 0 ? -errno : TAKE_FD(fd);
	}
	r = walk_begin(&w, path, false);
	for (;;) {
		bool plain = r >= 0 && is_proc(w.at) && !w.exposed;
		const char *name;

		if (r < 0)
			return r;
		name = w.left.p[0] != '\0' ? w.left.p : ".";
		fd = openat(w.at, name, flags | (plain ? 0 : O_NOFOLLOW), mode);
		if (fd >= 0)
			break;
		if ((errno != ELOOP && errno != EACCES) || plain)
			return -errno;
		r = follow_last(&w, -errno);
	}
	r = check_opened(&w, fd);
	return r < 0 ? r : TAKE_FD(fd);
}

static int plain_folder(const char *path, const char *base, bool make)
{
	AUTO_FREE char *folder = base == path ? strdup(".") : strndup(path, (size_t)(base - path));
	int fd;

	if (folder == NULL)
		return -ENOMEM;
	for (char *at = strchr(folder + 1, '/'); make && at != NULL; at = strchr(at + 1, '/')) {
		*at = '\0';
		mkdir(folder, 0755);
		*at = '/';
	}
	fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int path_open_folder(const char *path, bool make, const char **ret_base, bool *ret_shared)
{
	const char *slash = strrchr(path, '/');
	AUTO_WALK w = WALK_INIT;
	int r;

	*ret_base = slash != NULL ? slash + 1 : path;
	if (ret_shared != NULL)
		*ret_shared = false;
	if (geteuid() != 0)
		return plain_folder(path, *ret_base, make);
	r = walk_begin(&w, path, make);
	if (r < 0)
		return r;
	if (ret_shared != NULL)
		*ret_shared = w.shared || w.exposed;
	return TAKE_FD(w.at);
}

char *path_within(int folder, const char *base)
{
	AUTO_BUF b = BUF_INIT;

	buf_addf(&b, "/proc/self/fd/%d/%s", folder, base);
	return buf_take(&b);
}

const char *path_strerror(int error)
{
	if (geteuid() == 0 && error == ELOOP)
		return "is a link, or behind one, that others may have made; name what it leads to";
	if (geteuid() == 0 && error == EMLINK)
		return "may be somebody else's file, in a folder that others may write; remove it, "
		       "or name a folder that only root may write";
	return strerror(error);
}

/* ------------------------------------------------------------------------------------------------- what is read */

static int refuse(struct err *err, const char *what, const struct stat *st)
{
	return err_set(err, -EPERM,
		       "others may write %s (owner %u, mode %03o), and root would do what they "
		       "write: chown root and chmod go-w it, or give --insecure",
		       what, (unsigned)st->st_uid, (unsigned)st->st_mode & 07777);
}

static int refuse_folder(const struct walk *w, struct err *err)
{
	struct stat st;
	AUTO_BUF what = BUF_INIT;

	if (stat(w->open.p, &st) < 0)
		return -errno;
	buf_addf(&what, "the folder %s", w->open.p);
	return what.failed ? -ENOMEM : refuse(err, what.p, &st);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int changed(struct err *err)
{
	return err_set(err, -EPERM, "it was exchanged while it was read: try again");
}

int path_check(const char *path, int fd, struct err *err)
{
	AUTO_WALK w = WALK_INIT;
	struct stat st, now;
	int r;

	if (geteuid() != 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
		return 0;
	if (is_writable(&st))
		return refuse(err, "the file", &st);
	r = walk_begin(&w, path, false);
	while (r >= 0 && !w.exposed && !is_proc(w.at)) {
		if (fstatat(w.at, w.left.p, &now, AT_SYMLINK_NOFOLLOW) < 0)
			return changed(err);
		if (!S_ISLNK(now.st_mode))
			return is_same(&st, &now) ? 0 : changed(err);
		r = follow_last(&w, -ELOOP);
	}
	if (w.exposed)
		return refuse_folder(&w, err);
	if (r == -ELOOP)
		return err_set(err, -EPERM,
			       "it is behind a link that others have made, and root would do what "
			       "they write: name what it leads to, or give --insecure");
	return r < 0 ? r : 0;
}
