/*
 * Binary messages: see wire.h. Fields are copied, never cast in place, so alignment does not matter.
 */
#include "base/strv.h"
#include "base/wire.h"

#include <string.h>

#include "base/buf.h"

void wire_put_u32(struct buf *b, uint32_t v)
{
	buf_add(b, &v, sizeof(v));
}

void wire_put_u64(struct buf *b, uint64_t v)
{
	buf_add(b, &v, sizeof(v));
}

void wire_put_bytes(struct buf *b, const void *p, size_t n)
{
	wire_put_u32(b, (uint32_t)n);
	buf_add(b, p, n);
}

void wire_put_str(struct buf *b, const char *s)
{
	wire_put_bytes(b, s, s != NULL ? strlen(s) + 1 : 0);
}

void wire_put_strv(struct buf *b, char *const *v)
{
	uint32_t n = (uint32_t)strv_length(v);

	wire_put_u32(b, n);
	for (uint32_t i = 0; i < n; i++)
		wire_put_str(b, v[i]);
}

static const char *take(struct wire *w, size_t n)
{
	const char *p = w->p;

	if (w->failed || n > w->n) {
		w->failed = true;
		return NULL;
	}
	w->p += n;
	w->n -= n;
	return p;
}

uint32_t wire_u32(struct wire *w)
{
	const char *p = take(w, sizeof(uint32_t));
	uint32_t v = 0;

	if (p != NULL)
		memcpy(&v, p, sizeof(v));
	return v;
}

uint64_t wire_u64(struct wire *w)
{
	const char *p = take(w, sizeof(uint64_t));
	uint64_t v = 0;

	if (p != NULL)
		memcpy(&v, p, sizeof(v));
	return v;
}

const void *wire_bytes(struct wire *w, size_t *ret_n)
{
	size_t n = wire_u32(w);
	const char *p = take(w, n);

	*ret_n = p != NULL ? n : 0;
	return p;
}

const char *wire_str(struct wire *w)
{
	size_t n;
	const char *p = wire_bytes(w, &n);

	if (p == NULL || n == 0)
		return NULL;
	if (memchr(p, '\0', n) != p + n - 1) {
		w->failed = true;
		return NULL;
	}
	return p;
}

bool wire_done(const struct wire *w)
{
	return !w->failed && w->n == 0;
}
