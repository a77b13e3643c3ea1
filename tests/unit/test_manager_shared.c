/*
 * Types in shared memory, as the server calls them for its remote clients and as a client on this machine does itself: both on one
 * object.
 */
#include "../ipc_scene.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "manager/shared.h"

enum { A = 7, B = 8 }; /* sessions */

static pid_t test_pid;

/* One object, as the server has it and as a client. */
struct both {
	const struct shared_type *type;
	void *server, *client;
};

static const struct shared_type *type_of(const char *name)
{
	for (size_t i = 0; shared_types[i] != NULL; i++)
		if (strcmp(shared_types[i]->type.name, name) == 0)
			return shared_types[i];
	cr_assert(false, "no type %s", name);
	return NULL;
}

/* args: a format and its values, packed by the caller; NULL = none. */
static struct both make(const char *name, const void *args, size_t n)
{
	struct both b = { .type = type_of(name) };

	struct mps_call call = { .args = args, .n_args = n, .session = A };
	int fds[2], again[2];
	size_t n_fds;

	test_pid = getpid();
	cr_assert_eq(b.type->make(&call, fds, &n_fds), 0);
	for (size_t i = 0; i < n_fds; i++)
		again[i] = dup(fds[i]);
	cr_assert_eq(b.type->open(fds, n_fds, &b.server), 0);
	cr_assert_eq(b.type->open(again, n_fds, &b.client), 0);
	return b;
}

static void end(struct both *b)
{
	b->type->type.destroy(b->client);
	b->type->type.destroy(b->server);
}

static int method_of(const struct both *b, const char *name)
{
	for (size_t i = 0; i < b->type->type.n_methods; i++)
		if (strcmp(b->type->type.methods[i].name, name) == 0)
			return (int)i;
	cr_assert(false, "no method %s", name);
	return -1;
}

static struct buf reply;

static int call(const struct both *b, void *self, const char *method, struct mps_call *c)
{
	buf_reset(&reply);
	c->reply = &reply;
	return b->type->type.methods[method_of(b, method)].call(self, c);
}

/* By the server for a thread of a session; by the client at once, or in time. */
static int remote(const struct both *b, uint64_t session, uint32_t thread, const char *method)
{
	uint64_t mark = 0;
	struct mps_call c = { .session = session, .thread = thread, .mark = &mark };

	return call(b, b->server, method, &c);
}

/* What holds something is a thread, and the server's is another than a client's. */
static struct {
	pthread_t thread;
	pid_t pid;
	sem_t go, done;
	const struct both *b;
	const char *method;
	struct mps_call *call;
	int outcome;
} client;

static void *client_run(void *p)
{
	(void)p;
	for (;;) {
		sem_wait(&client.go);
		client.outcome = call(client.b, client.b->client, client.method, client.call);
		sem_post(&client.done);
	}
	return NULL;
}

static int local(const struct both *b, const char *method, int64_t timeout)
{
	struct mps_call c = { .until = until_of(timeout) };

	if (client.pid != getpid() && test_pid != getpid())
		return call(b, b->client, method, &c);
	if (client.pid == 0) {
		client.pid = getpid();
		sem_init(&client.go, 0, 0);
		sem_init(&client.done, 0, 0);
		cr_assert_eq(pthread_create(&client.thread, NULL, client_run, NULL), 0);
	}
	client.b = b;
	client.method = method;
	client.call = &c;
	sem_post(&client.go);
	sem_wait(&client.done);
	return client.outcome;
}

static int with(const struct both *b, bool is_remote, const char *method, const void *args,
		size_t n)
{
	uint64_t mark = 0;
	struct mps_call c = {
		.args = args, .n_args = n, .session = is_remote ? A : 0, .mark = &mark
	};

	return call(b, is_remote ? b->server : b->client, method, &c);
}

static int64_t replied(void)
{
	int64_t i = -1;

	cr_expect_eq(mps_unpack(reply.p, reply.len, "i", &i), 0);
	return i;
}

#define BYTES(s) s, sizeof(s) - 1

/* ---------------------------------------------------------------------------------------------- locks */

