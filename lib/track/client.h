/*
 * The tracker from the side of a program that speaks to it on purpose. What programs do that know nothing of it is told by
 * libmpsup-preload.so.
 */
#ifndef TRACK_CLIENT_H
#define TRACK_CLIENT_H

#include "track/track.h"

struct err;

/*
 * Says it to the tracker at `socket` (as MPSUP_TRACKER has it) and waits until that has written it down. 0 or -errno with
 * err. Whose the object then is goes by the process that calls.
 */
int track_say(const char *socket, enum track_verb verb, enum track_type type, const char *name,
	      struct err *err);

/* The same without waiting: it may be lost. */
void track_tell(const char *socket, enum track_verb verb, enum track_type type, const char *name);

#endif
