/*
 * What log.c and pipe.c share: so many bytes through programs of `mpsup run`, round after round, in a folder of their own.
 * It lies in $TMPDIR, else /dev/shm, so that no disk is measured.
 */
#ifndef TESTS_BENCH_THROUGHPUT_H
#define TESTS_BENCH_THROUGHPUT_H

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "bench.h"

static char *folder, *self;
static const char *bin; /* the folder of mpsup */
static long long bytes; /* of a round */

/* Monotonic, in seconds. */
static inline double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* In a child: nothing to read and nobody to hear it. */
static inline void be_silent(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
}

static inline _Noreturn void be_mpsup(const char *config)
{
	AUTO_FREE char *mpsup = xasprintf("%s/mpsup", bin);

	be_silent();
	execl(mpsup, mpsup, "run", "-c", config, (char *)NULL);
	_exit(127);
}

/* main of [-r ROUNDS] [-m MIB] FOLDER-OF-MPSUP; `run` leaves nothing in the folder but conf. */
static inline int throughput(int argc, char **argv, int rounds, long long mib,
			     void (*run)(int rounds))
{
	const char *base = getenv("TMPDIR");
	AUTO_FREE char *config = NULL;
	int c;

	bytes = mib << 20;
	while ((c = getopt(argc, argv, "r:m:")) != -1)
		if (c == 'r')
			rounds = atoi(optarg);
		else if (c == 'm')
			bytes = strtoll(optarg, NULL, 10) << 20;
		else
			return 2;
	if (optind + 1 != argc || rounds < 1 || bytes < 1 << 20)
		return 2;
	bin = argv[optind];
	self = realpath("/proc/self/exe", NULL);
	folder = xasprintf("%s/mpsup-%s.XXXXXX", base != NULL ? base : "/dev/shm",
			   program_invocation_short_name);
	if (mkdtemp(folder) == NULL)
		die(folder);
	config = xasprintf("%s/conf", folder);
	run(rounds);
	if (unlink(config) < 0 || rmdir(folder) < 0)
		die(folder);
	free(folder);
	free(self);
	return 0;
}

#endif
