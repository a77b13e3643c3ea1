/*
 * Who has objects open, mapped or attached: one walk through /proc for all that are asked about. For people; whether an
 * object may go is object.h's question, which the kernel answers.
 */
#ifndef TRACK_USERS_H
#define TRACK_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What it is looked for by; of SysV shared memory ino is its id and dev TRACK_SYSV_DEV. */
struct track_target {
	dev_t dev;
	ino_t ino;
};
#define TRACK_SYSV_DEV ((dev_t)-1)

/* Called once for each process that uses targets[index]. */
typedef void track_users_fn(size_t index, pid_t pid, void *user);

/*
 * Targets with dev 0 are left out. What another user's processes use cannot be seen: *ret_hidden is how many those are.
 * 0 or -errno: there is no /proc, or no memory.
 */
int track_users(const struct track_target *targets, size_t n, track_users_fn *fn, void *user,
		size_t *ret_hidden);

/* The same for one process after the other. Heap, free(3); NULL = no memory. False: that process may not be looked into. */
struct track_users *track_users_new(const struct track_target *targets, size_t n);
bool track_users_of(struct track_users *u, pid_t pid, track_users_fn *fn, void *user);

#endif
