/*
 * What becomes of a pool when its workers die, hang or do not come up, and when its caller does. Each test is named by what
 * it claims.
 */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "../pool_scene.h"

/* Of a copy of us that exits: LeakSanitizer looks there for Criterion's other thread, and reports that it has not found it. */
static pid_t original;

__attribute__((constructor)) static void note_original(void)
{
	original = getpid();
}

__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return getpid() != original;
}

/* ----------------------------------------------------------------------------------------------------- workers */

Test(pool_deaths, the_task_of_a_killed_worker_fails_at_once_with_who_and_why)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct scene s;
		struct mps_pool *p = pool_with(
			scene_options(&s, (struct mps_pool_options){ .method = methods[i] }));
		struct mps_future *f = async(p, hang, 0);
		pid_t pid = scene_pid(&s);
		struct mps_result result;
		int64_t from = mps_now().ns;

		kill(pid, SIGKILL);
		cr_expect_eq(mps_future_get(f, &result, LONG), MPS_POOL_E_WORKER_DIED);
		cr_expect_lt(mps_now().ns - from, 5 * MPS_SECOND);
		cr_expect_eq(result.code, -SIGKILL);
		cr_expect_eq(result.pid, pid);
		cr_expect_eq(result.tries, 1);
		mps_future_free(f);
		cr_expect_eq(apply_value(p, add, 4), 4, "the pool goes on");
		mps_pool_free(p);
		scene_free(&s);
	}
}

Test(pool_deaths, a_task_is_tried_again_as_often_as_asked)
{
	struct scene s;
	struct mps_pool *p =
		pool_with(scene_options(&s, (struct mps_pool_options){ .retries = 2 }));
	struct mps_future *f = async(p, hang, 0);
	struct mps_result result;
	pid_t pid = 0;

	for (int i = 0; i < 3; i++) {
		pid = scene_pid(&s);
		kill(pid, SIGUSR2);
	}
	cr_expect_eq(mps_future_get(f, &result, LONG), MPS_POOL_E_WORKER_DIED);
	cr_expect_eq(result.tries, 3);
	cr_expect_eq(result.code, -SIGUSR2);
	cr_expect_eq(result.pid, pid);
	mps_future_free(f);
	mps_pool_free(p);
	scene_free(&s);
}

static void check_one_dies(size_t n, size_t chunk, int64_t which, uint32_t retries)
{
	struct scene s;
	struct mps_pool *p = pool_with(
		scene_options(&s, (struct mps_pool_options){ .workers = 2, .retries = retries }));
	struct mps_map_options o = { .arity = 2, .chunk = chunk };
	struct mps_item *items = calloc(2 * n, sizeof(*items));
	struct numbers in = numbers_up_to(n);
	struct mps_result result;
	struct mps_future *f;

	for (size_t i = 0; i < n; i++) {
		items[2 * i] = in.items[i];
		items[2 * i + 1] = (struct mps_item){ &which, sizeof(which) };
	}
	cr_assert_eq(mps_pool_map_async(p, count_me, items, n, &o, &f), 0);
	for (uint32_t i = 0; i <= retries; i++)
		kill(scene_pid(&s), SIGKILL);
	cr_expect_eq(mps_future_get(f, &result, LONG), MPS_POOL_E_WORKER_DIED);
	cr_expect_eq(result.index, (size_t)which);
	for (size_t i = 0; i < n; i++) {
		bool died = i == (size_t)which;

		cr_expect_eq(mps_future_result(f, i, &result), died ? MPS_POOL_E_WORKER_DIED : 0);
		cr_expect_eq(counts[i], died ? retries + 1 : 1, "%zu: %d", i, (int)counts[i]);
		cr_expect_eq(result.tries, died ? retries + 1 : 1);
	}
	mps_future_free(f);
	mps_pool_free(p);
	numbers_free(&in);
	free(items);
	scene_free(&s);
}

Test(pool_deaths, all_other_tasks_are_run_once)
{
	check_one_dies(1000, 1, 500, 0);
	check_one_dies(1000, 100, 550, 0);
	check_one_dies(1000, 100, 500, 1);
	check_one_dies(1000, 100, 599, 1);
	check_one_dies(10, 10, 0, 2);
}

