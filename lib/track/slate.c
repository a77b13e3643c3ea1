/*
 * See slate.h. The programs that write there may be hostile: it is read as bytes, never mapped, and each name is looked at.
 */
#include "track/slate.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "track/registry.h"

/* All of it is there from the start: a program that writes where the disk has no room for it is ended by SIGBUS. */
static int set_up(int fd, unsigned uid)
{
	int r = posix_fallocate(fd, 0, sizeof(struct slate));

	if (r != 0)
		return -r;
	return uid != geteuid() && fchown(fd, uid, (gid_t)-1) < 0 ? -errno : 0;
}

int slate_make(const char *dir, unsigned uid)
{
	AUTO_BUF path = BUF_INIT;
	AUTO_CLOSE int fd = -1;
	int r;

	buf_addf(&path, "%s/" SLATE_NAME "%u", dir, uid);
	if (path.failed)
		return -ENOMEM;
	if (unlink(path.p) < 0 && errno != ENOENT)
		return -errno;
	fd = open(path.p, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = set_up(fd, uid);
	if (r < 0) {
		unlink(path.p);
		return r;
	}
	return TAKE_FD(fd);
}

void slate_remove(const char *dir, unsigned uid)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/" SLATE_NAME "%u", dir, uid) < (int)sizeof(path))
		unlink(path);
}

int slate_wipe(int fd, unsigned place)
{
	static const uint64_t nothing;
	off_t at =
		(off_t)(place * sizeof(struct slate_place) + offsetof(struct slate_place, taken));

	if (place >= SLATE_PLACES)
		return -EINVAL;
	return pwrite(fd, &nothing, sizeof(nothing), at) < 0 ? -errno : 0;
}

/* 1 where it is new, 0, or -ENOMEM. */
static int take_place(struct slate_place *p, uid_t uid, struct track_registry *r,
		      struct track_owner *owner)
{
	const struct track_creator creator = { .pid = p->pid, .uid = uid };
	struct track_record *record;
	struct track_word word;
	char *line = p->line;
	size_t n = p->length;

	if (!(p->taken & 1) || n > sizeof(p->line) || p->pid <= 0 || p->told_ns < 0 ||
	    p->told_ns > TRACK_TOLD_MAX || track_word_next(&line, &n, &word) != 1 ||
	    (word.verb != TRACK_REGISTER && word.verb != TRACK_ATTEMPT))
		return 0;
	for (record = track_find(r, word.type, word.name, word.name_length); record != NULL;
	     record = track_next(record))
		if (record->creator.pid == p->pid && record->told_ns >= p->told_ns)
			return 0;
	record = track_add(r, owner, word.type, word.name, word.name_length, &creator);
	if (record == NULL)
		return -ENOMEM;
	track_told(r, record, p->told_ns);
	return 1;
}

static int read_one(int dir, const char *file, struct track_registry *r, struct track_owner *owner)
{
	AUTO_CLOSE int fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char *end;
	unsigned long uid = strtoul(file + strlen(SLATE_NAME), &end, 10);
	struct slate_place place;
	struct stat st;
	int n = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (*end != '\0' || !S_ISREG(st.st_mode) || st.st_uid != uid)
		return 0; /* none of ours */
	for (unsigned i = 0; i < SLATE_PLACES; i++) {
		int e;

		if (pread(fd, &place, sizeof(place), (off_t)(i * sizeof(place))) != sizeof(place))
			break;
		e = take_place(&place, (uid_t)uid, r, owner);
		if (e < 0)
			return e;
		n += e;
	}
	return n;
}

typedef int on_slate(int dir, const char *file, struct track_registry *r,
		     struct track_owner *owner);

/* `parent` is the caller's still. */
static int each(int parent, on_slate *fn, struct track_registry *r, struct track_owner *owner)
{
	int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0, error = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (dir == NULL) {
		error = -errno;
		if (fd >= 0)
			close(fd);
		return error;
	}
	while ((entry = readdir(dir)) != NULL) {
		int e;

		if (strncmp(entry->d_name, SLATE_NAME, strlen(SLATE_NAME)) != 0)
			continue;
		e = fn(fd, entry->d_name, r, owner);
		if (e < 0)
			error = e;
		else
			n += e;
	}
	closedir(dir);
	return error < 0 ? error : n;
}

int slate_read_at(int dir, struct track_registry *r, struct track_owner *owner)
{
	return each(dir, read_one, r, owner);
}

int slate_read_all(const char *dir, struct track_registry *r, struct track_owner *owner)
{
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 ? slate_read_at(fd, r, owner) : errno == ENOENT ? 0 : -errno;
}

static int remove_one(int dir, const char *file, struct track_registry *r,
		      struct track_owner *owner)
{
	(void)r;
	(void)owner;
	return unlinkat(dir, file, 0) < 0 ? -errno : 0;
}

void slate_remove_at(int dir)
{
	each(dir, remove_one, NULL, NULL);
}

void slate_remove_all(const char *dir)
{
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		slate_remove_at(fd);
}
