/*
 * Numbers in a segment: a header, a lock unless they are raw, the numbers. A value is an array of one. What the header says
 * is checked when the segment is opened, and then kept in the handle, so that nobody can change it under us.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "ipc/lock.h"
#include "ipc/shm.h"
#include "ipc/sound.h"

#define MAGIC UINT64_C(0x0079617272615f73) /* s_array */

struct header {
	_Atomic uint64_t magic; /* the last that is written */
	uint64_t length;
	uint32_t type, flags;
	uint32_t unused[2];
	struct mps_rlock lock;
	_Alignas(64) char data[];
};

/* X(code, C type, is signed) */
#define WHOLE(X)                                                                                   \
	X('c', unsigned char, 0)                                                                   \
	X('?', unsigned char, 0)                                                                   \
	X('b', signed char, 1)                                                                     \
	X('B', unsigned char, 0)                                                                   \
	X('h', short, 1)                                                                           \
	X('H', unsigned short, 0)                                                                  \
	X('i', int, 1)                                                                             \
	X('I', unsigned, 0)                                                                        \
	X('l', long, 1)                                                                            \
	X('L', unsigned long, 0)                                                                   \
	X('q', long long, 1)                                                                       \
	X('Q', unsigned long long, 0)                                                              \
	X('u', wchar_t, WCHAR_MIN < 0)                                                             \
	X('w', uint32_t, 0)

struct mps_array {
	struct header *header;
	size_t length;
	struct mps_shm *shm;
	struct mps_rlock *lock; /* NULL = raw */
	char type;
	uint8_t width;
	bool writable;
	bool owns; /* the segment */
};

static uint8_t width_of(char type)
{
	switch (type) {
#define X(code, ctype, is_signed)                                                                  \
	case code:                                                                                 \
		return sizeof(ctype);
		WHOLE(X)
#undef X
	case 'f':
		return sizeof(float);
	case 'd':
		return sizeof(double);
	default:
		return 0;
	}
}

/* ----------------------------------------------------------------------------------------------------- handles */

/* 0, -EBADMSG, or -ENOENT: nothing has been made there yet. */
static int read_header(const struct header *h, size_t size, struct mps_array *ret)
{
	uint64_t magic = atomic_load(&h->magic), length = h->length;
	uint32_t type = h->type, flags = h->flags;

	if (magic == 0)
		return -ENOENT;
	if (magic != MAGIC || type > CHAR_MAX || width_of((char)type) == 0 ||
	    (flags & ~(uint32_t)MPS_RAW) != 0)
		return -EBADMSG;
	ret->type = (char)type;
	ret->width = width_of((char)type);
	if (length > (size - sizeof(*h)) / ret->width)
		return -EBADMSG;
	ret->length = length;
	ret->lock = (flags & MPS_RAW) != 0 ? NULL : (struct mps_rlock *)&h->lock;
	return 0;
}

int mps_array_open(struct mps_shm *shm, struct mps_array **ret)
{
	struct mps_array a = { .shm = shm, .writable = shm_is_writable(shm) }, *handle;
	size_t size = mps_shm_size(shm);
	void *p;
	int r;

	if (size < sizeof(struct header))
		return -EBADMSG;
	r = mps_shm_map(shm, 0, size, &p);
	if (r == 0)
		r = read_header(p, size, &a);
	if (r < 0)
		return r == -ERANGE ? -EBADMSG : r; /* it is shorter by now */
	a.header = p;
	if (a.lock != NULL && !a.writable)
		return -EACCES;
	if (a.lock != NULL && (rlock_mutex(a.lock) == NULL ||
			       !lock_is_sound(rlock_mutex(a.lock), PTHREAD_MUTEX_RECURSIVE)))
		return -EBADMSG;
	handle = malloc(sizeof(*handle));
	if (handle == NULL)
		return -ENOMEM;
	*handle = a;
	*ret = handle;
	return 0;
}

static int write_header(struct header *h, char type, size_t length, unsigned flags)
{
	int r = (flags & MPS_RAW) != 0 ? 0 : mps_rlock_init(&h->lock);

	if (r < 0)
		return r;
	h->length = length;
	h->type = (uint32_t)type;
	h->flags = flags;
	atomic_store(&h->magic, MAGIC);
	return 0;
}

