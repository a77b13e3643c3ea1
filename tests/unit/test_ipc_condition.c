/*
 * Conditions: notifications reach those who wait, and wait for nobody.
 */
#include "../ipc_scene.h"

struct scene {
	struct mps_lock lock;
	struct mps_rlock rlock;
	struct mps_condition condition;
	_Atomic uint32_t waiting;
	_Atomic uint32_t woken;
	_Atomic uint32_t ready;
};

static struct scene *s;

static void scene_new(void)
{
	s = scene_shared(sizeof(*s));
	cr_assert_eq(mps_lock_init(&s->lock), 0);
	cr_assert_eq(mps_rlock_init(&s->rlock), 0);
	cr_assert_eq(mps_condition_init(&s->condition), 0);
}

static int wait_once(void *p)
{
	int r;

	(void)p;
	if (mps_lock_acquire(&s->lock, LONG) != 0)
		return 100;
	scene_tell(&s->waiting);
	r = mps_condition_wait(&s->condition, &s->lock, LONG);
	scene_tell(&s->woken);
	mps_lock_release(&s->lock);
	return r < 0 ? -r : r;
}

static bool is_ready(void *user)
{
	(void)user;
	return atomic_load(&s->ready) != 0;
}

static int wait_for_ready(void *p)
{
	int r;

	(void)p;
	if (mps_lock_acquire(&s->lock, LONG) != 0)
		return 100;
	scene_tell(&s->waiting);
	r = mps_condition_wait_for(&s->condition, &s->lock, is_ready, NULL, LONG);
	if (mps_lock_release(&s->lock) != 0)
		return 101;
	return r < 0 ? -r : r;
}

static void waiters(pid_t *pids, uint32_t n, int (*run)(void *))
{
	for (uint32_t i = 0; i < n; i++)
		pids[i] = scene_child(run, NULL);
	scene_until(&s->waiting, n);
	/* The lock can be had: they have let go of it. */
	for (uint32_t i = 0; i < n; i++)
		scene_asleep(pids[i]);
}

Test(ipc_condition, what_is_not_initialised_is_refused)
{
	struct mps_condition c = { { 0 } };

	scene_new();
	mps_lock_acquire(&s->lock, MPS_FOREVER);
	cr_expect_eq(mps_condition_wait(&c, &s->lock, 0), -EINVAL);
	cr_expect_eq(mps_condition_notify(&c, 1), -EINVAL);
	cr_expect_eq(mps_condition_init(NULL), -EINVAL);
	cr_expect_eq(mps_condition_wait_for(&s->condition, &s->lock, NULL, NULL, 0), -EINVAL);
}

Test(ipc_condition, who_waits_must_hold_the_lock)
{
	scene_new();
	cr_expect_eq(mps_condition_wait(&s->condition, &s->lock, LONG), -EPERM);
	cr_expect_eq(mps_condition_wait_rlock(&s->condition, &s->rlock, LONG), -EPERM);
}

Test(ipc_condition, the_lock_is_held_again_when_the_time_is_over)
{
	int64_t from = mps_now().ns;

	scene_new();
	mps_lock_acquire(&s->lock, MPS_FOREVER);
	cr_expect_eq(mps_condition_wait(&s->condition, &s->lock, SHORT), -ETIMEDOUT);
	cr_expect_geq(mps_now().ns - from, SHORT);
	cr_expect_eq(mps_condition_wait(&s->condition, &s->lock, 0), -ETIMEDOUT);
	cr_expect_eq(mps_condition_wait_for(&s->condition, &s->lock, is_ready, NULL, SHORT),
		     -ETIMEDOUT);
	cr_expect_eq(mps_lock_release(&s->lock), 0);
}

static int take_rlock_and_notify(void *p)
{
	int r = mps_rlock_acquire(&s->rlock, LONG);

	(void)p;
	atomic_store(&s->ready, 1);
	mps_condition_notify(&s->condition, 1);
	mps_rlock_release(&s->rlock);
	return r;
}

