/*
 * Processes: what a start gives to the child, what is known of it, and what is left when one or the other has ended. The
 * targets are in this program, which is an image of itself for spawn and the forkserver.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../count_fds.h"
#include "base/cleanup.h"
#include "base/mtime.h"
#include "mpsup.h"
#include "proc/pidfd.h"
#include "proc/tree.h"

static const enum mps_start_method methods[] = { MPS_START_SPAWN, MPS_START_FORK,
						 MPS_START_FORKSERVER };

/* --------------------------------------------------------------------------------------------------- targets */

/* Bytes, text, a number, and a pipe into which all of them go back. */
static int echo(struct mps_args *args)
{
	size_t n;
	const char *bytes = mps_args_bytes(args, 0, &n);

	if (mps_args_count(args) != 4 || mps_args_text(args, 0) != NULL || bytes == NULL)
		return 1;
	dprintf(mps_args_fd(args, 3), "%.*s %s %lld %s %d", (int)n, bytes, mps_args_text(args, 1),
		(long long)mps_args_int(args, 2), mps_current_name(), mps_parent_pid());
	return 42;
}
MPS_TARGET(echo);

static int wait_for_ever(struct mps_args *args)
{
	for (;;)
		pause();
	return args != NULL;
}
MPS_TARGET(wait_for_ever);

static int give_back(struct mps_args *args)
{
	return (int)mps_args_int(args, 0);
}
MPS_TARGET(give_back);

/* Its end shows in the pipe. */
static int read_to_end(struct mps_args *args)
{
	char c;

	while (read(mps_args_fd(args, 0), &c, 1) > 0)
		;
	return 5;
}
MPS_TARGET(read_to_end);

static int write_pid(int fd, pid_t pid)
{
	return write(fd, &pid, sizeof(pid)) == sizeof(pid) ? 0 : -errno;
}

/* A process of a session of its own that nobody of us is told of, and that holds what we have open. */
static void leave_grandchild(int fd)
{
	pid_t pid = fork();

	if (pid != 0) {
		waitpid(pid, NULL, 0);
		return;
	}
	setsid();
	if (fork() != 0)
		_exit(0);
	write_pid(fd, getpid());
	for (;;)
		pause();
}

static int with_grandchild(struct mps_args *args)
{
	signal(SIGTERM, SIG_IGN);
	leave_grandchild(mps_args_fd(args, 0));
	return wait_for_ever(args);
}
MPS_TARGET(with_grandchild);

static int leave_it_and_end(struct mps_args *args)
{
	leave_grandchild(mps_args_fd(args, 0));
	return 6;
}
MPS_TARGET(leave_it_and_end);

static int become_sleep(struct mps_args *args)
{
	(void)args;
	execlp("sleep", "sleep", "1000", NULL);
	return 1;
}
MPS_TARGET(become_sleep);

/* Starts that one with our pipe; its pid, too. */
static pid_t start_below(struct mps_args *args, mps_target *target, enum mps_start_method method,
			 bool daemon, bool outlives)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	struct mps_args *below;
	struct mps_process *p;

	if (mps_args_new(&below) < 0 || mps_args_add_fd(below, mps_args_fd(args, 0)) < 0)
		return -1;
	o.method = method;
	o.target = target;
	o.args = below;
	o.daemon = daemon;
	o.outlives = outlives;
	o.force = true;
	if (mps_process_start(&o, &p) < 0)
		return -1;
	mps_args_free(below);
	write_pid(mps_args_fd(args, 0), mps_process_pid(p));
	return mps_process_pid(p);
}

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

static void *read_in_thread(void *fd)
{
	char c;

	return read(*(int *)fd, &c, 1) == 0 ? NULL : fd;
}

static int join_and_free(struct mps_process *p)
{
	int code = -1;

	mps_process_join(p, MPS_FOREVER);
	mps_process_exitcode(p, &code);
	mps_process_free(p);
	return code;
}

