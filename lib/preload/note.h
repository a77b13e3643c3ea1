/*
 * Writes down what the tracker is about to be told, where it outlives both: on the slate of track/slate.h.
 */
#ifndef PRELOAD_NOTE_H
#define PRELOAD_NOTE_H

#include <stddef.h>
#include <sys/un.h>

/* There is a slate, but no room on it. */
#define NOTE_FULL (-2)

/* The place it stands in, NOTE_FULL, or -1: there is no slate, or the line is too long. Callable as tell() is. */
int note_line(const struct sockaddr_un *tracker, const char *line, size_t n);

#endif
