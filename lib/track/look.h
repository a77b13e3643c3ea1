/*
 * Between the files of object.h: what there is under a name now, of the two kinds that the kernel has.
 */
#ifndef TRACK_LOOK_H
#define TRACK_LOOK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "track/object.h"

struct look {
	struct track_identity identity;
	int64_t not_before_ns; /* it was born then, or later has been changed last: wall clock */
	int64_t tick_ns;       /* by so much the time may be too early */
	uid_t uid;
};

/* 0, -ENOENT: there is none, or another -errno. */
int file_look(enum track_type type, const char *name, struct look *ret);
int sysv_look(enum track_type type, const char *name, struct look *ret);

/* Of a settled record. With `unlink` what is free goes. */
enum object_state file_ask(const struct track_record *record, bool unlink);
enum object_state sysv_ask(const struct track_record *record, bool unlink);

/*
 * The fall-back of the lease: 1 where an open file or a map of a process that we may look into is that file (or is in that
 * folder, a path as the kernel has it), ours excepted; 0, or -errno.
 */
int search_file(dev_t dev, ino_t ino, const char *base);
int search_folder(const char *path);

#endif
