/*
 * What mps_process_start() and mps_process_join() cost, in microseconds, for a target that ends at once, by method; beside
 * it the limit of the machine: bare fork, vfork and exec of the same image, the least that a fork server can be. The
 * contenders take turns. Median, the least, and the ratios to the first.
 * ipc_process [-r ROUNDS]
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mtime.h"
#include "bench.h"
#include "mpsup.h"
#include "stat.h"

static unsigned rounds = 280;
static char *self[] = { (char *)"/proc/self/exe", (char *)"--end", NULL };

static int end(struct mps_args *args)
{
	(void)args;
	return 0;
}
MPS_TARGET(end);

static void reap(pid_t pid)
{
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		die("waitpid");
}

static void by_bare_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	reap(pid);
}

static void by_bare_vfork(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		execve(self[0], self, environ);
		_exit(127);
	}
	reap(pid);
}

static void by(enum mps_start_method method)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	struct mps_process *p;
	int code;

	o.target = end;
	o.method = method;
	if (mps_process_start(&o, &p) < 0)
		die(mps_process_failure());
	if (mps_process_join(p, MPS_FOREVER) < 0 || mps_process_exitcode(p, &code) < 0 || code != 0)
		die("join");
	mps_process_free(p);
}

static void by_fork(void)
{
	by(MPS_START_FORK);
}

static void by_spawn(void)
{
	by(MPS_START_SPAWN);
}

static void by_forkserver(void)
{
	by(MPS_START_FORKSERVER);
}

/* ------------------------------------------------------------------------------------------ the least server */

static int least = -1;

/* A request is a byte and two descriptors; the pid, and then the status, go into the first of them. */
static _Noreturn void serve(int sock)
{
	for (;;) {
		struct pollfd p = { .fd = sock, .events = POLLIN };
		int fds[2], status;
		size_t n;
		bool cut;
		char byte;
		pid_t pid;

		poll(&p, 1, -1);
		if (fd_recv(sock, &byte, 1, fds, 2, &n, &cut) <= 0)
			_exit(0);
		pid = fork();
		if (pid == 0)
			_exit(0);
		fd_write_all(fds[0], &pid, sizeof(pid));
		reap(pid);
		status = 0;
		fd_write_all(fds[0], &status, sizeof(status));
		close(fds[0]);
		close(fds[1]);
	}
}

/* An image of its own, as small as ours is. */
static void start_least(void)
{
	int ends[2];
	char number[12];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		die("socketpair");
	snprintf(number, sizeof(number), "%d", ends[1]);
	if (fork() == 0) {
		fd_set_cloexec(ends[1], false);
		execl(self[0], self[0], "--serve", number, NULL);
		_exit(127);
	}
	close(ends[1]);
	least = ends[0];
}

static void by_least(void)
{
	struct iovec iov = { (char *)"x", 1 };
	int ends[2], status;
	pid_t pid;

	if (pipe(ends) < 0 || fd_send(least, &iov, 1, (int[]){ ends[1], 0 }, 2) < 0)
		die("the least server");
	close(ends[1]);
	if (read(ends[0], &pid, sizeof(pid)) != sizeof(pid) ||
	    read(ends[0], &status, sizeof(status)) != sizeof(status))
		die("the least server");
	close(ends[0]);
}

/* --------------------------------------------------------------------------------------------------- turns */

struct contender {
	const char *name;
	void (*run)(void);
	struct samples s;
};

static void compare(const char *title, struct contender *c, size_t n)
{
	for (unsigned r = 0; r < rounds + 5; r++)
		for (size_t i = 0; i < n; i++) {
			int64_t t = mps_now().ns;

			c[i].run();
			if (r >= 5)
				samples_add(&c[i].s, (double)(mps_now().ns - t) / 1000);
		}
	printf("%-40s %18s  %18s\n", title, "median", "least");
	for (size_t i = 0; i < n; i++) {
		printf("  %-38s", c[i].name);
		for (int q = 0; q < 2; q++)
			printf(" %8.0f us  %6.2f", samples_quantile(&c[i].s, q == 0 ? 0.5 : 0),
			       samples_quantile(&c[i].s, q == 0 ? 0.5 : 0) /
				       samples_quantile(&c[0].s, q == 0 ? 0.5 : 0));
		putchar('\n');
	}
	for (size_t i = 0; i < n; i++)
		samples_free(&c[i].s);
	fflush(stdout);
}

static void compare_all(const char *title)
{
	struct contender fork_ones[] = { { "fork, _exit, wait", by_bare_fork, { 0 } },
					 { "fork", by_fork, { 0 } } };
	struct contender servers[] = { { "the least fork server", by_least, { 0 } },
				       { "forkserver", by_forkserver, { 0 } } };
	struct contender spawns[] = { { "vfork, exec of the same image", by_bare_vfork, { 0 } },
				      { "spawn of a target", by_spawn, { 0 } } };

	printf("%s\n", title);
	compare("fork", fork_ones, ARRAY_SIZE(fork_ones));
	compare("forkserver", servers, ARRAY_SIZE(servers));
	compare("spawn", spawns, ARRAY_SIZE(spawns));
}

static void touch(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	memset(p, 1, size);
}

static int body(int argc, char **argv)
{
	int c;

	if (argc == 2 && strcmp(argv[1], "--end") == 0)
		return 0;
	if (argc == 3 && strcmp(argv[1], "--serve") == 0)
		serve(atoi(argv[2]));
	while ((c = getopt(argc, argv, "r:")) == 'r')
		rounds = (unsigned)atoi(optarg);
	if (c != -1 || optind != argc || rounds == 0) {
		fprintf(stderr, "usage: ipc_process [-r ROUNDS]\n");
		return 2;
	}
	start_least();
	compare_all("start and join, as it is");
	touch((size_t)512 << 20);
	rounds = rounds / 4 + 1;
	compare_all("start and join, with 512 MiB touched");
	close(least);
	return 0;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
