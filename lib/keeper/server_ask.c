/*
 * What forkservers are asked for. A start is asked for by a datagram, and is answered by the child itself on the pipe that
 * goes with it, so a server says nothing and its loss loses nothing: a pipe that ends before a child has spoken means that
 * there is none, and the start is asked for again. The child falls to the thread that works (CLONE_PARENT), and is from
 * then on a child like any other.
 *
 * A few starts are under way at a time, the others wait here, as the messages that they will be. The servers themselves
 * are server.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/server.h"

enum {
	UNDER_WAY_MAX = 8, /* requests that a server has got and no child has answered */
	TRIES_MAX = 3	   /* servers that may end over one start */
};

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
	s->deadline.ns = s->under_way > 0 ? mps_now().ns + SERVER_PATIENCE_MS * MPS_NS_PER_MS : 0;
}

static int send_ask(const struct server *s, const struct ask *a)
{
	struct iovec iov = { a->message.p, a->message.len };
	int all[FORKSERVER_FDS_MAX];

	all[0] = a->pipe;
	memcpy(all + 1, a->fds, a->n_fds * sizeof(int));
	return fd_send(s->sock, &iov, 1, all, a->n_fds + 1);
}

void server_push(struct keeper *k, struct server *s)
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
	server_rest(s);
}

/* Here, and not in the child: when that looks, the number may be another's in the forkserver. */
static int open_again(struct ask *a, int fd)
{
	char path[32];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, (fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND)) | O_CLOEXEC | O_NOCTTY);
	if (again < 0)
		return fd; /* shared, then */
	return a->own[a->n_own++] = again;
}

/* The rows name what travels behind the pipe. What came with the START is ours from here on. */
static int fill(struct keeper *k, struct ask *a, const struct mps_spawn *spawn)
{
	struct mps_spawn s = *spawn;
	struct forkserver_request head = { .tag = spawn->tag };
	struct mps_fd rows[KEEPER_FDS_MAX];
	AUTO_BUF body = BUF_INIT;

	for (size_t i = 0; i < spawn->n_fds; i++) {
		int fd = spawn->fds[i].fd;

		a->fds[a->n_fds++] = spawn->fds[i].flags & MPS_FD_REOPEN ? open_again(a, fd) : fd;
		rows[i] = (struct mps_fd){ spawn->fds[i].child, (int)i, 0 };
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
	struct server *s = server_find(k, spawn);
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
		server_want(k, s);
	else
		server_push(k, s);
}

/* What ends a process that has said nothing else about it: there is no need to make that. */
static bool is_ended_by(uint64_t signals)
{
	static const int harmless[] = { SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN,
					SIGTTOU, SIGCHLD, SIGURG,  SIGWINCH };

	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
		signals &= ~(UINT64_C(1) << (harmless[i] - 1));
	return signals != 0;
}

int server_ask_again(struct keeper *k, struct ask *a)
{
	int r;

	count_answer(k, a);
	if (k->finishing || ++a->tries >= TRIES_MAX || is_ended_by(a->early))
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
	server_note_news(k, s);
	server_forget(k, a);
	server_push(k, s);
	return early;
}

bool server_signal(struct ask *a, int sig)
{
	a->early |= UINT64_C(1) << (sig - 1);
	return a->sent || !is_ended_by(a->early);
}