int mps_array_create(const char *name, char type, size_t length, unsigned flags,
		     struct mps_array **ret)
{
	uint8_t width = width_of(type);
	struct mps_shm *shm;
	int r;

	if (width == 0 || (flags & ~(unsigned)MPS_RAW) != 0)
		return -EINVAL;
	if (length > (SIZE_MAX - sizeof(struct header)) / width)
		return -ENOSPC;
	r = mps_shm_create(name, sizeof(struct header) + length * width, &shm);
	if (r < 0)
		return r;
	r = write_header(mps_shm_data(shm), type, length, flags);
	if (r == 0)
		r = mps_array_open(shm, ret);
	if (r < 0) {
		if (name != NULL)
			mps_shm_unlink(name);
		mps_shm_close(shm);
		return r;
	}
	(*ret)->owns = true;
	return 0;
}

int mps_array_new(char type, size_t length, unsigned flags, struct mps_array **ret)
{
	return mps_array_create(NULL, type, length, flags, ret);
}

void mps_array_free(struct mps_array *a)
{
	if (a == NULL)
		return;
	if (a->owns)
		mps_shm_close(a->shm);
	free(a);
}

struct mps_shm *mps_array_shm(struct mps_array *a)
{
	return a->shm;
}

size_t mps_array_length(const struct mps_array *a)
{
	return a->length;
}

char mps_array_type(const struct mps_array *a)
{
	return a->type;
}

void *mps_array_data(struct mps_array *a)
{
	return a->header->data;
}

struct mps_rlock *mps_array_lock(struct mps_array *a)
{
	return a->lock;
}

/* ------------------------------------------------------------------------------------------------- one number */

static inline void *place(const struct mps_array *a, size_t i)
{
	return a->header->data + i * a->width;
}

static inline bool is_whole(const struct mps_array *a)
{
	return a->type != 'f' && a->type != 'd';
}

/* Narrower than its C type. */
static inline bool is_no_bool(const struct mps_array *a, int64_t value)
{
	return a->type == '?' && (value & ~INT64_C(1)) != 0;
}

/* 0, or EOWNERDEAD: to be given on. -errno. */
static int enter(struct mps_array *a, size_t i, size_t n, bool writes)
{
	if (i > a->length || n > a->length - i)
		return -ERANGE;
	if (writes && !a->writable)
		return -EACCES;
	return a->lock != NULL ? mps_rlock_acquire(a->lock, MPS_FOREVER) : 0;
}

static int leave(struct mps_array *a, int entered, int r)
{
	if (a->lock != NULL)
		mps_rlock_release(a->lock);
	return r < 0 ? r : entered;
}

/* What `does` returns, done with n items from i on. */
#define WITHIN(a, i, n, writes, does)                                                              \
	({                                                                                         \
		int entered = enter(a, i, n, writes);                                              \
                                                                                                   \
		entered < 0 ? entered : leave(a, entered, does);                                   \
	})

static int load_int(const struct mps_array *a, size_t i, int64_t *ret)
{
	void *p = place(a, i);

	switch (a->type) {
#define X(code, ctype, is_signed)                                                                  \
	case code: {                                                                               \
		ctype v = __atomic_load_n((ctype *)p, __ATOMIC_SEQ_CST);                           \
		uint64_t wide = (uint64_t)v;                                                       \
		if (!(is_signed) && wide > INT64_MAX)                                              \
			return -ERANGE;                                                            \
		*ret = (int64_t)v;                                                                 \
		return 0;                                                                          \
	}
		WHOLE(X)
#undef X
	default:
		return -EINVAL;
	}
}

static int store_double(struct mps_array *a, size_t i, double value)
{
	void *p = place(a, i);
	float narrow = (float)value;

	if (a->type == 'd') {
		__atomic_store((double *)p, &value, __ATOMIC_SEQ_CST);
		return 0;
	}
	if (a->type != 'f')
		return -EINVAL;
	if (isinf(narrow) && !isinf(value))
		return -ERANGE;
	__atomic_store((float *)p, &narrow, __ATOMIC_SEQ_CST);
	return 0;
}

