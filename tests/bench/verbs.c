/*
 * What one call of a shell to a manager's object costs, from asking for the process to having reaped it, with /bin/true and
 * mpsup that does nothing beside it, one after the other. verbs [-r ROUNDS] BUILD-FOLDER
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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

struct way {
	const char *name, *words[7];
	struct samples ms;
};

static struct way ways[] = {
	{ .name = "true" }, /* not mpsup */
	{ .name = "mpsup version", .words = { "version" } },
	{ .name = "dict set", .words = { "dict", "d", "set", "k", "v" } },
	{ .name = "dict get", .words = { "dict", "d", "get", "k" } },
	{ .name = "dict incr", .words = { "dict", "d", "incr", "n" } },
	{ .name = "list append", .words = { "list", "l", "append", "v" } },
	{ .name = "list pop", .words = { "list", "l", "pop" } },
	{ .name = "queue put", .words = { "queue", "q", "put", "v" } },
	{ .name = "queue get", .words = { "queue", "q", "get" } },
	{ .name = "counter add", .words = { "counter", "c", "add" } },
	{ .name = "event set", .words = { "event", "e", "set" } },
	{ .name = "event wait", .words = { "event", "e", "wait" } },
	{ .name = "barrier wait", .words = { "barrier", "b", "wait", "-n", "1" } },
	{ .name = "manager ls", .words = { "manager", "ls" } },
};

static void run_once(struct way *w, char *mpsup, const posix_spawn_file_actions_t *actions)
{
	char *argv[10] = { w->words[0] != NULL ? mpsup : (char *)"/bin/true" };
	struct mps_time from = mps_now();
	int status;
	pid_t pid;

	for (size_t i = 0; i < ARRAY_SIZE(w->words); i++)
		argv[i + 1] = (char *)w->words[i];
	if (posix_spawn(&pid, argv[0], actions, NULL, argv, environ) != 0)
		die(argv[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die(w->name);
	samples_add(&w->ms, (double)(mps_now().ns - from.ns) / MPS_NS_PER_MS);
}

/* It ends with us, and is at the address that it prints. */
static pid_t start_server(char *mpsup)
{
	char *argv[] = { mpsup, (char *)"manager", NULL }, line[4096];
	posix_spawn_file_actions_t actions;
	int ends[2];
	FILE *from;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0 || (from = fdopen(ends[0], "r")) == NULL)
		die("pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	if (posix_spawn(&pid, mpsup, &actions, NULL, argv, environ) != 0)
		die(mpsup);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (fgets(line, sizeof(line), from) == NULL)
		die("the manager is not ready");
	line[strcspn(line, "\n")] = '\0';
	fclose(from);
	setenv("MPSUP_MANAGER_BENCH", line, 1);
	return pid;
}

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t actions;
	AUTO_FREE char *mpsup = NULL;
	int rounds = 10;
	pid_t server;

	if (!take_options(argc, argv, &rounds, NULL) || optind != argc - 1)
		return 2;
	mpsup = xasprintf("%s/mpsup", argv[optind]);
	server = start_server(mpsup);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	for (int i = 0; i < rounds; i++)
		for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
			run_once(&ways[w], mpsup, &actions);
	posix_spawn_file_actions_destroy(&actions);
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	for (size_t w = 1; w < ARRAY_SIZE(ways); w++) {
		struct samples bare = { 0 };

		for (size_t i = 0; i < ways[0].ms.n; i++)
			samples_add(&bare, ways[0].ms.v[i]);
		samples_say(&bare, ways[w].name, LIMIT, "ms");
		samples_say(&ways[w].ms, ways[w].name, "mpsup", "ms");
	}
	samples_free(&ways[0].ms);
	return 0;
}
