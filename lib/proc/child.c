/*
 * The child between fork and exec: applies a struct mps_spawn by system calls alone (no allocation, no locks, no errno:
 * it may share our memory), and reports the step that failed. See signal-safety(7). What calls an entry in place of the
 * exec has memory of its own.
 */
#include "proc/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/limits.h"
#include "proc/close.h"
#include "proc/entry.h"
#include "proc/raw.h"

/* The handler is its first member. */
static const unsigned long ignoring_action[16] = { (unsigned long)SIG_IGN };

enum { KERNEL_SIGSET_SIZE = 8 };

static void tell(int error_fd, const struct mps_failure *what)
{
	while (error_fd >= 0 && raw3(SYS_write, error_fd, RAW(what), sizeof(*what)) == -EINTR)
		;
}

void mps_child_fail(int error_fd, enum mps_step step, int error, const char *text)
{
	struct mps_failure failure = { step, error, "" };

	for (size_t i = 0; text != NULL && text[i] != '\0' && i + 1 < sizeof(failure.text); i++)
		failure.text[i] = text[i];
	tell(error_fd, &failure);
	for (;;)
		raw1(SYS_exit_group, 127);
}

static void fail(const struct mps_spawn *s, int error_fd, enum mps_step step, long error)
	__attribute__((noreturn));
static void fail(const struct mps_spawn *s, int error_fd, enum mps_step step, long error)
{
	if (s->failure != NULL) {
		s->failure->step = (int32_t)step;
		s->failure->error = (int32_t)-error;
	}
	mps_child_fail(error_fd, step, (int)-error, NULL);
}

void mps_reset_signals(void)
{
	/* The kernel's struct sigaction: SIG_DFL. Larger than any machine's; here, where no page is touched for it. */
	const uint64_t default_action[8] = { 0 };

	for (int sig = 1; sig < NSIG; sig++) /* KILL and STOP say EINVAL */
		raw4(SYS_rt_sigaction, sig, RAW(default_action), 0, KERNEL_SIGSET_SIZE);
}

static void ignore_signals(uint64_t which)
{
	for (int sig = 1; which != 0; sig++, which >>= 1)
		if (which & 1)
			raw4(SYS_rt_sigaction, sig, RAW(ignoring_action), 0, KERNEL_SIGSET_SIZE);
}

static long enter_session(enum mps_session session)
{
	switch (session) {
	case MPS_SESSION_NEW:
		return raw0(SYS_setsid);
	case MPS_SESSION_GROUP:
		return raw2(SYS_setpgid, 0, 0);
	case MPS_SESSION_KEEP:
		return 0;
	}
	return 0;
}

/* Sets a soft limit, at most the hard one. 0 or -errno. */
static long set_soft_limit(int resource, rlim_t soft)
{
	struct rlimit r;
	long e = raw4(SYS_prlimit64, 0, resource, 0, RAW(&r));

	if (e < 0 || r.rlim_cur == soft)
		return e;
	r.rlim_cur = soft < r.rlim_max ? soft : r.rlim_max;
	return raw4(SYS_prlimit64, 0, resource, RAW(&r), 0);
}

static size_t add_number(char *to, size_t at, unsigned n)
{
	char digits[12];
	size_t i = 0;

	do
		digits[i++] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	while (i > 0)
		to[at++] = digits[--i];
	to[at] = '\0';
	return at;
}

/* Through the maker's folder, whose entries the kernel has at hand; a new process' own would have to be made. */
static long open_again(int fd, pid_t maker)
{
	char path[48] = "/proc/";
	size_t at = add_number(path, 6, (unsigned)maker);
	long flags = raw2(SYS_fcntl, fd, F_GETFL);

	if (flags < 0)
		return flags;
	memcpy(path + at, "/fd/", 4);
	add_number(path, at + 4, (unsigned)fd);
	return raw4(SYS_openat, AT_FDCWD, RAW(path),
		    (flags & (O_ACCMODE | O_APPEND)) | O_CLOEXEC | O_NOCTTY, 0);
}

/* A copy of fd at or above `floor`, so that filling the table cannot overwrite a source that is still needed. */
static long lift(int fd, int floor, unsigned flags, pid_t maker)
{
	if (flags & MPS_FD_REOPEN) {
		long again = open_again(fd, maker);

		if (again >= floor)
			return again;
		if (again >= 0)
			fd = (int)again;
	}
	return raw3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, floor);
}

