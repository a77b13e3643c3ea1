/*
 * Values: MessagePack is written by msgpack-c; it is read here, in place, where msgpack-c would make a tree of objects on the heap of
 * each message.
 */
#include "manager/value.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "mpsup.h"

/* ---------------------------------------------------------------------------------------------------- reading */

/* n bytes as a number. */
static uint64_t big_endian(const uint8_t *p, size_t n)
{
	uint64_t u = 0;

	while (n-- > 0)
		u = u << 8 | *p++;
	return u;
}

static void set_unsigned(struct value *ret, uint64_t u)
{
	ret->kind = u > INT64_MAX ? VALUE_UINT : VALUE_INT;
	ret->i = (int64_t)u;
}

static void set_signed(struct value *ret, uint64_t u, size_t n)
{
	unsigned shift = 64 - 8 * (unsigned)n;

	ret->kind = VALUE_INT;
	ret->i = (int64_t)(u << shift) >> shift;
}

static void set_float(struct value *ret, uint64_t u, size_t n)
{
	uint32_t half = (uint32_t)u;
	float f;

	ret->kind = VALUE_FLOAT;
	memcpy(&f, &half, sizeof(f));
	ret->d = (double)f;
	if (n == sizeof(ret->d))
		memcpy(&ret->d, &u, sizeof(u));
}

/* Behind the first byte: how many bytes there are of a number or a length, and what it says. */
enum { NONE = -1, UNSIGNED = -2, SIGNED = -3 };
static const struct {
	int8_t kind; /* or one of these */
	uint8_t bytes;
} rows[32] = {
	[0x00] = { VALUE_NIL, 0 },  [0x01] = { NONE, 0 },	 [0x02] = { VALUE_BOOL, 0 },
	[0x03] = { VALUE_BOOL, 0 }, [0x04] = { VALUE_BIN, 1 },	 [0x05] = { VALUE_BIN, 2 },
	[0x06] = { VALUE_BIN, 4 },  [0x07] = { NONE, 0 },	 [0x08] = { NONE, 0 },
	[0x09] = { NONE, 0 },	    [0x0a] = { VALUE_FLOAT, 4 }, [0x0b] = { VALUE_FLOAT, 8 },
	[0x0c] = { UNSIGNED, 1 },   [0x0d] = { UNSIGNED, 2 },	 [0x0e] = { UNSIGNED, 4 },
	[0x0f] = { UNSIGNED, 8 },   [0x10] = { SIGNED, 1 },	 [0x11] = { SIGNED, 2 },
	[0x12] = { SIGNED, 4 },	    [0x13] = { SIGNED, 8 },	 [0x14] = { NONE, 0 },
	[0x15] = { NONE, 0 },	    [0x16] = { NONE, 0 },	 [0x17] = { NONE, 0 },
	[0x18] = { NONE, 0 },	    [0x19] = { VALUE_STR, 1 },	 [0x1a] = { VALUE_STR, 2 },
	[0x1b] = { VALUE_STR, 4 },  [0x1c] = { VALUE_ARRAY, 2 }, [0x1d] = { VALUE_ARRAY, 4 },
	[0x1e] = { VALUE_MAP, 2 },  [0x1f] = { VALUE_MAP, 4 },
};

/* Those whose first byte is all of the head. */
static bool set_short(struct value *ret, uint8_t first)
{
	if (first < 0x80 || first >= 0xe0) {
		ret->kind = VALUE_INT;
		ret->i = (int8_t)first;
	} else if (first < 0x90) {
		ret->kind = VALUE_MAP;
		ret->n = first & 0x0f;
	} else if (first < 0xa0) {
		ret->kind = VALUE_ARRAY;
		ret->n = first & 0x0f;
	} else if (first < 0xc0) {
		ret->kind = VALUE_STR;
		ret->n = first & 0x1f;
	} else {
		return false;
	}
	return true;
}

static int set_long(struct value *ret, struct values *v, uint8_t first)
{
	size_t bytes = rows[first - 0xc0].bytes;
	int kind = rows[first - 0xc0].kind;
	uint64_t u;

	if (kind == NONE || v->n < bytes)
		return -EINVAL;
	u = big_endian(v->p, bytes);
	v->p += bytes;
	v->n -= bytes;
	if (kind == UNSIGNED) {
		set_unsigned(ret, u);
	} else if (kind == SIGNED) {
		set_signed(ret, u, bytes);
	} else if (kind == VALUE_FLOAT) {
		set_float(ret, u, bytes);
	} else {
		ret->kind = (enum value_kind)kind;
		ret->is_true = first == 0xc3;
		ret->n = u;
	}
	return 0;
}

int value_next(struct values *v, struct value *ret)
{
	struct values left = *v;
	struct value got = { 0 };
	uint8_t first;

	if (left.n == 0)
		return -ENODATA;
	first = *left.p++;
	left.n--;
	if (!set_short(&got, first) && set_long(&got, &left, first) < 0)
		return -EINVAL;
	if (got.kind == VALUE_STR || got.kind == VALUE_BIN) {
		if (got.n > left.n)
			return -EINVAL;
		got.p = (const char *)left.p;
		left.p += got.n;
		left.n -= got.n;
	} else if (got.kind >= VALUE_ARRAY && got.n > left.n) {
		return -EINVAL;
	}
	*v = left;
	*ret = got;
	return 0;
}