Test(pool_deaths, an_idle_worker_killed_costs_nothing)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	pid_t pids[2];

	for (int round = 0; round < 10; round++) {
		size_t n = mps_pool_pids(p, pids, 2);

		for (size_t i = 0; i < n && i < 2; i++)
			kill(pids[i], SIGKILL);
		for (int i = 0; i < 20; i++)
			cr_expect_eq(apply_value(p, add, i), i);
	}
	mps_pool_free(p);
}

Test(pool_deaths, a_task_that_exits_has_failed_with_that_status)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	struct mps_result result;

	for (int code = 0; code < 4; code++) {
		cr_expect_eq(apply(p, exit_with, code, &result), MPS_POOL_E_WORKER_DIED);
		cr_expect_eq(result.code, code);
	}
	cr_expect_eq(apply_value(p, add, 1), 1);
	mps_pool_free(p);
}

Test(pool_deaths, tasks_that_all_crash_have_an_outcome_each)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	struct numbers in = numbers_up_to(150);
	struct mps_result result;
	struct mps_future *f;

	for (int i = 0; i < 150; i++)
		in.v[i] = SIGABRT;
	cr_assert_eq(mps_pool_map(p, die_by, in.items, 150,
				  &(struct mps_map_options){ .chunk = 10 }, &f, LONG),
		     MPS_POOL_E_WORKER_DIED);
	for (size_t i = 0; i < 150; i++) {
		cr_expect_eq(mps_future_result(f, i, &result), MPS_POOL_E_WORKER_DIED);
		cr_expect_eq(result.code, -SIGABRT);
	}
	mps_future_free(f);
	numbers_free(&in);
	cr_expect_eq(apply_value(p, add, 1), 1);
	mps_pool_free(p);
}

Test(pool_deaths, a_task_that_takes_too_long_is_ended_and_no_other)
{
	struct scene s;
	struct mps_pool_options o = { .task_timeout = 300 * MPS_MILLISECOND, .retries = 5 };
	struct mps_pool *p = pool_with(scene_options(&s, o));
	struct mps_future *f = async(p, hang, 0);
	struct mps_result result;
	pid_t pid = scene_pid(&s);

	for (int i = 0; i < 100; i++)
		cr_expect_eq(apply_value(p, add, i), i);
	cr_expect_eq(mps_future_get(f, &result, LONG), MPS_POOL_E_TIMEOUT);
	cr_expect_eq(result.pid, pid);
	cr_expect_eq(result.tries, 1);
	mps_future_free(f);
	await_gone(pid);
	for (int i = 0; i < 100; i++)
		cr_expect_eq(apply_value(p, add, i), i);
	mps_pool_free(p);
	scene_free(&s);
}

static int start_a_child_and_hang(struct mps_args *task)
{
	pid_t pid = fork();

	if (pid == 0)
		setsid();
	return hang(task);
}
MPS_TARGET(start_a_child_and_hang);

Test(pool_deaths, what_a_worker_has_started_ends_with_it)
{
	struct scene s;
	struct mps_pool *p = pool_with(scene_options(&s, (struct mps_pool_options){ 0 }));
	struct mps_future *f = async(p, start_a_child_and_hang, 0);
	pid_t a = scene_pid(&s), b = scene_pid(&s);

	cr_expect_eq(mps_pool_terminate(p, LONG), 0);
	cr_expect_eq(kill(a, 0), -1);
	await_gone(b);
	mps_future_free(f);
	mps_pool_free(p);
	scene_free(&s);
}

Test(pool_deaths, a_stopped_worker_holds_up_nobody)
{
	struct scene s;
	struct mps_pool *p = pool_with(scene_options(&s, (struct mps_pool_options){ 0 }));
	struct mps_future *f = async(p, hang, 0);

	kill(scene_pid(&s), SIGSTOP);
	for (int i = 0; i < 100; i++)
		cr_expect_eq(apply_value(p, add, i), i);
	cr_expect_eq(mps_pool_terminate(p, LONG), 0);
	cr_expect_eq(mps_future_get(f, NULL, 0), MPS_POOL_E_CANCELLED);
	mps_future_free(f);
	mps_pool_free(p);
	scene_free(&s);
}

