/*
 * Numbers of a benchmark: a growing list of samples, its median and its ends, and the one form in which each program of this
 * folder tells them to tests/bench/run. Header only, since each file of this folder is a program of its own.
 */
#ifndef TESTS_BENCH_STAT_H
#define TESTS_BENCH_STAT_H

#include <stdio.h>
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

/* The contender that does no more than it must, in each row that has one. */
#define LIMIT "limit"

/*
 * One value of a row: `row TAB contender TAB unit TAB value`. Of units with "/s" more is better, of others less. Ours are
 * "mpsup" and what begins so.
 */
static inline void say(const char *row, const char *contender, const char *unit, double v)
{
	printf("%s\t%s\t%s\t%.9g\n", row, contender, unit, v);
	fflush(stdout);
}

/* A contender that is not there; the driver tells it once. */
static inline void say_missing(const char *contender)
{
	fprintf(stderr, "bench: %s is not installed, and is left out (make bench-deps)\n",
		contender);
}

/* The median, where there are samples at all; frees them. */
static inline void samples_say(struct samples *s, const char *row, const char *contender,
			       const char *unit)
{
	if (s->n > 0)
		say(row, contender, unit, samples_quantile(s, 0.5));
	samples_free(s);
}

/* The medians of so many parts, in the order in which they were taken: for programs that run all rounds by themselves. */
static inline void samples_say_parts(struct samples *s, size_t parts, const char *row,
				     const char *contender, const char *unit)
{
	if (parts > s->n)
		parts = s->n;
	for (size_t i = 0; i < parts; i++) {
		size_t from = s->n * i / parts, to = s->n * (i + 1) / parts;
		struct samples part = { s->v + from, to - from };

		say(row, contender, unit, samples_quantile(&part, 0.5));
	}
	samples_free(s);
}

#endif
