/*
 * Making the child: with a pidfd from birth where the kernel can (clone with CLONE_PIDFD, Linux 5.2), sharing our memory
 * where the caller lends a stack, else by fork and pidfd_open.
 * What the child then does is child.c's; reaping is the caller's.
 */
#include "proc/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/feature.h"
#include "proc/close.h"
#include "proc/pidfd.h"
#include "proc/raw.h"

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

/* What the child needs to know; lies at the bottom of its stack. */
struct birth {
	const struct mps_spawn *s;
	int error_fd;
	pid_t parent;
};

static int born(void *user)
{
	const struct birth *birth = user;

	mps_child_run(birth->s, birth->error_fd, birth->parent);
}

/* -ENOSYS: not this way. */
static pid_t clone_shared(const struct birth *birth, void *stack, int *ret_pidfd)
{
	struct birth *copy = stack;
	pid_t pid;
	int pidfd = -1;

	if (!RAW_IS_PURE || stack == NULL || !birth->s->signals_are_default)
		return -ENOSYS;
	*copy = *birth;
	pid = clone(born, (char *)stack + MPS_STACK_SIZE, CLONE_VM | CLONE_PIDFD | SIGCHLD, copy,
		    &pidfd);
	if (pid < 0)
		return errno == EINVAL || errno == EPERM ? -ENOSYS : -errno;
	*ret_pidfd = pidfd;
	return pid;
}

/*
 * fork() that also makes a pidfd. Like any raw clone it leaves libc's cached thread id stale in the child, which only
 * makes system calls until it execs.
 */
static pid_t clone_copied(int *ret_pidfd)
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
		return errno == EINVAL || errno == EPERM ? -ENOSYS : -errno;
	*ret_pidfd = pidfd;
	return pid;
}

/* In the child of a copying start this does not return. */
static pid_t make_child(const struct birth *birth, void *stack, int *ret_pidfd, bool *ret_shared)
{
	static signed char can_share = -1, have_pidfd = -1;
	pid_t pid = -ENOSYS;

	if (have_pidfd < 0) {
		have_pidfd = feature_allowed(FEATURE_PIDFD);
		can_share = have_pidfd && feature_allowed(FEATURE_CLONE_VM);
		close_prepare();
	}
	*ret_pidfd = -1;
	if (can_share)
		pid = clone_shared(birth, stack, ret_pidfd);
	*ret_shared = pid > 0;
	if (pid != -ENOSYS)
		return pid;
	if (have_pidfd)
		pid = clone_copied(ret_pidfd);
	if (pid == -ENOSYS) {
		have_pidfd = false;
		pid = _Fork();
		if (pid < 0)
			return -errno;
		if (pid > 0)
			*ret_pidfd = pidfd_open_child(pid);
	}
	if (pid == 0)
		mps_child_run(birth->s, birth->error_fd, birth->parent);
	return pid;
}

int mps_spawn_start(const struct mps_spawn *s, void *stack, struct mps_child *ret_child,
		    bool *ret_shared, enum mps_step *ret_step)
{
	struct birth birth = { .s = s, .parent = getpid() };
	sigset_t all, old;
	int ends[2], pidfd;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		*ret_step = MPS_STEP_PIPE;
		return -errno;
	}
	birth.error_fd = ends[1];
	/* No handler of ours may run in the child. */
	sigfillset(&all);
	if (!s->signals_are_default)
		sigprocmask(SIG_SETMASK, &all, &old);
	pid = make_child(&birth, stack, &pidfd, ret_shared);
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
