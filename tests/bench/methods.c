/*
 * What a start costs, by method: from asking for a process that ends at once to having reaped it. Beside it the limit of the machine: vfork and exec, and the
 * least that a fork server over SCM_RIGHTS can be.
 * methods [-r ROUNDS] [-o PART-OF-A-TITLE] BUILD-FOLDER
 */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../keeper_peer.h"
#include "base/xalloc.h"
#include "bench.h"
#include "proc/forkserver.h"
#include "proc/pidfd.h"
#include "stat.h"

enum { OBJECTS = 50, FUNCTIONS = 200, CALLS = 40 };

static unsigned rounds = 300;
static const char *build, *only;
static char folder[] = "/tmp/mpsup-bench.XXXXXX";
static char *command[] = { NULL, (char *)"--exit", (char *)"0", NULL };
static char *no_env[] = { NULL };

static int64_t ns_now(void)
{
	return mps_now().ns;
}

/* ------------------------------------------------------------------------------------------------- limits */

static void reap(pid_t pid)
{
	if (waitpid(pid, NULL, 0) != pid)
		die("waitpid");
}

/* A macro, since vfork() must be called by who executes. */
#define DEFINE_EXEC_AFTER(fork_in_some_way)                                                        \
	static void by_##fork_in_some_way(void)                                                    \
	{                                                                                          \
		pid_t pid = fork_in_some_way();                                                    \
                                                                                                   \
		if (pid == 0) {                                                                    \
			execve(command[0], command, no_env);                                       \
			_exit(127);                                                                \
		}                                                                                  \
		reap(pid);                                                                         \
	}
DEFINE_EXEC_AFTER(vfork)
DEFINE_EXEC_AFTER(fork)

/* The library's own, with what a worker gets. */
static void by_mps(void)
{
	static _Alignas(16) char stack[MPS_STACK_SIZE];
	const struct mps_fd rows[] = { { 0, 0, 0 }, { 1, 1, 0 }, { 2, 2, 0 } };
	const struct mps_spawn s = {
		.path = command[0],
		.argv = command,
		.envp = no_env,
		.fds = rows,
		.n_fds = 3,
		.session = MPS_SESSION_NEW,
		.umask = -1,
		.signals_are_default = true,
	};
	struct mps_child child;
	struct mps_failure failure;
	enum mps_step step;
	int r;

	if (mps_spawn_start(&s, stack, &child, &step) < 0)
		die("mps_spawn_start");
	do { /* the pipe ends when our end of it is closed too */
		if (child.error_fd >= 0 && mps_child_has_files(stack, true))
			fd_close(&child.error_fd);
		if (!peer_wait_readable(child.exec_fd, PEER_PATIENCE))
			die("exec");
		r = mps_spawn_result(child.exec_fd, &failure);
	} while (r == 0);
	if (r < 0)
		die("exec");
	reap(child.pid);
	close(child.exec_fd);
	close(child.pidfd);
}

/* The least: a request is a byte and three descriptors, the answer a pid. */
static void serve(int sock, int (*function)(int, char **))
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		struct pollfd p = { .fd = sock, .events = POLLIN };
		int fds[3];
		size_t n;
		bool cut;
		char byte;
		pid_t pid;

		poll(&p, 1, -1);
		if (fd_recv(sock, &byte, 1, fds, 3, &n, &cut) <= 0)
			_exit(0);
		pid = fork();
		if (pid == 0) {
			for (int i = 0; i < 3; i++)
				dup2(fds[i], i);
			_exit(function(3, command));
		}
		if (send(sock, &pid, sizeof(pid), 0) < 0)
			_exit(1);
		for (int i = 0; i < 3; i++)
			close(fds[i]);
	}
}

/* Of the one that is asked; those for the small entry and for the real libraries. */
static int least_sock, least_small, least_real;

static void by_least_server(void)
{
	struct iovec iov = { (char *)"x", 1 };
	int fds[] = { 0, 1, 2 }, pidfd;
	pid_t pid;

	if (fd_send(least_sock, &iov, 1, fds, 3) < 0 ||
	    recv(least_sock, &pid, sizeof(pid), 0) != sizeof(pid))
		die("the least server");
	pidfd = pidfd_open_checked(pid);
	if (pidfd >= 0) /* else it is gone already */
		peer_wait_readable(pidfd, PEER_PATIENCE);
	close(pidfd);
}

