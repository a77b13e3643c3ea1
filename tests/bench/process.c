/*
 * What mps_process_start() and mps_process_join() cost, in microseconds, for a target that ends at once, by method; beside
 * it the limit of the machine: bare fork, vfork and exec of the same image, the least that a fork server can be. The
 * contenders take turns.
 * process [-r ROUNDS] [-p PART] [-m MIB]: with so much memory touched
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
#include "base/xalloc.h"
#include "bench.h"
#include "mpsup.h"
#include "stat.h"

static unsigned rounds = 40;
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

static const struct row {
	const char *name, *contender;
	void (*run)(void);
} rows[] = {
	{ "fork", LIMIT, by_bare_fork },   { "fork", "mpsup", by_fork },
	{ "forkserver", LIMIT, by_least }, { "forkserver", "mpsup", by_forkserver },
	{ "spawn", LIMIT, by_bare_vfork }, { "spawn", "mpsup", by_spawn },
};

static void compare(unsigned mib)
{
	struct samples s[ARRAY_SIZE(rows)] = { 0 };

	for (unsigned r = 0; r < rounds + 3; r++)
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			int64_t t = mps_now().ns;

			rows[i].run();
			if (r >= 3)
				samples_add(&s[i], (double)(mps_now().ns - t) / 1000);
		}
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_FREE char *name = xasprintf("%s and join, %u MiB touched", rows[i].name, mib);

		samples_say(&s[i], name, rows[i].contender, "us");
	}
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
	unsigned mib = 4;
	int c;

	if (argc == 2 && strcmp(argv[1], "--end") == 0)
		return 0;
	if (argc == 3 && strcmp(argv[1], "--serve") == 0)
		serve(atoi(argv[2]));
	while ((c = getopt(argc, argv, "r:p:m:")) != -1) {
		if (c == 'p')
			rounds = (unsigned)(rounds * atof(optarg)) + 1;
		else if (c == 'm')
			mib = (unsigned)atoi(optarg);
		else if (c == 'r')
			rounds = (unsigned)atoi(optarg);
		else
			return 2;
	}
	start_least();
	touch((size_t)mib << 20);
	compare(mib);
	close(least);
	return 0;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
