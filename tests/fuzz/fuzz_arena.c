/*
 * An arena whose segment anybody may have written to: bytes are put over header, lists and words, before it is opened and
 * while it is used. Whatever they are, each call returns, and no block reaches beyond the segment.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mpsup.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { SIZE = 64 * 96, BLOCKS = 16, LOCK = 16 };

/* A lock that some living thread seems to hold is one to wait for. */
static void release(uint32_t *word)
{
	if ((*word & FUTEX_TID_MASK) != 0 && kill((pid_t)(*word & FUTEX_TID_MASK), 0) == 0)
		*word = 0;
}

/* 2 bytes of place, 1 of how many; then those. */
static size_t damage(struct mps_shm *shm, const uint8_t *p, size_t n)
{
	size_t at, size = mps_shm_size(shm), count;

	if (n < 3)
		return n;
	at = (size_t)(p[0] | p[1] << 8) % size;
	count = p[2];
	if (count > n - 3)
		count = n - 3;
	if (count > size - at)
		count = size - at;
	memcpy((char *)mps_shm_data(shm) + at, p + 3, count);
	release((uint32_t *)((char *)mps_shm_data(shm) + LOCK));
	return 3 + count;
}

static void check(int r)
{
	if (r != 0 && r != -EBADMSG && r != -ENOMEM && r != -EINVAL && r != -EDEADLK)
		abort();
}

static void take(struct mps_arena *a, size_t n, uint64_t *at)
{
	int r = mps_arena_alloc(a, n, at);

	check(r);
	if (r != 0)
		*at = 0;
	else if (mps_arena_at(a, *at) == NULL || (n > 0 && mps_arena_at(a, *at + n - 1) == NULL))
		abort();
	else
		memset(mps_arena_at(a, *at), 0, n);
}

static void use(struct mps_arena *a, struct mps_shm *shm, const uint8_t *p, size_t n)
{
	uint64_t at[BLOCKS] = { 0 };
	size_t used, room;

	while (n > 1) {
		unsigned what = p[0], k = p[1] % BLOCKS;

		p += 2;
		n -= 2;
		if (what < 100)
			take(a, (size_t)what * what, &at[k]);
		else if (what < 160)
			check(mps_arena_free(a, at[k]));
		else if (what < 180)
			check(mps_arena_keep(a, at[k]));
		else if (what < 190)
			check(mps_arena_usage(a, &used, &room));
		else if (what < 200)
			check(mps_arena_free(a, what * 64 + k));
		else if (what >= 240) {
			size_t done = damage(shm, p, n);

			p += done;
			n -= done;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct mps_arena *made, *a;
	size_t done;
	int r;

	if (mps_arena_new(SIZE, &made) < 0)
		return 0;
	done = damage(mps_arena_shm(made), p, n);
	r = mps_arena_open(mps_arena_shm(made), &a);
	if (r != -ENOENT) /* nobody has made one there */
		check(r);
	if (r == 0) {
		use(a, mps_arena_shm(made), p + done, n - done);
		mps_arena_close(a);
	}
	mps_arena_close(made);
	return 0;
}
