/*
 * The process that a program has named as its main one (MAINPID). While the process that was started lives too, its heir
 * gets what is meant for the main process; when it has ended, the heir takes its place. For that it must have fallen to
 * us: then we are its parent, and hear how it ends.
 */
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/internal.h"
#include "proc/pidfd.h"
#include "proc/tag.h"

void heir_drop(struct keeper *k, struct slot *s)
{
	keeper_unwatch(k, &s->heir_fd);
	s->heir = 0;
}

/* A descriptor of the process, if it is one of this instance; -1. Only the descriptor makes its number safe to ask for. */
static int open_own(const struct keeper *k, uint32_t index, pid_t pid)
{
	int fd = k->have_pidfd && pid > 1 ? pidfd_open_checked(pid) : -1;

	if (fd >= 0 && tag_get(pid) != tag_make(k->id, index, k->slots[index].gen))
		fd_close(&fd);
	return fd < 0 ? -1 : fd;
}

void heir_name(struct keeper *k, uint32_t index, pid_t pid)
{
	struct slot *s = &k->slots[index];
	int fd;

	if ((s->state != SLOT_EXEC && s->state != SLOT_ALIVE) || s->pid == 0 || pid == slot_main(s))
		return;
	fd = open_own(k, index, pid);
	if (fd < 0)
		return;
	heir_drop(k, s);
	if (pid == s->pid) {
		close(fd);
	} else {
		s->heir = pid;
		s->heir_fd = fd;
		keeper_lift(&s->heir_fd);
		if (keeper_watch(k, s->heir_fd, EPOLLIN, WATCH_HEIR, index, s->gen) < 0)
			heir_drop(k, s);
	}
	if (s->state == SLOT_ALIVE) /* else STARTED comes first */
		slot_report(k, index, REPORT_MAIN);
}

void heir_on_exit(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];

	heir_drop(k, s);
	if (s->state == SLOT_ALIVE && !s->kill)
		slot_report(k, index, REPORT_MAIN);
}

/* It is our child; perhaps it is dead by now, and its end is that of the program. */
static bool can_succeed(const struct keeper *k, const struct slot *s)
{
	siginfo_t si = { 0 };

	return s->heir != 0 && s->state == SLOT_ALIVE && !s->kill && !k->finishing &&
	       waitid(P_PID, (id_t)s->heir, &si, WEXITED | WNOHANG | WNOWAIT) == 0;
}

bool heir_succeeds(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];

	if (!can_succeed(k, s) ||
	    keeper_watch(k, s->heir_fd, EPOLLIN, WATCH_PIDFD, index, s->gen) < 0) {
		heir_drop(k, s);
		return false;
	}
	keeper_unwatch(k, &s->pidfd);
	s->pidfd = TAKE_FD(s->heir_fd);
	if (s->first == 0)
		s->first = s->pid;
	s->pid = s->heir;
	s->heir = 0;
	return true;
}
