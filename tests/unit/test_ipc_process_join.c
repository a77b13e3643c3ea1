/*
 * What is known of a process: that it has ended and how, by whom it was started, what it is called; also without pidfds.
 */

#include "../process_scene.h"
#include "base/mtime.h"
#include "proc/tag.h"
#include "proc/tree.h"

TestSuite(ipc_process_join, .init = limit);

static int leave_it_and_end(struct mps_args *args)
{
	leave_grandchild(mps_args_fd(args, 0));
	return 6;
}
MPS_TARGET(leave_it_and_end);

static int say_own_name(struct mps_args *args)
{
	dprintf(mps_args_fd(args, 0), "%s\n", mps_current_name());
	return 0;
}
MPS_TARGET(say_own_name);

static int have_named_child(struct mps_args *args)
{
	struct mps_process *list[2];

	if (start_below(args, give_back, MPS_START_SPAWN, false, false) < 0 ||
	    mps_active_children(list, 2) > 1)
		return 1;
	return start_below(args, say_own_name, MPS_START_FORK, false, false) > 0 ? 0 : 1;
}
MPS_TARGET(have_named_child);

Test(ipc_process_join, exit_statuses_and_signals_are_told_apart)
{
	struct mps_process *p;
	struct mps_args *args;
	int code;

	cr_assert_eq(mps_args_new(&args), 0);
	cr_assert_eq(mps_args_add_int(args, 200), 0);
	p = start_target(give_back, MPS_START_SPAWN, args);
	cr_expect_eq(code_of(p), 200);
	done(p);
	mps_args_free(args);
	p = start_target(wait_for_ever, MPS_START_SPAWN, NULL);
	cr_expect_eq(mps_process_exitcode(p, &code), -EBUSY);
	cr_expect_eq(mps_process_free(p), -EBUSY);
	cr_expect(mps_process_is_alive(p));
	cr_expect_eq(mps_process_signal(p, SIGUSR2), 0);
	cr_expect_eq(code_of(p), -SIGUSR2);
	cr_expect_eq(mps_process_signal(p, SIGUSR2), 0);
	cr_expect(!mps_process_is_alive(p));
	done(p);
}

/* How long a join of so many ms has taken, in ms. */
static int64_t timed_join(struct mps_process *p, int ms, int want)
{
	int64_t from = mps_now().ns;

	cr_expect_eq(mps_process_join(p, ms * MPS_MILLISECOND), want);
	return (mps_now().ns - from) / MPS_NS_PER_MS;
}

Test(ipc_process_join, a_join_is_over_in_time_when_the_child_has_executed_something_else)
{
	struct mps_process *p = start_target(become_sleep, MPS_START_SPAWN, NULL);
	int64_t took = timed_join(p, 300, -ETIMEDOUT);

	cr_expect(took >= 300 && took < 3000, "%lld ms", (long long)took);
	done(p);
}

Test(ipc_process_join, a_join_does_not_wait_for_those_who_hold_what_the_child_had_open)
{
	int fd;
	struct mps_process *p = start_with_pipe(leave_it_and_end, MPS_START_SPAWN, &fd);
	int grandchild;

	cr_expect_eq(code_of(p), 6);
	read_pids(fd, &grandchild, 1);
	cr_expect(!has_ended(grandchild));
	close(fd);
	done(p); /* which ends what it has left behind, too */
	cr_expect(has_ended(grandchild));
	close(grandchild);
}

Test(ipc_process_join, a_child_that_somebody_else_has_reaped_has_ended_with_an_unknown_status)
{
	struct mps_process *p = start_target(give_back, MPS_START_SPAWN, NULL);
	int code;

	while (waitpid(-1, NULL, 0) != mps_process_pid(p))
		;
	cr_expect_eq(mps_process_join(p, MPS_FOREVER), 0);
	cr_expect(!mps_process_is_alive(p));
	cr_expect_eq(mps_process_exitcode(p, &code), -ENODATA);
	cr_expect_eq(mps_process_free(p), 0);
}

