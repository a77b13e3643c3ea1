/*
 * A growing byte buffer that is always NUL-terminated, and the few string helpers that everybody needs.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Zeroed or BUF_INIT is empty. Out of memory is sticky: `failed` is set, further additions do nothing,
 * and buf_take() answers NULL, so that a chain of additions needs one check at its end.
 */
struct buf {
	char *p;
	size_t len;
	size_t cap;
	bool failed;
};

/*
 * In programs that end when memory runs out (xalloc.h): called where `failed` would be set, and
 * does not return. NULL: it is set.
 */
void buf_on_failure(void (*end)(void));

#define BUF_INIT                                                                                   \
	{                                                                                          \
		0                                                                                  \
	}

void buf_fini(struct buf *b);
void buf_reset(struct buf *b); /* len = 0, keeps the memory */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_addv(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Room for n more bytes at b->p + b->len; the caller then adds to len. NULL when out of memory. */
char *buf_reserve(struct buf *b, size_t n);

/* Drops the first n bytes (n <= len). */
void buf_drop(struct buf *b, size_t n);

/* The text as a heap string that the caller frees ("" when empty), NULL when memory ran out; b is empty after. */
char *buf_take(struct buf *b);

#define AUTO_BUF __attribute__((cleanup(buf_fini))) struct buf

bool str_is_prefix(const char *prefix, const char *s);

#endif
