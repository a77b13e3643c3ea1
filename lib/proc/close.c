/*
 * Closing all descriptors but a few, with system calls alone: this runs between fork and exec.
 */
#include "proc/close.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

#include "base/feature.h"
#include "proc/raw.h"
#include "proc/spawn.h"

static signed char range_works = -1;

/* Asked before the fork: the child must not look into the environment. */
void close_prepare(void)
{
	if (range_works < 0)
		range_works = feature_allowed(FEATURE_CLOSE_RANGE) &&
			      raw3(SYS_close_range, -1, -1, 0) == 0;
}

bool close_can_unshare(void)
{
	return range_works > 0;
}

struct dirent64_raw {
	uint64_t ino;
	int64_t off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

static int parse_fd(const char *name)
{
	int fd = 0;

	if (*name < '0' || *name > '9')
		return -1;
	for (; *name >= '0' && *name <= '9'; name++)
		fd = fd * 10 + (*name - '0');
	return fd;
}

enum action { CLOSE, CLOSE_INHERITED, SET_CLOEXEC };

static void act(int fd, enum action action)
{
	if (action == SET_CLOEXEC)
		raw3(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
	else if (action == CLOSE || raw2(SYS_fcntl, fd, F_GETFD) == 0)
		raw1(SYS_close, fd);
}

static void limit_range(int first, int last, enum action action)
{
	struct rlimit r;

	if (raw4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, RAW(&r)) == 0 && (rlim_t)last >= r.rlim_max)
		last = (int)r.rlim_max - 1;
	for (int fd = first; fd <= last; fd++)
		act(fd, action);
}

/* What is open is listed in /proc/self/fd; getdents64 directly, since opendir allocates. */
static int listed_range(int first, int last, enum action action)
{
	_Alignas(struct dirent64_raw) char list[4096];
	int dir = (int)raw4(SYS_openat, AT_FDCWD, RAW("/proc/self/fd"),
			    O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	long n;

	if (dir < 0)
		return dir;
	while ((n = raw3(SYS_getdents64, dir, RAW(list), sizeof(list))) > 0)
		for (long at = 0; at < n;) {
			const struct dirent64_raw *d = (const void *)(list + at);
			int fd = parse_fd(d->name);

			if (fd >= first && fd <= last && fd != dir)
				act(fd, action);
			at += d->reclen;
		}
	raw1(SYS_close, dir);
	return 0;
}

static void range(int first, int last, enum action action)
{
	if (first > last)
		return;
	if (range_works > 0 && raw3(SYS_close_range, first, last,
				    action == SET_CLOEXEC ? CLOSE_RANGE_CLOEXEC : 0) == 0)
		return;
	if (listed_range(first, last, action) < 0)
		limit_range(first, last, action);
}

void close_inherited(int from)
{
	listed_range(from, INT_MAX, CLOSE_INHERITED);
}

void close_all_but(const struct mps_fd *fds, size_t n_fds, int keep)
{
	int from = 0;

	for (size_t i = 0; i < n_fds; i++) {
		range(from, fds[i].child - 1, CLOSE);
		from = fds[i].child + 1;
	}
	if (keep >= from) {
		range(from, keep - 1, CLOSE);
		from = keep + 1;
	}
	range(from, INT_MAX, CLOSE);
}

void cloexec_from(int from)
{
	close_prepare();
	range(from, INT_MAX, SET_CLOEXEC);
}