Test(ipc_process_join, who_waits_for_all_children_does_not_wait_for_the_guard)
{
	struct mps_process *p = start_target(give_back, MPS_START_SPAWN, NULL);

	while (wait(NULL) > 0)
		;
	cr_expect_eq(errno, ECHILD);
	cr_expect_eq(mps_process_free(p), 0);
}

/* It bears our mark, and that it is a guard. */
static bool is_our_guard(pid_t pid, void *user)
{
	(void)user;
	return mark_get(pid) == (mark_get(getpid()) | 2);
}

/* How many guards there are then; the exit status of children is lost. */
static int start_three_unheard(struct mps_args *args)
{
	struct pids guards = { 0 };
	int n;

	(void)args;
	signal(SIGCHLD, SIG_IGN);
	for (int i = 0; i < 3; i++) {
		struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
		struct mps_process *p;
		int code;

		o.target = give_back;
		if (mps_process_start(&o, &p) < 0 || mps_process_join(p, 20 * MPS_SECOND) < 0 ||
		    mps_process_exitcode(p, &code) != -ENODATA || mps_process_free(p) < 0)
			return 100;
	}
	processes_list(is_our_guard, NULL, &guards);
	n = (int)guards.n;
	pids_fini(&guards);
	return n;
}
MPS_TARGET(start_three_unheard);

Test(ipc_process_join, who_ignores_sigchld_has_one_guard)
{
	struct mps_process *p = start_target(start_three_unheard, MPS_START_SPAWN, NULL);

	cr_expect_eq(code_of(p), 1);
	done(p);
}

Test(ipc_process_join,
     what_has_ended_is_no_zombie_after_the_next_call_although_nobody_has_joined_it)
{
	struct mps_process *p = start_target(give_back, MPS_START_SPAWN, NULL);
	struct proc_stat st;

	cr_expect(ends(mps_process_sentinel(p)));
	cr_expect_eq(mps_active_children(NULL, 0), 0);
	cr_expect_eq(proc_stat_read(mps_process_pid(p), &st), -ESRCH);
	cr_expect_eq(code_of(p), 0);
	done(p);
}

Test(ipc_process_join, active_children_are_those_that_live)
{
	struct mps_process *one = start_target(wait_for_ever, MPS_START_SPAWN, NULL);
	struct mps_process *two = start_target(wait_for_ever, MPS_START_FORK, NULL);
	struct mps_process *list[3] = { NULL };

	cr_expect_eq(mps_active_children(list, 3), 2);
	cr_expect(list[0] == two && list[1] == one);
	cr_expect_eq(mps_active_children(list, 1), 2);
	cr_expect_eq(mps_process_kill(one, MPS_FOREVER), 0);
	cr_expect_eq(mps_active_children(list, 3), 1);
	cr_expect(list[0] == two);
	done(two);
	cr_expect_eq(mps_active_children(NULL, 0), 0);
	done(one);
}

Test(ipc_process_join, a_daemon_may_have_children_and_their_names_tell_whose_they_are)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	char got[100] = "";
	size_t n = 0;
	ssize_t r;
	struct mps_process *p;
	int ends[2];

	cr_expect_str_eq(mps_current_name(), "main");
	cr_expect_eq(mps_parent_pid(), 0);
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	o.target = have_named_child;
	o.args = args_with_fd(ends[1]);
	o.daemon = true;
	o.name = "special";
	close(ends[1]);
	p = start(&o);
	cr_expect_str_eq(mps_process_name(p), "special");
	mps_args_free(o.args);
	cr_expect_eq(code_of(p), 0);
	while ((r = read(ends[0], got + n, sizeof(got) - 1 - n)) > 0)
		n += (size_t)r;
	cr_assert_gt(n, 2 * sizeof(pid_t));
	cr_expect(memmem(got, n, "process-1:2\n", 12) != NULL);
	close(ends[0]);
	done(p);
}

