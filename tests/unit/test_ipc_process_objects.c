/*
 * Processes and the other objects: what a child makes of those that it was given, whatever it was started by.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../find_host.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "ipc/args.h"
#include "ipc/tracker.h"
#include "mpsup.h"

static const enum mps_start_method methods[] = { MPS_START_SPAWN, MPS_START_FORK,
						 MPS_START_FORKSERVER };

/* --------------------------------------------------------------------------------------------------- targets */

static int die_holding_the_lock(struct mps_args *args)
{
	struct mps_lock *lock = mps_shm_data(mps_args_shm(args, 0));

	if (mps_lock_acquire(lock, 20 * MPS_SECOND) == 0)
		kill(getpid(), SIGKILL);
	return 1;
}
MPS_TARGET(die_holding_the_lock);

static int receive_all(struct mps_args *args)
{
	struct mps_connection *c = mps_args_connection(args, 1);
	const void *p;
	size_t n;

	if (mps_recv(c, &p, &n, 20 * MPS_SECOND) < 0 || n != 3 || memcmp(p, "two", 3) != 0)
		return 1;
	if (mps_recv(c, &p, &n, 20 * MPS_SECOND) < 0 || n != 5 || memcmp(p, "three", 5) != 0)
		return 2;
	return mps_recv(c, &p, &n, 0) == -ETIMEDOUT ? 0 : 3;
}
MPS_TARGET(receive_all);

static unsigned char nth_byte(size_t i)
{
	return (unsigned char)(i * 7 + (i >> 8));
}

static int check_bytes(struct mps_args *args)
{
	size_t n, wanted = (size_t)mps_args_int(args, 1);
	const unsigned char *p = mps_args_bytes(args, 0, &n);
	char c;

	if (n != wanted || (uintptr_t)p % 16 != 0)
		return 1;
	for (size_t i = 0; i < n; i++)
		if (p[i] != nth_byte(i))
			return 2;
	return read(mps_args_fd(args, 2), &c, 1) == 1 && c == 'x' ? 0 : 3;
}
MPS_TARGET(check_bytes);

static int read_to_end(struct mps_args *args)
{
	char c;

	return read(mps_args_fd(args, 0), &c, 1) == 0 ? 0 : 1;
}
MPS_TARGET(read_to_end);

/* Which tracker it was told of; that one takes its word, so it has started none of its own. */
static int register_there(struct mps_args *args)
{
	const char *set = getenv("MPSUP_TRACKER");

	dprintf(mps_args_fd(args, 0), "%s", set != NULL ? set : "none");
	return mps_track_register("shared_memory", mps_args_text(args, 1)) == 0 &&
			       tracker_socket() == NULL
		       ? 0
		       : 1;
}
MPS_TARGET(register_there);

/* One of everything that lies in shared memory, and what has a handle of its own. */
struct lying {
	struct mps_lock lock;
	struct mps_rlock rlock;
	struct mps_semaphore semaphore;
	struct mps_condition condition;
	struct mps_event event;
	struct mps_barrier barrier;
};

enum end { END_RETURN, END_EXIT, END_AT_ONCE, END_ABORT, END_KILL, N_ENDS };

static int end_by(enum end end)
{
	static const struct rlimit no_core = { 0, 0 };

	setrlimit(RLIMIT_CORE, &no_core);
	switch (end) {
	case END_RETURN:
		break;
	case END_EXIT:
		exit(0);
	case END_AT_ONCE:
		_exit(0);
	case END_ABORT:
		abort();
	case END_KILL:
	case N_ENDS:
		raise(SIGKILL);
	}
	return 0;
}

/* Ends with all of them in its hands. */
static int hold_all_and_end(struct mps_args *args)
{
	struct lying *l = mps_shm_data(mps_args_shm(args, 0));
	struct mps_queue *queue = mps_args_queue(args, 1);
	static struct mps_array *array; /* no leaks */
	static struct mps_arena *arena;
	uint64_t at;

	if (mps_lock_acquire(&l->lock, 0) != 0 || mps_rlock_acquire(&l->rlock, 0) != 0 ||
	    mps_rlock_acquire(&l->rlock, 0) != 0 || mps_semaphore_acquire(&l->semaphore, 0) != 0 ||
	    mps_semaphore_acquire(&l->semaphore, 0) != 0 || mps_event_set(&l->event) != 0 ||
	    mps_condition_notify(&l->condition, 1) != 0 ||
	    mps_queue_put(queue, "item", 4, 0) != 0 ||
	    mps_send(mps_args_connection(args, 2), "message", 7, 0) != 0 ||
	    mps_array_open(mps_args_shm(args, 3), &array) != 0 ||
	    mps_rlock_acquire(mps_array_lock(array), 0) != 0 ||
	    mps_array_set_int(array, 1, 7) != 0 ||
	    mps_arena_open(mps_args_shm(args, 4), &arena) != 0 ||
	    mps_arena_alloc(arena, 100, &at) != 0 || mps_barrier_wait(&l->barrier, 0) != -ETIMEDOUT)
		_exit(9);
	return end_by((enum end)mps_args_int(args, 5));
}
MPS_TARGET(hold_all_and_end);

