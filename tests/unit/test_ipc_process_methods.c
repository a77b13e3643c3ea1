/*
 * Start methods: which there is, what a fork copies, the forkserver with what it has loaded, and its death.
 */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../process_scene.h"
#include "base/mtime.h"
#include "proc/tag.h"
#include "proc/tree.h"

TestSuite(ipc_process_methods, .init = limit);

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

Test(ipc_process_methods, fork_is_refused_while_there_are_threads_but_by_force)
{
	struct mps_process *p = start_target(fork_beside_thread, MPS_START_SPAWN, NULL);

	cr_expect_eq(code_of(p), 0);
	done(p);
}

Test(ipc_process_methods, a_fork_writes_nothing_twice_and_runs_no_handler_of_its_original)
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

Test(ipc_process_methods, the_method_is_set_once)
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

Test(ipc_process_methods, a_preload_runs_once_and_what_it_has_printed_is_not_printed_again)
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

Test(ipc_process_methods, a_preload_that_fails_is_told_by_the_start)
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

static int preload_until_the_gate_is_closed(struct mps_args *args)
{
	char c;

	(void)args;
	return read(open(getenv("PRELOAD_GATE"), O_RDONLY | O_CLOEXEC), &c, 1) != 0;
}
MPS_TARGET(preload_until_the_gate_is_closed);

static void *start_by_forkserver(void *user)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;

	o.target = give_back;
	o.method = MPS_START_FORKSERVER;
	*(struct mps_process **)user = start(&o);
	return NULL;
}

Test(ipc_process_methods, a_join_is_over_in_time_while_another_thread_waits_for_the_preload)
{
	struct mps_process *p = start_target(wait_for_ever, MPS_START_SPAWN, NULL), *slow = NULL;
	char gate[] = "/tmp/mpsup-gate-XXXXXX";
	pthread_t thread;
	int fd;

	close(mkstemp(gate));
	unlink(gate);
	cr_assert_eq(mkfifo(gate, 0600), 0);
	setenv("PRELOAD_GATE", gate, 1);
	cr_expect_eq(mps_set_forkserver_preload(preload_until_the_gate_is_closed), 0);
	pthread_create(&thread, NULL, start_by_forkserver, &slow);
	fd = open(gate, O_WRONLY | O_CLOEXEC); /* from here on it is loading */
	cr_expect_eq(mps_process_join(p, 50 * MPS_MILLISECOND), -ETIMEDOUT);
	cr_expect(mps_process_is_alive(p));
	cr_expect_eq(mps_active_children(NULL, 0), 1);
	cr_expect_null(slow);
	close(fd);
	pthread_join(thread, NULL);
	unlink(gate);
	cr_expect_eq(code_of(slow), 0);
	done(slow);
	done(p);
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

Test(ipc_process_methods, children_of_a_killed_forkserver_go_on_and_their_exit_status_is_known)
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

Test(ipc_process_methods, a_killed_forkserver_and_its_spares_leave_no_zombie)
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

/* It has the server's mark, as all that it forks has until it is asked for something. */
static pid_t fork_nameless(uint64_t mark)
{
	struct rlimit r = { mark, RLIM_INFINITY };
	pid_t pid = fork();

	if (pid == 0)
		_exit(setrlimit(RLIMIT_RSS, &r) < 0);
	return pid;
}

Test(ipc_process_methods, a_spare_that_was_killed_before_it_had_said_a_word_is_no_zombie)
{
	struct mps_process *p = start_target(give_back, MPS_START_FORKSERVER, NULL);
	pid_t server, nameless;
	siginfo_t si;

	cr_expect_eq(code_of(p), 0);
	done(p);
	server = find_server(false);
	nameless = fork_nameless(mark_get(server));
	waitid(P_PID, (id_t)nameless, &si, WEXITED | WNOWAIT);
	cr_expect_eq(si.si_status, 0);
	kill(server, SIGKILL);
	waitid(P_PID, (id_t)server, &si, WEXITED | WNOWAIT);
	p = start_target(give_back, MPS_START_FORKSERVER, NULL);
	cr_expect_eq(waitpid(nameless, NULL, WNOHANG), -1, "it is a zombie");
	cr_expect_eq(code_of(p), 0);
	done(p);
}

/* The sockets of the process: those of its table, in square brackets. */
static bool has_socket(pid_t pid, unsigned long inode)
{
	char path[64], to[64], want[64];
	bool has = false;

	snprintf(want, sizeof(want), "socket:[%lu]", inode);
	for (int fd = 0; fd < 256 && !has; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		n = readlink(path, to, sizeof(to) - 1);
		has = n > 0 && (size_t)n == strlen(want) && strncmp(to, want, (size_t)n) == 0;
	}
	return has;
}

/* Of /proc/net/unix: how many of its sockets there are, and how many have an address or listen (__SO_ACCEPTCON). */
static size_t count_sockets(pid_t pid, size_t *ret_reachable)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512], name[256];
	unsigned long inode;
	unsigned flags;
	size_t n = 0;

	cr_assert_not_null(f);
	*ret_reachable = 0;
	while (fgets(line, sizeof(line), f) != NULL) {
		int fields = sscanf(line, "%*s %*x %*x %x %*x %*x %lu %255s", &flags, &inode, name);

		if (fields < 2 || !has_socket(pid, inode))
			continue;
		n++;
		*ret_reachable += fields > 2 || (flags & 0x10000) != 0;
	}
	fclose(f);
	return n;
}

Test(ipc_process_methods, nobody_can_connect_to_a_forkserver)
{
	struct mps_process *p = start_target(wait_for_ever, MPS_START_FORKSERVER, NULL);
	struct mps_listener *l;
	size_t reachable;

	cr_expect_geq(count_sockets(find_server(false), &reachable), 1);
	cr_expect_eq(reachable, 0);
	/* It would be seen. */
	cr_assert_eq(mps_listen(NULL, NULL, &l), 0);
	cr_expect_geq(count_sockets(getpid(), &reachable), 2);
	cr_expect_eq(reachable, 1);
	mps_listener_close(l);
	done(p);
}

Test(ipc_process_methods, a_forkserver_is_told_of_a_changed_folder)
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

/* Last in the file, so that all targets are registered before. */
__attribute__((constructor)) static void be_what_is_asked_for(int argc, char **argv)
{
	mps_init(&argc, &argv);
}
