/*
 * Processes: what a start gives to the child, and what cannot be started.
 */

#include "../process_scene.h"
#include "../count_fds.h"

TestSuite(ipc_process, .init = limit);

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

/* What was taken is the target's, and there once. */
static int take(struct mps_args *args)
{
	int fd = mps_args_take_fd(args, 0);

	dprintf(fd, "%d %d %d", mps_args_take_fd(args, 0), mps_args_fd(args, 0),
		mps_args_take_fd(args, 1));
	return close(fd);
}
MPS_TARGET(take);

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

static int not_registered(struct mps_args *args)
{
	(void)args;
	return 0;
}

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

Test(ipc_process, a_descriptor_is_taken_out_of_the_arguments_once)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		char got[20] = "";
		struct mps_process *p;
		struct mps_args *args;
		int ends[2];

		cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
		cr_assert_eq(mps_args_new(&args), 0);
		cr_assert_eq(mps_args_add_fd(args, ends[1]), 0);
		close(ends[1]);
		p = start_target(take, methods[i], args);
		mps_args_free(args);
		cr_expect_eq(code_of(p), 0);
		cr_expect_eq(read(ends[0], got, sizeof(got) - 1), 8);
		cr_expect_str_eq(got, "-1 -1 -1");
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

/* Else the other one would be run. */
Test(ipc_process, a_target_whose_name_is_anothers_is_refused_by_each_method)
{
	static struct mps_target_row row = { "give_back", not_registered, NULL };

	mps_target_add(&row);
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
		struct mps_process *p;

		o.target = give_back;
		o.method = methods[i];
		o.force = true;
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

/* Last in the file, so that all targets are registered before. */
__attribute__((constructor)) static void be_what_is_asked_for(int argc, char **argv)
{
	if (getenv("DIE_EARLY") != NULL)
		_exit(9);
	mps_init(&argc, &argv);
}
