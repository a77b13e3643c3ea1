/*
 * A manager's server and its clients, and each other's deaths: nobody waits for the dead, and what they held is free.
 */
#include "../manager_scene.h"

TestSuite(manager_deaths, .init = scene_begin, .fini = scene_finish);

/* ---------------------------------------------------------------------------------------------- clients die */

struct role {
	bool remote;
	const char *name, *method;
};

static int hold(void *arg)
{
	struct role *r = arg;
	struct mps_object *o = attach(client(r->remote), r->name);

	if (mps_object_acquire(o, LONG) < 0)
		return 1;
	kill(getpid(), SIGKILL);
	return 2;
}

static void killed_holder(const char *type, const void *args, size_t n, bool remote, bool other)
{
	struct mps_manager *m = client(other);
	struct mps_object *o = create(m, type, "x", args, n);
	struct role role = { .remote = remote, .name = "x" };
	int r;

	cr_expect_eq(scene_end(scene_child(hold, &role)), -SIGKILL);
	r = mps_object_acquire(o, LONG);
	cr_expect(r == 0 || r == EOWNERDEAD, "%s: %d", type, r);
	cr_expect_eq(mps_object_release(o), 0);
	mps_object_close(o);
	mps_manager_close(m);
}

Test(manager_deaths, a_killed_client_releases_its_locks_and_units)
{
	for (int i = 0; i < 4; i++) {
		killed_holder("lock", NULL, 0, i & 1, i & 2);
		killed_holder("rlock", NULL, 0, i & 1, i & 2);
		killed_holder("semaphore", "\x91\x01", 2, i & 1, i & 2);
		killed_holder("condition", NULL, 0, i & 1, i & 2);
	}
}

static void *acquire_and_end(void *o)
{
	cr_expect_eq(mps_object_acquire(o, LONG), 0);
	return NULL;
}

