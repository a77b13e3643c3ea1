/*
 * The forkserver of a program: a fresh image of it that has run the preload function and forks for each start. It is our
 * child, and so is what it forks (CLONE_PARENT); it knows nobody but us, by the socket that it was started with.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "ipc/args.h"
#include "ipc/family.h"
#include "ipc/tracker.h"
#include "proc/forkserver.h"
#include "proc/pidfd.h"
#include "proc/spawn.h"
#include "proc/tag.h"
#include "proc/tree.h"

const char forker_role[] = "--mpsup-forkserver";

static struct {
	int sock; /* -1 = there is none */
	pid_t pid;
	int pidfd;
	bool by_main;
	struct stat cwd;
	unsigned asking; /* starts that have been asked for and not answered */
	pid_t *spares;	 /* children that wait for a start, or did; the last is the one that does */
	size_t n_spares, cap;
	bool has_unnamed; /* perhaps: spares that nobody knows, of a server that is gone */
} server = { .sock = -1, .pidfd = -1 };

static mps_target *preload;
static bool was_started;

int mps_set_forkserver_preload(mps_target *function)
{
	int r = 0;

	servers_lock();
	if (was_started)
		r = -EALREADY;
	else if (function != NULL && target_name(function) == NULL)
		r = -ENOENT;
	else
		preload = function;
	servers_unlock();
	return r;
}

char *forker_cwd(void)
{
	struct stat st;

	if (stat(".", &st) == 0 && st.st_dev == server.cwd.st_dev && st.st_ino == server.cwd.st_ino)
		return NULL;
	return getcwd(NULL, 0);
}

/* ---------------------------------------------------------------------------------------------------- spares */

/* All that have been told. Without memory one is a zombie until we end, if it comes to nothing. */
static void hear_of_spares(void)
{
	struct forkserver_spare spare;

	while (server.sock >= 0 &&
	       recv(server.sock, &spare, sizeof(spare), MSG_DONTWAIT) == sizeof(spare)) {
		if (server.n_spares == server.cap) {
			pid_t *bigger =
				reallocarray(server.spares, server.cap * 2 + 8, sizeof(*bigger));

			if (bigger == NULL)
				continue;
			server.spares = bigger;
			server.cap = server.cap * 2 + 8;
		}
		server.spares[server.n_spares++] = spare.pid;
	}
}

/* It has become what a start has asked for, or is no more. What it said of itself came before that. */
static void spare_is_gone(pid_t pid)
{
	size_t n = 0;

	hear_of_spares();
	for (size_t i = 0; i < server.n_spares; i++)
		if (server.spares[i] != pid)
			server.spares[n++] = server.spares[i];
	server.n_spares = n;
}

/* Unless somebody has reaped it; if it is of use only when it has ended. False: it has not. */
static bool end_spare(pid_t pid, bool is_of_use)
{
	siginfo_t si = { .si_pid = 0 };

	if (waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG) < 0 || si.si_pid != 0)
		return true;
	if (is_of_use)
		return false;
	kill(pid, SIGKILL); /* ours, as it is not reaped */
	reap_hidden(pid, -1);
	return true;
}

/* Of those that are not born all but so many of the last are of no use: while nobody waits for one to be born. */
static void end_spares(size_t but)
{
	size_t left = 0;

	if (server.asking > 0)
		return;
	for (size_t i = 0; i < server.n_spares; i++)
		if (!end_spare(server.spares[i], i + but >= server.n_spares))
			server.spares[left++] = server.spares[i];
	server.n_spares = left;
}

/*
 * The server is gone. Who it has made until then takes what was asked for last, or sees the end of the socket and ends, but
 * says before who it is: that all have done so is seen by the end of it on our side.
 */
static void hear_the_last(void)
{
	enum { PATIENCE_S = 2 };
	struct mps_time until = until_of(PATIENCE_S * MPS_NS_PER_S);
	struct pollfd end = { .fd = server.sock };

	if (server.sock < 0)
		return;
	shutdown(server.sock, SHUT_WR);
	do
		hear_of_spares();
	while (poll(&end, 1, 0) == 0 && wait_readable(server.sock, until));
	hear_of_spares();
}

static void forget(void)
{
	hear_the_last();
	end_spares(0);
	fd_close(&server.sock);
	fd_close(&server.pidfd);
	server.pid = 0;
}

void forker_forget(bool closes)
{
	if (closes) {
		fd_close(&server.sock);
		fd_close(&server.pidfd);
	}
	server.sock = server.pidfd = -1;
	server.pid = 0;
	server.n_spares = 0;
	server.asking = 0;
	server.has_unnamed = false;
	was_started = false;
}

