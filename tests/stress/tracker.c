/*
 * Programs make semaphores, shared memory and queues of all kinds, and workers, supervisor and keeper are killed at any
 * moment, alone and together, in any order. A second later nothing is left of what the dead ones have made (both killed:
 * when mpsup start has returned), and what is not theirs is still there.
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/mtime.h"
#include "objects.h"
#include "proc/pidfd.h"
#include "proc/tree.h"
#include "stress.h"
#include "sup/client.h"

enum {
	MAKERS = 4,
	KILLS = 500,
	PATIENCE_S = 30,
	GRACE_MS = 1000, /* what is left after it was left */
	HELD = 12,	 /* objects that a maker has at most */
	STRANGER_MODE =
		0700 /* of SysV objects that are nobody's; those of makers have one of the run */
};

static char dir[256], config[300], mpsup[4096];
static char mark[32]; /* in the names of this run */

static void give_up(void)
{
	char command[8192];

	snprintf(command, sizeof(command), "%s shutdown -c %s >/dev/null 2>&1", mpsup, config);
	if (system(command) != 0)
		fprintf(stderr, "stress: shutdown failed\n");
	fprintf(stderr, "stress: see %s\n", dir);
}

/* Of this run, hardly of another at the same time. */
static unsigned sysv_mode(void)
{
	return 0600 | (1 + (unsigned)atoi(mark + strlen("tracked")) % 63);
}

/* --------------------------------------------------------------------------------------------------- a maker */

/* Queues are named by slots, so that whoever looks for those that were left knows where. */
static void name(struct object *o, unsigned slot, unsigned n)
{
	if (o->kind == QUEUE)
		snprintf(o->name, sizeof(o->name), "/%s-q%d-%u", mark, getpid(), slot);
	else
		snprintf(o->name, sizeof(o->name), "/%s-%d-%u", mark, getpid(), n);
}

static void be_maker(const char *folder)
{
	static struct object held[HELD];
	static bool is_held[HELD];
	char path[400];
	int fd;

	chance = (uint64_t)getpid() * 7919;
	/* Somebody who lives is looked for by this. */
	snprintf(path, sizeof(path), "%s/maker.%d", folder, getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		_exit(99);
	for (unsigned n = 0;; n++) {
		unsigned slot = dice(HELD);

		if (is_held[slot]) {
			object_end(&held[slot]);
			is_held[slot] = false;
		} else {
			held[slot].kind = (enum object_kind)dice(N_KINDS);
			name(&held[slot], slot, n);
			is_held[slot] = object_make(&held[slot], (int)sysv_mode());
		}
		if (dice(3) == 0)
			pause_us(dice(2000));
	}
}

/* -------------------------------------------------------------------------------------------------- the instance */

static void write_config(const char *self)
{
	FILE *f = fopen(config, "w");

	if (f == NULL)
		fail("%s: %s", config, strerror(errno));
	fprintf(f,
		"[supervisord]\nidentifier=%s\nlogfile=%s/log\nlogfile_maxbytes=0\npidfile=%s/pid\n"
		"childlogdir=%s\non_crash=%s\n"
		"[program:maker]\ncommand=%s maker %s "
		"%s\nnumprocs=%d\nprocess_name=m%%(process_num)d\n"
		"startsecs=0\nautorestart=true\nrestart_delay=0\nrestart_limit=none\n",
		mark, dir, dir, dir, dice(2) ? "stop" : "restart", self, dir, mark, MAKERS);
	fclose(f);
}

static int run(const char *verb)
{
	char command[8192];

	snprintf(command, sizeof(command), "%s %s -c %s >%s/%s.out 2>&1 </dev/null", mpsup, verb,
		 config, dir, verb);
	return system(command);
}

struct instance {
	pid_t keeper, supervisor, makers[MAKERS];
	int keeper_fd, supervisor_fd; /* pidfds */
};

static json_t *ask(const char *method)
{
	AUTO_FREE char *folder = client_runtime_dir(mark);
	char path[4096];
	struct err err = ERR_INIT;
	struct client *client;
	json_t *result = NULL;
	int r;

	snprintf(path, sizeof(path), "%s/control.sock", folder);
	r = client_connect(path, &client, &err);
	if (r == 0) {
		client_set_timeout(client, PATIENCE_S * 1000);
		r = client_call(client, method, NULL, NULL, NULL, &result, &err);
		client_close(client);
	}
	if (r != 0)
		fail("%s: %s", method, err.text);
	return result;
}

static pid_t pid_in(json_t *object, const char *key)
{
	return (pid_t)json_integer_value(json_object_get(object, key));
}

static void look_at(struct instance *i)
{
	json_t *info = ask("info"), *status = ask("status"), *row;
	size_t n;

	*i = (struct instance){ .keeper = pid_in(info, "keeper_pid"),
				.supervisor = pid_in(info, "supervisor_pid") };
	i->keeper_fd = pidfd_open_checked(i->keeper);
	i->supervisor_fd = pidfd_open_checked(i->supervisor);
	if (i->keeper_fd < 0 || i->supervisor_fd < 0)
		fail("pidfd_open: %s", strerror(errno));
	json_array_foreach (json_object_get(status, "processes"), n, row)
		if (n < MAKERS)
			i->makers[n] = pid_in(row, "pid");
	json_decref(info);
	json_decref(status);
}

static void close_fds(struct instance *i)
{
	close(i->keeper_fd);
	close(i->supervisor_fd);
}

static void wait_for_end(int pidfd, const char *of)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	if (poll(&p, 1, PATIENCE_S * 1000) <= 0)
		fail("the %s has not ended", of);
}

