/*
 * What benchmarks share beside their numbers (stat.h). Header only, since each file of this folder is a program of its own.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Says what has failed, and errno. */
static inline _Noreturn void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

/* -r ROUNDS, and -p PART of what a round does (part NULL: there is none). False: another, or no rounds. */
static inline bool take_options(int argc, char **argv, int *rounds, double *part)
{
	for (int c; (c = getopt(argc, argv, part != NULL ? "r:p:" : "r:")) != -1;) {
		if (c == 'r')
			*rounds = atoi(optarg);
		else if (c == 'p')
			*part = atof(optarg);
		else
			return false;
	}
	return *rounds > 0;
}

#endif