Test(manager_shared, a_lock_is_one_for_local_and_remote_holders)
{
	struct both b = make("lock", NULL, 0);

	cr_expect_eq(local(&b, "acquire", 0), 0);
	cr_expect_eq(remote(&b, A, 1, "release"), -EPERM);
	cr_expect_eq(local(&b, "release", 0), 0);
	cr_expect_eq(remote(&b, A, 1, "acquire"), 0);
	cr_expect_eq(remote(&b, A, 1, "acquire"), -EDEADLK);
	cr_expect_eq(remote(&b, A, 2, "acquire"), -EAGAIN);
	cr_expect_eq(remote(&b, B, 1, "acquire"), -EAGAIN);
	cr_expect_eq(remote(&b, B, 1, "release"), -EPERM);
	cr_expect_eq(remote(&b, A, 2, "release"), -EPERM);
	cr_expect_eq(remote(&b, A, 1, "release"), 0);
	cr_expect_eq(remote(&b, B, 1, "acquire"), 0);
	end(&b);
}

Test(manager_shared, the_end_of_a_session_is_told_to_the_next_holder)
{
	struct both b = make("lock", NULL, 0);

	cr_expect_eq(remote(&b, A, 1, "acquire"), 0);
	b.type->leave(b.server, B);
	cr_expect_eq(remote(&b, B, 1, "acquire"), -EAGAIN);
	b.type->leave(b.server, A);
	cr_expect_eq(local(&b, "acquire", 0), EOWNERDEAD);
	cr_expect_eq(local(&b, "release", 0), 0);
	cr_expect_eq(remote(&b, B, 1, "acquire"), 0);
	end(&b);
}

Test(manager_shared, an_rlock_is_released_as_often_as_it_was_acquired)
{
	struct both b = make("rlock", NULL, 0);

	cr_expect_eq(remote(&b, A, 1, "acquire"), 0);
	cr_expect_eq(remote(&b, A, 1, "acquire"), 0);
	cr_expect_eq(remote(&b, A, 1, "release"), 0);
	cr_expect_eq(remote(&b, B, 1, "acquire"), -EAGAIN);
	cr_expect_eq(remote(&b, A, 1, "release"), 0);
	cr_expect_eq(remote(&b, A, 1, "release"), -EPERM);
	cr_expect_eq(remote(&b, B, 1, "acquire"), 0);
	end(&b);
}

static struct both shared_one;

static int hold_and_die(void *p)
{
	(void)p;
	return local(&shared_one, "acquire", 0) != 0;
}

Test(manager_shared, a_dead_client_holds_no_lock_and_no_unit)
{
	shared_one = make("lock", NULL, 0);
	cr_expect_eq(scene_end(scene_child(hold_and_die, NULL)), 0);
	cr_expect_eq(remote(&shared_one, A, 1, "acquire"), EOWNERDEAD);
	end(&shared_one);
	shared_one = make("semaphore", BYTES("\x91\x01"));
	cr_expect_eq(scene_end(scene_child(hold_and_die, NULL)), 0);
	cr_expect_eq(remote(&shared_one, A, 1, "acquire"), 0);
	end(&shared_one);
}

/* ---------------------------------------------------------------------------------------------- semaphores */

Test(manager_shared, units_are_their_holders)
{
	struct both b = make("bounded_semaphore", BYTES("\x91\x02"));

	cr_expect_eq(remote(&b, A, 1, "release"), -EOVERFLOW);
	cr_expect_eq(remote(&b, A, 1, "acquire"), 0);
	cr_expect_eq(remote(&b, B, 1, "release"), -EPERM);
	cr_expect_eq(local(&b, "release", 0), -EPERM);
	cr_expect_eq(remote(&b, A, 1, "acquire"), 0);
	cr_expect_eq(remote(&b, B, 1, "acquire"), -EAGAIN);
	cr_expect_eq(local(&b, "acquire", MPS_MILLISECOND), -ETIMEDOUT);
	cr_expect_eq(local(&b, "value", 0), 0);
	cr_expect_eq(replied(), 0);
	b.type->leave(b.server, A);
	cr_expect_eq(local(&b, "value", 0), 0);
	cr_expect_eq(replied(), 2);
	end(&b);
}

Test(manager_shared, units_of_nobody_are_released_by_anybody)
{
	struct both b = make("semaphore", BYTES("\x92\x00\x02"));

	cr_expect_eq(remote(&b, A, 1, "acquire"), -EAGAIN);
	cr_expect_eq(local(&b, "release", 0), 0);
	cr_expect_eq(remote(&b, A, 1, "acquire"), 0);
	cr_expect_eq(remote(&b, B, 1, "release"), 0);
	cr_expect_eq(local(&b, "acquire", 0), 0);
	end(&b);
}

/* ---------------------------------------------------------------------------------------------- waits */

