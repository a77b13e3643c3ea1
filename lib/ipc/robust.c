/*
 * Robust mutexes. On EOWNERDEAD the mutex is made consistent at once; what it protects is the caller's.
 */
#include "ipc/robust.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "ipc/futex.h"

#if FUTEX_TSAN
#include <sanitizer/tsan_interface.h>

/* It knows that a mutex comes from the dead to who asks, but not that it comes to who waits. */
static void comes_from_the_dead(pthread_mutex_t *m)
{
	__tsan_mutex_pre_lock(m, __tsan_mutex_try_lock);
	__tsan_mutex_post_lock(m, __tsan_mutex_try_lock, 0);
}
#endif

int robust_init(pthread_mutex_t *m, int type)
{
	pthread_mutexattr_t a;
	int r = pthread_mutexattr_init(&a);

	if (r != 0)
		return -r;
	r = pthread_mutexattr_settype(&a, type);
	if (r == 0)
		r = pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (r == 0)
		r = pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	if (r == 0)
		r = pthread_mutex_init(m, &a);
	pthread_mutexattr_destroy(&a);
	return -r;
}

static int lock_until(pthread_mutex_t *m, struct mps_time until)
{
#if FUTEX_TSAN
	/* ThreadSanitizer knows no pthread_mutex_clocklock(). */
	clockid_t clock = CLOCK_REALTIME;
	int64_t ns = until.ns - mps_now().ns + mps_wall().ns;
#else
	clockid_t clock = CLOCK_MONOTONIC;
	int64_t ns = until.ns;
#endif
	struct timespec ts = { .tv_sec = ns / MPS_NS_PER_S, .tv_nsec = ns % MPS_NS_PER_S };
	int r = clock == CLOCK_REALTIME ? pthread_mutex_timedlock(m, &ts)
					: pthread_mutex_clocklock(m, clock, &ts);

#if FUTEX_TSAN
	if (r == EOWNERDEAD)
		comes_from_the_dead(m);
#endif
	return r;
}

int robust_locked(pthread_mutex_t *m, int r)
{
	if (r != EOWNERDEAD)
		return -r;
	pthread_mutex_consistent(m);
	return EOWNERDEAD;
}

/*
 * A wait in slices, since a wake-up may be lost that is neither the kernel's nor the C library's to know of: one sleeper was
 * woken and is killed before it runs; somebody else had the mutex by then, who does not see that more sleep on it, and
 * lets go of it without waking them. Each looks again by itself.
 */
int robust_lock(pthread_mutex_t *m, struct mps_time until)
{
	int r = robust_try(m);

	while (r == EBUSY && until.ns > 0) {
		struct mps_time slice = { mps_now().ns + ROBUST_SLICE_NS };

		slice = futex_slice(until.ns < slice.ns ? until : slice);
		r = lock_until(m, slice);
		if (r != ETIMEDOUT)
			break;
		if (!futex_goes_on(slice, until))
			return -ETIMEDOUT;
		r = EBUSY;
	}
	return r == EBUSY ? -ETIMEDOUT : robust_locked(m, r);
}

int robust_lock_brief(pthread_mutex_t *m, struct mps_time until)
{
	int r = robust_lock(m, (struct mps_time){ 0 });
	int64_t least;

	if (r != -ETIMEDOUT)
		return r;
	least = mps_now().ns + ROBUST_BRIEF_NS;
	return robust_lock(m, until.ns < least ? (struct mps_time){ least } : until);
}

int robust_unlock(pthread_mutex_t *m)
{
#if FUTEX_TSAN
	/* What it takes for a mistake is an answer of ours. */
	if ((pid_t)(atomic_load(robust_word(m)) & FUTEX_TID_MASK) != gettid())
		return -EPERM;
#endif
	return -pthread_mutex_unlock(m);
}

uint32_t robust_watch(pthread_mutex_t *m)
{
	_Atomic uint32_t *w = robust_word(m);
	uint32_t seen = atomic_load(w);

	while (robust_is_held(seen) && (seen & FUTEX_WAITERS) == 0)
		if (atomic_compare_exchange_weak(w, &seen, seen | FUTEX_WAITERS))
			return seen | FUTEX_WAITERS;
	return seen;
}

bool robust_forsake(pthread_mutex_t *m)
{
	pid_t holder = (pid_t)(atomic_load(robust_word(m)) & FUTEX_TID_MASK);

	if (holder == 0)
		return true;
	if (holder != gettid())
		return tgkill(getpid(), holder, 0) < 0;
	while (robust_unlock(m) == 0)
		;
	return true;
}
