/*
 * Which lines of a log are wanted: the last ones, those since some time, or both.
 */
#ifndef SUP_LOGPICK_H
#define SUP_LOGPICK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lines.h"

struct err;
struct logfile;

#define LOGPICK_EVER INT64_MIN

struct logpick {
	long lines;	  /* the last so many, < 0 = all */
	int64_t since_ns; /* of the wall clock, or LOGPICK_EVER */
	bool to_the_end;  /* what has no end at the end is a line; else it stays in `lines` */
};

/*
 * Calls on for each line that is wanted. A line that begins with a time (when_of_line()) has it, another that of the line
 * before, and those at the beginning that of the first which has one; where none has, whole files count by their last
 * change. 0, 1 with err where an older backup is left out because it cannot be read,
 * or -errno with err.
 */
int logpick_run(const struct logpick *pick, struct logfile *l, struct lines *lines, lines_on *on,
		void *user, struct err *err);

#endif
