/*
 * Processes as /proc tells of them: one process' numbers, the children of a thread, all that bear a keeper's tag.
 */
#ifndef PROC_TREE_H
#define PROC_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_stat {
	char state; /* 'R', 'S', 'Z' ... */
	pid_t ppid;
	pid_t pgrp;
	pid_t session;
	uint64_t flags;	      /* PF_* of the first thread, linux/sched.h */
	uint64_t utime_ticks; /* sysconf(_SC_CLK_TCK) a second */
	uint64_t stime_ticks;
	unsigned threads;
	uint64_t start_ticks; /* since boot */
	uint64_t rss_pages;
	char comm[64];
};

/* One open, one read. 0, -ESRCH when there is no such process, other -errno. proc_pid_stat(5). */
int proc_stat_read(pid_t pid, struct proc_stat *ret);

/*
 * True when all of its threads are ending, or there is no such process: its descriptors are closed or will be, and it makes
 * nothing any more, but it is not dead yet (pidfd_open(2)).
 */
bool process_is_ending(pid_t pid);

/* A growing list of process numbers; zeroed is empty. */
struct pids {
	pid_t *p;
	size_t n;
	size_t cap;
};
void pids_fini(struct pids *list);
int pids_add(struct pids *list, pid_t pid); /* 0 or -ENOMEM */

/*
 * The children of one thread: /proc/PID/task/TID/children. Orphans that fall to a subreaper become children of its first
 * thread (find_new_reaper() in kernel/exit.c), so a subreaper that forks from another thread finds nothing but orphans
 * there, however many children it has. `fd` is that file, opened once by children_open(); -1: all of /proc is read
 * instead and the caller gets every child of the process. 0 or -errno.
 */
int children_open(pid_t pid, pid_t tid);
int children_read(int fd, pid_t pid, struct pids *list);

/*
 * Adds the children of all threads of a process, of which it has so many (struct proc_stat): one
 * open a thread. Of a process that is gone there are none, of all where children_are_told() says
 * false. 0, or -errno (-ENOMEM, -EMFILE ..): the list has some of them.
 */
bool children_are_told(void);
int children_of(pid_t pid, unsigned threads, struct pids *list);

/* All processes that bear the tag of this keeper, the caller excepted. 0 or -errno. */
int tagged_processes(uint32_t keeper, struct pids *list);

/* Those for which is_meant says true; it may have them added to what is meant by the way. 0 or -errno. */
int processes_list(bool (*is_meant)(pid_t pid, void *user), void *user, struct pids *list);

/*
 * Ends all processes for which is_meant says true with SIGKILL, the caller excepted, and returns when none is left; a
 * process that cannot be killed (it has become another user's) is left out. It is asked again of the same one. *ret_n = how
 * many were killed. Waits on pidfds, at most `ns`, but looks once in any case.
 */
int processes_kill(bool (*is_meant)(pid_t pid, void *user), void *user, int64_t ns, size_t *ret_n);

/*
 * Ends all of them with SIGKILL, but instances for which `spare` (may be NULL) says true: processes_kill().
 */
int tagged_kill(uint32_t keeper, bool (*spare)(uint32_t instance, void *user), void *user,
		int64_t ns, size_t *ret_n);

#endif
