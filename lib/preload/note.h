/*
 * Writes down what the tracker is about to be told, where it outlives both: on the slate of track/slate.h.
 */
#ifndef PRELOAD_NOTE_H
#define PRELOAD_NOTE_H

#include <stddef.h>
#include <sys/un.h>

enum {
	NOTE_NONE = -1, /* there is no slate, or the line is too long */
	NOTE_FULL =
		-2, /* there is no room: the tracker has not written down yet what stands there */
};

/* The place it stands in, or one of these. Callable as tell() is. */
int note_line(const struct sockaddr_un *tracker, const char *line, size_t n);

#endif
