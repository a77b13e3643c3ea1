/*
 * Clients of a real server: each type local and remote, threads that share a connection, deaths on both sides.
 */
#include <fcntl.h>

#include "../manager_scene.h"

TestSuite(manager_client, .init = scene_begin, .fini = scene_finish);

/* Each object a name of its own: that of one is free when the server has heard of the last close. */
static char name[16];

static const char *fresh(void)
{
	static int n;

	snprintf(name, sizeof(name), "o%d", n++);
	return name;
}

static const char *last(void)
{
	return name;
}

static void use_locks(struct mps_manager *a, struct mps_manager *b)
{
	static const char *const types[] = { "lock", "rlock", "condition" };

	/* Of clients in memory this thread is the holder, whichever connection it comes by. */
	bool same = !a->options.remote && !b->options.remote;

	for (size_t i = 0; i < 3; i++) {
		struct mps_object *x = create(a, types[i], fresh(), NULL, 0),
				  *y = attach(b, last());

		cr_expect_str_eq(mps_object_type(y), types[i]);
		cr_expect_eq(mps_object_release(x), -EPERM);
		cr_expect_eq(mps_object_acquire(x, 0), 0);
		if (!same) {
			cr_expect_eq(mps_object_release(y), -EPERM);
			cr_expect_eq(mps_object_acquire(y, SHORT), -ETIMEDOUT);
			cr_expect_eq(mps_object_acquire(y, 0), -ETIMEDOUT);
		}
		cr_expect_eq(mps_object_release(x), 0);
		cr_expect_eq(mps_object_acquire(y, LONG), 0);
		cr_expect_eq(mps_object_release(y), 0);
		mps_object_close(y);
		mps_object_close(x);
	}
}

static void use_queue(struct mps_manager *a, struct mps_manager *b)
{
	struct mps_object *x = create(a, "joinable_queue", fresh(), BYTES("\x91\x02")),
			  *y = attach(b, last());
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
	struct mps_object *x = create(a, "counter", fresh(), NULL, 0), *y = attach(b, last());
	int64_t now;

	cr_expect_eq(mps_object_add(x, 5, NULL), 0);
	cr_expect_eq(mps_object_add(y, -7, &now), 0);
	cr_expect_eq(now, -2);
	cr_expect_eq(number(x, "get"), -2);
	cr_expect_eq(mps_object_acquire(x, 0), -ENOSYS);
	cr_expect_eq(mps_object_call(x, "no such", NULL, 0, NULL, NULL, 0), -ENOSYS);
	mps_object_close(y);
	mps_object_close(x);
	x = create(a, "value", fresh(), BYTES("\x92\xa1q\x03"));
	y = attach(b, last());
	cr_expect_eq(mps_object_add(y, 4, &now), 0);
	cr_expect_eq(now, 7);
	cr_expect_eq(number(x, "get"), 7);
	mps_object_close(y);
	mps_object_close(x);
	x = create(a, "array", fresh(), BYTES("\x92\xa1i\x04"));
	y = attach(b, last());
	cr_expect_eq(mps_object_call(x, "set", BYTES("\x92\x03\x09"), NULL, NULL, LONG), 0);
	cr_expect_eq(mps_object_call(x, "set", BYTES("\x92\x04\x09"), NULL, NULL, LONG), -ERANGE);
	cr_expect_eq(number(y, "length"), 4);
	mps_object_close(y);
	mps_object_close(x);
}

