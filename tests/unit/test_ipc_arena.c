/*
 * The arena: blocks that do not overlap, whose they are, what becomes of those of the dead, and segments that are damaged.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "mpsup.h"

static void set_up(void)
{
	alarm(60);
}

TestSuite(ipc_arena, .init = set_up);

static void expect_usage(struct mps_arena *a, size_t used, size_t room)
{
	size_t u = 1, f = 1;

	cr_expect_eq(mps_arena_usage(a, &u, &f), 0);
	cr_expect_eq(u, used, "%zu bytes used, not %zu", u, used);
	cr_expect_eq(f, room, "%zu bytes free, not %zu", f, room);
}

Test(ipc_arena, blocks_are_what_was_asked_for)
{
	static const size_t sizes[] = { 0, 1, 16, 63, 64, 65, 100, 1000, 4096, 5000, 100000 };
	struct mps_arena *a;
	uint64_t at[ARRAY_SIZE(sizes)];
	size_t room;

	cr_assert_eq(mps_arena_new(1 << 20, &a), 0);
	expect_usage(a, 0, 1 << 20);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		cr_assert_eq(mps_arena_alloc(a, sizes[i], &at[i]), 0);
		cr_expect_neq(at[i], 0);
		cr_expect_eq((uintptr_t)mps_arena_at(a, at[i]) % 16, 0);
		cr_expect_eq(mps_arena_offset(a, mps_arena_at(a, at[i])), at[i]);
		memset(mps_arena_at(a, at[i]), (int)i + 1, sizes[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (size_t j = 0; j < sizes[i]; j++)
			cr_assert_eq(((char *)mps_arena_at(a, at[i]))[j], (int)i + 1);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		cr_expect_eq(mps_arena_free(a, at[i]), 0);
	expect_usage(a, 0, 1 << 20);
	cr_expect_eq(mps_arena_alloc(a, 1 << 20, &at[0]), 0, "free halves are put together");
	cr_expect_eq(mps_arena_alloc(a, 1, &at[1]), -ENOMEM);
	cr_expect_eq(mps_arena_free(a, at[0]), 0);
	cr_expect_eq(mps_arena_usage(a, &room, &room), 0);
	mps_arena_close(a);
	mps_arena_close(NULL);
}

Test(ipc_arena, any_size_of_arena)
{
	struct mps_arena *a;
	uint64_t at;
	int n;

	cr_expect_eq(mps_arena_new(0, &a), -EINVAL);
	cr_expect_eq(mps_arena_new(SIZE_MAX, &a), -ENOSPC);
	for (size_t units = 1; units < 40; units++) {
		cr_assert_eq(mps_arena_new(units * 64 - 1, &a), 0);
		expect_usage(a, 0, units * 64);
		for (n = 0; mps_arena_alloc(a, 1, &at) == 0; n++)
			memset(mps_arena_at(a, at), 1, 64);
		cr_expect_eq(n, (int)units);
		expect_usage(a, units * 64, 0);
		mps_arena_close(a);
	}
}

Test(ipc_arena, only_blocks_are_freed)
{
	struct mps_arena *a;
	uint64_t at, other;
	char mine;

	cr_assert_eq(mps_arena_new(1 << 16, &a), 0);
	cr_assert_eq(mps_arena_alloc(a, 1000, &at), 0);
	cr_assert_eq(mps_arena_alloc(a, 64, &other), 0);
	cr_expect_eq(mps_arena_free(a, 0), -EINVAL);
	cr_expect_eq(mps_arena_free(a, at + 1), -EINVAL);
	cr_expect_eq(mps_arena_free(a, at + 64), -EINVAL, "within a block");
	cr_expect_eq(mps_arena_free(a, UINT64_MAX), -EINVAL);
	cr_expect_eq(mps_arena_keep(a, at + 64), -EINVAL);
	cr_expect_eq(mps_arena_free(a, at), 0);
	cr_expect_eq(mps_arena_free(a, at), -EINVAL, "twice");
	cr_expect_eq(mps_arena_keep(a, at), -EINVAL);
	cr_expect_null(mps_arena_at(a, 0));
	cr_expect_null(mps_arena_at(a, UINT64_MAX));
	cr_expect_eq(mps_arena_offset(a, &mine), 0);
	cr_expect_eq(mps_arena_offset(a, NULL), 0);
	mps_arena_close(a);
}

/* --------------------------------------------------------------------------------------------------- processes */

static pid_t start(void (*fn)(struct mps_arena *a), struct mps_arena *a)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn(a);
		_exit(0);
	}
	return pid;
}