/* 0, or which step was wrong. */
static int fork_beside_thread(struct mps_args *args)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	struct mps_process *p;
	pthread_t thread;
	int ends[2];

	(void)args;
	o.target = give_back;
	o.method = MPS_START_FORK;
	if (mps_process_start(&o, &p) < 0 || join_and_free(p) != 0)
		return 1;
	if (pipe2(ends, O_CLOEXEC) < 0 ||
	    pthread_create(&thread, NULL, read_in_thread, &ends[0]) != 0)
		return 2;
	if (mps_process_start(&o, &p) != -EBUSY)
		return 3;
	o.force = true;
	if (mps_process_start(&o, &p) < 0 || join_and_free(p) != 0)
		return 4;
	close(ends[1]);
	pthread_join(thread, NULL);
	return 0;
}
MPS_TARGET(fork_beside_thread);

static void on_signal(int sig)
{
	(void)sig;
}

/* A sanitizer has handlers of its own. */
static int show_signals(struct mps_args *args)
{
	sigset_t set;
	int unusual = 0;

	(void)args;
	sigprocmask(SIG_SETMASK, NULL, &set);
	for (int sig = 1; sig < NSIG; sig++) {
		struct sigaction a;

		unusual += sigismember(&set, sig) > 0;
		unusual += sigaction(sig, NULL, &a) == 0 &&
			   (a.sa_handler == SIG_IGN || a.sa_handler == on_signal);
	}
	return unusual;
}
MPS_TARGET(show_signals);

static int count_open(struct mps_args *args)
{
	(void)args;
	return (int)count_fds(getpid());
}
MPS_TARGET(count_open);

static int preload_well(struct mps_args *args)
{
	(void)args;
	printf("loaded ");
	setenv("PRELOADED", "1", 1);
	return 0;
}
MPS_TARGET(preload_well);

static int preload_badly(struct mps_args *args)
{
	(void)args;
	return 77;
}
MPS_TARGET(preload_badly);

static int not_registered(struct mps_args *args)
{
	(void)args;
	return 0;
}

static void at_exit_of_the_original(void)
{
	_exit(99);
}

/* ---------------------------------------------------------------------------------------------------- helpers */

static struct mps_process *start(const struct mps_process_options *o)
{
	struct mps_process *p = NULL;
	int r = mps_process_start(o, &p);

	cr_assert_eq(r, 0, "%d: %s", r, mps_process_failure());
	return p;
}

static struct mps_process *start_target(mps_target *target, enum mps_start_method method,
					struct mps_args *args)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;

	o.target = target;
	o.method = method;
	o.args = args;
	o.force = true; /* Criterion has a thread */
	return start(&o);
}

static struct mps_args *args_with_fd(int fd)
{
	struct mps_args *args;

	cr_assert_eq(mps_args_new(&args), 0);
	cr_assert_eq(mps_args_add_fd(args, fd), 0);
	return args;
}

/* With a pipe as its only argument, whose read end is *ret_fd and whose other only the child has. */
static struct mps_process *start_with_pipe(mps_target *target, enum mps_start_method method,
					   int *ret_fd)
{
	struct mps_process *p;
	struct mps_args *args;
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	args = args_with_fd(ends[1]);
	close(ends[1]);
	p = start_target(target, method, args);
	mps_args_free(args);
	*ret_fd = ends[0];
	return p;
}

static int code_of(struct mps_process *p)
{
	int code = -1000;

	cr_assert_eq(mps_process_join(p, 20 * MPS_SECOND), 0);
	cr_assert_eq(mps_process_exitcode(p, &code), 0);
	return code;
}

static void done(struct mps_process *p)
{
	mps_process_kill(p, 20 * MPS_SECOND);
	cr_assert_eq(mps_process_free(p), 0);
}

/* Pids that come through the pipe, and pidfds of them. */
static void read_pids(int fd, int *pidfds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		pid_t pid;

		cr_assert_gt(poll(&p, 1, 20000), 0);
		cr_assert_eq(read(fd, &pid, sizeof(pid)), sizeof(pid));
		pidfds[i] = pidfd_open_checked(pid);
	}
}

/* -ESRCH in place of a pidfd: it was gone already. */
static bool ends(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return pidfd == -ESRCH || poll(&p, 1, 20000) > 0;
}

static bool has_ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return pidfd == -ESRCH || poll(&p, 1, 0) > 0;
}

