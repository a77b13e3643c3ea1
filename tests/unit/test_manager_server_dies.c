/*
 * What clients see of a server that is killed, stopped, or another one by now; and forked clients.
 */
#include "../manager_scene.h"

static void finish(void)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/socket", scene.folder);
	unlink(path);
	cr_expect_eq(rmdir(scene.folder), 0);
}

TestSuite(manager_server_dies, .init = scene_begin, .fini = finish);

struct waiter {
	pthread_t thread;
	struct mps_object *o;
	const char *method;
	const char *args;
	size_t n;
	_Atomic uint32_t begun;
	int outcome;
};

static void *wait_long(void *arg)
{
	struct waiter *w = arg;

	atomic_store(&w->begun, (uint32_t)gettid());
	w->outcome = mps_object_call(w->o, w->method, w->args, w->n, NULL, NULL, MPS_FOREVER);
	return NULL;
}

static void waiter_start(struct waiter *w)
{
	cr_assert_eq(pthread_create(&w->thread, NULL, wait_long, w), 0);
	while (atomic_load(&w->begun) == 0)
		sched_yield();
}

Test(manager_server_dies, all_who_wait_are_told)
{
	struct mps_manager *m[2] = { client(false), client(true) };
	struct waiter w[12];

	memset(w, 0, sizeof(w));
	for (int i = 0; i < 2; i++) {
		struct waiter *of = &w[6 * i];

		of[0] = (struct waiter){ .o = create(m[i], "queue", NULL, NULL, 0),
					 .method = "get" };
		of[1] = (struct waiter){ .o = create(m[i], "event", NULL, NULL, 0),
					 .method = "wait" };
		of[2] = (struct waiter){ .o = create(m[i], "semaphore", NULL,
						     BYTES("\x92\x00\x02")),
					 .method = "acquire" };
		of[3] = (struct waiter){ .o = create(m[i], "barrier", NULL, BYTES("\x91\x02")),
					 .method = "wait" };
		of[4] = (struct waiter){ .o = create(m[i], "lock", NULL, NULL, 0),
					 .method = "acquire" };
		of[5] = (struct waiter){ .o = create(m[i], "joinable_queue", NULL, NULL, 0),
					 .method = "join" };
		cr_assert_eq(mps_object_acquire(of[4].o, LONG), 0);
		cr_assert_eq(mps_object_put(of[5].o, "\x01", 1, LONG), 0);
		for (int k = 0; k < 6; k++)
			waiter_start(&of[k]);
	}
	for (int k = 0; k < 4; k++)
		scene_asleep((pid_t)w[k].begun);
	scene_kill(scene.server);
	for (int i = 0; i < 12; i++) {
		cr_expect_eq(pthread_join(w[i].thread, NULL), 0);
		cr_expect_eq(w[i].outcome, -ECONNRESET, "%d: %d", i, w[i].outcome);
		mps_object_close(w[i].o);
	}
	mps_manager_close(m[0]);
	mps_manager_close(m[1]);
}

Test(manager_server_dies, who_does_not_wait_is_told_by_the_next_call)
{
	struct mps_manager *m[2] = { client(false), client(true) };
	struct mps_object *c[2] = { create(m[0], "counter", NULL, NULL, 0),
				    create(m[1], "counter", NULL, NULL, 0) };

	scene_kill(scene.server);
	for (int i = 0; i < 2; i++) {
		cr_expect_eq(mps_object_add(c[i], 1, NULL), -ECONNRESET);
		cr_expect_eq(mps_object_add(c[i], 1, NULL), -ECONNRESET);
		mps_object_close(c[i]);
		mps_manager_close(m[i]);
	}
}

Test(manager_server_dies, a_stopped_server_costs_the_caller_s_time_and_no_more)
{
	struct mps_manager *m = client(true);
	struct mps_object *d = create(m, "dict", NULL, NULL, 0);
	int64_t from, spent;
	int64_t n;

	scene_stop(scene.server);
	from = mps_now().ns;
	cr_expect_eq(mps_object_call(d, "size", NULL, 0, NULL, NULL, 200 * MPS_MILLISECOND),
		     -ETIMEDOUT);
	spent = mps_now().ns - from;
	cr_expect(spent >= 200 * MPS_MILLISECOND && spent < MPS_SECOND, "%ld", (long)spent);
	/* Late answers are nobody's. */
	kill(scene.server, SIGCONT);
	n = number(d, "size");
	cr_expect_eq(n, 0);
	mps_object_close(d);
	mps_manager_close(m);
	scene_kill(scene.server);
}

