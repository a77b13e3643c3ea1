/*
 * What the kernel says of an object: is it there, is it still the same, does anybody use it; and its end.
 */
#ifndef TRACK_OBJECT_H
#define TRACK_OBJECT_H

#include <stdbool.h>

#include "base/mtime.h"
#include "track/registry.h"

enum object_state {
	OBJECT_ABSENT, /* no such object */
	OBJECT_FOREIGN, /* one that has its name, but was there before, came after, or is another user's: never touched */
	OBJECT_USED, /* somebody has it open, mapped or attached */
	OBJECT_FREE,
	OBJECT_UNKNOWN, /* errno says why: it cannot be asked (EACCES, EMFILE ...) */
};

/*
 * The identity of what has that name now; false (then all 0): errno says why, ENOENT: there is
 * nothing.
 */
bool object_identify(enum track_type type, const char *name, struct track_identity *ret);

/*
 * Fills the record's identity if it has none and there is an object now that can be the one it was told of: its creator's
 * uid, born not before it was told of (less a tick of the kernel's coarse clock). False: there is one that cannot be, so
 * the record is of nothing.
 */
bool object_settle(struct track_record *record);
/* The same; true: it had none and has one now, which is not in the journal yet. */
bool object_learn(struct track_record *record);

/* The process that has made it runs. */
bool object_has_creator(const struct track_record *record);

/*
 * In use is asked, not guessed: F_SETLEASE(F_WRLCK) for what lies in a file system and for message queues of mq_open(3),
 * shm_nattch; for semaphore sets and SysV queues: the creator and those who used them last, where they live. A folder is
 * in use when a file in it is, and FOREIGN when there is anything of another user, or a mount, in it. Settles the record.
 */
enum object_state object_ask(struct track_record *record);

/*
 * Asks, and unlinks what is free. OBJECT_FREE: it is gone now. For a moment a file is called OBJECT_HIDDEN and a number,
 * which is nobody's object.
 */
#define OBJECT_HIDDEN ".mpsup-"
enum object_state object_unlink(struct track_record *record);

/* How far it has come with a folder. Zeroed at first; of another folder it begins anew by itself. */
struct object_walk {
	struct track_identity of;
	bool unlinks;  /* all was asked */
	bool searched; /* .. by a look into /proc */
	unsigned depth;
	struct {
		long at; /* telldir(3) */
		uint64_t ino;
	} levels[TRACK_FOLDER_DEPTH_MAX];
};

/*
 * As object_unlink(), but a folder in parts. False: the time is up, and it is to be called again with the same walk. Each
 * call gets on, however late it is.
 */
bool object_unlink_some(struct track_record *record, struct object_walk *walk,
			struct mps_time until, enum object_state *ret);

/*
 * sem_open(3) makes /dev/shm/sem.XXXXXX and links it to the name; killed in between, it leaves that. Each such file that
 * belongs to a semaphore of the owner (NULL: of anybody in the registry), by its inode or because nobody has seen that
 * semaphore yet, becomes a record of its own, of the same owner and creator. Reads /dev/shm once. How many, or -errno.
 */
int object_adopt_temporaries(struct track_registry *r, struct track_owner *owner);

/* Where it lies ("/dev/shm/sem.x"), for people and for inotify; NULL where it has no path. Heap string. */
char *object_path(enum track_type type, const char *name);
/* The other way: the type and name of a file in /dev/shm ("sem.x": semaphore "/x"). `name` is the caller's heap string. */
enum track_type object_of_shm_file(const char *file, char **ret_name);

#endif
