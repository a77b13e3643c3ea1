/*
 * Arrays whose header anybody may have written: what is opened has no place beyond its segment.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mpsup.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { SIZE = 4096 };

static void use_places(struct mps_array *a)
{
	size_t n = mps_array_length(a);
	const size_t places[] = { 0, n / 2, n - 1, n, SIZE_MAX };
	const char *data = mps_array_data(a), *start = mps_shm_data(mps_array_shm(a));

	if (data < start || data > start + SIZE)
		abort();
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int64_t v = 0;
		double d = 0;
		int r = mps_array_get_int(a, places[i], &v);

		if (places[i] >= n && r != -ERANGE)
			abort();
		mps_array_set_int(a, places[i], v);
		mps_array_get_double(a, places[i], &d);
		mps_array_set_double(a, places[i], d);
		mps_array_add(a, places[i], 1, &v);
		mps_array_exchange(a, places[i], v, NULL);
	}
}

static void use(struct mps_array *a)
{
	/* EOWNERDEAD: it is held. */
	if (mps_array_lock(a) != NULL && mps_rlock_acquire(mps_array_lock(a), 0) < 0)
		return; /* some living thread seems to hold it */
	use_places(a);
	if (mps_array_lock(a) != NULL)
		mps_rlock_release(mps_array_lock(a));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct mps_array *made, *a;
	struct mps_shm *shm;

	if (mps_shm_create(NULL, SIZE, &shm) < 0)
		return 0;
	if (n > 0 &&
	    mps_array_new("cbBhHiIlLqQfduw?"[p[0] % 16], 5, p[0] & 32 ? MPS_RAW : 0, &made) == 0) {
		memcpy(mps_shm_data(shm), mps_shm_data(mps_array_shm(made)),
		       mps_shm_size(mps_array_shm(made)));
		mps_array_free(made);
	}
	/* A place and bytes, again and again. */
	for (size_t i = 1; i + 1 < n; i += 2)
		((uint8_t *)mps_shm_data(shm))[p[i] % 128] = p[i + 1];
	if (mps_array_open(shm, &a) == 0) {
		use(a);
		mps_array_free(a);
	}
	mps_shm_close(shm);
	return 0;
}
