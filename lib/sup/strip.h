/*
 * Terminal escape sequences out of text, the same ones as supervisord's strip_ansi.
 */
#ifndef SUP_STRIP_H
#define SUP_STRIP_H

#include <stddef.h>

/* Copies n bytes without `ESC [ ... letter` (one of HfABCDRsuJKhlpm) to `to`, which has room for n. Returns the length. */
size_t strip_copy(char *to, const char *p, size_t n);

#endif