/* It has nothing to end in good order but what the preload function has made. */
void forker_end(void)
{
	enum { PATIENCE_S = 2 };

	if (server.pid == 0)
		return;
	hear_of_spares();
	shutdown(server.sock, SHUT_RDWR);
	if (server.pidfd < 0 || !wait_readable(server.pidfd, until_of(PATIENCE_S * MPS_NS_PER_S)))
		pidfd_signal(server.pidfd, server.pid, SIGKILL);
	reap_hidden(server.pid, server.pidfd);
	forget();
}

/* ----------------------------------------------------------------------------------------------- starting it */

static int fail_text(struct mps_failure *ret_failure, int error, const char *text)
{
	fail_step(ret_failure, MPS_STEP_SERVER, error);
	snprintf(ret_failure->text, sizeof(ret_failure->text), "%.*s",
		 (int)sizeof(ret_failure->text) - 1, text);
	return error;
}

/* What it says, or what has become of it. */
static int hear(struct mps_failure *ret_failure)
{
	struct pollfd p = { .fd = server.sock, .events = POLLIN };
	struct forkserver_word word;
	ssize_t n;

	do {
		poll(&p, 1, -1);
		n = recv(server.sock, &word, sizeof(word), MSG_DONTWAIT);
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n == sizeof(word) && !word.failed)
		return 0;
	word.text[sizeof(word.text) - 1] = '\0';
	return fail_text(ret_failure, -ECANCELED,
			 n == sizeof(word) ? word.text : "it has ended while it was loading");
}

static int start_image(int sock, struct mps_failure *ret_failure)
{
	char *argv[] = { target_program(), (char *)forker_role,
			 (char *)(preload != NULL ? target_name(preload) : ""), NULL };
	const struct mps_fd fds[] = {
		{ 0, 0, 0 }, { 1, 1, 0 }, { 2, 2, 0 }, { FORKSERVER_FD, sock, 0 }
	};
	AUTO_FREE char **env = tracker_environ(environ);
	struct mps_spawn s = {
		.path = MPS_HOST_PATH,
		.argv = argv,
		.envp = env != NULL ? env : environ,
		.session = MPS_SESSION_KEEP,
		.umask = -1,
		.mark = lineage_mark(0, false),
		.needs_parent = true,
		.pdeathsig = is_main_thread() ? SIGKILL : 0,
	};
	struct mps_fd open[ARRAY_SIZE(fds)];
	struct mps_child child;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fcntl(fds[i].fd, F_GETFD) >= 0)
			open[s.n_fds++] = fds[i];
	s.fds = open;
	r = launch(&s, &child, ret_failure);
	if (r < 0)
		return r;
	server.pid = child.pid;
	server.pidfd = child.pidfd;
	server.by_main = is_main_thread();
	lift_fd(&server.pidfd);
	if (stat(".", &server.cwd) < 0)
		server.cwd.st_ino = 0;
	return 0;
}

static int start(struct mps_failure *ret_failure)
{
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return fail_step(ret_failure, MPS_STEP_SERVER, -errno);
	was_started = true;
	r = start_image(ends[1], ret_failure);
	close(ends[1]);
	server.sock = ends[0];
	lift_fd(&server.sock);
	if (r == 0)
		r = hear(ret_failure);
	if (r < 0) {
		forker_end();
		forget();
	}
	return r;
}

/*
 * Of a server that was killed: one that was killed too, before it could say who it is, is known by the server's mark, which
 * it would have changed for its own. While somebody waits for a birth it may be that one's: it is looked for later, when
 * there may be another server, all of whose children name themselves.
 */
static void reap_unnamed(void)
{
	uint64_t mark = lineage_mark(0, false);
	struct pids list = { 0 };

	server.has_unnamed = server.asking > 0;
	if (server.has_unnamed)
		return;
	children_read(-1, getpid(), &list);
	for (size_t i = 0; i < list.n; i++)
		if (list.p[i] != server.pid && mark_get(list.p[i]) == mark &&
		    end_spare(list.p[i], server.pid != 0))
			spare_is_gone(list.p[i]);
	pids_fini(&list);
}

