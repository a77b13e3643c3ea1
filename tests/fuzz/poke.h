/*
 * Bytes become writes to shared memory: which region, where in it, how many, and the bytes themselves. What is left over
 * is the caller's.
 */
#ifndef TESTS_FUZZ_POKE_H
#define TESTS_FUZZ_POKE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "../must.h"

struct input {
	const uint8_t *p;
	size_t left;
};

static inline unsigned byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->p++;
}

struct region {
	off_t at;
	unsigned size; /* a power of two, 64 KiB at most */
};

/* Until a region that is none. */
static inline void poke(int fd, struct input *in, const struct region *regions, unsigned n_regions)
{
	unsigned which;

	while (in->left > 0 && (which = byte(in)) < n_regions) {
		const struct region *r = &regions[which];
		unsigned where = (byte(in) | byte(in) << 8) % r->size, n = byte(in) % 16 + 1;

		if (n > in->left)
			n = (unsigned)in->left;
		MUST(pwrite(fd, in->p, n, r->at + (off_t)where) == (ssize_t)n);
		in->p += n;
		in->left -= n;
	}
}

#endif
