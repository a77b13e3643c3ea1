/*
 * The fork: with a pidfd from birth where the kernel can (clone3, Linux 5.3), else fork and pidfd_open.
 * What the child then does is child.c's; reaping is the caller's.
 */
#include "proc/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/feature.h"
#include "proc/pidfd.h"

static const char *const words[N_MPS_STEPS] = {
#define X(name, word) [MPS_STEP_##name] = word,
	MPS_STEPS(X)
#undef X
};

const char *mps_step_word(enum mps_step step)
{
	return (unsigned)step < N_MPS_STEPS ? words[step] : words[MPS_STEP_NONE];
}

bool mps_error_passes(int error)
{
	static const int passing[] = { EAGAIN, ENOMEM, EMFILE, ENFILE,	ETXTBSY,
				       ENOSPC, EINTR,  EBUSY,  ENOBUFS, EDQUOT };

	for (size_t i = 0; i < ARRAY_SIZE(passing); i++)
		if (passing[i] == error)
			return true;
	return false;
}

/*
 * fork() that also makes a pidfd. Like a raw clone it leaves libc's cached thread id stale in the child, which only
 * makes system calls until it execs. -ENOSYS and -EPERM (seccomp profiles) mean: use the plain one.
 */
static pid_t fork_pidfd(int *ret_pidfd)
{
	struct clone_args args;
	pid_t pid;
	int pidfd = -1;

	memset(&args, 0, sizeof(args));
	args.flags = CLONE_PIDFD;
	args.pidfd = (uintptr_t)&pidfd;
	args.exit_signal = SIGCHLD;
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return -errno;
	*ret_pidfd = pidfd;
	return pid;
}

static pid_t fork_child(int *ret_pidfd)
{
	static signed char have_clone3 = -1;
	pid_t pid;

	if (have_clone3 < 0)
		have_clone3 = feature_allowed(FEATURE_PIDFD);
	*ret_pidfd = -1;
	if (have_clone3) {
		pid = fork_pidfd(ret_pidfd);
		if (pid != -ENOSYS && pid != -EPERM && pid != -EINVAL)
			return pid;
		have_clone3 = false;
	}
	pid = _Fork();
	if (pid < 0)
		return -errno;
	if (pid > 0)
		*ret_pidfd = pidfd_open_child(pid);
	return pid;
}

int mps_spawn_start(const struct mps_spawn *s, struct mps_child *ret_child, enum mps_step *ret_step)
{
	sigset_t all, old;
	pid_t parent = getpid(), pid;
	int ends[2], pidfd;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		*ret_step = MPS_STEP_PIPE;
		return -errno;
	}
	/* No handler of ours may run in the child. */
	sigfillset(&all);
	if (!s->signals_are_default)
		sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork_child(&pidfd);
	if (pid == 0)
		mps_child_run(s, ends[1], parent);
	if (!s->signals_are_default)
		sigprocmask(SIG_SETMASK, &old, NULL);
	fd_close(&ends[1]);
	if (pid < 0) {
		fd_close(&ends[0]);
		*ret_step = MPS_STEP_FORK;
		return pid;
	}
	*ret_child = (struct mps_child){ pid, pidfd, ends[0] };
	return 0;
}

int mps_spawn_result(int exec_fd, struct mps_failure *ret_failure)
{
	struct mps_failure failure;
	ssize_t n;

	do
		n = read(exec_fd, &failure, sizeof(failure));
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return 1;
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n != sizeof(failure))
		failure = (struct mps_failure){ MPS_STEP_NONE, EIO };
	*ret_failure = failure;
	return -1;
}
