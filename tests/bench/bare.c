/*
 * The limit: what starting and restarting N programs costs with nothing around it but vfork, exec, a pidfd and epoll.
 * bare NOP FILE N runs N copies of NOP FILE SLOT, starts again whichever ends, and ends them all on SIGTERM. sup.c
 * measures it from outside as it measures mpsup.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define TERM_SLOT UINT32_MAX

static char **command; /* NOP FILE SLOT NULL */
static int *pidfds;
static unsigned count;
static int epoll_fd;
static sigset_t no_signals;

static void watch(int fd, uint32_t slot)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u32 = slot };

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

static void start(unsigned slot)
{
	char number[16];
	pid_t pid;

	snprintf(number, sizeof(number), "%u", slot);
	command[2] = number;
	pid = vfork();
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &no_signals, NULL);
		execv(command[0], command);
		_exit(127);
	}
	if (pid < 0)
		die("vfork");
	pidfds[slot] = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfds[slot] < 0)
		die("pidfd_open");
	watch(pidfds[slot], slot);
}

static void reap(unsigned slot)
{
	siginfo_t info;

	if (waitid((idtype_t)P_PIDFD, (id_t)pidfds[slot], &info, WEXITED) < 0)
		die("waitid");
	close(pidfds[slot]);
	pidfds[slot] = -1;
}

static void end_all(void)
{
	for (unsigned i = 0; i < count; i++)
		syscall(SYS_pidfd_send_signal, pidfds[i], SIGTERM, NULL, 0);
	for (unsigned i = 0; i < count; i++)
		reap(i);
	exit(0);
}

static void raise_limit(void)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
}

static int term_fd(void)
{
	sigset_t term;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	return signalfd(-1, &term, SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	struct epoll_event events[64];

	if (argc != 4) {
		fprintf(stderr, "usage: bare NOP FILE N\n");
		return 2;
	}
	count = (unsigned)strtoul(argv[3], NULL, 10);
	pidfds = calloc(count, sizeof(*pidfds));
	command = (char *[]){ argv[1], argv[2], NULL, NULL };
	raise_limit();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	watch(term_fd(), TERM_SLOT);
	for (unsigned i = 0; i < count; i++)
		start(i);
	for (;;) {
		int n = epoll_wait(epoll_fd, events, 64, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.u32 == TERM_SLOT)
				end_all();
			reap(events[i].data.u32);
			start(events[i].data.u32);
		}
	}
}
