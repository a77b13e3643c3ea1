/*
 * Outputs that wait for their turn and are too much for memory: one file without a name, whose parts are given back as
 * they are read.
 */
#ifndef MAP_SPILL_H
#define MAP_SPILL_H

#include <stddef.h>
#include <sys/types.h>

struct extent {
	off_t at;
	size_t n;
};

/* SPILL_INIT is empty: the file is made when it is needed. */
struct spill {
	int fd;
	off_t end;
	size_t used;
};
#define SPILL_INIT                                                                                 \
	{                                                                                          \
		-1, 0, 0                                                                           \
	}
void spill_fini(struct spill *s);

/* 0, or -errno (-ENOSPC ...): then nothing has changed. */
int spill_put(struct spill *s, const void *p, size_t n, struct extent *ret);

/* The first n bytes of it, which are then given back. 0 or -errno. */
int spill_take(struct spill *s, struct extent *e, void *p, size_t n);
void spill_drop(struct spill *s, struct extent *e);

#endif
