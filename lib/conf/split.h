/*
 * The two small grammars inside values: command= (Python's shlex.split) and environment= (KEY=value,KEY="value").
 */
#ifndef CONF_SPLIT_H
#define CONF_SPLIT_H

#include <stdbool.h>
#include <stddef.h>

struct err;

/* Strings that were cut out of a value; free with words_fini(). */
struct words {
	char **v; /* not NULL-terminated */
	size_t n;
	size_t cap;
};

#define WORDS_INIT                                                                                 \
	{                                                                                          \
		0                                                                                  \
	}

void words_fini(struct words *w);
void words_add(struct words *w, const char *p, size_t n);

/*
 * Splits like shlex.split(posix=True): blanks and newlines, '...' literally, "..." with \" and \\, \x outside quotes; #
 * is an ordinary character, nothing is expanded. -EINVAL with Python's words ("No closing quotation") in err; ret then
 * holds what came before. An empty text gives no words.
 */
int split_command(const char *text, struct words *ret, struct err *err);

/*
 * Splits "A=1,B=\"x,y\"" into "KEY=value" strings; a key that comes twice is there once, with its last value. Lenient: an
 * unquoted value runs to the next ",KEY=" or newline and KEY=, or to the end. What supervisord would refuse or silently
 * cut is told to on_warning (may be NULL), once for each key. -EINVAL with err when a KEY= is missing.
 */
typedef void (*split_warning)(void *ctx, const char *text);
int split_environment(const char *text, struct words *ret, split_warning on_warning, void *ctx,
		      struct err *err);

#endif
