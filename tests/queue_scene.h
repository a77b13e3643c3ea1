/*
 * Queues of a test, texts in them, processes at them. Header only.
 */
#ifndef TESTS_QUEUE_SCENE_H
#define TESTS_QUEUE_SCENE_H

#include <stdatomic.h>
#include <string.h>

#include "ipc/queue.h"
#include "ipc/queue_layout.h"
#include "ipc_scene.h"

enum { LIMIT_S = 30 };
#define SOON (10 * MPS_SECOND)
#define MOMENT (20 * MPS_MILLISECOND)

static inline struct mps_queue *new_queue(struct mps_queue_options o)
{
	struct mps_queue *q = NULL;

	alarm(LIMIT_S);
	cr_assert_eq(mps_queue_new(&o, &q), 0);
	return q;
}

static inline void put_text(struct mps_queue *q, const char *text)
{
	cr_assert_eq(mps_queue_put(q, text, strlen(text) + 1, SOON), 0);
}

static inline void get_text(struct mps_queue *q, const char *text)
{
	char got[64] = "";
	size_t n = 0;

	cr_assert_eq(mps_queue_get(q, got, sizeof(got), &n, SOON), 0);
	cr_assert_str_eq(got, text);
	cr_assert_eq(n, strlen(text) + 1);
}

/* A process that runs f and exits with its result. */
static inline pid_t begin(int (*f)(struct mps_queue *), struct mps_queue *q)
{
	pid_t pid = scene_fork();

	if (pid == 0)
		_exit(f(q));
	return pid;
}

/* Until one of the other side sleeps on that word. */
static inline void await_sleeper(const struct queue_counter *c)
{
	while ((atomic_load(&c->word) & QUEUE_SLEEPS) == 0)
		sched_yield();
}

static inline int get_one(struct mps_queue *q)
{
	char p[64];
	size_t n;

	return -mps_queue_get(q, p, sizeof(p), &n, MPS_FOREVER);
}

static inline int put_one(struct mps_queue *q)
{
	return -mps_queue_put(q, "child", 6, MPS_FOREVER);
}

#endif
