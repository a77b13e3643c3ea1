/*
 * The supervisor as the keeper sees it: a child that is started like any other, watched, and whose death means something.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/internal.h"
#include "proc/pidfd.h"

/* The supervisor is started like any worker; it finds its end of the socketpair on KEEPER_SUPERVISOR_FD. */
int boss_start(struct keeper *k, enum mps_step *ret_step)
{
	int ends[2], r;
	struct mps_fd fds[] = {
		{ 0, 0, 0 },
		{ 1, 1, 0 },
		{ 2, 2, 0 },
		{ KEEPER_SUPERVISOR_FD, -1, 0 },
		{ KEEPER_READY_FD, k->options->ready_fd, 0 },
	};
	struct mps_spawn spawn = {
		.path = k->options->argv[0],
		.argv = k->options->argv,
		.envp = environ,
		.fds = fds,
		.n_fds = k->options->ready_fd >= 0 ? 5 : 4,
		.session = MPS_SESSION_NEW,
		.umask = -1,
		.nofile = k->nofile, /* workers shall see what we were given, not what we need */
		.signals_are_default = true,
	};
	struct mps_child child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		*ret_step = MPS_STEP_PIPE;
		return -errno;
	}
	fds[3].fd = ends[1];
	r = mps_spawn_start(&spawn, NULL, &child, ret_step);
	fd_close(&ends[1]);
	if (r < 0) {
		fd_close(&ends[0]);
		return r;
	}
	if (k->options->ready_fd >=
	    0) /* who waits for it must see it closed when the supervisor is gone */
		close(k->options->ready_fd);
	k->exec_fd = child.exec_fd; /* read when it exits at once */
	k->sock = ends[0];
	k->supervisor = child.pid;
	k->supervisor_pidfd = child.pidfd;
	k->have_pidfd = child.pidfd >= 0;
	keeper_watch(k, k->sock, EPOLLIN, WATCH_SOCK, NO_SLOT, 0);
	if (child.pidfd >= 0)
		keeper_watch(k, child.pidfd, EPOLLIN, WATCH_SUPERVISOR, NO_SLOT, 0);
	return 0;
}

int boss_fail(const struct keeper *k, const char *what, int error)
{
	AUTO_BUF text = BUF_INIT;

	buf_addf(&text, "the keeper cannot start: %s: %s", what, strerror(error));
	if (!text.failed)
		k->options->note(text.p);
	return 1;
}

void boss_on_gone(struct keeper *k)
{
	AUTO_BUF text = BUF_INIT;
	struct mps_failure failure;

	k->supervisor = 0;
	keeper_unwatch(k, &k->supervisor_pidfd);
	/* Its last words, EXIT among them, may still lie in the socket. */
	for (int i = 0; i < 1000 && k->sock >= 0 && dispatch_read(k); i++)
		;
	if (mps_spawn_result(k->exec_fd, &failure) < 0)
		boss_fail(k, k->options->argv[0], failure.error);
	fd_close(&k->exec_fd);
	if (k->finishing)
		return;
	if (k->supervisor_code == CLD_EXITED) {
		end_begin(k, k->supervisor_status ? (int)k->supervisor_status : 1);
		return;
	}
	buf_addf(&text, "the supervisor was ended by signal %u; ending all its programs",
		 k->supervisor_status);
	if (!text.failed)
		k->options->note(text.p);
	end_begin(k, 1);
}

void boss_on_exit(struct keeper *k)
{
	siginfo_t si = { 0 };

	if (waitid(P_PID, (id_t)k->supervisor, &si, WEXITED | WNOHANG) < 0 || si.si_pid == 0)
		return;
	k->supervisor_code = (uint32_t)si.si_code;
	k->supervisor_status = (uint32_t)si.si_status;
	boss_on_gone(k);
}

void boss_signal(struct keeper *k, int sig)
{
	if (k->supervisor > 0)
		pidfd_signal(k->supervisor_pidfd, k->supervisor, sig);
	else if (k->finishing && (sig == SIGTERM || sig == SIGINT || sig == SIGQUIT))
		end_hard(k);
}
