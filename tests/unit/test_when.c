/*
 * Points in time: what people write, and what lines begin with.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/mtime.h"
#include "base/when.h"

#define S(s) ((int64_t)(s)*MPS_NS_PER_S)
/* 2026-11-21 15:38:34 UTC, which is 16:38:34 in the zone below. */
#define NOW 1795275514

static void set_zone(void)
{
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
}

TestSuite(when, .init = set_zone);

Test(when, what_people_write)
{
	static const struct {
		const char *text;
		int64_t ns; /* -1 = is refused */
	} rows[] = {
		{ "30s", S(NOW - 30) },
		{ "10m", S(NOW - 600) },
		{ "2h", S(NOW - 7200) },
		{ "1d", S(NOW - 86400) },
		{ "2w", S(NOW - 14 * 86400) },
		{ "0s", S(NOW) },
		{ "9999w", 0 },
		{ "10", -1 },
		{ "m", -1 },
		{ "10min", -1 },
		{ "-10m", -1 },
		{ "99999999999999999999d", -1 },
		{ "@1795275514", S(NOW) },
		{ "@1795275514.25", S(NOW) + MPS_NS_PER_S / 4 },
		{ "@", -1 },
		{ "@x", -1 },
		{ "@5x", -1 },
		{ "16:00", S(NOW - 2314) },
		{ "16:38:34", S(NOW) },
		{ "16:38:35", S(NOW + 1 - 86400) }, /* yesterday's */
		{ "16:00:", -1 },
		{ "6:00", -1 },
		{ "24:00", -1 },
		{ "12:60", -1 },
		{ "2026-11-21", S(NOW - 38314 - 3600 - 18000) },
		{ "2026-11-21 16:38", S(NOW - 34) },
		{ "2026-11-21 16:38:34", S(NOW) },
		{ "2026-11-21T16:38:34.5", S(NOW) + MPS_NS_PER_S / 2 },
		{ "2026-11-21T15:38:34Z", S(NOW) },
		{ "2026-11-21T17:38:34+02:00", S(NOW) },
		{ "2026-11-21T17:08:34+0130", S(NOW) },
		{ "2026-11-21T10:38:34-05", S(NOW) },
		{ "2026-07-01 02:00", S(1782864000) }, /* summer time */
		{ "2024-02-29 01:00", S(1709164800) },
		{ "2026-02-29", -1 },
		{ "2026-13-01", -1 },
		{ "2026-11-31", -1 },
		{ "2026-11-21 ", -1 },
		{ "2026-11-21 16:38 x", -1 },
		{ "2026-11-21T16:38+", -1 },
		{ "noon", -1 },
		{ "", -1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct err err = ERR_INIT;
		int64_t ns = -1;
		int r = when_parse(rows[i].text, S(NOW), &ns, &err);

		cr_expect_eq(ns, rows[i].ns, "'%s': %lld, not %lld", rows[i].text, (long long)ns,
			     (long long)rows[i].ns);
		cr_expect_eq(r, rows[i].ns < 0 ? -EINVAL : 0);
		cr_expect((err.text[0] != '\0') == (rows[i].ns < 0));
	}
}

Test(when, what_lines_begin_with)
{
	static const struct {
		const char *line;
		int64_t ns; /* -1 = nothing */
	} rows[] = {
		{ "2026-11-21 16:38:34.123 x", S(NOW) + 123 * MPS_NS_PER_MS },
		{ "2026-11-21 16:38:34,401 x", S(NOW) + 401 * MPS_NS_PER_MS },
		{ "2026-11-21 16:38:34", S(NOW) },
		{ "2026-11-21T15:38:34Z x", S(NOW) },
		{ "2026-11-21T15:38:34.000000001Z", S(NOW) + 1 },
		{ "2026-11-21T16:38:34.5+01:00 x", S(NOW) + MPS_NS_PER_S / 2 },
		{ "2026-11-21 16:38:34 - x", S(NOW) },
		{ "2026-11-21 16:38:34. x", S(NOW) },
		{ "2026-11-21 16:38 x no seconds", -1 },
		{ "2026-11-21 16:38:3", -1 },
		{ " 2026-11-21 16:38:34", -1 },
		{ "2026-11-21", -1 },
		{ "16:38:34", -1 },
		{ "", -1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int64_t ns = -1;
		bool is = when_of_line(rows[i].line, strlen(rows[i].line), &ns);

		cr_expect_eq(ns, rows[i].ns, "'%s': %lld, not %lld", rows[i].line, (long long)ns,
			     (long long)rows[i].ns);
		cr_expect_eq(is, rows[i].ns >= 0);
	}
}
