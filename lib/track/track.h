/*
 * Objects with a name that outlive the processes that made them: their types, what is recorded of each, and the words in
 * which programs speak of them. registry.c holds the records, journal.c writes them down, object.c asks the kernel about
 * an object and unlinks it, sweep.c does so for those that a dead instance has left. Nothing here knows programs,
 * instances or sockets: an owner is a number.
 */
#ifndef TRACK_TRACK_H
#define TRACK_TRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/limits.h"

/* X(NAME, word on the wire, what people call it) */
#define TRACK_TYPES(X)                                                                             \
	X(SEMAPHORE, "semaphore", "semaphore")		   /* sem_open(3): "/name" */              \
	X(SHARED_MEMORY, "shared_memory", "shared memory") /* shm_open(3) and /dev/shm: "/name" */ \
	X(SYSV_SEM, "sysv_sem", "SysV semaphore set")	   /* semget(2): id, decimal */            \
	X(SYSV_SHM, "sysv_shm", "SysV shared memory")	   /* shmget(2): id */                     \
	X(SYSV_MSG, "sysv_msg", "SysV message queue")	   /* msgget(2): id */                     \
	X(MQUEUE, "mqueue", "message queue")		   /* mq_open(3): "/name" */               \
	X(FILE, "file", "file")				   /* absolute path */                     \
	X(FOLDER, "folder", "folder")			   /* absolute path; with all in it */

enum track_type {
#define X(name, word, people) TRACK_##name,
	TRACK_TYPES(X)
#undef X
		N_TRACK_TYPES
};

const char *track_type_word(enum track_type type);
const char *track_type_people(enum track_type type);
/* False where there is no such. */
bool track_type_parse(const char *word, size_t n, enum track_type *ret);
bool track_type_is_sysv(enum track_type type);

/*
 * What tells one object from another that has its name later. Of a file: the inode and the time of its birth, 0 where the
 * file system does not tell. Of a SysV object, whose id is its name: a mix of what never changes of it (key, size, creator)
 * for the inode, and shm_ctime and the like, which semctl(SETVAL) and IPC_SET move on, so that it may grow. All 0: it was
 * not there yet when it was told of.
 */
struct track_identity {
	uint64_t ino;
	int64_t born_ns; /* wall clock */
};

/* Who made it. */
struct track_creator {
	pid_t pid;
	uid_t uid;
	uint64_t start; /* of the process, ticks since boot (proc(5), field 22); 0 = not known */
};

/* ---------------------------------------------------------------------------------------------------- words */

enum track_verb {
	TRACK_REGISTER,	  /* the sender is about to make it, or has made it */
	TRACK_UNREGISTER, /* what has that name is somebody else's matter now */
	TRACK_ATTEMPT,	  /* REGISTER, and RETRACT follows where another has it already (O_EXCL) */
	TRACK_RETRACT, /* the sender has failed to make it: as if its last word that it would had not been said */
	TRACK_REMOVED, /* the sender has removed what had that name, whoever had made it */
	TRACK_PROBE,   /* nothing: is anybody there? */
	TRACK_SLATE, /* the other lines of this datagram stand in that place of the sender's slate: slate.h */
};

/*
 * "REGISTER:NAME:TYPE", so too the others, but "PROBE:0:noop" and "SLATE:PLACE:noop": a line, the last may lack
 * its newline. NAME is percent-encoded (RFC 3986): every byte but letters, digits and "-._~/" is %XX.
 *
 * A decoded name is valid for its type, and there is one spelling of each: "/name" for what lies in /dev/shm and
 * /dev/mqueue (a missing slash is put before it, needless ones are dropped; only shared memory may lie in folders
 * there), an absolute path without "." and ".." and needless slashes, or of SysV a decimal id, or "k" and eight
 * hexadecimal digits of a key: before it is there it has no id. "REGISTER:k0052e2c1:sysv_shm" is followed by
 * "REGISTER:ID:sysv_shm" and "UNREGISTER:k0052e2c1:sysv_shm".
 */
struct track_word {
	enum track_verb verb;
	enum track_type type; /* N_TRACK_TYPES of a probe and a slate */
	char *name;	      /* decoded, NUL-terminated; in the caller's buffer */
	size_t name_length;
};

/*
 * Takes the next line off the front of *p (*n bytes), decoding in place. 1 with *ret, 0 at the end, -EBADMSG for a
 * malformed line, which is skipped.
 */
int track_word_next(char **p, size_t *n, struct track_word *ret);

/* True where it is a decoded name in its one spelling. */
bool track_name_is_valid(enum track_type type, const char *name, size_t n);

struct buf;
/* Appends a line with its newline. The name of a probe is "0"; the type of a probe and a slate is not looked at. */
void track_word_encode(enum track_verb verb, enum track_type type, const char *name,
		       struct buf *to);
/* Appends n bytes percent-encoded. */
void track_encode_name(const char *name, size_t n, struct buf *to);
/* Decodes in place; the length, or -EBADMSG: a bad escape, or an encoded NUL. */
ssize_t track_decode_name(char *p, size_t n);

#endif
