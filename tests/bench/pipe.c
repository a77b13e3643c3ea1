/*
 * What a supervised pipe costs: one program writes into it, another reads. Beside it the limit, the same two programs at
 * a bare pipe. pipe [-r ROUNDS] [-m MIB] FOLDER-OF-MPSUP; pipe -w BYTES and pipe -c REPORT are the programs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "stat.h"
#include "throughput.h"

enum { CHUNK = 64 << 10 };

/* -------------------------------------------------------------------------------------------------- programs */

static int write_all(long long n)
{
	static char chunk[CHUNK];

	while (n > 0) {
		ssize_t done = write(1, chunk, n < CHUNK ? (size_t)n : CHUNK);

		if (done < 0)
			die("write");
		n -= done;
	}
	return 0;
}

/* Tells the bytes a second, from the first that was read to the end. */
static int read_all(const char *path)
{
	static char chunk[CHUNK];
	long long total = 0;
	double begin = 0, speed;
	AUTO_CLOSE int fd = -1;
	ssize_t n;

	while ((n = read(0, chunk, CHUNK)) > 0) {
		if (total == 0)
			begin = now();
		total += n;
	}
	speed = (double)total / (now() - begin);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (n < 0 || fd < 0 || write(fd, &speed, sizeof(speed)) != sizeof(speed))
		die(path);
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- rounds */

/* In a session of its own, as a program of mpsup: the scheduler shares the processors among sessions (sched(7)). */
static void start(const char *option, const char *argument, int from, int to)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return;
	setsid();
	dup2(from, to);
	execl(self, self, option, argument, (char *)NULL);
	_exit(127);
}

static void run_bare(const char *report)
{
	AUTO_FREE char *n = xasprintf("%lld", bytes);
	int ends[2], status;

	if (pipe2(ends, O_CLOEXEC) < 0)
		die("pipe");
	start("-c", report, ends[0], 0);
	start("-w", n, ends[1], 1);
	close(ends[0]);
	close(ends[1]);
	while (wait(&status) > 0)
		if (status != 0)
			die("bare");
}

static void run_supervised(const char *report)
{
	AUTO_FREE char *config = xasprintf("%s/conf", folder);
	FILE *f = fopen(config, "w");
	int status;
	pid_t pid;

	if (f == NULL)
		die(config);
	fprintf(f,
		"[supervisord]\nidentifier=bench-pipe-%d\nlogfile=NONE\nexit_on=all\n"
		"[program:w]\ncommand=%s -w %lld\nautorestart=false\nstartsecs=0\n"
		"[program:c]\ncommand=%s -c %s\nautorestart=false\nstartsecs=0\n"
		"[pipe:p]\nfrom=w\nto=c\n",
		getpid(), self, bytes, self, report);
	if (fclose(f) != 0)
		die(config);
	pid = fork();
	if (pid == 0)
		be_mpsup(config);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		die("mpsup");
}

static double measure(void (*way)(const char *report))
{
	AUTO_FREE char *report = xasprintf("%s/report", folder);
	AUTO_CLOSE int fd = -1;
	double speed;

	way(report);
	fd = open(report, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, &speed, sizeof(speed)) != sizeof(speed))
		die(report);
	unlink(report);
	return speed / 1e9;
}

/* In turns, and who is first changes too, so that what else the machine does hits both alike. */
static void run(int rounds)
{
	struct samples bare = { 0 }, supervised = { 0 }, ratio = { 0 };

	for (int i = 0; i < rounds; i++) {
		double b = i % 2 ? measure(run_bare) : 0, s = measure(run_supervised);

		if (i % 2 == 0)
			b = measure(run_bare);
		samples_add(&bare, b);
		samples_add(&supervised, s);
		samples_add(&ratio, s / b);
	}
	printf("pipe: %lld MiB, 64 KiB at a time, median of %d rounds\n", bytes >> 20, rounds);
	printf("  bare pipe                %6.2f GB/s\n", samples_quantile(&bare, 0.5));
	printf("  mpsup, [pipe:p]          %6.2f GB/s\n", samples_quantile(&supervised, 0.5));
	printf("  ratio of medians %.3f, median of ratios %.3f (%.3f ... %.3f)\n",
	       samples_quantile(&supervised, 0.5) / samples_quantile(&bare, 0.5),
	       samples_quantile(&ratio, 0.5), samples_quantile(&ratio, 0.25),
	       samples_quantile(&ratio, 0.75));
	samples_free(&bare);
	samples_free(&supervised);
	samples_free(&ratio);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "-w") == 0)
		return write_all(strtoll(argv[2], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "-c") == 0)
		return read_all(argv[2]);
	return throughput(argc, argv, 9, 2, run);
}
