/*
 * The ends of processes: with all that they have started, when they are asked to, when they exit, when they are killed.
 */
#include <pthread.h>
#include <sys/socket.h>

#include "../process_scene.h"

TestSuite(ipc_process_end, .init = limit);

static int with_grandchild(struct mps_args *args)
{
	signal(SIGTERM, SIG_IGN);
	leave_grandchild(mps_args_fd(args, 0));
	return wait_for_ever(args);
}
MPS_TARGET(with_grandchild);

static void start_all_below(struct mps_args *args)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		start_below(args, with_grandchild, methods[i], i == 0, false);
}

/* Three children, and of each a grandchild: six pids. */
static int be_parent(struct mps_args *args)
{
	start_all_below(args);
	return wait_for_ever(args);
}
MPS_TARGET(be_parent);

static void *start_in_thread(void *args)
{
	start_all_below(args);
	return NULL;
}

/* The same by a thread, and the thread is gone. */
static int be_parent_by_thread(struct mps_args *args)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, start_in_thread, args) != 0)
		return 1;
	pthread_join(thread, NULL);
	return wait_for_ever(args);
}
MPS_TARGET(be_parent_by_thread);

static int be_parent_of_outliving(struct mps_args *args)
{
	start_below(args, wait_for_ever, MPS_START_SPAWN, false, true);
	start_below(args, wait_for_ever, MPS_START_SPAWN, false, false);
	return wait_for_ever(args);
}
MPS_TARGET(be_parent_of_outliving);

static int be_grandparent(struct mps_args *args)
{
	start_below(args, be_parent, MPS_START_SPAWN, true, false);
	return wait_for_ever(args);
}
MPS_TARGET(be_grandparent);

/* A daemon that lives, and a child that gives 3 after we have come to the end. */
static int end_with_children(struct mps_args *args)
{
	start_below(args, wait_for_ever, MPS_START_SPAWN, true, false);
	start_below(args, read_to_end, MPS_START_SPAWN, false, false);
	return 4;
}
MPS_TARGET(end_with_children);

static int end_at_once_with_children(struct mps_args *args)
{
	start_below(args, wait_for_ever, MPS_START_SPAWN, true, false);
	start_below(args, wait_for_ever, MPS_START_SPAWN, false, false);
	_exit(4);
}
MPS_TARGET(end_at_once_with_children);

/* A copy that is not of this library's making ends; our children are none of its business. */
static int copy_and_end(struct mps_args *args)
{
	pid_t pid;

	start_below(args, wait_for_ever, MPS_START_SPAWN, true, false);
	pid = fork();
	if (pid == 0)
		exit(0);
	waitpid(pid, NULL, 0);
	write_pid(mps_args_fd(args, 0), getpid());
	return wait_for_ever(args);
}
MPS_TARGET(copy_and_end);

Test(ipc_process_end, terminate_ends_grandchildren_of_other_sessions)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
		struct mps_process *p;
		int ends[2], grandchild;

		cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
		o.args = args_with_fd(ends[1]);
		o.target = with_grandchild; /* it ignores SIGTERM */
		o.force = true;
		o.method = methods[i];
		o.grace = 50 * MPS_MILLISECOND;
		p = start(&o);
		mps_args_free(o.args);
		close(ends[1]);
		read_pids(ends[0], &grandchild, 1);
		cr_expect_eq(mps_process_terminate(p, 20 * MPS_SECOND), 0);
		cr_expect(has_ended(grandchild));
		cr_expect_eq(code_of(p), -SIGKILL);
		close(grandchild);
		close(ends[0]);
		cr_expect_eq(mps_process_free(p), 0);
	}
}

Test(ipc_process_end, terminate_ends_what_children_have_started_by_the_library)
{
	int fd, pids[7];
	struct mps_process *p = start_with_pipe(be_grandparent, MPS_START_SPAWN, &fd);

	read_pids(fd, pids, ARRAY_SIZE(pids));
	cr_expect_eq(mps_process_terminate(p, 30 * MPS_SECOND), 0);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
		cr_expect(has_ended(pids[i]));
	all_end(pids, ARRAY_SIZE(pids));
	close(fd);
	done(p);
}

Test(ipc_process_end, terminate_first_asks_and_wakes_what_is_stopped)
{
	struct mps_process *p = start_target(wait_for_ever, MPS_START_SPAWN, NULL);

	mps_process_signal(p, SIGSTOP);
	cr_expect_eq(mps_process_terminate(p, 20 * MPS_SECOND), 0);
	cr_expect_eq(code_of(p), -SIGTERM);
	done(p);
}