static pid_t start_least_server(const char *object, int *ret_sock)
{
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		die("socketpair");
	pid = fork();
	if (pid == 0) {
		void *handle = dlopen(object, RTLD_NOW),
		     *at = handle ? dlsym(handle, "work") : NULL;
		int (*function)(int, char **);

		if (at == NULL)
			_exit(1);
		memcpy(&function, &at, sizeof(function));
		close(ends[0]);
		serve(ends[1], function);
	}
	close(ends[1]);
	*ret_sock = ends[0];
	return pid;
}

/* ------------------------------------------------------------------------------------------ the forkserver */

static int server_sock;
static struct mps_spawn asked;

/* As the keeper asks, without the keeper: what the method itself costs. */
static void by_server(void)
{
	const struct mps_fd rows[] = { { 0, 0, 0 }, { 1, 1, 0 }, { 2, 2, 0 } };
	const struct forkserver_request head = { 0 };
	AUTO_BUF b = BUF_INIT;
	struct iovec iov;
	struct mps_failure f = { 0 };
	int ends[2], pidfd = -1, r;
	siginfo_t si;

	asked.fds = rows;
	asked.n_fds = 3;
	forkserver_encode(&head, &b);
	mps_spawn_encode(&asked, &b);
	iov = (struct iovec){ b.p, b.len };
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 ||
	    fd_send(server_sock, &iov, 1, (int[]){ ends[1], 0, 1, 2 }, 4) < 0)
		die("the forkserver");
	close(ends[1]);
	do {
		if (!peer_wait_readable(ends[0], PEER_PATIENCE))
			die("the forkserver");
		r = mps_spawn_result(ends[0], &f);
		if (r == 2)
			pidfd = pidfd_open_child(f.error);
	} while (r == 0 || r == 2);
	if (r < 0 || pidfd < 0 || !peer_wait_readable(pidfd, PEER_PATIENCE) ||
	    waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED) < 0 || si.si_status != 0)
		die("the forkserver's child");
	close(pidfd);
	close(ends[0]);
}

static pid_t start_server(const char *object)
{
	struct forkserver_word word;
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		die("socketpair");
	pid = fork();
	if (pid == 0) {
		if (ends[1] == FORKSERVER_FD)
			fd_set_cloexec(ends[1], false);
		else
			dup2(ends[1], FORKSERVER_FD);
		execl(peer_host(), "mpsup-host", "forkserver", "bench", object, NULL);
		_exit(98);
	}
	close(ends[1]);
	server_sock = ends[0];
	if (recv(server_sock, &word, sizeof(word), 0) != sizeof(word) || word.failed)
		die("the forkserver");
	return pid;
}

/* -------------------------------------------------------------------------------------------- the keeper */

static struct peer keeper;
static uint32_t gen;

static void by_keeper(void)
{
	const struct mps_fd rows[] = { { 0, 0, 0 }, { 1, 0, 0 }, { 2, 0, 0 } };
	struct keeper_message m = { .type = KEEPER_START, .instance = 1, .gen = ++gen };
	AUTO_BUF rest = BUF_INIT;
	int fd = 2;

	asked.fds = rows;
	asked.n_fds = 3;
	mps_spawn_encode(&asked, &rest);
	if (peer_send(&keeper, &m, &rest, &fd, 1) < 0)
		die("keeper");
	do {
		if (peer_recv(&keeper, &m) < 0)
			die("keeper");
		if (m.type == KEEPER_FAILED) {
			fprintf(stderr, "methods: %s: %s\n", mps_step_word((enum mps_step)m.code),
				m.text != NULL ? m.text : strerror((int)m.status));
			exit(1);
		}
	} while (m.type != KEEPER_EXITED);
}

static void ask_for(enum mps_spawn_method method, const char *object, char **preload)
{
	static char *room[MPS_ENTRY_ROOM + 2];

	room[MPS_ENTRY_ROOM] = (char *)"entry";
	asked = (struct mps_spawn){
		.path = object != NULL ? object : command[0],
		.symbol = object != NULL ? "work" : NULL,
		.argv = object != NULL ? room + MPS_ENTRY_ROOM : command,
		.envp = no_env,
		.session = MPS_SESSION_NEW,
		.umask = -1,
		.pdeathsig = SIGKILL,
		.method = method,
		.server = method == MPS_METHOD_FORKSERVER ? "bench" : NULL,
		.preload = preload,
	};
}

/* ------------------------------------------------------------------------------------------------ objects */