/* One asking of a request that may be parked. */
static int ask(const struct both *b, uint64_t session, const char *method, uint64_t *mark,
	       bool is_last)
{
	struct mps_call c = { .session = session, .thread = 1, .mark = mark, .is_last = is_last };

	return call(b, b->server, method, &c);
}

Test(manager_shared, a_condition_wakes_remote_waiters)
{
	struct both b = make("condition", NULL, 0);
	uint64_t mark = 0;

	cr_expect_eq(ask(&b, A, "wait", &mark, false), -EPERM);
	cr_expect_eq(remote(&b, A, 1, "acquire"), 0);
	cr_expect_eq(remote(&b, A, 1, "acquire"), 0);
	cr_expect_eq(ask(&b, A, "wait", &mark, false), -EAGAIN);
	cr_expect_eq(ask(&b, A, "wait", &mark, false), -EAGAIN);
	cr_expect_eq(local(&b, "acquire", 0), 0);
	cr_expect_eq(local(&b, "notify", 0), 0);
	cr_expect_eq(ask(&b, A, "wait", &mark, false), -EAGAIN);
	cr_expect_eq(local(&b, "release", 0), 0);
	cr_expect_eq(ask(&b, A, "wait", &mark, false), 0);
	/* As often as before. */
	cr_expect_eq(remote(&b, A, 1, "release"), 0);
	cr_expect_eq(local(&b, "acquire", 0), -ETIMEDOUT);
	cr_expect_eq(remote(&b, A, 1, "release"), 0);
	cr_expect_eq(local(&b, "acquire", 0), 0);
	end(&b);
}

Test(manager_shared, a_wait_whose_time_is_over_has_the_lock_again)
{
	struct both b = make("condition", NULL, 0);
	uint64_t mark = 0, other = 0;

	cr_expect_eq(remote(&b, A, 1, "acquire"), 0);
	cr_expect_eq(ask(&b, A, "wait", &mark, false), -EAGAIN);
	cr_expect_eq(remote(&b, B, 1, "acquire"), 0);
	cr_expect_eq(ask(&b, B, "wait", &other, false), -EAGAIN);
	cr_expect_eq(ask(&b, A, "wait", &mark, true), -ETIMEDOUT);
	cr_expect_eq(ask(&b, B, "wait", &other, true), -ENOLCK);
	cr_expect_eq(remote(&b, A, 1, "release"), 0);
	end(&b);
}

static int wait_in_child(void *p)
{
	(void)p;
	if (local(&shared_one, "acquire", LONG) != 0)
		return 1;
	return local(&shared_one, "wait", LONG) != 0;
}

Test(manager_shared, a_remote_notification_wakes_a_local_waiter)
{
	pid_t child;

	shared_one = make("condition", NULL, 0);
	child = scene_child(wait_in_child, NULL);
	scene_asleep(child);
	cr_expect_eq(remote(&shared_one, A, 1, "acquire"), 0);
	cr_expect_eq(remote(&shared_one, A, 1, "notify_all"), 0);
	cr_expect_eq(remote(&shared_one, A, 1, "release"), 0);
	cr_expect_eq(scene_end(child), 0);
	end(&shared_one);
}

Test(manager_shared, an_event_that_was_set_and_cleared_is_not_missed)
{
	struct both b = make("event", NULL, 0);
	uint64_t mark = 0, late = 0;

	cr_expect_eq(ask(&b, A, "wait", &mark, false), -EAGAIN);
	cr_expect_eq(local(&b, "set", 0), 0);
	cr_expect_eq(local(&b, "clear", 0), 0);
	cr_expect_eq(ask(&b, A, "wait", &late, false), -EAGAIN);
	cr_expect_eq(ask(&b, A, "wait", &mark, false), 0);
	cr_expect_eq(ask(&b, A, "wait", &late, false), -EAGAIN);
	cr_expect_eq(ask(&b, A, "wait", &late, true), -EAGAIN);
	end(&b);
}

static int party(void *p)
{
	(void)p;
	return local(&shared_one, "wait", LONG);
}

Test(manager_shared, a_barrier_of_local_and_remote_parties)
{
	uint64_t first = 0, second = 0;
	pid_t child;

	shared_one = make("barrier", BYTES("\x91\x03"));
	for (int round = 0; round < 3; round++) {
		first = second = 0;
		cr_expect_eq(ask(&shared_one, A, "wait", &first, false), -EAGAIN);
		cr_expect_eq(ask(&shared_one, B, "wait", &second, false), -EAGAIN);
		child = scene_child(party, NULL);
		cr_expect_eq(scene_end(child), 0);
		cr_expect_eq(ask(&shared_one, A, "wait", &first, false), 2);
		cr_expect_eq(ask(&shared_one, B, "wait", &second, false), 1);
	}
	end(&shared_one);
}

