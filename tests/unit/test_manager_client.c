/*
 * Clients of a real server: each type local and remote, threads that share a connection, deaths on both sides.
 */
#include "../manager_scene.h"

TestSuite(manager_client, .init = scene_begin, .fini = scene_finish);

static void use_locks(struct mps_manager *a, struct mps_manager *b)
{
	static const char *const types[] = { "lock", "rlock", "condition" };

	for (size_t i = 0; i < 3; i++) {
		struct mps_object *x = create(a, types[i], "x", NULL, 0), *y = attach(b, "x");

		cr_expect_str_eq(mps_object_type(y), types[i]);
		cr_expect_eq(mps_object_release(x), -EPERM);
		cr_expect_eq(mps_object_acquire(x, 0), 0);
		cr_expect_eq(mps_object_release(y), -EPERM, "%s", types[i]);
		cr_expect_eq(mps_object_acquire(y, SHORT),
			     i == 0 && !a->options.remote && !b->options.remote ? -EDEADLK
			     : a->options.remote == b->options.remote && !a->options.remote
				     ? 0
				     : -ETIMEDOUT);
		cr_expect_eq(mps_object_release(x), 0);
		mps_object_close(y);
		mps_object_close(x);
	}
}

static void use_queue(struct mps_manager *a, struct mps_manager *b)
{
	struct mps_object *x = create(a, "joinable_queue", "q", BYTES("\x91\x02")),
			  *y = attach(b, "q");
	void *p = NULL;
	size_t n;

	cr_expect_eq(mps_object_put(x, "\xc1", 1, LONG), -EINVAL);
	cr_expect_eq(mps_object_get(y, &p, &n, SHORT), -ETIMEDOUT);
	cr_expect_eq(mps_object_put(x, "\x01", 1, LONG), 0);
	cr_expect_eq(mps_object_put(y, "\xa1y", 2, LONG), 0);
	cr_expect_eq(mps_object_put(x, "\x01", 1, 0), -ETIMEDOUT);
	cr_expect_eq(mps_object_get(y, &p, &n, 0), 0);
	cr_expect(n == 1 && memcmp(p, "\x01", 1) == 0);
	free(p);
	cr_expect_eq(mps_object_get(x, &p, &n, LONG), 0);
	cr_expect(n == 2 && memcmp(p, "\xa1y", 2) == 0);
	free(p);
	cr_expect_eq(mps_object_call(y, "join", NULL, 0, NULL, NULL, 0), -ETIMEDOUT);
	cr_expect_eq(mps_object_call(x, "task_done", NULL, 0, NULL, NULL, LONG), 0);
	cr_expect_eq(mps_object_call(y, "task_done", NULL, 0, NULL, NULL, LONG), 0);
	cr_expect_eq(mps_object_call(y, "task_done", NULL, 0, NULL, NULL, LONG), -EINVAL);
	cr_expect_eq(mps_object_call(x, "join", NULL, 0, NULL, NULL, LONG), 0);
	mps_object_close(y);
	mps_object_close(x);
}

static void use_numbers(struct mps_manager *a, struct mps_manager *b)
{
	struct mps_object *x = create(a, "counter", "c", NULL, 0), *y = attach(b, "c");
	int64_t now;

	cr_expect_eq(mps_object_add(x, 5, NULL), 0);
	cr_expect_eq(mps_object_add(y, -7, &now), 0);
	cr_expect_eq(now, -2);
	cr_expect_eq(number(x, "get"), -2);
	cr_expect_eq(mps_object_acquire(x, 0), -ENOSYS);
	cr_expect_eq(mps_object_call(x, "no such", NULL, 0, NULL, NULL, 0), -ENOSYS);
	mps_object_close(y);
	mps_object_close(x);
	x = create(a, "value", "v", BYTES("\x92\xa1q\x03"));
	y = attach(b, "v");
	cr_expect_eq(mps_object_add(y, 4, &now), 0);
	cr_expect_eq(now, 7);
	cr_expect_eq(number(x, "get"), 7);
	mps_object_close(y);
	mps_object_close(x);
	x = create(a, "array", "a", BYTES("\x92\xa1i\x04"));
	y = attach(b, "a");
	cr_expect_eq(mps_object_call(x, "set", BYTES("\x92\x03\x09"), NULL, NULL, LONG), 0);
	cr_expect_eq(mps_object_call(x, "set", BYTES("\x92\x04\x09"), NULL, NULL, LONG), -ERANGE);
	cr_expect_eq(number(y, "length"), 4);
	mps_object_close(y);
	mps_object_close(x);
}

static void use_events(struct mps_manager *a, struct mps_manager *b)
{
	struct mps_object *x = create(a, "event", "e", NULL, 0), *y = attach(b, "e");

	cr_expect_eq(mps_object_wait(y, SHORT), -ETIMEDOUT);
	cr_expect_eq(mps_object_set(x), 0);
	cr_expect_eq(mps_object_wait(y, LONG), 0);
	cr_expect_eq(mps_object_call(y, "clear", NULL, 0, NULL, NULL, LONG), 0);
	cr_expect_eq(mps_object_wait(x, 0), -ETIMEDOUT);
	mps_object_close(y);
	mps_object_close(x);
	x = create(a, "bounded_semaphore", "s", BYTES("\x91\x01"));
	y = attach(b, "s");
	cr_expect_eq(mps_object_acquire(x, LONG), 0);
	cr_expect_eq(mps_object_acquire(y, SHORT), -ETIMEDOUT);
	cr_expect_eq(number(y, "value"), 0);
	cr_expect_eq(mps_object_release(x), 0);
	cr_expect_eq(number(x, "value"), 1);
	mps_object_close(y);
	mps_object_close(x);
}

static void use_all(bool remote_a, bool remote_b)
{
	struct mps_manager *a = client(remote_a), *b = client(remote_b);

	use_locks(a, b);
	use_queue(a, b);
	use_numbers(a, b);
	use_events(a, b);
	mps_manager_close(a);
	mps_manager_close(b);
}

Test(manager_client, types_of_local_clients)
{
	use_all(false, false);
}

Test(manager_client, types_of_remote_clients)
{
	use_all(true, true);
}

Test(manager_client, types_of_both)
{
	use_all(true, false);
	use_all(false, true);
}