/* ---------------------------------------------------------------------------------------------------- helpers */

static void set_up(void)
{
	setenv("MPSUP_TRACKER", "", 1);
	alarm(100); /* see test_ipc_process.c */
}
TestSuite(ipc_process_objects, .init = set_up);

static struct mps_process *start(mps_target *target, enum mps_start_method method,
				 struct mps_args *args)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	struct mps_process *p = NULL;
	int r;

	o.target = target;
	o.method = method;
	o.args = args;
	o.force = true; /* Criterion has a thread */
	r = mps_process_start(&o, &p);
	cr_assert_eq(r, 0, "%d: %s", r, mps_process_failure());
	return p;
}

static int code_at_end_of(struct mps_process *p)
{
	int code = -1000;

	cr_assert_eq(mps_process_join(p, 20 * MPS_SECOND), 0);
	cr_assert_eq(mps_process_exitcode(p, &code), 0);
	cr_assert_eq(mps_process_free(p), 0);
	return code;
}

/* ------------------------------------------------------------------------------------------------------ tests */

Test(ipc_process_objects, the_death_of_a_holder_is_told_whatever_it_was_started_by)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct mps_args *args;
		struct mps_lock *lock;
		struct mps_shm *shm;

		cr_assert_eq(mps_shm_create(NULL, 4096, &shm), 0);
		lock = mps_shm_data(shm);
		cr_assert_eq(mps_lock_init(lock), 0);
		cr_assert_eq(mps_args_new(&args), 0);
		cr_assert_eq(mps_args_add_shm(args, shm), 0);
		cr_expect_eq(code_at_end_of(start(die_holding_the_lock, methods[i], args)),
			     -SIGKILL);
		cr_expect_eq(mps_lock_acquire(lock, MPS_SECOND), EOWNERDEAD, "method %d",
			     methods[i]);
		mps_args_free(args);
		mps_shm_close(shm);
	}
}

static void use_lying(struct lying *l)
{
	cr_expect_eq(mps_lock_acquire(&l->lock, 0), EOWNERDEAD);
	cr_expect_eq(mps_condition_wait(&l->condition, &l->lock, 0), -ETIMEDOUT);
	cr_expect_eq(mps_lock_release(&l->lock), 0);
	cr_expect_eq(mps_lock_acquire(&l->lock, 0), 0);
	cr_expect_eq(mps_lock_release(&l->lock), 0);
	cr_expect_eq(mps_rlock_acquire(&l->rlock, 0), EOWNERDEAD);
	cr_expect_eq(mps_rlock_release(&l->rlock), 0);
	cr_expect_eq(mps_rlock_release(&l->rlock), -EPERM, "held once");
	cr_expect_eq(mps_semaphore_value(&l->semaphore), 2);
	cr_expect_eq(mps_semaphore_acquire(&l->semaphore, 0), 0);
	cr_expect_eq(mps_semaphore_release(&l->semaphore, 1), 0);
	cr_expect(mps_event_is_set(&l->event));
	cr_expect_eq(mps_event_clear(&l->event), 0);
	cr_expect(mps_barrier_is_broken(&l->barrier), "its time was over");
	cr_expect_eq(mps_barrier_reset(&l->barrier), 0);
}

static void use_handles(struct mps_queue *queue, struct mps_connection *c, struct mps_array *array,
			struct mps_arena *arena)
{
	const void *p;
	char text[8];
	uint64_t at;
	int64_t v;
	size_t n;

	cr_expect(mps_queue_get(queue, text, sizeof(text), &n, 0) == 0 && n == 4);
	cr_expect_eq(mps_queue_get(queue, text, sizeof(text), &n, 0), -ETIMEDOUT);
	cr_expect(mps_recv(c, &p, &n, 0) == 0 && n == 7);
	cr_expect_eq(mps_recv(c, &p, &n, 0), -ETIMEDOUT);
	cr_expect_eq(mps_array_get_int(array, 1, &v), EOWNERDEAD);
	cr_expect_eq(v, 7);
	cr_expect_eq(mps_array_set_int(array, 1, 0), 0);
	cr_expect_eq(mps_arena_sweep(arena), 1);
	cr_expect_eq(mps_arena_alloc(arena, 4096, &at), 0);
	cr_expect_eq(mps_arena_free(arena, at), 0);
}

