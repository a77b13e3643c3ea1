/*
 * Pools: each call, its outcomes and options. What becomes of a pool whose workers die is in test_pool_deaths.c.
 */
#include "../pool_scene.h"

/* ----------------------------------------------------------------------------------------------------- apply */

Test(pool, apply_gives_the_result_by_each_method)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct mps_pool *p = pool_with((struct mps_pool_options){ .method = methods[i] });

		for (int64_t v = 0; v < 100; v++)
			cr_expect_eq(apply_value(p, add, v), v);
		mps_pool_free(p);
	}
}

Test(pool, a_task_has_as_many_items_as_it_was_given)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	int64_t v[] = { 1, 20, 300 };
	struct mps_item items[] = { { &v[0], 8 }, { &v[1], 8 }, { &v[2], 8 } };
	struct mps_result result;

	for (size_t n = 0; n <= 3; n++) {
		cr_assert_eq(mps_pool_apply(p, add, items, n, &result, LONG), 0);
		cr_expect_eq(value(&result), n == 0 ? 0 : n == 1 ? 1 : n == 2 ? 21 : 321);
		cr_expect_gt(result.pid, 0);
		cr_expect_eq(result.tries, 1);
		free(result.p);
	}
	mps_pool_free(p);
}

Test(pool, bytes_of_any_length_come_back)
{
	static const size_t sizes[] = { 0,     1,     7,     8,	      9,       63,
					64,    65,    1000,  4096,    16383,   16384,
					16385, 40000, 65536, 1 << 20, 20 << 20 };
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *bytes = malloc(sizes[i] + 1);
		struct mps_result result;

		for (size_t k = 0; k < sizes[i]; k++)
			bytes[k] = (char)(k * 7 + i);
		cr_assert_eq(mps_pool_apply(p, echo, &(struct mps_item){ bytes, sizes[i] }, 1,
					    &result, LONG),
			     0);
		cr_assert_eq(result.n, sizes[i]);
		cr_expect(sizes[i] == 0 || memcmp(result.p, bytes, sizes[i]) == 0);
		free(result.p);
		free(bytes);
	}
	mps_pool_free(p);
}

Test(pool, long_ones_of_many_tasks_pass_each_other_not)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ .ring_size = 4096 });
	struct mps_item items[50];
	struct mps_result result;
	struct mps_future *f;

	for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
		items[i].n = i % 3 == 0 ? 100000 : i % 3 == 1 ? 900 : 3000;
		items[i].p = malloc(items[i].n);
		memset(items[i].p, (int)i, items[i].n);
	}
	for (size_t chunk = 1; chunk < 20; chunk += 6) {
		cr_assert_eq(mps_pool_map(p, echo, items, ARRAY_SIZE(items),
					  &(struct mps_map_options){ .chunk = chunk }, &f, LONG),
			     0);
		for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
			cr_assert_eq(mps_future_result(f, i, &result), 0);
			cr_assert_eq(result.n, items[i].n);
			cr_expect_eq(memcmp(result.p, items[i].p, items[i].n), 0);
		}
		mps_future_free(f);
	}
	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		free(items[i].p);
	mps_pool_free(p);
}

Test(pool, a_function_that_fails_tells_its_code_and_what_it_has_replied)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	struct mps_result result;

	cr_expect_eq(apply(p, fail_with, 17, &result), MPS_POOL_E_FAILED);
	cr_expect_eq(result.code, 17);
	cr_expect_eq(value(&result), 17);
	free(result.p);
	cr_expect_eq(apply(p, fail_with, -5, &result), MPS_POOL_E_FAILED);
	cr_expect_eq(result.code, -5);
	free(result.p);
	mps_pool_free(p);
}

static int not_known(struct mps_args *task)
{
	return task == NULL;
}

