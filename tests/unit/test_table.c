/*
 * Columns and UTF-8: alignment, cutting, and that nothing a program wrote can steer a terminal.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/table.h"
#include "base/utf8.h"

static const struct table_column columns[] = {
	{ "NAME", false, 0 },
	{ "PID", true, 2 },
	{ "CPU", true, 1 },
	{ "INFO", false, 0 },
};

static void fill(struct table *t)
{
	table_init(t, columns, ARRAY_SIZE(columns));
	table_add(t, "web", NULL);
	table_addf(t, "32", "%d", 4711);
	table_add(t, "3.0%", NULL);
	table_add(t, "last exit: code 1, 4m ago", NULL);
	table_add(t, "w\xc3\xb6rker", NULL);
	table_add(t, "\xe2\x80\x93", NULL);
	table_add(t, "", NULL);
	table_add(t, "", NULL);
}

static const struct {
	unsigned width;
	bool colours;
	const char *text;
} renderings[] = {
	{ 0, false,
	  "NAME     PID   CPU  INFO\n"
	  "web     4711  3.0%  last exit: code 1, 4m ago\n"
	  "w\xc3\xb6rker     \xe2\x80\x93\n" },
	{ 45, false,
	  "NAME     PID   CPU  INFO\n"
	  "web     4711  3.0%  last exit: code 1, 4m ago\n"
	  "w\xc3\xb6rker     \xe2\x80\x93\n" },
	{ 40, false,
	  "NAME     PID   CPU  INFO\n"
	  "web     4711  3.0%  last exit: code 1, \xe2\x80\xa6\n"
	  "w\xc3\xb6rker     \xe2\x80\x93\n" },
	{ 35, false, /* PID goes first, since that makes room for 16 columns of INFO */
	  "NAME     CPU  INFO\n"
	  "web     3.0%  last exit: code 1, 4\xe2\x80\xa6\n"
	  "w\xc3\xb6rker\n" },
	{ 26, false,
	  "NAME    INFO\n"
	  "web     last exit: code 1\xe2\x80\xa6\n"
	  "w\xc3\xb6rker\n" },
	{ 5, false, /* narrower than what must stay: that stays all the same */
	  "NAME    INFO\n"
	  "web     last exit: code\xe2\x80\xa6\n"
	  "w\xc3\xb6rker\n" },
	{ 0, true,
	  "\033[1mNAME\033[0m     \033[1mPID\033[0m   \033[1mCPU\033[0m  \033[1mINFO\033[0m\n"
	  "web     \033[32m4711\033[0m  3.0%  last exit: code 1, 4m ago\n"
	  "w\xc3\xb6rker     \xe2\x80\x93\n" },
};

static const struct table_column with_cut[] = {
	{ "TYPE", false, 0 },
	{ "NAME", false, -6 },
	{ "PID", true, 1 },
	{ "USED BY", false, 0 },
};

static const struct {
	unsigned width;
	const char *text;
} cuts[] = {
	{ 0, "TYPE  NAME              PID  USED BY\n"
	     "shm   /psm-0123456789  4711  nobody at all, it seems\n" },
	{ 45, "TYPE  NAME              PID  USED BY\n"
	      "shm   /psm-0123456789  4711  nobody at all, \xe2\x80\xa6\n" },
	{ 39, "TYPE  NAME             USED BY\n"
	      "shm   /psm-0123456789  nobody at all, \xe2\x80\xa6\n" },
	{ 35, "TYPE  NAME         USED BY\n"
	      "shm   /psm-01234\xe2\x80\xa6  nobody at all, \xe2\x80\xa6\n" },
	{ 10, "TYPE  NAME    USED BY\n"
	      "shm   /psm-\xe2\x80\xa6  nobody at all, \xe2\x80\xa6\n" },
};

