/*
 * Processes of a test of lib/ipc: targets, their start with a pipe, what comes through it, their ends. A program that includes it
 * is an image of itself for spawn and the forkserver, for which it ends with a constructor that calls mps_init(). Header only.
 */
#ifndef TESTS_PROCESS_SCENE_H
#define TESTS_PROCESS_SCENE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "mpsup.h"
#include "proc/pidfd.h"

static const enum mps_start_method methods[] = { MPS_START_SPAWN, MPS_START_FORK,
						 MPS_START_FORKSERVER };

/* --------------------------------------------------------------------------------------------------- targets */

static int wait_for_ever(struct mps_args *args)
{
	for (;;)
		pause();
	return args != NULL;
}
MPS_TARGET(wait_for_ever);

static int give_back(struct mps_args *args)
{
	return (int)mps_args_int(args, 0);
}
MPS_TARGET(give_back);

/* Its end shows in the pipe. */
static int read_to_end(struct mps_args *args)
{
	char c;

	while (read(mps_args_fd(args, 0), &c, 1) > 0)
		;
	return 5;
}
MPS_TARGET(read_to_end);

static int become_sleep(struct mps_args *args)
{
	(void)args;
	execlp("sleep", "sleep", "1000", NULL);
	return 1;
}
MPS_TARGET(become_sleep);

static inline int write_pid(int fd, pid_t pid)
{
	return write(fd, &pid, sizeof(pid)) == sizeof(pid) ? 0 : -errno;
}

/* A process of a session of its own that nobody of us is told of, and that holds what we have open. */
static inline void leave_grandchild(int fd)
{
	pid_t pid = fork();

	if (pid != 0) {
		waitpid(pid, NULL, 0);
		return;
	}
	setsid();
	if (fork() != 0)
		_exit(0);
	write_pid(fd, getpid());
	for (;;)
		pause();
}

/* Starts that one with our pipe; its pid, too. */
static inline pid_t start_below(struct mps_args *args, mps_target *target,
				enum mps_start_method method, bool daemon, bool outlives)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	struct mps_args *below;
	struct mps_process *p;

	if (mps_args_new(&below) < 0 || mps_args_add_fd(below, mps_args_fd(args, 0)) < 0)
		return -1;
	o.method = method;
	o.target = target;
	o.args = below;
	o.daemon = daemon;
	o.outlives = outlives;
	o.force = true;
	if (mps_process_start(&o, &p) < 0)
		return -1;
	mps_args_free(below);
	write_pid(mps_args_fd(args, 0), mps_process_pid(p));
	return mps_process_pid(p);
}

/* ---------------------------------------------------------------------------------------------------- helpers */

static inline struct mps_process *start(const struct mps_process_options *o)
{
	struct mps_process *p = NULL;
	int r = mps_process_start(o, &p);

	cr_assert_eq(r, 0, "%d: %s", r, mps_process_failure());
	return p;
}

static inline struct mps_process *start_target(mps_target *target, enum mps_start_method method,
					       struct mps_args *args)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;

	o.target = target;
	o.method = method;
	o.args = args;
	o.force = true; /* Criterion has a thread */
	return start(&o);
}

static inline struct mps_args *args_with_fd(int fd)
{
	struct mps_args *args;

	cr_assert_eq(mps_args_new(&args), 0);
	cr_assert_eq(mps_args_add_fd(args, fd), 0);
	return args;
}

/* With a pipe as its only argument, whose read end is *ret_fd and whose other only the child has. */
static inline struct mps_process *start_with_pipe(mps_target *target, enum mps_start_method method,
						  int *ret_fd)
{
	struct mps_process *p;
	struct mps_args *args;
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	args = args_with_fd(ends[1]);
	close(ends[1]);
	p = start_target(target, method, args);
	mps_args_free(args);
	*ret_fd = ends[0];
	return p;
}

static inline int code_of(struct mps_process *p)
{
	int code = -1000;

	cr_assert_eq(mps_process_join(p, 20 * MPS_SECOND), 0);
	cr_assert_eq(mps_process_exitcode(p, &code), 0);
	return code;
}

static inline void done(struct mps_process *p)
{
	mps_process_kill(p, 20 * MPS_SECOND);
	cr_assert_eq(mps_process_free(p), 0);
}

/* Pids that come through the pipe, and pidfds of them. */
static inline void read_pids(int fd, int *pidfds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		pid_t pid;

		cr_assert_gt(poll(&p, 1, 20000), 0);
		cr_assert_eq(read(fd, &pid, sizeof(pid)), sizeof(pid));
		pidfds[i] = pidfd_open_checked(pid);
	}
}

/* -ESRCH in place of a pidfd: it was gone already. */
static inline bool ends(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return pidfd == -ESRCH || poll(&p, 1, 20000) > 0;
}

static inline bool has_ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return pidfd == -ESRCH || poll(&p, 1, 0) > 0;
}

static inline bool all_end(int *pidfds, size_t n)
{
	bool all = true;

	for (size_t i = 0; i < n; i++) {
		all = ends(pidfds[i]) && all;
		close(pidfds[i]);
	}
	return all;
}

static inline void limit(void)
{
	/* In place of .timeout: of two such tests at a time Criterion leaks one's. */
	alarm(100);
}

#endif
