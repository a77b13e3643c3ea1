/*
 * The supervisor is killed a thousand times, at any moment, while fifty programs end and are started again, write numbered
 * lines, and a client asks for their status. In the end each program runs once; every end of one was counted, once; the
 * keeper holds as many descriptors and as much memory as before; nobody was turned away; and each line is in its file or
 * in a backup of it, once, whole and in order.
 * STRESS_KILLS, STRESS_SEED: how often, and to repeat a run.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../count_fds.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/mtime.h"
#include "proc/raw.h"
#include "stress.h"
#include "sup/client.h"

enum { PROGRAMS = 50, KILLS = 1000, PATIENCE_S = 30, KEEPER_GROWTH_KB = 256, KEPT_KB = 1024 };

static char dir[256], config[300], mpsup[4096];

static void shut_down(void)
{
	char command[8192];

	snprintf(command, sizeof(command), "%s shutdown -c %s >/dev/null 2>&1", mpsup, config);
	if (system(command) != 0)
		fprintf(stderr, "stress: shutdown failed\n");
}

static void give_up(void)
{
	shut_down();
	fprintf(stderr, "stress: see %s\n", dir);
}

/* ---------------------------------------------------------------------------------------------------- a program */

static int open_own(const char *folder, const char *what, const char *number, int flags)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s.%s", folder, what, number);
	fd = open(path, flags | O_CLOEXEC, 0644);
	if (fd < 0)
		_exit(99);
	return fd;
}

/* One run: a mark that it was there, lines, and how many there were; then an end of some kind, unless enough is enough. */
static void be_program(const char *folder, const char *number)
{
	int lock = open_own(folder, "lock", number, O_RDWR | O_CREAT);
	int runs = open_own(folder, "runs", number, O_RDWR | O_CREAT | O_APPEND);
	struct stat st = { 0 };
	char path[512], line[128];
	unsigned n_lines;
	sigset_t term;

	if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
		if (write(open_own(folder, "twice", number, O_WRONLY | O_CREAT | O_APPEND), "x",
			  1) < 0)
			_exit(98);
		_exit(97);
	}
	fstat(runs, &st);
	chance = (uint64_t)getpid() * 7919 + (uint64_t)st.st_size;
	n_lines = dice(32) == 0 ? dice(2000) : dice(20);
	snprintf(line, sizeof(line), "%7d %7u\n", getpid(), n_lines); /* 16 bytes each */
	/* Who stops us between the promise and the lines makes them look lost. */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	if (write(runs, line, 16) != 16)
		_exit(96);
	for (unsigned i = 0; i < n_lines; i++) {
		int len = snprintf(line, sizeof(line), "<%s %lld %u of %u>\n", number,
				   (long long)st.st_size / 16, i, n_lines);

		if (write(STDOUT_FILENO, line, (size_t)len) != len)
			_exit(95);
		if (n_lines < 20 && dice(4) == 0)
			pause_us(dice(8000));
	}
	sigprocmask(SIG_UNBLOCK, &term, NULL);
	pause_us(dice(30000));
	snprintf(path, sizeof(path), "%s/enough", folder);
	while (access(path, F_OK) == 0)
		pause();
	if (dice(3) == 0)
		raise(SIGKILL);
	_exit((int)dice(4));
}

/* ------------------------------------------------------------------------------------------------- the instance */

/* How the lines of a program get into its file: by itself, or in one of the ways of the supervisor. */
static const char *const ways[8] = {
	"stdout_logfile_maxbytes=0\n",
	"stdout_logfile_maxbytes=0\nlog_prefix=p \n",
	"",
	"log_timestamp=true\n",
	"stdout_logfile_maxbytes=20000\nstdout_logfile_backups=100000\n",
	"stdout_logfile_maxbytes=40000\nstdout_logfile_backups=100000\nlog_timestamp=true\n",
	/* these two share a file */
	"stdout_logfile_maxbytes=50000\nstdout_logfile_backups=100000\n",
	"stdout_logfile_maxbytes=50000\nstdout_logfile_backups=100000\n",
};

static void write_config(const char *self)
{
	FILE *f = fopen(config, "w");

	if (f == NULL)
		fail("%s: %s", config, strerror(errno));
	fprintf(f,
		"[supervisord]\nidentifier=stress-%d\nlogfile=%s/log\npidfile=%s/"
		"pid\nchildlogdir=%s\n",
		getpid(), dir, dir, dir);
	for (int i = 0; i < PROGRAMS; i++)
		fprintf(f,
			"[program:p%d]\ncommand=%s program %s %d\nstartsecs=0\nautorestart=true\n"
			"restart_delay=0\nrestart_limit=none\nredirect_stderr=true\n"
			"stdout_logfile=%s/out.%d\n%s",
			i, self, dir, i, dir, i % 8 == 7 ? i - 1 : i, ways[i % 8]);
	fclose(f);
}