static void use_events(struct mps_manager *a, struct mps_manager *b)
{
	struct mps_object *x = create(a, "event", fresh(), NULL, 0), *y = attach(b, last());

	cr_expect_eq(mps_object_wait(y, SHORT), -ETIMEDOUT);
	cr_expect_eq(mps_object_set(x), 0);
	cr_expect_eq(mps_object_wait(y, LONG), 0);
	cr_expect_eq(mps_object_call(y, "clear", NULL, 0, NULL, NULL, LONG), 0);
	cr_expect_eq(mps_object_wait(x, 0), -ETIMEDOUT);
	mps_object_close(y);
	mps_object_close(x);
	x = create(a, "bounded_semaphore", fresh(), BYTES("\x91\x01"));
	y = attach(b, last());
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

/* ---------------------------------------------------------------------------------------------- served types */

Test(manager_client, dicts_lists_and_namespaces)
{
	struct mps_manager *a = client(false), *b = client(true);
	struct mps_object *x = create(a, "dict", "d", NULL, 0), *y = attach(b, "d");
	int64_t i = 0;
	void *p = NULL;
	size_t n;

	cr_expect_eq(mps_object_call(x, "set", BYTES("\x92\xa1k\x2a"), NULL, NULL, LONG), 0);
	cr_expect_eq(mps_object_call(y, "get", BYTES("\x91\xa1k"), &p, &n, LONG), 0);
	cr_expect_eq(mps_unpack(p, n, "i", &i), 0);
	cr_expect_eq(i, 42);
	free(p);
	cr_expect_eq(mps_object_call(y, "get", BYTES("\x91\xa1z"), &p, &n, LONG), -ENOENT);
	cr_expect_eq(mps_object_call(y, "get", BYTES("\xa1z"), &p, &n, LONG), -EINVAL);
	cr_expect_eq(mps_object_acquire(x, 0), -ENOSYS);
	cr_expect_eq(mps_object_put(x, "\x01", 1, 0), -ENOSYS);
	mps_object_close(x);
	mps_object_close(y);
	mps_manager_close(a);
	mps_manager_close(b);
}

Test(manager_client, a_request_to_memory_is_answered_when_it_is_asked_for)
{
	for (int remote = 0; remote < 2; remote++) {
		struct mps_manager *a = client(remote);
		struct mps_object *q = create(a, "queue", NULL, NULL, 0);
		struct mps_pending *sent;
		int64_t i = 0;
		void *p = NULL;
		size_t n;

		cr_assert_eq(mps_object_send(q, "size", NULL, 0, &sent, LONG), 0);
		cr_assert_eq(mps_object_result(sent, &p, &n, LONG), 0);
		cr_expect_eq(mps_unpack(p, n, "i", &i), 0);
		cr_expect_eq(i, 0);
		free(p);
		cr_assert_eq(mps_object_send(q, "get", NULL, 0, &sent, LONG), 0);
		cr_assert_eq(mps_object_call(q, "put", BYTES("\x91\x07"), NULL, NULL, LONG), 0);
		cr_assert_eq(mps_object_result(sent, &p, &n, LONG), 0);
		cr_expect_eq(mps_unpack(p, n, "i", &i), 0);
		cr_expect_eq(i, 7);
		free(p);
		mps_object_close(q);
		mps_manager_close(a);
	}
}

Test(manager_client, many_requests_are_sent_before_one_is_waited_for)
{
	struct mps_manager *a = client(true);
	struct mps_object *x = create(a, "dict", "d", NULL, 0);
	static struct mps_pending *sent[20000];
	void *p;
	size_t n;
	int64_t got;

	for (int64_t i = 0; i < 20000; i++) {
		cr_assert_eq(mps_pack(&p, &n, "[ii]", i % 100, i), 0);
		cr_assert_eq(mps_object_send(x, "set", p, n, &sent[i], LONG), 0);
		free(p);
	}
	for (int i = 0; i < 20000; i++)
		cr_assert_eq(mps_object_result(sent[i], NULL, NULL, LONG), 0);
	cr_expect_eq(mps_object_call(x, "get", BYTES("\x91\x07"), &p, &n, LONG), 0);
	cr_expect_eq(mps_unpack(p, n, "i", &got), 0);
	cr_expect_eq(got, 19907);
	free(p);
	mps_object_close(x);
	mps_manager_close(a);
}

/* ---------------------------------------------------------------------------------------------- threads */

enum { THREADS = 8, ROUNDS = 500 };
static struct mps_object *counted, *queued;

static void *run_thread(void *arg)
{
	void *p;
	size_t n;

	for (int i = 0; i < ROUNDS; i++) {
		if (mps_object_add(counted, 1, NULL) != 0 ||
		    mps_object_put(queued, "\x07", 1, LONG) != 0 ||
		    mps_object_get(queued, &p, &n, LONG) != 0)
			return arg;
		free(p);
	}
	return NULL;
}

static void run_threads(bool remote)
{
	struct mps_manager *m = client(remote);
	pthread_t threads[THREADS];
	void *failed;

	counted = create(m, "counter", NULL, NULL, 0);
	queued = create(m, "queue", NULL, BYTES("\x91\x01"));
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, run_thread, m), 0);
	for (int i = 0; i < THREADS; i++) {
		cr_expect_eq(pthread_join(threads[i], &failed), 0);
		cr_expect_null(failed);
	}
	cr_expect_eq(number(counted, "get"), THREADS * ROUNDS);
	cr_expect_eq(number(queued, "size"), 0);
	mps_object_close(counted);
	mps_object_close(queued);
	mps_manager_close(m);
}