static bool all_end(int *pidfds, size_t n)
{
	bool all = true;

	for (size_t i = 0; i < n; i++) {
		all = ends(pidfds[i]) && all;
		close(pidfds[i]);
	}
	return all;
}

static void limit(void)
{
	/* In place of .timeout: of two such tests at a time Criterion leaks one's. */
	alarm(100);
}
TestSuite(ipc_process, .init = limit);

/* ------------------------------------------------------------------------------------------------ what a start gives */

Test(ipc_process, a_target_gets_its_arguments_by_each_method)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		char got[200] = "", want[200];
		struct mps_process *p;
		struct mps_args *args;
		int ends[2];

		cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
		cr_assert_eq(mps_args_new(&args), 0);
		cr_assert_eq(mps_args_add(args, "abc", 3), 0);
		cr_assert_eq(mps_args_add_text(args, "text"), 1);
		cr_assert_eq(mps_args_add_int(args, INT64_MIN), 2);
		cr_assert_eq(mps_args_add_fd(args, ends[1]), 3);
		close(ends[1]);
		p = start_target(echo, methods[i], args);
		mps_args_free(args);
		cr_expect_eq(code_of(p), 42);
		cr_expect_gt(read(ends[0], got, sizeof(got) - 1), 0);
		snprintf(want, sizeof(want), "abc text %lld process-%zu %d", (long long)INT64_MIN,
			 i + 1, getpid());
		cr_expect_str_eq(got, want);
		close(ends[0]);
		done(p);
	}
}

Test(ipc_process, a_child_has_no_descriptor_but_what_it_was_given)
{
	int many[20];

	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = open("/dev/null", O_RDONLY); /* not close-on-exec */
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct mps_process *p = start_target(count_open, methods[i], NULL);

		/* Beside 0, 1 and 2 what is counted is its own. */
		cr_expect_eq(code_of(p), 6, "method %d: %d", methods[i], code_of(p));
		done(p);
	}
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		close(many[i]);
}

Test(ipc_process, a_child_that_reads_sees_the_end_when_the_parent_closes_its_end)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct mps_process *p;
		struct mps_args *args;
		int ends[2];

		cr_assert_eq(pipe(ends), 0);
		args = args_with_fd(ends[0]);
		p = start_target(read_to_end, methods[i], args);
		mps_args_free(args);
		close(ends[0]);
		close(ends[1]);
		cr_expect_eq(code_of(p), 5);
		done(p);
	}
}

Test(ipc_process, signals_are_default_and_none_is_blocked)
{
	sigset_t all, old;

	signal(SIGUSR1, on_signal);
	signal(SIGPIPE, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct mps_process *p = start_target(show_signals, methods[i], NULL);

		cr_expect_eq(code_of(p), 0, "method %d", methods[i]);
		done(p);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
}

Test(ipc_process, a_command_gets_its_table_its_folder_and_its_environment)
{
	char *argv[] = { (char *)"sh", (char *)"-c",
			 (char *)"echo $X $PWD >&9; exec ls /proc/self/fd >&9", NULL };
	char *env[] = { (char *)"X=y", (char *)"PATH=/bin:/usr/bin", NULL };
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	struct mps_process_fd row = { 9, -1 };
	char got[100] = "";
	int ends[2];
	struct mps_process *p;
	size_t n = 0;
	ssize_t r;

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	row.fd = ends[1];
	o.argv = argv;
	o.env = env;
	o.cwd = "/proc";
	o.fds = &row;
	o.n_fds = 1;
	p = start(&o);
	close(ends[1]);
	cr_expect_eq(code_of(p), 0);
	while ((r = read(ends[0], got + n, sizeof(got) - 1 - n)) > 0)
		n += (size_t)r;
	cr_expect_str_eq(got, "y /proc\n0\n1\n2\n3\n9\n");
	close(ends[0]);
	done(p);
}

Test(ipc_process, what_cannot_be_started_is_an_error_of_the_start)
{
	static const struct {
		const char *program, *cwd, *text;
		int error;
	} rows[] = {
		{ "no-such-program", NULL, "exec no-such-program: No such file or directory",
		  -ENOENT },
		{ "/no/such/program", NULL, "exec /no/such/program: No such file or directory",
		  -ENOENT },
		{ "/etc/passwd", NULL, "exec /etc/passwd: Permission denied", -EACCES },
		{ "/bin/true", "/no/folder", "chdir /no/folder: No such file or directory",
		  -ENOENT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *argv[] = { (char *)rows[i].program, NULL };
		struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
		struct mps_process *p = NULL;

		o.argv = argv;
		o.cwd = rows[i].cwd;
		cr_expect_eq(mps_process_start(&o, &p), rows[i].error);
		cr_expect_str_eq(mps_process_failure(), rows[i].text);
		cr_expect_null(p);
	}
	cr_expect_eq(mps_active_children(NULL, 0), 0);
}

Test(ipc_process, a_target_without_a_name_is_refused_by_each_method)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
		struct mps_process *p;

		o.target = not_registered;
		o.method = methods[i];
		cr_expect_eq(mps_process_start(&o, &p), -ENOENT);
	}
}

