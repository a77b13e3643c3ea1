/*
 * The log of what was done, a line a task, with the columns of GNU parallel's --joblog, so that each may go on where the
 * other was: Seq Host Starttime JobRuntime Send Receive Exitval Signal Command.
 */
#ifndef MAP_JOBLOG_H
#define MAP_JOBLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct joblog_entry {
	uint64_t seq;
	double started, seconds;
	uint64_t sent, received;
	int status, signal;
	const char *command; /* lent; not terminated */
	size_t n_command;
};

/* A line without its newline. False where it is none of these. */
bool joblog_parse(const char *line, size_t n, struct joblog_entry *ret);
/* Adds the line. What cannot stand in one is written as parallel writes it, and a long command is cut. */
void joblog_format(const struct joblog_entry *e, struct buf *to);

/* What a log lists: a task each, sorted by number, the last line of a task counts. */
struct joblog_done {
	uint64_t seq, line;
	uint64_t hash; /* of the command */
	bool good;
};
struct joblog {
	int fd; /* -1 = none */
	struct buf b;
	int error; /* -errno of a write, sticky */
	struct joblog_done *done;
	size_t n_done, cap_done, at;
	uint64_t n_lines;
	uint64_t n_bad; /* lines that were none */
};

/*
 * Makes the file, or with `resume` reads it and goes on behind it: a last line without an end is taken away. 0 or -errno
 * with err.
 */
int joblog_open(struct joblog *j, const char *path, bool resume, struct err *err);
void joblog_fini(struct joblog *j);
void joblog_flush(struct joblog *j);

/* The list in text[0..n); *ret_good = the bytes up to the last whole line. For joblog_open() and the fuzzer. */
void joblog_read(struct joblog *j, const char *text, size_t n, size_t *ret_good);

/* Of one task; asked in the order of their numbers. NULL = it is not listed. */
const struct joblog_done *joblog_find(struct joblog *j, uint64_t seq);
uint64_t joblog_hash(const char *command, size_t n);

#endif
