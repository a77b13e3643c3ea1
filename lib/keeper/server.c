/*
 * Forkservers as processes of the keeper. A server is made when the first start needs it, and again when it ends; it is
 * ended when another is wanted in its place, or when it does not answer. What is asked of it is server_ask.c's.
 */
#include <errno.h>
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
#include "keeper/server.h"
#include "proc/pidfd.h"
#include "proc/tag.h"
#include "proc/tree.h"

/* --------------------------------------------------------------------------------------------- its process */

void server_note_news(struct keeper *k, struct server *s)
{
	s->news = k->server_news = true;
}

static uint32_t index_of(const struct keeper *k, const struct server *s)
{
	uint32_t i = 0;

	while (k->servers[i] != s)
		i++;
	return i;
}

static int make_process(struct keeper *k, struct server *s, char **argv, enum mps_step *ret_step)
{
	struct mps_fd fds[] = {
		{ 0, k->null, 0 }, { 1, k->null, 0 }, { 2, 2, 0 }, { FORKSERVER_FD, -1, 0 }
	};
	struct mps_spawn spawn = {
		.path = MPS_HOST_PATH,
		.argv = argv,
		.envp = environ,
		.fds = fds,
		.n_fds = ARRAY_SIZE(fds),
		.session = MPS_SESSION_NEW,
		.umask = -1,
		.nofile = k->nofile,
		.pdeathsig = SIGKILL,
		.tag = tag_make(k->id, 0, 0),
		.signals_are_default = true,
	};
	struct mps_child child;
	int ends[2], r;

	*ret_step = MPS_STEP_PIPE;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	fds[3].fd = ends[1];
	r = keeper_spawn(&spawn, ends, &child, ret_step);
	if (r < 0)
		return r;
	s->pid = child.pid;
	s->pidfd = child.pidfd;
	s->exec_fd = child.exec_fd; /* read when it ends at once */
	s->sock = ends[0];
	return 0;
}

static void fail_waiting(struct keeper *k, struct server *s, enum mps_step step, int error,
			 const char *text)
{
	struct mps_failure failure = { (int32_t)step, error, "" };

	if (text != NULL)
		strncpy(failure.text, text, sizeof(failure.text) - 1);
	while (s->first != NULL)
		slot_fail(k, s->first->slot, &failure);
}

static void start_server(struct keeper *k, struct server *s)
{
	AUTO_FREE char **argv = NULL;
	enum mps_step step = MPS_STEP_NONE;
	uint32_t index = index_of(k, s);
	size_t n = strv_length(s->preload);
	int r = -ENOMEM;

	s->wanted = s->replaced = false;
	free(TAKE_PTR(s->failure));
	argv = calloc(n + 4, sizeof(*argv));
	if (argv != NULL) {
		argv[0] = (char *)"mpsup-host";
		argv[1] = (char *)"forkserver";
		argv[2] = s->name;
		memcpy(argv + 3, s->preload, n * sizeof(*argv));
		r = make_process(k, s, argv, &step);
	}
	s->not_before.ns = mps_now().ns + SERVER_PATIENCE_MS * MPS_NS_PER_MS;
	if (r < 0) {
		fail_waiting(k, s, step, -r, NULL);
		return;
	}
	server_note_news(k, s);
	keeper_watch(k, s->sock, EPOLLIN, WATCH_SERVER_SOCK, index, 0);
	if (s->pidfd < 0 || keeper_watch(k, s->pidfd, EPOLLIN, WATCH_SERVER, index, 0) < 0)
		k->have_pidfd = false;
}

void server_want(struct keeper *k, struct server *s)
{
	if (s->pid != 0 || k->finishing)
		return;
	if (mps_now().ns < s->not_before.ns)
		s->wanted = true;
	else
		start_server(k, s);
}

/*
 * With its spares, which are of its process group until they are workers: one that has said its number has left it. Only
 * while it is not reaped, or the group could be another's.
 */
static void end_server(struct server *s)
{
	if (s->pid > 0 && kill(-s->pid, SIGKILL) < 0)
		pidfd_signal(s->pidfd, s->pid, SIGKILL); /* it has no group yet */
}

/* The mark is that of a start which it was asked for, and whose child has not said its number. */
static bool is_unborn_of(const struct keeper *k, const struct server *s, pid_t pid)
{
	uint64_t tag = tag_get(pid);
	uint32_t keeper, index, gen;
	const struct ask *a;

	if (!tag_parse(tag, &keeper, &index, &gen) || index >= k->n_slots)
		return false;
	a = k->slots[index].ask;
	return a != NULL && a->sent && a->server == s &&
	       tag == tag_make(k->id, index, k->slots[index].gen);
}