Test(pool_deaths, the_terminal_s_interrupt_is_the_caller_s)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	pid_t before[2], after[2];

	cr_assert_eq(mps_pool_pids(p, before, 2), 2);
	for (int i = 0; i < 20; i++) {
		kill(before[i % 2], SIGINT);
		cr_expect_eq(apply_value(p, add, i), i);
	}
	cr_assert_eq(mps_pool_pids(p, after, 2), 2);
	cr_expect_eq(memcmp(before, after, sizeof(before)), 0);
	mps_pool_free(p);
}

/* ------------------------------------------------------------------------------------------------ initializers */

/* Fails when it is run for the n-th time and more: count 1 says n. */
static int fail_later(struct mps_args *args)
{
	have_scene(args);
	return atomic_fetch_add(&counts[0], 1) >= counts[1] ? 42 : 0;
}
MPS_TARGET(fail_later);

Test(pool_deaths, an_initializer_that_fails_is_told_and_not_repeated_without_end)
{
	for (uint32_t retries = 0; retries < 4; retries += 3) {
		struct scene s;
		struct mps_pool_options o = { .workers = 1,
					      .initializer = fail_later,
					      .init_retries = retries };
		struct mps_pool *p;

		o = scene_options(&s, o);
		cr_expect_eq(mps_pool_new(&o, &p), -ECANCELED);
		cr_expect_str_eq(mps_pool_failure(NULL), "initializer: it has returned 42");
		cr_expect_eq(counts[0], retries + 1);
		scene_free(&s);
	}
}

static int die_early(struct mps_args *args)
{
	return raise(args != NULL ? SIGKILL : SIGTERM);
}
MPS_TARGET(die_early);

Test(pool_deaths, a_worker_that_dies_in_its_initializer_is_told_with_its_signal)
{
	struct mps_pool_options o = { .workers = 2, .initializer = die_early };
	struct mps_pool *p;

	cr_expect_eq(mps_pool_new(&o, &p), -ECANCELED);
	cr_expect(strstr(mps_pool_failure(NULL), "signal 9") != NULL, "%s", mps_pool_failure(NULL));
}

Test(pool_deaths, a_pool_that_cannot_go_on_tells_all_who_wait)
{
	struct scene s;
	struct mps_pool_options o = { .workers = 1, .initializer = fail_later };
	struct mps_future *f[5], *g;
	struct mps_result result;
	struct mps_pool *p;

	o = scene_options(&s, o);
	counts[1] = 1;
	p = pool_with(o);
	f[0] = async(p, hang, 0);
	for (int i = 1; i < 5; i++)
		f[i] = async(p, add, i);
	kill(scene_pid(&s), SIGKILL);
	cr_expect_eq(mps_future_get(f[0], &result, LONG), MPS_POOL_E_WORKER_DIED);
	for (int i = 1; i < 5; i++)
		cr_expect_eq(mps_future_get(f[i], &result, LONG), MPS_POOL_E_BROKEN);
	cr_expect_str_eq(mps_pool_failure(p), "initializer: it has returned 42");
	cr_expect_eq(mps_pool_apply_async(p, add, NULL, 0, &g), -ECANCELED);
	cr_expect_eq(mps_pool_join(p, LONG), 0);
	for (int i = 0; i < 5; i++)
		mps_future_free(f[i]);
	mps_pool_free(p);
	scene_free(&s);
}

Test(pool_deaths, a_pool_that_can_start_no_more_workers_says_so)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ .workers = 1 });
	struct rlimit before, none = { 0 };
	struct mps_result result;
	int64_t v = 0;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none.rlim_max = before.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	cr_expect_eq(apply(p, exit_with, 1, &result), MPS_POOL_E_WORKER_DIED);
	cr_expect_eq(apply(p, add, v, &result), MPS_POOL_E_BROKEN);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	cr_expect(strstr(mps_pool_failure(p), "Too many open files") != NULL, "%s",
		  mps_pool_failure(p));
	mps_pool_free(p);
}

