/*
 * The child between fork and exec: applies a struct mps_spawn by system calls alone (no allocation, no locks, nothing
 * that is not async-signal-safe), and reports the step that failed. See signal-safety(7).
 */
#include "proc/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/limits.h"
#include "proc/close.h"
#include "proc/tag.h"

static void fail(int error_fd, enum mps_step step) __attribute__((noreturn));
static void fail(int error_fd, enum mps_step step)
{
	struct mps_failure failure = { step, errno };
	ssize_t n;

	do
		n = write(error_fd, &failure, sizeof(failure));
	while (n < 0 && errno == EINTR);
	_exit(127);
}

static void reset_signals(void)
{
	struct sigaction dfl;

	memset(&dfl, 0, sizeof(dfl));
	dfl.sa_handler = SIG_DFL;
	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL); /* KILL, STOP and libc's own two say EINVAL */
}

static bool enter_session(enum mps_session session)
{
	switch (session) {
	case MPS_SESSION_NEW:
		return setsid() >= 0;
	case MPS_SESSION_GROUP:
		return setpgid(0, 0) == 0;
	case MPS_SESSION_KEEP:
		return true;
	}
	return true;
}

static bool set_limits(const struct mps_spawn *s)
{
	struct rlimit r;

	if (s->tag != 0)
		tag_set(s->tag);
	if (s->nofile == 0 || getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur == s->nofile)
		return true;
	r.rlim_cur = s->nofile < r.rlim_max ? s->nofile : r.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &r) == 0;
}

/* "/proc/self/fd/N" without snprintf, which is not async-signal-safe. */
static int open_again(int fd, int flags)
{
	char path[32] = "/proc/self/fd/", digits[12];
	size_t at = strlen(path), n = 0;

	do
		digits[n++] = (char)('0' + fd % 10);
	while ((fd /= 10) > 0);
	while (n > 0)
		path[at++] = digits[--n];
	path[at] = '\0';
	return open(path, flags | O_CLOEXEC | O_NOCTTY);
}

/* A copy of fd at or above `floor`, so that filling the table cannot overwrite a source that is still needed. */
static int lift(int fd, int floor, unsigned flags)
{
	if (flags & MPS_FD_REOPEN) {
		int mode = fcntl(fd, F_GETFL);
		int again = mode < 0 ? -1 : open_again(fd, mode & (O_ACCMODE | O_APPEND));

		if (again >= floor)
			return again;
		if (again >= 0)
			fd = again;
	}
	return fcntl(fd, F_DUPFD_CLOEXEC, floor);
}

/*
 * Fills the table and closes all else. Rows are lifted above the table only where a later target would hit them;
 * *error_fd moves out of the way too.
 */
static bool set_fds(const struct mps_spawn *s, int *error_fd)
{
	int end = s->n_fds > 0 ? s->fds[s->n_fds - 1].child + 1 : 0;
	int moved[KEEPER_FDS_MAX];

	if (s->n_fds > KEEPER_FDS_MAX) {
		errno = EMFILE;
		return false;
	}
	if (*error_fd < end && (*error_fd = fcntl(*error_fd, F_DUPFD_CLOEXEC, end)) < 0)
		return false;
	for (size_t i = 0; i < s->n_fds; i++) {
		moved[i] = s->fds[i].fd;
		if (moved[i] >= end && !(s->fds[i].flags & MPS_FD_REOPEN))
			continue;
		moved[i] = lift(s->fds[i].fd, end, s->fds[i].flags);
		if (moved[i] < 0)
			return false;
	}
	for (size_t i = 0; i < s->n_fds; i++)
		if (dup2(moved[i], s->fds[i].child) < 0)
			return false;
	close_all_but(s->fds, s->n_fds, *error_fd);
	return true;
}

/* The system calls themselves: libc's wrappers would ask all threads, and between fork and exec there is only one. */
static enum mps_step set_user(const struct mps_spawn *s)
{
	if (syscall(SYS_setgroups, s->n_groups, s->groups) < 0)
		return MPS_STEP_GROUPS;
	if (syscall(SYS_setresgid, s->gid, s->gid, s->gid) < 0)
		return MPS_STEP_GID;
	if (syscall(SYS_setresuid, s->uid, s->uid, s->uid) < 0)
		return MPS_STEP_UID;
	return MPS_STEP_NONE;
}

/* After the credentials, which clear it; then the parent may be gone already and nobody would tell. */
static bool set_pdeathsig(int sig, pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, sig) < 0)
		return false;
	if (getppid() != parent) {
		errno = ESRCH;
		return false;
	}
	return true;
}

void mps_child_run(const struct mps_spawn *s, int error_fd, pid_t parent)
{
	enum mps_step step;
	sigset_t none;

	if (!s->signals_are_default)
		reset_signals();
	if (!enter_session(s->session))
		fail(error_fd, MPS_STEP_SESSION);
	if (!set_limits(s))
		fail(error_fd, MPS_STEP_LIMIT);
	if (!set_fds(s, &error_fd))
		fail(error_fd, MPS_STEP_FD);
	if (s->set_user && (step = set_user(s)) != MPS_STEP_NONE)
		fail(error_fd, step);
	if (s->pdeathsig != 0 && !set_pdeathsig(s->pdeathsig, parent))
		fail(error_fd, MPS_STEP_PDEATHSIG);
	if (s->cwd != NULL && chdir(s->cwd) < 0)
		fail(error_fd, MPS_STEP_CHDIR);
	if (s->umask >= 0)
		umask((mode_t)s->umask);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(s->path, s->argv, s->envp);
	fail(error_fd, MPS_STEP_EXEC);
}