Test(manager_server_dies, what_came_too_late_is_undone)
{
	struct mps_manager *m = client(true), *other = client(false);
	struct mps_object *lock = create(m, "lock", "l", NULL, 0),
			  *q = create(m, "queue", "q", NULL, 0);
	struct mps_object *lock2 = attach(other, "l"), *q2 = attach(other, "q");
	void *p;
	size_t n;

	cr_assert_eq(mps_object_put(q2, "\x05", 1, LONG), 0);
	scene_stop(scene.server);
	cr_expect_eq(mps_object_acquire(lock, SHORT), -ETIMEDOUT);
	cr_expect_eq(mps_object_get(q, &p, &n, SHORT), -ETIMEDOUT);
	kill(scene.server, SIGCONT);
	/* It hears of the answers when it asks for something. */
	cr_expect_geq(number(q, "size"), 0);
	cr_expect_eq(mps_object_acquire(lock2, LONG), 0);
	cr_expect_eq(mps_object_get(q2, &p, &n, LONG), 0);
	free(p);
	cr_expect_eq(mps_object_release(lock), -EPERM);
	mps_object_close(lock);
	mps_object_close(lock2);
	mps_object_close(q);
	mps_object_close(q2);
	mps_manager_close(m);
	mps_manager_close(other);
	scene_kill(scene.server);
}

/* ---------------------------------------------------------------------------------------------- the next server */

static void another(bool remote)
{
	struct mps_manager *m = client_of(scene.address, remote, true), *n;
	struct mps_object *named = create(m, "counter", "c", NULL, 0),
			  *nameless = create(m, "counter", NULL, NULL, 0), *c;

	cr_assert_eq(mps_object_add(named, 5, NULL), 0);
	scene_kill(scene.server);
	scene.server = server_start(scene.address);
	n = client(false);
	c = create(n, "counter", "c", BYTES("\x91\x07"));
	/* It was on its way when the server died, or not: the client can't know. */
	if (remote)
		cr_expect_eq(mps_object_add(named, 1, NULL), -ECONNRESET);
	cr_expect_eq(mps_object_add(named, 1, NULL), 0);
	cr_expect_eq(number(c, "get"), 8);
	cr_expect_eq(mps_object_add(nameless, 1, NULL), -ESTALE);
	mps_object_close(named);
	mps_object_close(nameless);
	mps_object_close(c);
	mps_manager_close(n);
	mps_manager_close(m);
}

Test(manager_server_dies, with_reconnect_the_next_server_is_found)
{
	another(false);
	another(true);
	scene_kill(scene.server);
}

static _Atomic uint32_t is_there, over;

static void *serve_later(void *arg)
{
	/* That one waits for it by now. */
	scene_asleep_in(*(pid_t *)arg, SYS_ppoll, SYS_ppoll, SYS_ppoll);
	scene.server = server_start(scene.address);
	scene_tell(&is_there);
	/* It is this thread's child, and ends with it. */
	scene_until(&over, 1);
	return NULL;
}

Test(manager_server_dies, with_reconnect_a_call_waits_for_the_next_server)
{
	struct mps_manager *m = client_of(scene.address, false, true);
	struct mps_object *o = create(m, "lock", "l", NULL, 0);
	pid_t tid = gettid();
	pthread_t thread;
	char path[64];

	scene_kill(scene.server);
	snprintf(path, sizeof(path), "%s/socket", scene.folder);
	unlink(path);
	cr_expect_eq(mps_object_acquire(o, SHORT), -ETIMEDOUT);
	cr_assert_eq(pthread_create(&thread, NULL, serve_later, &tid), 0);
	cr_expect_eq(mps_object_acquire(o, LONG), -ESTALE);
	mps_object_close(o);
	mps_manager_close(m);
	/* A client may know it before who has started it does. */
	scene_until(&is_there, 1);
	scene_kill(scene.server);
	scene_tell(&over);
	cr_expect_eq(pthread_join(thread, NULL), 0);
}

/* ---------------------------------------------------------------------------------------------- forks */

static struct mps_manager *inherited;
static struct mps_object *object;

static int use_inherited(void *arg)
{
	struct mps_manager *m;
	struct mps_object *o = NULL;

	(void)arg;
	if (mps_object_add(object, 1, NULL) != -EINVAL ||
	    mps_object_create(inherited, "lock", NULL, 0, NULL, 0, &o, LONG) != -EINVAL)
		return 1;
	mps_object_close(object);
	mps_manager_close(inherited);
	m = client(true);
	o = attach(m, "c");
	return mps_object_add(o, 1, NULL) != 0;
}

Test(manager_server_dies, a_forked_child_leaves_its_parent_s_connection_alone)
{
	for (int remote = 0; remote < 2; remote++) {
		inherited = client(remote);
		object = create(inherited, "counter", "c", NULL, 0);
		for (int i = 0; i < 3; i++) {
			cr_expect_eq(scene_end(scene_child(use_inherited, NULL)), 0);
			cr_expect_eq(mps_object_add(object, 1, NULL), 0);
		}
		cr_expect_eq(number(object, "get"), 6);
		mps_object_close(object);
		mps_manager_close(inherited);
	}
	scene_kill(scene.server);
}

Test(manager_server_dies, shutdown)
{
	struct mps_manager *m = client(true);

	cr_expect_eq(mps_manager_shutdown(m, LONG), 0);
	cr_expect_eq(scene_end(scene.server), 0);
	mps_manager_close(m);
}
