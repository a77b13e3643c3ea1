/*
 * What log files cost: a program writes lines of 100 bytes, as fast as they are taken. Beside it the limit, a bare copier
 * (read 64 KiB, write them), and the loggers of others. log [-r ROUNDS] [-m MIB] FOLDER-OF-MPSUP; log -w BYTES REPORT is the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
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

enum { CHUNK = 64 << 10, LINE = 100, PATIENCE_MS = 120000 };

/* The same rotation everywhere: 10 MB, 10 files. $OUT is a path for the file, or the folder of files. */
#define ROTATED "stdout_logfile_maxbytes=10MB\nstdout_logfile_backups=10"
static const struct way {
	const char *row, *name;
	const char *config; /* keys, for mpsup and supervisord */
	const char *logger; /* it reads the lines; NULL with config = the bare copier */
	unsigned slow;	    /* so many times fewer bytes */
} ways[] = {
	{ .row = "rotated", .name = LIMIT },
	{ .row = "rotated", .name = "mpsup", .config = ROTATED },
	{ .row = "rotated", .name = "s6-log", .logger = "s6-log n10 s10000000", .slow = 16 },
	{ .row = "rotated", .name = "svlogd", .logger = "svlogd", .slow = 16 },
	{ .row = "rotated", .name = "multilog", .logger = "multilog s10000000 n10", .slow = 16 },
	{ .row = "rotated",
	  .name = "supervisord",
	  .config = ROTATED,
	  .logger = "supervisord",
	  .slow = 16 },
	{ .row = "rotated, with times", .name = LIMIT },
	{ .row = "rotated, with times", .name = "mpsup", .config = ROTATED "\nlog_timestamp=true" },
	{ .row = "rotated, with times",
	  .name = "s6-log",
	  .logger = "s6-log n10 s10000000 t",
	  .slow = 16 },
	{ .row = "rotated, with times", .name = "svlogd", .logger = "svlogd -tt", .slow = 16 },
	{ .row = "rotated, with times",
	  .name = "multilog",
	  .logger = "multilog t s10000000 n10",
	  .slow = 16 },
	{ .row = "never rotated", .name = LIMIT },
	{ .row = "never rotated", .name = "mpsup", .config = "stdout_logfile_maxbytes=0" },
};

/* What the program tells in the end, through a FIFO: what it took until its last byte was taken. */
struct report {
	double wall, cpu;
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
	struct report r = { .wall = now() };
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	write_lines(1, n);
	r.wall = now() - r.wall;
	r.cpu = cpu_of(RUSAGE_SELF);
	write_all(fd, (char *)&r, sizeof(r));
	return 0;
}

static int report_fd = -1;

static void make_fifo(void)
{
	AUTO_FREE char *path = xasprintf("%s/report", folder);

	if (mkfifo(path, 0600) < 0)
		die(path);
	report_fd = open(path, O_RDWR | O_CLOEXEC);
	if (report_fd < 0)
		die(path);
}

static struct report read_report(void)
{
	struct pollfd p = { .fd = report_fd, .events = POLLIN };
	struct report r;

	errno = ETIMEDOUT;
	if (poll(&p, 1, PATIENCE_MS) != 1 || read(report_fd, &r, sizeof(r)) != sizeof(r))
		die("no report");
	return r;
}

/* The program, with our end of its standard output. */
static pid_t start_program(long long n, int *ret_end)
{
	AUTO_FREE char *report = xasprintf("%s/report", folder), *n_text = xasprintf("%lld", n);
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		die("pipe");
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], 1);
		execl(self, self, "-w", n_text, report, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	*ret_end = ends[0];
	return pid;
}

