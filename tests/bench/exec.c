/*
 * What mpsup exec adds to a command: /bin/true alone, under mpsup exec, and under one that tracks nothing, one after the
 * other, from asking for the process to having reaped it.
 * exec [-r ROUNDS] BUILD-FOLDER
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mtime.h"
#include "base/xalloc.h"
#include "bench.h"
#include "stat.h"

static char true_path[] = "/bin/true", dashes[] = "--", verb[] = "exec", track[] = "--track",
	    off[] = "off";

struct way {
	const char *name;
	char *argv[7];
	struct samples ms;
};

static void run_once(struct way *w)
{
	struct mps_time from = mps_now();
	int status;
	pid_t pid;

	if (posix_spawn(&pid, w->argv[0], NULL, NULL, w->argv, environ) != 0)
		die(w->argv[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("it failed");
	samples_add(&w->ms, (double)(mps_now().ns - from.ns) / MPS_NS_PER_MS);
}

int main(int argc, char **argv)
{
	int rounds = 30;
	AUTO_FREE char *mpsup = NULL;

	if (!take_options(argc, argv, &rounds, NULL) || optind != argc - 1)
		return 2;
	mpsup = xasprintf("%s/mpsup", argv[optind]);
	struct way ways[] = {
		{ .name = LIMIT, .argv = { true_path } },
		{ .name = "mpsup exec", .argv = { mpsup, verb, dashes, true_path } },
		{ .name = "mpsup exec --track off",
		  .argv = { mpsup, verb, track, off, dashes, true_path } },
	};

	for (int i = 0; i < rounds; i++)
		for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
			run_once(&ways[w]);
	for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
		samples_say(&ways[w].ms, "/bin/true, begun and ended", ways[w].name, "ms");
	return 0;
}
