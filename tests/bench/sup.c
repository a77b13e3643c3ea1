/*
 * Measures mpsup beside the limit (bare.c), both from outside and by the same means, in turns: until all are up, what a
 * restart takes and costs, memory, wake-ups at rest, stop, status; supervisord from the same configuration on request.
 * tests/bench/run calls it for each number of programs.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <dirent.h>
#include <getopt.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../e2e/nop.h"
#include "base/mtime.h"
#include "stat.h"

extern char **environ;

enum contender { BARE, MPSUP, SUPERVISORD, N_CONTENDERS };
static const char *const contender_names[] = { "bare", "mpsup", "supervisord" };

/* X(name in code, key in --json, what it is, unit) */
#define METRICS(X)                                                                                 \
	X(ALL_UP, "all_up_ms", "exec to all up", "ms")                                             \
	X(SPREAD, "first_to_last_ms", "first to last up", "ms")                                    \
	X(RETURNED, "start_returns_ms", "start returns", "ms")                                     \
	X(START_CPU, "start_cpu_ms", "CPU to start all", "ms")                                     \
	X(PSS, "pss_kib", "memory (PSS)", "KiB")                                                   \
	X(RESTART_MEDIAN, "restart_median_ms", "restart, median", "ms")                            \
	X(RESTART_P99, "restart_p99_ms", "restart, p99", "ms")                                     \
	X(RESTART_CPU, "restart_cpu_us", "CPU per restart", "us")                                  \
	X(IDLE, "idle_switches", "switches at rest", "")                                           \
	X(STATUS_FIRST, "status_first_ms", "status, the first", "ms")                              \
	X(STATUS, "status_ms", "status, again", "ms")                                              \
	X(STOP, "stop_ms", "stop all", "ms")

enum metric {
#define X(name, key, doc, unit) name,
	METRICS(X)
#undef X
		N_METRICS
};

static const struct {
	const char *key, *doc, *unit;
} metrics[] = {
#define X(name, key, doc, unit) { key, doc, unit },
	METRICS(X)
#undef X
};

static struct bench {
	unsigned count, rounds, kills, idle_s;
	bool json, with[N_CONTENDERS];
	char programs[PATH_MAX]; /* build folder */
	char dir[64];
	char nop[PATH_MAX + 16], bare[PATH_MAX + 16], mpsup[PATH_MAX + 16], config[PATH_MAX],
		file[PATH_MAX];
	struct nop_shared *shared;
	size_t shared_size;
	struct samples results[N_CONTENDERS][N_METRICS];
} b;

/* The contender of the moment: what was exec'd, and the processes that supervise. */
static struct {
	pid_t child; /* still to be waited for; 0 = none */
	pid_t pids[2];
	size_t n_pids;
	bool daemon; /* mpsup start was called */
} now_running;

static _Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static double ms_since(struct mps_time t)
{
	return (double)(mps_now().ns - t.ns) / 1e6;
}

/* ------------------------------------------------------------------------------------------------ processes */

static pid_t run(char *const argv[], const char *output)
{
	posix_spawn_file_actions_t actions;
	pid_t pid = 0;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	r = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		die("%s: %s", argv[0], strerror(r));
	return pid;
}

static int wait_status(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static pid_t run_verb(const char *verb, const char *output)
{
	return run((char *[]){ b.mpsup, (char *)verb, (char *)"-c", b.config, NULL }, output);
}

static void remove_dir(void)
{
	static const char *const names[] = { "mpsup.conf", "slots", "out", "log", "pid", "err" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s", b.dir, names[i]);
		unlink(path);
	}
	rmdir(b.dir);
}

static void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "bench: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	for (size_t i = 0; i < now_running.n_pids; i++)
		kill(now_running.pids[i], SIGTERM);
	if (now_running.child > 0)
		kill(now_running.child, SIGTERM);
	if (now_running.daemon) {
		now_running.daemon = false;
		wait_status(run_verb("shutdown", "/dev/null"));
	}
	remove_dir();
	exit(1);
}

/* ------------------------------------------------------------------------------------------------ /proc */

static bool read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* The number behind `key` in the text, 0 where there is none. */
static long long number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at != NULL ? strtoll(at + strlen(key), NULL, 10) : 0;
}

