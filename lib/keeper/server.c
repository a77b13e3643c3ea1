/*
 * Forkservers as the keeper sees them. A start is asked for by a datagram, and is answered by the child itself on the pipe
 * that goes with it, so a server says nothing and its loss loses nothing: a pipe that ends before a child has spoken means
 * that there is none, and the start is asked for again. The child falls to the thread that works (CLONE_PARENT), and is from
 * then on a child like any other.
 *
 * A server is made when the first start needs it, and again when it ends. A few starts are under way at a time, the others
 * wait here, as the messages that they will be.
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
#include "keeper/internal.h"
#include "proc/forkserver.h"
#include "proc/pidfd.h"
#include "proc/tag.h"

enum {
	UNDER_WAY_MAX = 8, /* requests that a server has got and no child has answered */
	TRIES_MAX = 3,	   /* servers that may end over one start */
	PATIENCE_MS = 1000 /* between two answers; also between two servers */
};

struct ask {
	struct ask *next; /* of those that wait */
	struct server *server;
	uint32_t slot;
	struct buf message;
	int pipe;		     /* the child's end, -1 once it is sent */
	int fds[FORKSERVER_FDS_MAX]; /* what travels behind it */
	size_t n_fds;
	int own[KEEPER_FDS_MAX + 1]; /* those of them that are ours to close */
	size_t n_own;
	unsigned tries;
	bool sent;
	uint64_t early; /* signals for a child that is not there yet, bit n - 1 */
};

struct server {
	char *name;
	char **preload; /* one block */
	pid_t pid;	/* 0 = none */
	int pidfd, sock, exec_fd;
	bool ready;    /* it has loaded everything */
	bool replaced; /* it is being ended, because another is wanted */
	bool wanted;   /* another, at not_before */
	bool news;     /* the supervisor is to be told */
	char *failure; /* what it says why it is not ready */
	uint32_t n_started;
	struct mps_time not_before, deadline;
	struct ask *first, *last;
	unsigned under_way;
};

/* --------------------------------------------------------------------------------------------------- words */

static char **copy_words(char *const *from)
{
	size_t n = 0, size;
	char **v, *text;

	while (from != NULL && from[n] != NULL)
		n++;
	size = (n + 1) * sizeof(*v);
	for (size_t i = 0; i < n; i++)
		size += strlen(from[i]) + 1;
	v = malloc(size);
	if (v == NULL)
		return NULL;
	text = (char *)(v + n + 1);
	for (size_t i = 0; i < n; i++) {
		v[i] = strcpy(text, from[i]);
		text += strlen(text) + 1;
	}
	v[n] = NULL;
	return v;
}

static bool same_words(char *const *a, char *const *b)
{
	for (; *a != NULL && *b != NULL; a++, b++)
		if (strcmp(*a, *b) != 0)
			return false;
	return *a == NULL && *b == NULL;
}

/* --------------------------------------------------------------------------------------------- its process */

static void note_news(struct keeper *k, struct server *s)
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
	r = mps_spawn_start(&spawn, NULL, &child, ret_step);
	fd_close(&ends[1]);
	if (r < 0) {
		fd_close(&ends[0]);
		return r;
	}
	s->pid = child.pid;
	s->pidfd = child.pidfd;
	s->exec_fd = child.exec_fd; /* read when it ends at once */
	s->sock = ends[0];
	keeper_lift(&s->pidfd);
	keeper_lift(&s->exec_fd);
	keeper_lift(&s->sock);
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
	size_t n = 0;
	int r = -ENOMEM;

	s->wanted = s->replaced = false;
	free(TAKE_PTR(s->failure));
	while (s->preload[n] != NULL)
		n++;
	argv = calloc(n + 4, sizeof(*argv));
	if (argv != NULL) {
		argv[0] = (char *)"mpsup-host";
		argv[1] = (char *)"forkserver";
		argv[2] = s->name;
		memcpy(argv + 3, s->preload, n * sizeof(*argv));
		r = make_process(k, s, argv, &step);
	}
	s->not_before.ns = mps_now().ns + PATIENCE_MS * MPS_NS_PER_MS;
	if (r < 0) {
		fail_waiting(k, s, step, -r, NULL);
		return;
	}
	note_news(k, s);
	keeper_watch(k, s->sock, EPOLLIN, WATCH_SERVER_SOCK, index, 0);
	if (s->pidfd < 0 || keeper_watch(k, s->pidfd, EPOLLIN, WATCH_SERVER, index, 0) < 0)
		k->have_pidfd = false;
}