/* The C library and the kernel keep lists of what a thread holds, which run through that memory. */
static void closed_while_held(const char *type, const void *args, size_t n)
{
	struct mps_manager *m = client(false), *other = client(false);
	struct mps_object *o = create(m, type, "held", args, n), *theirs;
	pthread_t thread;
	int r;

	theirs = attach(other, "held");
	cr_expect_eq(mps_object_acquire(o, LONG), 0);
	mps_object_close(o);
	cr_expect_eq(mps_object_acquire(theirs, LONG), 0, "%s: it was released", type);
	cr_expect_eq(mps_object_release(theirs), 0);
	o = attach(m, "held");
	cr_assert_eq(pthread_create(&thread, NULL, acquire_and_end, o), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	mps_object_close(o);
	r = mps_object_acquire(theirs, LONG);
	cr_expect(r == EOWNERDEAD || (r == 0 && strcmp(type, "semaphore") == 0), "%s: %d", type, r);
	/* The server that holds it goes, and we with what we hold. */
	scene_kill(scene.server);
	mps_object_close(theirs);
	mps_manager_close(other);
	mps_manager_close(m);
	scene.server = server_start(scene.address);
}

Test(manager_deaths, what_is_closed_while_it_is_held_is_released)
{
	closed_while_held("lock", NULL, 0);
	closed_while_held("rlock", NULL, 0);
	closed_while_held("condition", NULL, 0);
	closed_while_held("semaphore", "\x91\x01", 2);
}

static int wait_long(void *arg)
{
	struct role *r = arg;
	struct mps_object *o = attach(client(r->remote), r->name);

	return mps_object_call(o, r->method, NULL, 0, NULL, NULL, LONG) != 0;
}

/* Until so many wait at the barrier. */
static void until_waiting(struct mps_object *o, int64_t n)
{
	struct mps_time until = until_of(LONG);

	while (number(o, "waiting") != n) {
		cr_assert_lt(mps_now().ns, until.ns);
		sched_yield();
	}
}

static void killed_party(bool remote, bool other)
{
	struct mps_manager *m = client(other);
	struct mps_object *o = create(m, "barrier", "b", BYTES("\x91\x03"));
	struct role dies = { .remote = remote, .name = "b", .method = "wait" };
	pid_t child = scene_child(wait_long, &dies), second = scene_child(wait_long, &dies);

	until_waiting(o, 2);
	scene_kill(child);
	cr_expect_eq(scene_end(second), 1);
	cr_expect_eq(mps_object_wait(o, LONG), -EPIPE);
	mps_object_close(o);
	mps_manager_close(m);
}

Test(manager_deaths, a_killed_party_breaks_the_barrier_for_all)
{
	for (int i = 0; i < 4; i++)
		killed_party(i & 1, i & 2);
}

static int make_and_die(void *arg)
{
	struct role *r = arg;

	create(client(r->remote), "queue", r->name, NULL, 0);
	kill(getpid(), SIGKILL);
	return 2;
}

Test(manager_deaths, the_references_of_a_killed_client_are_gone_with_it)
{
	struct mps_manager *m = client(false);
	struct mps_time until = until_of(LONG);
	struct mps_object *o;

	for (int i = 0; i < 2; i++) {
		struct role role = { .remote = i, .name = "q" };

		cr_expect_eq(scene_end(scene_child(make_and_die, &role)), -SIGKILL);
		/* The server hears of it when the kernel has closed its end. */
		while (mps_object_attach(m, NULL, "q", &o, LONG) == 0) {
			mps_object_close(o);
			cr_assert_lt(mps_now().ns, until.ns, "it stays");
		}
	}
	mps_manager_close(m);
}

/* ---------------------------------------------------------------------------------------------- mixed waiters */

static int add_one(void *arg)
{
	struct role *r = arg;
	struct mps_manager *m = client(r->remote);
	struct mps_object *lock = attach(m, "lock"), *value = attach(m, "value");
	int64_t now;

	for (int i = 0; i < 300; i++) {
		int e = mps_object_acquire(lock, LONG);

		if (e != 0)
			return 1;
		/* Not atomic but by the lock. */
		now = number(value, "get");
		if (mps_object_add(value, 1, NULL) < 0 || number(value, "get") != now + 1 ||
		    mps_object_release(lock) < 0)
			return 2;
	}
	return 0;
}

Test(manager_deaths, local_and_remote_holders_exclude_each_other)
{
	struct mps_manager *m = client(false);
	struct mps_object *lock = create(m, "lock", "lock", NULL, 0);
	struct mps_object *value = create(m, "value", "value", BYTES("\x92\xa1q\x00"));
	struct role roles[4] = {
		{ .remote = true }, { .remote = false }, { .remote = true }, { .remote = false }
	};
	pid_t children[4];

	for (int i = 0; i < 4; i++)
		children[i] = scene_child(add_one, &roles[i]);
	for (int i = 0; i < 4; i++)
		cr_expect_eq(scene_end(children[i]), 0);
	cr_expect_eq(number(value, "get"), 1200);
	mps_object_close(lock);
	mps_object_close(value);
	mps_manager_close(m);
}

static int take_all(void *arg)
{
	struct role *r = arg;
	struct mps_object *q = attach(client(r->remote), "q");
	int64_t sum = 0, i;
	void *p;
	size_t n;

	while (mps_object_get(q, &p, &n, LONG) == 0) {
		if (mps_unpack(p, n, "i", &i) < 0)
			return 255;
		free(p);
		if (i == 0)
			break;
		sum += i;
	}
	return sum > 0 ? 0 : 1;
}

Test(manager_deaths, local_and_remote_consumers_share_a_queue)
{
	struct mps_manager *m = client(false), *far = client(true);
	struct mps_object *q = create(m, "queue", "q", BYTES("\x91\x04")), *q2 = attach(far, "q");
	struct role roles[4] = {
		{ .remote = true }, { .remote = false }, { .remote = true }, { .remote = false }
	};
	pid_t children[4];

	for (int i = 0; i < 4; i++)
		children[i] = scene_child(take_all, &roles[i]);
	for (int i = 0; i < 4000; i++)
		cr_assert_eq(mps_object_put(i % 2 ? q : q2, "\x01", 1, LONG), 0);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(mps_object_put(q2, "\x00", 1, LONG), 0);
	for (int i = 0; i < 4; i++)
		cr_expect_leq(scene_end(children[i]), 1);
	cr_expect_eq(number(q, "size"), 0);
	mps_object_close(q);
	mps_object_close(q2);
	mps_manager_close(m);
	mps_manager_close(far);
}

static int wait_for_event(void *arg)
{
	struct role *r = arg;
	struct mps_object *o = attach(client(r->remote), "e");

	return mps_object_wait(o, LONG) != 0;
}

Test(manager_deaths, an_event_wakes_local_and_remote_waiters)
{
	for (int by = 0; by < 2; by++) {
		struct mps_manager *m = client(by);
		struct mps_object *o = create(m, "event", "e", NULL, 0);
		struct role roles[2] = { { .remote = true }, { .remote = false } };
		pid_t near = scene_child(wait_for_event, &roles[1]),
		      far = scene_child(wait_for_event, &roles[0]);

		scene_asleep(near);
		cr_expect_eq(mps_object_set(o), 0);
		cr_expect_eq(scene_end(near), 0);
		cr_expect_eq(scene_end(far), 0);
		mps_object_close(o);
		mps_manager_close(m);
	}
}

static int wait_condition(void *arg)
{
	struct role *r = arg;
	struct mps_manager *m = client(r->remote);
	struct mps_object *c = attach(m, "c"), *value = attach(m, "value");
	int e = mps_object_acquire(c, LONG);

	mps_object_add(value, 1, NULL);
	while (e == 0 && number(value, "get") < 100)
		e = mps_object_wait(c, LONG);
	return e != 0 || mps_object_release(c) != 0;
}

Test(manager_deaths, a_condition_wakes_local_and_remote_waiters)
{
	for (int by = 0; by < 2; by++) {
		struct mps_manager *m = client(by);
		struct mps_object *c = create(m, "condition", "c", NULL, 0);
		struct mps_object *value = create(m, "value", "value", BYTES("\x92\xa1q\x00"));
		struct role roles[4] = { { .remote = true },
					 { .remote = false },
					 { .remote = true },
					 { .remote = false } };
		struct mps_time until = until_of(LONG);
		pid_t children[4];

		for (int i = 0; i < 4; i++)
			children[i] = scene_child(wait_condition, &roles[i]);
		while (number(value, "get") < 4)
			cr_assert_lt(mps_now().ns, until.ns);
		/* Who has counted holds the lock until it waits. */
		cr_expect_eq(mps_object_acquire(c, LONG), 0);
		mps_object_add(value, 100, NULL);
		cr_expect_eq(mps_object_call(c, "notify_all", NULL, 0, NULL, NULL, LONG), 0);
		cr_expect_eq(mps_object_release(c), 0);
		for (int i = 0; i < 4; i++)
			cr_expect_eq(scene_end(children[i]), 0);
		mps_object_close(c);
		mps_object_close(value);
		mps_manager_close(m);
	}
}