static char *socket_path(void)
{
	char name[64];
	static char path[4096];

	snprintf(name, sizeof(name), "stress-%d", getpid());
	{
		AUTO_FREE char *folder = client_runtime_dir(name);

		snprintf(path, sizeof(path), "%s/control.sock", folder);
	}
	return path;
}

/* One question. A connection that breaks is a supervisor that was killed; one that is refused is a mistake. */
static json_t *ask_once(const char *method)
{
	struct err err = ERR_INIT;
	struct client *client;
	json_t *result = NULL;
	int r = client_connect(socket_path(), &client, &err);

	if (r < 0)
		fail("a client was turned away: %s", err.text);
	client_set_timeout(client, PATIENCE_S * 1000);
	r = client_call(client, method, NULL, NULL, NULL, &result, &err);
	client_close(client);
	if (r != 0 && r != -ECONNRESET && r != -EPIPE)
		fail("%s: %s", method, err.text);
	return result;
}

static json_t *ask(const char *method)
{
	struct mps_time end = { mps_now().ns + PATIENCE_S * MPS_NS_PER_S };
	json_t *result = NULL;

	while (result == NULL && mps_now().ns < end.ns)
		result = ask_once(method);
	if (result == NULL)
		fail("nobody answers %s", method);
	return result;
}

static pid_t pid_in(json_t *info, const char *key)
{
	return (pid_t)json_integer_value(json_object_get(info, key));
}

/* The keeper's child that is the supervisor, which may have come up only half; 0 = none. */
static pid_t find_supervisor(pid_t keeper)
{
	char path[300], text[65536], *save = NULL;
	pid_t found = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", keeper);
	tasks = opendir(path);
	for (struct dirent *e; tasks != NULL && (e = readdir(tasks)) != NULL && found == 0;) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/children", keeper, e->d_name);
		f = fopen(path, "r");
		if (f == NULL)
			continue;
		if (fgets(text, sizeof(text), f) == NULL)
			text[0] = '\0';
		fclose(f);
		for (char *p = strtok_r(text, " \n", &save); p != NULL;
		     p = strtok_r(NULL, " \n", &save)) {
			char name[512] = "";

			snprintf(path, sizeof(path), "/proc/%.10s/cmdline", p);
			f = fopen(path, "r");
			if (f == NULL)
				continue;
			name[fread(name, 1, sizeof(name) - 1, f)] = '\0';
			fclose(f);
			if (strncmp(name, "mpsup: supervisor", 17) == 0 ||
			    (strncmp(name, mpsup, strlen(mpsup)) == 0 &&
			     strcmp(name + strlen(name) + 1, "supervise") == 0))
				found = atoi(p);
		}
	}
	if (tasks != NULL)
		closedir(tasks);
	return found;
}

/* The memory files that it holds for the supervisor, in KiB. */
static long kept_kb(pid_t pid)
{
	char path[300], target[64];
	long sum = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		struct stat st;
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		if (strncmp(target, "/memfd:", 7) == 0 && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
			sum += (long)st.st_blocks / 2;
	}
	if (d != NULL)
		closedir(d);
	return sum;
}

/* Memory of the logs goes back when nothing has come for a while. */
static void wait_for_memory(pid_t keeper)
{
	struct mps_time end = { mps_now().ns + PATIENCE_S * MPS_NS_PER_S };

	while (kept_kb(keeper) > KEPT_KB)
		if (mps_now().ns > end.ns)
			fail("%ld KiB are kept for the supervisor", kept_kb(keeper));
		else
			pause_us(50000);
}

/* What is its own, in KiB. */
static long private_kb(pid_t pid)
{
	char path[64], line[256];
	long sum = 0, kb;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	f = fopen(path, "r");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "Private_Dirty: %ld", &kb) == 1)
			sum += kb;
	if (f != NULL)
		fclose(f);
	return sum;
}

/* ------------------------------------------------------------------------------------------------------- checks */

struct run {
	int pid;
	unsigned lines;
};

static size_t read_runs(int number, struct run *ret_last)
{
	char path[512];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/runs.%d", dir, number);
	f = fopen(path, "r");
	while (f != NULL && fscanf(f, "%d %u", &ret_last->pid, &ret_last->lines) == 2)
		n++;
	if (f != NULL)
		fclose(f);
	return n;
}

