/*
 * Barriers: all go on together, or all are told that one will not come.
 */
#include <pthread.h>

#include "../ipc_scene.h"

struct scene {
	struct mps_barrier b;
	_Atomic uint32_t seen[8];
	_Atomic uint32_t rounds;
	int64_t timeout;
};

static struct scene *scene;

static void scene_new(uint32_t parties)
{
	scene = scene_shared(sizeof(*scene));
	scene->timeout = LONG;
	cr_assert_eq(mps_barrier_init(&scene->b, parties), 0);
}

/* Exit status: the number, or 100 + errno. */
static int wait_once(void *p)
{
	int r = mps_barrier_wait(&scene->b, scene->timeout);

	(void)p;
	return r < 0 ? 100 - r : r;
}

static void waiters(pid_t *pids, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		pids[i] = scene_child(wait_once, NULL);
		while (mps_barrier_waiting(&scene->b) <= i)
			sched_yield();
		scene_asleep(pids[i]);
	}
}

Test(ipc_barrier, what_makes_no_sense_is_refused)
{
	struct mps_barrier *zeroed = scene_shared(sizeof(*zeroed));

	cr_expect_eq(mps_barrier_wait(zeroed, MPS_FOREVER), -EINVAL);
	cr_expect_eq(mps_barrier_abort(zeroed), -EINVAL);
	cr_expect_eq(mps_barrier_reset(zeroed), -EINVAL);
	cr_expect_eq(mps_barrier_waiting(zeroed), 0);
	cr_expect_not(mps_barrier_is_broken(zeroed));
	cr_expect_eq(mps_barrier_init(zeroed, 0), -EINVAL);
	cr_expect_eq(mps_barrier_init(zeroed, MPS_BARRIER_PARTIES_MAX + 1), -EINVAL);
	cr_expect_eq(mps_barrier_init(NULL, 1), -EINVAL);
}

Test(ipc_barrier, one_alone_never_waits)
{
	scene_new(1);
	for (int i = 0; i < 5; i++)
		cr_expect_eq(mps_barrier_wait(&scene->b, 0), 0);
	cr_expect_not(mps_barrier_is_broken(&scene->b));
}

Test(ipc_barrier, the_last_to_come_is_number_0)
{
	pid_t pids[3];

	scene_new(4);
	waiters(pids, 3);
	cr_expect_eq(mps_barrier_waiting(&scene->b), 3);
	cr_expect_eq(mps_barrier_wait(&scene->b, 0), 0);
	for (int i = 0; i < 3; i++)
		cr_expect_eq(scene_end(pids[i]), 3 - i);
	cr_expect_eq(mps_barrier_waiting(&scene->b), 0);
}

static int many_rounds(void *p)
{
	(void)p;
	for (uint32_t i = 0; i < 2000; i++) {
		int r = mps_barrier_wait(&scene->b, scene->timeout);

		if (r < 0)
			return 1;
		atomic_fetch_add(&scene->seen[r], 1);
		/* Nobody is a round ahead. */
		if (r == 0)
			atomic_fetch_add(&scene->rounds, 1);
		else if (atomic_load(&scene->rounds) + 1 < i || atomic_load(&scene->rounds) > i + 2)
			return 2;
	}
	return 0;
}

Test(ipc_barrier, each_number_is_had_once_a_round)
{
	pid_t pids[4];

	scene_new(4);
	for (int i = 0; i < 4; i++)
		pids[i] = scene_child(many_rounds, NULL);
	for (int i = 0; i < 4; i++)
		cr_expect_eq(scene_end(pids[i]), 0);
	for (int i = 0; i < 4; i++)
		cr_expect_eq(scene->seen[i], 2000);
}

Test(ipc_barrier, more_than_the_parties_may_use_it)
{
	pid_t pids[6];
	uint32_t n = 0;

	scene_new(2);
	for (int i = 0; i < 6; i++)
		pids[i] = scene_child(wait_once, NULL);
	for (int i = 0; i < 6; i++)
		n += (uint32_t)scene_end(pids[i]);
	cr_expect_eq(n, 3);
	cr_expect_not(mps_barrier_is_broken(&scene->b));
}

