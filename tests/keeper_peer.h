/*
 * A keeper to play with, for tests: starts mpsup-host with this very program as its supervisor, which hands its socket
 * over and then only waits to be told how to end. So the test itself speaks the protocol. What a worker wrote, and that
 * the last process holding its standard output is gone, is read from a pipe: every wait is for an event.
 */
#ifndef TESTS_KEEPER_PEER_H
#define TESTS_KEEPER_PEER_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/wire.h"
#include "keeper/keeper.h"
#include "keeper/message.h"
#include "proc/pidfd.h"
#include "proc/spawn.h"
#include "proc/tag.h"
#include "proc/tree.h"

#define PEER_ROLE "KEEPER_PEER_ROLE"
#define PEER_PATIENCE 20000 /* ms without the event that must come: then something is wrong */

struct peer {
	pid_t keeper;
	uint32_t id; /* in tags */
	pid_t supervisor;
	int sock;    /* the supervisor's end */
	int control; /* to the process that is the supervisor */
	char in[KEEPER_MSG_MAX];
	struct wire left;	       /* of the last datagram */
	uint32_t unheard;	       /* UNLINKED, of this datagram and perhaps before */
	struct keeper_message objects; /* the last that was told of, of an instance .. */
	uint32_t strangers;	       /* .. and of nobody */
};

/* How the keeper is started. */
struct peer_options {
	const char *no;		/* MPSUP_NO */
	void (*before)(void);	/* in the keeper's process, before exec */
	const char *supervisor; /* NULL = ourselves */
	enum keeper_on_crash on_crash;
	const char *dir; /* where it tracks objects; NULL = it does not */
};

/* Standard input is the control socket: it gets our descriptor 3, and gives the status to exit with. */
static inline void peer_be_supervisor(void)
{
	pid_t pid = getpid();
	struct iovec iov = { &pid, sizeof(pid) };
	int fd = KEEPER_SUPERVISOR_FD, status = 0;

	if (fd_send(STDIN_FILENO, &iov, 1, &fd, 1) < 0)
		_exit(99);
	close(fd);
	if (read(STDIN_FILENO, &status, sizeof(status)) != sizeof(status))
		status = 0;
	_exit(status);
}

static inline const char *peer_self(void)
{
	static char path[4096];
	ssize_t n;

	if (path[0] == '\0' && (n = readlink("/proc/self/exe", path, sizeof(path) - 1)) > 0)
		path[n] = '\0';
	return path;
}

static inline const char *peer_host(void)
{
	static char path[4096];
	const char *b = getenv("B");

	snprintf(path, sizeof(path), "%s/mpsup-host", b != NULL ? b : "build/gcc");
	return path;
}

static inline bool peer_wait_readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int r;

	do
		r = poll(&p, 1, ms);
	while (r < 0 && errno == EINTR);
	return r > 0;
}

static inline void peer_exec(const struct peer_options *o, int control)
{
	dup2(control, STDIN_FILENO);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv(PEER_ROLE, "supervisor", 1);
	if (o != NULL && o->no != NULL)
		setenv("MPSUP_NO", o->no, 1);
	if (o != NULL && o->before != NULL)
		o->before();
	execl(peer_host(), "mpsup-host", "keeper", "--name", "test", "--",
	      o != NULL && o->supervisor != NULL ? o->supervisor : peer_self(), NULL);
	_exit(98);
}

/* The socket of the next supervisor that the keeper starts. False when none comes up. */
static inline bool peer_next(struct peer *p)
{
	size_t n = 0;
	bool cut;

	fd_close(&p->sock);
	p->left.n = p->unheard = 0;
	return peer_wait_readable(p->control, PEER_PATIENCE) &&
	       fd_recv(p->control, &p->supervisor, sizeof(p->supervisor), &p->sock, 1, &n, &cut) >
		       0 &&
	       n == 1;
}

