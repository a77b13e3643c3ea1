/*
 * Between the files of object.h: what there is under a name now, of the two kinds that the kernel has.
 */
#ifndef TRACK_LOOK_H
#define TRACK_LOOK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "track/object.h"

struct look {
	int fd;	    /* the folder that it lies in (O_PATH), or the queue; -1 = SysV */
	char *path; /* NULL = none */
	struct statx st;
	struct track_identity identity;
	int64_t not_before_ns; /* it was born then, or later has been changed last: wall clock */
	int64_t tick_ns;       /* by so much the time may be too early */
	uid_t uid;
};

#define LOOK_INIT                                                                                  \
	{                                                                                          \
		.fd = -1                                                                           \
	}
void look_fini(struct look *l);
#define AUTO_LOOK __attribute__((cleanup(look_fini))) struct look

/* 0, -ENOENT: there is none, or another -errno. Fills an initialised one, whatever it answers. */
int file_look(enum track_type type, const char *name, struct look *ret);
int sysv_look(enum track_type type, const char *name, struct look *ret);

int object_look(enum track_type type, const char *name, struct look *ret);
/* Cheap, and true only where it is sure. */
bool object_is_absent(enum track_type type, const char *name);
/* It can be what the record was told of, whose object nobody has seen; it is the record's, which knows what it is of. */
bool object_may_be(const struct track_record *record, const struct look *now);
bool object_is_same(const struct track_record *record, const struct look *now);

/* What is to be done with it, and of a folder how far; `walk` is NULL where that is to be done at once. */
struct task {
	bool unlink; /* what is free goes */
	struct object_walk *walk;
	struct mps_time until;
	bool paused; /* the time was up; the answer is none */
};

/* Of what has been looked at, and is the record's. */
enum object_state file_ask(const struct track_record *record, const struct look *now,
			   struct task *task);
/* Of a record that is of no SysV object, and of nothing that has its name: hidden by us when we were killed? ABSENT: no. */
enum object_state file_ask_hidden(const struct track_record *record, bool unlink);
enum object_state sysv_ask(const struct track_record *record, bool unlink);

/*
 * The fall-back of the lease: 1 where an open file or a map of a process that we may look into is that file (or is in that
 * folder, a path as the kernel has it), ours excepted; 0, or -errno.
 */
int search_file(dev_t dev, ino_t ino, const char *base);
int search_folder(const char *path);

#endif
