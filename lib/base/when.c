/*
 * Points in time. See when.h.
 */
#include "base/when.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/mtime.h"

/* What is left to read. */
struct text {
	const char *at, *end;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Exactly so many digits. */
static bool take_number(struct text *t, int digits, int *ret)
{
	int n = 0;

	if (t->end - t->at < digits)
		return false;
	for (int i = 0; i < digits; i++) {
		if (!is_digit(t->at[i]))
			return false;
		n = n * 10 + (t->at[i] - '0');
	}
	t->at += digits;
	*ret = n;
	return true;
}

static bool take_char(struct text *t, const char *any)
{
	if (t->at == t->end || *t->at == '\0' || strchr(any, *t->at) == NULL)
		return false;
	t->at++;
	return true;
}

static int days_of(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

static bool take_date(struct text *t, struct tm *tm)
{
	int year, month, day;

	if (!take_number(t, 4, &year) || !take_char(t, "-") || !take_number(t, 2, &month) ||
	    !take_char(t, "-") || !take_number(t, 2, &day))
		return false;
	if (month < 1 || month > 12 || day < 1 || day > days_of(year, month))
		return false;
	tm->tm_year = year - 1900;
	tm->tm_mon = month - 1;
	tm->tm_mday = day;
	return true;
}

/* HH:MM, and :SS where it is there. */
static bool take_clock(struct text *t, struct tm *tm)
{
	int second = 0;

	if (!take_number(t, 2, &tm->tm_hour) || !take_char(t, ":") ||
	    !take_number(t, 2, &tm->tm_min))
		return false;
	if (take_char(t, ":") && !take_number(t, 2, &second))
		return false;
	tm->tm_sec = second;
	return tm->tm_hour < 24 && tm->tm_min < 60 && second <= 60;
}

/* In nanoseconds; what is finer is left out. */
static int64_t take_fraction(struct text *t)
{
	int64_t ns = 0, unit = MPS_NS_PER_S;

	if (t->end - t->at < 2 || !is_digit(t->at[1]) || !take_char(t, ".,"))
		return 0;
	for (; t->at < t->end && is_digit(*t->at); t->at++) {
		unit /= 10;
		ns += (*t->at - '0') * unit;
	}
	return ns;
}

/* Z, +01:00, +0100 or +01. */
static bool take_zone(struct text *t, int *ret_s)
{
	struct text at = *t;
	int hours, minutes = 0, sign;

	if (take_char(&at, "Zz")) {
		*ret_s = 0;
		*t = at;
		return true;
	}
	if (!take_char(&at, "+-"))
		return false;
	sign = at.at[-1] == '-' ? -1 : 1;
	if (!take_number(&at, 2, &hours))
		return false;
	if (take_char(&at, ":")
		    ? !take_number(&at, 2, &minutes)
		    : at.at < at.end && is_digit(*at.at) && !take_number(&at, 2, &minutes))
		return false;
	*ret_s = sign * (hours * 3600 + minutes * 60);
	*t = at;
	return true;
}

static int64_t ns_of(struct tm *tm, const int *zone_s, int64_t fraction)
{
	time_t at;

	tm->tm_isdst = -1;
	at = zone_s != NULL ? timegm(tm) - *zone_s : mktime(tm);
	return (int64_t)at * MPS_NS_PER_S + fraction;
}

/* What follows the date: the time and the zone. */
static bool take_rest(struct text *t, struct tm *tm, int64_t *ret_ns)
{
	int64_t fraction;
	int zone_s;
	bool zoned;

	if (!take_clock(t, tm))
		return false;
	fraction = take_fraction(t);
	zoned = take_zone(t, &zone_s);
	*ret_ns = ns_of(tm, zoned ? &zone_s : NULL, fraction);
	return true;
}

bool when_of_line(const char *line, size_t n, int64_t *ret_ns)
{
	struct text t = { line, line + n };
	struct tm tm = { 0 };
	const char *clock;

	if (n < 19 || !take_date(&t, &tm) || !take_char(&t, " T"))
		return false;
	clock = t.at;
	return clock[5] == ':' && take_rest(&t, &tm, ret_ns);
}

/* -------------------------------------------------------------------------------------------- what people write */

/* 10m: before now. */
static bool parse_span(struct text t, int64_t now_ns, int64_t *ret_ns)
{
	static const struct {
		char letter;
		int64_t s;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
	int64_t n = 0;

	if (t.at == t.end || !is_digit(*t.at))
		return false;
	for (; t.at < t.end && is_digit(*t.at) && n < INT32_MAX / 10; t.at++)
		n = n * 10 + (*t.at - '0');
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (t.end - t.at == 1 && *t.at == units[i].letter) {
			int64_t now_s = now_ns / MPS_NS_PER_S, s = n * units[i].s;

			*ret_ns = s < now_s ? now_ns - s * MPS_NS_PER_S : 0;
			return true;
		}
	return false;
}

static bool parse_epoch(struct text t, int64_t *ret_ns)
{
	int64_t s = 0;

	if (!take_char(&t, "@") || t.at == t.end || !is_digit(*t.at))
		return false;
	for (; t.at < t.end && is_digit(*t.at) && s < INT32_MAX; t.at++)
		s = s * 10 + (*t.at - '0');
	*ret_ns = s * MPS_NS_PER_S + take_fraction(&t);
	return t.at == t.end;
}

/* The last one that was: today's or yesterday's. */
static bool parse_clock(struct text t, int64_t now_ns, int64_t *ret_ns)
{
	time_t now = (time_t)(now_ns / MPS_NS_PER_S);
	struct tm tm;

	localtime_r(&now, &tm);
	if (!take_clock(&t, &tm) || t.at != t.end)
		return false;
	*ret_ns = ns_of(&tm, NULL, 0);
	if (*ret_ns > now_ns) {
		tm.tm_mday--;
		*ret_ns = ns_of(&tm, NULL, 0);
	}
	return true;
}

static bool parse_date(struct text t, int64_t *ret_ns)
{
	struct tm tm = { 0 };

	if (!take_date(&t, &tm))
		return false;
	if (t.at == t.end) {
		*ret_ns = ns_of(&tm, NULL, 0);
		return true;
	}
	return take_char(&t, " T") && take_rest(&t, &tm, ret_ns) && t.at == t.end;
}

int when_parse(const char *text, int64_t now_ns, int64_t *ret_ns, struct err *err)
{
	struct text t = { text, text + strlen(text) };
	int64_t ns;

	if (!parse_span(t, now_ns, &ns) && !parse_epoch(t, &ns) && !parse_clock(t, now_ns, &ns) &&
	    !parse_date(t, &ns))
		return err_set(err, -EINVAL,
			       "'%s' is no time (such as 10m, 2h, 15:30, \"2026-11-21 15:30\" or "
			       "@1795275510)",
			       text);
	*ret_ns = ns;
	return 0;
}
