/*
 * mpsup map beside xargs, GNU parallel and a bare loop of vfork, exec and wait: a process a task (true), and workers that
 * live on (cat), with the same input from a file and two at a time, one after the other. The start of each is in it;
 * `alone` is that. map [-r ROUNDS] [-n TASKS] BUILD-FOLDER
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
	const char *row, *contender;
	const char *argv[ARGS_MAX]; /* argv[0] NULL: mpsup itself */
	unsigned n;		    /* times those of -n in tasks, but of "start" */
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

static void run_once(struct way *w, const char *mpsup, int input, unsigned n)
{
	posix_spawn_file_actions_t a;
	struct mps_time from = mps_now();
	const char *argv[ARGS_MAX];
	int status;
	pid_t pid;

	memcpy(argv, w->argv, sizeof(argv));
	if (w->is_bare) {
		run_bare(argv, n);
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
		die(w->contender);
	samples_add(&w->s, (double)(mps_now().ns - from.ns) / MPS_NS_PER_S);
}

#define A_PROCESS "a process a task (true)"
#define WORKERS "workers (cat)"
#define START "one task alone (cat)"
static struct way ways[] = {
	{ .row = A_PROCESS, .contender = LIMIT, .argv = { "true" }, .n = 1, .is_bare = true },
	{ .row = A_PROCESS,
	  .contender = "mpsup",
	  .argv = { NULL, "map", "-j", "2", "--", "true", "{}" },
	  .n = 1 },
	{ .row = A_PROCESS,
	  .contender = "xargs -n1",
	  .argv = { "xargs", "-P", "2", "-n", "1", "true" },
	  .n = 1 },
	{ .row = A_PROCESS,
	  .contender = "xargs -I{}",
	  .argv = { "xargs", "-P", "2", "-I{}", "true", "{}" },
	  .n = 1 },
	{ .row = A_PROCESS,
	  .contender = "parallel",
	  .argv = { "parallel", "-j", "2", "true", "{}" },
	  .n = 0 },
	{ .row = WORKERS,
	  .contender = "mpsup",
	  .argv = { NULL, "map", "-j", "2", "--", "cat" },
	  .n = 500 },
	{ .row = WORKERS,
	  .contender = "mpsup -u",
	  .argv = { NULL, "map", "-u", "-j", "2", "--", "cat" },
	  .n = 500 },
	{ .row = WORKERS,
	  .contender = "mpsup -l",
	  .argv = { NULL, "map", "-l", "/dev/null", "-j", "2", "--", "cat" },
	  .n = 500 },
	{ .row = WORKERS,
	  .contender = "parallel --pipe",
	  .argv = { "parallel", "-k", "--pipe", "-j", "2", "cat" },
	  .n = 500 },
	{ .row = START, .contender = "mpsup", .argv = { NULL, "map", "--", "cat" }, .n = 0 },
	{ .row = START,
	  .contender = "mpsup exec",
	  .argv = { NULL, "exec", "--track", "off", "--", "cat" },
	  .n = 0 },
	{ .row = START,
	  .contender = "xargs",
	  .argv = { "xargs", "-P", "2", "-n", "1", "true" },
	  .n = 0 },
	{ .row = START,
	  .contender = "parallel",
	  .argv = { "parallel", "-j", "2", "true", "{}" },
	  .n = 0 },
};

/* GNU parallel takes some milliseconds a task, so it gets fewer. */
static unsigned tasks_of(const struct way *w, unsigned n)
{
	return w->n > 0 ? w->n * n : strcmp(w->row, START) == 0 ? 1 : n / 10 + 1;
}

static void report(struct way *w, unsigned n)
{
	bool is_start = strcmp(w->row, START) == 0;

	for (size_t i = 0; i < w->s.n; i++)
		say(w->row, w->contender, is_start ? "ms" : "tasks/s",
		    is_start ? w->s.v[i] * 1e3 : n / w->s.v[i]);
	if (w->missing)
		say_missing(w->argv[0]);
	samples_free(&w->s);
}

int main(int argc, char **argv)
{
	unsigned rounds = 1, n = 2000;
	AUTO_FREE char *mpsup = NULL;
	int inputs[ARRAY_SIZE(ways)], c;

	while ((c = getopt(argc, argv, "r:n:")) != -1)
		*(c == 'r' ? &rounds : &n) = (unsigned)atoi(optarg);
	if (optind != argc - 1 || rounds == 0 || n == 0)
		return 2;
	mpsup = xasprintf("%s/mpsup", argv[optind]);
	for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
		inputs[w] = make_input(tasks_of(&ways[w], n));
	for (unsigned i = 0; i < rounds; i++)
		for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
			run_once(&ways[w], mpsup, inputs[w], tasks_of(&ways[w], n));
	for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
		report(&ways[w], tasks_of(&ways[w], n));
	return 0;
}
