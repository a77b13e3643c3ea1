/*
 * The resource tracker from the side of this library. It is the supervisor's, where MPSUP_TRACKER names one that takes our
 * word; else one that is started for this process and those that come of it: forked ones know of it, others are told by
 * that variable (tracker_socket()). Killed, it is started again by who needs it next, and reads what it has written down.
 */
#ifndef IPC_TRACKER_H
#define IPC_TRACKER_H

#include "track/track.h"

/* 0 when it is written down; -errno, -ENOPKG: mpsup-host is not to be found. The name is a valid one of its type. */
int tracker_say(enum track_verb verb, enum track_type type, const char *name);

/* What was registered before is there now: so that nothing else that gets its name later is taken for it. */
void tracker_made(enum track_type type, const char *name);

/* What MPSUP_TRACKER is to be in processes that we start: our own tracker's socket. NULL: as it is in ours. */
const char *tracker_socket(void);
/*
 * For those: env with that in it, if env has what ours has. A list to be freed, of one piece but for the strings of env. NULL:
 * nothing is to be changed, or there is no memory for it.
 */
char **tracker_environ(char **env);

/* ------------------------------------------------------------------------------------------- tracker_start.c */
/*
 * Sees to it that somebody listens at `socket` (BASE/track-PID.START/ipc.sock): starts a tracker unless there is one by now. One at
 * a time, whichever thread or process wants it. 0 or -errno.
 */
int tracker_revive(const char *socket);

#endif