/* Whoever has left its group and then stopped: it holds what others wait for, the socket too. */
static void end_unborn(struct keeper *k, struct server *s)
{
	struct pids all = { 0 };
	siginfo_t si;

	tagged_processes(k->id, &all);
	for (size_t i = 0; i < all.n; i++)
		/* What is our child has its number until we reap it. */
		if (waitid(P_PID, (id_t)all.p[i], &si, WEXITED | WNOHANG | WNOWAIT) == 0 &&
		    is_unborn_of(k, s, all.p[i]) && kill(all.p[i], SIGKILL) == 0)
			s->left[1] = all.p[i];
	pids_fini(&all);
}

static bool is_idle(const struct server *s)
{
	return s->first == NULL && s->under_way == 0;
}

/* Its process shall be no more; another one need not wait. */
static void let_go(struct server *s)
{
	s->replaced = s->pid != 0;
	s->ready = s->wanted = false;
	s->not_before.ns = 0;
	end_server(s);
}

void server_rest(struct server *s)
{
	if (s->unused && is_idle(s))
		let_go(s);
}

/* Why it is not there, when it has ended before it was ready. */
static void tell_why(struct keeper *k, struct server *s, const siginfo_t *si)
{
	struct mps_failure exec;
	AUTO_BUF text = BUF_INIT;

	if (s->exec_fd >= 0 && mps_spawn_result(s->exec_fd, &exec) < 0) {
		fail_waiting(k, s, MPS_STEP_SERVER, exec.error, NULL);
		return;
	}
	if (s->failure != NULL)
		buf_addf(&text, "%s", s->failure);
	else if (si->si_code == CLD_EXITED)
		buf_addf(&text, "it ended with status %d while it loaded", si->si_status);
	else
		buf_addf(&text, "it was ended by signal %d while it loaded", si->si_status);
	fail_waiting(k, s, MPS_STEP_SERVER, 0, text.failed ? "out of memory" : text.p);
}

static void on_gone(struct keeper *k, struct server *s, const siginfo_t *si)
{
	bool stale = si->si_code == CLD_EXITED && si->si_status == FORKSERVER_STALE, was_ready;

	if (!s->ready)
		server_on_word(k, index_of(k, s)); /* its last */
	was_ready = s->ready;
	s->left[0] = s->pid;
	s->pid = 0;
	s->ready = false;
	keeper_unwatch(k, &s->pidfd);
	keeper_unwatch(k, &s->sock);
	server_note_news(k, s);
	if (!was_ready && !s->replaced)
		tell_why(k, s, si);
	fd_close(&s->exec_fd);
	if (was_ready && (stale || s->replaced))
		s->not_before.ns = 0;
	if (was_ready || s->first != NULL)
		server_want(k, s);
}

