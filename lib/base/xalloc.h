/*
 * Allocation that cannot fail, for the programs and the floors that only they use (conf, sup, cmd): sizes were
 * checked against limits.h before, so running out here ends the process. libmpsup's floors don't include this.
 */
#ifndef BASE_XALLOC_H
#define BASE_XALLOC_H

#include <stddef.h>

struct buf;

/*
 * How it ends: `end` says so and does not return (before it is set: abort(3)). No memory can be had
 * in it.
 */
void xalloc_on_failure(void (*end)(void));
/* For what was asked for otherwise, and is as necessary. */
void xalloc_failed(void) __attribute__((noreturn));

void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), malloc, returns_nonnull));
char *xbuf_take(struct buf *b) __attribute__((returns_nonnull));

#endif
