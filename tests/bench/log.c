/*
 * What log files cost: a program writes lines of 100 bytes, as fast as they are taken. Beside it the limit, a bare copier
 * (read 64 KiB, write them). log [-r ROUNDS] [-m MIB] FOLDER-OF-MPSUP; log -w BYTES REPORT is the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "stat.h"
#include "throughput.h"

enum { CHUNK = 64 << 10, LINE = 100 };

static const struct way {
	const char *name, *keys; /* NULL: the bare copier */
} ways[] = {
	{ "bare copier", NULL },
	{ "mpsup, rotated at 50MB", "stdout_logfile_maxbytes=50MB" },
	{ "mpsup, log_timestamp", "stdout_logfile_maxbytes=50MB\nlog_timestamp=true" },
	{ "mpsup, never rotated", "stdout_logfile_maxbytes=0" },
};

/* What the program tells in the end. */
struct report {
	double begin, cpu;
};

static double cpu_of(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0)
			die("write");
		p += done;
		n -= (size_t)done;
	}
}

/* The program. */
static void write_lines(int fd, long long n)
{
	static char chunk[CHUNK / LINE * LINE];

	for (size_t i = 0; i < sizeof(chunk); i++)
		chunk[i] = i % LINE == LINE - 1 ? '\n' : (char)('!' + i % 90);
	for (; n > 0; n -= (long long)sizeof(chunk))
		write_all(fd, chunk, n < (long long)sizeof(chunk) ? (size_t)n : sizeof(chunk));
}

static int be_program(long long n, const char *path)
{
	struct report r = { .begin = now() };
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	write_lines(1, n);
	r.cpu = cpu_of(RUSAGE_SELF);
	write_all(fd, (char *)&r, sizeof(r));
	return 0;
}

static struct report read_report(void)
{
	AUTO_FREE char *path = xasprintf("%s/report", folder);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct report r;

	if (fd < 0 || read(fd, &r, sizeof(r)) != sizeof(r))
		die(path);
	unlink(path);
	return r;
}

/* The bare copier, in a process of its own as mpsup is. */
static void copy(void)
{
	static char chunk[CHUNK];
	AUTO_FREE char *out = xasprintf("%s/out", folder), *report = xasprintf("%s/report", folder),
		       *n_text = xasprintf("%lld", bytes);
	int ends[2], fd = open(out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	ssize_t n;
	pid_t pid;

	if (fd < 0 || pipe2(ends, O_CLOEXEC) < 0)
		die("copy");
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], 1);
		execl(self, self, "-w", n_text, report, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	while ((n = read(ends[0], chunk, sizeof(chunk))) > 0)
		write_all(fd, chunk, (size_t)n);
	waitpid(pid, NULL, 0);
	_exit(0);
}

static void write_config(const char *path, const char *keys, long long n)
{
	FILE *f = fopen(path, "w");

	if (f == NULL)
		die(path);
	fprintf(f,
		"[supervisord]\nidentifier=bench-log-%d\nlogfile=NONE\n"
		"[program:w]\ncommand=%s -w %lld %s/report\nstdout_logfile=%s/out\n"
		"daemon=no\nautorestart=false\nstartsecs=0\n%s\n",
		getpid(), self, n, folder, folder, keys);
	if (fclose(f) != 0)
		die(path);
}

static void clean(void)
{
	AUTO_FREE char *command = xasprintf("rm -f %s/out*", folder);

	if (system(command) != 0)
		die(command);
}

/* Seconds from the first byte to the end of all, and of processor beside the program's own. */
static void measure(const struct way *w, long long n, double *ret_wall, double *ret_cpu)
{
	AUTO_FREE char *config = xasprintf("%s/conf", folder);
	double cpu = cpu_of(RUSAGE_CHILDREN);
	long long saved = bytes;
	struct report r;
	int status;
	pid_t pid;

	bytes = n;
	if (w->keys != NULL)
		write_config(config, w->keys, n);
	pid = fork();
	if (pid == 0) {
		if (w->keys != NULL)
			be_mpsup(config);
		else
			copy();
	}
	bytes = saved;
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		die(w->name);
	r = read_report();
	*ret_wall = now() - r.begin;
	*ret_cpu = cpu_of(RUSAGE_CHILDREN) - cpu - r.cpu;
	clean();
}

/* Without the start and the end of the whole: those of a run with one line. */
static void measure_net(const struct way *w, struct samples *speed, struct samples *cpu)
{
	double wall[2], used[2];

	measure(w, LINE, &wall[0], &used[0]);
	measure(w, bytes, &wall[1], &used[1]);
	samples_add(speed, (double)bytes / (wall[1] - wall[0]) / 1e9);
	samples_add(cpu, (used[1] - used[0]) * (double)(1 << 30) / (double)bytes);
}

static void run(int rounds)
{
	struct samples speed[ARRAY_SIZE(ways)] = { 0 }, cpu[ARRAY_SIZE(ways)] = { 0 };
	double limit;

	for (int i = 0; i < rounds; i++)
		for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
			measure_net(&ways[w], &speed[w], &cpu[w]);
	printf("log files: %lld MiB of %d-byte lines, median of %d rounds\n", bytes >> 20, LINE,
	       rounds);
	limit = samples_quantile(&speed[0], 0.5);
	for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
		double v = samples_quantile(&speed[w], 0.5);

		printf("  %-24s %6.2f GB/s (%.2f of bare) %6.2f CPU s per GiB\n", ways[w].name, v,
		       v / limit, samples_quantile(&cpu[w], 0.5));
		samples_free(&speed[w]);
		samples_free(&cpu[w]);
	}
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "-w") == 0)
		return be_program(strtoll(argv[2], NULL, 10), argv[3]);
	return throughput(argc, argv, 5, 1 << 10, run);
}