static size_t children(const struct value *v)
{
	return v->kind == VALUE_ARRAY ? v->n : v->kind == VALUE_MAP ? 2 * v->n : 0;
}

/* One value with all that is in it; each goes to `each`, which may be NULL. */
static int walk(struct values *v, int (*each)(void *user, const struct value *value), void *user)
{
	size_t left[VALUE_DEPTH_MAX + 1];
	unsigned depth = 0;

	left[0] = 1;

	for (;;) {
		struct value got;
		int r;

		while (left[depth] == 0)
			if (depth-- == 0)
				return 0;
		left[depth]--;
		r = value_next(v, &got);
		if (r < 0)
			return depth == 0 ? r : -EINVAL;
		if (each != NULL)
			r = each(user, &got);
		if (r < 0)
			return r;
		if (children(&got) > 0) {
			if (depth == VALUE_DEPTH_MAX)
				return -EINVAL;
			left[++depth] = children(&got);
		}
	}
}

int value_skip(struct values *v, const void **ret_p, size_t *ret_n)
{
	struct values from = *v;
	int r = walk(&from, NULL, NULL);

	if (r < 0)
		return r;
	if (ret_p != NULL)
		*ret_p = v->p;
	if (ret_n != NULL)
		*ret_n = v->n - from.n;
	*v = from;
	return 0;
}

int value_check(const void *p, size_t n)
{
	struct values v = { p, n };

	return walk(&v, NULL, NULL) < 0 || v.n > 0 ? -EINVAL : 0;
}

