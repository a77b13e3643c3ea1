#include "ipc/robust.h"

#include <errno.h>

int robust_init(pthread_mutex_t *m, int type)
{
	pthread_mutexattr_t a;
	int r = pthread_mutexattr_init(&a);

	if (r == 0)
		r = pthread_mutexattr_settype(&a, type);
	if (r == 0)
		r = pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (r == 0)
		r = pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	if (r == 0)
		r = pthread_mutex_init(m, &a);
	return -r;
}

int robust_lock(pthread_mutex_t *m, struct mps_time until)
{
	struct timespec ts = { until.ns / MPS_NS_PER_S, until.ns % MPS_NS_PER_S };
	int r = pthread_mutex_trylock(m);

	if (r == EBUSY && until.ns > 0)
		r = until.ns == INT64_MAX ? pthread_mutex_lock(m)
					  : pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &ts);
	if (r == EOWNERDEAD) {
		pthread_mutex_consistent(m);
		return EOWNERDEAD;
	}
	return r == EBUSY ? -ETIMEDOUT : -r;
}

int robust_unlock(pthread_mutex_t *m)
{
	return -pthread_mutex_unlock(m);
}
