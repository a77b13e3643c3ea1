/*
 * Mutexes in memory that may be damaged: the C library takes what lies there for what it has put there.
 */
#ifndef IPC_SOUND_H
#define IPC_SOUND_H

#include <pthread.h>
#include <stdbool.h>

#include "ipc/robust.h"

/*
 * False where it is no robust mutex of that type (PTHREAD_MUTEX_ERRORCHECK ...), or is held by a thread that does not exist: the
 * kernel would have said that it has died.
 */
bool lock_is_sound(pthread_mutex_t *m, int type);

/* Of all the mutexes of a semaphore; and its numbers lead nowhere else. */
struct mps_semaphore;
bool semaphore_is_sound(struct mps_semaphore *s);
/* robust_forsake() of the units: this thread's are given back. */
bool semaphore_forsake(struct mps_semaphore *s);

/* The first half of it in an instant: `kind` is lock_kind() of the type, -errno where there is none. */
int lock_kind(int type);
static inline bool lock_has_kind(const pthread_mutex_t *m, int kind)
{
	return m->ROBUST_KIND == kind;
}

#endif
