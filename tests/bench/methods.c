/*
 * What a start costs, by method: from asking for a process that ends at once to having reaped it, in microseconds (median).
 * Beside it the limit of the machine: vfork and exec, and the least that a fork server over SCM_RIGHTS can be.
 * methods [-r ROUNDS] BUILD-FOLDER
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
#include "proc/pidfd.h"
#include "stat.h"

enum { OBJECTS = 50, FUNCTIONS = 200, CALLS = 40 };

static unsigned rounds = 300;
static const char *build;
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

static void by_vfork(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		execve(command[0], command, no_env);
		_exit(127);
	}
	reap(pid);
}

static void by_fork(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		execve(command[0], command, no_env);
		_exit(127);
	}
	reap(pid);
}

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

	if (mps_spawn_start(&s, stack, &child, &step) < 0)
		die("mps_spawn_start");
	peer_wait_readable(child.exec_fd, PEER_PATIENCE);
	if (child.error_fd >= 0)
		while (!mps_child_has_files(stack, false))
			;
	fd_close(&child.error_fd);
	if (mps_spawn_result(child.exec_fd, &failure) < 0)
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

static int least_sock;

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

static pid_t start_least_server(const char *object)
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
	least_sock = ends[0];
	return pid;
}

/* -------------------------------------------------------------------------------------------- the keeper */

static struct peer keeper;
static uint32_t gen;

static struct mps_spawn asked;

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

static void ask_for(enum mps_method method, const char *object, char **preload)
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

/* --------------------------------------------------------------------------------------------------- all */

/* The contenders take turns, so that what else the machine does meets all. */
static void compare(const char *title, void (*const what[])(void), const char *const names[],
		    void (*const before[])(void), size_t n)
{
	struct samples s[4] = { { NULL, 0 } };
	double first = 0;

	printf("%s\n", title);
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
	for (size_t i = 0; i < n; i++) {
		double m = samples_quantile(&s[i], 0.5);

		if (i == 0)
			first = m;
		printf("  %-44s %8.0f us  %6.2f\n", names[i], m, first > 0 ? m / first : 0);
		samples_free(&s[i]);
	}
	fflush(stdout);
}

static char small[64], large[64];
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
	COMPARE("a command, in a C program that has touched 4 MiB",
		{ "vfork, exec", by_vfork, NULL }, { "spawn", by_mps, NULL },
		{ "fork, exec", by_fork, NULL });
	touch(508 << 20);
	COMPARE("a command, in a C program that has touched 512 MiB",
		{ "vfork, exec", by_vfork, NULL }, { "spawn", by_mps, NULL },
		{ "fork, exec", by_fork, NULL });
}

int main(int argc, char **argv)
{
	pid_t least;
	int c;

	if (getenv(PEER_ROLE) != NULL)
		peer_be_supervisor();
	while ((c = getopt(argc, argv, "r:")) == 'r')
		rounds = (unsigned)atoi(optarg);
	if (c != -1 || optind + 1 != argc || rounds == 0) {
		fprintf(stderr, "usage: methods [-r ROUNDS] BUILD-FOLDER\n");
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
	objects[OBJECTS] = large;
	least = start_least_server(small);
	if (!peer_open(&keeper, NULL))
		die("no keeper");
	COMPARE("a command, by the keeper", { "vfork, exec", by_vfork, NULL },
		{ "spawn", by_keeper, ask_command });
	COMPARE("an entry, by the keeper", { "the least fork server", by_least_server, NULL },
		{ "forkserver", by_keeper, ask_server_small },
		{ "spawn", by_keeper, ask_spawn_small }, { "fork", by_keeper, ask_fork_small });
	COMPARE("an entry that needs 50 shared objects",
		{ "forkserver", by_keeper, ask_server_large },
		{ "spawn", by_keeper, ask_spawn_large });
	peer_finish(&keeper, 0);
	close(least_sock);
	reap(least);
	measure_library();
	run_cc(xasprintf("rm -rf %s", folder));
	return 0;
}
