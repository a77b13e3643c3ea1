/*
 * One command under a keeper of its own: what exec, lock and sem have in common; map has the tracker of it.
 */
#ifndef CMD_MPSUP_COMMAND_H
#define CMD_MPSUP_COMMAND_H

#include <stdbool.h>

#include "mpsup/front.h"

/* What such a verb begins with. */
#define COMMAND_OPTIONS(verb_)                                                                     \
	{                                                                                          \
		.verb = verb_, .grace = { MPS_NS_PER_S / 2 }, .preload = true, .dir_lock = -1,     \
		.hold = -1,                                                                        \
	}

/*
 * A folder for front_options.dir, and the descriptor for dir_lock; standard descriptors are open. NULL: it runs without, and
 * that was said.
 */
char *command_make_dir(const char *verb, int *ret_lock);

/* Runs front->argv to its end, as front_run(), and that of its IPC objects if it `tracks`. The exit status. */
int command_run(struct front_options *front, bool tracks);

#endif
