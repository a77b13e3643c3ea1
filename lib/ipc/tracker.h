/*
 * The resource tracker from the side of this library: the supervisor's, or one that is started for this tree of processes.
 */
#ifndef IPC_TRACKER_H
#define IPC_TRACKER_H

#include "track/track.h"

/* 0 when it is written down; -errno. The name is a valid one of its type. */
int tracker_say(enum track_verb verb, enum track_type type, const char *name);

#endif