Test(ipc_process, options_that_contradict_each_other_are_refused)
{
	char *argv[] = { (char *)"true", NULL };
	struct mps_process_fd rows[] = { { 5, 0 }, { 5, 1 } };
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	struct mps_process *p;

	cr_expect_eq(mps_process_start(&o, &p), -EINVAL);
	o.argv = argv;
	o.method = MPS_START_FORK;
	cr_expect_eq(mps_process_start(&o, &p), -EINVAL);
	o.method = MPS_START_SPAWN;
	o.fds = rows;
	o.n_fds = 2;
	cr_expect_eq(mps_process_start(&o, &p), -EINVAL);
	rows[1] = (struct mps_process_fd){ 6, 1000 };
	cr_expect_eq(mps_process_start(&o, &p), -EBADF);
}

/* With more arguments than any pipe takes; the image ends before it has read a byte of them. */
Test(ipc_process, a_child_that_dies_while_it_is_set_up_holds_up_nobody)
{
	char *env[] = { (char *)"DIE_EARLY=1", NULL };
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	AUTO_FREE char *large = calloc(1, 8 << 20);
	struct mps_process *p;
	struct mps_args *args;

	cr_assert_eq(mps_args_new(&args), 0);
	cr_assert_eq(mps_args_add(args, large, 8 << 20), 0);
	o.target = give_back;
	o.args = args;
	o.env = env;
	p = start(&o);
	cr_expect_eq(code_of(p), 9);
	done(p);
	mps_args_free(args);
}

/* ------------------------------------------------------------------------------------------------------- methods */

Test(ipc_process, fork_is_refused_while_there_are_threads_but_by_force)
{
	struct mps_process *p = start_target(fork_beside_thread, MPS_START_SPAWN, NULL);

	cr_expect_eq(code_of(p), 0);
	done(p);
}

Test(ipc_process, a_fork_writes_nothing_twice_and_runs_no_handler_of_its_original)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	FILE *f = fdopen(fd, "w");
	struct mps_process *p;
	struct stat st;

	atexit(at_exit_of_the_original);
	fputs("once", f);
	p = start_target(give_back, MPS_START_FORK, NULL);
	cr_expect_eq(code_of(p), 1000 - 1000);
	done(p);
	fstat(fd, &st);
	cr_expect_eq(st.st_size, 4);
	fclose(f);
}

Test(ipc_process, the_method_is_set_once)
{
	cr_expect_eq(mps_get_start_method(), MPS_START_SPAWN);
	cr_expect_eq(mps_set_start_method(MPS_START_DEFAULT, true), -EINVAL);
	cr_expect_eq(mps_set_start_method(MPS_START_FORK, false), 0);
	cr_expect_eq(mps_set_start_method(MPS_START_SPAWN, false), -EALREADY);
	cr_expect_eq(mps_get_start_method(), MPS_START_FORK);
	cr_expect_eq(mps_set_start_method(MPS_START_SPAWN, true), 0);
}

static int show_preloaded(struct mps_args *args)
{
	(void)args;
	printf("child ");
	return getenv("PRELOADED") == NULL;
}
MPS_TARGET(show_preloaded);