Test(manager_client, threads_share_a_connection)
{
	run_threads(true);
	run_threads(false);
}

/* ---------------------------------------------------------------------------------------------- leases, names */

Test(manager_client, a_token_hands_an_object_on)
{
	struct mps_manager *a = client(false), *b = client(true);
	struct mps_object *x = create(a, "counter", NULL, NULL, 0), *y = NULL, *z = NULL;
	char token[33];

	cr_expect_eq(mps_object_add(x, 3, NULL), 0);
	cr_assert_eq(mps_object_lend(x, LONG, token, LONG), 0);
	mps_object_close(x);
	mps_manager_close(a);
	cr_assert_eq(mps_object_take(b, token, &y, LONG), 0);
	cr_expect_eq(number(y, "get"), 3);
	cr_expect_eq(mps_object_take(b, token, &z, LONG), -ENOENT);
	mps_object_close(y);
	mps_manager_close(b);
}

Test(manager_client, names)
{
	struct mps_manager *a = client(false);
	struct mps_object *x = create(a, "queue", "x", NULL, 0), *y = NULL;

	cr_expect_eq(mps_object_create(a, "queue", "x", 0, NULL, 0, &y, LONG), -EEXIST);
	cr_expect_eq(mps_object_create(a, "queue", "x", MPS_OBJECT_EXISTING, NULL, 0, &y, LONG), 0);
	mps_object_close(y);
	cr_expect_eq(mps_object_attach(a, "lock", "x", &y, LONG), -EPROTOTYPE);
	cr_expect_eq(mps_object_attach(a, "lock", "z", &y, LONG), -ENOENT);
	cr_expect_eq(mps_object_create(a, "no such type", "x", 0, NULL, 0, &y, LONG), -EINVAL);
	cr_expect_eq(mps_object_create(a, "semaphore", "s", 0, NULL, 0, &y, LONG), -EINVAL);
	cr_expect_eq(mps_object_remove(a, "x", LONG), 0);
	cr_expect_eq(mps_object_remove(a, "x", LONG), -ENOENT);
	cr_expect_eq(mps_object_attach(a, NULL, "x", &y, LONG), -ENOENT);
	cr_expect_eq(mps_object_put(x, "\x01", 1, 0), 0);
	mps_object_close(x);
	mps_manager_close(a);
}

Test(manager_client, over_tcp_both_show_the_key)
{
	struct mps_manager_options o = { .address = "tcp:127.0.0.1:0",
					 .authkey = "secret",
					 .authkey_size = 6 };
	struct mps_manager *m = NULL;
	struct mps_object *x;
	char line[PATH_MAX];
	pid_t server = server_start_with(o, line);

	cr_assert_eq(mps_manager_connect(line + strlen("ready "), &o, &m, LONG), 0);
	x = create(m, "counter", "x", NULL, 0);
	cr_expect_eq(mps_object_add(x, 4, NULL), 0);
	cr_expect_eq(number(x, "get"), 4);
	mps_object_close(x);
	mps_manager_close(m);
	o.authkey = "sesame";
	cr_expect_eq(mps_manager_connect(line + strlen("ready "), &o, &m, LONG), -EACCES);
	kill(server, SIGTERM);
	cr_expect_eq(scene_end(server), 0);
}

/* ---------------------------------------------------------------------------------------------- what is left */

static int n_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void *call_often(void *arg)
{
	for (int i = 0; i < 50; i++)
		if (mps_object_add(arg, 1, NULL) < 0)
			return arg;
	return NULL;
}

Test(manager_client, a_process_has_one_descriptor_however_many_threads_call)
{
	int before = n_fds();
	struct mps_manager *m = client(true);
	struct mps_object *x = create(m, "counter", NULL, NULL, 0);
	pthread_t threads[32];
	void *failed;

	for (int i = 0; i < 32; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, call_often, x), 0);
	for (int i = 0; i < 32; i++) {
		pthread_join(threads[i], &failed);
		cr_expect_null(failed);
	}
	cr_expect_eq(number(x, "get"), 32 * 50);
	cr_expect_eq(n_fds(), before + 1);
	mps_object_close(x);
	mps_manager_close(m);
	cr_expect_eq(n_fds(), before);
}
