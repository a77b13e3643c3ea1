/*
 * Starting a tracker, from within a program that knows nothing of it: the program must never see a child that it has not
 * started, neither by SIGCHLD nor by wait(2). So the tracker is the child of a child that has no exit signal, which only
 * those who ask for it (__WCLONE) see, and which is over before we return. Both share our memory, so that nothing is copied
 * however large we are.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ipc/host.h"
#include "ipc/tracker.h"
#include "proc/close.h"
#include "proc/raw.h"
#include "proc/spawn.h"

#define READY_FD 3
enum { STACK = 32 << 10, LIFTED = 10, PATIENCE_MS = 10000 };

struct start {
	char *argv[6];
	char *envp[2];
	int null, ready;
	char *stacks;
};

/* ---------------------------------------------------------------------------------------------------- children */

static int be_tracker(void *user)
{
	static const struct mps_fd fds[] = {
		{ .child = 0 }, { 1, 0, 0 }, { 2, 0, 0 }, { 3, 0, 0 }
	};
	const struct start *s = user;
	sigset_t none;
	int32_t r;

	setsid();
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		dup2(s->null, fd);
	dup2(s->ready, READY_FD);
	close_all_but(fds, ARRAY_SIZE(fds), -1);
	mps_reset_signals();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (chdir("/") == 0)
		execve(s->argv[0], s->argv, s->envp);
	r = -errno;
	_exit(write(READY_FD, &r, sizeof(r)) < 0);
}

/* The sanitizers know nothing of a second process in the same memory. */
enum { SHARED = RAW_IS_WATCHED ? 0 : CLONE_VM | CLONE_VFORK };

static int be_between(void *user)
{
	struct start *s = user;

	return clone(be_tracker, s->stacks + 2 * STACK, SHARED | SIGCHLD, s) < 0;
}

/* 0 or -errno. */
static int make_children(struct start *s)
{
	sigset_t all, old;
	int r = 0, status = 0;
	pid_t pid;

	close_prepare();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = clone(be_between, s->stacks + STACK, SHARED, s);
	if (pid < 0)
		r = -errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	while (pid > 0 && waitpid(pid, &status, __WCLONE) < 0 && errno == EINTR)
		;
	return r < 0 || status == 0 ? r : -EAGAIN;
}

/* ------------------------------------------------------------------------------------------------------- start */

static int lift(int fd)
{
	int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, LIFTED), error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
	return high;
}

static int read_answer(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int32_t answer;
	int r;

	do
		r = poll(&p, 1, PATIENCE_MS);
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return r < 0 ? -errno : -ETIMEDOUT;
	/* Its end without a word: somebody has killed it. */
	return read(fd, &answer, sizeof(answer)) == sizeof(answer) ? answer : -ECONNRESET;
}

static int run(struct start *s)
{
	AUTO_CLOSE int null = -1, answer = -1, ready = -1;
	int ends[2], r;

	null = lift(open("/dev/null", O_RDWR | O_CLOEXEC));
	if (null < 0 || pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	answer = lift(ends[0]);
	ready = lift(ends[1]);
	if (answer < 0 || ready < 0)
		return -EMFILE;
	s->null = null;
	s->ready = ready;
	s->stacks = malloc(2 * STACK);
	if (s->stacks == NULL)
		return -ENOMEM;
	r = make_children(s);
	free(s->stacks);
	fd_close(&ready);
	return r < 0 ? r : read_answer(answer);
}

static int start(const char *dir)
{
	AUTO_FREE char *host = NULL, *no = NULL;
	char pid[16], fd[16];
	const char *features = getenv("MPSUP_NO");
	struct start s = { 0 };
	int r = host_path(&host);

	if (r < 0)
		return r;
	if (features != NULL && asprintf(&no, "MPSUP_NO=%s", features) < 0)
		return -ENOMEM;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(fd, sizeof(fd), "%d", READY_FD);
	s = (struct start){
		.argv = { host, (char *)"tracker", (char *)dir, pid, fd, NULL },
		.envp = { no, NULL },
	};
	return run(&s);
}

/* ------------------------------------------------------------------------------------------------------ folder */

/* A folder of ours that is nobody else's to write to. 0 or -errno. */
static int make_folder(const char *path, mode_t mode, mode_t forbidden)
{
	struct stat st;

	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return -errno;
	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & forbidden) != 0)
		return -EPERM;
	return 0;
}

static int make_folders(char *dir)
{
	char *slash = strrchr(dir, '/');
	int r;

	*slash = '\0';
	/* As root it is that of supervisors too, and others' way to their trackers leads through it. */
	r = make_folder(dir, geteuid() == 0 ? 0711 : 0700, 022);
	*slash = '/';
	return r < 0 ? r : make_folder(dir, 0700, 077);
}

/* Held: nobody else starts one, and none ends. The descriptor or -errno; -ENOENT: it was removed meanwhile. */
static int hold(const char *dir)
{
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat a, b;

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	if (fstat(fd, &a) < 0 || lstat(dir, &b) < 0 || a.st_ino != b.st_ino || a.st_dev != b.st_dev)
		return -ENOENT;
	return TAKE_FD(fd);
}

static bool is_somebody_there(const char *socket)
{
	AUTO_CLOSE int fd = fd_connect_unix(SOCK_SEQPACKET, socket);

	return fd >= 0;
}

int tracker_revive(const char *socket)
{
	AUTO_FREE char *dir = strndup(socket, (size_t)(strrchr(socket, '/') - socket));
	int held, r;

	if (dir == NULL)
		return -ENOMEM;
	do {
		r = make_folders(dir);
		held = r < 0 ? r : hold(dir);
	} while (held == -ENOENT && r == 0);
	if (held < 0)
		return held;
	r = is_somebody_there(socket) ? 0 : start(dir);
	/* A child that another thread has made just now has the descriptor, too. */
	flock(held, LOCK_UN);
	close(held);
	return r;
}
