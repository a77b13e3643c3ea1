/*
 * Lists of strings. See strv.h.
 */
#include "base/strv.h"

#include <stdlib.h>
#include <string.h>

size_t strv_length(char *const *v)
{
	size_t n = 0;

	while (v != NULL && v[n] != NULL)
		n++;
	return n;
}

bool strv_is_equal(char *const *a, char *const *b)
{
	size_t n = strv_length(a);

	if (a == b)
		return true;
	if (strv_length(b) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

bool strv_holds(char *const *v, const char *text)
{
	for (; v != NULL && *v != NULL; v++)
		if (strcmp(*v, text) == 0)
			return true;
	return false;
}

const char *strv_value(char *const *v, const char *name, size_t n)
{
	for (; v != NULL && *v != NULL; v++)
		if (strncmp(*v, name, n) == 0 && (*v)[n] == '=')
			return *v + n + 1;
	return NULL;
}

/* Pointers first, then the text. */
char **strv_pack(char *const *v)
{
	size_t n = strv_length(v), size = (n + 1) * sizeof(*v);
	char **copy, *text;

	for (size_t i = 0; i < n; i++)
		size += strlen(v[i]) + 1;
	copy = malloc(size);
	if (copy == NULL)
		return NULL;
	text = (char *)(copy + n + 1);
	for (size_t i = 0; i < n; i++) {
		size_t length = strlen(v[i]) + 1;

		copy[i] = memcpy(text, v[i], length);
		text += length;
	}
	copy[n] = NULL;
	return copy;
}

char **strv_with(char *const *v, const char *entry)
{
	size_t n = strv_length(v), at = 0, name = (size_t)(strchrnul(entry, '=') - entry) + 1;
	char **list = calloc(n + 2, sizeof(*list)), **packed = NULL;

	if (list == NULL)
		return NULL;
	if (n > 0)
		memcpy(list, v, n * sizeof(*list));
	while (at < n && strncmp(v[at], entry, name) != 0)
		at++;
	list[at] = (char *)entry;
	packed = strv_pack(list);
	free(list);
	return packed;
}
