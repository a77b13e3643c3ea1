/*
 * Starts of entries, whose outcome a pipe tells, and the forkserver that may be asked for them: a child of ours, as is what
 * it forks. One that ends is followed by another, and what it was asked for is asked for again.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/strv.h"
#include "base/xalloc.h"
#include "map/internal.h"
#include "proc/forkserver.h"

enum {
	UNDER_WAY_MAX = 8, /* as many requests as a socket takes and one server can be busy with */
	UNBORN_MAX = 3
};

#define SERVER "of mpsup map"

static bool is_asked(const struct map *m)
{
	return m->o->symbol != NULL && m->o->method == MPS_METHOD_FORKSERVER;
}

/* ---------------------------------------------------------------------------------------------- forkserver */

static int start_forker(struct map *m)
{
	char *argv[] = { (char *)"mpsup-host", (char *)"forkserver", (char *)SERVER,
			 (char *)m->o->path, NULL };
	struct mps_fd fds[] = {
		{ 0, m->no_input, 0 }, { 1, m->no_input, 0 }, { 2, 2, 0 }, { FORKSERVER_FD, -1, 0 }
	};
	struct mps_spawn spawn = m->spawn;
	struct mps_child child;
	enum mps_step step;
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	fds[3].fd = ends[1];
	spawn.path = m->o->host;
	spawn.argv = argv;
	spawn.fds = fds;
	spawn.n_fds = ARRAY_SIZE(fds);
	spawn.session = MPS_SESSION_NEW;
	spawn.cannot_fail = false;
	r = mps_spawn_start(&spawn, NULL, &child, &step);
	close(ends[1]);
	if (r < 0) {
		close(ends[0]);
		return r;
	}
	fd_close(&child.pidfd);
	m->forker.pid = child.pid;
	m->forker.exec_fd = child.exec_fd; /* read when it ends at once */
	m->forker.sock = ends[0];
	return map_watch(m, m->forker.sock, EPOLLIN, WATCH_FORKER, 0);
}

/* A copy of us also has what libc catches for itself. */
static void reset_signals(struct map *m)
{
	struct sigaction a;

	m->spawn.signals_are_default = false;
	for (int sig = 1; sig <= 64; sig++)
		if (sigaction(sig, NULL, &a) == 0 && a.sa_handler == SIG_IGN)
			m->spawn.ignored |= UINT64_C(1) << (sig - 1);
}

int births_begin(struct map *m, struct err *err)
{
	int r = is_asked(m) ? start_forker(m) : 0;

	if (m->o->symbol != NULL && m->o->method == MPS_METHOD_FORK)
		reset_signals(m);
	return r < 0 ? err_set(err, r, "cannot start a forkserver: %s", strerror(-r)) : 0;
}

static void forget(struct map *m)
{
	if (m->forker.sock >= 0)
		map_unwatch(m, m->forker.sock);
	fd_close(&m->forker.sock);
	fd_close(&m->forker.exec_fd);
	m->forker.pid = 0;
	m->forker.ready = false;
}

/* With the spare that is of its group. */
void births_end(struct map *m)
{
	if (m->forker.pid > 0 && kill(-m->forker.pid, SIGKILL) < 0)
		kill(m->forker.pid, SIGKILL); /* it has no group yet */
}

void births_fini(struct map *m)
{
	pid_t pid = m->forker.pid;
	siginfo_t si;

	births_end(m);
	if (pid > 0) {
		waitid(P_PID, (id_t)pid, &si, WEXITED);
		while (waitid(P_PGID, (id_t)pid, &si, WEXITED) == 0)
			;
	}
	forget(m);
	free(TAKE_PTR(m->forker.why));
}

