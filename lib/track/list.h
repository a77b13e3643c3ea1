/*
 * What there is: an object as the kernel describes it, and all of this machine. For people; nothing is changed.
 */
#ifndef TRACK_LIST_H
#define TRACK_LIST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "track/track.h"
#include "track/users.h"

struct track_look {
	uint64_t size; /* bytes; of a semaphore set how many, of a message queue the bytes in it */
	uid_t uid;     /* its owner */
	pid_t creator; /* SysV shared memory: who made it; 0 = the kernel does not know */
	int64_t born_ns;	    /* wall clock; 0 = not known */
	struct track_target target; /* dev 0: nobody can be found */
};

/* 0 or -errno: -ENOENT where there is none. */
int track_look(enum track_type type, const char *name, struct track_look *ret);

typedef void track_list_fn(enum track_type type, const char *name, const struct track_look *look,
			   void *user);

/*
 * Everything in /dev/shm, in /dev/mqueue where that is mounted, and of /proc/sysvipc. 0 or the first -errno; what can be
 * listed is.
 */
int track_list(track_list_fn *fn, void *user);

#endif
