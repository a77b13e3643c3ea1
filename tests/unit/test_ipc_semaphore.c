/*
 * Semaphores: units belong to threads, and come back from the dead.
 */
#include <pthread.h>

#include "../ipc_scene.h"
#include "ipc/robust.h"

struct scene {
	struct mps_semaphore s;
	_Atomic uint32_t step;
	_Atomic uint32_t have, most;
	uint32_t take;
};

static struct scene *scene;

static void scene_new(uint32_t value, unsigned flags)
{
	scene = scene_shared(sizeof(*scene));
	scene->take = 1;
	cr_assert_eq(mps_semaphore_init(&scene->s, value, flags), 0);
}

static int take_and_stay(void *p)
{
	(void)p;
	for (uint32_t i = 0; i < scene->take; i++)
		if (mps_semaphore_acquire(&scene->s, LONG) != 0)
			return 1;
	scene_tell(&scene->step);
	while (pause() < 0)
		;
	return 0;
}

static int take_one(void *p)
{
	(void)p;
	return -mps_semaphore_acquire(&scene->s, LONG);
}

static int give_one(void *p)
{
	(void)p;
	return -mps_semaphore_release(&scene->s, 1);
}

Test(ipc_semaphore, what_makes_no_sense_is_refused)
{
	struct mps_semaphore *zeroed = scene_shared(sizeof(*zeroed));

	cr_expect_eq(mps_semaphore_acquire(zeroed, 0), -EINVAL);
	cr_expect_eq(mps_semaphore_release(zeroed, 1), -EINVAL);
	cr_expect_eq(mps_semaphore_value(zeroed), 0);
	cr_expect_eq(mps_semaphore_init(NULL, 1, 0), -EINVAL);
	cr_expect_eq(mps_semaphore_init(zeroed, 1, 1 << 5), -EINVAL);
	cr_expect_eq(mps_semaphore_init(zeroed, 0, 0), -EINVAL);
	cr_expect_eq(mps_semaphore_init(zeroed, 0, MPS_SEMAPHORE_UNOWNED), 0);
}

Test(ipc_semaphore, so_many_can_be_had_as_there_are)
{
	int64_t from;

	scene_new(3, 0);
	for (uint32_t i = 3; i > 0; i--) {
		cr_expect_eq(mps_semaphore_value(&scene->s), i);
		cr_expect_eq(mps_semaphore_acquire(&scene->s, 0), 0);
	}
	cr_expect_eq(mps_semaphore_acquire(&scene->s, 0), -ETIMEDOUT);
	from = mps_now().ns;
	cr_expect_eq(mps_semaphore_acquire(&scene->s, SHORT), -ETIMEDOUT);
	cr_expect_geq(mps_now().ns - from, SHORT);
	cr_expect_eq(mps_semaphore_release(&scene->s, 0), 0);
	cr_expect_eq(mps_semaphore_release(&scene->s, 2), 0);
	cr_expect_eq(mps_semaphore_release(&scene->s, 2), -EPERM);
	cr_expect_eq(mps_semaphore_release(&scene->s, 1), 0);
	cr_expect_eq(mps_semaphore_value(&scene->s), 3);
}

Test(ipc_semaphore, who_has_none_cannot_release)
{
	scene_new(2, 0);
	cr_expect_eq(mps_semaphore_release(&scene->s, 1), -EPERM);
	cr_expect_eq(mps_semaphore_acquire(&scene->s, 0), 0);
	/* A child of fork has none. */
	cr_expect_eq(scene_end(scene_child(give_one, NULL)), EPERM);
	cr_expect_eq(mps_semaphore_value(&scene->s), 1);
}

Test(ipc_semaphore, a_bounded_one_does_not_grow)
{
	scene_new(2, MPS_SEMAPHORE_BOUNDED);
	cr_expect_eq(mps_semaphore_release(&scene->s, 1), -EOVERFLOW);
	cr_expect_eq(mps_semaphore_acquire(&scene->s, 0), 0);
	cr_expect_eq(scene_end(scene_child(give_one, NULL)), EPERM);
	cr_expect_eq(mps_semaphore_release(&scene->s, 2), -EOVERFLOW);
	cr_expect_eq(mps_semaphore_release(&scene->s, 1), 0);

	scene_new(2, MPS_SEMAPHORE_BOUNDED | MPS_SEMAPHORE_UNOWNED);
	cr_expect_eq(mps_semaphore_release(&scene->s, 1), -EOVERFLOW);
	cr_expect_eq(mps_semaphore_acquire(&scene->s, 0), 0);
	cr_expect_eq(mps_semaphore_release(&scene->s, 2), -EOVERFLOW);
	cr_expect_eq(scene_end(scene_child(give_one, NULL)), 0);
	cr_expect_eq(mps_semaphore_value(&scene->s), 2);
}

Test(ipc_semaphore, without_owners_it_is_a_number)
{
	scene_new(0, MPS_SEMAPHORE_UNOWNED);
	cr_expect_eq(mps_semaphore_acquire(&scene->s, SHORT), -ETIMEDOUT);
	cr_expect_eq(mps_semaphore_release(&scene->s, UINT32_MAX), 0);
	cr_expect_eq(mps_semaphore_release(&scene->s, 1), -EOVERFLOW);
	cr_expect_eq(scene_end(scene_child(take_one, NULL)), 0);
	cr_expect_eq(mps_semaphore_value(&scene->s), UINT32_MAX - 1);
}