void birth_on_word(struct map *m)
{
	struct forkserver_word word;
	ssize_t n = recv(m->forker.sock, &word, sizeof(word), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	map_unwatch(m, m->forker.sock); /* it has nothing more to say */
	if (n != sizeof(word))
		return;
	word.text[sizeof(word.text) - 1] = '\0';
	m->forker.ready = word.failed == 0;
	if (word.failed != 0 && m->forker.why == NULL)
		m->forker.why = xstrdup(word.text);
}

/* It has ended before it had loaded everything: another would do so, too. */
static void tell_why(struct map *m, const siginfo_t *si)
{
	struct mps_failure exec;
	bool failed = mps_spawn_result(m->forker.exec_fd, &exec) < 0;

	if (m->ending)
		return;
	if (failed)
		map_say(m, "cannot start %s: %s: %s", m->o->argv[0], m->o->host,
			strerror(exec.error));
	else if (m->forker.why != NULL)
		map_say(m, "cannot start %s: %s", m->o->argv[0], m->forker.why);
	else
		map_say(m, "cannot start %s: its forkserver %s %d while it loaded that",
			m->o->argv[0],
			si->si_code == CLD_EXITED ? "exited with" : "was ended by signal",
			si->si_status);
	m->outcome.start_error = failed ? exec.error : ENOEXEC;
	map_give_up(m);
}

bool birth_on_exit(struct map *m, const siginfo_t *si)
{
	bool was_ready;
	int r;

	if (m->forker.pid == 0 || si->si_pid != m->forker.pid)
		return false;
	if (!m->forker.ready)
		birth_on_word(m); /* its last */
	was_ready = m->forker.ready;
	if (!was_ready)
		tell_why(m, si);
	forget(m);
	if (m->ending)
		return true;
	r = ++m->forker.unborn < UNBORN_MAX ? start_forker(m) : -ECHILD;
	if (r < 0) {
		map_say(m, "cannot start %s: its forkserver has ended%s", m->o->argv[0],
			r == -ECHILD ? ", and so have those after it" : "");
		map_give_up(m);
	}
	return true;
}

/* --------------------------------------------------------------------------------------------------- starts */

bool births_are_possible(const struct map *m)
{
	return !is_asked(m) || (m->forker.ready && m->forker.asked < UNDER_WAY_MAX);
}

/* The pointers in front are the child's to use. */
static void make_argv(struct place *s)
{
	size_t n = strv_length(s->command.argv) + 1;

	s->entry_argv = xrealloc(s->entry_argv, (n + MPS_ENTRY_ROOM) * sizeof(*s->entry_argv));
	memcpy(s->entry_argv + MPS_ENTRY_ROOM, s->command.argv, n * sizeof(*s->entry_argv));
	s->spawn.argv = s->entry_argv + MPS_ENTRY_ROOM;
}

static int ask(struct map *m, struct place *s)
{
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	r = forkserver_ask(m->forker.sock, &s->spawn, ends[1]);
	close(ends[1]);
	if (r == -EPIPE || r == -ECONNRESET)
		r = -EAGAIN; /* its end will be told of */
	if (r < 0) {
		close(ends[0]);
		return r;
	}
	s->birth = ends[0];
	m->forker.asked++;
	return 0;
}

int birth_start(struct map *m, struct place *s, pid_t *ret_pid)
{
	struct mps_child child = MPS_CHILD_INIT;
	enum mps_step step;
	int r;

	make_argv(s);
	s->spawn.symbol = m->o->symbol;
	s->spawn.method = m->o->method;
	s->spawn.host = m->o->host;
	s->spawn.cannot_fail = false;
	if (is_asked(m)) {
		s->spawn.server = SERVER;
		r = ask(m, s);
	} else {
		r = mps_spawn_start(&s->spawn, NULL, &child, &step);
		fd_close(&child.pidfd);
		s->birth = child.exec_fd;
	}
	if (r < 0)
		return r;
	*ret_pid = child.pid;
	return map_watch(m, s->birth, EPOLLIN, WATCH_BIRTH, s->number);
}

static void on_answer(struct map *m)
{
	if (is_asked(m))
		m->forker.asked--;
}

void birth_read(struct map *m, struct place *s)
{
	struct mps_failure failure;
	int r;

	while (s->birth >= 0 && (r = mps_spawn_result(s->birth, &failure)) != 0) {
		if (r == 2) {
			on_answer(m);
			m->forker.unborn = 0;
			place_born(s, failure.error);
			continue;
		}
		map_unwatch(m, s->birth);
		fd_close(&s->birth);
		if (r < 0)
			*s->failure = failure;
		if (s->pid != 0)
			continue;
		on_answer(m);
		if (r > 0) /* nobody has come */
			*s->failure = (struct mps_failure){ .step = MPS_STEP_SERVER };
		place_left(m, s);
	}
}

void births_read(struct map *m)
{
	for (unsigned i = 0; m->forker.asked > 0 && i < m->n_places; i++)
		if (m->places[i].birth >= 0)
			birth_read(m, &m->places[i]);
}

void settle_unborn(struct map *m, struct place *s)
{
	const struct mps_failure *f = s->failure;

	settle_flight(m, s);
	if (m->ending || f->error == 0)
		return;
	if (m->n_running > 0) {
		m->starved = true;
		return;
	}
	if (++m->forker.unborn < UNBORN_MAX)
		return;
	map_say(m, "cannot start %s: %s: %s", m->o->argv[0], mps_step_word((enum mps_step)f->step),
		strerror(f->error));
	m->outcome.start_error = f->error;
	map_give_up(m);
}