Test(pool, what_is_not_known_is_refused)
{
	const struct mps_map_options many = { .arity = UINT16_MAX + 1 };
	struct mps_pool_options o = { .workers = 1, .initializer = not_known };
	struct mps_pool *p;
	struct mps_future *f;

	cr_expect_eq(mps_pool_new(&o, &p), -ENOENT);
	o = (struct mps_pool_options){ .workers = MPS_POOL_WORKERS_MAX + 1 };
	cr_expect_eq(mps_pool_new(&o, &p), -EINVAL);
	o = (struct mps_pool_options){ .ring_size = 100 };
	cr_expect_eq(mps_pool_new(&o, &p), -EINVAL);
	p = pool_with((struct mps_pool_options){ .workers = 1 });
	cr_expect_eq(mps_pool_apply_async(p, not_known, NULL, 0, &f), -ENOENT);
	cr_expect_eq(mps_pool_apply_async(p, NULL, NULL, 0, &f), -ENOENT);
	cr_expect_eq(mps_pool_apply(p, not_known, NULL, UINT16_MAX + 1, NULL, 0), -EINVAL);
	cr_expect_eq(mps_pool_map(p, not_known, NULL, 1, &many, &f, 0), -EINVAL, "no item is read");
	cr_expect_eq(mps_pool_resize(p, 0), -EINVAL);
	cr_expect_eq(mps_pool_join(p, 0), -EBUSY);
	cr_expect_str_eq(mps_pool_failure(p), "");
	mps_pool_free(p);
	mps_pool_free(NULL);
	mps_future_free(NULL);
	mps_imap_free(NULL);
}

/* --------------------------------------------------------------------------------------------------- futures */

Test(pool, a_future_is_waited_for_no_longer_than_asked)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ .workers = 1 });
	struct mps_future *f = async(p, hang, -1), *g = async(p, add, 3);
	struct mps_result result;

	cr_expect_not(mps_future_ready(f));
	cr_expect_eq(mps_future_get(f, NULL, 0), -ETIMEDOUT);
	cr_expect_eq(mps_future_get(f, NULL, 20 * MPS_MILLISECOND), -ETIMEDOUT);
	cr_expect_eq(mps_future_result(f, 0, &result), -EBUSY);
	cr_expect_eq(mps_future_result(f, 1, &result), -ERANGE);
	cr_expect_eq(mps_future_cancel(g), 1, "no worker has it");
	cr_expect_eq(mps_future_get(g, &result, LONG), MPS_POOL_E_CANCELLED);
	cr_expect_eq(result.outcome, MPS_POOL_E_CANCELLED);
	cr_expect_eq(mps_future_cancel(f), 0, "the worker is at it");
	cr_expect_eq(mps_pool_terminate(p, LONG), 0);
	cr_expect_eq(mps_future_get(f, NULL, 0), MPS_POOL_E_CANCELLED);
	mps_pool_free(p);
	cr_expect_eq(mps_future_get(f, NULL, 0), MPS_POOL_E_CANCELLED, "it stays");
	mps_future_free(f);
	mps_future_free(g);
}

Test(pool, many_at_a_time_each_with_its_own_result)
{
	enum { N = 2000 };
	struct mps_pool *p = pool_with((struct mps_pool_options){ .workers = 3 });
	struct mps_future *f[N];
	struct mps_result result;

	for (int i = 0; i < N; i++)
		f[i] = async(p, add, i);
	for (int i = N - 1; i >= 0; i--) {
		cr_assert_eq(mps_future_get(f[i], &result, LONG), 0);
		cr_expect_eq(value(&result), i);
		mps_future_free(f[i]);
	}
	mps_pool_free(p);
}

static _Atomic uint32_t n_called;
static _Atomic int64_t sum_called;

static void on_done(struct mps_future *f, void *user)
{
	struct mps_result result;

	if (mps_future_get(f, &result, 0) == 0)
		sum_called += value(&result);
	cr_expect_eq(user, &n_called);
	mps_future_free(f);
	atomic_fetch_add(&n_called, 1);
	futex_wake(&n_called, 1);
}

static void await_calls(uint32_t n)
{
	struct mps_time until = until_of(LONG);
	uint32_t now;

	while ((now = atomic_load(&n_called)) != n)
		cr_assert_eq(futex_wait(&n_called, now, until), 0, "%u calls", now);
}

Test(pool, callbacks_are_called_though_nobody_waits)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	struct mps_future *f;

	for (int i = 0; i < 1000; i++)
		cr_assert_eq(mps_future_callback(async(p, add, i), on_done, &n_called), 0);
	await_calls(1000);
	cr_expect_eq(sum_called, 499500);
	f = async(p, add, 1);
	cr_assert_eq(mps_future_get(f, NULL, LONG), 0);
	cr_assert_eq(mps_future_callback(f, on_done, &n_called), 0, "it is done already");
	await_calls(1001);
	mps_pool_free(p);
}

/* ------------------------------------------------------------------------------------------------------- map */

