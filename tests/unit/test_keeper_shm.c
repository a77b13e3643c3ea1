/*
 * What happens in /dev/shm while the keeper is busy or stands still (track_scene.h): more than it can read, by who makes
 * and unlinks as fast as he can, more than the kernel keeps for it, and names that somebody else's object has got since.
 */
#include "../track_scene.h"

#include <sys/prctl.h>

__attribute__((constructor)) static void play_role(void)
{
	if (getenv(PEER_ROLE) != NULL)
		peer_be_supervisor();
}

#define REGISTER "say:REGISTER:%:shared_memory"

static const char *const tellers[] = { NULL, "fanotify" };

/* ------------------------------------------------------------------------------------------------- without an end */

enum { FLOODERS = 3, ENDS = 20 };

static volatile sig_atomic_t enough;

static void on_enough(int sig)
{
	(void)sig;
	enough = 1;
}

static _Noreturn void flood(const char *name, int told)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTERM, on_enough);
	for (bool first = true; !enough; first = false) {
		close(shm_open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
		shm_unlink(name);
		if (first && write(told, "x", 1) != 1)
			_exit(1);
	}
	_exit(0);
}

static pid_t start_flooder(const struct place *p, int i)
{
	int told[2];
	char suffix[8], c;
	pid_t pid;

	snprintf(suffix, sizeof(suffix), "-%d", i);
	cr_assert_eq(pipe2(told, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0)
		flood(name_of(p, suffix), told[1]);
	cr_assert(pid > 0);
	close(told[1]);
	cr_assert_eq(read(told[0], &c, 1), 1);
	close(told[0]);
	return pid;
}

/* Who makes and unlinks what is on record as fast as he can does not keep the keeper from its work. */
Test(shm, bears_with_who_makes_and_unlinks_for_ever)
{
	for (size_t t = 0; t < ARRAY_SIZE(tellers); t++) {
		pid_t flooders[FLOODERS];
		struct place p;

		open_place(&p, tellers[t]);
		IPC(&p, 1, "say:REGISTER:%-0:shared_memory", "say:REGISTER:%-1:shared_memory",
		    "say:REGISTER:%-2:shared_memory");
		for (int i = 0; i < FLOODERS; i++)
			flooders[i] = start_flooder(&p, i);
		for (uint32_t gen = 1; gen <= ENDS; gen++) {
			char *argv[] = { (char *)"/bin/true", NULL }, *envp[] = { NULL };

			start(&p.s, 2, gen, KEEPER_LEFT_END, 0, argv, envp);
			expect(&p.s, KEEPER_STARTED);
			cr_expect(has_ended(&p, 2));
		}
		for (int i = 0; i < FLOODERS; i++) {
			int status;

			kill(flooders[i], SIGTERM);
			cr_assert_eq(waitpid(flooders[i], &status, 0), flooders[i]);
			cr_expect_eq(status, 0);
		}
		end(&p, 1);
		cr_expect(has_ended(&p, 1));
		close_place(&p);
	}
}

/* ------------------------------------------------------------------------------------------------ behind its back */

/* More than the kernel keeps for who does not read. */
static void overflow(const struct place *p)
{
	FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
	char name[128];
	int max;

	cr_assert(f != NULL && fscanf(f, "%d", &max) == 1);
	fclose(f);
	snprintf(name, sizeof(name), "%s", name_of(p, "-o"));
	for (int i = 0; i < max; i++) {
		make_named(name);
		shm_unlink(name);
	}
}

static void nothing(const struct place *p)
{
	(void)p;
}

/* Removed and made anew. */
static void replace(const struct place *p)
{
	shm_unlink(p->own);
	make_own(p, "");
}

static void rename_over(const struct place *p)
{
	char from[160], to[160];

	make_own(p, "-r");
	snprintf(from, sizeof(from), "/dev/shm%s", name_of(p, "-r"));
	snprintf(to, sizeof(to), "/dev/shm%s", p->own);
	cr_assert_eq(rename(from, to), 0);
}

/* It is told of, made, and so on, while the keeper stands still. */
static const struct {
	void (*first)(const struct place *p);
	void (*then)(const struct place *p);
	const char *no;
	bool by_us; /* made by the test in the first place */
	bool stays;
} behind[] = {
	{ nothing, rename_over, NULL, true, true },
	{ nothing, rename_over, NULL, false, true },
	{ nothing, rename_over, "fanotify", true, true },
	{ overflow, replace, NULL, true, true },
	{ overflow, replace, NULL, false, true },
	{ overflow, nothing, NULL, false, false },
	{ overflow, nothing, "fanotify", false, false },
};

/* The instance goes on, and is through when it is told. */
static void go_on(struct place *p, const char *cue)
{
	int fd = open(cue, O_WRONLY | O_CLOEXEC);

	cr_assert(fd >= 0 && write(fd, "x", 1) == 1);
	close(fd);
	expect_output(&p->s, "ok\n");
	unlink(cue);
}

Test(shm, knows_whose_it_is_of_what_it_has_not_seen)
{
	for (size_t i = 0; i < ARRAY_SIZE(behind); i++) {
		char cue[96], read[128];
		struct place p;

		if (geteuid() != 0 && behind[i].no == NULL)
			continue; /* there is no fanotify */
		open_place(&p, behind[i].no);
		snprintf(cue, sizeof(cue), "%s/cue", p.dir);
		snprintf(read, sizeof(read), "read:%s", cue);
		cr_assert_eq(mkfifo(cue, 0600), 0);
		start_ipc(&p, 1, 1,
			  (const char *const[]){ REGISTER, "print:go", read,
						 behind[i].by_us ? NULL : "shm:%", NULL });
		expect_output(&p.s, "go\n");
		kill(p.s.p.keeper, SIGSTOP);
		if (behind[i].by_us)
			make_own(&p, "");
		go_on(&p, cue);
		behind[i].first(&p);
		behind[i].then(&p);
		kill(p.s.p.keeper, SIGCONT);
		if (behind[i].stays)
			end_and_keep(&p, 1);
		else
			end_and_unlink(&p, 1, TRACK_SHARED_MEMORY, "");
		shm_unlink(p.own);
		close_place(&p);
	}
}
