/*
 * Closing all descriptors but a few, with system calls alone: this runs between fork and exec.
 */
#include "proc/close.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/feature.h"
#include "proc/spawn.h"

static bool range_works(void)
{
	static signed char works = -1;

	if (works < 0)
		works = feature_allowed(FEATURE_CLOSE_RANGE) &&
			syscall(SYS_close_range, UINT_MAX, UINT_MAX, 0) == 0;
	return works;
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

static void act(int fd, bool cloexec)
{
	if (cloexec)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	else
		close(fd);
}

static void limit_range(int first, int last, bool cloexec)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && (rlim_t)last >= r.rlim_max)
		last = (int)r.rlim_max - 1;
	for (int fd = first; fd <= last; fd++)
		act(fd, cloexec);
}

/* What is open is listed in /proc/self/fd; getdents64 directly, since opendir allocates. */
static void listed_range(int first, int last, bool cloexec)
{
	_Alignas(struct dirent64_raw) char list[4096];
	int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n;

	if (dir < 0) {
		limit_range(first, last, cloexec);
		return;
	}
	while ((n = syscall(SYS_getdents64, dir, list, sizeof(list))) > 0)
		for (long at = 0; at < n;) {
			const struct dirent64_raw *d = (const void *)(list + at);
			int fd = parse_fd(d->name);

			if (fd >= first && fd <= last && fd != dir)
				act(fd, cloexec);
			at += d->reclen;
		}
	close(dir);
}

static void range(int first, int last, bool cloexec)
{
	if (first > last)
		return;
	if (range_works() &&
	    syscall(SYS_close_range, first, last, cloexec ? CLOSE_RANGE_CLOEXEC : 0) == 0)
		return;
	listed_range(first, last, cloexec);
}

void close_all_but(const struct mps_fd *fds, size_t n_fds, int keep)
{
	int from = 0;

	for (size_t i = 0; i < n_fds; i++) {
		range(from, fds[i].child - 1, false);
		from = fds[i].child + 1;
	}
	if (keep >= from) {
		range(from, keep - 1, false);
		from = keep + 1;
	}
	range(from, INT_MAX, false);
}

void cloexec_from(int from)
{
	range(from, INT_MAX, true);
}