int values_of_array(const void *p, size_t n, struct values *ret)
{
	struct values v = { p, n };
	struct value head;

	if (n > 0 && (value_next(&v, &head) < 0 || head.kind != VALUE_ARRAY))
		return -EINVAL;
	*ret = v;
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- writing */

int value_write(void *buf, const char *p, size_t n)
{
	struct buf *b = buf;

	buf_add(b, p, n);
	return b->failed ? -1 : 0;
}

static int pack_str(msgpack_packer *k, const char *p, size_t n)
{
	if (n > UINT32_MAX)
		return -EINVAL;
	msgpack_pack_str(k, n);
	msgpack_pack_str_body(k, p, n);
	return 0;
}

static int pack_bin(msgpack_packer *k, const void *p, size_t n)
{
	if (n > UINT32_MAX)
		return -EINVAL;
	msgpack_pack_bin(k, n);
	if (n > 0)
		msgpack_pack_bin_body(k, p, n);
	return 0;
}

static int write_canonical(void *user, const struct value *v)
{
	msgpack_packer k = value_packer(user);

	switch (v->kind) {
	case VALUE_NIL:
		return msgpack_pack_nil(&k);
	case VALUE_BOOL:
		return v->is_true ? msgpack_pack_true(&k) : msgpack_pack_false(&k);
	case VALUE_INT:
		return msgpack_pack_int64(&k, v->i);
	case VALUE_UINT:
		return msgpack_pack_uint64(&k, (uint64_t)v->i);
	case VALUE_FLOAT:
		return msgpack_pack_double(&k, v->d);
	case VALUE_STR:
		return pack_str(&k, v->p, v->n);
	case VALUE_BIN:
		return pack_bin(&k, v->p, v->n);
	case VALUE_ARRAY:
		return msgpack_pack_array(&k, v->n);
	case VALUE_MAP:
		return msgpack_pack_map(&k, v->n);
	}
	return -EINVAL;
}

int value_canonical(const void *p, size_t n, struct buf *out)
{
	struct values v = { p, n };
	size_t len = out->len;
	int r = walk(&v, write_canonical, out);

	if (out->failed)
		return -ENOMEM;
	if (r < 0 || v.n > 0)
		out->len = len;
	return r < 0 || v.n > 0 ? -EINVAL : 0;
}

/* ------------------------------------------------------------------------------- formats: mps_pack, mps_unpack */

/* Arguments of either: a va_list cannot be handed down by value. */
struct given {
	va_list ap;
};

/* How many values stand in the brackets that have just been opened; -EINVAL: they are not closed. */
static long count_within(const char *f)
{
	long n = 0;
	int depth = 0;

	for (; *f != '\0'; f++) {
		bool closes = *f == ']' || *f == '}';

		if (closes && depth-- == 0)
			return n;
		if (!closes && depth == 0)
			n++;
		if (*f == '[' || *f == '{')
			depth++;
	}
	return -EINVAL;
}

/* That the format is one value, brackets in pairs, and maps have pairs. */
static int check_format(const char *f)
{
	char open[VALUE_DEPTH_MAX];
	unsigned depth = 0, values = 0;

	for (; *f != '\0'; f++) {
		if (strchr("ntidsbv[{", *f) != NULL) {
			if (depth == 0 && values++ > 0)
				return -EINVAL;
		} else if ((*f != ']' && *f != '}') || depth == 0 ||
			   open[--depth] != (*f == ']' ? '[' : '{')) {
			return -EINVAL;
		}
		if (*f != '[' && *f != '{')
			continue;
		if (depth == VALUE_DEPTH_MAX || (*f == '{' && count_within(f + 1) % 2 != 0))
			return -EINVAL;
		open[depth++] = *f;
	}
	return depth == 0 && values == 1 ? 0 : -EINVAL;
}

static int pack_packed(struct buf *b, const void *p, size_t n)
{
	int r = value_check(p, n);

	if (r == 0)
		buf_add(b, p, n);
	return r;
}

static int pack_one(struct buf *b, const char *f, struct given *g)
{
	msgpack_packer k = value_packer(b);
	const void *p;

	switch (*f) {
	case 'n':
		return msgpack_pack_nil(&k);
	case 't':
		return va_arg(g->ap, int) ? msgpack_pack_true(&k) : msgpack_pack_false(&k);
	case 'i':
		return msgpack_pack_int64(&k, va_arg(g->ap, int64_t));
	case 'd':
		return msgpack_pack_double(&k, va_arg(g->ap, double));
	case 's':
		p = va_arg(g->ap, const char *);
		return pack_str(&k, p, strlen(p));
	case 'b':
		p = va_arg(g->ap, const void *);
		return pack_bin(&k, p, va_arg(g->ap, size_t));
	case 'v':
		p = va_arg(g->ap, const void *);
		return pack_packed(b, p, va_arg(g->ap, size_t));
	case '[':
		return msgpack_pack_array(&k, (size_t)count_within(f + 1));
	case '{':
		return msgpack_pack_map(&k, (size_t)count_within(f + 1) / 2);
	}
	return 0;
}

int mps_pack(void **ret_p, size_t *ret_n, const char *format, ...)
{
	AUTO_BUF b = BUF_INIT;
	struct given g;
	int r = check_format(format);

	va_start(g.ap, format);
	for (const char *f = format; r == 0 && *f != '\0'; f++)
		r = pack_one(&b, f, &g);
	va_end(g.ap);
	if (b.failed)
		return -ENOMEM;
	if (r < 0)
		return r;
	*ret_n = b.len;
	*ret_p = b.p;
	b = (struct buf)BUF_INIT;
	return 0;
}

static bool is_head(const char *f, const struct value *v)
{
	size_t n = (size_t)count_within(f + 1);

	return *f == '[' ? v->kind == VALUE_ARRAY && v->n == n
			 : v->kind == VALUE_MAP && 2 * v->n == n;
}

/* Whether the value is of the letter's kind. */
static bool is_of(const char *f, const struct value *v)
{
	switch (*f) {
	case 'n':
		return v->kind == VALUE_NIL;
	case 't':
		return v->kind == VALUE_BOOL;
	case 'i':
		return v->kind == VALUE_INT;
	case 'd':
		return v->kind == VALUE_FLOAT || v->kind == VALUE_INT;
	case 's':
		return v->kind == VALUE_STR;
	case 'b':
		return v->kind == VALUE_BIN;
	}
	return is_head(f, v);
}

static void give_bytes(struct given *g, const void *p, size_t n)
{
	*va_arg(g->ap, const void **) = p;
	*va_arg(g->ap, size_t *) = n;
}

static void give_one(const char *f, const struct value *v, struct given *g)
{
	switch (*f) {
	case 't':
		*va_arg(g->ap, int *) = v->is_true;
		break;
	case 'i':
		*va_arg(g->ap, int64_t *) = v->i;
		break;
	case 'd':
		*va_arg(g->ap, double *) = v->kind == VALUE_INT ? (double)v->i : v->d;
		break;
	case 's':
	case 'b':
		give_bytes(g, v->p, v->n);
		break;
	}
}

/* Goes through value and format; g NULL: to see whether they fit. */
static int unpack(struct values left, const char *format, struct given *g)
{
	for (const char *f = format; *f != '\0'; f++) {
		struct value v;
		const void *p;
		size_t n;

		if (*f == ']' || *f == '}')
			continue;
		if (*f == 'v') {
			if (value_skip(&left, &p, &n) < 0)
				return -EINVAL;
			if (g != NULL)
				give_bytes(g, p, n);
			continue;
		}
		if (value_next(&left, &v) < 0 || !is_of(f, &v))
			return -EINVAL;
		if (g != NULL)
			give_one(f, &v, g);
	}
	return left.n == 0 ? 0 : -EINVAL;
}

int mps_unpack(const void *p, size_t n, const char *format, ...)
{
	struct values all = { p, n };
	struct given g;
	int r = check_format(format);

	if (r == 0)
		r = unpack(all, format, NULL);
	if (r < 0)
		return r;
	va_start(g.ap, format);
	unpack(all, format, &g);
	va_end(g.ap);
	return 0;
}