Test(table, cuts_what_may_be_cut_when_nothing_can_be_dropped_any_more)
{
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		AUTO_BUF out = BUF_INIT;
		struct table t;

		table_init(&t, with_cut, ARRAY_SIZE(with_cut));
		table_add(&t, "shm", NULL);
		table_add(&t, "/psm-0123456789", NULL);
		table_add(&t, "4711", NULL);
		table_add(&t, "nobody at all, it seems", NULL);
		table_render(&t, &out, cuts[i].width, false);
		cr_expect_str_eq(out.p, cuts[i].text, "width %u:\n%s", cuts[i].width, out.p);
		table_fini(&t);
	}
}

Test(table, fits_the_width)
{
	for (size_t i = 0; i < ARRAY_SIZE(renderings); i++) {
		AUTO_BUF out = BUF_INIT;
		struct table t;

		fill(&t);
		table_render(&t, &out, renderings[i].width, renderings[i].colours);
		cr_expect_str_eq(out.p, renderings[i].text, "width %u:\n%s", renderings[i].width,
				 out.p);
		table_fini(&t);
	}
}

Test(table, an_unfinished_row_is_left_out)
{
	AUTO_BUF out = BUF_INIT;
	struct table t;

	table_init(&t, columns, ARRAY_SIZE(columns));
	table_add(&t, "half", NULL);
	table_render(&t, &out, 0, false);
	cr_expect_str_eq(out.p, "NAME  PID  CPU  INFO\n");
	table_fini(&t);
}

static const struct {
	const char *claim, *in, *out;
} cleanings[] = {
	{ "plain text stays", "a b~c", "a b~c" },
	{ "UTF-8 stays", "\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80",
	  "\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80" },
	{ "an escape sequence is disarmed", "\033[2J\033]0;x\007", "?[2J?]0;x?" },
	{ "C1 controls too",
	  "\xc2\x9b"
	  "31m",
	  "?31m" },
	{ "DEL and newline", "a\177\nb", "a??b" },
	{ "a tab is a blank", "a\tb", "a b" },
	{ "stray bytes", "\xff\x80", "\xef\xbf\xbd\xef\xbf\xbd" },
	{ "cut sequence", "a\xe2\x82", "a\xef\xbf\xbd\xef\xbf\xbd" },
	{ "overlong slash", "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },
	{ "overlong three bytes", "\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	{ "surrogate", "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	{ "beyond Unicode", "\xf4\x90\x80\x80",
	  "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
};

Test(utf8, cleaning)
{
	for (size_t i = 0; i < ARRAY_SIZE(cleanings); i++) {
		AUTO_BUF out = BUF_INIT;

		utf8_add_clean(&out, cleanings[i].in, strlen(cleanings[i].in));
		cr_expect_str_eq(out.p, cleanings[i].out, "%s", cleanings[i].claim);
	}
}

static const struct {
	const char *text;
	unsigned width;
} widths[] = {
	{ "", 0 },
	{ "abc", 3 },
	{ "\xc3\xa9", 1 },
	{ "e\xcc\x81", 1 },		   /* combining acute */
	{ "\xe6\x97\xa5\xe6\x9c\xac", 4 }, /* Han */
	{ "\xf0\x9f\x98\x80", 2 },	   /* emoji */
	{ "\xe2\x86\xba", 1 },
	{ "\xe2\x80\xa6", 1 },
	{ "\xe2\x80\x93", 1 },
	{ "\xff", 1 },
};

Test(utf8, widths)
{
	for (size_t i = 0; i < ARRAY_SIZE(widths); i++)
		cr_expect_eq(utf8_width(widths[i].text, strlen(widths[i].text)), widths[i].width,
			     "'%s'", widths[i].text);
}

Test(utf8, a_wide_character_is_not_halved)
{
	unsigned width;

	cr_expect_eq(utf8_fit("\xe6\x97\xa5\xe6\x9c\xac", 6, 3, &width), 3);
	cr_expect_eq(width, 2);
}
