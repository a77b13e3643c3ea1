/*
 * The C library's robust mutex in memory that processes share: the one primitive whose holder's death the kernel tells. The
 * holder is a thread; the kernel goes through the list of what it holds when it ends (set_robust_list(2)).
 *
 * Not PTHREAD_PRIO_INHERIT, which would lose no wake-up (see robust.c): with four processes it does a quarter of the work, and the
 * C library aborts whoever waits for a holder that is in another PID namespace.
 */
#ifndef IPC_ROBUST_H
#define IPC_ROBUST_H

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "base/mtime.h"

/* PTHREAD_MUTEX_ERRORCHECK or PTHREAD_MUTEX_RECURSIVE. -errno. */
int robust_init(pthread_mutex_t *m, int type);
/*
 * {INT64_MAX} = for ever, {0} = try. 0, or EOWNERDEAD (positive): held, too, and the one who held it before died with it, which
 * is told once. -ETIMEDOUT, -EDEADLK, -EAGAIN (recursion). Who waits looks again each ROBUST_SLICE_NS.
 */
#define ROBUST_SLICE_NS (250 * MPS_NS_PER_MS)
int robust_lock(pthread_mutex_t *m, struct mps_time until);
/* What one of the C library's locking calls has answered as robust_lock() would; made consistent on EOWNERDEAD. */
int robust_locked(pthread_mutex_t *m, int r);
/* For what is done within a moment, whatever the time: waits for ROBUST_BRIEF_NS at least, as a holder may be stopped. */
#define ROBUST_BRIEF_NS MPS_NS_PER_S
int robust_lock_brief(pthread_mutex_t *m, struct mps_time until);
/* 0, -EPERM */
int robust_unlock(pthread_mutex_t *m);

/*
 * Before the memory is unmapped: what this thread holds is unlocked, as the C library and the kernel keep a list of it. False:
 * another thread of this process holds it, and it has to stay mapped.
 */
bool robust_forsake(pthread_mutex_t *m);

/* Where the C library keeps the futex and what kind of mutex it is. */
#ifdef __GLIBC__
#define ROBUST_WORD __data.__lock
#define ROBUST_KIND __data.__kind
#else /* musl */
#define ROBUST_WORD __u.__i[1]
#define ROBUST_KIND __u.__i[0]
#endif

/*
 * The word that the kernel knows the mutex by, in which is: the thread, FUTEX_WAITERS (the kernel, and who
 * unlocks, wake one who sleeps on the word), FUTEX_OWNER_DIED. One that waits for a holder's death sets FUTEX_WAITERS
 * (robust_watch()), and sleeps on the word beside others (futex_wait_many()).
 */
static inline _Atomic uint32_t *robust_word(pthread_mutex_t *m)
{
	return (_Atomic uint32_t *)(void *)&m->ROBUST_WORD;
}

static inline bool robust_is_held(uint32_t word)
{
	return (word & FUTEX_TID_MASK) != 0;
}

static inline bool robust_is_dead(uint32_t word)
{
	return (word & FUTEX_TID_MASK) == 0 && (word & FUTEX_OWNER_DIED) != 0;
}

/* pthread_mutex_trylock(3): EDEADLK where it is one's own already, which musl tells only who waits. */
static inline int robust_try(pthread_mutex_t *m)
{
	int r = pthread_mutex_trylock(m);

#ifndef __GLIBC__
	if (r == EBUSY && (m->ROBUST_KIND & 3) == PTHREAD_MUTEX_ERRORCHECK &&
	    (pid_t)(atomic_load(robust_word(m)) & FUTEX_TID_MASK) == gettid())
		r = EDEADLK;
#endif
	return r;
}

/* The word as of now, with FUTEX_WAITERS in it if the mutex is held. */
uint32_t robust_watch(pthread_mutex_t *m);

#endif