/* Now, or when enough time has passed since the last. */
static void want_server(struct keeper *k, struct server *s)
{
	if (s->pid != 0 || k->finishing)
		return;
	if (mps_now().ns < s->not_before.ns)
		s->wanted = true;
	else
		start_server(k, s);
}

static void end_server(struct server *s)
{
	if (s->pid > 0)
		pidfd_signal(s->pidfd, s->pid, SIGKILL);
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
	s->pid = 0;
	s->ready = false;
	s->deadline.ns = 0;
	keeper_unwatch(k, &s->pidfd);
	keeper_unwatch(k, &s->sock);
	note_news(k, s);
	if (!was_ready && !s->replaced)
		tell_why(k, s, si);
	fd_close(&s->exec_fd);
	if (was_ready && (stale || s->replaced))
		s->not_before.ns = 0;
	if (was_ready || s->first != NULL)
		want_server(k, s);
}

void server_on_exit(struct keeper *k, uint32_t index)
{
	struct server *s = k->servers[index];
	siginfo_t si = { 0 };

	if (s->pid > 0 && waitid(P_PID, (id_t)s->pid, &si, WEXITED | WNOHANG) == 0 &&
	    si.si_pid == s->pid)
		on_gone(k, s, &si);
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

/* ------------------------------------------------------------------------------------------------ requests */

static void push(struct keeper *k, struct server *s);

static void append(struct server *s, struct ask *a)
{
	a->next = NULL;
	if (s->last != NULL)
		s->last->next = a;
	else
		s->first = a;
	s->last = a;
}

static void take_out(struct server *s, struct ask *a)
{
	struct ask **at = &s->first, *before = NULL;

	while (*at != NULL && *at != a) {
		before = *at;
		at = &before->next;
	}
	if (*at == NULL)
		return;
	*at = a->next;
	if (s->last == a)
		s->last = before;
}

static void set_patience(struct server *s)
{
	s->deadline.ns = s->under_way > 0 ? mps_now().ns + PATIENCE_MS * MPS_NS_PER_MS : 0;
}

static int send_ask(const struct server *s, const struct ask *a)
{
	struct iovec iov = { a->message.p, a->message.len };
	int all[FORKSERVER_FDS_MAX];

	all[0] = a->pipe;
	memcpy(all + 1, a->fds, a->n_fds * sizeof(int));
	return fd_send(s->sock, &iov, 1, all, a->n_fds + 1);
}

/* What the socket does not take waits for an answer to what it has taken. */
static void push(struct keeper *k, struct server *s)
{
	while (s->ready && s->first != NULL && s->under_way < UNDER_WAY_MAX) {
		struct ask *a = s->first;
		int r = send_ask(s, a);

		if (r == -EPIPE || r == -ECONNRESET)
			return; /* its pidfd tells the rest */
		if (r < 0 && s->under_way > 0)
			return;
		if (r < 0) {
			const struct mps_failure failure = { MPS_STEP_SERVER, -r, "" };

			slot_fail(k, a->slot, &failure);
			continue;
		}
		take_out(s, a);
		fd_close(&a->pipe);
		a->sent = true;
		if (s->under_way++ == 0)
			set_patience(s);
		k->n_under_way++;
	}
}

static void count_answer(struct keeper *k, struct ask *a)
{
	if (!a->sent)
		return;
	a->sent = false;
	a->server->under_way--;
	k->n_under_way--;
	set_patience(a->server);
}

void server_forget(struct keeper *k, struct ask *a)
{
	struct server *s;

	if (a == NULL)
		return;
	s = a->server;
	if (!a->sent)
		take_out(s, a);
	count_answer(k, a);
	fd_close(&a->pipe);
	while (a->n_own > 0)
		fd_close(&a->own[--a->n_own]);
	buf_fini(&a->message);
	free(a);
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
	push(k, s);
}

/* The server of that name, which has loaded or will load that; NULL: out of memory, or too many. */
static struct server *find(struct keeper *k, const struct mps_spawn *spawn)
{
	struct server *s = NULL, **all;
	char **preload;

	for (uint32_t i = 0; i < k->n_servers && s == NULL; i++)
		if (strcmp(k->servers[i]->name, spawn->server) == 0)
			s = k->servers[i];
	if (s != NULL && same_words(s->preload, spawn->preload))
		return s;
	preload = copy_words(spawn->preload);
	if (preload == NULL)
		return NULL;
	if (s != NULL) {
		free(s->preload);
		s->preload = preload;
		s->replaced = s->pid != 0;
		s->ready = false;
		s->not_before.ns = 0;
		end_server(s);
		return s;
	}
	all = k->n_servers < FORKSERVERS_MAX
		      ? realloc(k->servers, (k->n_servers + 1) * sizeof(*all))
		      : NULL;
	if (all != NULL)
		k->servers = all;
	s = all != NULL ? calloc(1, sizeof(*s)) : NULL;
	if (s == NULL || (s->name = strdup(spawn->server)) == NULL) {
		free(s);
		free(preload);
		return NULL;
	}
	s->preload = preload;
	s->pidfd = s->sock = s->exec_fd = -1;
	k->servers[k->n_servers++] = s;
	return s;
}

/* The rows name what travels behind the pipe. What came with the START is ours from here on. */
static int fill(struct keeper *k, struct ask *a, const struct mps_spawn *spawn)
{
	struct mps_spawn s = *spawn;
	struct forkserver_request head = { .tag = spawn->tag };
	struct mps_fd rows[KEEPER_FDS_MAX];
	AUTO_BUF body = BUF_INIT;

	for (size_t i = 0; i < spawn->n_fds; i++) {
		a->fds[a->n_fds++] = spawn->fds[i].fd;
		rows[i] = (struct mps_fd){ spawn->fds[i].child, (int)i,
					   spawn->fds[i].flags & MPS_FD_REOPEN };
	}
	s.fds = rows;
	mps_spawn_encode(&s, &body);
	head.is_long = body.len > KEEPER_MSG_MAX - 64;
	forkserver_encode(&head, &a->message);
	if (!head.is_long)
		buf_add(&a->message, body.p, body.len);
	if (body.failed || a->message.failed)
		return -ENOMEM;
	if (head.is_long) {
		int fd = mps_seal(body.p, body.len);

		if (fd < 0)
			return fd;
		a->fds[a->n_fds++] = a->own[a->n_own++] = fd;
	}
	/* After the last that can fail: until then they are the caller's to close. */
	memcpy(a->own + a->n_own, k->fds, k->n_fds * sizeof(int));
	a->n_own += k->n_fds;
	k->n_fds = 0;
	return 0;
}

static int open_pipe(struct ask *a)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	a->pipe = ends[1];
	return ends[0];
}

