/*
 * Those who wait at queues: they are woken or their time is over, in a fair order; who dies at it loses at most its own item.
 */
#include <pthread.h>

#include "../queue_scene.h"

/* ---------------------------------------------------------------------------------------------------- waiting */

Test(queue_wait, a_time_is_over_when_it_is_over)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ .max_items = 1 });
	struct mps_time t = mps_now();
	pid_t pid;
	char p[8];
	size_t n;

	cr_assert_eq(mps_queue_get(q, p, 8, &n, MOMENT), -ETIMEDOUT);
	cr_assert_eq(mps_queue_get(q, p, 8, &n, -1), -ETIMEDOUT);
	put_text(q, "1");
	cr_assert_eq(mps_queue_put(q, p, 8, MOMENT), -ETIMEDOUT);
	cr_assert_geq(mps_now().ns - t.ns, 2 * MOMENT);
	get_text(q, "1");
	/* Also where another one is before us and waits without an end. */
	pid = begin(get_one, q);
	await_sleeper(&q->s->tail);
	cr_assert_eq(mps_queue_get(q, p, 8, &n, MOMENT), -ETIMEDOUT);
	cr_assert_eq(mps_queue_get(q, p, 8, &n, 0), -ETIMEDOUT);
	put_text(q, "2");
	cr_assert_eq(scene_end(pid), 0);
	mps_queue_free(q);
}

Test(queue_wait, who_waits_for_room_is_woken)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ .max_items = 1 });
	pid_t pid;

	put_text(q, "1");
	pid = begin(put_one, q);
	await_sleeper(&q->s->head);
	get_text(q, "1");
	cr_assert_eq(scene_end(pid), 0);
	get_text(q, "child");
	mps_queue_free(q);
}

Test(queue_wait, a_closed_one_is_emptied_and_then_over)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
	char p[8];
	size_t n;

	put_text(q, "last");
	cr_assert_eq(mps_queue_close(q), 0);
	cr_assert_eq(mps_queue_close(q), 0);
	cr_assert_eq(mps_queue_put(q, "x", 2, SOON), -EPIPE);
	cr_assert_eq(mps_queue_size(q), 1);
	get_text(q, "last");
	cr_assert_eq(mps_queue_get(q, p, 8, &n, MPS_FOREVER), -EPIPE);
	mps_queue_free(q);
}

Test(queue_wait, a_close_wakes_all_on_both_sides)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ .max_items = 1 });
	pid_t pids[3];

	for (int i = 0; i < 3; i++)
		pids[i] = begin(get_one, q);
	await_sleeper(&q->s->tail);
	cr_assert_eq(mps_queue_close(q), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(scene_end(pids[i]), EPIPE);
	mps_queue_free(q);

	q = new_queue((struct mps_queue_options){ .max_items = 1 });
	put_text(q, "1");
	for (int i = 0; i < 3; i++)
		pids[i] = begin(put_one, q);
	await_sleeper(&q->s->head);
	cr_assert_eq(mps_queue_close(q), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(scene_end(pids[i]), EPIPE);
	get_text(q, "1");
	cr_assert_eq(mps_queue_size(q), 0);
	mps_queue_free(q);
}

/* --------------------------------------------------------------------------------------------------- joinable */

static int join_it(struct mps_queue *q)
{
	return -mps_queue_join(q, MPS_FOREVER);
}

Test(queue_wait, all_who_join_are_woken_when_all_is_done)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ .joinable = true });
	pid_t pids[3];

	cr_assert_eq(mps_queue_join(q, 0), 0);
	cr_assert_eq(mps_queue_task_done(q), -EINVAL);
	put_text(q, "1");
	put_text(q, "2");
	for (int i = 0; i < 3; i++)
		pids[i] = begin(join_it, q);
	await_sleeper(&q->s->done);
	get_text(q, "1");
	get_text(q, "2");
	cr_assert_eq(mps_queue_task_done(q), 0);
	cr_assert_eq(mps_queue_join(q, MOMENT), -ETIMEDOUT);
	cr_assert_eq(mps_queue_join(q, 0), -ETIMEDOUT);
	cr_assert_eq(mps_queue_task_done(q), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(scene_end(pids[i]), 0);
	cr_assert_eq(mps_queue_task_done(q), -EINVAL);
	mps_queue_free(q);
}

Test(queue_wait, an_item_that_a_killed_consumer_had_stays_unfinished)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ .joinable = true });

	put_text(q, "1");
	cr_assert_eq(scene_end(begin(get_one, q)), 0);
	cr_assert_eq(mps_queue_join(q, MOMENT), -ETIMEDOUT);
	cr_assert_eq(mps_queue_task_done(q), 0);
	cr_assert_eq(mps_queue_join(q, 0), 0);
	mps_queue_free(q);
	q = new_queue((struct mps_queue_options){ 0 });
	cr_assert_eq(mps_queue_task_done(q), -EOPNOTSUPP);
	cr_assert_eq(mps_queue_join(q, 0), -EOPNOTSUPP);
	mps_queue_free(q);
}