static void take_some(struct mps_arena *a)
{
	uint64_t at, kept;

	for (int i = 0; i < 10; i++)
		if (mps_arena_alloc(a, 100, &at) != 0)
			_exit(1);
	if (mps_arena_alloc(a, 100, &kept) != 0 || mps_arena_keep(a, kept) != 0)
		_exit(1);
	raise(SIGKILL);
}

Test(ipc_arena, what_the_dead_have_left_is_free_again_but_what_was_kept)
{
	struct mps_arena *a;
	uint64_t mine;
	int status;

	cr_assert_eq(mps_arena_new(1 << 16, &a), 0);
	cr_assert_eq(mps_arena_alloc(a, 64, &mine), 0);
	waitpid(start(take_some, a), &status, 0);
	cr_expect(WIFSIGNALED(status));
	expect_usage(a, 64 + 11 * 128, (1 << 16) - 64 - 11 * 128);
	cr_expect_eq(mps_arena_sweep(a), 10);
	expect_usage(a, 64 + 128, (1 << 16) - 64 - 128);
	cr_expect_eq(mps_arena_sweep(a), 0, "neither the living's");
	cr_expect_eq(mps_arena_free(a, mine), 0);
	mps_arena_close(a);
}

static void take_all(struct mps_arena *a)
{
	uint64_t at;

	while (mps_arena_alloc(a, 64, &at) == 0)
		;
	raise(SIGKILL);
}

Test(ipc_arena, the_dead_do_not_fill_it)
{
	struct mps_arena *a;
	uint64_t at;

	cr_assert_eq(mps_arena_new(1 << 16, &a), 0);
	for (int i = 0; i < 5; i++) {
		waitpid(start(take_all, a), NULL, 0);
		cr_expect_eq(mps_arena_alloc(a, 1 << 15, &at), 0);
		cr_expect_eq(mps_arena_free(a, at), 0);
	}
	mps_arena_close(a);
}

static void grandchild_has(struct mps_arena *a)
{
	uint64_t at;
	pid_t pid = fork();

	if (pid == 0) /* who was forked is another: it owns what it takes */
		_exit(mps_arena_alloc(a, 64, &at) != 0);
	waitpid(pid, NULL, 0);
	_exit(mps_arena_sweep(a) != 1);
}

Test(ipc_arena, a_forked_process_is_an_owner_of_its_own)
{
	struct mps_arena *a;
	uint64_t mine;
	int status;

	cr_assert_eq(mps_arena_new(1 << 16, &a), 0);
	cr_assert_eq(mps_arena_alloc(a, 64, &mine), 0);
	waitpid(start(grandchild_has, a), &status, 0);
	cr_expect_eq(status, 0);
	mps_arena_close(a);
}

static void *outlive(void *user)
{
	pause();
	return user;
}

static void end_first_thread(struct mps_arena *a)
{
	pthread_t thread;
	uint64_t at;

	if (mps_arena_alloc(a, 64, &at) != 0 || pthread_create(&thread, NULL, outlive, NULL) != 0)
		_exit(1);
	pthread_exit(NULL);
}

