/*
 * What /proc tells: names that try to look like more fields, children with and without the kernel's list, and the
 * ending of all that bear a mark.
 */
#include "proc/tree.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mtime.h"
#include "proc/tag.h"

Test(tree, reads_any_name)
{
	static const char *const names[] = { "a b", ") S 1 2", "((", "x) Z (y", "\n", "" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct proc_stat st;

		prctl(PR_SET_NAME, names[i]);
		cr_assert_eq(proc_stat_read(getpid(), &st), 0);
		cr_expect_str_eq(st.comm, names[i]);
		cr_expect_eq(st.ppid, getppid(), "'%s'", names[i]);
		cr_expect_eq(st.pgrp, getpgrp());
		cr_expect_eq(st.session, getsid(0));
		cr_expect_eq(st.state, 'R');
		cr_expect_gt(st.start_ticks, 0);
		cr_expect_gt(st.rss_pages, 0);
	}
}

Test(tree, says_so_when_there_is_no_such_process)
{
	struct proc_stat st;

	cr_expect_eq(proc_stat_read(0x3fffffff, &st), -ESRCH);
}

/* n children that wait for the end of the pipe. */
static void make_children(pid_t *pids, int n, int ends[2])
{
	char c;

	cr_assert_eq(pipe(ends), 0);
	for (int i = 0; i < n; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			close(ends[1]);
			_exit(read(ends[0], &c, 1) != 0);
		}
	}
}

Test(tree, lists_the_children_of_a_thread_with_and_without_the_kernels_list)
{
	enum { N = 1500 }; /* more than one read's worth */
	static pid_t pids[N];
	int ends[2], fds[2] = { children_open(getpid(), (pid_t)syscall(SYS_gettid)), -1 };
	struct pids list = { 0 };

	make_children(pids, N, ends);
	for (int way = 0; way < 2; way++) {
		size_t found = 0;

		cr_assert_eq(children_read(fds[way], getpid(), &list), 0);
		cr_expect_eq(list.n, N);
		for (size_t i = 0; i < list.n; i++)
			for (int k = 0; k < N; k++)
				found += list.p[i] == pids[k];
		cr_expect_eq(found, N);
	}
	close(ends[0]);
	close(ends[1]);
	for (int i = 0; i < N; i++)
		waitpid(pids[i], NULL, 0);
	cr_assert_eq(children_read(fds[0], getpid(), &list), 0);
	cr_expect_eq(list.n, 0);
	pids_fini(&list);
	close(fds[0]);
}

static void *fork_one(void *user)
{
	struct pids *mine = user;
	struct proc_stat st;
	struct pids all = { 0 };
	pid_t pid = fork();

	if (pid == 0)
		_exit(pause());
	pids_add(mine, pid);
	cr_expect_eq(proc_stat_read(getpid(), &st), 0);
	cr_expect_geq(st.threads, 2);
	cr_expect_eq(children_of(getpid(), st.threads, &all), 0);
	cr_assert_eq(all.n, 2);
	cr_expect_neq(all.p[0], all.p[1]);
	for (size_t i = 0; i < all.n; i++)
		cr_expect(all.p[i] == mine->p[0] || all.p[i] == mine->p[1]);
	pids_fini(&all);
	return NULL;
}

Test(tree, children_of_all_threads)
{
	struct pids mine = { 0 }, of_first = { 0 };
	pthread_t thread;
	pid_t pid = fork();

	if (pid == 0)
		_exit(pause());
	cr_assert(children_are_told());
	pids_add(&mine, pid);
	cr_assert_eq(pthread_create(&thread, NULL, fork_one, &mine), 0);
	pthread_join(thread, NULL);
	for (size_t i = 0; i < mine.n; i++) {
		kill(mine.p[i], SIGKILL);
		waitpid(mine.p[i], NULL, 0);
	}
	cr_expect_eq(children_of(mine.p[0], 1, &of_first), 0, "who is gone has none");
	cr_expect_eq(children_of(mine.p[0], 2, &of_first), 0);
	cr_expect_eq(of_first.n, 0);
	pids_fini(&mine);
}

Test(tree, children_that_could_not_be_read_are_not_none)
{
	struct rlimit limit = { 0 }, none = { 0 };
	struct pids list = { 0 };

	getrlimit(RLIMIT_NOFILE, &limit);
	none.rlim_max = limit.rlim_max;
	for (unsigned threads = 1; threads <= 2; threads++) {
		int r;

		setrlimit(RLIMIT_NOFILE, &none);
		r = children_of(getpid(), threads, &list);
		setrlimit(RLIMIT_NOFILE, &limit);
		cr_expect_eq(r, -EMFILE, "%u: %d", threads, r);
	}
	pids_fini(&list);
}

