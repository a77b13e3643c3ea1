/*
 * Children that share memory with a test of lib/ipc: made, awaited in a system call of a futex, killed. Header only.
 */
#ifndef TESTS_IPC_SCENE_H
#define TESTS_IPC_SCENE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/futex.h"
#include "mpsup.h"

/* Nothing that is right takes as long. */
#define LONG (20 * MPS_SECOND)
#define SHORT (30 * MPS_MILLISECOND)

static inline void *scene_shared(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(p, MAP_FAILED);
	return p;
}

/* 0 in the child, which ends with the test. */
static inline pid_t scene_fork(void)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(30);
	}
	return pid;
}

/* A child that ends with what run() returns. */
static inline pid_t scene_child(int (*run)(void *), void *arg)
{
	pid_t pid = scene_fork();

	if (pid == 0)
		_exit(run(arg));
	return pid;
}

/* Its exit status, or minus the signal; and not only because its time was over. */
static inline int scene_end(pid_t pid)
{
	int64_t from = mps_now().ns;
	int status = 0;
	pid_t r;

	do /* a test may have a handler */
		r = waitpid(pid, &status, 0);
	while (r < 0 && errno == EINTR);
	cr_assert_eq(r, pid);
	cr_expect_lt(mps_now().ns - from, LONG / 2);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline void scene_kill(pid_t pid)
{
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(scene_end(pid), -SIGKILL);
}

/* It is not in any call any more, but begins it again when it goes on. */
static inline void scene_stop(pid_t pid)
{
	int status;

	cr_assert_eq(kill(pid, SIGSTOP), 0);
	cr_assert_eq(waitpid(pid, &status, WUNTRACED), pid);
	cr_assert(WIFSTOPPED(status));
}

/* Until the thread is within one of the calls: of a process its first, or any of ours. */
static inline void scene_asleep_in(pid_t tid, long call, long second, long third)
{
	struct mps_time until = until_of(LONG);
	char path[64];
	long nr;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)tid);
	for (;;) {
		FILE *f = fopen(path, "re");

		cr_assert_not_null(f);
		if (fscanf(f, "%ld", &nr) != 1)
			nr = -1;
		fclose(f);
		if (nr == call || nr == second || nr == third)
			return;
		cr_assert_lt(mps_now().ns, until.ns, "it does not sleep");
		sched_yield();
	}
}

/* On a futex. */
static inline void scene_asleep(pid_t tid)
{
	scene_asleep_in(tid, FUTEX_CALL, SYS_futex, SYS_futex_waitv);
}

static inline void scene_until(const _Atomic uint32_t *w, uint32_t value)
{
	struct mps_time until = until_of(LONG);
	uint32_t now;

	while ((now = atomic_load(w)) != value)
		cr_assert_eq(futex_wait(w, now, until), 0, "it is %u and not %u", now, value);
}

static inline void scene_tell(_Atomic uint32_t *w)
{
	futex_add_wake(w, 1, UINT32_MAX);
}

#endif