static void check_map(struct mps_pool *p, size_t n, size_t arity, size_t chunk)
{
	struct numbers in = numbers_up_to(n * arity);
	struct mps_map_options o = { .arity = arity, .chunk = chunk };
	struct mps_result result;
	struct mps_future *f;

	cr_assert_eq(mps_pool_map(p, add, in.items, n, &o, &f, LONG), 0);
	cr_expect_eq(mps_future_count(f), n);
	for (size_t i = 0; i < n; i++) {
		int64_t sum = 0;

		for (size_t k = 0; k < arity; k++)
			sum += (int64_t)(i * arity + k);
		cr_assert_eq(mps_future_result(f, i, &result), 0);
		cr_assert_eq(value(&result), sum);
		cr_assert_eq(result.index, i);
	}
	mps_future_free(f);
	numbers_free(&in);
}

Test(pool, map_gives_results_in_order_for_any_chunk)
{
	static const size_t chunks[] = { 0, 1, 3, 100, 1000, 5000 };
	struct mps_pool *p = pool_with((struct mps_pool_options){ .workers = 3 });

	for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
		check_map(p, 1000, 1, chunks[i]);
		check_map(p, 333, 3, chunks[i]);
	}
	check_map(p, 0, 1, 0);
	check_map(p, 1, 1, 0);
	check_map(p, 100000, 1, 0);
	mps_pool_free(p);
}

Test(pool, a_failure_is_that_of_its_task_and_not_of_its_chunk)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	struct numbers in = numbers_up_to(20);
	struct mps_result result;
	struct mps_future *f;

	in.v[0] = in.v[1] = in.v[2] = in.v[4] = 0;
	for (int i = 8; i < 20; i++)
		in.v[i] = 0;
	cr_assert_eq(mps_pool_map(p, fail_with, in.items, 20,
				  &(struct mps_map_options){ .chunk = 10 }, &f, LONG),
		     MPS_POOL_E_FAILED);
	cr_expect_eq(mps_future_get(f, &result, 0), MPS_POOL_E_FAILED);
	cr_expect_eq(result.index, 3);
	cr_expect_eq(result.code, 3);
	for (size_t i = 0; i < 20; i++)
		cr_expect_eq(mps_future_result(f, i, &result),
			     in.v[i] != 0 ? MPS_POOL_E_FAILED : 0);
	mps_future_free(f);
	numbers_free(&in);
	mps_pool_free(p);
}

Test(pool, fail_fast_cancels_what_no_worker_has)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ .workers = 1 });
	struct numbers in = numbers_up_to(1000);
	struct mps_map_options o = { .chunk = 1, .fail_fast = true };
	struct mps_result result;
	struct mps_future *f;

	cr_assert_eq(mps_pool_map(p, fail_with, in.items, 1000, &o, &f, LONG), MPS_POOL_E_FAILED);
	cr_expect_eq(mps_future_get(f, &result, 0), MPS_POOL_E_FAILED);
	cr_expect_eq(result.index, 1);
	cr_expect_eq(mps_future_result(f, 999, &result), MPS_POOL_E_CANCELLED);
	mps_future_free(f);
	numbers_free(&in);
	check_map(p, 100, 1, 1);
	mps_pool_free(p);
}

/* ------------------------------------------------------------------------------------------------------ imap */

struct input {
	int64_t at, end;
	int64_t given; /* results */
	int64_t most;  /* that it was ahead */
	int error;     /* in the end */
	pthread_t thread;
};

static int next_number(void *user, struct mps_item *items)
{
	static int64_t v;
	struct input *in = user;

	cr_expect(pthread_equal(in->thread, pthread_self()));
	if (in->at == in->end)
		return in->error;
	v = in->at++;
	if (in->at - in->given > in->most)
		in->most = in->at - in->given;
	*items = (struct mps_item){ &v, sizeof(v) };
	return 1;
}

static void check_imap(struct mps_pool *p, int64_t n, size_t chunk, size_t prefetch, bool unordered)
{
	struct input in = { .end = n, .error = -EREMOTEIO, .thread = pthread_self() };
	struct mps_imap_options o = { .input = next_number,
				      .user = &in,
				      .chunk = chunk,
				      .prefetch = prefetch,
				      .unordered = unordered };
	struct mps_result result;
	struct mps_imap *im;
	int64_t sum = 0;
	int r;

	cr_assert_eq(mps_pool_imap(p, add, &o, &im), 0);
	while ((r = mps_imap_next(im, &result, LONG)) == 0) {
		cr_assert(unordered || result.index == (size_t)in.given);
		cr_assert_eq(value(&result), (int64_t)result.index);
		sum += value(&result);
		in.given++;
	}
	cr_expect_eq(r, -EREMOTEIO, "the input's error, in its turn");
	cr_expect_eq(mps_imap_next(im, &result, LONG), -EREMOTEIO);
	cr_expect_eq(in.given, n);
	cr_expect_eq(sum, n * (n - 1) / 2);
	if (prefetch != 0)
		cr_expect_leq(in.most, (int64_t)prefetch);
	mps_imap_free(im);
}

