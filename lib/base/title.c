/*
 * The process title: the kernel shows the bytes that argv pointed to, so they are overwritten.
 */
#include "base/title.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/strv.h"

static char *room;
/* Until the end, whatever takes the place of environ, or of one of argv. */
static char **variables __attribute__((used)), **arguments __attribute__((used));
static size_t room_size, used; /* the rest of it is 0 */

void title_init(int argc, char **argv)
{
	char *first = argv[0], *end = first;
	size_t n = strv_length(environ);
	char **copy;

	for (int i = 0; i < argc; i++)
		if (argv[i] == end)
			end = argv[i] + strlen(argv[i]) + 1;
	copy = calloc(n + 1, sizeof(*copy));
	arguments = calloc((size_t)argc + 1, sizeof(*arguments));
	for (size_t i = 0; i < n; i++) {
		if (environ[i] == end)
			end = environ[i] + strlen(environ[i]) + 1;
		if (copy != NULL && (copy[i] = strdup(environ[i])) == NULL)
			copy = NULL;
	}
	if (copy == NULL || arguments == NULL) /* out of memory: no title, nothing else lost */
		return;
	for (int i = 0; i < argc; i++) {
		char *arg = strdup(argv[i]);

		if (arg == NULL)
			return;
		argv[i] = arguments[i] = arg;
	}
	environ = variables = copy;
	room_size = used = (size_t)(end - first);
	room = first;
}

void title_set(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	title_put(text);
}

void title_put(const char *text)
{
	size_t n;

	if (room == NULL || room_size < 2)
		return;
	n = strnlen(text, room_size - 1);
	memcpy(room, text, n);
	if (used > n)
		memset(room + n, 0, used - n);
	used = n;
	prctl(PR_SET_NAME, text);
}
