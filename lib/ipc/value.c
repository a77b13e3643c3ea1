/*
 * One number: an array of one.
 */
#include <errno.h>

#include "mpsup.h"

static struct mps_array *array_of(struct mps_value *v)
{
	return (struct mps_array *)(void *)v;
}

static void give(struct mps_array *a, struct mps_value **ret)
{
	*ret = (struct mps_value *)(void *)a;
}

int mps_value_create(const char *name, char type, unsigned flags, struct mps_value **ret)
{
	struct mps_array *a;
	int r = mps_array_create(name, type, 1, flags, &a);

	if (r == 0)
		give(a, ret);
	return r;
}

int mps_value_new(char type, unsigned flags, struct mps_value **ret)
{
	return mps_value_create(NULL, type, flags, ret);
}

int mps_value_open(struct mps_shm *shm, struct mps_value **ret)
{
	struct mps_array *a;
	int r = mps_array_open(shm, &a);

	if (r == 0 && mps_array_length(a) != 1) {
		mps_array_free(a);
		return -EBADMSG;
	}
	if (r == 0)
		give(a, ret);
	return r;
}

struct mps_shm *mps_value_shm(struct mps_value *v)
{
	return mps_array_shm(array_of(v));
}

void mps_value_free(struct mps_value *v)
{
	mps_array_free(array_of(v));
}

void *mps_value_data(struct mps_value *v)
{
	return mps_array_data(array_of(v));
}

struct mps_rlock *mps_value_lock(struct mps_value *v)
{
	return mps_array_lock(array_of(v));
}

int mps_value_get_int(struct mps_value *v, int64_t *ret)
{
	return mps_array_get_int(array_of(v), 0, ret);
}

int mps_value_set_int(struct mps_value *v, int64_t value)
{
	return mps_array_set_int(array_of(v), 0, value);
}

int mps_value_get_double(struct mps_value *v, double *ret)
{
	return mps_array_get_double(array_of(v), 0, ret);
}

int mps_value_set_double(struct mps_value *v, double value)
{
	return mps_array_set_double(array_of(v), 0, value);
}

int mps_value_add(struct mps_value *v, int64_t delta, int64_t *ret_old)
{
	return mps_array_add(array_of(v), 0, delta, ret_old);
}

int mps_value_exchange(struct mps_value *v, int64_t value, int64_t *ret_old)
{
	return mps_array_exchange(array_of(v), 0, value, ret_old);
}
