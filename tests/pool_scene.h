/*
 * Pools in tests: targets of their workers, and how tasks are handed over in one line. Header only.
 */
#ifndef TESTS_POOL_SCENE_H
#define TESTS_POOL_SCENE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mtime.h"
#include "count_fds.h"
#include "ipc/futex.h"
#include "mpsup.h"

#define LONG (30 * MPS_SECOND)
#define SHORT (30 * MPS_MILLISECOND)

/* And fork, which wants a process with one thread: Criterion's has two. */
static const enum mps_start_method methods[] = { MPS_START_SPAWN, MPS_START_FORKSERVER };

/* --------------------------------------------------------------------------------------------------- targets */

static inline int64_t number(struct mps_args *task, size_t i)
{
	size_t n;
	const int64_t *v = mps_args_bytes(task, i, &n);

	return v != NULL && n == sizeof(*v) ? *v : -1;
}

static inline int reply_number(struct mps_args *task, int64_t v)
{
	return mps_args_reply(task, &v, sizeof(v));
}

/* The sum of its numbers. */
static int add(struct mps_args *task)
{
	int64_t sum = 0;

	for (size_t i = 0; i < mps_args_count(task); i++)
		sum += number(task, i);
	return reply_number(task, sum);
}
MPS_TARGET(add);

static int whoami(struct mps_args *task)
{
	return reply_number(task, getpid());
}
MPS_TARGET(whoami);

static int echo(struct mps_args *task)
{
	size_t n;
	const void *p = mps_args_bytes(task, 0, &n);

	return mps_args_reply(task, p, n);
}
MPS_TARGET(echo);

/* Fails with that number; 0 is none. */
static int fail_with(struct mps_args *task)
{
	reply_number(task, number(task, 0));
	return (int)number(task, 0);
}
MPS_TARGET(fail_with);

static int exit_with(struct mps_args *task)
{
	exit((int)number(task, 0));
}
MPS_TARGET(exit_with);

/* Kills itself by that signal. */
static int die_by(struct mps_args *task)
{
	if (number(task, 0) != 0)
		raise((int)number(task, 0));
	return reply_number(task, getpid());
}
MPS_TARGET(die_by);

/* Initializer: descriptor and numbers that all workers and the test have. */
static int pipe_fd = -1;
static _Atomic int64_t *counts;
enum { COUNTS = 8192 };

static int have_scene(struct mps_args *args)
{
	struct mps_shm *shm = mps_args_shm(args, 1);

	pipe_fd = mps_args_fd(args, 0);
	counts = mps_shm_data(shm);
	return 0;
}
MPS_TARGET(have_scene);

/* Writes its pid into the pipe, and waits until somebody ends it. */
static int hang(struct mps_args *task)
{
	pid_t pid = getpid();

	if (task != NULL && pipe_fd >= 0 && write(pipe_fd, &pid, sizeof(pid)) < 0)
		return 1;
	for (;;)
		pause();
}
MPS_TARGET(hang);

/* Counts that it was run; the one with that number hangs. */
static int count_me(struct mps_args *task)
{
	int64_t i = number(task, 0);

	atomic_fetch_add(&counts[i], 1);
	if (number(task, 1) == i)
		return hang(task);
	return reply_number(task, i);
}
MPS_TARGET(count_me);

/* --------------------------------------------------------------------------------------------------- pools */

static inline struct mps_pool *pool_with(struct mps_pool_options o)
{
	struct mps_pool *p;
	int r;

	if (o.workers == 0)
		o.workers = 2;
	r = mps_pool_new(&o, &p);
	cr_assert_eq(r, 0, "%d %s", r, mps_pool_failure(NULL));
	return p;
}

/* One task of one number: its outcome. */
static inline int apply(struct mps_pool *p, mps_target *function, int64_t v, struct mps_result *ret)
{
	int r = mps_pool_apply(p, function, &(struct mps_item){ &v, sizeof(v) }, 1, ret, LONG);

	cr_assert_geq(r, 0, "%d", r);
	return r;
}

static inline int64_t value(const struct mps_result *r)
{
	int64_t v;

	cr_assert_eq(r->n, sizeof(v));
	memcpy(&v, r->p, sizeof(v));
	return v;
}

static inline int64_t apply_value(struct mps_pool *p, mps_target *function, int64_t v)
{
	struct mps_result result;
	int64_t ret;

	cr_assert_eq(apply(p, function, v, &result), 0, "%d %d", result.outcome, result.code);
	ret = value(&result);
	free(result.p);
	return ret;
}

static inline struct mps_future *async(struct mps_pool *p, mps_target *function, int64_t v)
{
	struct mps_future *f;

	cr_assert_eq(mps_pool_apply_async(p, function, &(struct mps_item){ &v, sizeof(v) }, 1, &f),
		     0);
	return f;
}

struct numbers {
	int64_t *v;
	struct mps_item *items;
};

static inline struct numbers numbers_up_to(size_t n)
{
	struct numbers ret = { calloc(n, sizeof(int64_t)), calloc(n, sizeof(struct mps_item)) };

	for (size_t i = 0; i < n; i++) {
		ret.v[i] = (int64_t)i;
		ret.items[i] = (struct mps_item){ &ret.v[i], sizeof(ret.v[i]) };
	}
	return ret;
}

static inline void numbers_free(struct numbers *n)
{
	free(n->v);
	free(n->items);
}

struct scene {
	int ends[2];
	struct mps_shm *shm;
	struct mps_args *args;
};

/* Options for a pool of whose tasks the test hears. */
static inline struct mps_pool_options scene_options(struct scene *s, struct mps_pool_options o)
{
	cr_assert_eq(pipe2(s->ends, O_CLOEXEC), 0);
	cr_assert_eq(mps_shm_create(NULL, COUNTS * sizeof(*counts), &s->shm), 0);
	cr_assert_eq(mps_args_new(&s->args), 0);
	mps_args_add_fd(s->args, s->ends[1]);
	mps_args_add_shm(s->args, s->shm);
	counts = mps_shm_data(s->shm);
	if (o.initializer == NULL)
		o.initializer = have_scene;
	o.args = s->args;
	return o;
}

static inline void scene_free(struct scene *s)
{
	close(s->ends[0]);
	close(s->ends[1]);
	mps_args_free(s->args);
	mps_shm_close(s->shm);
}

static inline pid_t scene_pid(struct scene *s)
{
	struct pollfd p = { .fd = s->ends[0], .events = POLLIN };
	pid_t pid = 0;

	cr_assert_eq(poll(&p, 1, 30000), 1);
	cr_assert_eq(read(s->ends[0], &pid, sizeof(pid)), (ssize_t)sizeof(pid));
	return pid;
}

/* Until that process is gone, or a zombie. */
static inline void await_gone(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (fd < 0)
		return;
	cr_assert_eq(poll(&p, 1, 30000), 1, "%d lives", (int)pid);
	close(fd);
}

#endif
