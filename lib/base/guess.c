/*
 * What was meant by a word that nothing is called. See guess.h.
 */
#include "base/guess.h"

#include <string.h>

static char fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

unsigned guess_distance(const char *a, const char *b)
{
	enum { MAX = 64 };
	unsigned rows[3][MAX + 1];
	size_t la = strlen(a), lb = strlen(b);
	unsigned *before = rows[0], *last = rows[1], *row = rows[2], *spare;

	if (la > MAX || lb > MAX)
		return MAX;
	for (size_t j = 0; j <= lb; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			char x = fold(a[i - 1]), y = fold(b[j - 1]);
			unsigned best = last[j - 1] + (x != y);

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && x == fold(b[j - 2]) && y == fold(a[i - 2]) &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[lb];
}

unsigned guess_tolerance(const char *written)
{
	size_t n = strlen(written);

	return n <= 4 ? 1 : n <= 8 ? 2 : (unsigned)(n / 4 + 1);
}

struct guess guess_begin(const char *written)
{
	return (struct guess){ .written = written, .distance = guess_tolerance(written) + 1 };
}

void guess_try(struct guess *g, const char *name, const char *shown)
{
	unsigned distance = guess_distance(g->written, name);

	if (distance >= g->distance)
		return;
	g->distance = distance;
	g->best = shown;
}
