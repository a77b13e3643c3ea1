#ifndef IPC_ROBUST_H
#define IPC_ROBUST_H

#include <pthread.h>

#include "base/mtime.h"

int robust_init(pthread_mutex_t *m, int type);
int robust_lock(pthread_mutex_t *m, struct mps_time until);
int robust_unlock(pthread_mutex_t *m);

#endif
