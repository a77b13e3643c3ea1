/*
 * Cuts what arrives in pieces into whole lines.
 */
#ifndef BASE_LINES_H
#define BASE_LINES_H

#include <stddef.h>

#include "base/buf.h"

/* Zeroed is empty. */
struct lines {
	struct buf held; /* of a line whose end has not come */
};

/* A line without its newline; only lent. */
typedef void lines_on(const char *line, size_t n, void *user);

/* Calls on for each line that ends in p[0..n). What is longer than LINE_HELD_MAX comes in pieces of that size. */
void lines_feed(struct lines *l, const char *p, size_t n, lines_on *on, void *user);

/* The line that has no end, if there is one, is a line now. */
void lines_end(struct lines *l, lines_on *on, void *user);

void lines_fini(struct lines *l);

#endif