/* Its worker dies soon, whatever it does then. */
static int die_soon(struct mps_args *args)
{
	struct itimerval t = { .it_value = { 0, 2000 } };

	(void)args;
	return setitimer(ITIMER_REAL, &t, NULL);
}
MPS_TARGET(die_soon);

Test(pool_deaths, workers_that_die_by_themselves_are_not_followed_without_end)
{
	struct mps_pool_options o = { .workers = 1,
				      .initializer = die_soon,
				      .init_retries = 1000000 };
	struct mps_pool *p;
	int r = mps_pool_new(&o, &p);

	if (r == 0) {
		cr_assert_eq(mps_pool_close(p), 0);
		mps_pool_free(p);
	}
	o.init_retries = 0;
	r = mps_pool_new(&o, &p);
	if (r == 0) {
		struct mps_time until = until_of(LONG);

		while (mps_pool_failure(p)[0] == '\0' && mps_now().ns < until.ns)
			sched_yield();
		cr_expect_neq(mps_pool_failure(p)[0], '\0');
		mps_pool_free(p);
	}
}

/* -------------------------------------------------------------------------------------------------- the caller */

/* A process of its own with a pool: the pids of its workers. */
static pid_t caller(enum mps_start_method method, pid_t *workers, size_t n,
		    void (*then)(struct mps_pool *p))
{
	int ends[2];
	pid_t pid;

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		struct mps_pool_options o = { .workers = (uint32_t)n, .method = method };
		struct mps_pool *p;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(60);
		if (mps_pool_new(&o, &p) < 0)
			_exit(99);
		mps_pool_pids(p, workers, n);
		if (write(ends[1], workers, n * sizeof(*workers)) < 0)
			_exit(98);
		then(p);
		_exit(97);
	}
	close(ends[1]);
	for (size_t got = 0; got < n * sizeof(*workers);) {
		ssize_t r = read(ends[0], (char *)workers + got, n * sizeof(*workers) - got);

		cr_assert_gt(r, 0);
		got += (size_t)r;
	}
	close(ends[0]);
	return pid;
}

static int end_of(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void rest(struct mps_pool *p)
{
	(void)p;
	for (;;)
		pause();
}

static void give_work_and_rest(struct mps_pool *p)
{
	async(p, hang, 0);
	rest(p);
}

Test(pool_deaths, a_caller_that_is_killed_takes_its_workers_along)
{
	pid_t workers[4], pid;

	for (int i = 0; i < 6; i++) {
		pid = caller((enum mps_start_method)(i / 2 + 1), workers, 4,
			     i % 2 == 0 ? rest : give_work_and_rest);
		kill(pid, SIGKILL);
		cr_expect_eq(end_of(pid), -SIGKILL);
		for (int k = 0; k < 4; k++)
			await_gone(workers[k]);
	}
}

static struct mps_future *volatile kept[10];

static void exit_at_once(struct mps_pool *p)
{
	for (int i = 0; i < 10; i++)
		kept[i] = async(p, hang, 0);
	exit(7);
}

static void exit_from_callback(struct mps_future *f, void *user)
{
	(void)f;
	(void)user;
	exit(8);
}

static void exit_within_callback(struct mps_pool *p)
{
	kept[0] = async(p, add, 1);
	mps_future_callback(kept[0], exit_from_callback, NULL);
	rest(p);
}

Test(pool_deaths, the_exit_of_a_caller_ends_its_workers_from_anywhere)
{
	pid_t workers[2], pid;

	for (enum mps_start_method m = MPS_START_SPAWN; m <= MPS_START_FORKSERVER; m++) {
		pid = caller(m, workers, 2, exit_at_once);
		cr_expect_eq(end_of(pid), 7);
		for (int k = 0; k < 2; k++)
			await_gone(workers[k]);
		pid = caller(m, workers, 2, exit_within_callback);
		cr_expect_eq(end_of(pid), 8);
		for (int k = 0; k < 2; k++)
			await_gone(workers[k]);
	}
}

static int setting;

static int tell_setting(struct mps_args *task)
{
	return reply_number(task, setting);
}
MPS_TARGET(tell_setting);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			_exit(__LINE__ % 256);                                                     \
	} while (0)

