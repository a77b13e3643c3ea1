/*
 * Bounded getters: past the end they answer 0 for ever.
 */
#include "base/wire.h"

#include <criterion/criterion.h>

#include "base/buf.h"

Test(wire, reads_what_was_put)
{
	char *words[] = { (char *)"a", (char *)"", NULL };
	AUTO_BUF b = BUF_INIT;
	struct wire w;
	size_t n;

	wire_put_u32(&b, 7);
	wire_put_u64(&b, UINT64_MAX);
	wire_put_bytes(&b, "x\0y", 3);
	wire_put_str(&b, "text");
	wire_put_str(&b, NULL);
	wire_put_strv(&b, words);
	wire_put_strv(&b, NULL);
	w = (struct wire){ b.p, b.len, false };
	cr_expect_eq(wire_u32(&w), 7);
	cr_expect_eq(wire_u64(&w), UINT64_MAX);
	cr_expect_arr_eq(wire_bytes(&w, &n), "x\0y", 3);
	cr_expect_eq(n, 3);
	cr_expect_str_eq(wire_str(&w), "text");
	cr_expect_null(wire_str(&w));
	cr_expect_not(w.failed);
	cr_expect_eq(wire_u32(&w), 2);
	cr_expect_str_eq(wire_str(&w), "a");
	cr_expect_str_eq(wire_str(&w), "");
	cr_expect_eq(wire_u32(&w), 0);
	cr_expect(wire_done(&w));
}

Test(wire, failure_is_sticky)
{
	struct wire w = { "\1\0\0\0abc", 7, false };
	size_t n = 9;

	cr_expect_eq(wire_u64(&w), 0);
	cr_expect(w.failed);
	cr_expect_eq(wire_u32(&w), 0);
	cr_expect_null(wire_bytes(&w, &n));
	cr_expect_eq(n, 0);
	cr_expect_null(wire_str(&w));
	cr_expect_not(wire_done(&w));
}

Test(wire, a_string_ends_where_its_length_says)
{
	static const struct {
		const char *bytes;
		size_t n;
	} bad[] = {
		{ "\3\0\0\0abc", 7 },	    /* no NUL */
		{ "\3\0\0\0a\0\0", 7 },	    /* a NUL inside */
		{ "\377\377\377\377a", 5 }, /* longer than the message */
	};

	for (size_t i = 0; i < 3; i++) {
		struct wire w = { bad[i].bytes, bad[i].n, false };

		cr_expect_null(wire_str(&w));
		cr_expect(w.failed);
	}
}