Test(ipc_condition, all_levels_of_an_rlock_are_released_and_had_again)
{
	pid_t pid;

	scene_new();
	for (int i = 0; i < 3; i++)
		mps_rlock_acquire(&s->rlock, MPS_FOREVER);
	pid = scene_child(take_rlock_and_notify, NULL);
	cr_expect_eq(mps_condition_wait_rlock(&s->condition, &s->rlock, LONG), 0);
	cr_expect_eq(scene_end(pid), 0);
	for (int i = 0; i < 3; i++)
		cr_expect_eq(mps_rlock_release(&s->rlock), 0);
	cr_expect_eq(mps_rlock_release(&s->rlock), -EPERM);
}

Test(ipc_condition, what_is_waited_for_may_lie_under_an_rlock)
{
	pid_t pid;

	scene_new();
	cr_expect_eq(mps_condition_wait_for_rlock(&s->condition, &s->rlock, is_ready, NULL, 0),
		     -EPERM);
	mps_rlock_acquire(&s->rlock, MPS_FOREVER);
	mps_rlock_acquire(&s->rlock, MPS_FOREVER);
	cr_expect_eq(mps_condition_wait_for_rlock(&s->condition, &s->rlock, is_ready, NULL, SHORT),
		     -ETIMEDOUT);
	pid = scene_child(take_rlock_and_notify, NULL);
	cr_expect_eq(mps_condition_wait_for_rlock(&s->condition, &s->rlock, is_ready, NULL, LONG),
		     0);
	cr_expect(is_ready(NULL));
	cr_expect_eq(scene_end(pid), 0);
	cr_expect_eq(mps_rlock_release(&s->rlock), 0);
	cr_expect_eq(mps_rlock_release(&s->rlock), 0);
}

Test(ipc_condition, so_many_are_woken_as_are_notified)
{
	pid_t pids[4];

	scene_new();
	waiters(pids, 4, wait_once);
	mps_condition_notify(&s->condition, 0);
	mps_condition_notify(&s->condition, 1);
	scene_until(&s->woken, 1);
	mps_condition_notify(&s->condition, 2);
	scene_until(&s->woken, 3);
	cr_expect_eq(futex_wait(&s->woken, 3, until_of(SHORT)), -ETIMEDOUT, "the fourth goes on");
	mps_condition_notify(&s->condition, UINT32_MAX);
	for (int i = 0; i < 4; i++)
		cr_expect_eq(scene_end(pids[i]), 0);
}

Test(ipc_condition, a_killed_waiter_does_not_hold_up_notify)
{
	pid_t pids[3];

	scene_new();
	waiters(pids, 3, wait_for_ready);
	scene_kill(pids[0]);
	mps_lock_acquire(&s->lock, MPS_FOREVER);
	s->ready = 1;
	cr_expect_eq(mps_condition_notify(&s->condition, UINT32_MAX), 0);
	mps_lock_release(&s->lock);
	cr_expect_eq(scene_end(pids[1]), 0);
	cr_expect_eq(scene_end(pids[2]), 0);
}

static int die_with_the_lock(void *p)
{
	(void)p;
	if (mps_lock_acquire(&s->lock, LONG) != 0)
		return 1;
	mps_condition_notify(&s->condition, 1);
	raise(SIGKILL);
	return 2;
}

Test(ipc_condition, who_waits_is_told_of_a_holder_that_died)
{
	pid_t pid;

	scene_new();
	waiters(&pid, 1, wait_for_ready);
	cr_expect_eq(scene_end(scene_child(die_with_the_lock, NULL)), -SIGKILL);
	cr_expect_eq(scene_end(pid), EOWNERDEAD);
}

static volatile sig_atomic_t handled;

static void on_signal(int sig)
{
	(void)sig;
	atomic_store(&s->ready, 1);
	mps_condition_notify(&s->condition, UINT32_MAX);
	handled = 1;
}

static int signal_parent_asleep(void *p)
{
	(void)p;
	scene_asleep(getppid());
	kill(getppid(), SIGUSR1);
	return 0;
}

Test(ipc_condition, a_signal_handler_may_notify)
{
	struct sigaction sa = { .sa_handler = on_signal };
	pid_t pid;

	scene_new();
	sigaction(SIGUSR1, &sa, NULL);
	mps_lock_acquire(&s->lock, MPS_FOREVER);
	pid = scene_child(signal_parent_asleep, NULL);
	cr_expect_eq(mps_condition_wait_for(&s->condition, &s->lock, is_ready, NULL, LONG), 0);
	cr_expect_eq(handled, 1);
	cr_expect_eq(scene_end(pid), 0);
}
