/*
 * Supervisors side by side (contenders.h), all from outside and by the same means, in turns: until all programs are up, what
 * a restart takes and costs, memory, descriptors, status, stop.
 * sup [-n PROGRAMS] [-k KILLS] [-o CONTENDER,...] BUILD-FOLDER; with -i SECONDS instead wake-ups while nothing happens, of all
 * of them at a time. A kill hits a program that is up for a second at least, since others delay those that are not.
 */
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <limits.h>
#include <linux/futex.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <wordexp.h>

#include "../e2e/nop.h"
#include "base/mtime.h"
#include "stat.h"

#include "contenders.h"
#include "processes.h"

enum { SETTLE_S = 6, UP_MS = 1100, PATIENCE_S = 300 };

static unsigned count = 40, kills = 29, idle_s;
static char *dir; /* of this run */
static bool is_quiet;

/* The contender of the moment, in a folder below. */
static const struct contender *at;
static pid_t child; /* what its `start` became */
static struct nop_shared *shared;

static double ms_since(struct mps_time t)
{
	return (double)(mps_now().ns - t.ns) / 1e6;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static void row(const char *what, const char *unit, double v)
{
	if (!is_quiet)
		say(what, at->name, unit, v);
}

/* ------------------------------------------------------------------------------------------------ processes */

static pid_t run(const char *words)
{
	posix_spawn_file_actions_t actions;
	wordexp_t w;
	pid_t pid;

	if (wordexp(words, &w, WRDE_NOCMD | WRDE_UNDEF) != 0)
		die(words);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	errno = posix_spawnp(&pid, w.we_wordv[0], &actions, NULL, w.we_wordv, environ);
	if (errno != 0)
		die(words);
	posix_spawn_file_actions_destroy(&actions);
	wordfree(&w);
	return pid;
}

static int wait_status(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ------------------------------------------------------------------------------------------------ the programs */

static void fresh_folder(void)
{
	AUTO_FREE char *own = xasprintf("%s/%s", dir, at->name),
		       *slots = xasprintf("%s/slots", own), *number = xasprintf("%u", count);
	size_t size = sizeof(struct nop_shared) + count * sizeof(struct nop_slot);
	int fd;

	if (mkdir(own, 0700) < 0)
		die(own);
	setenv("DIR", own, 1);
	setenv("N", number, 1);
	setenv("NOP_FILE", slots, 1);
	fd = open(slots, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		die(slots);
	shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	close(fd);
	if (at->prepare != NULL)
		at->prepare(own, count);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void remove_folder(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Until so many programs have started in all, counted from the first; the last one wakes us. */
static void wait_ups(uint32_t ups)
{
	struct timespec second = { 1, 0 };

	for (uint32_t is; (is = shared->ups) < ups;)
		syscall(SYS_futex, &shared->ups, FUTEX_WAIT, is, &second, NULL, 0);
}

/* ------------------------------------------------------------------------------------------------ what is timed */

static void start(void)
{
	struct mps_time from;

	fresh_folder();
	shared->target = count;
	from = mps_now();
	child = run(at->start);
	wait_ups(count);
	row("all up", "ms", ms_since(from));
	if (at->is_daemon && wait_status(child) != 0)
		die(at->start);
	find_descendants(false);
}

/* One after the other, each when the last one's work is over: kill(2) to the first instruction of the new main(). */
static void measure_restarts(void)
{
	unsigned n = at->slow > 0 ? kills / at->slow + 1 : kills;
	double before = sum_threads("schedstat", one_cpu);

	for (unsigned i = 0; i < n; i++) {
		struct nop_slot *slot = &shared->slot[(i * 7 + 3) % count];
		uint32_t ups = shared->ups + 1;
		int64_t from;

		shared->target = ups;
		from = mps_now().ns;
		if (kill(slot->pid, SIGKILL) < 0)
			die("kill");
		wait_ups(ups);
		row("killed, until up again", "ms", (double)(slot->started_ns - from) / 1e6);
		pause_ms(2);
	}
	row("CPU of a restart", "us", (sum_threads("schedstat", one_cpu) - before) / 1e3 / n);
}

static void measure_command(const char *what, const char *command)
{
	for (int i = 0; command != NULL && i < (at->slow > 0 ? 2 : 3); i++) {
		struct mps_time from = mps_now();

		if (wait_status(run(command)) > 3)
			die(command);
		if (i > 0) /* who looks first has the kernel make entries in /proc */
			row(what, "ms", ms_since(from));
	}
}

/* All of it is over when we have no children any more. */
static void stop(void)
{
	struct mps_time from = mps_now();
	AUTO_FREE char *own = xasprintf("%s/%s", dir, at->name);

	if (at->signal != 0)
		kill(child, at->signal);
	if (at->stop != NULL)
		run(at->stop);
	while (waitpid(-1, NULL, 0) > 0)
		;
	row("all stopped", "ms", ms_since(from));
	munmap(shared, sizeof(*shared) + count * sizeof(struct nop_slot));
	remove_folder(own);
}

static void measure(void)
{
	start();
	row("CPU to start all", "ms", sum_threads("schedstat", one_cpu) / 1e6);
	row("memory (PSS) for each", "KiB", pss_kib() / count);
	row("descriptors for each", "", descriptors() / count);
	measure_command("status of one", at->one);
	measure_command("status of all", at->all);
	if (kills > 0) {
		if (at->needs != NULL)
			pause_ms(UP_MS);
		measure_restarts();
	}
	stop();
}

/* In a child, beside those of the others, when all of them are up and at rest, which is when `go` ends. */
static _Noreturn void measure_idle(const int up[2], const int go[2])
{
	AUTO_FREE char *what = xasprintf("wake-ups in %u s", idle_s);
	double before;
	char c = 'u';

	close(go[1]);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	is_quiet = true; /* these are no turns */
	start();
	if (write(up[1], &c, 1) != 1 || read(go[0], &c, 1) != 0)
		die("pipe");
	before = sum_threads("status", one_switches);
	pause_ms(idle_s * 1000);
	is_quiet = false;
	row(what, "", sum_threads("status", one_switches) - before);
	is_quiet = true;
	stop();
	_exit(0);
}

/* ------------------------------------------------------------------------------------------------ main */

static bool is_there(const struct contender *c)
{
	AUTO_FREE char *look =
		c->needs != NULL ? xasprintf("command -v %s >/dev/null", c->needs) : NULL;

	return look == NULL || system(look) == 0;
}

static bool takes_part(const struct contender *c, const char *only)
{
	if ((only != NULL && strstr(only, c->name) == NULL) || (c->most > 0 && count > c->most))
		return false;
	if (!is_there(c)) {
		say_missing(c->name);
		return false;
	}
	return true;
}

static int measure_all(const char *only)
{
	int up[2], go[2], status, bad = 0;
	char c;

	if (pipe2(up, O_CLOEXEC) < 0 || pipe2(go, O_CLOEXEC) < 0)
		die("pipe");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (size_t i = 0; i < ARRAY_SIZE(contenders); i++) {
		at = &contenders[i];
		if (!takes_part(at, only))
			continue;
		if (idle_s == 0)
			measure();
		else if (fork() == 0)
			measure_idle(up, go);
		else if (read(up[0], &c, 1) != 1)
			die("pipe");
	}
	if (idle_s > 0)
		pause_ms(SETTLE_S * 1000); /* memory of logs is given back after some seconds */
	close(go[1]);
	while (wait(&status) > 0)
		bad |= status;
	return bad != 0;
}

/* Whatever becomes of the measuring process, nothing that it has started stays. */
static int guard(pid_t pid)
{
	const struct timespec patience = { PATIENCE_S, 0 };
	int status, signal;
	sigset_t set;
	bool is_over;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	is_over = waitpid(pid, &status, WNOHANG) == pid;
	signal = is_over ? SIGCHLD : sigtimedwait(&set, NULL, &patience);
	if (is_over || waitpid(pid, &status, WNOHANG) == pid) {
		if (status == 0)
			return 0;
	} else {
		fprintf(stderr, "sup: %s: given up\n", signal < 0 ? "it hangs" : "interrupted");
	}
	do {
		find_descendants(true);
		for (size_t i = 0; i < n_pids; i++)
			kill(pids[i], SIGKILL);
		while (waitpid(-1, NULL, n_pids > 0 ? 0 : WNOHANG) > 0)
			;
	} while (n_pids > 0);
	return 1;
}

static void prepare(const char *build)
{
	struct rlimit l;
	char b[PATH_MAX];

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	dir = xstrdup("/dev/shm/mpsup-bench.XXXXXX"); /* in memory, so that no disk is timed */
	if (realpath(build, b) == NULL || mkdtemp(dir) == NULL)
		die(build);
	setenv("B", b, 1);
	strcat(b, "/e2e/nop");
	setenv("NOP", b, 1);
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	pid_t pid;
	int c, r;

	while ((c = getopt(argc, argv, "n:k:i:o:")) != -1) {
		if (c == 'o')
			only = optarg;
		else if (c == '?')
			return 2;
		else
			*(c == 'n' ? &count : c == 'k' ? &kills : &idle_s) = (unsigned)atoi(optarg);
	}
	if (optind + 1 != argc || count == 0)
		return 2;
	prepare(argv[optind]);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid = fork();
	if (pid == 0)
		exit(measure_all(only));
	r = guard(pid);
	remove_folder(dir);
	free(dir);
	return r;
}