Test(ipc_process, a_preload_runs_once_and_what_it_has_printed_is_not_printed_again)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
	int old = dup(1);
	char got[100] = "";

	cr_expect_eq(mps_set_forkserver_preload(not_registered), -ENOENT);
	cr_expect_eq(mps_set_forkserver_preload(preload_well), 0);
	fflush(stdout);
	dup2(fd, 1);
	for (int i = 0; i < 2; i++) {
		struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
		struct mps_process *p;

		o.target = show_preloaded;
		o.method = MPS_START_FORKSERVER;
		p = start(&o);
		/* The environment is ours, not the server's. */
		cr_expect_eq(code_of(p), 1);
		done(p);
	}
	dup2(old, 1);
	close(old);
	cr_expect_eq(pread(fd, got, sizeof(got) - 1, 0), 19, "%s", got);
	cr_expect_str_eq(got, "loaded child child ");
	cr_expect_eq(mps_set_forkserver_preload(NULL), -EALREADY);
	close(fd);
}

Test(ipc_process, a_preload_that_fails_is_told_by_the_start)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	struct mps_process *p;

	cr_expect_eq(mps_set_forkserver_preload(preload_badly), 0);
	o.target = give_back;
	o.method = MPS_START_FORKSERVER;
	for (int i = 0; i < 2; i++) {
		cr_expect_eq(mps_process_start(&o, &p), -ECANCELED);
		cr_expect_str_eq(mps_process_failure(),
				 "forkserver: preload preload_badly: it has returned 77");
	}
}

/* The first of our children, or the last: the others are its copies. */
static pid_t find_server(bool last)
{
	struct pids list = { 0 };
	pid_t found = 0;

	children_read(-1, getpid(), &list);
	if (list.n > 0)
		found = list.p[last ? list.n - 1 : 0];
	pids_fini(&list);
	return found;
}

/* Who has ended and not been reaped. */
static size_t count_zombies(void)
{
	struct pids list = { 0 };
	struct proc_stat st;
	size_t n = 0;

	children_read(-1, getpid(), &list);
	for (size_t i = 0; i < list.n; i++)
		n += proc_stat_read(list.p[i], &st) == 0 && st.state == 'Z';
	pids_fini(&list);
	return n;
}

Test(ipc_process, children_of_a_killed_forkserver_go_on_and_their_exit_status_is_known)
{
	struct mps_args *args;
	struct mps_process *p, *next;
	siginfo_t si;
	pid_t server;
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	args = args_with_fd(ends[0]);
	p = start_target(read_to_end, MPS_START_FORKSERVER, args);
	mps_args_free(args);
	mps_active_children(NULL, 0);
	next = start_target(give_back, MPS_START_FORKSERVER, NULL);
	code_of(next);
	done(next);
	server = find_server(false);
	cr_assert_gt(server, 0);
	kill(server, SIGKILL);
	waitid(P_PID, (id_t)server, &si, WEXITED | WNOWAIT);
	cr_expect_eq(mps_process_join(p, 50 * MPS_MILLISECOND), -ETIMEDOUT);
	cr_expect(mps_process_is_alive(p));
	next = start_target(give_back, MPS_START_FORKSERVER, NULL);
	cr_expect_eq(code_of(next), 0);
	done(next);
	close(ends[1]);
	cr_expect_eq(code_of(p), 5);
	close(ends[0]);
	done(p);
}

Test(ipc_process, a_killed_forkserver_and_its_spares_leave_no_zombie)
{
	struct mps_process *p;

	for (unsigned i = 0; i < 60; i++) {
		p = start_target(give_back, MPS_START_FORKSERVER, NULL);
		if (i % 3 > 0)
			kill(find_server(i % 3 == 2), SIGKILL);
		cr_expect_eq(mps_process_join(p, 20 * MPS_SECOND), 0);
		done(p);
	}
	for (unsigned i = 0; i < 10 && count_zombies() > 0; i++)
		done(start_target(give_back, MPS_START_FORKSERVER, NULL));
	cr_expect_eq(count_zombies(), 0);
}