/* dup2(2) is not everywhere; dup3 refuses to copy onto itself, which rows are never asked to do. */
static long copy_to(int fd, int child)
{
	return raw3(SYS_dup3, fd, child, 0);
}

/* What has its number already is not in the way of others, and is not moved. */
static bool is_in_place(const struct mps_fd *row)
{
	return row->fd == row->child && !(row->flags & MPS_FD_REOPEN);
}

/*
 * Fills the table and closes all else. Rows are lifted above the table only where a target would hit them; *error_fd
 * moves out of the way too.
 */
static long set_fds(const struct mps_spawn *s, int *error_fd, pid_t maker)
{
	int end = s->n_fds > 0 ? s->fds[s->n_fds - 1].child + 1 : 0;
	int moved[KEEPER_FDS_MAX];
	long r;

	if (s->n_fds > KEEPER_FDS_MAX)
		return -EMFILE;
	if (*error_fd >= 0 && *error_fd < end) {
		r = raw3(SYS_fcntl, *error_fd, F_DUPFD_CLOEXEC, end);
		if (r < 0)
			return r;
		*error_fd = (int)r;
	}
	for (size_t i = 0; i < s->n_fds; i++) {
		moved[i] = s->fds[i].fd;
		if (is_in_place(&s->fds[i]) ||
		    (moved[i] >= end && !(s->fds[i].flags & MPS_FD_REOPEN)))
			continue;
		r = lift(s->fds[i].fd, end, s->fds[i].flags, maker);
		if (r < 0)
			return r;
		moved[i] = (int)r;
	}
	for (size_t i = 0; i < s->n_fds; i++) {
		r = is_in_place(&s->fds[i]) ? raw3(SYS_fcntl, moved[i], F_SETFD, 0)
					    : copy_to(moved[i], s->fds[i].child);
		if (r < 0)
			return r;
	}
	close_all_but(s->fds, s->n_fds, *error_fd);
	return 0;
}

#ifdef SYS_setresuid32 /* where the others take 16 bits of a number */
enum { SET_GROUPS = SYS_setgroups32, SET_GID = SYS_setresgid32, SET_UID = SYS_setresuid32 };
#else
enum { SET_GROUPS = SYS_setgroups, SET_GID = SYS_setresgid, SET_UID = SYS_setresuid };
#endif

/* The calls themselves: libc's wrappers would change all threads, and the child is alone. */
static long set_user(const struct mps_spawn *s, enum mps_step *ret_step)
{
	long r = raw2(SET_GROUPS, (long)s->n_groups, RAW(s->groups));

	*ret_step = MPS_STEP_GROUPS;
	if (r < 0)
		return r;
	*ret_step = MPS_STEP_GID;
	r = raw3(SET_GID, s->gid, s->gid, s->gid);
	if (r < 0)
		return r;
	*ret_step = MPS_STEP_UID;
	return raw3(SET_UID, s->uid, s->uid, s->uid);
}

/* After the credentials, which clear it; then the parent may be gone already and nobody would tell. */
static long set_pdeathsig(int sig, pid_t parent)
{
	long r = raw2(SYS_prctl, PR_SET_PDEATHSIG, sig);

	if (r < 0)
		return r;
	return raw0(SYS_getppid) == parent ? 0 : -ESRCH;
}

/*
 * Before anything else: until then every change to our descriptors is one to the parent's. The parent is told when it
 * sleeps for it.
 */
static long take_files(int error_fd, _Atomic int *files)
{
	static const struct mps_failure done = { MPS_STEP_FILES, 0, "" };
	long r = raw3(SYS_close_range, MPS_LOW_FDS, -1, CLOSE_RANGE_UNSHARE);

	if (r < 0)
		return r;
	if (atomic_exchange(files, MPS_FILES_OWN) == MPS_FILES_AWAITED)
		tell(error_fd, &done);
	return 0;
}