/* True when the program rests, lives and was counted as often as it ran since `base`. */
static bool is_settled(const json_t *row, const size_t *base, size_t *ret_runs)
{
	const char *name = json_string_value(json_object_get(row, "name"));
	json_int_t restarts = json_integer_value(json_object_get(row, "restarts"));
	struct run last = { 0 };
	size_t runs = read_runs(atoi(name + 1), &last);

	*ret_runs = runs;
	return base[atoi(name + 1)] + (size_t)restarts + 1 == runs && last.pid > 0 &&
	       pid_in((json_t *)row, "pid") == last.pid && kill(last.pid, 0) == 0;
}

/* Waits until all are settled; the number of runs. */
static size_t settle(const size_t *base)
{
	struct mps_time end = { mps_now().ns + PATIENCE_S * MPS_NS_PER_S };
	size_t sum = 0, n_settled = 0;

	while (n_settled < PROGRAMS) {
		json_t *status = ask("status"), *rows = json_object_get(status, "processes"), *row;
		size_t i, runs = 0;

		sum = n_settled = 0;
		json_array_foreach (rows, i, row) {
			bool settled = is_settled(row, base, &runs);

			n_settled += settled;
			sum += runs;
			if (!settled && mps_now().ns > end.ns)
				fail("%s: %zu runs, but the supervisor says %s",
				     json_string_value(json_object_get(row, "name")), runs,
				     json_dumps(row, JSON_COMPACT));
		}
		json_decref(status);
		pause_us(20000);
	}
	return sum;
}

static size_t count_twice(void)
{
	size_t n = 0;

	for (int i = 0; i < PROGRAMS; i++) {
		char path[512];
		struct stat st;

		snprintf(path, sizeof(path), "%s/twice.%d", dir, i);
		if (stat(path, &st) == 0)
			n += (size_t)st.st_size;
	}
	return n;
}

struct lines {
	size_t written, read;
};

/* The runs of a program: how many lines each wrote, and how many of them were found. */
struct story {
	unsigned *written, *found;
	size_t n, now; /* now: the run whose lines come */
};

static void read_story(int number, struct story *s)
{
	char path[512];
	unsigned n;
	int pid;
	FILE *f;

	*s = (struct story){ 0 };
	snprintf(path, sizeof(path), "%s/runs.%d", dir, number);
	f = fopen(path, "r");
	while (f != NULL && fscanf(f, "%d %u", &pid, &n) == 2) {
		s->written = realloc(s->written, (s->n + 1) * sizeof(unsigned));
		s->written[s->n++] = n;
	}
	if (f != NULL)
		fclose(f);
	s->found = calloc(s->n + 1, sizeof(unsigned));
}

/* "[PREFIX]<PROGRAM RUN LINE of LINES>": whole, and the one that comes next. */
static void check_line(const char *line, const char *path, int first, struct story *stories, int n)
{
	const char *at = strchr(line, '<');
	unsigned k, of, program = 0;
	struct story *s;
	char close, end;
	size_t run;

	if (at == NULL || strchr(at + 1, '<') != NULL || at - line > 32 ||
	    sscanf(at, "<%u %zu %u of %u%c%c", &program, &run, &k, &of, &close, &end) != 6 ||
	    close != '>' || end != '\n' || (int)program < first || (int)program >= first + n)
		fail("%s: a torn line: %s", path, line);
	s = &stories[(int)program - first];
	if (run >= s->n || run < s->now || k != s->found[run])
		fail("%s: after line %u of run %zu comes %s", path, s->found[s->now], s->now, line);
	s->now = run;
	s->found[run]++;
}

static void check_file(const char *path, int first, struct story *stories, int n)
{
	char line[512];
	FILE *f = fopen(path, "r");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		check_line(line, path, first, stories, n);
	if (f != NULL)
		fclose(f);
}

/* The file of `n` programs, with its backups. */
static void check_lines(int first, int n, struct lines *l)
{
	struct story stories[2];
	char path[512];
	int backups = 0;

	for (int i = 0; i < n; i++)
		read_story(first + i, &stories[i]);
	do
		snprintf(path, sizeof(path), "%s/out.%d.%d", dir, first, ++backups);
	while (access(path, F_OK) == 0);
	while (--backups > 0) {
		snprintf(path, sizeof(path), "%s/out.%d.%d", dir, first, backups);
		check_file(path, first, stories, n);
	}
	snprintf(path, sizeof(path), "%s/out.%d", dir, first);
	check_file(path, first, stories, n);
	for (int i = 0; i < n; i++) {
		for (size_t run = 0; run < stories[i].n; run++) {
			l->written += stories[i].written[run];
			l->read += stories[i].found[run];
			if (stories[i].found[run] != stories[i].written[run])
				fail("p%d: %u of %u lines of run %zu", first + i,
				     stories[i].found[run], stories[i].written[run], run);
		}
		free(stories[i].written);
		free(stories[i].found);
	}
}

