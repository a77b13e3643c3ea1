/*
 * mps_condition: a word that changes with each notification. Bit 0 tells that somebody sleeps, or is about to. The notifier
 * changes it and wakes in one system call, and never waits for those it has woken.
 */
#include <errno.h>
#include <stdatomic.h>

#include "ipc/futex.h"
#include "ipc/lock.h"
#include "ipc/robust.h"

enum { MAGIC = 0x646e6f63, SLEEPS = 1, NEXT = 2 };

struct condition {
	_Atomic uint32_t word;
	uint32_t magic;
};
_Static_assert(sizeof(struct condition) <= sizeof(struct mps_condition), "it fits");

static struct condition *condition_of(struct mps_condition *p)
{
	struct condition *c = (struct condition *)(void *)p;

	return c != NULL && c->magic == MAGIC ? c : NULL;
}

int mps_condition_init(struct mps_condition *p)
{
	struct condition *c = (struct condition *)(void *)p;

	if (c == NULL)
		return -EINVAL;
	atomic_store(&c->word, 0);
	c->magic = MAGIC;
	return 0;
}

/* As often as we hold it: how often. -EPERM */
static int release_all(pthread_mutex_t *m)
{
	uint32_t holder = atomic_load(robust_word(m)) & FUTEX_TID_MASK;
	int levels, r = robust_unlock(m);

	if (r < 0)
		return r;
	for (levels = 1; (atomic_load(robust_word(m)) & FUTEX_TID_MASK) == holder; levels++)
		robust_unlock(m);
	return levels;
}

/* With the mutex held as often as the caller likes, and so afterwards. */
static int wait_until(struct condition *c, pthread_mutex_t *m, struct mps_time until)
{
	uint32_t seen;
	int levels, r = 0, again;

	if (c == NULL || m == NULL)
		return -EINVAL;
	seen = atomic_fetch_or(&c->word, SLEEPS) | SLEEPS;
	levels = release_all(m);
	if (levels < 0)
		return levels;
	while (r == 0 && atomic_load(&c->word) == seen)
		r = futex_wait(&c->word, seen, until);
	again = robust_lock(m, (struct mps_time){ INT64_MAX });
	while (again >= 0 && --levels > 0)
		robust_lock(m, (struct mps_time){ 0 });
	return again != 0 ? again : r;
}

int mps_condition_wait(struct mps_condition *c, struct mps_lock *lock, int64_t timeout)
{
	return wait_until(condition_of(c), lock_mutex(lock), until_of(timeout));
}

int mps_condition_wait_rlock(struct mps_condition *c, struct mps_rlock *lock, int64_t timeout)
{
	return wait_until(condition_of(c), rlock_mutex(lock), until_of(timeout));
}

static int wait_for(struct condition *c, pthread_mutex_t *m, bool (*is_so)(void *user), void *user,
		    struct mps_time until)
{
	int r = 0;

	if (c == NULL || m == NULL || is_so == NULL)
		return -EINVAL;
	while (!is_so(user)) {
		if (r != 0)
			return r;
		r = wait_until(c, m, until);
		if (r != 0 && r != -ETIMEDOUT)
			return r;
	}
	return 0;
}

int mps_condition_wait_for(struct mps_condition *c, struct mps_lock *lock,
			   bool (*is_so)(void *user), void *user, int64_t timeout)
{
	return wait_for(condition_of(c), lock_mutex(lock), is_so, user, until_of(timeout));
}

int mps_condition_wait_for_rlock(struct mps_condition *c, struct mps_rlock *lock,
				 bool (*is_so)(void *user), void *user, int64_t timeout)
{
	return wait_for(condition_of(c), rlock_mutex(lock), is_so, user, until_of(timeout));
}

int mps_condition_notify(struct mps_condition *p, uint32_t n)
{
	struct condition *c = condition_of(p);

	if (c == NULL)
		return -EINVAL;
	if (n == 0 || (atomic_load(&c->word) & SLEEPS) == 0)
		return 0;
	/* After all were woken nobody sleeps: the addition takes the bit with it. */
	futex_add_wake(&c->word, n == UINT32_MAX ? NEXT - SLEEPS : NEXT, n);
	return 0;
}
