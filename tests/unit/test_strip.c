#include <criterion/criterion.h>
#include <string.h>

#include "base/cleanup.h"
#include "sup/strip.h"

static const struct {
	const char *text, *want;
} rows[] = {
	{ "", "" },
	{ "plain", "plain" },
	{ "\033[31mred\033[0m", "red" },
	{ "\033[1;31;40mred", "red" },
	{ "a\033[2Jb\033[Kc", "abc" },
	{ "a\033[10;20Hb", "ab" },
	{ "\033]0;title", "\033]0;title" }, /* as supervisord */
	{ "end\033", "end\033" },
	{ "end\033[", "end\033[" },
	{ "end\033[1;3", "end\033[1;3" },
	{ "\033\033[mx", "\033x" },
	{ "\033[\033[mx", "\033[x" },
	{ "\033[é m", "\033[é m" },
};

Test(strip, takes_out_what_terminals_understand)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char to[64] = "";
		size_t n = strip_copy(to, rows[i].text, strlen(rows[i].text));

		cr_expect_eq(n, strlen(rows[i].want), "%s", rows[i].want);
		cr_expect_arr_eq(to, rows[i].want, n, "%s", rows[i].want);
	}
}
