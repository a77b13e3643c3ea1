/*
 * Python's "%" formatting of a value against named values: %(program_name)s, %(process_num)02d, %%.
 * A % that names nothing (%s, %Y, "100%") is kept as it is, where Python would refuse the file or put nonsense.
 */
#ifndef CONF_EXPAND_H
#define CONF_EXPAND_H

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;

/* A named value: text, or a number when text is NULL. */
struct expand_value {
	const char *text;
	long long number;
};

/*
 * What the names mean. lookup answers false for a name (not NUL-terminated) that there is none of; unknown then writes
 * the message: what there would be. unknown may be NULL.
 */
struct expand_names {
	bool (*lookup)(const void *ctx, const char *name, size_t len, struct expand_value *ret);
	void (*unknown)(const void *ctx, const char *name, size_t len, struct err *err);
	const void *ctx;
};

/*
 * Adds the expanded text to out. 0; -EINVAL with err for an unknown name or a bad format (out then holds a part).
 * *ret_bare (may be NULL) is set to the first "%" that was kept literally, or NULL when there was none.
 */
int expand(const char *text, const struct expand_names *names, struct buf *out,
	   const char **ret_bare, struct err *err);

#endif