/* In a process with one thread. */
static void use_copies(void)
{
	struct mps_pool_options o = { .workers = 2, .method = MPS_START_FORK };
	struct mps_result result;
	struct mps_pool *p, *q;
	pid_t pids[2];

	setting = 55;
	CHECK(mps_pool_new(&o, &p) == 0);
	CHECK(mps_pool_new(&o, &q) == -EBUSY);
	CHECK(strstr(mps_pool_failure(NULL), "threads") != NULL);
	setting = 66;
	for (int i = 0; i < 20; i++) {
		CHECK(apply_value(p, tell_setting, 0) == 55);
		CHECK(apply(p, exit_with, i, &result) == MPS_POOL_E_WORKER_DIED);
		CHECK(result.code == i);
		CHECK(apply(p, die_by, SIGKILL, &result) == MPS_POOL_E_WORKER_DIED);
		CHECK(result.code == -SIGKILL);
		if (i % 4 == 0 && mps_pool_pids(p, pids, 2) > 0)
			kill(pids[0], SIGKILL);
	}
	CHECK(mps_pool_resize(p, 4) == 0 && mps_pool_resize(p, 1) == 0);
	for (int i = 0; i < 100; i++)
		CHECK(apply_value(p, add, i) == i);
	CHECK(mps_pool_close(p) == 0 && mps_pool_join(p, LONG) == 0);
	mps_pool_free(p);
	CHECK(mps_active_children(NULL, 0) == 0);
	exit(0);
}

/* The process that makes the copies is killed: then there can be no workers any more. */
static void kill_the_template(void)
{
	struct mps_pool_options o = { .workers = 2, .method = MPS_START_FORK };
	struct mps_process *template;
	struct mps_result result;
	struct mps_future *f;
	struct mps_pool *p;
	int r;

	CHECK(mps_pool_new(&o, &p) == 0);
	f = async(p, hang, 0);
	CHECK(mps_active_children(&template, 1) == 1);
	kill(mps_process_pid(template), SIGKILL);
	r = mps_future_get(f, &result, LONG);
	CHECK(r == MPS_POOL_E_WORKER_DIED || r == MPS_POOL_E_BROKEN);
	mps_future_free(f);
	do {
		int64_t v = 1;

		r = mps_pool_apply(p, add, &(struct mps_item){ &v, 8 }, 1, NULL, LONG);
	} while (r == 0 || r == MPS_POOL_E_WORKER_DIED);
	CHECK(r == MPS_POOL_E_BROKEN || r == -ECANCELED);
	CHECK(mps_pool_failure(p)[0] != '\0');
	mps_pool_free(p);
	CHECK(mps_active_children(NULL, 0) == 0);
	exit(0);
}

Test(pool_deaths, by_fork_workers_are_copies_also_those_that_follow)
{
	static void (*const bodies[])(void) = { use_copies, kill_the_template };

	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		pid_t pid = fork();

		if (pid == 0) {
			alarm(60);
			bodies[i]();
		}
		cr_expect_eq(end_of(pid), 0);
	}
}

Test(pool_deaths, a_copy_of_the_caller_has_no_part_in_it)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	struct mps_future *f = async(p, add, 1), *g;
	pid_t pid = fork();

	if (pid == 0) {
		alarm(20);
		if (mps_pool_apply_async(p, add, NULL, 0, &g) != -ECHILD ||
		    mps_pool_terminate(p, MPS_FOREVER) != -ECHILD || mps_pool_close(p) != -ECHILD ||
		    mps_pool_pids(p, NULL, 0) != 0)
			_exit(1);
		mps_future_free(f);
		mps_pool_free(p);
		exit(0);
	}
	cr_expect_eq(end_of(pid), 0);
	cr_expect_eq(mps_future_get(f, NULL, LONG), 0);
	cr_expect_eq(apply_value(p, add, 2), 2);
	mps_future_free(f);
	mps_pool_free(p);
}

/* Images of this program, for workers. */
__attribute__((constructor)) static void be_an_image(int argc, char **argv)
{
	mps_init(&argc, &argv);
}
