/*
 * Arrays and values: types, ranges, the lock and its dead holders, numbers that several processes count up, headers that lie.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>

#include "base/cleanup.h"
#include "mpsup.h"

static void set_up(void)
{
	alarm(60);
}

TestSuite(ipc_array, .init = set_up);

Test(ipc_array, each_type_holds_its_range_and_no_more)
{
	static const struct {
		char type;
		int64_t low, high;
		bool below, above; /* there are numbers beyond */
	} rows[] = {
		{ 'c', 0, UCHAR_MAX, true, true },  { 'b', SCHAR_MIN, SCHAR_MAX, true, true },
		{ 'B', 0, UCHAR_MAX, true, true },  { 'h', SHRT_MIN, SHRT_MAX, true, true },
		{ 'H', 0, USHRT_MAX, true, true },  { 'i', INT_MIN, INT_MAX, true, true },
		{ 'I', 0, UINT_MAX, true, true },   { 'l', LONG_MIN, LONG_MAX, false, false },
		{ 'L', 0, INT64_MAX, true, false }, { 'q', INT64_MIN, INT64_MAX, false, false },
		{ 'Q', 0, INT64_MAX, true, false }, { 'u', WCHAR_MIN, WCHAR_MAX, true, true },
		{ 'w', 0, UINT32_MAX, true, true }, { '?', 0, 1, true, true },
	};

	for (unsigned flags = 0; flags <= MPS_RAW; flags++)
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			struct mps_array *a;
			int64_t v = 77, old;
			double d;

			cr_assert_eq(mps_array_new(rows[i].type, 3, flags, &a), 0);
			cr_expect_eq(mps_array_type(a), rows[i].type);
			cr_expect_eq(mps_array_length(a), 3);
			cr_expect_eq(mps_array_get_int(a, 2, &v), 0);
			cr_expect_eq(v, 0, "zeroed");
			cr_expect_eq(mps_array_set_int(a, 1, rows[i].low), 0);
			cr_expect_eq(mps_array_set_int(a, 2, rows[i].high), 0);
			cr_expect(mps_array_get_int(a, 1, &v) == 0 && v == rows[i].low);
			cr_expect(mps_array_get_int(a, 2, &v) == 0 && v == rows[i].high);
			cr_expect(mps_array_get_double(a, 2, &d) == 0 && d == (double)v);
			cr_expect(mps_array_exchange(a, 2, rows[i].low, &old) == 0 &&
				  old == rows[i].high);
			if (rows[i].below) {
				cr_expect_eq(mps_array_set_int(a, 1, rows[i].low - 1), -ERANGE);
				cr_expect_eq(mps_array_exchange(a, 1, rows[i].low - 1, NULL),
					     -ERANGE);
			}
			if (rows[i].above)
				cr_expect_eq(mps_array_set_int(a, 1, rows[i].high + 1), -ERANGE);
			cr_expect(mps_array_get_int(a, 0, &v) == 0 && v == 0, "its neighbour");
			cr_expect_eq(mps_array_set_double(a, 0, 1), -EINVAL);
			cr_expect_eq(mps_array_lock(a) == NULL, flags == MPS_RAW);
			mps_array_free(a);
		}
}

Test(ipc_array, a_bool_has_no_sum)
{
	struct mps_value *v;
	int64_t old;

	cr_assert_eq(mps_value_new('?', 0, &v), 0);
	cr_expect_eq(mps_value_add(v, 1, NULL), -EINVAL);
	cr_expect_eq(mps_value_exchange(v, 1, &old), 0);
	cr_expect_eq(old, 0);
	cr_expect_eq(*(bool *)mps_value_data(v), true);
	mps_value_free(v);
}

