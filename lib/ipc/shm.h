/*
 * Between the files of the memory objects.
 */
#ifndef IPC_SHM_H
#define IPC_SHM_H

#include <stddef.h>

#include "mpsup.h"

#define SHM_NAME_MAX 250

/* "/name" of a name as callers give it, in its one spelling; NULL where it is none. It is within `room`. */
const char *shm_name(const char *name, char room[SHM_NAME_MAX + 2]);

/*
 * Memory for the bytes from `from` to `to`, also behind the end; the size stays as it is. 0; -ENOSPC or another -errno: then
 * there is none of it.
 */
int shm_allocate(int fd, size_t from, size_t to);

bool shm_is_writable(const struct mps_shm *shm);

#endif