Test(manager_shared, a_barrier_is_broken_by_who_gives_up)
{
	struct both b = make("barrier", BYTES("\x91\x03"));
	uint64_t first = 0, second = 0, third = 0;

	cr_expect_eq(ask(&b, A, "wait", &first, false), -EAGAIN);
	cr_expect_eq(ask(&b, B, "wait", &second, false), -EAGAIN);
	cr_expect_eq(ask(&b, A, "wait", &first, true), -ETIMEDOUT);
	cr_expect_eq(ask(&b, B, "wait", &second, false), -EPIPE);
	cr_expect_eq(ask(&b, B, "wait", &third, false), -EPIPE);
	cr_expect_eq(local(&b, "reset", 0), 0);
	cr_expect_eq(local(&b, "waiting", 0), 0);
	cr_expect_eq(replied(), 0);
	end(&b);
}

Test(manager_shared, a_barrier_that_is_aborted_is_broken_for_all)
{
	struct both b = make("barrier", BYTES("\x91\x03"));
	uint64_t mark = 0;

	cr_expect_eq(ask(&b, A, "wait", &mark, false), -EAGAIN);
	cr_expect_eq(remote(&b, B, 1, "broken"), 0);
	cr_expect_eq(memcmp(reply.p, "\xc2", 1), 0);
	cr_expect_eq(remote(&b, B, 1, "abort"), 0);
	cr_expect_eq(ask(&b, A, "wait", &mark, false), -EPIPE);
	cr_expect_eq(local(&b, "broken", 0), 0);
	cr_expect_eq(memcmp(reply.p, "\xc3", 1), 0);
	end(&b);
}

/* ---------------------------------------------------------------------------------------------- queues, numbers */

Test(manager_shared, a_queue_has_values_of_both_sides)
{
	struct both b = make("joinable_queue", BYTES("\x91\x02"));

	cr_expect_eq(remote(&b, A, 1, "get"), -EAGAIN);
	cr_expect_eq(with(&b, false, "put", BYTES("\x91\xa1x")), 0);
	cr_expect_eq(with(&b, true, "put", BYTES("\x91\x93\x01\x02\xc0")), 0);
	cr_expect_eq(with(&b, true, "put", BYTES("\x91\x05")), -EAGAIN);
	cr_expect_eq(with(&b, true, "put", BYTES("\x05")), -EINVAL);
	cr_expect_eq(remote(&b, A, 1, "get"), 0);
	cr_expect(reply.len == 2 && memcmp(reply.p, "\xa1x", 2) == 0);
	cr_expect_eq(local(&b, "get", 0), 0);
	cr_expect(reply.len == 4 && memcmp(reply.p, "\x93\x01\x02\xc0", 4) == 0);
	cr_expect_eq(remote(&b, A, 1, "join"), -EAGAIN);
	cr_expect_eq(with(&b, true, "put_back", BYTES("\x91\x05")), 0);
	cr_expect_eq(remote(&b, A, 1, "task_done"), 0);
	cr_expect_eq(remote(&b, A, 1, "join"), -EAGAIN);
	cr_expect_eq(local(&b, "task_done", 0), 0);
	cr_expect_eq(remote(&b, A, 1, "join"), 0);
	cr_expect_eq(local(&b, "close", 0), 0);
	cr_expect_eq(remote(&b, A, 1, "get"), 0);
	cr_expect_eq(remote(&b, A, 1, "get"), -EPIPE);
	end(&b);
}

Test(manager_shared, a_long_item_goes_through)
{
	struct both b = make("queue", NULL, 0);
	static char text[600000];
	void *p;
	size_t n;

	memset(text, 'x', sizeof(text) - 1);
	cr_assert_eq(mps_pack(&p, &n, "[s]", text), 0);
	cr_expect_eq(with(&b, true, "put", p, n), 0);
	cr_expect_eq(remote(&b, A, 1, "get"), 0);
	cr_expect(reply.len == n - 1 && memcmp(reply.p, (char *)p + 1, n - 1) == 0);
	free(p);
	end(&b);
}

