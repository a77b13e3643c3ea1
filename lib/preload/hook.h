/*
 * The functions of libc that have a hook, the real ones behind them, and what the files of this folder share: files.c,
 * names.c and sysv.c.
 */
#ifndef PRELOAD_HOOK_H
#define PRELOAD_HOOK_H

#include <mqueue.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/types.h>

#include "preload/tell.h"

/* X(result, name in libc, parameters) */
#define HOOKS(X)                                                                                   \
	X(int, open, (const char *path, int flags, ...))                                           \
	X(int, openat, (int folder, const char *path, int flags, ...))                             \
	X(int, creat, (const char *path, mode_t mode))                                             \
	X(FILE *, fopen, (const char *path, const char *mode))                                     \
	X(int, mkstemp, (char *template))                                                          \
	X(int, mkostemp, (char *template, int flags))                                              \
	X(int, mkstemps, (char *template, int suffix))                                             \
	X(int, mkostemps, (char *template, int suffix, int flags))                                 \
	X(int, unlink, (const char *path))                                                         \
	X(int, unlinkat, (int folder, const char *path, int flags))                                \
	X(int, remove, (const char *path))                                                         \
	X(int, rename, (const char *from, const char *to))                                         \
	X(int, renameat, (int from_folder, const char *from, int to_folder, const char *to))       \
	X(int, renameat2,                                                                          \
	  (int from_folder, const char *from, int to_folder, const char *to, unsigned flags))      \
	X(int, link, (const char *from, const char *to))                                           \
	X(int, linkat,                                                                             \
	  (int from_folder, const char *from, int to_folder, const char *to, int flags))           \
	X(int, symlink, (const char *target, const char *path))                                    \
	X(int, symlinkat, (const char *target, int folder, const char *path))                      \
	X(int, shm_open, (const char *name, int flags, mode_t mode))                               \
	X(int, shm_unlink, (const char *name))                                                     \
	X(sem_t *, sem_open, (const char *name, int flags, ...))                                   \
	X(int, sem_unlink, (const char *name))                                                     \
	X(mqd_t, mq_open, (const char *name, int flags, ...))                                      \
	X(int, mq_unlink, (const char *name))                                                      \
	X(int, shmget, (key_t key, size_t size, int flags))                                        \
	X(int, shmctl, (int id, int command, void *buf))                                           \
	X(int, semget, (key_t key, int n, int flags))                                              \
	X(int, semctl, (int id, int number, int command, ...))                                     \
	X(int, msgget, (key_t key, int flags))                                                     \
	X(int, msgctl, (int id, int command, void *buf))

/* Under names of our own, since headers say more of those in libc than is so: that a path is never NULL, for one. */
enum {
#define X(result, name, parameters) AT_##name,
	HOOKS(X)
#undef X
		N_HOOKS
};
#define EXPORT __attribute__((visibility("default")))
#define X(result, name, parameters)                                                                \
	typedef result type_##name parameters;                                                     \
	EXPORT type_##name hook_##name __asm__(#name);
HOOKS(X)
#undef X

/* The function that would have been called without us, be it libc's or of somebody who stands there like us. */
void *hook_next(int i);
#define NEXT(name) ((type_##name *)hook_next(AT_##name))

/* -------------------------------------------------------------------------------------------------- files.c */
#define SHM_FOLDER "/dev/shm/"
enum { SHM = sizeof(SHM_FOLDER) - 1 };

/* Something that is about to be made, perhaps. */
struct creation {
	bool told, guessed;
	int kept; /* errno */
	struct object object;
};

/*
 * Tells of what is about to be made at this path, if there is nothing yet; an exclusive creation finds that out itself.
 * This and the others keep errno.
 */
void creation_begin(struct creation *c, const char *path, bool exclusive);
/* The same with an object that is known, and of which it is known whether it is about to be made. */
void creation_announce(struct creation *c, bool exclusive);
/*
 * The same before a call with such flags (open(2)); the flags with which it is to be done at first. `is_new` tells, and
 * may change errno, whether there is nothing of that name.
 */
int creation_flags(struct creation *c, int flags, bool (*is_new)(const char *), const char *name);
/* The same for a file; where nothing can be made nothing is done. */
int creation_of_file(struct creation *c, const char *path, int flags);
/* errno says why it was not made. True: it is to be begun and done once more. */
bool creation_end(struct creation *c, bool made);
/* What lies at this path; false: not in /dev/shm, or nobody is to be told. */
bool object_at(const char *path, struct object *ret);
void object_removed(const char *path);

#endif