static int store_int(struct mps_array *a, size_t i, int64_t value)
{
	void *p = place(a, i);

	if (is_no_bool(a, value))
		return -ERANGE;
	switch (a->type) {
#define X(code, ctype, is_signed)                                                                  \
	case code:                                                                                 \
		if ((int64_t)(ctype)value != value || (!(is_signed) && value < 0))                 \
			return -ERANGE;                                                            \
		__atomic_store_n((ctype *)p, (ctype)value, __ATOMIC_SEQ_CST);                      \
		return 0;
		WHOLE(X)
#undef X
	default:
		return store_double(a, i, (double)value);
	}
}

static int load_double(const struct mps_array *a, size_t i, double *ret)
{
	void *p = place(a, i);
	float narrow;

	switch (a->type) {
#define X(code, ctype, is_signed)                                                                  \
	case code:                                                                                 \
		*ret = (double)__atomic_load_n((ctype *)p, __ATOMIC_SEQ_CST);                      \
		return 0;
		WHOLE(X)
#undef X
	case 'f':
		__atomic_load((float *)p, &narrow, __ATOMIC_SEQ_CST);
		*ret = narrow;
		return 0;
	default:
		__atomic_load((double *)p, ret, __ATOMIC_SEQ_CST);
		return 0;
	}
}

int mps_array_get_int(struct mps_array *a, size_t i, int64_t *ret)
{
	return WITHIN(a, i, 1, false, load_int(a, i, ret));
}

int mps_array_set_int(struct mps_array *a, size_t i, int64_t value)
{
	return WITHIN(a, i, 1, true, store_int(a, i, value));
}

int mps_array_get_double(struct mps_array *a, size_t i, double *ret)
{
	return WITHIN(a, i, 1, false, load_double(a, i, ret));
}

int mps_array_set_double(struct mps_array *a, size_t i, double value)
{
	return WITHIN(a, i, 1, true, store_double(a, i, value));
}

int mps_array_read(struct mps_array *a, size_t i, size_t n, void *p)
{
	return WITHIN(a, i, n, false, (memcpy(p, place(a, i), n * a->width), 0));
}

int mps_array_write(struct mps_array *a, size_t i, size_t n, const void *p)
{
	return WITHIN(a, i, n, true, (memcpy(place(a, i), p, n * a->width), 0));
}

/* ------------------------------------------------------------------------------------------------------ atomic */

static inline int check_atomic(const struct mps_array *a, size_t i)
{
	return i >= a->length ? -ERANGE : !is_whole(a) ? -EINVAL : a->writable ? 0 : -EACCES;
}

int mps_array_add(struct mps_array *a, size_t i, int64_t delta, int64_t *ret_old)
{
	int r = check_atomic(a, i);
	int64_t old = 0;

	if (r == 0 && a->type == '?')
		r = -EINVAL;
	if (r < 0)
		return r;
	switch (a->type) {
#define X(code, ctype, is_signed)                                                                  \
	case code:                                                                                 \
		old = (int64_t)__atomic_fetch_add((ctype *)place(a, i), (ctype)delta,              \
						  __ATOMIC_SEQ_CST);                               \
		break;
		WHOLE(X)
#undef X
	}
	if (ret_old != NULL)
		*ret_old = old;
	return 0;
}

int mps_array_exchange(struct mps_array *a, size_t i, int64_t value, int64_t *ret_old)
{
	int r = check_atomic(a, i);
	int64_t old = 0;

	if (r == 0 && is_no_bool(a, value))
		r = -ERANGE;
	if (r < 0)
		return r;
	switch (a->type) {
#define X(code, ctype, is_signed)                                                                  \
	case code:                                                                                 \
		if ((int64_t)(ctype)value != value || (!(is_signed) && value < 0))                 \
			return -ERANGE;                                                            \
		old = (int64_t)__atomic_exchange_n((ctype *)place(a, i), (ctype)value,             \
						   __ATOMIC_SEQ_CST);                              \
		break;
		WHOLE(X)
#undef X
	}
	if (ret_old != NULL)
		*ret_old = old;
	return 0;
}