/* ---------------------------------------------------------------------------------------------------------- play */

static int compare_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* From the kill to the first answer of the next. */
static int64_t kill_it(pid_t keeper, unsigned how, unsigned *ret_more)
{
	struct mps_time t0 = mps_now();
	pid_t victim = find_supervisor(keeper);

	if (victim == 0)
		return -1;
	t0 = mps_now();
	kill(victim, SIGKILL);
	/* Sometimes the next at once, before it has taken over. */
	for (; how == 0 && *ret_more < 3; ++*ret_more) {
		pid_t next = 0;

		for (int i = 0; i < 200 && (next == 0 || next == victim); i++)
			next = find_supervisor(keeper);
		if (next == 0)
			break;
		pause_us(dice(4000));
		kill(next, SIGKILL);
		victim = next;
	}
	json_decref(ask("info"));
	return mps_now().ns - t0.ns;
}

static void be_enough(bool enough)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/enough", dir);
	if (enough)
		close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	else
		unlink(path);
}

static void play(unsigned kills)
{
	int64_t *times = calloc(kills + 4, sizeof(*times));
	json_t *info = ask("info");
	pid_t keeper = pid_in(info, "keeper_pid");
	unsigned n = 0, n_times = 0, fds = 0, answers = 0;
	size_t base[PROGRAMS] = { 0 };
	struct run last;
	long kb = 0;

	json_decref(info);
	/* Once at rest, as in the end. */
	be_enough(true);
	settle(base);
	for (int i = 0; i < PROGRAMS; i++)
		base[i] = read_runs(i, &last); /* a request begins a new count */
	fds = count_fds(keeper);
	be_enough(false);
	json_decref(ask("restart"));
	while (n < kills) {
		unsigned more = 0;
		int64_t t;

		if (kb == 0 && n >= kills / 10)
			kb = private_kb(keeper);
		for (unsigned i = dice(3); i > 0; i--, answers++)
			json_decref(ask("status"));
		pause_us(dice(25000));
		t = kill_it(keeper, dice(8), &more);
		if (t < 0)
			continue;
		if (more == 0)
			times[n_times++] = t;
		n += 1 + more;
	}
	{
		struct lines lines = { 0 };
		size_t runs, twice;
		long grown;
		int fds_grown;

		be_enough(true);
		runs = settle(base);
		twice = count_twice();
		wait_for_memory(keeper);
		grown = private_kb(keeper) - kb;
		fds_grown = (int)count_fds(keeper) - (int)fds;
		for (int i = 0; i < PROGRAMS; i += i % 8 == 6 ? 2 : 1)
			check_lines(i, i % 8 == 6 ? 2 : 1, &lines);
		qsort(times, n_times, sizeof(*times), compare_ns);
		printf("%u kills, %zu runs of %d programs, %u questions answered: %zu duplicates, "
		       "0 "
		       "exits missed; keeper: %+d descriptors, %+ld KiB\n",
		       n, runs, PROGRAMS, answers, twice, fds_grown, grown);
		printf("from a kill to the next answer: median %.1f ms, 99%% %.1f ms, worst %.1f "
		       "ms\n",
		       (double)times[n_times / 2] / 1e6, (double)times[n_times * 99 / 100] / 1e6,
		       (double)times[n_times - 1] / 1e6);
		printf("%zu of %zu lines, none twice or torn\n", lines.read, lines.written);
		if (twice > 0)
			fail("%zu programs ran twice", twice);
		/* A start that is under way at the moment of counting has some open. */
		if (fds_grown > 0 && count_fds(keeper) > fds + 8)
			fail("the keeper's descriptors have grown from %u to %u", fds,
			     count_fds(keeper));
		/* A sanitizer keeps what was freed. */
		if (grown > KEEPER_GROWTH_KB && !RAW_IS_WATCHED)
			fail("the keeper has grown by %ld KiB", grown);
	}
	free(times);
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR");
	char self[4096], command[8192];

	if (argc == 4 && strcmp(argv[1], "program") == 0)
		be_program(argv[2], argv[3]);
	find_programs(self, mpsup);
	snprintf(dir, sizeof(dir), "%s/mpsup-takeover.XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL)
		return 2;
	snprintf(config, sizeof(config), "%s/conf", dir);
	take_seed();
	at_failure = give_up;
	write_config(self);
	setenv("MPSUP_NO", "crash_limit", 1); /* we kill faster than supervisors die */
	snprintf(command, sizeof(command), "%s start --no-wait -c %s >/dev/null 2>&1 </dev/null",
		 mpsup, config);
	if (system(command) != 0)
		fail("it does not start");
	play((unsigned)number_of("STRESS_KILLS", KILLS));
	shut_down();
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command) == 0 ? 0 : 1;
}