/* ------------------------------------------------------------------------------------------------------ deaths */

static int put_long(struct mps_queue *q)
{
	char *p = calloc(1, 1 << 20);

	return -mps_queue_put(q, p, 1 << 20, MPS_FOREVER);
}

Test(queue_wait, a_producer_ends_before_anybody_has_got_its_item)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
	pid_t pid = begin(put_long, q);
	void *p;
	size_t n;

	cr_assert_eq(scene_end(pid), 0);
	cr_assert_eq(mps_queue_get_new(q, &p, &n, 0), 0);
	cr_assert_eq(n, 1 << 20);
	free(p);
	mps_queue_free(q);
}

Test(queue_wait, an_idle_consumer_that_is_killed_takes_nothing_with_it)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
	pid_t first = begin(get_one, q), second;

	await_sleeper(&q->s->tail);
	second = begin(get_one, q);
	scene_kill(first);
	put_text(q, "1");
	cr_assert_eq(scene_end(second), 0);
	first = begin(get_one, q);
	await_sleeper(&q->s->tail);
	scene_kill(first);
	put_text(q, "2");
	get_text(q, "2");
	mps_queue_free(q);
}

Test(queue_wait, a_producer_that_is_killed_waiting_for_room_blocks_nobody)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ .max_items = 1 });
	pid_t pid;

	put_text(q, "1");
	pid = begin(put_one, q);
	await_sleeper(&q->s->head);
	scene_kill(pid);
	cr_assert_eq(mps_queue_put(q, "x", 2, MOMENT), -ETIMEDOUT);
	get_text(q, "1");
	put_text(q, "2");
	get_text(q, "2");
	mps_queue_free(q);
}

static int put_for_ever(struct mps_queue *q)
{
	size_t n = 16000;
	char *p = calloc(1, n);

	while (mps_queue_put(q, p, n, MPS_FOREVER) == 0)
		;
	return 1;
}

/* The item that it was writing is not there, and no get waits for the rest of it. */
Test(queue_wait, a_producer_that_is_killed_writing_leaves_no_half_item)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
	static char p[16000];
	size_t n;

	for (int i = 0; i < 100; i++) {
		pid_t pid = begin(put_for_ever, q);
		int64_t from;
		int r;

		for (int k = 0; k < i; k++)
			cr_assert_eq(mps_queue_get(q, p, sizeof(p), &n, SOON), 0);
		scene_kill(pid);
		from = mps_now().ns;
		while ((r = mps_queue_get(q, p, sizeof(p), &n, MPS_MILLISECOND)) == 0)
			cr_assert_eq(n, sizeof(p));
		cr_assert_eq(r, -ETIMEDOUT);
		cr_assert_lt(mps_now().ns - from, SOON);
	}
	mps_queue_free(q);
}

/* ---------------------------------------------------------------------------------------------------- fairness */

enum { CONSUMERS = 4, SHARED_OUT = 100000 };

static _Atomic uint32_t *taken;

static int consume(struct mps_queue *q)
{
	uint32_t who = atomic_fetch_add(&taken[CONSUMERS], 1);
	uint64_t item;
	size_t n;

	while (mps_queue_get(q, &item, sizeof(item), &n, MPS_FOREVER) == 0)
		atomic_fetch_add(&taken[who], 1);
	return 0;
}

/* Each has a quarter of its fair share at least. */
static bool is_fair(uint64_t total)
{
	for (int i = 0; i < CONSUMERS; i++)
		if (atomic_load(&taken[i]) < total / CONSUMERS / 4)
			return false;
	return true;
}

Test(queue_wait, no_consumer_starves)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
	pid_t pids[CONSUMERS];
	uint64_t i = 0;

	taken = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int k = 0; k < CONSUMERS; k++)
		pids[k] = begin(consume, q);
	while (atomic_load(&taken[CONSUMERS]) < CONSUMERS)
		sched_yield();
	/* Over a short time chance decides: the alarm ends it where it stays so. */
	for (; i < SHARED_OUT || !is_fair(i); i++)
		cr_assert_eq(mps_queue_put(q, &i, sizeof(i), SOON), 0);
	cr_assert_eq(mps_queue_close(q), 0);
	for (int k = 0; k < CONSUMERS; k++)
		cr_assert_eq(scene_end(pids[k]), 0);
	cr_assert_eq(taken[0] + taken[1] + taken[2] + taken[3], i);
	munmap((void *)taken, 4096);
	mps_queue_free(q);
}
