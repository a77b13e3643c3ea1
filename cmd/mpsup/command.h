/*
 * One command under a keeper of its own: what exec, lock and sem have in common.
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

/* Runs front->argv to its end, as front_run(), and that of its IPC objects if it `tracks`. The exit status. */
int command_run(struct front_options *front, bool tracks);

#endif
