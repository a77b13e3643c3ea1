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
/* A copy in one block, which one free() frees. NULL when memory ran out. */
char **strv_pack(char *const *v);

#endif
