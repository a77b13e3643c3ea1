/*
 * The mutexes behind mps_lock and mps_rlock, for what waits with one held.
 */
#ifndef IPC_LOCK_H
#define IPC_LOCK_H

#include <pthread.h>

#include "mpsup.h"

/* NULL: it has not been initialised. */
pthread_mutex_t *lock_mutex(struct mps_lock *lock);
pthread_mutex_t *rlock_mutex(struct mps_rlock *lock);

#endif
