/*
 * Writes down what the tracker is about to be told, where it outlives both: on the slate of track/slate.h.
 */
#ifndef PRELOAD_NOTE_H
#define PRELOAD_NOTE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

enum {
	NOTE_NONE = -1, /* there is no slate */
	/* There is no room: the line is too long, or the tracker has not written down yet what stands there. */
	NOTE_FULL = -2,
};

struct note {
	int place; /* where it stands, or one of these */
	uint64_t taken;
};

/* Callable as tell() is. */
struct note note_line(const struct sockaddr_un *tracker, const char *line, size_t n);
/* It was in vain; where nothing stands, or somebody else's by now, nothing is done. */
void note_wipe(const struct note *note);

#endif