void server_on_exit(struct keeper *k, uint32_t index)
{
	struct server *s = k->servers[index];
	siginfo_t si = { 0 };

	if (s->pid <= 0 || waitid(P_PID, (id_t)s->pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	    si.si_pid != s->pid)
		return;
	end_server(s); /* a spare may have been stopped */
	waitid(P_PID, (id_t)s->pid, &si, WEXITED | WNOHANG);
	on_gone(k, s, &si);
}

static void reap_group(pid_t *group)
{
	siginfo_t si;

	do {
		si.si_pid = 0;
		if (*group != 0 && waitid(P_PGID, (id_t)*group, &si, WEXITED | WNOHANG) < 0)
			*group = 0;
	} while (si.si_pid != 0);
}

/* By their groups: the one SIGCHLD that tells of several deaths may name none of theirs. */
void server_reap_spares(struct keeper *k)
{
	for (uint32_t i = 0; i < k->n_servers; i++)
		for (size_t n = 0; n < ARRAY_SIZE(k->servers[i]->left); n++)
			reap_group(&k->servers[i]->left[n]);
}

void server_on_word(struct keeper *k, uint32_t index)
{
	struct server *s = k->servers[index];
	struct forkserver_word word;
	ssize_t n = recv(s->sock, &word, sizeof(word), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	/* It has nothing more to say; its end is told by its pidfd. */
	epoll_ctl(k->epoll, EPOLL_CTL_DEL, s->sock, NULL);
	if (n != sizeof(word))
		return;
	word.text[sizeof(word.text) - 1] = '\0';
	if (word.failed != 0) {
		free(s->failure);
		s->failure = strdup(word.text);
		return;
	}
	s->ready = !s->replaced;
	server_note_news(k, s);
	server_push(k, s);
}

static struct server *by_name(const struct keeper *k, const char *name)
{
	for (uint32_t i = 0; i < k->n_servers; i++)
		if (strcmp(k->servers[i]->name, name) == 0)
			return k->servers[i];
	return NULL;
}

/* Room of one that is no more, and that all have been told of; or new. NULL: out of memory, or too many. */
static struct server *room_for_one(struct keeper *k)
{
	struct server *s, **all;

	for (uint32_t i = 0; i < k->n_servers; i++) {
		s = k->servers[i];
		if (s->unused && s->pid == 0 && is_idle(s) && !s->news)
			return s;
	}
	all = k->n_servers < FORKSERVERS_MAX
		      ? realloc(k->servers, (k->n_servers + 1) * sizeof(*all))
		      : NULL;
	if (all == NULL)
		return NULL;
	k->servers = all;
	s = calloc(1, sizeof(*s));
	if (s != NULL) {
		s->pidfd = s->sock = s->exec_fd = -1;
		k->servers[k->n_servers++] = s;
	}
	return s;
}

static struct server *add(struct keeper *k, const char *name)
{
	char *copy = strdup(name);
	struct server *s = copy != NULL ? room_for_one(k) : NULL;

	if (s == NULL) {
		free(copy);
		return NULL;
	}
	free(s->name);
	s->name = copy;
	s->n_started = 0;
	s->not_before.ns = 0;
	return s;
}

struct server *server_find(struct keeper *k, const struct mps_spawn *spawn)
{
	struct server *s = by_name(k, spawn->server);
	char **preload;

	if (s != NULL)
		s->unused = false;
	if (s != NULL && strv_is_equal(s->preload, spawn->preload))
		return s;
	preload = strv_pack(spawn->preload);
	if (preload == NULL)
		return NULL;
	if (s != NULL)
		let_go(s);
	else
		s = add(k, spawn->server);
	if (s == NULL) {
		free(preload);
		return NULL;
	}
	free(s->preload);
	s->preload = preload;
	s->unused = false;
	return s;
}

void server_drop(struct keeper *k, const char *name)
{
	struct server *s = name != NULL ? by_name(k, name) : NULL;

	if (s == NULL)
		return;
	s->unused = true;
	server_rest(s);
}

bool server_has_pid(const struct keeper *k, pid_t pid, uint32_t *ret_index)
{
	for (uint32_t i = 0; i < k->n_servers; i++)
		if (k->servers[i]->pid == pid) {
			*ret_index = i;
			return true;
		}
	return false;
}

/* --------------------------------------------------------------------------------------------------- times */

struct mps_time server_next_deadline(const struct keeper *k)
{
	struct mps_time best = { 0 };

	for (uint32_t i = 0; i < k->n_servers; i++) {
		const struct server *s = k->servers[i];
		struct mps_time t = s->wanted ? s->not_before : s->deadline;

		keeper_earliest(&best, t);
	}
	return best;
}

void server_check_deadlines(struct keeper *k, struct mps_time now)
{
	for (uint32_t i = 0; i < k->n_servers; i++) {
		struct server *s = k->servers[i];

		if (s->wanted && now.ns >= s->not_before.ns && !k->finishing)
			start_server(k, s);
		if (s->deadline.ns == 0 || now.ns < s->deadline.ns)
			continue;
		s->deadline.ns = 0;
		if (s->ready) /* else it has nothing to answer yet: those before it have */
			end_server(s);
		end_unborn(k, s);
	}
}

/* ----------------------------------------------------------------------------------------------------- end */

void server_end_all(struct keeper *k)
{
	for (uint32_t i = 0; i < k->n_servers; i++) {
		struct server *s = k->servers[i];

		s->wanted = false;
		fail_waiting(k, s, MPS_STEP_SERVER, EAGAIN, NULL);
		end_server(s);
	}
}

bool server_any(const struct keeper *k)
{
	for (uint32_t i = 0; i < k->n_servers; i++)
		if (k->servers[i]->pid != 0)
			return true;
	return false;
}

/* ----------------------------------------------------------------------------------------------------- news */

void server_tell_all(struct keeper *k)
{
	for (uint32_t i = 0; i < k->n_servers; i++)
		server_note_news(k, k->servers[i]);
}

void server_encode_news(struct keeper *k)
{
	for (uint32_t i = 0; k->server_news && i < k->n_servers; i++) {
		const struct server *s = k->servers[i];
		const struct keeper_message m = {
			.type = KEEPER_SERVER,
			.text = s->name,
			.pid = s->pid,
			.is_ready = s->ready,
			.count = s->n_started,
		};

		if (s->news)
			keeper_encode(&m, &k->out);
	}
}

void server_news_told(struct keeper *k)
{
	for (uint32_t i = 0; k->server_news && i < k->n_servers; i++)
		k->servers[i]->news = false;
	k->server_news = false;
}
