/*
 * Kernel features with a fall-back. The environment variable MPSUP_NO (a comma list, "pidfd,close_range") switches
 * them off, so that the fall-backs can be tested on any kernel.
 */
#ifndef BASE_FEATURE_H
#define BASE_FEATURE_H

#include <stdbool.h>

enum feature {
	FEATURE_PIDFD, /* clone3(CLONE_PIDFD), Linux 5.2; else fork and pidfd_open, or SIGCHLD alone */
	FEATURE_CLOSE_RANGE, /* close_range(2), Linux 5.9; else /proc/self/fd */
	FEATURE_CHILDREN, /* /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN); else all of /proc */
	FEATURE_CLONE_VM,    /* a child that shares our memory until its exec; else fork */
	FEATURE_CRASH_LIMIT, /* a supervisor that crashes again and again is given up */
	FEATURE_INOTIFY, /* what happens in /dev/shm is told by inotify(7); else it is looked at in the end */
	FEATURE_FANOTIFY, /* who makes something there by fanotify(7); else open files and maps tell whose it is */
	FEATURE_LEASE, /* F_SETLEASE tells whether a file is in use; else fds and maps in /proc */
	FEATURE_FUTEX_WAITV, /* a sleep on several words, Linux 5.16; else on one, in slices */
	FEATURE_MEMFD, /* memory without a name by memfd_create(2), Linux 3.17; else a file of /dev/shm without a name */
	FEATURE_TMPFILE, /* O_TMPFILE in /dev/shm, Linux 3.11; else a file that has its name before its size */
	FEATURE_RWF, /* RWF_NOWAIT (Linux 6.4) and RWF_NOSIGNAL (6.18) on pipes; else poll(2), sigtimedwait(2) */
	N_FEATURES
};

/* False where MPSUP_NO names the feature. Whether the kernel has it is for the caller to find out. */
bool feature_allowed(enum feature f);

#endif
