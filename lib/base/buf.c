/*
 * A growing byte buffer. Growth doubles, so that adding byte by byte stays linear.
 */
#include "base/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void (*end_on_failure)(void);

void buf_on_failure(void (*end)(void))
{
	end_on_failure = end;
}

static void fail(struct buf *b)
{
	if (end_on_failure != NULL)
		end_on_failure();
	b->failed = true;
}

void buf_fini(struct buf *b)
{
	free(b->p);
	*b = (struct buf)BUF_INIT;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	if (b->p != NULL)
		b->p[0] = '\0';
}

char *buf_reserve(struct buf *b, size_t n)
{
	size_t cap = b->cap ? b->cap : 64;
	char *p;

	if (b->failed || n >= SIZE_MAX / 4 - b->len) {
		fail(b);
		return NULL;
	}
	if (b->len + n + 1 <= b->cap)
		return b->p + b->len;
	while (cap < b->len + n + 1)
		cap *= 2;
	p = realloc(b->p, cap);
	if (p == NULL) {
		fail(b);
		return NULL;
	}
	b->p = p;
	b->cap = cap;
	return p + b->len;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	char *to = buf_reserve(b, n);

	if (to == NULL)
		return;
	if (n > 0)
		memcpy(to, p, n);
	b->len += n;
	b->p[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_addv(struct buf *b, const char *fmt, va_list ap)
{
	size_t room = b->failed ? 0 : b->cap - b->len;
	va_list again;
	char *to;
	int n;

	/* Mostly there is room for it. */
	va_copy(again, ap);
	n = vsnprintf(room > 0 ? b->p + b->len : NULL, room, fmt, again);
	va_end(again);
	if (n < 0 || (size_t)n >= room) {
		if (room > 0)
			b->p[b->len] = '\0';
		b->failed = b->failed || n < 0;
		to = buf_reserve(b, n > 0 ? (size_t)n : 0);
		if (to == NULL)
			return;
		vsnprintf(to, (size_t)n + 1, fmt, ap);
	}
	b->len += (size_t)n;
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_addv(b, fmt, ap);
	va_end(ap);
}

void buf_drop(struct buf *b, size_t n)
{
	if (n == 0)
		return;
	memmove(b->p, b->p + n, b->len - n);
	b->len -= n;
	b->p[b->len] = '\0';
}

char *buf_take(struct buf *b)
{
	char *p;

	buf_add(b, "", 0);
	if (b->failed) {
		buf_fini(b);
		return NULL;
	}
	p = b->p;
	*b = (struct buf)BUF_INIT;
	return p;
}

bool str_is_prefix(const char *prefix, const char *s)
{
	return strncmp(prefix, s, strlen(prefix)) == 0;
}