Test(ipc_array, numbers_with_a_point)
{
	struct mps_array *a;
	double d;
	int64_t v;

	cr_assert_eq(mps_array_new('f', 2, 0, &a), 0);
	cr_expect(mps_array_set_double(a, 1, 0.5) == 0 && mps_array_get_double(a, 1, &d) == 0 &&
		  d == 0.5);
	cr_expect_eq(mps_array_set_double(a, 1, 1e300), -ERANGE);
	cr_expect(mps_array_set_double(a, 1, INFINITY) == 0 &&
		  mps_array_get_double(a, 1, &d) == 0 && isinf(d));
	cr_expect_eq(mps_array_get_int(a, 1, &v), -EINVAL);
	cr_expect_eq(mps_array_add(a, 1, 1, NULL), -EINVAL);
	mps_array_free(a);
	cr_assert_eq(mps_array_new('d', 2, MPS_RAW, &a), 0);
	cr_expect(mps_array_set_int(a, 1, 3) == 0 && mps_array_get_double(a, 1, &d) == 0 && d == 3);
	cr_expect(mps_array_set_double(a, 1, 1e300) == 0 && mps_array_get_double(a, 1, &d) == 0 &&
		  d == 1e300);
	mps_array_free(a);
}

Test(ipc_array, places_and_sizes_are_checked)
{
	struct mps_array *a;
	int numbers[4] = { 1, 2, 3, 4 }, back[4] = { 0 };
	int64_t v;

	cr_expect_eq(mps_array_new('x', 1, 0, &a), -EINVAL);
	cr_expect_eq(mps_array_new('i', 1, 2, &a), -EINVAL);
	cr_expect_eq(mps_array_new('q', SIZE_MAX / 8, 0, &a), -ENOSPC);
	cr_expect_eq(mps_array_new('b', SIZE_MAX, 0, &a), -ENOSPC);
	cr_assert_eq(mps_array_new('i', 4, 0, &a), 0);
	cr_expect_eq(mps_array_write(a, 0, 4, numbers), 0);
	cr_expect_eq(mps_array_read(a, 1, 3, back), 0);
	cr_expect(back[0] == 2 && back[2] == 4 && back[3] == 0);
	cr_expect_eq(mps_array_read(a, 4, 0, back), 0);
	cr_expect_eq(mps_array_read(a, 5, 0, back), -ERANGE);
	cr_expect_eq(mps_array_read(a, 1, 4, back), -ERANGE);
	cr_expect_eq(mps_array_write(a, 1, SIZE_MAX, numbers), -ERANGE);
	cr_expect_eq(mps_array_get_int(a, 4, &v), -ERANGE);
	cr_expect_eq(mps_array_set_int(a, SIZE_MAX, 0), -ERANGE);
	cr_expect_eq(mps_array_add(a, 4, 1, NULL), -ERANGE);
	cr_expect_eq(((int *)mps_array_data(a))[3], 4);
	mps_array_free(a);
	mps_array_free(NULL);
	cr_assert_eq(mps_array_new('i', 0, 0, &a), 0);
	cr_expect_eq(mps_array_get_int(a, 0, &v), -ERANGE);
	mps_array_free(a);
}

static void in_children(int n, void (*fn)(void *user), void *user)
{
	int status;

	for (int i = 0; i < n; i++)
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			fn(user);
			_exit(0);
		}
	for (int i = 0; i < n; i++) {
		wait(&status);
		cr_expect_eq(status, 0);
	}
}

enum { ROUNDS = 20000 };

static void count_raw(void *user)
{
	for (int i = 0; i < ROUNDS; i++)
		mps_value_add(user, 1, NULL);
}

static void count_locked(void *user)
{
	int64_t v;

	for (int i = 0; i < ROUNDS; i++) {
		mps_rlock_acquire(mps_value_lock(user), MPS_FOREVER);
		mps_value_get_int(user, &v);
		mps_value_set_int(user, v + 1);
		mps_rlock_release(mps_value_lock(user));
	}
}