/* --------------------------------------------------------------------------------------------------- checks */

static bool is_alive(pid_t pid)
{
	struct proc_stat st;

	return proc_stat_read(pid, &st) == 0 && st.state != 'Z' && st.state != 'X';
}

/* Other tests may run at the same time, Python and PostgreSQL among them. */
static int is_ours(const struct dirent *e)
{
	static const char *const others[] = { "mps", "psm_", "mp-", "PostgreSQL" };

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (strstr(e->d_name, others[i]) != NULL)
			return 0;
	return 1;
}

/* What there was in /dev/shm before, a line each; found again at the end. */
static char *list_shm(void)
{
	struct dirent **entries;
	int n = scandir("/dev/shm", &entries, is_ours, alphasort);
	size_t size = 0;
	char *text = NULL;
	FILE *f = open_memstream(&text, &size);

	for (int i = 0; i < n; i++) {
		fprintf(f, "%s\n", entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	fclose(f);
	return text;
}

/* The maker in "MARK-PID-N" or "sem.MARK-PID-N"; 0: it is no maker's. */
static pid_t maker_of(const char *file)
{
	const char *at = strstr(file, mark);

	return at != NULL && at[strlen(mark)] == '-' ? atoi(at + strlen(mark) + 1) : 0;
}

/* A file of a maker that is no more. False: there is none. */
static bool find_file(char *ret, size_t size)
{
	struct dirent *e;
	bool found = false;
	DIR *d = opendir("/dev/shm");

	while (d != NULL && !found && (e = readdir(d)) != NULL) {
		pid_t pid = maker_of(e->d_name);

		found = pid > 0 && !is_alive(pid);
		if (found)
			snprintf(ret, size, "/dev/shm/%s", e->d_name);
	}
	if (d != NULL)
		closedir(d);
	return found;
}

static bool find_queue(char *ret, size_t size)
{
	struct dirent *e;
	bool found = false;
	DIR *d = opendir(dir);

	while (d != NULL && !found && (e = readdir(d)) != NULL) {
		pid_t pid = strncmp(e->d_name, "maker.", 6) == 0 ? atoi(e->d_name + 6) : 0;

		if (pid == 0 || is_alive(pid))
			continue;
		for (unsigned slot = 0; slot < HELD && !found; slot++) {
			snprintf(ret, size, "/%s-q%d-%u", mark, pid, slot);
			found = queue_is_there(ret);
		}
		if (!found)
			unlinkat(dirfd(d), e->d_name, 0);
	}
	if (d != NULL)
		closedir(d);
	return found;
}

/* Those of SysV tell nothing of their maker (but memory), so they are looked for when none lives. */
static bool find_sysv(bool none_lives, char *ret, size_t size)
{
	static const char *const tables[] = { "shm", "sem", "msg" };

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		char path[64], line[512];
		FILE *f;

		snprintf(path, sizeof(path), "/proc/sysvipc/%s", tables[i]);
		f = fopen(path, "r");
		while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
			int id = 0, cpid = 0;
			unsigned mode = 0;

			if (sscanf(line, "%*d %d %o %*u %d", &id, &mode, &cpid) < 2 ||
			    (mode & 0777) != sysv_mode())
				continue;
			if (!none_lives && (i != 0 || is_alive(cpid)))
				continue;
			snprintf(ret, size, "%s %d", tables[i], id);
			fclose(f);
			return true;
		}
		if (f != NULL)
			fclose(f);
	}
	return false;
}