Test(pool, imap_is_ordered_or_not_and_bounded)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ .workers = 3 });

	for (int unordered = 0; unordered < 2; unordered++) {
		check_imap(p, 10000, 1, 0, unordered);
		check_imap(p, 1000, 1, 1, unordered);
		check_imap(p, 1000, 7, 20, unordered);
		check_imap(p, 1000, 100, 30, unordered);
		check_imap(p, 20000, 100, 0, unordered);
	}
	mps_pool_free(p);
}

Test(pool, imap_of_an_endless_input_reads_no_more_than_its_prefetch)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	struct input in = { .end = INT64_MAX, .thread = pthread_self() };
	struct mps_imap_options o = { .input = next_number, .user = &in, .prefetch = 10 };
	struct mps_result result;
	struct mps_imap *im;

	cr_assert_eq(mps_pool_imap(p, add, &o, &im), 0);
	cr_expect_eq(in.at, 0, "nothing before it is asked for");
	for (int i = 0; i < 100; i++, in.given++)
		cr_assert_eq(mps_imap_next(im, &result, LONG), 0);
	cr_expect_leq(in.at, 110);
	cr_expect_leq(in.most, 10);
	mps_imap_free(im);
	cr_expect_eq(apply_value(p, add, 5), 5);
	mps_pool_free(p);
}

Test(pool, imap_gives_failures_in_their_place_and_goes_on)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	struct input in = { .end = 50, .thread = pthread_self() };
	struct mps_imap_options o = { .input = next_number, .user = &in, .chunk = 4 };
	struct mps_result result;
	struct mps_imap *im;

	cr_assert_eq(mps_pool_imap(p, fail_with, &o, &im), 0);
	for (int i = 0; i < 50; i++, in.given++) {
		cr_assert_eq(mps_imap_next(im, &result, LONG), i == 0 ? 0 : MPS_POOL_E_FAILED);
		cr_expect_eq(result.code, i);
	}
	cr_expect_eq(mps_imap_next(im, &result, LONG), -ENODATA);
	mps_imap_free(im);
	mps_pool_free(p);
}

/* --------------------------------------------------------------------------------------------------- workers */

static int remembered;

static int remember(struct mps_args *args)
{
	remembered = (int)mps_args_int(args, 1);
	return strcmp(mps_args_text(args, 0), "text") == 0 ? 0 : 1;
}
MPS_TARGET(remember);

static int recall(struct mps_args *task)
{
	return reply_number(task, remembered);
}
MPS_TARGET(recall);

static int own_loop(struct mps_args *args)
{
	struct mps_args *task;

	while (mps_worker_next(&task) == 0) {
		if (number(task, 0) == 13) {
			mps_worker_done(13);
			continue;
		}
		reply_number(task, number(task, 0) * mps_args_int(args, 1));
	}
	return 0;
}
MPS_TARGET(own_loop);

static struct mps_args *arguments(const char *text, int64_t v)
{
	struct mps_args *args;

	cr_assert_eq(mps_args_new(&args), 0);
	mps_args_add_text(args, text);
	mps_args_add_int(args, v);
	return args;
}

Test(pool, an_initializer_prepares_each_worker)
{
	struct mps_pool_options o = { .initializer = remember, .args = arguments("text", 77) };
	struct mps_pool *p = pool_with(o);

	mps_args_free(o.args);
	for (int i = 0; i < 10; i++)
		cr_expect_eq(apply_value(p, recall, 0), 77);
	mps_pool_free(p);
}

Test(pool, a_worker_may_have_a_loop_of_its_own)
{
	struct mps_pool_options o = { .worker = own_loop, .args = arguments("", 3) };
	struct mps_pool *p = pool_with(o);
	struct mps_result result;

	mps_args_free(o.args);
	for (int i = 0; i < 13; i++)
		cr_expect_eq(apply_value(p, NULL, i), 3 * i);
	cr_expect_eq(apply(p, NULL, 13, &result), MPS_POOL_E_FAILED);
	cr_expect_eq(result.code, 13);
	cr_expect_eq(mps_worker_done(0), -EINVAL, "we are no worker");
	mps_pool_free(p);
}

