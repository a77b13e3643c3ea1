/*
 * Events: who waits goes on, whoever dies; set by signal handlers.
 */
#include "../ipc_scene.h"

struct scene {
	struct mps_event event;
	_Atomic uint32_t step;
};

static struct scene *scene;

static void scene_new(void)
{
	scene = scene_shared(sizeof(*scene));
	cr_assert_eq(mps_event_init(&scene->event), 0);
}

static int wait_for_it(void *p)
{
	(void)p;
	return -mps_event_wait(&scene->event, LONG);
}

Test(ipc_event, it_is_set_until_it_is_cleared)
{
	scene_new();
	cr_expect_not(mps_event_is_set(&scene->event));
	cr_expect_eq(mps_event_wait(&scene->event, 0), -ETIMEDOUT);
	cr_expect_eq(mps_event_wait(&scene->event, SHORT), -ETIMEDOUT);
	for (int i = 0; i < 3; i++) {
		cr_expect_eq(mps_event_set(&scene->event), 0);
		cr_expect_eq(mps_event_set(&scene->event), 0);
		cr_expect(mps_event_is_set(&scene->event));
		cr_expect_eq(mps_event_wait(&scene->event, 0), 0);
		cr_expect_eq(mps_event_wait(&scene->event, MPS_FOREVER), 0);
		cr_expect_eq(mps_event_clear(&scene->event), 0);
		cr_expect_eq(mps_event_clear(&scene->event), 0);
		cr_expect_not(mps_event_is_set(&scene->event));
		cr_expect_eq(mps_event_wait(&scene->event, MPS_MILLISECOND), -ETIMEDOUT);
	}
}

Test(ipc_event, what_is_not_initialised_is_refused)
{
	struct mps_event e = { { 0 } };

	cr_expect_eq(mps_event_set(&e), -EINVAL);
	cr_expect_eq(mps_event_clear(&e), -EINVAL);
	cr_expect_eq(mps_event_wait(&e, MPS_FOREVER), -EINVAL);
	cr_expect_not(mps_event_is_set(&e));
	cr_expect_eq(mps_event_init(NULL), -EINVAL);
}

Test(ipc_event, all_who_wait_go_on_though_it_is_cleared_at_once)
{
	pid_t pids[4];

	scene_new();
	for (int i = 0; i < 4; i++)
		pids[i] = scene_child(wait_for_it, NULL);
	for (int i = 0; i < 4; i++)
		scene_asleep(pids[i]);
	/* Two of them come too late to see it. */
	scene_stop(pids[0]);
	scene_stop(pids[2]);
	mps_event_set(&scene->event);
	mps_event_clear(&scene->event);
	for (int i = 0; i < 4; i++) {
		kill(pids[i], SIGCONT);
		cr_expect_eq(scene_end(pids[i]), 0);
	}
	cr_expect_not(mps_event_is_set(&scene->event));
}

Test(ipc_event, a_killed_waiter_does_not_hold_up_set)
{
	pid_t dead, alive;

	scene_new();
	dead = scene_child(wait_for_it, NULL);
	alive = scene_child(wait_for_it, NULL);
	scene_asleep(dead);
	scene_asleep(alive);
	scene_kill(dead);
	cr_expect_eq(mps_event_set(&scene->event), 0);
	cr_expect_eq(scene_end(alive), 0);
}

static volatile sig_atomic_t handled;

static void on_signal(int sig)
{
	(void)sig;
	mps_event_is_set(&scene->event);
	mps_event_clear(&scene->event);
	mps_event_set(&scene->event);
	handled = handled + 1;
}

static int signal_parent(void *p)
{
	(void)p;
	while (atomic_load(&scene->step) == 0)
		kill(getppid(), SIGUSR1);
	return 0;
}

Test(ipc_event, a_signal_handler_may_set_it_at_any_moment)
{
	struct sigaction sa = { .sa_handler = on_signal };
	pid_t pid;

	scene_new();
	sigaction(SIGUSR1, &sa, NULL);
	pid = scene_child(signal_parent, NULL);
	while (handled < 2000) {
		cr_assert_eq(mps_event_wait(&scene->event, LONG), 0);
		mps_event_is_set(&scene->event);
		mps_event_clear(&scene->event);
		mps_event_set(&scene->event);
		mps_event_clear(&scene->event);
	}
	atomic_store(&scene->step, 1);
	cr_expect_eq(scene_end(pid), 0);
}

static void on_nothing(int sig)
{
	(void)sig;
}

static int signal_parent_asleep(void *p)
{
	(void)p;
	for (int i = 0; i < 20; i++) {
		scene_asleep(getppid());
		kill(getppid(), SIGUSR1);
	}
	scene_asleep(getppid());
	return mps_event_set(&scene->event);
}

Test(ipc_event, a_signal_does_not_end_a_wait)
{
	struct sigaction sa = { .sa_handler = on_nothing };
	pid_t pid;

	scene_new();
	sigaction(SIGUSR1, &sa, NULL);
	pid = scene_child(signal_parent_asleep, NULL);
	cr_expect_eq(mps_event_wait(&scene->event, LONG), 0);
	cr_expect(mps_event_is_set(&scene->event));
	cr_expect_eq(scene_end(pid), 0);
}
