/*
 * A log as who reads it sees it: FILE and its backups FILE.1, FILE.2 ..., each perhaps with .gz behind it, as one text. Who
 * writes them is rotate.c's and capture_uv.c's matter; they may do so meanwhile.
 */
#ifndef SUP_LOGFILE_H
#define SUP_LOGFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct logpart;

/* The first functions below choose where reading starts; until then it is at the beginning of FILE. */
struct logfile {
	char *path;
	struct logpart *parts; /* open; the newest, most often FILE itself, first */
	size_t n;
	bool whole; /* there is none older, or it cannot be read */
	struct logplace {
		size_t part;
		off_t at; /* where it is compressed, in what it was */
	} start, now;
};

/*
 * Opens FILE as it is now, or the newest backup where it is not there, as in the midst of a rotation: what is added later
 * is not read. 0 or -errno with err; -EINVAL where it is no regular file.
 */
int logfile_open(struct logfile *l, const char *path, struct err *err);

/* Zeroed is fine. */
void logfile_close(struct logfile *l);

/*
 * Starts so that the last n lines follow (n < 0: all); what has no end is a line. 0, 1 with err where an older backup could
 * not be read and so is left out, or -errno with err.
 */
int logfile_start_last(struct logfile *l, long n, struct err *err);

/* Leaves out what was changed last before that time (of the wall clock), file by file. As above. */
int logfile_start_since(struct logfile *l, int64_t ns, struct err *err);

/*
 * Starts behind the backup that is the open file fd, as it is or compressed with its time kept: 1. Where there is
 * none, it was removed, or is one backup too many: 0, and it starts with the oldest that was not changed before it.
 */
int logfile_start_behind(struct logfile *l, int fd);

/* Where it had started. */
void logfile_rewind(struct logfile *l);

/* The next bytes, 0 at the end, or -errno with err. */
ssize_t logfile_read(struct logfile *l, char *p, size_t size, struct err *err);

/*
 * The descriptor of what was opened, which is the caller's from here on, and how far it was there to be read; nothing else
 * is read after.
 */
int logfile_take_fd(struct logfile *l, off_t *ret_size);

#endif