Test(manager_shared, numbers)
{
	struct both b = make("counter", NULL, 0);

	cr_expect_eq(with(&b, true, "add", BYTES("\x91\x05")), 0);
	cr_expect_eq(with(&b, false, "add", NULL, 0), 0);
	cr_expect_eq(replied(), 6);
	cr_expect_eq(with(&b, true, "exchange", BYTES("\x91\xff")), 0);
	cr_expect_eq(replied(), 6);
	cr_expect_eq(local(&b, "get", 0), 0);
	cr_expect_eq(replied(), -1);
	end(&b);
	b = make("array", BYTES("\x92\xa1h\x93\x01\x02\x03"));
	cr_expect_eq(with(&b, true, "get", BYTES("\x91\x02")), 0);
	cr_expect_eq(replied(), 3);
	cr_expect_eq(with(&b, true, "get", BYTES("\x91\x03")), -ERANGE);
	cr_expect_eq(with(&b, true, "exchange", BYTES("\x92\x02\x07")), 0);
	cr_expect_eq(replied(), 3);
	cr_expect_eq(with(&b, false, "exchange", BYTES("\x92\x02\x03")), 0);
	cr_expect_eq(replied(), 7);
	cr_expect_eq(with(&b, false, "exchange", BYTES("\x92\x02\xa1x")), -EINVAL);
	cr_expect_eq(with(&b, true, "code", NULL, 0), 0);
	cr_expect(reply.len == 2 && memcmp(reply.p, "\xa1h", 2) == 0);
	cr_expect_eq(with(&b, true, "get", BYTES("\x91\xff")), -ERANGE);
	cr_expect_eq(with(&b, false, "set", BYTES("\x92\x00\xcd\xff\xff")), -ERANGE);
	cr_expect_eq(with(&b, false, "set", BYTES("\x92\x00\xcd\x7f\xff")), 0);
	cr_expect_eq(with(&b, true, "read", BYTES("\x92\x00\x03")), 0);
	cr_expect(reply.len == 6 && memcmp(reply.p, "\x93\xcd\x7f\xff\x02\x03", 6) == 0);
	cr_expect_eq(with(&b, true, "write", BYTES("\x92\x01\x92\x08\x09")), 0);
	cr_expect_eq(with(&b, true, "write", BYTES("\x92\x02\x92\x08\x09")), -ERANGE);
	cr_expect_eq(with(&b, false, "get", BYTES("\x91\x02")), 0);
	cr_expect_eq(replied(), 9);
	end(&b);
	b = make("value", BYTES("\x92\xa1\x64\x03"));
	cr_expect_eq(with(&b, true, "get", NULL, 0), 0);
	cr_expect(reply.len == 9 && memcmp(reply.p, "\xcb\x40\x08\0\0\0\0\0\0", 9) == 0);
	cr_expect_eq(with(&b, true, "add", BYTES("\x91\x01")), -EINVAL);
	end(&b);
}

/* ---------------------------------------------------------------------------------------------- damage */

Test(manager_shared, damaged_memory_is_an_error)
{
	static const struct {
		const char *type, *args, *method;
		size_t n;
	} rows[] = {
		{ "lock", NULL, "acquire", 0 },
		{ "rlock", NULL, "acquire", 0 },
		{ "condition", NULL, "acquire", 0 },
		{ "semaphore", "\x91\x01", "acquire", 2 },
		{ "bounded_semaphore", "\x91\x01", "acquire", 2 },
		{ "barrier", "\x91\x02", "wait", 2 },
		{ "event", NULL, "set", 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct both b = make(rows[i].type, rows[i].args, rows[i].n);
		struct shared *s = b.client;
		int r;

		memset((char *)s->head + sizeof(*s->head), 0x5a, s->row->size - sizeof(*s->head));
		r = remote(&b, A, 1, rows[i].method);
		cr_expect(r == -EBADMSG || r == -EINVAL, "%s: %d", rows[i].type, r);
		end(&b);
	}
}

Test(manager_shared, what_is_no_object_is_not_opened)
{
	struct both b = make("event", NULL, 0);
	struct mps_shm *shm;
	void *self;
	int fd, r;

	cr_assert_eq(mps_shm_create(NULL, 4096, &shm), 0);
	fd = mps_shm_fileno(shm);
	for (size_t i = 0; shared_types[i] != NULL; i++) {
		int fds[2] = { fd, fd };
		size_t n = shared_row(shared_types[i])->open != NULL ? 2 : 1;

		r = shared_types[i]->open(fds, n, &self);
		cr_expect_eq(r, -EBADMSG, "%s", shared_types[i]->type.name);
		cr_expect_eq(shared_types[i]->open(fds, 3 - n, &self), -EBADMSG);
	}
	mps_shm_close(shm);
	end(&b);
}