static void units_come_back(void)
{
	pid_t holder, waiter;

	scene_new(3, 0);
	scene->take = 3;
	holder = scene_child(take_and_stay, NULL);
	scene_until(&scene->step, 1);
	cr_expect_eq(mps_semaphore_acquire(&scene->s, SHORT), -ETIMEDOUT);
	waiter = scene_child(take_one, NULL);
	scene_asleep(waiter);
	scene_kill(holder);
	cr_expect_eq(scene_end(waiter), 0);
	cr_expect_eq(mps_semaphore_value(&scene->s), 3);
}

Test(ipc_semaphore, units_of_a_killed_holder_come_back_to_who_waits)
{
	units_come_back();
}

Test(ipc_semaphore, so_they_do_where_the_kernel_cannot_sleep_on_many)
{
	setenv("MPSUP_NO", "futex_waitv", 1);
	units_come_back();
}

Test(ipc_semaphore, they_come_back_to_who_asks_later)
{
	scene_new(1, 0);
	pid_t holder = scene_child(take_and_stay, NULL);

	scene_until(&scene->step, 1);
	scene_kill(holder);
	cr_expect_eq(mps_semaphore_acquire(&scene->s, 0), 0);
}

static void *thread_takes(void *p)
{
	(void)p;
	return mps_semaphore_acquire(&scene->s, 0) == 0 ? scene : NULL;
}

Test(ipc_semaphore, they_come_back_from_a_thread_that_ends)
{
	pthread_t t;
	void *r;

	scene_new(1, 0);
	cr_assert_eq(pthread_create(&t, NULL, thread_takes, NULL), 0);
	pthread_join(t, &r);
	cr_expect_eq(r, scene);
	cr_expect_eq(mps_semaphore_acquire(&scene->s, LONG), 0);
}

Test(ipc_semaphore, a_killed_waiter_hands_its_turn_on)
{
	pid_t pids[3];

	scene_new(1, 0);
	mps_semaphore_acquire(&scene->s, 0);
	for (int i = 0; i < 3; i++) {
		pids[i] = scene_child(take_one, NULL);
		scene_asleep(pids[i]);
	}
	/* The first has the turn; it is woken, and killed before it can take. */
	scene_stop(pids[0]);
	mps_semaphore_release(&scene->s, 1);
	scene_kill(pids[0]);
	cr_expect_eq(scene_end(pids[1]), 0);
	cr_expect_eq(scene_end(pids[2]), 0);
	cr_expect_eq(mps_semaphore_value(&scene->s), 1);
}

Test(ipc_semaphore, several_units_wake_several)
{
	pid_t pids[3];

	scene_new(0, MPS_SEMAPHORE_UNOWNED);
	for (int i = 0; i < 3; i++)
		pids[i] = scene_child(take_one, NULL);
	for (int i = 0; i < 3; i++)
		scene_asleep(pids[i]);
	mps_semaphore_release(&scene->s, 3);
	for (int i = 0; i < 3; i++)
		cr_expect_eq(scene_end(pids[i]), 0);
}

Test(ipc_semaphore, memory_may_go_when_nothing_is_held)
{
	for (int i = 0; i < 3; i++) {
		scene_new(2, 0);
		cr_expect_eq(mps_semaphore_acquire(&scene->s, 0), 0);
		cr_expect_eq(mps_semaphore_release(&scene->s, 1), 0);
		munmap(scene, sizeof(*scene));
	}
}

static void *hold_until_told(void *p)
{
	intptr_t r = mps_semaphore_acquire(&scene->s, LONG);

	scene_tell(&scene->step);
	while (atomic_load(&scene->have) == 0)
		futex_wait(&scene->have, 0, until_of(LONG));
	if (p != NULL && r == 0)
		r = mps_semaphore_release(&scene->s, 1);
	return (void *)r;
}

Test(ipc_semaphore, so_many_holders_and_no_more)
{
	pthread_t t[MPS_SEMAPHORE_HOLDERS_MAX];
	void *r;

	scene_new(1000, 0);
	for (size_t i = 0; i < MPS_SEMAPHORE_HOLDERS_MAX; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, hold_until_told, i % 2 ? scene : NULL), 0);
	scene_until(&scene->step, MPS_SEMAPHORE_HOLDERS_MAX);
	cr_expect_eq(mps_semaphore_acquire(&scene->s, 0), -EAGAIN);
	cr_expect_eq(mps_semaphore_value(&scene->s), 1000 - MPS_SEMAPHORE_HOLDERS_MAX);
	scene_tell(&scene->have);
	for (size_t i = 0; i < MPS_SEMAPHORE_HOLDERS_MAX; i++) {
		cr_expect_eq(pthread_join(t[i], &r), 0);
		cr_expect_null(r);
	}
	/* Half of them ended with theirs. */
	cr_expect_eq(mps_semaphore_acquire(&scene->s, 0), 0);
	cr_expect_eq(mps_semaphore_value(&scene->s), 999);
}

static int take_and_give(void *p)
{
	(void)p;
	for (int i = 0; i < 3000; i++) {
		uint32_t n;

		if (mps_semaphore_acquire(&scene->s, LONG) != 0)
			return 1;
		n = atomic_fetch_add(&scene->have, 1) + 1;
		if (n > scene->most)
			scene->most = n;
		atomic_fetch_sub(&scene->have, 1);
		if (mps_semaphore_release(&scene->s, 1) != 0)
			return 2;
	}
	return 0;
}

Test(ipc_semaphore, never_more_have_one_than_there_are)
{
	for (unsigned flags = 0; flags < 4; flags++) {
		pid_t pids[4];

		scene_new(2, flags);
		for (int i = 0; i < 4; i++)
			pids[i] = scene_child(take_and_give, NULL);
		for (int i = 0; i < 4; i++)
			cr_expect_eq(scene_end(pids[i]), 0);
		cr_expect_leq(scene->most, 2);
		cr_expect_eq(mps_semaphore_value(&scene->s), 2);
	}
}
