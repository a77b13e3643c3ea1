/*
 * Locks: who holds them, who dies with them, how long one waits.
 */
#include <pthread.h>

#include "ipc/robust.h"
#include "../ipc_scene.h"

struct scene {
	struct mps_lock lock;
	struct mps_rlock rlock;
	_Atomic uint32_t step;
	_Atomic uint32_t last;
};

static struct scene *scene_new(void)
{
	struct scene *s = scene_shared(sizeof(*s));

	cr_assert_eq(mps_lock_init(&s->lock), 0);
	cr_assert_eq(mps_rlock_init(&s->rlock), 0);
	return s;
}

static int hold(void *p)
{
	struct scene *s = p;

	if (mps_lock_acquire(&s->lock, MPS_FOREVER) < 0 ||
	    mps_rlock_acquire(&s->rlock, MPS_FOREVER) < 0 ||
	    mps_rlock_acquire(&s->rlock, MPS_FOREVER) < 0)
		return 1;
	scene_tell(&s->step);
	while (pause() < 0)
		;
	return 0;
}

static int release_both(void *p)
{
	struct scene *s = p;

	return mps_lock_release(&s->lock) == -EPERM && mps_rlock_release(&s->rlock) == -EPERM ? 0
											      : 1;
}

static int acquire_forever(void *p)
{
	struct scene *s = p;

	return mps_lock_acquire(&s->lock, MPS_FOREVER);
}

Test(ipc_lock, what_is_not_initialised_is_refused)
{
	struct scene *s = scene_shared(sizeof(*s));

	cr_expect_eq(mps_lock_acquire(&s->lock, 0), -EINVAL);
	cr_expect_eq(mps_lock_release(&s->lock), -EINVAL);
	cr_expect_eq(mps_rlock_acquire(&s->rlock, MPS_FOREVER), -EINVAL);
	cr_expect_eq(mps_rlock_release(&s->rlock), -EINVAL);
	cr_expect_eq(mps_lock_init(NULL), -EINVAL);
	/* Nor is one the other. */
	cr_expect_eq(mps_lock_init(&s->lock), 0);
	cr_expect_eq(mps_rlock_acquire((struct mps_rlock *)(void *)&s->lock, 0), -EINVAL);
}

Test(ipc_lock, a_lock_is_not_recursive_and_an_rlock_is)
{
	struct scene *s = scene_new();

	cr_expect_eq(mps_lock_acquire(&s->lock, MPS_FOREVER), 0);
	cr_expect_eq(mps_lock_acquire(&s->lock, MPS_FOREVER), -EDEADLK);
	cr_expect_eq(mps_lock_acquire(&s->lock, 0), -EDEADLK);
	cr_expect_eq(mps_lock_release(&s->lock), 0);
	cr_expect_eq(mps_lock_release(&s->lock), -EPERM);
	for (int i = 0; i < 3; i++)
		cr_expect_eq(mps_rlock_acquire(&s->rlock, i * MPS_SECOND), 0);
	for (int i = 0; i < 3; i++)
		cr_expect_eq(mps_rlock_release(&s->rlock), 0);
	cr_expect_eq(mps_rlock_release(&s->rlock), -EPERM);
}

Test(ipc_lock, who_does_not_hold_it_cannot_release_it)
{
	struct scene *s = scene_new();

	mps_lock_acquire(&s->lock, MPS_FOREVER);
	mps_rlock_acquire(&s->rlock, MPS_FOREVER);
	/* A child of fork holds nothing. */
	cr_expect_eq(scene_end(scene_child(release_both, s)), 0);
	cr_expect_eq(mps_lock_release(&s->lock), 0);
	cr_expect_eq(mps_rlock_release(&s->rlock), 0);
}

Test(ipc_lock, a_wait_ends_when_its_time_is_over)
{
	struct scene *s = scene_new();
	pid_t pid = scene_child(hold, s);
	int64_t from;

	scene_until(&s->step, 1);
	cr_expect_eq(mps_lock_acquire(&s->lock, 0), -ETIMEDOUT);
	cr_expect_eq(mps_lock_acquire(&s->lock, -5), -ETIMEDOUT);
	cr_expect_eq(mps_lock_acquire(&s->lock, INT64_MIN), -ETIMEDOUT);
	from = mps_now().ns;
	cr_expect_eq(mps_lock_acquire(&s->lock, SHORT), -ETIMEDOUT);
	cr_expect_eq(mps_rlock_acquire(&s->rlock, SHORT), -ETIMEDOUT);
	cr_expect_geq(mps_now().ns - from, 2 * SHORT);
	cr_expect_lt(mps_now().ns - from, LONG);
	scene_kill(pid);
}

