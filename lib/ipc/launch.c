/*
 * Starting a child and hearing how it went, in one go.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ipc/family.h"
#include "proc/spawn.h"

int fail_step(struct mps_failure *ret_failure, int step, int error)
{
	*ret_failure = (struct mps_failure){ step, error < 0 ? -error : error, "" };
	return error;
}

bool is_main_thread(void)
{
	return gettid() == getpid();
}

void lift_fd(int *fd)
{
	int high = *fd >= 0 && *fd < MPS_LOW_FDS ? fcntl(*fd, F_DUPFD_CLOEXEC, MPS_LOW_FDS) : -1;

	if (high < 0)
		return;
	close(*fd);
	*fd = high;
}

void reap_hidden(pid_t pid, int pidfd)
{
	siginfo_t si;

	while (waitid(pidfd >= 0 ? P_PIDFD : P_PID, (id_t)(pidfd >= 0 ? pidfd : pid), &si,
		      WEXITED) < 0 &&
	       errno == EINTR)
		;
}

/*
 * The pidfd is looked at, too: who dies halfway while somebody else holds a copy of its pipe shall not hold us up. 1 or
 * -1 as of mps_spawn_result().
 */
static int await(struct mps_child *c, void *stack, struct mps_failure *ret_failure)
{
	struct pollfd p[] = { { .fd = c->exec_fd, .events = POLLIN },
			      { .fd = c->pidfd, .events = POLLIN } };

	for (;;) {
		bool is_dead = p[1].revents != 0;
		int r;

		if (c->error_fd >= 0 && (is_dead || mps_child_has_files(stack, true)))
			fd_close(&c->error_fd);
		if (!is_dead)
			while (poll(p, 2, -1) < 0 && errno == EINTR)
				;
		r = mps_spawn_result(c->exec_fd, ret_failure);
		if (r != 0)
			return r;
		if (is_dead)
			return 1;
	}
}

int launch(const struct mps_spawn *s, struct mps_child *ret_child, struct mps_failure *ret_failure)
{
	AUTO_FREE void *stack = NULL;
	struct mps_child c = MPS_CHILD_INIT;
	enum mps_step step = MPS_STEP_NONE;
	int r;

	if (s->symbol == NULL && posix_memalign(&stack, 16, MPS_STACK_SIZE) != 0)
		return fail_step(ret_failure, MPS_STEP_FORK, -ENOMEM);
	r = mps_spawn_start(s, stack, &c, &step);
	if (r < 0)
		return fail_step(ret_failure, step, r);
	r = s->cannot_fail ? 1 : await(&c, stack, ret_failure);
	fd_close(&c.exec_fd);
	if (r < 0) {
		reap_hidden(c.pid, c.pidfd);
		fd_close(&c.pidfd);
		return ret_failure->error > 0 ? -ret_failure->error : -EIO;
	}
	*ret_child = c;
	return 0;
}
