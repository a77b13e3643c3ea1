/*
 * What a supervised pipe costs: one program writes into it, another reads. Beside it the limit, the same two programs at
 * a bare pipe, twice: what these two differ by is noise. All pairs are there all the time and have their turns one after
 * the other, so that whatever else the machine does hits them alike; what is timed is from the first byte of a turn to
 * its last.
 * pipe [-r TURNS] [-m MIB] FOLDER-OF-MPSUP; pipe -w GO BYTES and pipe -c REPORT BYTES are the programs.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "stat.h"
#include "throughput.h"

enum { CHUNK = 64 << 10, PATIENCE_MS = 60000, WARM_UP = 8 };

/* Two programs at a pipe, and the FIFOs by which they are told to begin, and tell how long it took. */
struct pair {
	char *go, *report;
	int go_fd, report_fd;
	struct samples speed;
};

static int open_fifo(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

/* -------------------------------------------------------------------------------------------------- programs */

static int be_writer(const char *go, long long n)
{
	static char chunk[CHUNK];
	AUTO_CLOSE int fd = open_fifo(go);
	char c;

	while (read(fd, &c, 1) == 1 && c == 'g')
		for (long long left = n; left > 0;) {
			ssize_t done = write(1, chunk, left < CHUNK ? (size_t)left : CHUNK);

			if (done < 0)
				die("write");
			left -= done;
		}
	return 0;
}

static int be_reader(const char *report, long long n)
{
	static char chunk[CHUNK];
	AUTO_CLOSE int fd = open_fifo(report);
	long long total = 0;
	double begin = 0, took;
	ssize_t done;

	while ((done = read(0, chunk, CHUNK)) > 0) {
		if (total == 0)
			begin = now();
		total += done;
		if (total < n)
			continue;
		took = now() - begin;
		total = 0;
		if (write(fd, &took, sizeof(took)) != sizeof(took))
			die(report);
	}
	return done < 0;
}

/* ----------------------------------------------------------------------------------------------------- pairs */

static void pair_init(struct pair *p, int number)
{
	*p = (struct pair){ 0 };
	p->go = xasprintf("%s/go.%d", folder, number);
	p->report = xasprintf("%s/report.%d", folder, number);
	if (mkfifo(p->go, 0600) < 0 || mkfifo(p->report, 0600) < 0)
		die(folder);
	p->go_fd = open_fifo(p->go);
	p->report_fd = open_fifo(p->report);
}

static void pair_fini(struct pair *p)
{
	close(p->go_fd);
	close(p->report_fd);
	unlink(p->go);
	unlink(p->report);
	free(p->go);
	free(p->report);
	samples_free(&p->speed);
}

/* In a session of its own, as a program of mpsup: the scheduler shares the processors among sessions (sched(7)). */
static void start(const char *option, const char *argument, int from, int to)
{
	AUTO_FREE char *n = xasprintf("%lld", bytes);
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return;
	setsid();
	dup2(from, to);
	execl(self, self, option, argument, n, (char *)NULL);
	_exit(127);
}

static void start_bare(const struct pair *p)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		die("pipe");
	start("-c", p->report, ends[0], 0);
	start("-w", p->go, ends[1], 1);
	close(ends[0]);
	close(ends[1]);
}

static void start_supervised(const struct pair *p, const char *config)
{
	FILE *f = fopen(config, "w");
	pid_t pid;

	if (f == NULL)
		die(config);
	fprintf(f,
		"[supervisord]\nidentifier=bench-pipe-%d\nlogfile=NONE\nexit_on=all\n"
		"[program:w]\ncommand=%s -w %s %lld\nautorestart=false\nstartsecs=0\n"
		"[program:c]\ncommand=%s -c %s %lld\nautorestart=false\nstartsecs=0\n"
		"[pipe:p]\nfrom=w\nto=c\n",
		getpid(), self, p->go, bytes, self, p->report, bytes);
	if (fclose(f) != 0)
		die(config);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		be_mpsup(config);
}

/* ----------------------------------------------------------------------------------------------------- turns */

static void tell(const struct pair *p, char word)
{
	if (write(p->go_fd, &word, 1) != 1)
		die(p->go);
}

static double take_turn(const struct pair *p)
{
	struct pollfd report = { .fd = p->report_fd, .events = POLLIN };
	double seconds;

	tell(p, 'g');
	if (poll(&report, 1, PATIENCE_MS) != 1) {
		errno = ETIMEDOUT;
		die(p->report);
	}
	if (read(p->report_fd, &seconds, sizeof(seconds)) != sizeof(seconds))
		die(p->report);
	return seconds;
}

enum { BARE, AGAIN, SUPERVISED, N_PAIRS };

static void end_all(const struct pair *pairs)
{
	int status;

	for (int i = 0; i < N_PAIRS; i++)
		tell(&pairs[i], 'e');
	while (wait(&status) > 0)
		if (status != 0)
			die("a program has failed");
}

/* Who is first changes too. */
static void take_turns(struct pair *pairs, int i, double seconds[N_PAIRS])
{
	for (int k = 0; k < N_PAIRS; k++) {
		int at = (i + k) % N_PAIRS;

		seconds[at] = take_turn(&pairs[at]);
	}
}

static void run(int turns)
{
	static const char *const names[] = { LIMIT, "limit, again", "mpsup" };
	AUTO_FREE char *config = xasprintf("%s/conf", folder);
	struct pair pairs[N_PAIRS];

	for (int i = 0; i < N_PAIRS; i++)
		pair_init(&pairs[i], i);
	start_bare(&pairs[BARE]);
	start_bare(&pairs[AGAIN]);
	start_supervised(&pairs[SUPERVISED], config);
	for (int i = 0; i < WARM_UP + turns; i++) {
		double seconds[N_PAIRS];

		take_turns(pairs, i, seconds);
		for (int k = 0; i >= WARM_UP && k < N_PAIRS; k++)
			samples_add(&pairs[k].speed, (double)bytes / seconds[k] / 1e9);
	}
	end_all(pairs);
	for (int i = 0; i < N_PAIRS; i++) {
		samples_say_parts(&pairs[i].speed, 7, "64 KiB at a time", names[i], "GB/s");
		pair_fini(&pairs[i]);
	}
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "-w") == 0)
		return be_writer(argv[2], strtoll(argv[3], NULL, 10));
	if (argc == 4 && strcmp(argv[1], "-c") == 0)
		return be_reader(argv[2], strtoll(argv[3], NULL, 10));
	return throughput(argc, argv, 200, 64, run);
}
