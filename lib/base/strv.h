/*
 * Lists of strings that end with NULL, as argv and environ. A NULL list is an empty one.
 */
#ifndef BASE_STRV_H
#define BASE_STRV_H

#include <stdbool.h>
#include <stddef.h>

size_t strv_length(char *const *v);
bool strv_is_equal(char *const *a, char *const *b);
bool strv_holds(char *const *v, const char *text);
/* In a list of "NAME=value": the value of the name of n bytes, NULL = it is not there. */
const char *strv_value(char *const *v, const char *name, size_t n);
/* A copy, as of strv_pack(), with this "NAME=value" in the place of that of the same name, or at the end. */
char **strv_with(char *const *v, const char *entry);
/* A copy in one block, which one free() frees. NULL when memory ran out. */
char **strv_pack(char *const *v);

#endif