static void run_cc(const char *text)
{
	if (system(text) != 0)
		die(text);
}

/* Each calls functions of those before it, as libraries do. */
static void write_library(int n)
{
	AUTO_FREE char *path = xasprintf("%s/lib%d.c", folder, n);
	FILE *f = fopen(path, "we");

	if (f == NULL)
		die(path);
	for (int i = 0; i < FUNCTIONS; i++)
		fprintf(f, "int f%d_%d(int x) { return x + %d; }\n", n, i, i);
	for (int i = 0; n > 0 && i < CALLS; i++)
		fprintf(f, "int f%d_%d(int); ", i % n, i);
	fprintf(f, "\nint work%d(int x) { ", n);
	for (int i = 0; n > 0 && i < CALLS; i++)
		fprintf(f, "x += f%d_%d(x); ", i % n, i);
	fprintf(f, "return x; }\n");
	fclose(f);
}

static void make_objects(char **preload)
{
	AUTO_FREE char *text = NULL;

	for (int n = 0; n < OBJECTS; n++) {
		write_library(n);
		preload[n] = xasprintf("%s/lib%d.so", folder, n);
	}
	text = xasprintf(
		"cd %s && echo 'int work(int c, char **v) { (void)c; (void)v; return 0; }' >e.c && "
		"n=0; while [ $n -lt %d ]; do l=; i=0; while [ $i -lt $n ]; do l=\"$l lib$i.so\"; "
		"i=$((i+1)); done; cc -shared -fPIC -Wl,-rpath,%s -Wl,--no-as-needed -o lib$n.so "
		"lib$n.c $l "
		"|| exit 1; n=$((n+1)); done; cc -shared -fPIC -o small.so e.c && "
		"cc -shared -fPIC -Wl,-rpath,%s -Wl,--no-as-needed -o large.so e.c lib*.so",
		folder, OBJECTS, folder, folder);
	run_cc(text);
}

/*
 * An entry that needs a library of this machine which needs fifty others at least, with all that they do when they are
 * loaded: what preloading is for. The first such by name. False: there is none.
 */
static bool make_real(const char *to)
{
	AUTO_FREE char *text = xasprintf(
		"cd ${LIBS:-/usr/lib/$(uname -m)-linux-gnu} && for f in lib[a-z]*.so.*; do "
		"if [ \"$(ldd $f 2>/dev/null | grep -c '=> /')\" -ge %d ] && cc -shared -fPIC "
		"-Wl,--no-as-needed -o %s %s/e.c $PWD/$f 2>/dev/null; then exit 0; "
		"fi; done; exit 1",
		OBJECTS, to, folder);

	fflush(stdout);
	return system(text) == 0;
}

/* --------------------------------------------------------------------------------------------------- all */

/* The contenders take turns, so that what else the machine does meets all. */
static void compare(const char *title, void (*const what[])(void), const char *const names[],
		    void (*const before[])(void), size_t n)
{
	struct samples s[4] = { { NULL, 0 } };

	if (only != NULL && strstr(title, only) == NULL)
		return;
	for (unsigned r = 0; r < rounds + 5; r++)
		for (size_t i = 0; i < n; i++) {
			int64_t t;

			if (before != NULL && before[i] != NULL)
				before[i]();
			t = ns_now();
			what[i]();
			if (r >= 5)
				samples_add(&s[i], (double)(ns_now() - t) / 1000);
		}
	for (size_t i = 0; i < n; i++)
		samples_say_parts(&s[i], 7, title, names[i], "us");
}

static char small[64], large[64], real[64];
static char *objects[OBJECTS + 2];

static void ask_command(void)
{
	ask_for(MPS_METHOD_SPAWN, NULL, NULL);
}

static void ask_server_small(void)
{
	static char *preload[] = { small, NULL };

	ask_for(MPS_METHOD_FORKSERVER, small, preload);
}

static void ask_spawn_small(void)
{
	ask_for(MPS_METHOD_SPAWN, small, NULL);
}

static void ask_fork_small(void)
{
	ask_for(MPS_METHOD_FORK, small, NULL);
}

static void ask_server_large(void)
{
	ask_for(MPS_METHOD_FORKSERVER, large, objects);
}

static void ask_spawn_large(void)
{
	ask_for(MPS_METHOD_SPAWN, large, NULL);
}

static void ask_least_small(void)
{
	least_sock = least_small;
}

static void ask_least_real(void)
{
	least_sock = least_real;
}

