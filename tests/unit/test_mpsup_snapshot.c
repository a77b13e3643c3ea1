/*
 * What CPU and memory programs are said to use, and their trees.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mpsup/snapshot.h"

/* A child that has used so much CPU, and then waits for its end. */
static pid_t child_of(long ms)
{
	int ready[2];
	char c;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		while (clock() < ms * (CLOCKS_PER_SEC / 1000))
			;
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

Test(mpsup_snapshot, who_was_of_no_program_before_has_not_used_all_its_life_since_then)
{
	pid_t late = child_of(300);
	struct snapshot *before = take(0), *now = take(late);
	struct usage u;

	cr_assert(snapshot_usage(now, 0, before, &u));
	cr_expect(u.cpu > 0 && u.cpu < 150, "%g %%", u.cpu);
	snapshot_free(before);
	snapshot_free(now);
	end(late);
}
