/*
 * What musl 1.2.3 does not have and the kernel does; `make musl` includes it before each file.
 */
#ifndef SCRIPTS_STATIC_COMPAT_H
#define SCRIPTS_STATIC_COMPAT_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* <linux/stat.h> leaves to the C library what that has. */
#define __GLIBC__ 2
#include <linux/stat.h>
#undef __GLIBC__

#define __rlimit_resource_t int
#define RWF_NOWAIT 8
#define __libc_single_threaded 0 /* it is not told: look into /proc */

static inline int statx(int folder, const char *path, int flags, unsigned mask, struct statx *ret)
{
	return (int)syscall(SYS_statx, folder, path, flags, mask, ret);
}

static inline ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	return syscall(SYS_preadv2, fd, iov, n, at, (off_t)0, flags);
}

static inline ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	return syscall(SYS_pwritev2, fd, iov, n, at, (off_t)0, flags);
}

static inline const char *sigdescr_np(int sig)
{
	return strsignal(sig);
}

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#define RENAME_NOREPLACE 1
static inline int renameat2(int from_folder, const char *from, int to_folder, const char *to,
			    unsigned flags)
{
	return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

static inline int tgkill(pid_t process, pid_t thread, int sig)
{
	return (int)syscall(SYS_tgkill, process, thread, sig);
}

/* Waits are in slices (lib/ipc/robust.c), so a clock that is set costs one of them. */
static inline int pthread_mutex_clocklock(pthread_mutex_t *m, clockid_t clock,
					  const struct timespec *until)
{
	struct timespec now, wall, at;
	long long ns;

	clock_gettime(clock, &now);
	clock_gettime(CLOCK_REALTIME, &wall);
	ns = (until->tv_sec - now.tv_sec + wall.tv_sec) * 1000000000LL + until->tv_nsec -
	     now.tv_nsec + wall.tv_nsec;
	at = (struct timespec){ .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	return pthread_mutex_timedlock(m, &at);
}

/* What a forkserver has constructed is destroyed, then, in each that it forks. */
static inline int on_exit(void (*function)(int, void *), void *user)
{
	(void)function;
	(void)user;
	errno = ENOSYS;
	return -1;
}

#endif
