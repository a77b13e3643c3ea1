/*
 * Cutting lines. See lines.h.
 */
#include "base/lines.h"

#include <string.h>

#include "base/limits.h"

/* So much more of the line, without an end in it. */
static void hold(struct lines *l, const char *p, size_t n, lines_on *on, void *user)
{
	while (l->held.len + n > LINE_HELD_MAX) {
		size_t part = LINE_HELD_MAX - l->held.len;

		buf_add(&l->held, p, part);
		lines_end(l, on, user);
		p += part;
		n -= part;
	}
	buf_add(&l->held, p, n);
}

void lines_feed(struct lines *l, const char *p, size_t n, lines_on *on, void *user)
{
	const char *end = p + n, *newline;

	for (; (newline = memchr(p, '\n', (size_t)(end - p))) != NULL; p = newline + 1) {
		size_t len = (size_t)(newline - p);

		if (l->held.len == 0 && len <= LINE_HELD_MAX) {
			on(p, len, user);
			continue;
		}
		hold(l, p, len, on, user);
		on(l->held.p, l->held.len, user);
		buf_reset(&l->held);
	}
	if (p < end)
		hold(l, p, (size_t)(end - p), on, user);
}

void lines_end(struct lines *l, lines_on *on, void *user)
{
	if (l->held.len > 0)
		on(l->held.p, l->held.len, user);
	buf_reset(&l->held);
}

void lines_fini(struct lines *l)
{
	buf_fini(&l->held);
}
