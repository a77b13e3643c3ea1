/*
 * Error messages for people. A function that can fail in a way a person must understand takes a
 * `struct err *` as its last argument: the inner layer sets it, outer layers put their place before it.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

/* Longer messages are cut at a character and end in "...". */
#define ERR_TEXT_MAX 1024

struct err {
	char text[ERR_TEXT_MAX];
};

#define ERR_INIT                                                                                   \
	{                                                                                          \
		""                                                                                 \
	}

/*
 * Writes the message (lower case, no full stop, names the thing and its value) and returns `code`, a
 * negative errno, so that `return err_set(err, -EINVAL, "...")` is one statement. err may be NULL.
 */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_vset(struct err *err, int code, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

/* Puts `fmt` before the message that is there; returns `code` unchanged. err may be NULL. */
int err_prefix(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
