/*
 * What happens while a verb waits, on a terminal: a line for each process that updates, or one counter for many. It is
 * wiped before the lines that stay are printed.
 */
#ifndef CMD_MPSUP_PROGRESS_H
#define CMD_MPSUP_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/mtime.h"

struct progress {
	bool on;	       /* false: every call does nothing */
	json_t *states;	       /* name -> state, in the order of the first event */
	unsigned lines;	       /* that stand on the terminal */
	struct mps_time drawn; /* when the counter was drawn last */
};

/* Draws only where standard output is a terminal and `wanted`. */
void progress_init(struct progress *p, bool wanted);
void progress_fini(struct progress *p);

/* The data of a "state" event. */
void progress_event(struct progress *p, json_t *data);

/* Takes away what was drawn. */
void progress_wipe(struct progress *p);

#endif