Test(ipc_lock, the_next_holder_is_told_once_that_the_last_one_died)
{
	struct scene *s = scene_new();
	pid_t pid = scene_child(hold, s), waiter;

	scene_until(&s->step, 1);
	waiter = scene_child(acquire_forever, s);
	scene_asleep(waiter);
	scene_kill(pid);
	/* It was told, repaired nothing and ended with the lock. */
	cr_expect_eq(scene_end(waiter), EOWNERDEAD);
	cr_expect_eq(mps_lock_acquire(&s->lock, MPS_FOREVER), EOWNERDEAD);
	cr_expect_eq(mps_lock_release(&s->lock), 0);
	cr_expect_eq(mps_lock_acquire(&s->lock, 0), 0);
	cr_expect_eq(mps_lock_release(&s->lock), 0);
	/* One level, however many the dead one had. */
	cr_expect_eq(mps_rlock_acquire(&s->rlock, 0), EOWNERDEAD);
	cr_expect_eq(mps_rlock_release(&s->rlock), 0);
	cr_expect_eq(mps_rlock_release(&s->rlock), -EPERM);
}

Test(ipc_lock, a_killed_waiter_takes_nothing_with_it)
{
	struct scene *s = scene_new();
	pid_t first, second;

	mps_lock_acquire(&s->lock, MPS_FOREVER);
	first = scene_child(acquire_forever, s);
	scene_asleep(first);
	second = scene_child(acquire_forever, s);
	scene_asleep(second);
	/* It is woken and killed at about the same time. */
	scene_stop(first);
	mps_lock_release(&s->lock);
	kill(first, SIGKILL);
	scene_end(first);
	cr_expect_geq(scene_end(second), 0);
	cr_expect_eq(mps_lock_acquire(&s->lock, LONG), EOWNERDEAD);
}

/* Only when nobody else wants to run. */
static int acquire_idly(void *p)
{
	struct sched_param idle = { 0 };

	if (sched_setscheduler(0, SCHED_IDLE, &idle) < 0)
		return -1;
	return acquire_forever(p);
}

/*
 * The first is woken, and killed before it runs; by then the lock is held anew, by who does not know of the second, and
 * released without a wake-up. Not each time, so it is tried often.
 */
static void lose_a_wake_up(struct scene *s, const cpu_set_t *all)
{
	pid_t first, second;

	mps_lock_acquire(&s->lock, MPS_FOREVER);
	first = scene_child(acquire_idly, s);
	scene_asleep(first);
	second = scene_child(acquire_forever, s);
	cr_assert_eq(sched_setaffinity(second, sizeof(*all), all), 0);
	scene_asleep(second);
	mps_lock_release(&s->lock);
	mps_lock_acquire(&s->lock, MPS_FOREVER);
	kill(first, SIGKILL);
	mps_lock_release(&s->lock);
	cr_expect_geq(scene_end(second), 0);
	scene_end(first);
	mps_lock_acquire(&s->lock, MPS_FOREVER);
	mps_lock_release(&s->lock);
}

Test(ipc_lock, a_wake_up_that_dies_with_its_waiter_holds_up_nobody)
{
	struct scene *s = scene_new();
	cpu_set_t all, one;

	cr_assert_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	for (int i = 0; i < 20; i++)
		lose_a_wake_up(s, &all);
}

static void *acquire_and_end(void *p)
{
	struct scene *s = p;

	mps_lock_acquire(&s->lock, MPS_FOREVER);
	return NULL;
}

Test(ipc_lock, a_thread_that_ends_with_a_lock_is_dead)
{
	struct scene *s = scene_new();
	pthread_t t;

	cr_assert_eq(pthread_create(&t, NULL, acquire_and_end, s), 0);
	pthread_join(t, NULL);
	cr_expect_eq(mps_lock_acquire(&s->lock, 0), EOWNERDEAD);
}

