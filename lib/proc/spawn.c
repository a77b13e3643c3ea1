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
#include <stdatomic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
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
	struct mps_birth b;
	_Atomic int files; /* enum mps_files */
};

static int born(void *user)
{
	struct birth *birth = user;
	if (atomic_load(&birth->files) != MPS_FILES_OWN) /* awaited already, perhaps */
		birth->b.files = &birth->files;
	mps_child_run(birth->s, &birth->b);
}

/* Everything that the child needs lies where its own table will begin with. */
static bool can_share_files(const struct birth *birth)
{
	if (!close_can_unshare() || birth->b.error_fd >= MPS_LOW_FDS || birth->s->keep_fds)
		return false;
	for (size_t i = 0; i < birth->s->n_fds; i++)
		if (birth->s->fds[i].fd >= MPS_LOW_FDS || birth->s->fds[i].child >= MPS_LOW_FDS)
			return false;
	return true;
}

/*
 * Before Linux 5.16 ("coredump: Limit coredumps to a single thread group") a child that dumps core, by a SIGQUIT just
 * before its exec, ends all who share its memory.
 */
static bool dumps_core_alone(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 5 || (major == 5 && minor >= 16));
}

/* -ENOSYS: not this way. */
static pid_t clone_shared(const struct birth *birth, void *stack, struct mps_child *ret)
{
	struct birth *copy = stack;
	int flags = CLONE_VM | CLONE_PIDFD | SIGCHLD, pidfd = -1;
	bool files = can_share_files(birth);
	pid_t pid;

	if (!RAW_IS_PURE || stack == NULL)
		return -ENOSYS;
	copy->s = birth->s;
	copy->b = birth->b;
	atomic_store(&copy->files, files ? MPS_FILES_SHARED : MPS_FILES_OWN);
	pid = clone(born, (char *)stack + MPS_STACK_SIZE, flags | (files ? CLONE_FILES : 0), copy,
		    &pidfd);
	if (pid < 0)
		return errno == EINVAL || errno == EPERM ? -ENOSYS : -errno;
	ret->pidfd = pidfd;
	ret->shares_memory = true;
	ret->error_fd = files ? birth->b.error_fd : -1;
	return pid;
}

bool mps_child_has_files(void *stack, bool about_to_wait)
{
	struct birth *birth = stack;
	int files = MPS_FILES_SHARED;

	if (about_to_wait)
		atomic_compare_exchange_strong(&birth->files, &files, MPS_FILES_AWAITED);
	else
		files = atomic_load(&birth->files);
	return files == MPS_FILES_OWN;
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

/*
 * For an entry: libc and the object shall find all in order, so nothing but its own fork() will do. The pidfd is that of
 * our child, which nobody reaps before we have it.
 */
static pid_t fork_copied(int *ret_pidfd)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid > 0)
		*ret_pidfd = pidfd_open_child(pid);
	return pid;
}

/* In the child of a copying start this does not return. */
static pid_t make_child(const struct birth *birth, void *stack, struct mps_child *ret)
{
	static signed char can_share = -1, have_pidfd = -1;
	pid_t pid = -ENOSYS;

	if (have_pidfd < 0) {
		have_pidfd = feature_allowed(FEATURE_PIDFD);
		can_share = have_pidfd && feature_allowed(FEATURE_CLONE_VM) && dumps_core_alone();
		close_prepare();
	}
	if (birth->s->symbol != NULL && birth->s->method == MPS_METHOD_FORK) {
		pid = fork_copied(&ret->pidfd);
		if (pid == 0)
			mps_child_run(birth->s, &birth->b);
		return pid;
	}
	if (can_share)
		pid = clone_shared(birth, stack, ret);
	if (pid != -ENOSYS)
		return pid;
	if (have_pidfd)
		pid = clone_copied(&ret->pidfd);
	if (pid == -ENOSYS) {
		have_pidfd = false;
		pid = _Fork();
		if (pid < 0)
			return -errno;
		if (pid > 0)
			ret->pidfd = pidfd_open_child(pid);
	}
	if (pid == 0)
		mps_child_run(birth->s, &birth->b);
	return pid;
}

int mps_spawn_start(const struct mps_spawn *s, void *stack, struct mps_child *ret_child,
		    enum mps_step *ret_step)
{
	struct mps_child child = MPS_CHILD_INIT;
	struct birth birth = { .s = s, .b = { .maker = getpid(), .parent = getpid() } };
	uint64_t all = UINT64_MAX, old;
	int ends[2] = { -1, -1 };

	if (!s->cannot_fail && pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		*ret_step = MPS_STEP_PIPE;
		return -errno;
	}
	birth.b.error_fd = ends[1];
	/* No handler of ours may run in the child, nor libc's own, which its sigfillset() leaves out. */
	if (!s->signals_are_default)
		raw4(SYS_rt_sigprocmask, SIG_SETMASK, RAW(&all), RAW(&old), sizeof(all));
	child.pid = make_child(&birth, stack, &child);
	if (!s->signals_are_default)
		raw4(SYS_rt_sigprocmask, SIG_SETMASK, RAW(&old), 0, sizeof(all));
	if (child.error_fd < 0)
		fd_close(&ends[1]);
	if (child.pid < 0) {
		fd_close(&ends[0]);
		*ret_step = MPS_STEP_FORK;
		return child.pid;
	}
	child.exec_fd = ends[0];
	*ret_child = child;
	return 0;
}

int mps_spawn_result(int exec_fd, struct mps_failure *ret_failure)
{
	struct mps_failure failure;
	ssize_t n;

	/* A failure may stand right behind the word that the table of descriptors is its own. */
	do
		n = read(exec_fd, &failure, sizeof(failure));
	while ((n < 0 && errno == EINTR) ||
	       (n == sizeof(failure) && failure.step == MPS_STEP_FILES));
	if (n == 0)
		return 1;
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n != sizeof(failure))
		failure = (struct mps_failure){ MPS_STEP_NONE, EIO, "" };
	failure.text[sizeof(failure.text) - 1] = '\0';
	*ret_failure = failure;
	return failure.step == MPS_STEP_BORN ? 2 : -1;
}

/*
 * CLONE_PARENT, which libc's fork() does not know: one fork where a double fork would be two, and the child falls to the
 * thread that started us, as if it had been started there. Its exit signal is that of ours (clone(2)). CLONE_CHILD_SETTID
 * does for libc's cached thread id what fork() does; where the kernel cannot tell where that lies (it is built without
 * CONFIG_CHECKPOINT_RESTORE) it stays stale. Nor does the kernel copy where the robust mutexes are that a thread holds
 * (set_robust_list(2)): without that nobody would hear of a child that dies holding one.
 */
static pid_t clone_sibling(void)
{
	struct clone_args args;
	int *tid = NULL;
	void *robust = NULL;
	size_t size = 0;
	pid_t pid;

	memset(&args, 0, sizeof(args));
	args.flags = CLONE_PARENT;
	if (prctl(PR_GET_TID_ADDRESS, &tid) == 0 && tid != NULL) {
		args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
		args.child_tid = (uintptr_t)tid;
	}
	syscall(SYS_get_robust_list, 0, &robust, &size);
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0 && robust != NULL)
		raw2(SYS_set_robust_list, RAW(robust), (long)size);
	return pid;
}

pid_t mps_fork_sibling(void)
{
	sigset_t all, old;
	pid_t pid;

	close_prepare();
	/* What was loaded may have handlers. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid = clone_sibling();
	if (pid == 0)
		return 0;
	pid = pid < 0 ? -errno : pid;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return pid;
}