/* Adds what `one` reads of each thread of the contender's processes. */
static long long sum_threads(const char *file, long long (*one)(const char *text))
{
	long long sum = 0;

	for (size_t i = 0; i < now_running.n_pids; i++) {
		char path[512], text[4096];
		struct dirent *e;
		DIR *dir;

		snprintf(path, sizeof(path), "/proc/%d/task", now_running.pids[i]);
		dir = opendir(path);
		while (dir != NULL && (e = readdir(dir)) != NULL) {
			snprintf(path, sizeof(path), "/proc/%d/task/%.16s/%s", now_running.pids[i],
				 e->d_name, file);
			if (e->d_name[0] != '.' && read_text(path, text, sizeof(text)))
				sum += one(text);
		}
		if (dir != NULL)
			closedir(dir);
	}
	return sum;
}

static long long one_cpu(const char *text)
{
	return strtoll(text, NULL, 10);
}

static long long one_switches(const char *text)
{
	return number_after(text, "\nvoluntary_ctxt_switches:") +
	       number_after(text, "nonvoluntary_ctxt_switches:");
}

static long long cpu_ns(void)
{
	return sum_threads("schedstat", one_cpu);
}

static double pss_kib(void)
{
	long long sum = 0;

	for (size_t i = 0; i < now_running.n_pids; i++) {
		char path[64], text[4096];

		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", now_running.pids[i]);
		if (read_text(path, text, sizeof(text)))
			sum += number_after(text, "\nPss:");
	}
	return (double)sum;
}

/* ------------------------------------------------------------------------------------------------ the programs */