Test(ipc_array, no_count_is_lost)
{
	struct mps_value *v;
	int64_t n;

	cr_assert_eq(mps_value_new('h', MPS_RAW, &v), 0);
	in_children(4, count_raw, v);
	cr_expect_eq(mps_value_get_int(v, &n), 0);
	cr_expect_eq(n, (int16_t)(4 * ROUNDS), "it wraps around");
	mps_value_free(v);
	cr_assert_eq(mps_value_new('i', 0, &v), 0);
	in_children(4, count_locked, v);
	cr_expect_eq(mps_value_get_int(v, &n), 0);
	cr_expect_eq(n, 4 * ROUNDS);
	mps_value_free(v);
}

static void die_holding(void *user)
{
	if (fork() == 0) {
		mps_rlock_acquire(mps_value_lock(user), MPS_FOREVER);
		mps_value_set_int(user, 5);
		raise(SIGKILL);
	}
	wait(NULL);
}

Test(ipc_array, a_killed_holder_does_not_hold_up_a_read)
{
	struct mps_value *v;
	int64_t n;

	cr_assert_eq(mps_value_new('i', 0, &v), 0);
	in_children(1, die_holding, v);
	cr_expect_eq(mps_value_get_int(v, &n), EOWNERDEAD);
	cr_expect_eq(n, 5);
	cr_expect_eq(mps_value_get_int(v, &n), 0, "told once");
	in_children(1, die_holding, v);
	cr_expect_eq(mps_value_add(v, 1, &n), 0, "without the lock");
	mps_value_free(v);
}

Test(ipc_array, by_its_segment)
{
	struct mps_array *a, *b;
	struct mps_value *value;
	struct mps_shm *shm;
	int64_t v;

	cr_assert_eq(mps_array_new('q', 10, 0, &a), 0);
	cr_assert_eq(mps_shm_from_fd(dup(mps_shm_fileno(mps_array_shm(a))), &shm), 0);
	cr_assert_eq(mps_array_open(shm, &b), 0);
	cr_expect_eq(mps_value_open(shm, &value), -EBADMSG, "it is not one");
	cr_expect(mps_array_set_int(a, 9, -4) == 0 && mps_array_get_int(b, 9, &v) == 0 && v == -4);
	cr_expect_eq(mps_array_length(b), 10);
	cr_expect_eq(mps_array_shm(b), shm);
	mps_array_free(b);
	mps_shm_close(shm);
	mps_array_free(a);
}

/* The parent makes it, and who has nothing but the name adds to it. */
static int add_by_name(const char *name, int64_t delta)
{
	struct mps_value *value;
	struct mps_shm *shm;
	int r = mps_shm_open(name, true, &shm);

	if (r < 0)
		return r;
	r = mps_value_open(shm, &value);
	if (r == 0) {
		r = mps_value_add(value, delta, NULL);
		mps_value_free(value);
	}
	mps_shm_close(shm);
	return r;
}

