/*
 * Bytes are a value of MessagePack, from whoever. What is read lies within them; the one way to write a value is that of
 * what it was written from, and is read as the same.
 */
#include <errno.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "manager/value.h"
#include "mpsup.h"
#include "poke.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_within(const void *p, size_t n, const uint8_t *data, size_t size)
{
	const uint8_t *at = p;

	return at >= data && n <= size && (size_t)(at - data) <= size - n;
}

/* Each by itself, then each whole. */
static void walk(const uint8_t *data, size_t size)
{
	struct values v = { data, size };
	struct value one;
	const void *p;
	size_t n;

	while (value_next(&v, &one) == 0)
		if (one.kind == VALUE_STR || one.kind == VALUE_BIN)
			MUST(is_within(one.p, one.n, data, size));
	v = (struct values){ data, size };
	while (value_skip(&v, &p, &n) == 0) {
		MUST(n > 0 && is_within(p, n, data, size));
		MUST(value_check(p, n) == 0);
	}
}

static void rewrite(const uint8_t *data, size_t size)
{
	AUTO_BUF first = BUF_INIT;
	AUTO_BUF second = BUF_INIT;
	int r = value_canonical(data, size, &first);

	MUST(r == 0 || r == -EINVAL);
	MUST((value_check(data, size) == 0) == (r == 0));
	if (r < 0)
		return;
	MUST(value_canonical(first.p, first.len, &second) == 0);
	MUST(first.len == second.len && memcmp(first.p, second.p, first.len) == 0);
}

/* As those read who have asked for something. */
static void unpack(const uint8_t *data, size_t size)
{
	const void *bytes = data;
	const char *text = NULL;
	size_t n_bytes = 0, n_text = 0;
	int64_t i[3];
	double d;
	int flag;

	if (mps_unpack(data, size, "[ibit]", &i[0], &bytes, &n_bytes, &i[1], &flag) == 0)
		MUST(is_within(bytes, n_bytes, data, size));
	if (mps_unpack(data, size, "[is[s]]", &i[0], &text, &n_text, &text, &n_text) == 0)
		MUST(is_within(text, n_text, data, size));
	if (mps_unpack(data, size, "{sdsi}", &text, &n_text, &d, &text, &n_text, &i[2]) == 0)
		MUST(is_within(text, n_text, data, size));
	if (mps_unpack(data, size, "s", &text, &n_text) == 0)
		MUST(is_within(text, n_text, data, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	walk(data, size);
	rewrite(data, size);
	unpack(data, size);
	return 0;
}
