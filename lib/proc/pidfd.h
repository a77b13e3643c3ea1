/*
 * pidfds (pidfd_open(2), Linux 5.3): a process that cannot be confused with another of the same number.
 */
#ifndef PROC_PIDFD_H
#define PROC_PIDFD_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* CLOEXEC. -errno; -ENOSYS where the kernel has none or MPSUP_NO names it. */
int pidfd_open_checked(pid_t pid);

/* The same for a child of ours that is not reaped yet, where a failure means: do without (-1). */
int pidfd_open_child(pid_t pid);

/* Sends by pidfd where there is one, else by pid, which must then be an unreaped child of ours. 0 or -errno. */
int pidfd_signal(int pidfd, pid_t pid, int sig);

struct proc_stat;
/*
 * True while any thread of the process runs of which that was just read: the first may have ended before the others, and
 * looks dead then.
 */
bool process_runs(pid_t pid, const struct proc_stat *st);

#endif
