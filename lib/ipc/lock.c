/*
 * mps_lock and mps_rlock: a robust mutex each, and a word that tells that it has been initialised: a zeroed mutex would work,
 * within one process.
 */
#include "ipc/lock.h"

#include <errno.h>

#include "ipc/futex.h"
#include "ipc/robust.h"

enum { LOCK_MAGIC = 0x6b636f6c, RLOCK_MAGIC = 0x6b636c72 };

struct lock {
	pthread_mutex_t m;
	uint32_t magic;
};
_Static_assert(sizeof(struct lock) <= sizeof(struct mps_lock), "it fits");
_Static_assert(sizeof(struct lock) <= sizeof(struct mps_rlock), "it fits");
_Static_assert(_Alignof(struct lock) <= _Alignof(struct mps_lock), "it fits");

static inline pthread_mutex_t *mutex_of(void *p, uint32_t magic)
{
	struct lock *l = p;

	return l != NULL && l->magic == magic ? &l->m : NULL;
}

static int init(void *p, uint32_t magic, int type)
{
	struct lock *l = p;
	int r;

	if (l == NULL)
		return -EINVAL;
	r = robust_init(&l->m, type);
	l->magic = r == 0 ? magic : 0;
	return r;
}

/* What nobody else holds costs one call. */
static inline int acquire(pthread_mutex_t *m, int64_t timeout)
{
	int r;

	if (m == NULL)
		return -EINVAL;
	r = robust_try(m);
	if (r == 0)
		return 0;
	if (r == EBUSY)
		return timeout <= 0 ? -ETIMEDOUT : robust_lock(m, until_of(timeout));
	return robust_locked(m, r);
}

static inline int release(pthread_mutex_t *m)
{
	return m == NULL ? -EINVAL : -pthread_mutex_unlock(m);
}

pthread_mutex_t *lock_mutex(struct mps_lock *lock)
{
	return mutex_of(lock, LOCK_MAGIC);
}

pthread_mutex_t *rlock_mutex(struct mps_rlock *lock)
{
	return mutex_of(lock, RLOCK_MAGIC);
}

int mps_lock_init(struct mps_lock *lock)
{
	return init(lock, LOCK_MAGIC, PTHREAD_MUTEX_ERRORCHECK);
}

int mps_lock_acquire(struct mps_lock *lock, int64_t timeout)
{
	return acquire(lock_mutex(lock), timeout);
}

int mps_lock_release(struct mps_lock *lock)
{
	return release(lock_mutex(lock));
}

int mps_rlock_init(struct mps_rlock *lock)
{
	return init(lock, RLOCK_MAGIC, PTHREAD_MUTEX_RECURSIVE);
}

int mps_rlock_acquire(struct mps_rlock *lock, int64_t timeout)
{
	return acquire(rlock_mutex(lock), timeout);
}

int mps_rlock_release(struct mps_rlock *lock)
{
	return release(rlock_mutex(lock));
}