Test(tree, the_list_may_be_forbidden)
{
	setenv("MPSUP_NO", "children", 1);
	cr_expect_not(children_are_told());
	cr_expect_eq(children_open(getpid(), getpid()), -1);
}

static bool is_second(uint32_t instance, void *user)
{
	cr_expect_null(user);
	return instance == 2;
}

/* Marks itself as instance i of the keeper; ignores what can be ignored. */
static pid_t make_marked(uint32_t keeper, uint32_t i, bool with_child)
{
	int ends[2];
	struct rlimit r;
	char c;
	pid_t pid;

	cr_assert_eq(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		signal(SIGTERM, SIG_IGN);
		getrlimit(RLIMIT_LOCKS, &r);
		r.rlim_cur = tag_make(keeper, i, 1);
		setrlimit(RLIMIT_LOCKS, &r);
		if (with_child && fork() == 0)
			setsid();
		if (write(ends[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	cr_expect_eq(read(ends[0], &c, 1), 1);
	if (with_child)
		cr_expect_eq(read(ends[0], &c, 1), 1);
	close(ends[0]);
	close(ends[1]);
	return pid;
}

Test(tree, kills_all_that_bear_the_mark_but_those_that_are_spared)
{
	uint32_t keeper = tag_keeper_id(getpid());
	pid_t one = make_marked(keeper, 1, true), two = make_marked(keeper, 2, false);
	pid_t other = make_marked((keeper + 1) & 0xffffff, 1, false);
	struct pids list = { 0 };
	size_t n = 0;
	int status;

	cr_assert_eq(tagged_processes(keeper, &list), 0);
	cr_expect_eq(list.n, 3);
	cr_expect_eq(tagged_kill(keeper, is_second, NULL, 10 * MPS_NS_PER_S, &n), 0);
	cr_expect_eq(n, 2);
	cr_expect_eq(waitpid(one, &status, 0), one);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	cr_expect_eq(waitpid(two, &status, WNOHANG), 0);
	cr_expect_eq(waitpid(other, &status, WNOHANG), 0);
	tagged_kill(keeper, NULL, NULL, 10 * MPS_NS_PER_S, &n);
	cr_expect_eq(n, 1);
	waitpid(two, NULL, 0);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	pids_fini(&list);
}

static bool is_this(pid_t pid, void *user)
{
	return pid == *(pid_t *)user;
}

static size_t n_asked;

static bool is_this_and_counts(pid_t pid, void *user)
{
	n_asked += is_this(pid, user);
	return is_this(pid, user);
}

/* As in a container whose process 1 reaps nobody. */
Test(tree, one_that_nobody_reaps_is_not_looked_at_again_and_again)
{
	pid_t pid = fork();
	size_t n = 0;

	if (pid == 0)
		for (;;)
			pause();
	cr_assert_eq(processes_kill(is_this_and_counts, &pid, 5 * MPS_NS_PER_S, &n), 0);
	cr_expect_eq(n, 1);
	cr_expect_lt(n_asked, 20, "%zu", n_asked);
	waitpid(pid, NULL, 0);
}

static void *go_on(void *end)
{
	char c;
	pid_t leader = getpid();
	struct proc_stat st;

	/* The first thread's end is seen in its state alone. */
	do
		sched_yield();
	while (proc_stat_read(leader, &st) == 0 && st.state != 'Z');
	if (write(*(int *)end, "", 1) == 1 && read(*(int *)end, &c, 1) == 0)
		_exit(0);
	return NULL;
}

Test(tree, a_process_whose_first_thread_has_ended_is_none_that_has)
{
	struct pids list = { 0 };
	struct proc_stat st;
	pid_t pid;
	int ends[2];
	size_t n;
	char c;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	pid = fork();
	if (pid == 0) {
		pthread_t other;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		if (pthread_create(&other, NULL, go_on, &ends[1]) != 0)
			_exit(1);
		syscall(SYS_exit, 0);
	}
	close(ends[1]);
	cr_assert_eq(read(ends[0], &c, 1), 1);
	cr_assert_eq(proc_stat_read(pid, &st), 0);
	cr_expect_eq(st.state, 'Z');
	cr_expect(!process_is_ending(pid));
	cr_assert_eq(processes_list(is_this, &pid, &list), 0);
	cr_expect_eq(list.n, 1);
	cr_assert_eq(processes_kill(is_this, &pid, 5 * MPS_NS_PER_S, &n), 0);
	cr_expect_eq(n, 1);
	cr_expect(process_is_ending(pid));
	cr_expect_eq(read(ends[0], &c, 1), 0);
	waitpid(pid, NULL, 0);
	cr_expect(process_is_ending(pid), "nobody is");
	pids_fini(&list);
}
