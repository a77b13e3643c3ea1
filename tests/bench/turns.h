/*
 * What the shim costs, in processes that have their turns one after the other, with the shim and without it: each is the program
 * itself with -w NUMBER, and writes how many microseconds one of what it does has taken. The tracker is the program's. Header only.
 */
#ifndef TESTS_BENCH_TURNS_H
#define TESTS_BENCH_TURNS_H

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "proc/elf.h"
#include "stat.h"

static char address[80]; /* of the tracker */
static char shim[4200];
static int sender = -1; /* in a turn: a connection to the tracker, for what is sent by hand */

static inline double now_us(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static inline void connect_sender(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	strcpy(a.sun_path, getenv("MPSUP_TRACKER"));
	sender = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sender < 0 || connect(sender, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect");
}

/* whole: it counts how long the process took from before it was made until it was gone. */
static inline double take_turn(const char *row, int number, bool with, bool whole)
{
	char tracker[100], preload[4300], which[12], option[] = "-w";
	char *argv[] = { program_invocation_short_name, option, which, NULL };
	char *envp[] = { tracker, with ? preload : NULL, NULL };
	double begin, took;
	int ends[2], status;
	pid_t pid;

	snprintf(tracker, sizeof(tracker), "MPSUP_TRACKER=%s", address);
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", shim);
	snprintf(which, sizeof(which), "%d", number);
	if (pipe2(ends, O_CLOEXEC) < 0)
		die("pipe");
	begin = now_us(CLOCK_MONOTONIC);
	pid = vfork();
	if (pid == 0) {
		dup2(ends[1], 1);
		execve("/proc/self/exe", argv, envp);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		die(row);
	begin = now_us(CLOCK_MONOTONIC) - begin;
	if (read(ends[0], &took, sizeof(took)) != sizeof(took))
		die("read");
	close(ends[0]);
	close(ends[1]);
	return whole ? begin : took;
}

static inline void compare(const char *row, int number, int turns, bool whole)
{
	struct samples with = { 0 }, without = { 0 };

	for (int i = 0; i < turns; i++) {
		double t[2];

		for (int k = 0; k < 2; k++)
			t[(i + k) % 2] = take_turn(row, number, (i + k) % 2, whole);
		samples_add(&without, t[0]);
		samples_add(&with, t[1]);
	}
	samples_say(&without, row, LIMIT, "us");
	samples_say(&with, row, "mpsup", "us");
}

/* [-r TURNS] FOLDER-OF-MPSUP, where the shim is. False: that is not what it says. */
static inline bool take_turns_options(int argc, char **argv, int *turns)
{
	if (!take_options(argc, argv, turns, NULL) || optind + 1 != argc)
		return false;
	snprintf(shim, sizeof(shim), "%s/" ELF_SHIM, argv[optind]);
	if (access(shim, R_OK) < 0)
		die(shim);
	return true;
}

#endif
