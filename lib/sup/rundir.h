/*
 * The runtime directory and its lock: at most one supervisor for a name.
 */
#ifndef SUP_RUNDIR_H
#define SUP_RUNDIR_H

#include <stdbool.h>
#include <sys/types.h>

struct err;

/* What a runtime directory of this user's must not permit. Root's can be gone through: the programs of all users find the tracker's socket there. */
mode_t rundir_forbidden(uid_t uid);

/*
 * Makes DIR, which shall be the given user's, and what is missing above it, which is ours (0700).
 * As root it takes over what another user's instance has left. 0 or -errno; -EPERM when it is
 * somebody else's or open to others, or the folder it lies in is somebody else's or may be written
 * to by others. What it made goes where it fails.
 */
int rundir_make(const char *dir, uid_t uid, gid_t gid, struct err *err);

/*
 * Takes DIR/lock. 0 and a descriptor (CLOEXEC) that holds it until its last copy is closed; -EWOULDBLOCK with "already
 * running: NAME (pid N, since ...)"; other -errno.
 */
int rundir_lock(const char *dir, const char *name, int *ret_fd, struct err *err);

/*
 * Removes the lock that is held by fd, and DIR when nothing else is in it: a start has failed. Somebody who was about to
 * take the lock gets -ENOENT from rundir_lock() then, and begins again.
 */
void rundir_remove(const char *dir, int fd);

/*
 * The same for a folder that has no lock file, DIR itself: that of one command, which makes it, and removes it before it
 * lets go. -EWOULDBLOCK: another has it, or it is being looked at; -ENOENT: it has gone meanwhile.
 */
int rundir_lock_itself(const char *dir, int *ret_fd, struct err *err);

/* Writes the pid into the lock file, for those who find it taken. 0 or -errno. */
int rundir_write_pid(int fd, pid_t pid);

/* True while somebody holds DIR/lock. Opens it for reading only, so that those who watch it are not woken. */
bool rundir_is_held(const char *dir);

/* Blocks until nobody holds DIR/lock, opened before as fd. 0 or -errno. */
int rundir_wait_unlocked(int fd);

#endif
