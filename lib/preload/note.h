/*
 * Writes down what the tracker is about to be told, where it outlives both: on the slate of track/slate.h.
 */
#ifndef PRELOAD_NOTE_H
#define PRELOAD_NOTE_H

#include <stddef.h>
#include <sys/un.h>

/* The place it stands in, or -1: there is no slate, no room, or the line is too long. Callable as tell() is. */
int note_line(const struct sockaddr_un *tracker, const char *line, size_t n);

#endif
