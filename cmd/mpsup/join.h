/*
 * Waiting for somebody else's start of the same instance: until its supervisor answers, or it has given up.
 */
#ifndef CMD_MPSUP_JOIN_H
#define CMD_MPSUP_JOIN_H

#include "base/mtime.h"

struct err;

struct join {
	int fd; /* inotify, -1 before the first wait */
	struct mps_time deadline;
	int64_t look_after_ms; /* at the lock, once it was told of that it is closed; 0 = not by itself */
};

#define JOIN_INIT                                                                                  \
	{                                                                                          \
		.fd = -1                                                                           \
	}
#define AUTO_JOIN __attribute__((cleanup(join_fini)))

/*
 * Returns 0 when it is time to try to connect, and then to start, again: at the first call at once, since something may
 * have happened before we looked; then when the control socket in the runtime directory `dir` has come or the lock was
 * let go of. -ETIMEDOUT with err 10 s after the first call, else -errno.
 */
int join_wait(struct join *j, const char *dir, struct err *err);
void join_fini(struct join *j);

#endif