static bool find_left(bool none_lives, char *ret, size_t size)
{
	return find_file(ret, size) || find_queue(ret, size) || find_sysv(none_lives, ret, size);
}

/* After at most ms nothing is left of those that do not live. */
static void check(const char *after, bool none_lives, int ms)
{
	struct mps_time until = { mps_now().ns + ms * MPS_NS_PER_MS };
	char what[400];

	while (find_left(none_lives, what, sizeof(what)))
		if (mps_now().ns >= until.ns)
			fail("%d ms after %s there is still %s", ms, after, what);
		else
			pause_us(2000);
}

static struct object strangers[N_KINDS];

static void make_strangers(void)
{
	for (int i = 0; i < N_KINDS; i++) {
		strangers[i].kind = (enum object_kind)i;
		snprintf(strangers[i].name, sizeof(strangers[i].name), "/x%s-%d", mark + 1, i);
		if (!object_make(&strangers[i], STRANGER_MODE))
			fail("%s: %s", strangers[i].name, strerror(errno));
	}
}

static void check_strangers(void)
{
	for (int i = 0; i < N_KINDS; i++)
		if (!object_is_there(&strangers[i]))
			fail("%s, which is nobody's of theirs, is gone", strangers[i].name);
}

/* --------------------------------------------------------------------------------------------------- kills */

enum victim { WORKER, SUPERVISOR, KEEPER, KEEPER_FIRST, SUPERVISOR_FIRST, ALL, N_VICTIMS };
static const char *const victims[N_VICTIMS] = {
	[WORKER] = "a worker's death",
	[SUPERVISOR] = "the supervisor's death",
	[KEEPER] = "the keeper's death",
	[KEEPER_FIRST] = "the keeper's and the supervisor's death",
	[SUPERVISOR_FIRST] = "the supervisor's and the keeper's death",
	[ALL] = "the death of all",
};

static void kill_them(const struct instance *i, enum victim victim)
{
	if (victim == WORKER || victim == ALL)
		for (int m = 0; m < MAKERS; m++)
			if (i->makers[m] > 0 && (victim == ALL || dice(2)))
				kill(i->makers[m], SIGKILL);
	if (victim == KEEPER || victim == KEEPER_FIRST || victim == ALL)
		kill(i->keeper, SIGKILL);
	if (victim >= KEEPER_FIRST && dice(2))
		pause_us(dice(300));
	if (victim != WORKER && victim != KEEPER)
		kill(i->supervisor, SIGKILL);
	if (victim == SUPERVISOR_FIRST) {
		if (dice(2))
			pause_us(dice(300));
		kill(i->keeper, SIGKILL);
	}
}

