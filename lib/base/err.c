/*
 * Error messages: one fixed buffer on the caller's stack, so that reporting an error cannot fail.
 */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

/* Marks a message that did not fit, without leaving half a UTF-8 sequence before the dots. */
static void mark_cut(char text[ERR_TEXT_MAX])
{
	size_t at = ERR_TEXT_MAX - 4;

	while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
		at--;
	strcpy(text + at, "...");
}

int err_vset(struct err *err, int code, const char *fmt, va_list ap)
{
	if (err == NULL)
		return code;
	if (vsnprintf(err->text, sizeof(err->text), fmt, ap) >= (int)sizeof(err->text))
		mark_cut(err->text);
	return code;
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_vset(err, code, fmt, ap);
	va_end(ap);
	return code;
}

int err_prefix(struct err *err, int code, const char *fmt, ...)
{
	char rest[ERR_TEXT_MAX];
	va_list ap;
	size_t at;

	if (err == NULL)
		return code;
	memcpy(rest, err->text, sizeof(rest));
	va_start(ap, fmt);
	err_vset(err, code, fmt, ap);
	va_end(ap);
	at = strlen(err->text);
	if (snprintf(err->text + at, sizeof(err->text) - at, "%s", rest) >=
	    (int)(sizeof(err->text) - at))
		mark_cut(err->text);
	return code;
}