Test(ipc_barrier, who_waits_too_long_breaks_it)
{
	pid_t pids[2];
	int64_t from;

	scene_new(4);
	waiters(pids, 2);
	from = mps_now().ns;
	cr_expect_eq(mps_barrier_wait(&scene->b, SHORT), -ETIMEDOUT);
	cr_expect_geq(mps_now().ns - from, SHORT);
	cr_expect_eq(scene_end(pids[0]), 100 + EPIPE);
	cr_expect_eq(scene_end(pids[1]), 100 + EPIPE);
	cr_expect(mps_barrier_is_broken(&scene->b));
	cr_expect_eq(mps_barrier_wait(&scene->b, LONG), -EPIPE);
	cr_expect_eq(mps_barrier_reset(&scene->b), 0);
	cr_expect_not(mps_barrier_is_broken(&scene->b));
	waiters(pids, 1);
	cr_expect_eq(mps_barrier_wait(&scene->b, 0), -ETIMEDOUT);
	cr_expect_eq(scene_end(pids[0]), 100 + EPIPE);
}

static void a_death_breaks_it(void)
{
	pid_t pids[3];

	scene_new(4);
	/* The first, the last and one in between: those who sleep already know of those who come. */
	for (int dead = 0; dead < 3; dead++) {
		waiters(pids, 3);
		scene_kill(pids[dead]);
		for (int i = 0; i < 3; i++)
			if (i != dead)
				cr_expect_eq(scene_end(pids[i]), 100 + EPIPE);
		cr_expect(mps_barrier_is_broken(&scene->b));
		cr_expect_eq(mps_barrier_reset(&scene->b), 0);
	}
	/* All but one, and nobody else who could be woken. */
	waiters(pids, 3);
	kill(pids[0], SIGKILL);
	kill(pids[2], SIGKILL);
	cr_expect_eq(scene_end(pids[1]), 100 + EPIPE);
	scene_end(pids[0]);
	scene_end(pids[2]);
	cr_expect_eq(mps_barrier_reset(&scene->b), 0);
	waiters(pids, 3);
	cr_expect_eq(mps_barrier_wait(&scene->b, LONG), 0);
	for (int i = 0; i < 3; i++)
		cr_expect_eq(scene_end(pids[i]), 3 - i);
}

Test(ipc_barrier, a_killed_waiter_breaks_it_for_all)
{
	a_death_breaks_it();
}

Test(ipc_barrier, so_it_does_where_the_kernel_cannot_sleep_on_many)
{
	setenv("MPSUP_NO", "futex_waitv", 1);
	a_death_breaks_it();
}

Test(ipc_barrier, who_comes_after_a_death_is_told)
{
	pid_t pid;

	scene_new(3);
	waiters(&pid, 1);
	scene_kill(pid);
	cr_expect_eq(mps_barrier_wait(&scene->b, LONG), -EPIPE);
	cr_expect_eq(mps_barrier_waiting(&scene->b), 0);
}

Test(ipc_barrier, abort_and_reset_send_away_who_waits)
{
	pid_t pids[2];

	scene_new(3);
	waiters(pids, 2);
	cr_expect_eq(mps_barrier_abort(&scene->b), 0);
	cr_expect_eq(mps_barrier_abort(&scene->b), 0);
	for (int i = 0; i < 2; i++)
		cr_expect_eq(scene_end(pids[i]), 100 + EPIPE);
	cr_expect(mps_barrier_is_broken(&scene->b));
	cr_expect_eq(mps_barrier_reset(&scene->b), 0);
	cr_expect_eq(mps_barrier_reset(&scene->b), 0);
	waiters(pids, 2);
	cr_expect_eq(mps_barrier_reset(&scene->b), 0);
	for (int i = 0; i < 2; i++)
		cr_expect_eq(scene_end(pids[i]), 100 + EPIPE);
	cr_expect_not(mps_barrier_is_broken(&scene->b));
	waiters(pids, 2);
	cr_expect_eq(mps_barrier_wait(&scene->b, LONG), 0);
	for (int i = 0; i < 2; i++)
		cr_expect_eq(scene_end(pids[i]), 2 - i);
}

static void *thread_waits(void *p)
{
	intptr_t r = mps_barrier_wait(&scene->b, LONG);

	(void)p;
	return (void *)r;
}

Test(ipc_barrier, as_many_as_it_can)
{
	pthread_t t[MPS_BARRIER_PARTIES_MAX];
	intptr_t sum = 0;
	void *r;

	scene_new(MPS_BARRIER_PARTIES_MAX);
	for (int i = 0; i < MPS_BARRIER_PARTIES_MAX; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, thread_waits, NULL), 0);
	for (int i = 0; i < MPS_BARRIER_PARTIES_MAX; i++) {
		pthread_join(t[i], &r);
		sum += (intptr_t)r;
	}
	cr_expect_eq(sum, MPS_BARRIER_PARTIES_MAX * (MPS_BARRIER_PARTIES_MAX - 1) / 2);
}