static void fresh_slots(void)
{
	int fd = open(b.file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	b.shared_size = sizeof(struct nop_shared) + b.count * sizeof(struct nop_slot);
	if (fd < 0 || ftruncate(fd, (off_t)b.shared_size) < 0)
		die("%s: %s", b.file, strerror(errno));
	if (b.shared != NULL)
		munmap(b.shared, b.shared_size);
	b.shared = mmap(NULL, b.shared_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (b.shared == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	close(fd);
}

/* What was exec'd has ended, and not well: nobody will start the rest. */
static bool has_failed(void)
{
	siginfo_t info = { .si_pid = 0 };

	return now_running.child > 0 &&
	       waitid(P_PID, (id_t)now_running.child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid != 0 && (info.si_code != CLD_EXITED || info.si_status != 0);
}

/* Until so many programs have started in all, counted from the first; the last one wakes us. */
static void wait_ups(uint32_t ups, int seconds)
{
	struct mps_time from = mps_now();
	struct timespec second = { 1, 0 };

	for (;;) {
		uint32_t is = b.shared->ups;

		if (is >= ups)
			return;
		if (ms_since(from) > seconds * 1000.0 || has_failed())
			die("only %u of %u programs have started after %.1f s", is, ups,
			    ms_since(from) / 1000);
		syscall(SYS_futex, &b.shared->ups, FUTEX_WAIT, is, &second, NULL, 0);
		/* woken or not: target is set once, so a stray wake-up only makes us look again */
	}
}

static double spread_ms(void)
{
	int64_t first = INT64_MAX, last = 0;

	for (unsigned i = 0; i < b.count; i++) {
		int64_t t = b.shared->slot[i].started_ns;

		first = t < first ? t : first;
		last = t > last ? t : last;
	}
	return (double)(last - first) / 1e6;
}

static unsigned count_left(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b.count; i++)
		n += kill(b.shared->slot[i].pid, 0) == 0;
	return n;
}

/* ------------------------------------------------------------------------------------------------ contenders */

static void write_config(void)
{
	FILE *f = fopen(b.config, "we");

	if (f == NULL)
		die("%s: %s", b.config, strerror(errno));
	fprintf(f, "[supervisord]\nidentifier=bench-%d\nlogfile=/dev/null\nlogfile_maxbytes=0\n",
		getpid());
	fprintf(f, "pidfile=%s/pid\nchildlogdir=%s\nminfds=20000\n\n", b.dir, b.dir);
	fprintf(f, "[program:nop]\ncommand=%s %s %%(process_num)d\n", b.nop, b.file);
	fprintf(f, "numprocs=%u\nprocess_name=%%(program_name)s_%%(process_num)d\n", b.count);
	fprintf(f, "startsecs=0\nautorestart=true\nrestart_delay=0\n");
	fprintf(f, "stdout_logfile=NONE\nstderr_logfile=NONE\n");
	if (fclose(f) != 0)
		die("%s: %s", b.config, strerror(errno));
}

/* The first child of a thread of the keeper that has our name. */
static pid_t find_supervisor_in(const char *children_file)
{
	char path[64], comm[32], text[65536], *next = text;
	pid_t pid;

	if (!read_text(children_file, text, sizeof(text)))
		return 0;
	while ((pid = (pid_t)strtol(next, &next, 10)) > 0) {
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		if (read_text(path, comm, sizeof(comm)) && strncmp(comm, "mpsup", 5) == 0)
			return pid;
	}
	return 0;
}

static pid_t find_supervisor(pid_t keeper)
{
	char pattern[64];
	pid_t pid = 0;
	glob_t g;

	snprintf(pattern, sizeof(pattern), "/proc/%d/task/*/children", keeper);
	if (glob(pattern, 0, NULL, &g) != 0)
		return 0;
	for (size_t i = 0; i < g.gl_pathc && pid == 0; i++)
		pid = find_supervisor_in(g.gl_pathv[i]);
	globfree(&g);
	return pid;
}

static void find_processes(void)
{
	char path[PATH_MAX], text[4096];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/out", b.dir);
	if (wait_status(run_verb("pid", path)) != 0 || !read_text(path, text, sizeof(text)))
		die("mpsup pid fails");
	now_running.pids[now_running.n_pids++] = (pid_t)atoi(text);
	pid = find_supervisor(atoi(text));
	if (pid <= 0)
		die("the keeper has no supervisor");
	now_running.pids[now_running.n_pids++] = pid;
}

/* One that stays in the foreground: what was started is what supervises. */
static void start_plain(char *const argv[], struct samples *m, struct mps_time from, int seconds)
{
	now_running.child = run(argv, "/dev/null");
	now_running.pids[now_running.n_pids++] = now_running.child;
	wait_ups(b.count, seconds);
	samples_add(&m[ALL_UP], ms_since(from));
}

static void start_bare(struct samples *m, struct mps_time from, int seconds)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", b.count);
	start_plain((char *[]){ b.bare, b.nop, b.file, number, NULL }, m, from, seconds);
}

static void start_supervisord(struct samples *m, struct mps_time from, int seconds)
{
	start_plain((char *[]){ (char *)"/usr/bin/supervisord", (char *)"-n", (char *)"-c",
				b.config, NULL },
		    m, from, seconds);
}

static void start_mpsup(struct samples *m, struct mps_time from, int seconds)
{
	int r;

	now_running.daemon = true;
	now_running.child = run_verb("start", "/dev/null");
	wait_ups(b.count, seconds);
	samples_add(&m[ALL_UP], ms_since(from));
	r = wait_status(now_running.child);
	now_running.child = 0;
	samples_add(&m[RETURNED], ms_since(from));
	if (r != 0)
		die("mpsup start: exit status %d", r);
	find_processes();
}

static void measure_start(enum contender c, struct samples *m)
{
	static void (*const starts[])(struct samples *, struct mps_time,
				      int) = { start_bare, start_mpsup, start_supervisord };
	int seconds = 30 + (int)(b.count / 10);
	struct mps_time from;

	fresh_slots();
	b.shared->target = b.count;
	now_running.n_pids = 0;
	from = mps_now();
	starts[c](m, from, seconds);
	samples_add(&m[SPREAD], spread_ms());
	samples_add(&m[START_CPU], (double)cpu_ns() / 1e6);
	samples_add(&m[PSS], pss_kib());
}

/* One kill after the other, each when the last one's work is over: kill(2) to the first instruction of the new main(). */
static void measure_restarts(struct samples *m, unsigned kills)
{
	struct samples latency = { NULL, 0 };
	long long before = cpu_ns();

	for (unsigned i = 0; i < kills; i++) {
		struct nop_slot *slot = &b.shared->slot[(unsigned)random() % b.count];
		uint32_t ups = b.shared->ups + 1;
		struct mps_time from;

		b.shared->target = ups;
		from = mps_now();
		if (kill(slot->pid, SIGKILL) < 0)
			die("no process %d to kill", slot->pid);
		wait_ups(ups, 10);
		samples_add(&latency, (double)(slot->started_ns - from.ns) / 1e6);
		usleep(2000);
	}
	samples_add(&m[RESTART_CPU], (double)(cpu_ns() - before) / 1e3 / kills);
	samples_add(&m[RESTART_MEDIAN], samples_quantile(&latency, 0.5));
	samples_add(&m[RESTART_P99], samples_quantile(&latency, 0.99));
	samples_free(&latency);
}

enum { SETTLE_S = 6 };

static void measure_idle(struct samples *m)
{
	long long before;

	sleep(SETTLE_S); /* memory of the logs is given back 2 to 4 s after the last line */
	before = sum_threads("status", one_switches);
	sleep(b.idle_s);
	samples_add(&m[IDLE], (double)(sum_threads("status", one_switches) - before));
}

/* For who looks first the kernel makes the entries in /proc of all these new processes. */
static void measure_status(struct samples *m)
{
	for (int i = 0; i < 6; i++) {
		struct mps_time from = mps_now();

		if (wait_status(run_verb("status", "/dev/null")) != 0)
			die("mpsup status says that not all run");
		samples_add(&m[i == 0 ? STATUS_FIRST : STATUS], ms_since(from));
	}
}

static void measure_stop(enum contender c, struct samples *m)
{
	struct mps_time from = mps_now();
	unsigned left;
	int r;

	if (c == MPSUP)
		now_running.child = run_verb("shutdown", "/dev/null");
	else
		kill(now_running.child, SIGTERM);
	r = wait_status(now_running.child);
	samples_add(&m[STOP], ms_since(from));
	now_running.child = 0;
	now_running.n_pids = 0;
	now_running.daemon = false;
	left = count_left();
	if (r != 0 || left != 0)
		die("%s: stop: exit status %d, %u programs left", contender_names[c], r, left);
}

static void measure(enum contender c, struct samples *m, bool last)
{
	measure_start(c, m);
	if (c == MPSUP)
		measure_status(m);
	/* supervisord looks once a second */
	measure_restarts(m, c == SUPERVISORD ? b.kills / 20 + 1 : b.kills);
	if (last && b.idle_s > 0)
		measure_idle(m);
	measure_stop(c, m);
}

/* ------------------------------------------------------------------------------------------------ output */

static void print_cell(struct samples *s)
{
	double median = samples_quantile(s, 0.5); /* sorts */
	int digits = median < 100 ? 2 : 0;
	char text[96] = "-";

	if (s->n > 0)
		snprintf(text, sizeof(text), "%.*f [%.*f-%.*f]", digits, median, digits, s->v[0],
			 digits, s->v[s->n - 1]);
	printf(" %26s", text);
}

static double ratio(enum metric i)
{
	double bare = samples_quantile(&b.results[BARE][i], 0.5);

	return bare > 0 ? samples_quantile(&b.results[MPSUP][i], 0.5) / bare : 0;
}

static void print_table(const char *load)
{
	printf("%u programs, %u rounds, %u kills each, load %s", b.count, b.rounds, b.kills, load);
	printf("  %-25s %26s %26s %7s", "median [min-max]", "bare", "mpsup", "ratio");
	if (b.with[SUPERVISORD])
		printf(" %26s", "supervisord");
	printf("\n");
	for (enum metric i = 0; i < N_METRICS; i++) {
		if (b.results[BARE][i].n + b.results[MPSUP][i].n == 0)
			continue;
		printf("  %-20s %-4s", metrics[i].doc, metrics[i].unit);
		print_cell(&b.results[BARE][i]);
		print_cell(&b.results[MPSUP][i]);
		if (ratio(i) > 0)
			printf(" %7.2f", ratio(i));
		else if (b.with[SUPERVISORD])
			printf(" %7s", "");
		if (b.with[SUPERVISORD])
			print_cell(&b.results[SUPERVISORD][i]);
		printf("\n");
	}
	printf("\n");
}

static void print_json_samples(enum contender c, enum metric i)
{
	struct samples *s = &b.results[c][i];
	double median = samples_quantile(s, 0.5); /* sorts */

	if (s->n > 0)
		printf(",\"%s\":{\"median\":%.3f,\"min\":%.3f,\"max\":%.3f}", contender_names[c],
		       median, s->v[0], s->v[s->n - 1]);
}

static void print_json(const char *load)
{
	printf("{\"count\":%u,\"rounds\":%u,\"kills\":%u,\"load\":%.2f,\"metrics\":[", b.count,
	       b.rounds, b.kills, atof(load));
	for (enum metric i = 0; i < N_METRICS; i++) {
		printf("%s{\"name\":\"%s\"", i > 0 ? "," : "", metrics[i].key);
		print_json_samples(BARE, i);
		print_json_samples(MPSUP, i);
		print_json_samples(SUPERVISORD, i);
		if (ratio(i) > 0)
			printf(",\"ratio\":%.3f", ratio(i));
		printf("}");
	}
	printf("]}\n");
}

/* ------------------------------------------------------------------------------------------------ main */

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: sup [-n PROGRAMS] [-r ROUNDS] [-k KILLS] [-i IDLE_SECONDS] [-j] "
			"[-o bare|mpsup|supervisord]... BUILD_FOLDER\n");
	exit(2);
}