Test(ipc_arena, a_process_lives_as_long_as_any_thread)
{
	struct mps_arena *a;
	size_t used = 0, room;
	pid_t pid;

	cr_assert_eq(mps_arena_new(1 << 16, &a), 0);
	pid = start(end_first_thread, a);
	while (used == 0)
		mps_arena_usage(a, &used, &room);
	for (char state = 0; state != 'Z';) {
		char path[64], line[256] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
		f = fopen(path, "r");
		cr_assert(f != NULL && fgets(line, sizeof(line), f) != NULL);
		fclose(f);
		state = strrchr(line, ')')[2];
	}
	cr_expect_eq(mps_arena_sweep(a), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_expect_eq(mps_arena_sweep(a), 1);
	mps_arena_close(a);
}

Test(ipc_arena, by_its_segment)
{
	struct mps_arena *a, *b;
	struct mps_shm *shm;
	uint64_t at;

	cr_assert_eq(mps_arena_new(1 << 16, &a), 0);
	cr_assert_eq(mps_shm_from_fd(dup(mps_shm_fileno(mps_arena_shm(a))), &shm), 0);
	cr_assert_eq(mps_arena_open(shm, &b), 0);
	cr_assert_eq(mps_arena_alloc(a, 10, &at), 0);
	strcpy(mps_arena_at(a, at), "hello");
	cr_expect_str_eq(mps_arena_at(b, at), "hello");
	cr_expect_neq(mps_arena_at(a, at), mps_arena_at(b, at), "it lies elsewhere");
	cr_expect_eq(mps_arena_free(b, at), 0);
	mps_arena_close(b);
	mps_shm_close(shm);
	mps_arena_close(a);
}

Test(ipc_arena, by_its_name)
{
	struct mps_arena *a, *b;
	struct mps_shm *shm;
	char name[64];
	uint64_t at;

	setenv("MPSUP_TRACKER", "", 1);
	snprintf(name, sizeof(name), "/t-ipc-arena-%d", getpid());
	cr_expect_eq(mps_arena_create("", 1 << 16, &a), -EINVAL);
	cr_assert_eq(mps_arena_create(name, 1 << 16, &a), 0);
	cr_expect_eq(mps_arena_create(name, 1 << 16, &b), -EEXIST);
	cr_assert_eq(mps_shm_open(name, true, &shm), 0);
	cr_assert_eq(mps_arena_open(shm, &b), 0);
	cr_expect_eq(mps_shm_unlink(name), 0);
	cr_assert_eq(mps_arena_alloc(a, 10, &at), 0);
	strcpy(mps_arena_at(a, at), "hello");
	cr_expect_str_eq(mps_arena_at(b, at), "hello");
	mps_arena_close(b);
	mps_shm_close(shm);
	mps_arena_close(a);
}

/* ----------------------------------------------------------------------------------------------------- threads */

static void *churn(void *user)
{
	struct mps_arena *a = user;
	uint64_t at[16] = { 0 };
	unsigned seed = (unsigned)(uintptr_t)&at;
	intptr_t bad = 0;

	for (int i = 0; i < 20000; i++) {
		size_t k = (size_t)rand_r(&seed) % ARRAY_SIZE(at);

		if (at[k] != 0) {
			bad += *(uint64_t *)mps_arena_at(a, at[k]) != (uintptr_t)&at[k];
			bad += mps_arena_free(a, at[k]) != 0;
			at[k] = 0;
		} else if (mps_arena_alloc(a, (size_t)rand_r(&seed) % 3000, &at[k]) == 0) {
			*(uint64_t *)mps_arena_at(a, at[k]) = (uintptr_t)&at[k];
		}
	}
	for (size_t k = 0; k < ARRAY_SIZE(at); k++)
		bad += at[k] != 0 && mps_arena_free(a, at[k]) != 0;
	return (void *)bad;
}

Test(ipc_arena, threads)
{
	pthread_t threads[4];
	struct mps_arena *a;

	cr_assert_eq(mps_arena_new(100000, &a), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, churn, a);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		void *bad;

		pthread_join(threads[i], &bad);
		cr_expect_null(bad);
	}
	expect_usage(a, 0, 100032);
	mps_arena_close(a);
}

/* ------------------------------------------------------------------------------------------------------ damage */

Test(ipc_arena, a_damaged_segment_is_an_error)
{
	struct mps_arena *a, *b;
	struct mps_shm *shm;
	uint64_t at;
	char *p;

	cr_assert_eq(mps_shm_create(NULL, 100, &shm), 0);
	cr_expect_eq(mps_arena_open(shm, &b), -EBADMSG);
	mps_shm_close(shm);
	cr_assert_eq(mps_shm_create(NULL, 1 << 16, &shm), 0);
	cr_expect_eq(mps_arena_open(shm, &b), -ENOENT, "yet");
	*(char *)mps_shm_data(shm) = 1;
	cr_expect_eq(mps_arena_open(shm, &b), -EBADMSG);
	mps_shm_close(shm);
	cr_assert_eq(mps_arena_new(1 << 16, &a), 0);
	p = mps_shm_data(mps_arena_shm(a));
	p[8] ^= 0x7f; /* so many units there are not */
	p[10] ^= 0x7f;
	cr_expect_eq(mps_arena_open(mps_arena_shm(a), &b), -EBADMSG);
	p[8] ^= 0x7f;
	p[10] ^= 0x7f;
	cr_assert_eq(mps_arena_alloc(a, 64, &at), 0);
	memset(p + 64, 0xff, 128); /* the lists */
	cr_expect_eq(mps_arena_alloc(a, 64, &at), 0, "are made anew");
	memset(p + 192, 0xff, 1024 * 8); /* the words */
	cr_expect_eq(mps_arena_free(a, at), -EINVAL);
	cr_expect_eq(mps_arena_alloc(a, 64, &at), -EBADMSG);
	cr_expect_eq(mps_arena_sweep(a), -EBADMSG);
	cr_expect_eq(mps_arena_open(mps_arena_shm(a), &b), -EBADMSG);
	mps_arena_close(a);
}
