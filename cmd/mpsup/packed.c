/*
 * MessagePack from JSON and to it. JSON is read by jansson, and written here, since there are values that jansson has none for.
 */
#include "mpsup/packed.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/utf8.h"
#include "manager/value.h"

#define BYTES_KEY "$bytes"

/* ------------------------------------------------------------------------------------------------------- base64 */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_base64(struct buf *out, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
			     (i + 2 < n ? p[i + 2] : 0);

		buf_addc(out, digits[v >> 18]);
		buf_addc(out, digits[v >> 12 & 63]);
		buf_addc(out, i + 1 < n ? digits[v >> 6 & 63] : '=');
		buf_addc(out, i + 2 < n ? digits[v & 63] : '=');
	}
}

/* 0, or -EINVAL. */
static int read_base64(const char *text, size_t n, struct buf *out)
{
	uint32_t v = 0;
	unsigned bits = 0;

	if (n % 4 != 0)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		const char *d = memchr(digits, text[i], 64);

		if (d == NULL)
			return text[i] == '=' && i + 2 >= n && (text[n - 1] == '=') ? 0 : -EINVAL;
		v = v << 6 | (uint32_t)(d - digits);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			buf_addc(out, (char)(v >> bits & 0xff));
		}
	}
	return 0;
}

/* ----------------------------------------------------------------------------------------------------- packing */

void packed_add_text(struct buf *out, const char *text, size_t n)
{
	msgpack_packer k = value_packer(out);

	msgpack_pack_str_with_body(&k, text, n);
}

void packed_add_int(struct buf *out, int64_t i)
{
	msgpack_packer k = value_packer(out);

	msgpack_pack_int64(&k, i);
}

void packed_add_array(struct buf *out, size_t n)
{
	msgpack_packer k = value_packer(out);

	msgpack_pack_array(&k, n);
}

void packed_add_plain(struct buf *out, const char *text)
{
	char again[24], *end;
	long long i;

	errno = 0;
	i = strtoll(text, &end, 10);
	snprintf(again, sizeof(again), "%lld", i);
	if (errno == 0 && strcmp(again, text) == 0)
		packed_add_int(out, i);
	else
		packed_add_text(out, text, strlen(text));
}

static int add_bytes(struct buf *out, const json_t *text, struct err *err)
{
	AUTO_BUF bytes = BUF_INIT;
	msgpack_packer k = value_packer(out);

	if (!json_is_string(text) ||
	    read_base64(json_string_value(text), json_string_length(text), &bytes) < 0)
		return err_set(err, -EINVAL, "\"" BYTES_KEY "\" is not followed by base64");
	msgpack_pack_bin(&k, bytes.len);
	buf_add(out, bytes.p, bytes.len);
	return 0;
}

static int add_json(struct buf *out, json_t *value, unsigned depth, struct err *err);

static int add_object(struct buf *out, json_t *object, unsigned depth, struct err *err)
{
	msgpack_packer k = value_packer(out);
	json_t *bytes = json_object_get(object, BYTES_KEY), *value;
	const char *key;
	int r = 0;

	if (bytes != NULL && json_object_size(object) == 1)
		return add_bytes(out, bytes, err);
	msgpack_pack_map(&k, json_object_size(object));
	json_object_foreach (object, key, value) {
		packed_add_text(out, key, strlen(key));
		if (r == 0)
			r = add_json(out, value, depth + 1, err);
	}
	return r;
}

static int add_json(struct buf *out, json_t *value, unsigned depth, struct err *err)
{
	msgpack_packer k = value_packer(out);
	int r = 0;

	if (depth > VALUE_DEPTH_MAX)
		return err_set(err, -EINVAL, "more than %d values within each other",
			       VALUE_DEPTH_MAX);
	switch (json_typeof(value)) {
	case JSON_NULL:
		msgpack_pack_nil(&k);
		break;
	case JSON_TRUE:
		msgpack_pack_true(&k);
		break;
	case JSON_FALSE:
		msgpack_pack_false(&k);
		break;
	case JSON_INTEGER:
		msgpack_pack_int64(&k, json_integer_value(value));
		break;
	case JSON_REAL:
		msgpack_pack_double(&k, json_real_value(value));
		break;
	case JSON_STRING:
		packed_add_text(out, json_string_value(value), json_string_length(value));
		break;
	case JSON_ARRAY:
		msgpack_pack_array(&k, json_array_size(value));
		for (size_t i = 0; i < json_array_size(value) && r == 0; i++)
			r = add_json(out, json_array_get(value, i), depth + 1, err);
		break;
	case JSON_OBJECT:
		r = add_object(out, value, depth, err);
		break;
	}
	return r;
}

int packed_add_json(struct buf *out, const char *text, struct err *err)
{
	json_error_t why;
	json_t *value =
		json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
	int r;

	if (value == NULL)
		return err_set(err, -EINVAL,
			       "'%.60s' is no JSON: %s (such as 7, \"text\" or [1, 2])", text,
			       why.text);
	r = add_json(out, value, 0, err);
	json_decref(value);
	return r;
}

/* ----------------------------------------------------------------------------------------------------- to JSON */