/* What becomes of an entry's process must not differ by whether an exec has come between: exec(2) makes it dumpable. */
static void call_entry(const struct mps_spawn *s, int error_fd) __attribute__((noreturn));
static void call_entry(const struct mps_spawn *s, int error_fd)
{
	if (s->set_user)
		raw2(SYS_prctl, PR_SET_DUMPABLE, 1);
	if (environ != s->envp) /* a page that is not written is not copied */
		environ = (char **)s->envp;
	if (s->method == MPS_METHOD_FORKSERVER || s->function != NULL)
		mps_entry_spare_destructors();
	if (s->function != NULL)
		mps_entry_call(s->function, s->argv, error_fd);
	mps_entry_run(s->path, s->symbol, s->argv, error_fd);
}

/* A fresh image that does as much: it gets the pipe for failures across the exec. */
static long exec_host(const struct mps_spawn *s, int error_fd)
{
	char **argv = s->argv - MPS_ENTRY_ROOM;
	char number[12];

	add_number(number, 0, (unsigned)error_fd);
	argv[0] = (char *)"mpsup-host";
	argv[1] = (char *)"entry";
	argv[2] = number;
	argv[3] = (char *)s->path;
	argv[4] = (char *)s->symbol;
	raw3(SYS_fcntl, error_fd, F_SETFD, 0);
	return raw3(SYS_execve, RAW(s->host != NULL ? s->host : MPS_HOST_PATH), RAW(argv),
		    RAW(s->envp));
}

static void announce(int error_fd)
{
	const struct mps_failure born = { MPS_STEP_BORN, (int32_t)raw0(SYS_getpid), "" };

	tell(error_fd, &born);
}

/* All that takes no time. 0, or -errno with the step. */
static long set_up(const struct mps_spawn *s, const struct mps_birth *birth, int *error_fd,
		   enum mps_step *ret_step)
{
	long r;

	if (s->mark != 0)
		set_soft_limit(RLIMIT_RSS, s->mark);
	if (!s->signals_are_default)
		mps_reset_signals();
	/* Who looked for the family of a dead parent before now has not found it. */
	*ret_step = MPS_STEP_PDEATHSIG;
	if (s->needs_parent && raw0(SYS_getppid) != birth->parent)
		return -ESRCH;
	/* Before it leaves the group: where it stops between the two it is found by one or the other. */
	if (s->tag != 0)
		set_soft_limit(RLIMIT_LOCKS, s->tag); /* without it we find less, but it runs */
	*ret_step = MPS_STEP_SESSION;
	if ((r = enter_session(s->session)) < 0)
		return r;
	*ret_step = MPS_STEP_FD;
	if (!s->keep_fds && (r = set_fds(s, error_fd, birth->maker)) < 0)
		return r;
	/* Not before: the parent may have more open than the child may, and then no copy could be made. */
	*ret_step = MPS_STEP_LIMIT;
	if (s->nofile != 0 && (r = set_soft_limit(RLIMIT_NOFILE, s->nofile)) < 0)
		return r;
	if (s->set_user && (r = set_user(s, ret_step)) < 0)
		return r;
	*ret_step = MPS_STEP_PDEATHSIG;
	return s->pdeathsig != 0 ? set_pdeathsig(s->pdeathsig, birth->parent) : 0;
}

void mps_child_run(const struct mps_spawn *s, const struct mps_birth *birth)
{
	enum mps_step step = MPS_STEP_FD;
	int error_fd = birth->error_fd;
	long r = birth->files != NULL ? take_files(error_fd, birth->files) : 0;

	if (r == 0)
		r = set_up(s, birth, &error_fd, &step);
	/* So late that whoever waits for it mostly wakes up once for this and the end of the pipe. */
	if (birth->announces)
		announce(error_fd);
	if (r < 0)
		fail(s, error_fd, step, r);
	if (s->cwd != NULL && (r = raw1(SYS_chdir, RAW(s->cwd))) < 0)
		fail(s, error_fd, MPS_STEP_CHDIR, r);
	if (s->umask >= 0)
		raw1(SYS_umask, s->umask);
	ignore_signals(s->ignored);
	raw4(SYS_rt_sigprocmask, SIG_SETMASK, RAW(&s->blocked), 0, KERNEL_SIGSET_SIZE);
	if (s->symbol != NULL && s->method != MPS_METHOD_SPAWN)
		call_entry(s, error_fd);
	r = s->symbol != NULL ? exec_host(s, error_fd)
			      : raw3(SYS_execve, RAW(s->path), RAW(s->argv), RAW(s->envp));
	fail(s, error_fd, MPS_STEP_EXEC, r);
}