/* -o: these contenders only; without any bare and mpsup. */
static void choose(const char *name)
{
	for (enum contender c = 0; c < N_CONTENDERS; c++)
		if (strcmp(contender_names[c], name) == 0) {
			b.with[c] = true;
			return;
		}
	usage();
}

static void parse(int argc, char **argv)
{
	int c;

	b = (struct bench){ .count = 40, .rounds = 7, .kills = 200 };
	while ((c = getopt(argc, argv, "n:r:k:i:jo:")) != -1) {
		unsigned n = optarg != NULL ? (unsigned)strtoul(optarg, NULL, 10) : 0;

		if (c == 'n' && n > 0)
			b.count = n;
		else if (c == 'r' && n > 0)
			b.rounds = n;
		else if (c == 'k' && n > 0)
			b.kills = n;
		else if (c == 'i')
			b.idle_s = n;
		else if (c == 'j')
			b.json = true;
		else if (c == 'o')
			choose(optarg);
		else
			usage();
	}
	if (!b.with[BARE] && !b.with[MPSUP] && !b.with[SUPERVISORD])
		b.with[BARE] = b.with[MPSUP] = true;
	if (optind + 1 != argc || realpath(argv[optind], b.programs) == NULL)
		usage();
}

/* In memory, so that no disk is timed. */
static void prepare(void)
{
	strcpy(b.dir, "/dev/shm/mpsup-bench.XXXXXX");
	if (mkdtemp(b.dir) == NULL)
		die("%s: %s", b.dir, strerror(errno));
	snprintf(b.nop, sizeof(b.nop), "%s/e2e/nop", b.programs);
	snprintf(b.bare, sizeof(b.bare), "%s/bench/bare", b.programs);
	snprintf(b.mpsup, sizeof(b.mpsup), "%s/mpsup", b.programs);
	snprintf(b.config, sizeof(b.config), "%s/mpsup.conf", b.dir);
	snprintf(b.file, sizeof(b.file), "%s/slots", b.dir);
	write_config();
}

int main(int argc, char **argv)
{
	struct samples discarded[N_METRICS] = { 0 };
	char load[64] = "?\n";

	parse(argc, argv);
	prepare();
	for (enum contender c = 0; c < N_CONTENDERS; c++)
		if (b.with[c])
			measure(c, discarded, false);
	read_text("/proc/loadavg", load, sizeof(load));
	for (unsigned round = 0; round < b.rounds; round++)
		for (unsigned i = 0; i < N_CONTENDERS; i++) {
			enum contender c = (i + round) % N_CONTENDERS;

			if (b.with[c])
				measure(c, b.results[c], round + 1 == b.rounds);
		}
	if (b.json)
		print_json(load);
	else
		print_table(load);
	for (enum metric i = 0; i < N_METRICS; i++)
		samples_free(&discarded[i]);
	remove_dir();
	return 0;
}