Test(ipc_process, a_forkserver_is_told_of_a_changed_folder)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	struct mps_process *p = start_target(give_back, MPS_START_FORKSERVER, NULL);

	done(p);
	cr_assert_eq(chdir("/proc"), 0);
	o.target = become_sleep;
	o.method = MPS_START_FORKSERVER;
	p = start(&o);
	{
		char path[64], cwd[64] = "";

		snprintf(path, sizeof(path), "/proc/%d/cwd", mps_process_pid(p));
		cr_expect_gt(readlink(path, cwd, sizeof(cwd) - 1), 0);
		cr_expect_str_eq(cwd, "/proc");
	}
	done(p);
}

/* -------------------------------------------------------------------------------------------------------- join */

Test(ipc_process, exit_statuses_and_signals_are_told_apart)
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

Test(ipc_process, a_join_is_over_in_time_when_the_child_has_executed_something_else)
{
	struct mps_process *p = start_target(become_sleep, MPS_START_SPAWN, NULL);
	int64_t took = timed_join(p, 300, -ETIMEDOUT);

	cr_expect(took >= 300 && took < 3000, "%lld ms", (long long)took);
	done(p);
}

Test(ipc_process, a_join_does_not_wait_for_those_who_hold_what_the_child_had_open)
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

Test(ipc_process, a_child_that_somebody_else_has_reaped_has_ended_with_an_unknown_status)
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

Test(ipc_process, who_waits_for_all_children_does_not_wait_for_the_guard)
{
	struct mps_process *p = start_target(give_back, MPS_START_SPAWN, NULL);

	while (wait(NULL) > 0)
		;
	cr_expect_eq(errno, ECHILD);
	cr_expect_eq(mps_process_free(p), 0);
}

Test(ipc_process, what_has_ended_is_no_zombie_after_the_next_call_although_nobody_has_joined_it)
{
	struct mps_process *p = start_target(give_back, MPS_START_SPAWN, NULL);
	struct proc_stat st;

	cr_expect(ends(mps_process_sentinel(p)));
	cr_expect_eq(mps_active_children(NULL, 0), 0);
	cr_expect_eq(proc_stat_read(mps_process_pid(p), &st), -ESRCH);
	cr_expect_eq(code_of(p), 0);
	done(p);
}

Test(ipc_process, active_children_are_those_that_live)
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

Test(ipc_process, a_daemon_may_have_children_and_their_names_tell_whose_they_are)
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

/* --------------------------------------------------------------------------------------------------------- ends */

Test(ipc_process, terminate_ends_grandchildren_of_other_sessions)
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

Test(ipc_process, terminate_ends_what_children_have_started_by_the_library)
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

Test(ipc_process, terminate_first_asks_and_wakes_what_is_stopped)
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

Test(ipc_process, children_and_grandchildren_end_with_a_parent_that_is_killed)
{
	expect_all_to_end_with(be_parent, SIGKILL);
}

Test(ipc_process, children_and_grandchildren_end_with_a_parent_that_dies_of_a_signal)
{
	expect_all_to_end_with(be_parent, SIGTERM);
}

Test(ipc_process, children_of_a_thread_outlive_it_and_end_with_its_process)
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

Test(ipc_process, what_shall_outlive_its_parent_does)
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

Test(ipc_process, at_exit_daemons_are_ended_and_others_waited_for)
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

Test(ipc_process, after_an_exit_at_once_nothing_is_left)
{
	int fd, pids[2];
	struct mps_process *p = start_with_pipe(end_at_once_with_children, MPS_START_SPAWN, &fd);

	read_pids(fd, pids, 2);
	cr_expect_eq(code_of(p), 4);
	cr_expect(all_end(pids, 2));
	close(fd);
	done(p);
}

Test(ipc_process, a_copy_that_exits_ends_no_children_of_its_original)
{
	int fd, pids[2];
	struct mps_process *p = start_with_pipe(copy_and_end, MPS_START_SPAWN, &fd);

	read_pids(fd, pids, 2); /* the second comes when the copy has ended */
	cr_expect(!has_ended(pids[0]));
	done(p);
	cr_expect(all_end(pids, 2));
	close(fd);
}

/* ------------------------------------------------------------------------------------------------------ fall-back */

Test(ipc_process, without_pidfds_the_same_is_known)
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
	if (getenv("DIE_EARLY") != NULL)
		_exit(9);
	mps_init(&argc, &argv);
}
