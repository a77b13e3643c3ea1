/*
 * Programs without a supervisor that make and unlink named segments, fork, and are killed at any moment, as are their
 * trackers. Whatever was killed when: once all programs are dead, and what is left was swept, no name of theirs is left.
 * STRESS_KILLS, STRESS_SEED: how often, and to repeat a run.
 */
#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <sys/wait.h>

#include "../find_host.h"
#include "base/cleanup.h"
#include "base/mtime.h"
#include "base/runtime.h"
#include "mpsup.h"
#include "stress.h"
#include "track/journal.h"
#include "track/sweep.h"

enum { PROGRAMS = 4, KILLS = 1000, NAMES = 8, CALL_S = 20 };

static char mark[64];

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
			chance ^= (uint64_t)getpid() << 16;
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
	pid_t pid = fork_own();

	if (pid == 0) {
		chance ^= (uint64_t)number << 20;
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

int main(void)
{
	long n = (long)number_of("STRESS_KILLS", KILLS), n_trackers = 0;
	AUTO_FREE char *base = runtime_base();
	int64_t until;
	pid_t pids[PROGRAMS];

	find_host();
	unsetenv("MPSUP_TRACKER");
	snprintf(mark, sizeof(mark), "stress-%d-", (int)getpid());
	take_seed();
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
