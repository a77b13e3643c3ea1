/*
 * The start of the shared memory of the logs, with the records of what is being done: for logs.c
 * and logs_record.c.
 */
#ifndef SUP_LOGS_RECORD_H
#define SUP_LOGS_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "sup/logs.h"

/*
 * From the program's pipe to a window: reading it directly could be killed after the kernel took
 * the bytes and before we counted them. So they are moved to a private pipe in one step, counted
 * there, and what a kill leaves in it tells how many of them have already been read.
 */
struct log_reading {
	uint64_t capture; /* number + 1; 0 = none */
	uint64_t tail;	  /* of the window, before */
	uint64_t n;	  /* 0 = not known yet: what the private pipe holds */
	uint64_t ending;  /* of the capture, before */
};

/*
 * The other way the same pipe tells how much a reader has got, which cannot be asked: what is to be
 * written is put there first, and spliced from there.
 */
struct log_writing {
	uint64_t slot; /* number + 1; 0 = none */
	uint64_t from; /* 0 = of the slot's own window, else the number of a capture + 1 */
	uint64_t head; /* of the window, before */
	uint64_t n;    /* 0 = it is being put there: nothing has gone out */
	uint64_t left; /* 0 = not known yet: what the private pipe holds; else that + 1 */
};

struct log_head {
	uint64_t magic;
	uint64_t instances; /* there is room for so many */
	uint64_t used;	    /* slots that were ever taken */
	struct log_reading reading;
	struct log_writing writing;
	uint64_t n_words; /* of a commit; 0 = none */
	struct {
		uint64_t at, value; /* at: in bytes from the start */
	} words[LOGS_COMMIT_MAX];
};

static inline size_t logs_n_captures(const struct logs *l)
{
	return (size_t)2 * l->instances;
}

static inline size_t logs_n_slots(const struct logs *l)
{
	return logs_n_captures(l) + 64;
}

/* The words of a commit that a kill has cut short, which fit. */
void logs_finish_commit(struct logs *l);
/* Then what was being read and written. 0, or -errno: a record makes no sense. */
int logs_finish_moves(struct logs *l);

#endif