Test(pool, after_max_tasks_another_worker_goes_on)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ .workers = 2, .max_tasks = 5 });
	struct numbers in = numbers_up_to(100);
	struct mps_result result;
	struct mps_future *f;
	int64_t pids[100];
	size_t most = 0;

	cr_assert_eq(mps_pool_map(p, whoami, in.items, 100, &(struct mps_map_options){ .chunk = 1 },
				  &f, LONG),
		     0);
	for (size_t i = 0; i < 100; i++) {
		size_t same = 1;

		cr_assert_eq(mps_future_result(f, i, &result), 0);
		pids[i] = value(&result);
		for (size_t k = 0; k < i; k++)
			same += pids[k] == pids[i];
		most = same > most ? same : most;
	}
	cr_expect_leq(most, 5);
	mps_future_free(f);
	numbers_free(&in);
	mps_pool_free(p);
}

static size_t await_workers(struct mps_pool *p, size_t n)
{
	struct mps_time until = until_of(LONG);

	while (mps_pool_pids(p, NULL, 0) != n && mps_now().ns < until.ns)
		apply_value(p, add, 1);
	return mps_pool_pids(p, NULL, 0);
}

Test(pool, grows_and_shrinks_while_it_works)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ .workers = 1 });
	struct numbers in = numbers_up_to(3000);
	struct mps_future *f;

	for (int i = 0; i < 3; i++) {
		cr_assert_eq(mps_pool_map_async(p, add, in.items, 3000,
						&(struct mps_map_options){ .chunk = 1 }, &f),
			     0);
		cr_expect_eq(mps_pool_resize(p, 4), 0);
		cr_expect_eq(await_workers(p, 4), 4);
		cr_expect_eq(mps_pool_resize(p, 1), 0);
		cr_expect_eq(await_workers(p, 1), 1);
		cr_expect_eq(mps_future_get(f, NULL, LONG), 0, "none is lost");
		mps_future_free(f);
	}
	numbers_free(&in);
	mps_pool_free(p);
}

Test(pool, has_as_many_workers_as_cpus)
{
	struct mps_pool *p;

	cr_assert_eq(mps_pool_new(NULL, &p), 0);
	cr_expect_geq(mps_pool_pids(p, NULL, 0), 1);
	cr_expect_leq(mps_pool_pids(p, NULL, 0), (size_t)sysconf(_SC_NPROCESSORS_ONLN));
	cr_expect_eq(apply_value(p, add, 1), 1);
	mps_pool_free(p);
}

/* --------------------------------------------------------------------------------------------- used together */

#define THREADS 4

static void *use(void *user)
{
	struct mps_pool *p = user;

	for (int64_t i = 0; i < 300; i++)
		cr_assert_eq(apply_value(p, add, i), i);
	check_imap(p, 300, 1, 0, false);
	check_map(p, 300, 1, 1);
	return NULL;
}

Test(pool, several_threads_use_it)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ 0 });
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, use, p), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	mps_pool_free(p);
}

static int pool_within(struct mps_args *task)
{
	struct mps_pool_options o = { .workers = 1 };
	struct mps_result result = { 0 };
	int64_t deep = number(task, 0) - 1;
	struct mps_pool *p;
	int r;

	if (deep == 0)
		return reply_number(task, 100);
	r = mps_pool_new(&o, &p);
	if (r < 0)
		return r;
	r = mps_pool_apply(p, pool_within, &(struct mps_item){ &deep, 8 }, 1, &result, LONG);
	if (r == 0)
		reply_number(task, *(int64_t *)result.p + 1);
	free(result.p);
	mps_pool_free(p);
	return r == MPS_POOL_E_FAILED ? result.code : r;
}
MPS_TARGET(pool_within);

Test(pool, tasks_may_have_pools_but_not_without_end)
{
	struct mps_pool *p = pool_with((struct mps_pool_options){ .workers = 1 });
	struct mps_result result;

	cr_expect_eq(apply_value(p, pool_within, 3), 102);
	cr_expect_eq(apply(p, pool_within, 20, &result), MPS_POOL_E_FAILED);
	cr_expect_eq(result.code, -ELOOP);
	free(result.p);
	mps_pool_free(p);
}

/* Images of this program, for workers. */
__attribute__((constructor)) static void be_an_image(int argc, char **argv)
{
	mps_init(&argc, &argv);
}