Test(ipc_array, by_its_name)
{
	struct mps_value *value, *other;
	struct mps_array *a;
	struct mps_shm *shm;
	char name[64];
	int status;
	int64_t v;
	pid_t pid;

	setenv("MPSUP_TRACKER", "", 1);
	snprintf(name, sizeof(name), "/t-ipc-value-%d", getpid());
	cr_expect_eq(mps_value_create("a/b", 'q', 0, &value), -EINVAL);
	cr_assert_eq(mps_shm_create(name, 4096, &shm), 0);
	cr_expect_eq(add_by_name(name, 5), -ENOENT, "nothing is made of it yet");
	cr_expect_eq(mps_value_create(name, 'q', 0, &value), -EEXIST);
	mps_shm_close(shm);
	cr_assert_eq(mps_shm_unlink(name), 0, "that did not take it away");
	cr_assert_eq(mps_value_create(name, 'q', 0, &value), 0);
	cr_expect_eq(mps_value_create(name, 'q', 0, &other), -EEXIST);
	pid = fork();
	if (pid == 0)
		_exit(add_by_name(name, 5) != 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
	cr_expect(mps_value_get_int(value, &v) == 0 && v == 5);
	cr_expect_str_eq(mps_shm_name(mps_value_shm(value)), name);
	mps_value_free(value);
	cr_expect_eq(mps_shm_unlink(name), 0, "it stays until then");
	cr_assert_eq(mps_array_create(name, 'd', 100, MPS_RAW, &a), 0);
	cr_expect_eq(add_by_name(name, 1), -EBADMSG, "it is not one number");
	cr_expect_eq(mps_shm_unlink(name), 0);
	mps_array_free(a);
}

Test(ipc_array, what_can_only_be_read)
{
	struct mps_shm *shm, *reader;
	struct mps_array *a, *b;
	int64_t v;

	setenv("MPSUP_TRACKER", "", 1);
	cr_assert_eq(mps_array_new('i', 2, MPS_RAW, &a), 0);
	cr_assert_eq(mps_array_set_int(a, 1, 7), 0);
	mps_shm_unlink("t-ipc-array");
	cr_assert_eq(mps_shm_create("t-ipc-array", mps_shm_size(mps_array_shm(a)), &shm), 0);
	memcpy(mps_shm_data(shm), mps_shm_data(mps_array_shm(a)), mps_shm_size(shm));
	cr_assert_eq(mps_shm_open("t-ipc-array", false, &reader), 0);
	mps_shm_unlink("t-ipc-array");
	cr_assert_eq(mps_array_open(reader, &b), 0);
	cr_expect(mps_array_get_int(b, 1, &v) == 0 && v == 7);
	cr_expect_eq(mps_array_set_int(b, 1, 8), -EACCES);
	cr_expect_eq(mps_array_add(b, 1, 8, NULL), -EACCES);
	mps_array_free(b);
	mps_array_free(a);
	cr_assert_eq(mps_array_new('i', 2, 0, &a), 0);
	memcpy(mps_shm_data(shm), mps_shm_data(mps_array_shm(a)), mps_shm_size(shm));
	cr_expect_eq(mps_array_open(reader, &b), -EACCES, "its lock is to be written");
	mps_array_free(a);
	mps_shm_close(reader);
	mps_shm_close(shm);
}

/* Words of the header: magic, length, type and flags, the lock. */
Test(ipc_array, a_header_that_lies_is_none)
{
	static const struct {
		size_t at;
		uint64_t value;
	} rows[] = {
		{ 0, 1 },
		{ 8, 11 },
		{ 8, UINT64_MAX },
		{ 8, UINT64_MAX / 4 },
		{ 16, 0 },
		{ 16, 'z' },
		{ 16, 1000 },
		{ 16, 'q' },
		{ 16, 'i' | 2ull << 32 },
		{ 32, 99 },
		{ 48, UINT64_MAX },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct mps_array *a, *b;

		cr_assert_eq(mps_array_new('i', 10, 0, &a), 0);
		cr_assert_eq(mps_array_open(mps_array_shm(a), &b), 0);
		mps_array_free(b);
		memcpy((char *)mps_shm_data(mps_array_shm(a)) + rows[i].at, &rows[i].value, 8);
		cr_expect_eq(mps_array_open(mps_array_shm(a), &b), -EBADMSG, "%zu", i);
		mps_array_free(a);
	}
}

Test(ipc_array, the_library_has_the_version_of_its_header)
{
	cr_expect_str_eq(mps_version(), MPSUP_VERSION);
}

Test(ipc_array, a_value_of_a_fraction)
{
	struct mps_value *v;
	double d = 0;

	cr_assert_eq(mps_value_new('d', 0, &v), 0);
	cr_expect_eq(mps_value_set_double(v, 2.5), 0);
	cr_expect_eq(mps_value_get_double(v, &d), 0);
	cr_expect_eq(d, 2.5);
	mps_value_free(v);
}