static inline int peer_send(struct peer *p, const struct keeper_message *m, const struct buf *rest,
			    const int *fds, size_t n_fds)
{
	AUTO_BUF b = BUF_INIT;
	struct iovec iov;

	keeper_encode(m, &b);
	if (rest != NULL)
		buf_add(&b, rest->p, rest->len);
	iov = (struct iovec){ b.p, b.len };
	return fd_send(p->sock, &iov, 1, fds, n_fds);
}

static inline void peer_hear(struct peer *p)
{
	const struct keeper_message m = { .type = KEEPER_HEARD, .count = p->unheard };

	if (p->unheard > 0 && peer_send(p, &m, NULL, NULL, 0) == 0)
		p->unheard = 0;
}

static inline void peer_note(struct peer *p, const struct keeper_message *objects)
{
	if (objects->instance == 0)
		p->strangers = objects->count;
	else
		p->objects = *objects;
}

/* The next message but REAPED and OBJECTS; 0, or the error, -ETIMEDOUT when none comes. */
static inline int peer_recv_any(struct peer *p, struct keeper_message *ret)
{
	for (;;) {
		int fds[KEEPER_FDS_MAX], r;
		size_t n_fds;
		bool cut;
		ssize_t n;

		if (p->left.n == 0) {
			peer_hear(p);
			if (!peer_wait_readable(p->sock, PEER_PATIENCE))
				return -ETIMEDOUT;
			n = fd_recv(p->sock, p->in, sizeof(p->in), fds, KEEPER_FDS_MAX, &n_fds,
				    &cut);
			if (n <= 0)
				return n < 0 ? (int)n : -ECONNRESET;
			for (size_t i = 0; i < n_fds; i++)
				close(fds[i]);
			p->left = (struct wire){ p->in, (size_t)n, false };
		}
		r = keeper_decode_next(&p->left, false, ret);
		if (r < 0)
			p->left.n = 0;
		if (r == 0 && ret->type == KEEPER_UNLINKED)
			p->unheard++;
		if (r == 0 && ret->type == KEEPER_OBJECTS)
			peer_note(p, ret);
		if (r < 0 || ret->type != KEEPER_REAPED)
			return r;
	}
}

/* But counts of objects, which are noted. */
static inline int peer_recv(struct peer *p, struct keeper_message *ret)
{
	int r;

	do
		r = peer_recv_any(p, ret);
	while (r == 0 && ret->type == KEEPER_OBJECTS);
	return r;
}

static inline int peer_hello_from(struct peer *p, enum keeper_on_crash on_crash, const char *dir)
{
	struct keeper_message m = { .type = KEEPER_HELLO,
				    .protocol = KEEPER_PROTOCOL,
				    .on_crash = on_crash,
				    .time = { MPS_NS_PER_S / 2 },
				    .text = dir };
	AUTO_BUF rest = BUF_INIT;

	wire_put_strv(&rest, NULL);
	return peer_send(p, &m, &rest, NULL, 0);
}

static inline int peer_hello(struct peer *p, enum keeper_on_crash on_crash)
{
	return peer_hello_from(p, on_crash, NULL);
}