int server_ask(struct keeper *k, uint32_t slot, const struct mps_spawn *spawn, struct ask **ret_ask,
	       struct mps_child *ret_child, enum mps_step *ret_step)
{
	struct mps_child child = MPS_CHILD_INIT;
	struct server *s = find(k, spawn);
	struct ask *a = s != NULL ? calloc(1, sizeof(*a)) : NULL;
	int r;

	*ret_step = MPS_STEP_SERVER;
	if (a == NULL)
		return -ENOMEM;
	a->server = s;
	a->slot = slot;
	a->pipe = -1;
	r = child.exec_fd = open_pipe(a);
	if (r >= 0)
		r = fill(k, a, spawn);
	if (r < 0) {
		fd_close(&child.exec_fd);
		server_forget(k, a);
		return r;
	}
	*ret_ask = a;
	*ret_child = child;
	append(s, a);
	return 0;
}

void server_go_on(struct keeper *k, const struct ask *a)
{
	struct server *s = a->server;

	if (s->pid == 0)
		want_server(k, s);
	else
		push(k, s);
}

int server_ask_again(struct keeper *k, struct ask *a)
{
	int r;

	count_answer(k, a);
	if (k->finishing || ++a->tries >= TRIES_MAX ||
	    (a->early & UINT64_C(1) << (SIGKILL - 1)) != 0)
		return -EAGAIN;
	r = open_pipe(a);
	if (r >= 0)
		append(a->server, a);
	return r;
}

uint64_t server_on_born(struct keeper *k, struct ask *a)
{
	struct server *s = a->server;
	uint64_t early = a->early;

	s->n_started++;
	note_news(k, s);
	server_forget(k, a);
	push(k, s);
	return early;
}

bool server_signal(struct ask *a, int sig)
{
	a->early |= UINT64_C(1) << (sig - 1);
	return a->sent || sig != SIGKILL;
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
		end_server(s); /* it does not answer */
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
		note_news(k, k->servers[i]);
}

void server_encode_news(struct keeper *k)
{
	for (uint32_t i = 0; k->server_news && i < k->n_servers; i++) {
		const struct server *s = k->servers[i];
		const struct keeper_message m = {
			.type = KEEPER_SERVER,
			.text = s->name,
			.pid = s->pid,
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