Test(ipc_process_objects, a_child_that_ends_in_any_way_leaves_all_of_them_usable)
{
	static const int codes[N_ENDS] = { [END_ABORT] = -SIGABRT, [END_KILL] = -SIGKILL };
	struct mps_connection *a, *b;
	struct mps_array *array;
	struct mps_arena *arena;
	struct mps_queue *queue;
	struct mps_shm *shm;
	struct lying *l;

	cr_assert_eq(mps_shm_create(NULL, sizeof(*l), &shm), 0);
	l = mps_shm_data(shm);
	cr_assert(mps_lock_init(&l->lock) == 0 && mps_rlock_init(&l->rlock) == 0 &&
		  mps_semaphore_init(&l->semaphore, 2, 0) == 0 &&
		  mps_condition_init(&l->condition) == 0 && mps_event_init(&l->event) == 0 &&
		  mps_barrier_init(&l->barrier, 2) == 0 && mps_queue_new(NULL, &queue) == 0 &&
		  mps_pipe(false, &a, &b) == 0 && mps_array_new('i', 2, 0, &array) == 0 &&
		  mps_arena_new(4096, &arena) == 0);
	for (int i = 0; i < N_ENDS * (int)ARRAY_SIZE(methods); i++) {
		struct mps_args *args;

		cr_assert(mps_args_new(&args) == 0 && mps_args_add_shm(args, shm) >= 0 &&
			  mps_args_add_queue(args, queue) >= 0 &&
			  mps_args_add_connection(args, b) >= 0 &&
			  mps_args_add_shm(args, mps_array_shm(array)) >= 0 &&
			  mps_args_add_shm(args, mps_arena_shm(arena)) >= 0 &&
			  mps_args_add_int(args, i % N_ENDS) >= 0);
		cr_expect_eq(code_at_end_of(start(hold_all_and_end, methods[i / N_ENDS], args)),
			     codes[i % N_ENDS], "%d", i);
		mps_args_free(args);
		use_lying(l);
		use_handles(queue, a, array, arena);
	}
	mps_arena_close(arena);
	mps_array_free(array);
	mps_queue_free(queue);
	mps_connection_close(a);
	mps_connection_close(b);
	mps_shm_close(shm);
}

Test(ipc_process_objects, arguments_of_any_length_come_as_they_are)
{
	static const size_t lengths[] = { 0, 1, 300, 900, 1000, 5000, 300000 };
	unsigned char *bytes = malloc(300000);

	for (size_t i = 0; i < 300000; i++)
		bytes[i] = nth_byte(i);
	for (size_t i = 0; i < ARRAY_SIZE(lengths) * ARRAY_SIZE(methods); i++) {
		size_t n = lengths[i / ARRAY_SIZE(methods)];
		enum mps_start_method method = methods[i % ARRAY_SIZE(methods)];
		struct mps_args *args;
		int ends[2];

		cr_assert(pipe(ends) == 0 && write(ends[1], "x", 1) == 1);
		cr_assert_eq(mps_args_new(&args), 0);
		cr_assert_eq(mps_args_add(args, bytes, n), 0);
		cr_assert_eq(mps_args_add_int(args, (int64_t)n), 1);
		cr_assert_eq(mps_args_add_fd(args, ends[0]), 2);
		cr_expect_eq(code_at_end_of(start(check_bytes, method, args)), 0,
			     "%zu by method %d", n, method);
		mps_args_free(args);
		close(ends[0]);
		close(ends[1]);
	}
	free(bytes);
}

Test(ipc_process_objects, a_note_is_the_same_as_text)
{
	unsigned char back[256];
	struct buf note = BUF_INIT, text = BUF_INIT;

	for (unsigned i = 0; i < sizeof(back); i++)
		buf_addc(&note, (char)i);
	note_to_text(&note, &text);
	cr_expect_eq(strlen(text.p), 512);
	cr_assert(note_from_text(text.p, back));
	cr_expect_eq(memcmp(back, note.p, sizeof(back)), 0);
	cr_expect(!note_from_text("abc", back), "half a byte");
	cr_expect(!note_from_text("aq", back));
	cr_expect(!note_from_text("Aa", back));
	buf_fini(&note);
	buf_fini(&text);
}