/* Whether the instance lives on. */
static bool one_round(const char *self, enum victim victim, bool begin)
{
	struct instance i;
	bool goes_on = true;

	if (begin) {
		write_config(self);
		if (run("start") != 0)
			fail("start fails");
		check("a start", false, GRACE_MS);
	}
	look_at(&i);
	pause_us(dice(30000));
	kill_them(&i, victim);
	if (victim >= KEEPER) {
		wait_for_end(i.keeper_fd, "keeper");
		wait_for_end(i.supervisor_fd, "supervisor");
		for (int m = 0; m < MAKERS; m++)
			while (is_alive(i.makers[m]))
				pause_us(500);
		goes_on = false;
	}
	if (victim == KEEPER)
		check(victims[victim], true, GRACE_MS);
	if (victim == WORKER)
		check(victims[victim], false, GRACE_MS);
	if (victim == SUPERVISOR) {
		char text[4096] = "";
		FILE *f = fopen(config, "r");

		text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
		fclose(f);
		if (strstr(text, "on_crash=stop") != NULL) {
			wait_for_end(i.keeper_fd, "keeper");
			check(victims[victim], true, GRACE_MS);
			goes_on = false;
		}
	}
	close_fds(&i);
	check_strangers();
	return goes_on;
}

/* Nothing that others have left has our mode. */
static void choose_mark(void)
{
	char what[400];
	int n = getpid();

	do
		snprintf(mark, sizeof(mark), "tracked%d", n++);
	while (n < getpid() + 63 && find_sysv(true, what, sizeof(what)));
}

/* What is new in /dev/shm, and stays: others may be half-way through a sem_open(3). */
static void check_shm(const char *before)
{
	struct mps_time until = { mps_now().ns + GRACE_MS * MPS_NS_PER_MS };
	AUTO_FREE char *left = list_shm();

	for (char *rest = left, *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
		AUTO_FREE char *path = NULL;
		char with_ends[300];

		snprintf(with_ends, sizeof(with_ends), "\n%s\n", line);
		if (strstr(before, with_ends) != NULL || strncmp(line, ".", 1) == 0)
			continue;
		if (asprintf(&path, "/dev/shm/%s", line) < 0)
			abort();
		while (access(path, F_OK) == 0)
			if (mps_now().ns >= until.ns)
				fail("%s was not there before", path);
			else
				pause_us(2000);
	}
}

int main(int argc, char **argv)
{
	unsigned kills = (unsigned)number_of("STRESS_KILLS", KILLS), counts[N_VICTIMS] = { 0 };
	AUTO_FREE char *before = list_shm();
	bool lives = false;
	char self[4096];

	setenv("MPSUP_NO", "crash_limit", 1); /* we kill faster than supervisors die */
	find_programs(self, mpsup);
	if (argc == 4 && strcmp(argv[1], "maker") == 0) {
		snprintf(mark, sizeof(mark), "%.31s", argv[3]);
		be_maker(argv[2]);
	}
	take_seed();
	choose_mark();
	snprintf(dir, sizeof(dir), "/tmp/mpsup-stress.%d", getpid());
	snprintf(config, sizeof(config), "%s/conf", dir);
	if (mkdir(dir, 0700) < 0)
		fail("%s: %s", dir, strerror(errno));
	at_failure = give_up;
	make_strangers();
	for (unsigned n = 0; n < kills; n++) {
		enum victim victim = (enum victim)dice(N_VICTIMS);

		lives = one_round(self, victim, !lives);
		counts[victim]++;
		if (isatty(STDOUT_FILENO))
			printf("\r%u of %u", n + 1, kills), fflush(stdout);
	}
	if (!lives && run("start") != 0)
		fail("the last start fails");
	if (run("shutdown") != 0)
		fail("shutdown fails");
	check("shutdown", true, GRACE_MS);
	check_strangers();
	for (int i = 0; i < N_KINDS; i++)
		object_end(&strangers[i]);
	check_shm(before);
	for (int i = 0; i < N_VICTIMS; i++)
		printf("%u times %s\n", counts[i], victims[i]);
	snprintf(self, sizeof(self), "rm -rf %s", dir);
	return system(self) == 0 ? 0 : 1;
}
