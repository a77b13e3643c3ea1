/*
 * Values: what is packed comes back, and nothing that is none is taken for one.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "manager/value.h"
#include "mpsup.h"

Test(manager_value, what_is_packed_is_unpacked)
{
	const void *bytes, *packed;
	const char *text;
	size_t n_text, n_bytes, n_packed, n;
	void *p;
	int64_t i;
	double d;
	int t;

	cr_assert_eq(mps_pack(&p, &n, "[ntids{si}bv]", 1, INT64_C(-5000000000), 0.5, "text", "k",
			      INT64_C(7), "a\0b", (size_t)3, "\x92\x01\x02", (size_t)3),
		     0);
	cr_assert_eq(value_check(p, n), 0);
	cr_assert_eq(mps_unpack(p, n, "[ntids{vv}bv]", &t, &i, &d, &text, &n_text, &packed,
				&n_packed, &packed, &n_packed, &bytes, &n_bytes, &packed,
				&n_packed),
		     0);
	cr_expect_eq(t, 1);
	cr_expect_eq(i, INT64_C(-5000000000));
	cr_expect_eq(d, 0.5);
	cr_expect(n_text == 4 && memcmp(text, "text", 4) == 0);
	cr_expect(n_bytes == 3 && memcmp(bytes, "a\0b", 3) == 0);
	cr_expect(n_packed == 3 && memcmp(packed, "\x92\x01\x02", 3) == 0);
	cr_expect_eq(mps_unpack(p, n, "[ntids{}bv]"), -EINVAL);
	cr_expect_eq(mps_unpack(p, n - 1, "v", &packed, &n_packed), -EINVAL);
	cr_expect_eq(mps_unpack(p, n, "v", &packed, &n_packed), 0);
	free(p);
}

Test(manager_value, formats_that_are_none)
{
	static const char *const bad[] = {
		"", "ii", "[", "]", "[i", "[i}", "{i}", "x", "[i]i", "("
	};
	void *p;
	size_t n;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		cr_expect_eq(mps_pack(&p, &n, bad[i]), -EINVAL, "%s", bad[i]);
		cr_expect_eq(mps_unpack("\xc0", 1, bad[i]), -EINVAL, "%s", bad[i]);
	}
	cr_expect_eq(mps_pack(&p, &n, "[v]", "\xc0\xc0", (size_t)2), -EINVAL);
}

/* Each in its shortest form, or none. */
static const struct {
	const char *p;
	size_t n;
	const char *canonical;
	size_t n_canonical;
} rows[] = {
#define BYTES(s) s, sizeof(s) - 1
	{ BYTES("\xc0"), BYTES("\xc0") },
	{ BYTES("\xc3"), BYTES("\xc3") },
	{ BYTES("\x05"), BYTES("\x05") },
	{ BYTES("\xff"), BYTES("\xff") },
	{ BYTES("\xcc\x05"), BYTES("\x05") },
	{ BYTES("\xd3\xff\xff\xff\xff\xff\xff\xff\xff"), BYTES("\xff") },
	{ BYTES("\xd0\x80"), BYTES("\xd0\x80") },
	{ BYTES("\xcf\x00\x00\x00\x00\x00\x00\x01\x00"), BYTES("\xcd\x01\x00") },
	{ BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
	  BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff") },
	{ BYTES("\xca\x3f\x00\x00\x00"), BYTES("\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00") },
	{ BYTES("\xd9\x01z"), BYTES("\xa1z") },
	{ BYTES("\xc6\x00\x00\x00\x01z"), BYTES("\xc4\x01z") },
	{ BYTES("\xdd\x00\x00\x00\x01\xcc\x01"), BYTES("\x91\x01") },
	{ BYTES("\x81\xd9\x01k\xc2"), BYTES("\x81\xa1k\xc2") },
	{ BYTES(""), NULL, 0 },
	{ BYTES("\xc1"), NULL, 0 },
	{ BYTES("\xc7\x01\x01z"), NULL, 0 },
	{ BYTES("\xd4\x01z"), NULL, 0 },
	{ BYTES("\xc0\xc0"), NULL, 0 },
	{ BYTES("\xcd\x01"), NULL, 0 },
	{ BYTES("\xa2z"), NULL, 0 },
	{ BYTES("\xdb\xff\xff\xff\xffz"), NULL, 0 },
	{ BYTES("\x92\x01"), NULL, 0 },
	{ BYTES("\xdd\xff\xff\xff\xff\x01"), NULL, 0 },
	{ BYTES("\xdf\xff\xff\xff\xff\x01"), NULL, 0 },
};

Test(manager_value, one_way_to_write_each)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO_BUF b = BUF_INIT;
		int good = rows[i].canonical != NULL ? 0 : -EINVAL;

		cr_expect_eq(value_check(rows[i].p, rows[i].n), good, "row %zu", i);
		cr_expect_eq(value_canonical(rows[i].p, rows[i].n, &b), good, "row %zu", i);
		cr_expect(b.len == rows[i].n_canonical &&
				  (good < 0 || memcmp(b.p, rows[i].canonical, b.len) == 0),
			  "row %zu", i);
	}
}

Test(manager_value, too_deep_is_none)
{
	char p[VALUE_DEPTH_MAX + 2];

	memset(p, 0x91, sizeof(p));
	p[VALUE_DEPTH_MAX] = 1;
	cr_expect_eq(value_check(p, VALUE_DEPTH_MAX + 1), 0);
	p[VALUE_DEPTH_MAX] = (char)0x91;
	p[VALUE_DEPTH_MAX + 1] = 1;
	cr_expect_eq(value_check(p, VALUE_DEPTH_MAX + 2), -EINVAL);
}
