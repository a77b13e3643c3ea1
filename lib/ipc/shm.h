/*
 * Between the files of the memory objects.
 */
#ifndef IPC_SHM_H
#define IPC_SHM_H

#include "mpsup.h"

#define SHM_NAME_MAX 250

/* "/name" of a name as callers give it, in its one spelling; NULL where it is none. It is within `room`. */
const char *shm_name(const char *name, char room[SHM_NAME_MAX + 2]);

#endif
