/*
 * strip_ansi: see strip.h.
 */
#include "sup/strip.h"

#include <string.h>

/* The length of the sequence that begins here, 0 = none that is known. */
static size_t sequence(const char *p, size_t n)
{
	if (n < 2 || p[1] != '[')
		return 0;
	for (size_t i = 2; i < n; i++) {
		if (p[i] != '\0' && strchr("HfABCDRsuJKhlpm", p[i]) != NULL)
			return i + 1;
		if (p[i] < ' ' || p[i] > '?')
			return 0;
	}
	return 0;
}

size_t strip_copy(char *to, const char *p, size_t n)
{
	const char *end = p + n;
	char *start = to;

	while (p < end) {
		const char *esc = memchr(p, '\033', (size_t)(end - p));
		size_t text = (size_t)((esc != NULL ? esc : end) - p), skip;

		memcpy(to, p, text);
		to += text;
		p += text;
		if (esc == NULL)
			break;
		skip = sequence(p, (size_t)(end - p));
		if (skip == 0)
			*to++ = *p;
		p += skip > 0 ? skip : 1;
	}
	return (size_t)(to - start);
}
