/*
 * Allocation that ends the process when memory runs out.
 */
#include "base/xalloc.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static void (*end_of_all)(void);

void xalloc_on_failure(void (*end)(void))
{
	end_of_all = end;
}

void xalloc_failed(void)
{
	if (end_of_all != NULL)
		end_of_all();
	abort();
}

static void *checked(void *p)
{
	if (p == NULL)
		xalloc_failed();
	return p;
}

void *xmalloc(size_t n)
{
	return checked(malloc(n ? n : 1));
}

void *xcalloc(size_t n, size_t size)
{
	return checked(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t n)
{
	return checked(realloc(p, n ? n : 1));
}

char *xstrdup(const char *s)
{
	return checked(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
	return checked(strndup(s, n));
}

char *xasprintf(const char *fmt, ...)
{
	struct buf b = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	buf_addv(&b, fmt, ap);
	va_end(ap);
	return xbuf_take(&b);
}

char *xbuf_take(struct buf *b)
{
	return checked(buf_take(b));
}