static int sentinel_of_copy(void)
{
	pid_t pid = fork();
	int status = 0, fd;

	if (pid == 0) {
		fd = mps_parent_sentinel();
		_exit(fd == -ECHILD ? 255 : fd < 0 ? 254 : fd);
	}
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status) == 255 ? -ECHILD : WEXITSTATUS(status);
}

/* 0, or which step was wrong. The bytes are told when the parent is alive still, and when it is no more. */
static int see_parent_end(struct mps_args *args)
{
	struct pollfd p = { .events = POLLIN };

	if (sentinel_of_copy() != -ECHILD)
		return 1;
	p.fd = mps_parent_sentinel();
	if (p.fd < 0 || sentinel_of_copy() != p.fd || mps_parent_sentinel() != p.fd ||
	    poll(&p, 1, 0) != 0)
		return 2;
	if (write(mps_args_fd(args, 0), "a", 1) != 1 || poll(&p, 1, 20000) != 1)
		return 3;
	return write(mps_args_fd(args, 0), "e", 1) != 1;
}
MPS_TARGET(see_parent_end);

/* Asks for it when there is no parent any more. */
static int ask_late(struct mps_args *args)
{
	struct pollfd p = { .fd = mps_args_fd(args, 0), .events = POLLOUT };

	if (write(p.fd, "a", 1) != 1)
		return 1;
	while (getppid() == mps_parent_pid())
		sched_yield();
	p.fd = mps_parent_sentinel();
	p.events = POLLIN;
	if (p.fd < 0 || poll(&p, 1, 0) != 1)
		return 2;
	return write(mps_args_fd(args, 0), "e", 1) != 1;
}
MPS_TARGET(ask_late);

/* One that outlives us, by the method of that number. */
static int be_parent_that_ends(struct mps_args *args)
{
	start_below(args, mps_args_int(args, 2) ? ask_late : see_parent_end,
		    (enum mps_start_method)mps_args_int(args, 1), false, true);
	return wait_for_ever(args);
}
MPS_TARGET(be_parent_that_ends);

static char read_byte(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c = 0;

	return poll(&p, 1, 20000) > 0 && read(fd, &c, 1) == 1 ? c : 0;
}

/* Its pid and its byte, in any order. */
static void await_child(int fd)
{
	for (size_t i = 0; i < sizeof(pid_t) + 1; i++)
		read_byte(fd);
}

Test(ipc_process_join, a_child_sees_the_end_of_its_parent)
{
	cr_expect_eq(mps_parent_sentinel(), -ECHILD);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(methods); i++) {
		struct mps_process *p;
		struct mps_args *args;
		int ends[2];

		cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
		args = args_with_fd(ends[1]);
		mps_args_add_int(args, methods[i / 2]);
		mps_args_add_int(args, i % 2);
		close(ends[1]);
		p = start_target(be_parent_that_ends, MPS_START_SPAWN, args);
		mps_args_free(args);
		await_child(ends[0]);
		cr_expect_eq(mps_process_signal(p, SIGKILL), 0);
		cr_expect_eq(code_of(p), -SIGKILL);
		cr_expect_eq(read_byte(ends[0]), 'e', "method %d", methods[i / 2]);
		close(ends[0]);
		done(p);
	}
}

Test(ipc_process_join, without_pidfds_the_same_is_known)
{
	int64_t took;

	setenv("MPSUP_NO", "pidfd", 1);
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct mps_process *p = start_target(give_back, methods[i], NULL);

		cr_expect_eq(code_of(p), 0);
		done(p);
		p = start_target(become_sleep, methods[i], NULL);
		took = timed_join(p, 100, -ETIMEDOUT);
		cr_expect(took >= 100 && took < 3000);
		cr_expect_eq(mps_process_terminate(p, 20 * MPS_SECOND), 0);
		cr_expect_eq(code_of(p), -SIGTERM);
		done(p);
	}
}

/* Last in the file, so that all targets are registered before. */
__attribute__((constructor)) static void be_what_is_asked_for(int argc, char **argv)
{
	mps_init(&argc, &argv);
}
