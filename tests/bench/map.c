/*
 * mpsup map beside xargs, GNU parallel and a bare loop of vfork, exec and wait: a process a task (true), and workers that
 * live on (cat), with the same input from a file and two at a time, one after the other. Tasks a second, median and most,
 * and the time of a task as a ratio to the first's. The start of mpsup map is in it; `start` is one task alone.
 * map [-r ROUNDS] [-n TASKS] BUILD-FOLDER
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mtime.h"
#include "base/xalloc.h"
#include "bench.h"
#include "stat.h"

enum { ARGS_MAX = 10 };

struct way {
	const char *name;
	const char *argv[ARGS_MAX]; /* argv[0] NULL: mpsup itself */
	unsigned n;		    /* tasks; 0: those of -n */
	unsigned one_in;	    /* rounds; what is slow is timed less often */
	bool is_bare, missing;
	struct samples s;
};

static int make_input(unsigned n)
{
	int fd = memfd_create("tasks", 0);
	FILE *to = fdopen(dup(fd), "w");

	if (to == NULL)
		die("memfd_create");
	for (unsigned i = 1; i <= n; i++)
		fprintf(to, "%u\n", i);
	fclose(to);
	return fd;
}

/* Two at a time, and nothing else: what the machine can do. */
static void run_bare(const char *const *argv, unsigned n)
{
	unsigned running = 0;
	pid_t pid;

	while (n > 0 || running > 0) {
		if (n > 0 && running < 2) {
			if (posix_spawnp(&pid, argv[0], NULL, NULL, (char **)argv, environ) != 0)
				die(argv[0]);
			running++;
			n--;
		} else if (wait(NULL) > 0) {
			running--;
		}
	}
}

static void run_once(struct way *w, const char *mpsup, int input)
{
	posix_spawn_file_actions_t a;
	struct mps_time from = mps_now();
	const char *argv[ARGS_MAX];
	int status;
	pid_t pid;

	memcpy(argv, w->argv, sizeof(argv));
	if (w->is_bare) {
		run_bare(argv, w->n);
		samples_add(&w->s, (double)(mps_now().ns - from.ns) / MPS_NS_PER_S);
		return;
	}
	if (argv[0] == NULL)
		argv[0] = mpsup;
	lseek(input, 0, SEEK_SET);
	posix_spawn_file_actions_init(&a);
	posix_spawn_file_actions_adddup2(&a, input, STDIN_FILENO);
	posix_spawn_file_actions_addopen(&a, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	w->missing = posix_spawnp(&pid, argv[0], &a, NULL, (char **)argv, environ) != 0;
	posix_spawn_file_actions_destroy(&a);
	if (w->missing)
		return;
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die(w->name);
	samples_add(&w->s, (double)(mps_now().ns - from.ns) / MPS_NS_PER_S);
}

static struct way ways[] = {
	{ "map true {}",
	  { NULL, "map", "-j", "2", "--", "true", "{}" },
	  0,
	  1,
	  false,
	  false,
	  { 0 } },
	{ "xargs -n1", { "xargs", "-P", "2", "-n", "1", "true" }, 0, 1, false, false, { 0 } },
	{ "xargs -I{}", { "xargs", "-P", "2", "-I{}", "true", "{}" }, 0, 1, false, false, { 0 } },
	{ "parallel", { "parallel", "-j", "2", "true", "{}" }, 300, 3, false, false, { 0 } },
	{ "bare true", { "true" }, 0, 1, true, false, { 0 } },
	{ "map cat", { NULL, "map", "-j", "2", "--", "cat" }, 1000000, 1, false, false, { 0 } },
	{ "map -u cat",
	  { NULL, "map", "-u", "-j", "2", "--", "cat" },
	  1000000,
	  1,
	  false,
	  false,
	  { 0 } },
	{ "map --joblog cat",
	  { NULL, "map", "-l", "/dev/null", "-j", "2", "--", "cat" },
	  1000000,
	  3,
	  false,
	  false,
	  { 0 } },
	{ "start (cat)", { NULL, "map", "--", "cat" }, 1, 1, false, false, { 0 } },
	{ "start (exec cat)",
	  { NULL, "exec", "--track", "off", "--", "cat" },
	  1,
	  1,
	  false,
	  false,
	  { 0 } },
};

static void report(struct way *w, unsigned n, double base)
{
	double median = samples_quantile(&w->s, 0.5), least = samples_quantile(&w->s, 0);

	if (w->missing || w->s.n == 0)
		printf("%-18s not here\n", w->name);
	else if (n == 1)
		printf("%-18s median %.2f ms, least %.2f ms\n", w->name, median * 1e3, least * 1e3);
	else
		printf("%-18s median %9.0f tasks/s, most %9.0f, a task takes %.3f x as long as "
		       "with the first\n",
		       w->name, n / median, n / least, median / n / base);
	samples_free(&w->s);
}

int main(int argc, char **argv)
{
	unsigned rounds = 9, n = 3000;
	AUTO_FREE char *mpsup = NULL;
	int inputs[ARRAY_SIZE(ways)], c;
	double base;

	while ((c = getopt(argc, argv, "r:n:")) != -1)
		*(c == 'r' ? &rounds : &n) = (unsigned)atoi(optarg);
	if (optind != argc - 1 || rounds == 0 || n == 0)
		return 2;
	mpsup = xasprintf("%s/mpsup", argv[optind]);
	for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
		if (ways[w].n == 0)
			ways[w].n = n;
		inputs[w] = make_input(ways[w].n);
	}
	for (unsigned i = 0; i < rounds; i++)
		for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
			if (i % ways[w].one_in == 0)
				run_once(&ways[w], mpsup, inputs[w]);
	base = samples_quantile(&ways[0].s, 0.5) / n;
	for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
		report(&ways[w], ways[w].n, base);
	return 0;
}