static void ask_server_real(void)
{
	static char *preload[] = { real, NULL };

	ask_for(MPS_METHOD_FORKSERVER, real, preload);
}

static void ask_spawn_real(void)
{
	ask_for(MPS_METHOD_SPAWN, real, NULL);
}

#define COMPARE(title, ...)                                                                        \
	do {                                                                                       \
		static const struct {                                                              \
			const char *name;                                                          \
			void (*what)(void);                                                        \
			void (*before)(void);                                                      \
		} rows[] = { __VA_ARGS__ };                                                        \
		const char *names[ARRAY_SIZE(rows)];                                               \
		void (*what[ARRAY_SIZE(rows)])(void), (*before[ARRAY_SIZE(rows)])(void);           \
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {                                    \
			names[i] = rows[i].name;                                                   \
			what[i] = rows[i].what;                                                    \
			before[i] = rows[i].before;                                                \
		}                                                                                  \
		compare(title, what, names, before, ARRAY_SIZE(rows));                             \
	} while (0)

static void measure_real(void)
{
	pid_t least = start_least_server(real, &least_real);

	COMPARE("an entry that needs 50 real libraries",
		{ "mpsup forkserver", by_keeper, ask_server_real },
		{ "mpsup spawn", by_keeper, ask_spawn_real },
		{ LIMIT, by_least_server, ask_least_real });
	close(least_real);
	reap(least);
}

static void touch(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	memset(p, 1, size);
}

static void measure_library(void)
{
	touch(4 << 20);
	COMPARE("a command, in a C program that has touched 4 MiB", { LIMIT, by_vfork, NULL },
		{ "mpsup spawn", by_mps, NULL }, { "fork, exec", by_fork, NULL });
	touch(508 << 20);
	COMPARE("a command, in a C program that has touched 512 MiB", { LIMIT, by_vfork, NULL },
		{ "mpsup spawn", by_mps, NULL }, { "fork, exec", by_fork, NULL });
}

int main(int argc, char **argv)
{
	pid_t least, server;
	int c;

	if (getenv(PEER_ROLE) != NULL)
		peer_be_supervisor();
	while ((c = getopt(argc, argv, "r:o:")) == 'r' || c == 'o') {
		if (c == 'r')
			rounds = (unsigned)atoi(optarg);
		else
			only = optarg;
	}
	if (c != -1 || optind + 1 != argc || rounds == 0) {
		fprintf(stderr, "usage: methods [-r ROUNDS] [-o PART-OF-A-TITLE] BUILD-FOLDER\n");
		return 2;
	}
	build = argv[optind];
	setenv("B", build, 1);
	command[0] = xasprintf("%s/e2e/worker", build);
	if (command[0][0] != '/') {
		AUTO_FREE char *cwd = getcwd(NULL, 0);

		command[0] = xasprintf("%s/%s/e2e/worker", cwd, build);
	}
	if (mkdtemp(folder) == NULL)
		die(folder);
	make_objects(objects);
	snprintf(small, sizeof(small), "%s/small.so", folder);
	snprintf(large, sizeof(large), "%s/large.so", folder);
	snprintf(real, sizeof(real), "%s/real.so", folder);
	objects[OBJECTS] = large;
	least = start_least_server(small, &least_small);
	server = start_server(small);
	if (!peer_open(&keeper, NULL))
		die("no keeper");
	COMPARE("a command, by the keeper", { LIMIT, by_vfork, NULL },
		{ "mpsup spawn", by_keeper, ask_command });
	COMPARE("an entry by a fork server", { LIMIT, by_least_server, ask_least_small },
		{ "mpsup forkserver", by_server, ask_server_small },
		{ "mpsup forkserver, by the keeper", by_keeper, ask_server_small });
	COMPARE("an entry, by the keeper", { "mpsup forkserver", by_keeper, ask_server_small },
		{ "mpsup spawn", by_keeper, ask_spawn_small },
		{ "mpsup fork", by_keeper, ask_fork_small });
	COMPARE("an entry that needs 50 small objects",
		{ "mpsup forkserver", by_keeper, ask_server_large },
		{ "mpsup spawn", by_keeper, ask_spawn_large });
	if (make_real(real))
		measure_real();
	peer_finish(&keeper, 0);
	close(least_small);
	reap(least);
	close(server_sock);
	reap(server);
	measure_library();
	run_cc(xasprintf("rm -rf %s", folder));
	return 0;
}
