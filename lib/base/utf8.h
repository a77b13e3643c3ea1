/*
 * UTF-8 as a terminal shows it: how wide, where to cut, and what must not reach it at all.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

struct buf;

#define UTF8_BAD UINT32_C(0xfffd)

/* Reads one character at *at (before end) and moves *at behind it. A byte that is no UTF-8 is UTF8_BAD and one byte long. */
uint32_t utf8_next(const char **at, const char *end);

/*
 * Columns of a terminal: 0 for combining characters, 2 for East Asian wide ones and emoji (Unicode 15, EastAsianWidth W
 * and F in coarse ranges), else 1. Independent of the locale.
 */
unsigned utf8_char_width(uint32_t c);
unsigned utf8_width(const char *s, size_t n);

/* The bytes at the front of s that fill at most `columns`; *ret_width is what they fill. */
size_t utf8_fit(const char *s, size_t n, unsigned columns, unsigned *ret_width);

/*
 * Adds s with every control character (C0, DEL, C1) as "?" and every byte that is no UTF-8 as U+FFFD, so that what
 * a program wrote cannot steer the terminal of a person who reads it. A tab becomes a blank.
 */
void utf8_add_clean(struct buf *b, const char *s, size_t n);

/* Adds s with every byte that is no UTF-8 as U+FFFD, and nothing else changed. */
void utf8_add_valid(struct buf *b, const char *s, size_t n);

#endif