static int count_up(void *p)
{
	struct scene *s = p;

	for (int i = 0; i < 20000; i++) {
		uint32_t n;

		if (mps_lock_acquire(&s->lock, i % 2 ? LONG : MPS_FOREVER) != 0)
			return 1;
		n = atomic_load_explicit(&s->last, memory_order_relaxed);
		atomic_store_explicit(&s->last, n + 1, memory_order_relaxed);
		if (mps_lock_release(&s->lock) != 0)
			return 2;
	}
	return 0;
}

Test(ipc_lock, one_at_a_time_has_it)
{
	struct scene *s = scene_new();
	pid_t pids[3];

	for (int i = 0; i < 3; i++)
		pids[i] = scene_child(count_up, s);
	for (int i = 0; i < 3; i++)
		cr_expect_eq(scene_end(pids[i]), 0);
	cr_expect_eq(s->last, 60000);
}

/* ------------------------------------------------------------------------------------------------ what they stand on */

struct words {
	_Atomic uint32_t word;
	pthread_mutex_t mutex;
	_Atomic uint32_t step;
};

static int hold_mutex(void *p)
{
	struct words *w = p;

	robust_lock(&w->mutex, until_of(MPS_FOREVER));
	scene_tell(&w->step);
	while (pause() < 0)
		;
	return 0;
}

static void a_death_is_told(void)
{
	struct words *w = scene_shared(sizeof(*w));
	struct futex_seen seen[2] = { { &w->word, 0 } };
	pid_t pid;

	cr_assert_eq(robust_init(&w->mutex, PTHREAD_MUTEX_ERRORCHECK), 0);
	pid = scene_child(hold_mutex, w);
	scene_until(&w->step, 1);
	seen[1] = (struct futex_seen){ robust_word(&w->mutex), robust_watch(&w->mutex) };
	cr_expect(robust_is_held(seen[1].seen));
	cr_expect_eq(futex_wait_many(seen, 2, until_of(MPS_MILLISECOND)), -ETIMEDOUT);
	kill(pid, SIGKILL);
	while (atomic_load(seen[1].w) == seen[1].seen)
		cr_assert_eq(futex_wait_many(seen, 2, until_of(LONG)), 0);
	cr_expect(robust_is_dead(robust_watch(&w->mutex)));
	cr_expect_eq(robust_lock(&w->mutex, until_of(0)), EOWNERDEAD);
	cr_expect_eq(robust_unlock(&w->mutex), 0);
	cr_expect_eq(robust_watch(&w->mutex), 0);
	scene_end(pid);
}

Test(ipc_futex, a_death_ends_a_sleep_on_many_words)
{
	a_death_is_told();
}

Test(ipc_futex, so_it_does_where_the_kernel_cannot_sleep_on_many)
{
	setenv("MPSUP_NO", "futex_waitv", 1);
	a_death_is_told();
}

Test(ipc_futex, a_change_and_its_wake_up_are_one)
{
	_Atomic uint32_t w = 5;

	cr_expect_eq(futex_add_wake(&w, -3, UINT32_MAX), 0);
	cr_expect_eq(w, 2);
	cr_expect_eq(futex_add_wake(&w, 2047, 1), 0);
	cr_expect_eq(w, 2049);
	cr_expect_eq(futex_or_wake(&w, 2, 1), 0);
	cr_expect_eq(w, 2051);
	cr_expect_eq(futex_wait(&w, 2050, until_of(LONG)), 0);
	cr_expect_eq(futex_wait(&w, 2051, until_of(0)), -ETIMEDOUT);
}

Test(ipc_futex, a_spin_is_bounded_and_gets_shorter_in_vain)
{
	_Atomic uint32_t budget = 0;

	for (int i = 0; i < 200; i++) {
		struct spin s = spin_start(&budget);

		cr_expect_leq(s.limit, SPIN_MAX_NS);
		while (spin_again(&s))
			;
		spin_end(&s, false);
	}
	cr_expect(budget == SPIN_MIN_NS || budget == 0, "%u", budget);
}

Test(ipc_futex, with_one_cpu_nobody_spins)
{
	_Atomic uint32_t budget = 0;
	cpu_set_t one;
	struct spin s;
	int cpu = 0;

	sched_getaffinity(0, sizeof(one), &one);
	while (!CPU_ISSET(cpu, &one))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	s = spin_start(&budget);
	cr_expect_eq(s.limit, 0);
	cr_expect_not(spin_again(&s));
}