static void expect_all_to_end_with(mps_target *parent, int sig)
{
	int fd, pids[6];
	struct mps_process *p = start_with_pipe(parent, MPS_START_SPAWN, &fd);

	read_pids(fd, pids, ARRAY_SIZE(pids));
	cr_expect_eq(mps_process_signal(p, sig), 0);
	cr_expect_eq(code_of(p), -sig);
	cr_expect(all_end(pids, ARRAY_SIZE(pids)));
	close(fd);
	done(p);
}

Test(ipc_process_end, children_and_grandchildren_end_with_a_parent_that_is_killed)
{
	expect_all_to_end_with(be_parent, SIGKILL);
}

Test(ipc_process_end, children_and_grandchildren_end_with_a_parent_that_dies_of_a_signal)
{
	expect_all_to_end_with(be_parent, SIGTERM);
}

Test(ipc_process_end, children_of_a_thread_outlive_it_and_end_with_its_process)
{
	int fd, pids[6];
	struct mps_process *p = start_with_pipe(be_parent_by_thread, MPS_START_SPAWN, &fd);

	read_pids(fd, pids, ARRAY_SIZE(pids));
	cr_expect_eq(mps_process_join(p, 100 * MPS_MILLISECOND), -ETIMEDOUT);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
		cr_expect(!has_ended(pids[i]), "%zu", i);
	mps_process_signal(p, SIGKILL);
	cr_expect(all_end(pids, ARRAY_SIZE(pids)));
	close(fd);
	done(p);
}

Test(ipc_process_end, what_shall_outlive_its_parent_does)
{
	int fd, pids[2];
	struct mps_process *p = start_with_pipe(be_parent_of_outliving, MPS_START_SPAWN, &fd);

	read_pids(fd, pids, 2);
	mps_process_signal(p, SIGKILL);
	cr_expect_eq(code_of(p), -SIGKILL);
	cr_expect(ends(pids[1]));
	cr_expect(!has_ended(pids[0]));
	pidfd_signal(pids[0], 0, SIGKILL);
	cr_expect(all_end(pids, 2));
	close(fd);
	done(p);
}

Test(ipc_process_end, at_exit_daemons_are_ended_and_others_waited_for)
{
	struct mps_process *p;
	struct mps_args *args;
	int ends[2], pids[2];

	/* Both ways: pids come by one end, and its reader ends when we close ours. */
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	args = args_with_fd(ends[1]);
	close(ends[1]);
	p = start_target(end_with_children, MPS_START_SPAWN, args);
	mps_args_free(args);
	read_pids(ends[0], pids, 2);
	cr_expect(ends[0] >= 0);
	{
		struct pollfd daemon = { .fd = pids[0], .events = POLLIN };

		cr_expect(pids[0] == -ESRCH || poll(&daemon, 1, 20000) > 0);
	}
	cr_expect_eq(mps_process_join(p, 100 * MPS_MILLISECOND), -ETIMEDOUT);
	shutdown(ends[0], SHUT_WR);
	cr_expect_eq(code_of(p), 4);
	cr_expect(has_ended(pids[1]));
	close(pids[0]);
	close(pids[1]);
	close(ends[0]);
	done(p);
}

Test(ipc_process_end, after_an_exit_at_once_nothing_is_left)
{
	int fd, pids[2];
	struct mps_process *p = start_with_pipe(end_at_once_with_children, MPS_START_SPAWN, &fd);

	read_pids(fd, pids, 2);
	cr_expect_eq(code_of(p), 4);
	cr_expect(all_end(pids, 2));
	close(fd);
	done(p);
}

Test(ipc_process_end, a_copy_that_exits_ends_no_children_of_its_original)
{
	int fd, pids[2];
	struct mps_process *p = start_with_pipe(copy_and_end, MPS_START_SPAWN, &fd);

	read_pids(fd, pids, 2); /* the second comes when the copy has ended */
	cr_expect(!has_ended(pids[0]));
	done(p);
	cr_expect(all_end(pids, 2));
	close(fd);
}

/* Last in the file, so that all targets are registered before. */
__attribute__((constructor)) static void be_what_is_asked_for(int argc, char **argv)
{
	mps_init(&argc, &argv);
}
