/*
 * Python's % formatting: the wanted texts were printed by Python 3.11.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/expand.h"

static bool lookup(const void *ctx, const char *name, size_t len, struct expand_value *ret)
{
	static const struct {
		const char *name;
		struct expand_value v;
	} values[] = {
		{ "name", { "web", 0 } },
		{ "n", { NULL, 7 } },
		{ "m", { NULL, -255 } },
		{ "q", { "it's\n", 0 } },
		{ "e", { "\xc3\xa9\xe2\x82\xac", 0 } },
		{ "a(b)", { NULL, 1 } },
		{ "", { "empty", 0 } },
		{ "c", { NULL, 65 } },
		{ "z", { NULL, 0 } },
		{ "r", { "a\"'b\\\x01\xc3\xa9", 0 } },
	};

	(void)ctx;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		if (strlen(values[i].name) != len || memcmp(values[i].name, name, len) != 0)
			continue;
		*ret = values[i].v;
		return true;
	}
	return false;
}

static const struct {
	const char *text, *want;
} good[] = {
	{ "", "" },
	{ "plain", "plain" },
	{ "%(name)s_%(n)02d", "web_07" },
	{ "%(n)-3d|", "7  |" },
	{ "%(name)10s|", "       web|" },
	{ "%(name).1s", "w" },
	{ "%(name)5.1s|", "    w|" },
	{ "%%", "%" },
	{ "100%%", "100%" },
	{ "%%(name)s", "%(name)s" },
	{ "%(c)c", "A" },
	{ "%(e).1s", "\xc3\xa9" },
	{ "%(e)4s|", "  \xc3\xa9\xe2\x82\xac|" },
	{ "%(n)+.3d", "+007" },
	{ "%(n)+d", "+7" },
	{ "%(n) d", " 7" },
	{ "%(m)#x", "-0xff" },
	{ "%(m)08x", "-00000ff" },
	{ "%(m)x", "-ff" },
	{ "%(m)#X", "-0XFF" },
	{ "%(n)#o", "0o7" },
	{ "%(q)r", "\"it's\\n\"" },
	{ "%(e)a", "'\\xe9\\u20ac'" },
	{ "%(r)r", "'a\"\\'b\\\\\\x01\xc3\xa9'" },
	{ "%(a(b))s", "1" },
	{ "%()s", "empty" },
	{ "%(n)g", "7" },
	{ "%(n)ld", "7" },
	{ "%(n)#e", "7.000000e+00" },
	{ "%(n)F", "7.000000" },
	{ "%(n)05.3d|", "00007|" },
	{ "%(m)010.4x", "-0000000ff" },
	{ "%(n)-05d|", "7    |" },
	{ "%(name)05s|", "  web|" },
	{ "%(m)i %(m)u", "-255 -255" },
	{ "%(z).0d", "0" },
	{ "%(n)05r|", "    7|" },
	{ "%(m).2r", "-2" },
};

Test(expand, formats_as_python)
{
	struct expand_names names = { lookup, NULL, NULL };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct buf out = BUF_INIT;
		struct err err = ERR_INIT;
		const char *bare;

		cr_expect_eq(expand(good[i].text, &names, &out, &bare, &err), 0, "%s: %s",
			     good[i].text, err.text);
		cr_expect_str_eq(out.p, good[i].want, "%s gives %s, not %s", good[i].text, out.p,
				 good[i].want);
		cr_expect_null(bare);
		buf_fini(&out);
	}
}

static const struct {
	const char *text, *says;
} bad[] = {
	{ "%(nope)s", "there is no %(nope)s" },
	{ "%(name)", "lacks the type" },
	{ "%(name", "no closing parenthesis" },
	{ "%(n)Y", "no type 'Y'" },
	{ "%(name)d", "needs a number" },
	{ "%(name)f", "needs a number" },
	{ "%(n)*d", "must be a number" },
	{ "%(name)c", "one character" },
	{ "%(m)c", "no character" },
	{ "%(n)99999999999d", "width" },
	{ "%(n).99999d", "width" },
	{ "%(n)lld", "no type 'l'" },
	{ "%(n)%", "no type '%'" },
};

Test(expand, says_what_is_wrong)
{
	struct expand_names names = { lookup, NULL, NULL };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct buf out = BUF_INIT;
		struct err err = ERR_INIT;

		cr_expect_lt(expand(bad[i].text, &names, &out, NULL, &err), 0, "%s", bad[i].text);
		cr_expect(strstr(err.text, bad[i].says), "%s: %s", bad[i].text, err.text);
		buf_fini(&out);
	}
}

Test(expand, a_percent_that_names_nothing_is_kept_and_told)
{
	static const char *const texts[] = { "date +%s", "100%", "%Y-%m", "%HOME%", "% d", "%5d" };
	struct expand_names names = { lookup, NULL, NULL };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct buf out = BUF_INIT;
		const char *bare = NULL;

		cr_expect_eq(expand(texts[i], &names, &out, &bare, NULL), 0);
		cr_expect_str_eq(out.p, texts[i]);
		cr_expect_eq(bare, strchr(texts[i], '%'));
		buf_fini(&out);
	}
}