/* False when the keeper did not come up with a supervisor. */
static inline bool peer_open(struct peer *p, const struct peer_options *o)
{
	struct keeper_message m = { 0 };
	int ends[2];

	peer_self();
	*p = (struct peer){ .sock = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return false;
	p->keeper = fork();
	if (p->keeper == 0)
		peer_exec(o, ends[1]);
	close(ends[1]);
	p->control = ends[0];
	if (!peer_next(p) ||
	    peer_hello_from(p, o != NULL ? o->on_crash : KEEPER_CRASH_STOP,
			    o != NULL ? o->dir : NULL) < 0 ||
	    peer_recv(p, &m) < 0 || m.type != KEEPER_WELCOME)
		return false;
	p->id = tag_keeper_id(p->keeper);
	return true;
}

static inline int peer_signal(struct peer *p, uint32_t instance, uint32_t gen, int sig,
			      enum keeper_scope scope)
{
	struct keeper_message m = {
		.type = KEEPER_SIGNAL,
		.instance = instance,
		.gen = gen,
		.signal = (uint32_t)sig,
		.scope = scope,
	};

	return peer_send(p, &m, NULL, NULL, 0);
}

/* A worker: `argv` with descriptor `out` as its standard output and error. */
struct peer_worker {
	uint32_t instance, gen;
	enum keeper_leftovers leftovers;
	int64_t grace_ns;
	char **argv;
	char **envp;
	int out;
	enum keeper_cleanup cleanup;
};

static inline void peer_describe(const struct peer_worker *w, struct keeper_message *m,
				 struct buf *rest)
{
	static char *no_environment[] = { NULL };
	const struct mps_fd rows[] = {
		{ 0, MPS_FD_IDLE, MPS_FD_ROLE },
		{ 1, 0, 0 },
		{ 2, 0, 0 },
	};
	const struct mps_spawn spawn = {
		.path = w->argv[0],
		.argv = w->argv,
		.envp = w->envp != NULL ? w->envp : no_environment,
		.fds = rows,
		.n_fds = 3,
		.session = MPS_SESSION_NEW,
		.umask = -1,
		.pdeathsig = SIGKILL,
	};

	*m = (struct keeper_message){
		.type = KEEPER_START,
		.instance = w->instance,
		.gen = w->gen,
		.start = { .leftovers = w->leftovers,
			   .grace = { w->grace_ns },
			   .cleanup = w->cleanup,
			   .scan = true,
			   .name = "web" },
	};
	mps_spawn_encode(&spawn, rest);
}

static inline int peer_start(struct peer *p, const struct peer_worker *w)
{
	struct keeper_message m;
	AUTO_BUF rest = BUF_INIT;

	peer_describe(w, &m, &rest);
	return peer_send(p, &m, &rest, &w->out, 1);
}

/* The keeper's exit status; 1000 + n for a signal; -1 when it does not end by itself. */
static inline int peer_wait_keeper(struct peer *p)
{
	AUTO_CLOSE int fd = pidfd_open_checked(p->keeper);
	bool ended = peer_wait_readable(fd, PEER_PATIENCE);
	siginfo_t si = { 0 };

	if (!ended)
		kill(p->keeper, SIGKILL);
	waitid(P_PID, (id_t)p->keeper, &si, WEXITED);
	fd_close(&p->sock);
	fd_close(&p->control);
	return !ended ? -1 : si.si_code == CLD_EXITED ? si.si_status : 1000 + si.si_status;
}

/* Tells the keeper to end all with `status`, and the supervisor to exit. The keeper's exit status. */
static inline int peer_finish(struct peer *p, int status)
{
	struct keeper_message m = { .type = KEEPER_EXIT, .status = (uint32_t)status };
	int zero = 0;

	peer_hear(p);
	peer_send(p, &m, NULL, NULL, 0);
	if (write(p->control, &zero, sizeof(zero)) < 0)
		return -1;
	return peer_wait_keeper(p);
}

/* How many processes bear the keeper's mark. */
static inline size_t peer_n_tagged(const struct peer *p)
{
	struct pids list = { 0 };
	size_t n;

	tagged_processes(p->id, &list);
	n = list.n;
	pids_fini(&list);
	return n;
}

/* Waits until nobody bears the mark: who has closed its files is not dead yet. False when somebody lives on. */
static inline bool peer_wait_untagged(const struct peer *p)
{
	struct pids list = { 0 };
	bool ended = true;

	for (size_t n = 1; n > 0 && ended;) {
		tagged_processes(p->id, &list);
		n = list.n;
		for (size_t i = 0; i < n && ended; i++) {
			AUTO_CLOSE int fd = pidfd_open_checked(list.p[i]);

			ended = fd < 0 || peer_wait_readable(fd, PEER_PATIENCE);
		}
	}
	pids_fini(&list);
	return ended;
}

#endif