/* The bare copier, in a process of its own as mpsup is. */
static _Noreturn void copy(long long n)
{
	static char chunk[CHUNK];
	AUTO_FREE char *out = xasprintf("%s/out", folder);
	int from, fd = open(out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	pid_t pid = start_program(n, &from);
	ssize_t done;

	if (fd < 0)
		die(out);
	while ((done = read(from, chunk, CHUNK)) > 0)
		write_all(fd, chunk, (size_t)done);
	waitpid(pid, NULL, 0);
	_exit(0);
}

/* A logger, which ends with its input; a parent for both, which does nothing. */
static _Noreturn void log_by(const char *command, long long n)
{
	AUTO_FREE char *line = xasprintf("mkdir %s/out && printf \"s10000000\\\\nn10\\\\n\" "
					 ">%s/out/config && exec %s %s/out",
					 folder, folder, command, folder);
	int from, null = open("/dev/null", O_WRONLY | O_CLOEXEC), status, bad = 0;

	start_program(n, &from);
	if (fork() == 0) {
		dup2(from, 0);
		dup2(null, 2);
		execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(127);
	}
	close(from);
	while (wait(&status) > 0)
		bad |= status;
	_exit(bad != 0);
}

static void write_config(const char *path, const struct way *w, long long n)
{
	FILE *f = fopen(path, "w");

	if (f == NULL)
		die(path);
	fprintf(f, "[supervisord]\nidentifier=bench-log-%d\nlogfile=%s\npidfile=%s/pid\n", getpid(),
		w->logger != NULL ? "/dev/null\nlogfile_maxbytes=0" : "NONE", folder);
	fprintf(f,
		"[program:w]\ncommand=%s -w %lld %s/report\nstdout_logfile=%s/out\n"
		"autorestart=false\nstartsecs=0\n%s\n",
		self, n, folder, folder, w->config);
	if (w->logger == NULL)
		fprintf(f, "daemon=no\n");
	if (fclose(f) != 0)
		die(path);
}

static void clean(void)
{
	AUTO_FREE char *command = xasprintf("rm -rf %s/out* %s/pid", folder, folder);

	if (system(command) != 0)
		die(command);
}

static _Noreturn void be_supervisord(const char *config)
{
	be_silent();
	execlp("supervisord", "supervisord", "-n", "-c", config, (char *)NULL);
	_exit(127);
}

/* Seconds from the first byte to the last, and of processor beside the program's own until all has ended. */
static void measure(const struct way *w, long long n, double *ret_wall, double *ret_cpu)
{
	AUTO_FREE char *config = xasprintf("%s/conf", folder);
	double cpu = cpu_of(RUSAGE_CHILDREN);
	bool is_supervisord = w->config != NULL && w->logger != NULL;
	struct report r;
	int status;
	pid_t pid;

	if (w->config != NULL)
		write_config(config, w, n);
	pid = fork();
	if (pid == 0) {
		if (is_supervisord)
			be_supervisord(config);
		else if (w->config != NULL)
			be_mpsup(config);
		else if (w->logger != NULL)
			log_by(w->logger, n);
		else
			copy(n);
	}
	r = read_report();
	if (is_supervisord) /* it does not end with its last program */
		kill(pid, SIGTERM);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		die(w->name);
	*ret_wall = r.wall;
	*ret_cpu = cpu_of(RUSAGE_CHILDREN) - cpu - r.cpu;
	clean();
}

static bool is_there(const struct way *w)
{
	AUTO_FREE char *look = w->logger != NULL
				       ? xasprintf("command -v %.*s >/dev/null",
						   (int)strcspn(w->logger, " "), w->logger)
				       : NULL;

	if (look == NULL || system(look) == 0)
		return true;
	say_missing(w->name);
	return false;
}

/* Processor time without that of the start and the end: of a run with one line. */
static void measure_one(const struct way *w)
{
	AUTO_FREE char *speed = xasprintf("%s: speed", w->row),
		       *cpu = xasprintf("%s: CPU for a GiB", w->row);
	long long n = w->slow > 0 ? bytes / w->slow : bytes;
	double wall[2], used[2];

	measure(w, LINE, &wall[0], &used[0]);
	measure(w, n, &wall[1], &used[1]);
	say(speed, w->name, "GB/s", (double)n / wall[1] / 1e9);
	if (used[1] > used[0])
		say(cpu, w->name, "s", (used[1] - used[0]) * (double)(1 << 30) / (double)n);
}

static void run(int rounds)
{
	AUTO_FREE char *fifo = xasprintf("%s/report", folder);

	make_fifo();
	for (int i = 0; i < rounds; i++)
		for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
			if (is_there(&ways[w]))
				measure_one(&ways[w]);
	unlink(fifo);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "-w") == 0)
		return be_program(strtoll(argv[2], NULL, 10), argv[3]);
	return throughput(argc, argv, 1, 1 << 10, run);
}
