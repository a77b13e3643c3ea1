/*
 * Numbers of a benchmark: a growing list of samples, its median and its ends. Header only, since each file of this folder
 * is a program of its own.
 */
#ifndef TESTS_BENCH_STAT_H
#define TESTS_BENCH_STAT_H

#include <stdlib.h>

struct samples {
	double *v;
	size_t n;
};

static inline void samples_add(struct samples *s, double v)
{
	double *bigger = realloc(s->v, (s->n + 1) * sizeof(*bigger));

	if (bigger == NULL)
		abort();
	s->v = bigger;
	s->v[s->n++] = v;
}

static inline int samples_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The value below which the share q (0 ... 1) of the samples lies; sorts them. 0 where there are none. */
static inline double samples_quantile(struct samples *s, double q)
{
	if (s->n == 0)
		return 0;
	qsort(s->v, s->n, sizeof(*s->v), samples_compare);
	if (q == 0.5 && s->n % 2 == 0)
		return (s->v[s->n / 2 - 1] + s->v[s->n / 2]) / 2;
	return s->v[(size_t)(q * (double)(s->n - 1) + 0.5)];
}

static inline void samples_free(struct samples *s)
{
	free(s->v);
	*s = (struct samples){ NULL, 0 };
}

#endif
