/*
 * Programs without a supervisor that make and unlink named segments, fork, and are killed at any moment, as are their
 * trackers. Whatever was killed when: once all programs are dead, and what is left was swept, no name of theirs is left.
 * STRESS_KILLS, STRESS_SEED: how often, and to repeat a run.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mtime.h"
#include "base/runtime.h"
#include "mpsup.h"
#include "track/journal.h"
#include "track/sweep.h"

enum { PROGRAMS = 4, KILLS = 1000, NAMES = 8, CALL_S = 20 };

static unsigned long long state;
static char mark[64];

static unsigned dice(unsigned n)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(state >> 33) % n;
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("stress: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	_exit(1);
}

static void pause_us(long us)
{
	struct timespec ts = { 0, us * 1000 };

	nanosleep(&ts, NULL);
}

/* ------------------------------------------------------------------------------------------------------ program */

static void one(void)
{
	char name[128];
	struct mps_shm *shm;
	int r;

	snprintf(name, sizeof(name), "/%s%d-%u", mark, (int)getpid(), dice(NAMES));
	alarm(CALL_S);
	if (dice(2) == 0) {
		r = mps_shm_create(name, 4096, &shm);
		if (r == 0)
			mps_shm_close(shm);
		else if (r != -EEXIST)
			fail("create: %s", strerror(-r));
	} else {
		r = mps_shm_unlink(name);
		if (r < 0 && r != -ENOENT)
			fail("unlink: %s", strerror(-r));
	}
}

static void run(void)
{
	for (int i = 0;; i++) {
		one();
		if (dice(50) == 0 && fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			state ^= (unsigned long long)getpid() << 16;
			for (int k = 0; k < 20; k++)
				one();
			_exit(0);
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

static pid_t start(int number)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		state ^= (unsigned long long)number << 20;
		run();
	}
	return pid;
}

/* ------------------------------------------------------------------------------------------------------- kills */

/* The folder of the program's tracker. */
static bool find_folder(const char *base, pid_t pid, char path[PATH_MAX])
{
	DIR *d = opendir(base);
	const struct dirent *e;
	bool found = false;

	while (d != NULL && !found && (e = readdir(d)) != NULL) {
		int of;

		found = sscanf(e->d_name, "track-%d.", &of) == 1 && of == pid;
		if (found)
			snprintf(path, PATH_MAX, "%s/%s", base, e->d_name);
	}
	if (d != NULL)
		closedir(d);
	return found;
}

static bool kill_tracker(const char *base, pid_t pid)
{
	char folder[PATH_MAX], path[PATH_MAX + 32];
	struct track_registry r = { 0 };
	struct track_heir heir;
	bool killed = false;

	if (!find_folder(base, pid, folder))
		return false;
	snprintf(path, sizeof(path), "%s/ipc.journal", folder);
	if (track_journal_read(path, &r, &heir) < 0)
		return false;
	if (track_heir_has_keeper(&heir))
		killed = kill(heir.keeper, SIGKILL) == 0;
	track_registry_fini(&r);
	track_heir_fini(&heir);
	return killed;
}

static int count_left(void)
{
	DIR *d = opendir("/dev/shm");
	const struct dirent *e;
	int n = 0;

	while ((e = readdir(d)) != NULL)
		n += strncmp(e->d_name, mark, strlen(mark)) == 0;
	closedir(d);
	return n;
}

static void find_host(void)
{
	char self[PATH_MAX] = "", host[PATH_MAX + 32];

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0)
		fail("/proc/self/exe: %s", strerror(errno));
	*strrchr(self, '/') = '\0';
	snprintf(host, sizeof(host), "%s/../mpsup-host", self);
	setenv("MPSUP_HOST", host, 0);
	unsetenv("MPSUP_TRACKER");
}

int main(void)
{
	const char *kills = getenv("STRESS_KILLS"), *seed = getenv("STRESS_SEED");
	long n = kills != NULL ? strtol(kills, NULL, 10) : KILLS, n_trackers = 0;
	AUTO_FREE char *base = runtime_base();
	int64_t until;
	pid_t pids[PROGRAMS];

	find_host();
	snprintf(mark, sizeof(mark), "stress-%d-", (int)getpid());
	state = seed != NULL ? strtoull(seed, NULL, 10) : (unsigned long long)time(NULL);
	fprintf(stderr, "stress: STRESS_SEED=%llu\n", state);
	for (int i = 0; i < PROGRAMS; i++)
		pids[i] = start(i);
	for (long i = 0; i < n; i++) {
		unsigned k = dice(PROGRAMS);
		int status;

		pause_us(dice(12000));
		if (dice(2) == 0) {
			n_trackers += kill_tracker(base, pids[k]);
			if (dice(4) != 0)
				continue;
		}
		kill(pids[k], SIGKILL);
		waitpid(pids[k], &status, 0);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			fail("a program ended with status %#x", (unsigned)status);
		pids[k] = start((int)i + PROGRAMS);
	}
	for (int i = 0; i < PROGRAMS; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	/* Trackers that live end by themselves, and what the killed ones have written down is swept. */
	for (until = mps_now().ns + 30 * MPS_NS_PER_S; count_left() > 0 && mps_now().ns < until;) {
		track_sweep_all(base, &(struct track_sweep){ 0 });
		poll(NULL, 0, 10);
	}
	if (count_left() > 0)
		fail("%d names are left: /dev/shm/%s*", count_left(), mark);
	printf("ipc_tracker: %ld trackers killed beside the programs, nothing is left\n",
	       n_trackers);
	return 0;
}