/* Has it died? Its socket is closed a moment before it can be reaped. */
static void look_after(void)
{
	struct pollfd p = { .fd = server.sock };
	siginfo_t si = { .si_pid = 0 };

	if (server.has_unnamed)
		reap_unnamed();
	if (server.pid == 0)
		return;
	poll(&p, 1, 0);
	if (p.revents & (POLLHUP | POLLERR))
		reap_hidden(server.pid, server.pidfd);
	else if (waitid(server.pidfd >= 0 ? P_PIDFD : P_PID,
			(id_t)(server.pidfd >= 0 ? server.pidfd : server.pid), &si,
			WEXITED | WNOHANG) == 0 &&
		 si.si_pid == 0) {
		hear_of_spares();
		end_spares(1);
		return;
	}
	forget();
	reap_unnamed();
}

/* -------------------------------------------------------------------------------------------------- asking it */

static int send_request(const struct mps_spawn *s, int error_fd)
{
	struct mps_spawn asked = *s;

	asked.mark = 0; /* it has the server's, and then its own (lineage.c) */
	/* Its parent is the thread that has started the server, whose end shall not be taken for ours. */
	if (!server.by_main)
		asked.pdeathsig = 0;
	return forkserver_ask(server.sock, &asked, error_fd);
}

/*
 * The child says that it is there, then that it runs, by the end of the pipe. -ESRCH: nobody has come. *ret_pid, if not 0, is
 * that of one who has, and is reaped on failure.
 */
static int await_birth(int fd, pid_t *ret_pid, struct mps_child *ret_child,
		       struct mps_failure *ret_failure)
{
	struct mps_child c = MPS_CHILD_INIT;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int r;

	do {
		poll(&p, 1, -1);
		r = mps_spawn_result(fd, ret_failure);
		if (r == 2) {
			c.pid = ret_failure->error;
			c.pidfd = pidfd_open_child(c.pid);
			*ret_pid = c.pid;
		}
	} while (r == 0 || r == 2);
	if (r < 0) {
		if (c.pid > 0)
			reap_hidden(c.pid, c.pidfd);
		fd_close(&c.pidfd);
		return ret_failure->error > 0 ? -ret_failure->error : -EIO;
	}
	if (c.pid == 0)
		return fail_step(ret_failure, MPS_STEP_SERVER, -ESRCH);
	*ret_child = c;
	return 0;
}

static int ask(const struct mps_spawn *s, struct mps_child *ret_child,
	       struct mps_failure *ret_failure)
{
	int ends[2], r = 0;
	pid_t pid = 0;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return fail_step(ret_failure, MPS_STEP_PIPE, -errno);
	servers_lock();
	look_after();
	if (server.pid == 0)
		r = start(ret_failure);
	if (r == 0) {
		r = send_request(s, ends[1]);
		if (r < 0)
			fail_step(ret_failure, MPS_STEP_SERVER, r);
		r = r == -EPIPE || r == -ECONNRESET ? -ESRCH : r;
	}
	server.asking += r == 0;
	servers_unlock();
	close(ends[1]);
	if (r == 0) {
		r = await_birth(ends[0], &pid, ret_child, ret_failure);
		servers_lock();
		spare_is_gone(pid);
		server.asking--;
		servers_unlock();
	}
	close(ends[0]);
	return r;
}

/* Who is killed between our look at it and its answer is followed by another; what it had begun with has not run. */
int forker_start(const struct mps_spawn *s, struct mps_child *ret_child,
		 struct mps_failure *ret_failure)
{
	enum { TRIES = 10 };
	int r = -ESRCH;

	for (int i = 0; r == -ESRCH && i < TRIES; i++)
		r = ask(s, ret_child, ret_failure);
	return r;
}

/* ------------------------------------------------------------------------------------------------- being it */

static int say(const char *failure)
{
	struct forkserver_word word = { .failed = failure != NULL };

	snprintf(word.text, sizeof(word.text), "%s", failure != NULL ? failure : "");
	while (send(FORKSERVER_FD, &word, sizeof(word), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
	return failure != NULL;
}

static int run_preload(const char *name)
{
	mps_target *function = target_find(name);
	struct mps_args *args;
	char text[256];
	int r;

	if (function == NULL || mps_args_new(&args) < 0)
		return say("the preload function is not to be found in a fresh image");
	r = function(args);
	mps_args_free(args);
	fflush(NULL); /* or each child would write it again */
	if (r == 0)
		return say(NULL);
	snprintf(text, sizeof(text), "preload %s: it has returned %d", name, r);
	return say(text);
}

/* Signals of the terminal are for those that do something. */
int forker_run(int argc, char **argv)
{
	sigset_t all;
	int r;

	if (argc < 3)
		return 2;
	fd_set_cloexec(FORKSERVER_FD, true);
	r = argv[2][0] != '\0' ? run_preload(argv[2]) : say(NULL);
	if (r != 0)
		return r;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	return forkserver_serve(FORKSERVER_FD, target_run);
}