void packed_add_json_text(struct buf *out, const char *p, size_t n)
{
	AUTO_BUF valid = BUF_INIT;
	json_t *s;
	char *text;

	if (p == NULL) {
		buf_adds(out, "null");
		return;
	}
	utf8_add_valid(&valid, p, n);
	s = json_stringn(valid.p != NULL ? valid.p : "", valid.len);
	text = s != NULL ? json_dumps(s, JSON_ENCODE_ANY) : NULL;
	buf_adds(out, text != NULL ? text : "null");
	free(text);
	json_decref(s);
}

/* As short as it can be so that the same comes back; never without a point or an exponent. */
static void add_real(struct buf *out, double d)
{
	char text[40];

	if (!isfinite(d)) {
		buf_adds(out, "null");
		return;
	}
	for (int digits_ = 15; digits_ <= 17; digits_++) {
		snprintf(text, sizeof(text), "%.*g", digits_, d);
		if (strtod(text, NULL) == d)
			break;
	}
	buf_adds(out, text);
	if (strpbrk(text, ".e") == NULL)
		buf_adds(out, ".0");
}

static void add_value(struct values *v, struct buf *out);

static void add_key(struct values *v, struct buf *out)
{
	AUTO_BUF key = BUF_INIT;
	struct values ahead = *v;
	struct value k;

	if (value_next(&ahead, &k) == 0 && k.kind == VALUE_STR) {
		add_value(v, out);
		return;
	}
	add_value(v, &key);
	packed_add_json_text(out, key.p, key.len);
}

static void add_map(struct values *v, size_t n, struct buf *out)
{
	buf_addc(out, '{');
	for (size_t i = 0; i < n && v->n > 0; i++) {
		buf_adds(out, i > 0 ? ", " : "");
		add_key(v, out);
		buf_adds(out, ": ");
		add_value(v, out);
	}
	buf_addc(out, '}');
}

static void add_array(struct values *v, size_t n, struct buf *out)
{
	buf_addc(out, '[');
	for (size_t i = 0; i < n && v->n > 0; i++) {
		buf_adds(out, i > 0 ? ", " : "");
		add_value(v, out);
	}
	buf_addc(out, ']');
}

/* It is whole and not too deep: that is checked where it comes in. */
static void add_value(struct values *v, struct buf *out)
{
	struct value x;

	if (value_next(v, &x) < 0)
		return;
	switch (x.kind) {
	case VALUE_NIL:
		buf_adds(out, "null");
		break;
	case VALUE_BOOL:
		buf_adds(out, x.is_true ? "true" : "false");
		break;
	case VALUE_INT:
		buf_addf(out, "%lld", (long long)x.i);
		break;
	case VALUE_UINT:
		buf_addf(out, "%llu", (unsigned long long)x.i);
		break;
	case VALUE_FLOAT:
		add_real(out, x.d);
		break;
	case VALUE_STR:
		packed_add_json_text(out, x.p, x.n);
		break;
	case VALUE_BIN:
		buf_adds(out, "{\"" BYTES_KEY "\": \"");
		add_base64(out, (const uint8_t *)x.p, x.n);
		buf_adds(out, "\"}");
		break;
	case VALUE_ARRAY:
		add_array(v, x.n, out);
		break;
	case VALUE_MAP:
		add_map(v, x.n, out);
		break;
	}
}

void packed_to_json(const void *p, size_t n, struct buf *out)
{
	struct values v = { p, n };

	if (n == 0)
		buf_adds(out, "null");
	else
		add_value(&v, out);
	buf_addc(out, '\n');
}

/* ------------------------------------------------------------------------------------------------------- plain */

/* Text and bytes as they are. */
static void add_plain(struct values *v, struct buf *out)
{
	struct values ahead = *v;
	struct value x;

	if (value_next(&ahead, &x) < 0 || (x.kind != VALUE_STR && x.kind != VALUE_BIN)) {
		if (x.kind != VALUE_NIL)
			add_value(v, out);
		else
			*v = ahead;
		return;
	}
	buf_add(out, x.p, x.n);
	*v = ahead;
}

static void add_pair(struct values *v, struct buf *out)
{
	add_plain(v, out);
	buf_addc(out, '\t');
	add_plain(v, out);
	buf_addc(out, '\n');
}

void packed_to_plain(const void *p, size_t n, bool pairs, struct buf *out)
{
	struct values v = { p, n }, ahead = v;
	struct value x, pair;

	if (value_next(&ahead, &x) < 0 || x.kind == VALUE_NIL)
		return;
	if (x.kind != VALUE_ARRAY && x.kind != VALUE_MAP) {
		add_plain(&v, out);
		buf_addc(out, '\n');
		return;
	}
	for (size_t i = 0; i < x.n && ahead.n > 0; i++) {
		if (pairs && x.kind == VALUE_ARRAY)
			value_next(&ahead, &pair); /* its head */
		if (pairs || x.kind == VALUE_MAP) {
			add_pair(&ahead, out);
			continue;
		}
		add_plain(&ahead, out);
		buf_addc(out, '\n');
	}
}

bool packed_is_true(const void *p, size_t n)
{
	struct values v = { p, n };
	struct value x;

	return value_next(&v, &x) == 0 && (x.kind == VALUE_BOOL ? x.is_true : x.kind != VALUE_NIL);
}

bool packed_is_map(const void *p, size_t n)
{
	struct values v = { p, n };
	struct value x;

	return value_next(&v, &x) == 0 && x.kind == VALUE_MAP;
}
