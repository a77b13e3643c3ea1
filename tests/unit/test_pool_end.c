/*
 * The end of a pool: closed, and from everywhere at any time.
 */
#include "../pool_scene.h"

Test(pool_end, closed_it_ends_when_all_is_done)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	struct numbers in = numbers_up_to(2000);
	struct mps_future *f, *g;
	unsigned fds;

	cr_assert_eq(mps_pool_map_async(p, add, in.items, 2000,
					&(struct mps_map_options){ .chunk = 1 }, &f),
		     0);
	cr_expect_eq(mps_pool_close(p), 0);
	cr_expect_eq(mps_pool_apply_async(p, add, NULL, 0, &g), -EPIPE);
	cr_expect_eq(mps_pool_join(p, LONG), 0);
	cr_expect_eq(mps_pool_pids(p, NULL, 0), 0);
	cr_expect_eq(mps_future_get(f, NULL, 0), 0);
	mps_future_free(f);
	mps_pool_free(p);
	numbers_free(&in);
	fds = count_fds(getpid());
	for (int i = 0; i < 3; i++) {
		p = pool_with((struct mps_pool_options){ 0 });
		apply_value(p, add, 1);
		mps_pool_free(p);
	}
	cr_expect_eq(count_fds(getpid()), fds, "nothing stays open");
}

/* Runs until it is told by count 0. */
static int await_word(struct mps_args *task)
{
	size_t n;

	if (mps_args_bytes(task, 0, &n) == NULL || n < sizeof(int64_t))
		return 1;
	while (atomic_load(&counts[0]) == 0)
		sched_yield();
	return 0;
}
MPS_TARGET(await_word);

Test(pool_end, a_worker_that_has_no_room_for_it_is_told_to_end_later)
{
	struct scene s;
	struct mps_pool_options o = { .workers = 1, .ring_size = 4096 };
	struct mps_pool *p = pool_with(scene_options(&s, o));
	struct numbers in = numbers_up_to(20000);
	int64_t quarter[124] = { 0 }; /* of the ring, with the 32 bytes before it */
	struct mps_item item = { quarter, sizeof(quarter) };
	struct mps_future *f[4];

	/* So that it gets many ahead. */
	cr_assert_eq(mps_pool_map(p, add, in.items, 20000, &(struct mps_map_options){ .chunk = 1 },
				  &f[0], LONG),
		     0);
	mps_future_free(f[0]);
	atomic_store(&counts[0], 1);
	cr_assert_eq(mps_pool_apply(p, await_word, &item, 1, NULL, LONG), 0);
	atomic_store(&counts[0], 0);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(mps_pool_apply_async(p, await_word, &item, 1, &f[i]), 0);
	cr_expect_eq(mps_pool_close(p), 0);
	cr_expect_eq(mps_pool_join(p, SHORT), -ETIMEDOUT);
	atomic_store(&counts[0], 1);
	cr_expect_eq(mps_pool_join(p, LONG), 0);
	for (int i = 0; i < 4; i++) {
		cr_expect_eq(mps_future_get(f[i], NULL, 0), 0);
		mps_future_free(f[i]);
	}
	numbers_free(&in);
	mps_pool_free(p);
	scene_free(&s);
}

/* ------------------------------------------------------------------------------------- ended from everywhere */

static _Atomic uint32_t called;
static _Atomic int waited;

static void tell(void)
{
	atomic_fetch_add(&called, 1);
	futex_wake(&called, 1);
}

static void await_call(void)
{
	cr_expect_eq(futex_wait(&called, 0, until_of(LONG)), 0);
	cr_assert_eq(called, 1);
}

static void wait_in_callback(struct mps_future *f, void *user)
{
	struct mps_future *g = async(user, hang, 0);
	struct mps_result result;
	int64_t v = 1;

	waited = mps_future_get(g, NULL, MPS_FOREVER) == -EDEADLK &&
		 mps_pool_join(user, MPS_FOREVER) == -EDEADLK &&
		 mps_pool_apply(user, add, &(struct mps_item){ &v, 8 }, 1, &result, MPS_FOREVER) ==
			 -EDEADLK;
	mps_future_free(g);
	mps_future_free(f);
	tell();
}

Test(pool_end, a_callback_that_would_wait_is_told_so)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });

	called = 0;
	cr_assert_eq(mps_future_callback(async(p, add, 1), wait_in_callback, p), 0);
	await_call();
	cr_expect(waited);
	mps_pool_free(p);
}

static void terminate_in_callback(struct mps_future *f, void *user)
{
	mps_future_free(f);
	waited = mps_pool_terminate(user, MPS_FOREVER) == 0;
	tell();
}

static void free_in_callback(struct mps_future *f, void *user)
{
	mps_future_free(f);
	mps_pool_free(user);
	tell();
}

Test(pool_end, a_callback_may_end_and_free_its_pool)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	struct mps_future *f = async(p, hang, 0);
	pid_t pids[2];

	called = 0;
	cr_assert_eq(mps_future_callback(async(p, add, 1), terminate_in_callback, p), 0);
	cr_expect_eq(mps_future_get(f, NULL, LONG), MPS_POOL_E_CANCELLED);
	await_call();
	cr_expect_eq(mps_pool_join(p, LONG), 0);
	mps_future_free(f);
	mps_pool_free(p);
	called = 0;
	p = pool_with((struct mps_pool_options){ 0 });
	cr_assert_eq(mps_pool_pids(p, pids, 2), 2);
	cr_assert_eq(mps_future_callback(async(p, add, 1), free_in_callback, p), 0);
	await_call();
	await_gone(pids[0]);
	await_gone(pids[1]);
}

static void *wait_for_hanging(void *user)
{
	struct mps_result result;
	int64_t v = 0;
	int r = mps_pool_apply(user, hang, &(struct mps_item){ &v, 8 }, 1, &result, LONG);

	return r == MPS_POOL_E_CANCELLED || r == -EPIPE ? NULL : user;
}

static void *terminate(void *user)
{
	return mps_pool_terminate(user, LONG) == 0 && mps_pool_join(user, LONG) == 0 ? NULL : user;
}

Test(pool_end, several_threads_may_end_it_while_others_wait)
{
	for (int round = 0; round < 10; round++) {
		struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
		pthread_t threads[8];
		void *r;

		for (int i = 0; i < 8; i++)
			cr_assert_eq(pthread_create(&threads[i], NULL,
						    i < 4 ? wait_for_hanging : terminate, p),
				     0);
		for (int i = 0; i < 8; i++) {
			pthread_join(threads[i], &r);
			cr_expect_eq(r, NULL);
		}
		mps_pool_free(p);
	}
}

/* Images of this program, for workers. */
__attribute__((constructor)) static void be_an_image(int argc, char **argv)
{
	mps_init(&argc, &argv);
}
