/*
 * The types of values: each parses its text, says what would be right when it cannot, and writes the field of its key.
 */
#ifndef CONF_TYPES_H
#define CONF_TYPES_H

#include <stdint.h>

#include "conf/keys.h"
#include "conf/store.h"

struct err;

/* What parsing needs besides the text. */
struct type_context {
	struct store *store; /* of strings that the field keeps */
	/* Something that is good enough to go on but worth a word. NULL = nobody listens. */
	void (*on_warning)(void *ctx, const char *text);
	void *ctx;
	const char **
		last_user; /* the stored name that was last found to exist; NULL = don't remember */
};

/*
 * Parses `text` by the key's type and writes it at base + key->offset (and, for exitcodes, restart_limit, exit_on and
 * env_file, into the fields beside it; base is the struct that the key's section is read into). 0, or -EINVAL with
 * err ("'5 min' is not a whole number of seconds (such as 10)"), the field unchanged.
 */
int type_parse(const struct key *key, const char *text, void *base, const struct type_context *tc,
	       struct err *err);

/* Single types, for tests and for values outside of the table. 0 or -EINVAL with err. */
int type_bool(const char *text, bool *ret, struct err *err);
int type_integer(const char *text,
		 int64_t *ret); /* Python's int(): blanks, sign, digits, single _ between */
int type_bytes(const char *text, int64_t *ret, struct err *err);
/* The bytes of FILE in FILE:FUNCTION; the last colon counts, as a path may have some. 0: it is none. */
size_t type_entry(const char *text);
int type_time(const char *text, int64_t *ret_ns, struct err *err);
int type_limit(const char *text, int *ret_count, int *ret_secs, struct err *err);

/* Python's expanduser(): ~ and ~name at the start. On the heap. */
char *type_expanduser(const char *path);

#endif