Test(ipc_process_objects, a_connection_takes_along_what_was_read_ahead)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct mps_connection *from, *to;
		struct mps_args *args;
		const void *p;
		size_t n;

		cr_assert_eq(mps_pipe(false, &from, &to), 0);
		cr_assert_eq(mps_send(to, "one", 3, 0), 0);
		cr_assert_eq(mps_send(to, "two", 3, 0), 0);
		cr_assert_eq(mps_recv(from, &p, &n, MPS_SECOND), 0);
		cr_assert_eq(mps_send(to, "three", 5, 0), 0);
		cr_assert_eq(mps_args_new(&args), 0);
		cr_assert_eq(mps_args_add_text(args, "before"), 0);
		cr_assert_eq(mps_args_add_connection(args, from), 1);
		cr_assert_eq(mps_args_add_text(args, "after"), 2);
		cr_expect_eq(code_at_end_of(start(receive_all, methods[i], args)), 0, "method %d",
			     methods[i]);
		mps_args_free(args);
		mps_connection_close(from);
		mps_connection_close(to);
	}
}

Test(ipc_process_objects, the_end_of_a_process_is_waited_for_among_others)
{
	struct mps_waitable list[2] = { { 0 } };
	struct mps_args *args;
	int ends[2], none[2];

	cr_assert(pipe(ends) == 0 && pipe(none) == 0);
	cr_assert_eq(mps_args_new(&args), 0);
	cr_assert_eq(mps_args_add_fd(args, ends[0]), 0);
	list[0].fd = none[0];
	list[1].process = start(read_to_end, MPS_START_SPAWN, args);
	mps_args_free(args);
	cr_expect_eq(mps_wait(list, 2, 50 * MPS_SECOND / 1000), 0);
	cr_expect(!list[1].ready);
	close(ends[1]);
	cr_expect_eq(mps_wait(list, 2, 20 * MPS_SECOND), 1);
	cr_expect(!list[0].ready && list[1].ready);
	cr_expect(!mps_process_is_alive(list[1].process));
	cr_expect_eq(mps_wait(list, 2, 0), 1, "it stays so");
	cr_expect_eq(code_at_end_of(list[1].process), 0);
}

Test(ipc_process_objects, one_tracker_serves_all_whom_a_process_starts)
{
	char name[64], got[300];

	find_host();
	unsetenv("MPSUP_TRACKER");
	snprintf(name, sizeof(name), "/t-ipc-process-objects-%d", getpid());
	cr_assert_eq(mps_track_register("shared_memory", name), 0);
	cr_assert_not_null(tracker_socket());
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct mps_args *args;
		ssize_t n;
		int ends[2];

		if (methods[i] == MPS_START_FORK) /* it has it in memory */
			continue;
		cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
		cr_assert_eq(mps_args_new(&args), 0);
		cr_assert_eq(mps_args_add_fd(args, ends[1]), 0);
		cr_assert_eq(mps_args_add_text(args, name), 1);
		cr_expect_eq(code_at_end_of(start(register_there, methods[i], args)), 0);
		mps_args_free(args);
		close(ends[1]);
		n = read(ends[0], got, sizeof(got) - 1);
		cr_assert_geq(n, 0);
		got[n] = '\0';
		cr_expect_str_eq(got, tracker_socket());
		close(ends[0]);
	}
	mps_track_unregister("shared_memory", name);
}

static void environ_is(char **env, const char *first, const char *tracker)
{
	char **list = tracker_environ(env), want[300];

	snprintf(want, sizeof(want), "MPSUP_TRACKER=%s", tracker);
	cr_assert_not_null(list);
	cr_expect_str_eq(list[0], first);
	cr_expect_str_eq(list[1], want);
	cr_expect_null(list[2]);
	free(list);
}

Test(ipc_process_objects, who_was_given_another_tracker_keeps_it)
{
	char name[64];

	find_host();
	cr_expect_null(tracker_environ((char *[]){ (char *)"A=1", NULL }), "there is none");
	unsetenv("MPSUP_TRACKER");
	snprintf(name, sizeof(name), "/t-ipc-process-objects-%d", getpid());
	cr_assert_eq(mps_track_register("shared_memory", name), 0);
	mps_track_unregister("shared_memory", name);
	setenv("MPSUP_TRACKER", "gone", 1);
	environ_is((char *[]){ (char *)"A=1", NULL }, "A=1", tracker_socket());
	environ_is((char *[]){ (char *)"MPSUP_TRACKER=gone", (char *)"A=1", NULL }, "A=1",
		   tracker_socket());
	cr_expect_null(tracker_environ((char *[]){ (char *)"MPSUP_TRACKER=", NULL }));
}

/* Last in the file, so that all targets are registered before. */
__attribute__((constructor)) static void be_what_is_asked_for(int argc, char **argv)
{
	mps_init(&argc, &argv);
}
