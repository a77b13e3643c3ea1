/*
 * What CPU and memory programs are said to use, and their trees.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mpsup/snapshot.h"
#include "proc/raw.h"

static void use_cpu(void)
{
	while (clock() < 3 * CLOCKS_PER_SEC / 10)
		;
}

static void *wait_for_the_end(void *user)
{
	pause();
	return user;
}

/* Of two threads. */
static void have_a_child(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, wait_for_the_end, NULL) != 0)
		_exit(1);
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(pause());
	}
}

/* A child that has done that, and then waits for its end. */
static pid_t child_that(void (*does)(void))
{
	int ready[2];
	char c;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		does();
		_exit(write(ready[1], "", 1) != 1 || pause());
	}
	cr_assert_eq(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* 0: a program without a process. */
static struct snapshot *take(pid_t main)
{
	struct snapshot *s = snapshot_new();

	snapshot_finish(s, &main, 1);
	return s;
}

/* Said by UndefinedBehaviorSanitizer where it is not so. */
Test(mpsup_snapshot, of_no_process_nothing_is_read)
{
	struct snapshot *s = take(0);
	struct usage u;

	cr_expect_not(snapshot_usage(s, 0, NULL, &u));
	snapshot_free(s);
}

Test(mpsup_snapshot, who_was_of_no_program_before_has_not_used_all_its_life_since_then)
{
	pid_t late = child_that(use_cpu);
	struct snapshot *before = take(0), *now = take(late);
	struct usage u;

	cr_assert(snapshot_usage(now, 0, before, &u));
	cr_expect(u.cpu > 0 && u.cpu < 150, "%g %%", u.cpu);
	snapshot_free(before);
	snapshot_free(now);
	end(late);
}

static void count(pid_t pid, unsigned depth, void *user)
{
	(void)pid;
	(void)depth;
	++*(int *)user;
}

Test(mpsup_snapshot, children_that_cannot_be_asked_for_are_looked_for)
{
	pid_t parent = child_that(have_a_child);
	struct rlimit limit, one;
	struct snapshot *s;
	int n = 0, free_number = dup(0);

	close(free_number);
	getrlimit(RLIMIT_NOFILE, &limit);
	one = limit;
	/* For its threads, of which each has a list, it takes two. Ours share a table with a sanitizer. */
	one.rlim_cur = (rlim_t)free_number + 1 + RAW_IS_WATCHED;
	setrlimit(RLIMIT_NOFILE, &one);
	s = take(parent);
	setrlimit(RLIMIT_NOFILE, &limit);
	snapshot_walk(s, 0, count, &n);
	cr_expect_eq(n, 2, "%d", n);
	snapshot_free(s);
	end(parent);
}
