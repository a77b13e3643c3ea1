/*
 * The tracker of a tree of processes that has no supervisor: one small process of its own, for the program that has started
 * it and all that find it through that. An object is unlinked when the process that has told of it is gone and nobody uses
 * it; what is in use then is asked again whenever another process has ended. It ends when all of these processes have, and
 * leaves nothing behind but what is still in use: that stays in its journal.
 */
#ifndef TRACK_SERVE_H
#define TRACK_SERVE_H

#include <sys/types.h>

/* Its folders: BASE/track-PID.START of the process that was the first to need one. */
#define SERVE_FOLDER "track-"

/*
 * Serves at DIR/ipc.sock, for `program` and everybody who says something, and goes on with what the journal that lies there
 * tells of. On ready_fd it writes an int32_t when it can be spoken to, 0 or -errno. Returns that, when all is over.
 *
 * Whoever starts one holds DIR itself (flock(2)) from before he has found nobody there until he has read that.
 */
int track_serve(const char *dir, pid_t program, int ready_fd);

#endif
