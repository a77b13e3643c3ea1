/*
 * Numbers with units, booleans and home folders: the types that stand alone. The fields of the table are fields.c.
 */
#include "conf/types.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/mtime.h"
#include "base/xalloc.h"

/* Values in messages are cut to this many bytes. */
#define SHOWN "%.60s"

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

int type_integer(const char *text, int64_t *ret)
{
	bool negative;
	int64_t n = 0;
	const char *p = text;

	while (is_blank(*p))
		p++;
	negative = *p == '-';
	if (*p == '-' || *p == '+')
		p++;
	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
			return -ERANGE;
		if (p[1] == '_' && p[2] >= '0' && p[2] <= '9')
			p++;
	}
	while (is_blank(*p))
		p++;
	if (*p)
		return -EINVAL;
	*ret = negative ? -n : n;
	return 0;
}

int type_bool(const char *text, bool *ret, struct err *err)
{
	static const char *const yes[] = { "yes", "true", "on", "1" };
	static const char *const no[] = { "no", "false", "off", "0" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
			*ret = strcasecmp(text, yes[i]) == 0;
			return 0;
		}
	}
	return err_set(err, -EINVAL,
		       "'" SHOWN "' is not a boolean (true or false, yes or no, on or off, 1 or 0)",
		       text);
}

int type_bytes(const char *text, int64_t *ret, struct err *err)
{
	static const struct {
		const char *suffix;
		int64_t factor;
	} units[] = { { "kb", 1 << 10 }, { "mb", 1 << 20 }, { "gb", 1 << 30 } };
	size_t len = strlen(text);
	AUTO_FREE char *digits = xstrdup(text);
	int64_t n, factor = 1;

	for (size_t i = 0; i < ARRAY_SIZE(units) && len >= 2; i++) {
		if (strcasecmp(text + len - 2, units[i].suffix) == 0) {
			digits[len - 2] = '\0';
			factor = units[i].factor;
			break;
		}
	}
	if (type_integer(digits, &n) != 0 || __builtin_mul_overflow(n, factor, &n))
		return err_set(err, -EINVAL,
			       "'" SHOWN
			       "' is not a number of bytes (such as 1048576, 512KB, 50MB or 1GB)",
			       text);
	*ret = n;
	return 0;
}

size_t type_entry(const char *text)
{
	const char *colon = strrchr(text, ':');

	if (colon == NULL || colon == text || colon[1] == '\0' ||
	    colon[1 + strspn(colon + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					"0123456789_$")] != '\0')
		return 0;
	return (size_t)(colon - text);
}

int type_time(const char *text, int64_t *ret_ns, struct err *err)
{
	static const struct {
		const char *suffix;
		double seconds;
	} units[] = { { "", 1 },   { "s", 1 },	  { "sec", 1 },	 { "ms", 1e-3 }, { "us", 1e-6 },
		      { "m", 60 }, { "min", 60 }, { "h", 3600 }, { "d", 86400 } };
	size_t number = strspn(text, "0123456789.");
	const char *suffix = text + number;
	double n;
	char *end;

	while (is_blank(*suffix))
		suffix++;
	n = strtod(text, &end);
	for (size_t i = 0; number > 0 && end == text + number && i < ARRAY_SIZE(units); i++) {
		if (strcasecmp(suffix, units[i].suffix) != 0)
			continue;
		n = n * units[i].seconds;
		if (n > 100 * 365 * 86400.0)
			return err_set(err, -EINVAL, "'" SHOWN "' is longer than 100 years", text);
		*ret_ns = (int64_t)(n * MPS_NS_PER_S + 0.5);
		return 0;
	}
	return err_set(err, -EINVAL, "'" SHOWN "' is not a time (such as 0.5, 10, 500ms or 2m)",
		       text);
}

int type_limit(const char *text, int *ret_count, int *ret_secs, struct err *err)
{
	const char *slash = strchr(text, '/');
	int64_t count, ns;
	AUTO_FREE char *head = xstrndup(text, slash ? (size_t)(slash - text) : strlen(text));

	if (strcasecmp(text, "off") == 0 || strcasecmp(text, "none") == 0) {
		*ret_count = 0;
		*ret_secs = 60;
		return 0;
	}
	if (type_integer(head, &count) != 0 || count < 0 || (slash == NULL && count != 0))
		return err_set(err, -EINVAL, "'" SHOWN "' is not N/SECONDS (such as 30/60) or off",
			       text);
	if (count > CONF_LIMIT_MAX)
		return err_set(err, -EINVAL, "'" SHOWN "': at most %d restarts can be counted",
			       text, CONF_LIMIT_MAX);
	if (slash == NULL)
		ns = 60 * MPS_NS_PER_S;
	else if (type_time(slash + 1 + strspn(slash + 1, " "), &ns, NULL) != 0 ||
		 ns < MPS_NS_PER_S || ns / MPS_NS_PER_S > INT_MAX)
		return err_set(err, -EINVAL,
			       "'" SHOWN
			       "': what follows the / must be seconds, at least 1 (such as 30/60)",
			       text);
	*ret_count = (int)count;
	*ret_secs = (int)(ns / MPS_NS_PER_S);
	return 0;
}

char *type_expanduser(const char *path)
{
	size_t len = strcspn(path, "/");
	AUTO_FREE char *name = NULL;
	const char *home = NULL;
	const struct passwd *pw;

	if (path[0] != '~')
		return xstrdup(path);
	if (len == 1) {
		home = getenv("HOME");
		pw = home ? NULL : getpwuid(getuid());
	} else {
		name = xstrndup(path + 1, len - 1);
		pw = getpwnam(name);
	}
	if (pw)
		home = pw->pw_dir;
	return home ? xasprintf("%s%s", home, path + len) : xstrdup(path);
}
