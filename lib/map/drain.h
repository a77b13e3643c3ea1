/*
 * Where results or lines for people go. Writes never block, so that we hear of a Ctrl-C however long nobody reads; and no
 * flag is set that others would find on a descriptor that they share.
 */
#ifndef MAP_DRAIN_H
#define MAP_DRAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum drain_how {
	DRAIN_FILE,  /* does not block for long */
	DRAIN_AGAIN, /* a pipe or a terminal, opened again for ourselves */
	DRAIN_SOCKET,
	DRAIN_ASKED, /* asked before each write, and little is written */
};

struct drain {
	int fd;
	enum drain_how how;
	bool is_tty;
	bool full; /* until its descriptor is ready */
	int error; /* -errno, sticky: what is added is lost */
	struct buf b;
	size_t from;
};

void drain_init(struct drain *o, int fd);
void drain_fini(struct drain *o);

static inline size_t drain_waiting(const struct drain *o)
{
	return o->b.len - o->from;
}

/* Writes what can be written; sets `full` or `error`. */
void drain_flush(struct drain *o);

/* True where both lead to the same place. */
bool drain_is_same(const struct drain *a, const struct drain *b);

#endif
