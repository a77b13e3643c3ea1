/*
 * The server's life in shared memory.
 */
#include "manager/life.h"

#include <errno.h>
#include <pthread.h>

#include "ipc/robust.h"

int life_begin(struct mps_shm **ret)
{
	struct mps_shm *shm;
	int r = mps_shm_create(NULL, sizeof(pthread_mutex_t), &shm);

	if (r < 0)
		return r;
	r = robust_init(mps_shm_data(shm), PTHREAD_MUTEX_ERRORCHECK);
	if (r == 0)
		r = robust_lock(mps_shm_data(shm), (struct mps_time){ 0 });
	if (r < 0)
		mps_shm_close(shm);
	else
		*ret = shm;
	return r;
}

void life_end(struct mps_shm *life)
{
	if (life != NULL)
		robust_unlock(mps_shm_data(life));
	mps_shm_close(life);
}

int life_open(int fd, struct mps_shm **ret, _Atomic uint32_t **ret_word)
{
	struct mps_shm *shm;
	void *mutex;
	int r = mps_shm_from_fd(fd, &shm);

	if (r < 0)
		return r == -EINVAL ? -EPROTO : r;
	r = mps_shm_map(shm, 0, sizeof(pthread_mutex_t), &mutex);
	if (r < 0) {
		mps_shm_close(shm);
		return -EPROTO;
	}
	*ret = shm;
	*ret_word = robust_word(mutex);
	return 0;
}
