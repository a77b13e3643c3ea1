/*
 * Connections: the handshake, reading, sending, and the death of the process at the other end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "ipc/connection.h"
#include "ipc/futex.h"
#include "manager/service_uv.h"
#include "proc/pidfd.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* ---------------------------------------------------------------------------------------------------- lists */

static void list_add(struct peers *l, struct peer *p)
{
	p->next = NULL;
	p->prev = l->last;
	*(l->last != NULL ? &l->last->next : &l->first) = p;
	l->last = p;
	l->n++;
}

static void list_remove(struct peers *l, struct peer *p)
{
	*(p->prev != NULL ? &p->prev->next : &l->first) = p->next;
	*(p->next != NULL ? &p->next->prev : &l->last) = p->prev;
	l->n--;
}

/* ---------------------------------------------------------------------------------------------------- the end */

static void on_closed(uv_handle_t *handle)
{
	struct peer *p = handle->data;

	if (--p->n_open == 0)
		free(p);
}

void peer_close(struct peer *p)
{
	struct service *w = p->service;

	if (p->is_closed)
		return;
	p->is_closed = true;
	list_remove(p->session != NULL ? &w->peers : &w->pending, p);
	uv_close((uv_handle_t *)&p->poll, on_closed);
	if (p->watch.data != NULL)
		uv_close((uv_handle_t *)&p->watch, on_closed);
	fd_close(&p->fd);
	fd_close(&p->pidfd);
	session_free(p->session);
	p->session = NULL;
	buf_fini(&p->in);
	accept_resume(w);
}

/* ---------------------------------------------------------------------------------------------------- sending */

/* How many bytes have gone; 0: there is no room for now, or it is over. */
static size_t send_some(struct peer *p)
{
	struct session *s = p->session;
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control;
	int fds[2];
	size_t end = s->out.len, n_fds = session_passing(s, &end, fds);
	struct iovec iov = { s->out.p + s->sent, end - s->sent };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	if (n_fds > 0) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	do
		r = n_fds > 0 ? sendmsg(p->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT)
			      : send(p->fd, iov.iov_base, iov.iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	/* Too many descriptors of ours are on their way (ETOOMANYREFS): it has to read them. */
	if (r < 0 && errno != EAGAIN && errno != ETOOMANYREFS)
		session_fail(s, -errno);
	if (r <= 0)
		return 0;
	if (n_fds > 0)
		session_passed(s);
	return (size_t)r;
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void set_events(struct peer *p, int events)
{
	if (p->events != events && uv_poll_start(&p->poll, events, on_ready) == 0)
		p->events = events;
}

static void peer_send(struct peer *p)
{
	struct session *s = p->session;

	while (s->sent < s->out.len && s->over != -ECONNRESET) {
		size_t n = send_some(p);

		if (n == 0)
			break;
		session_sent(s, n);
	}
	if (s->over != 0) {
		peer_close(p);
		return;
	}
	set_events(p, (session_is_full(s) ? 0 : UV_READABLE) |
			      (s->sent < s->out.len ? UV_WRITABLE : 0));
}

void peers_send(struct service *w)
{
	struct session *s;

	while ((s = server_unsent(&w->v)) != NULL)
		peer_send(s->user);
	service_set_due(w);
	if (w->v.changed || w->v.looks)
		snapshot_due(w);
	if (w->v.ends)
		uv_stop(&w->loop);
}

/* ---------------------------------------------------------------------------------------------------- who it is */

static void on_dead(uv_poll_t *poll, int status, int events)
{
	struct peer *p = poll->data;
	struct service *w = p->service;

	(void)status;
	(void)events;
	/* What a connection holds without shared memory is held until its last copy is closed, by whatever process. */
	if (p->session != NULL && !p->session->shares) {
		uv_poll_stop(poll);
		return;
	}
	peer_close(p);
	/* What it held in shared memory is free now, and it may not have come so far as to ring. */
	server_bell(&w->v);
	peers_send(w);
}

static int pidfd_of(int fd, pid_t pid)
{
	int pidfd = -1;
	socklen_t size = sizeof(pidfd);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0)
		pidfd = pidfd_open_checked(pid);
	if (pidfd >= 0)
		fd_set_cloexec(pidfd, true);
	return pidfd;
}

/* Locks of shared memory know threads by their numbers, so those have to be the same for both. */
static bool is_near(const struct service *w, pid_t pid)
{
	char path[40], name[sizeof(w->pid_namespace)];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	n = readlink(path, name, sizeof(name) - 1);
	name[n > 0 ? n : 0] = '\0';
	return n > 0 && strcmp(name, w->pid_namespace) == 0;
}

static bool may_share(struct peer *p)
{
	struct ucred who;
	socklen_t size = sizeof(who);

	if (p->service->is_tcp || getsockopt(p->fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 ||
	    who.pid <= 0)
		return false;
	p->pidfd = pidfd_of(p->fd, who.pid);
	return p->pidfd >= 0 && who.uid == geteuid() && is_near(p->service, who.pid);
}

/* ---------------------------------------------------------------------------------------------------- handshake */

static int say(struct peer *p, const struct auth_message *m)
{
	uint8_t frame[FRAME_HEADER_MAX + AUTH_MESSAGE_MAX];
	size_t n = frame_encode(frame, m->n);

	if (m->n == 0)
		return 0;
	memcpy(frame + n, m->p, m->n);
	/* Into an empty socket: who has no room for it is not waited for. */
	return send(p->fd, frame, n + m->n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)(n + m->n)
		       ? 0
		       : -EPIPE;
}

static int enter(struct peer *p)
{
	p->session = session_new(&p->service->v, may_share(p));
	if (p->session == NULL)
		return -ENOMEM;
	p->session->user = p;
	list_remove(&p->service->pending, p);
	list_add(&p->service->peers, p);
	accept_resume(p->service);
	if (p->pidfd < 0)
		return 0;
	if (uv_poll_init(&p->service->loop, &p->watch, p->pidfd) < 0) {
		fd_close(&p->pidfd);
		return 0;
	}
	p->watch.data = p;
	p->n_open++;
	return uv_poll_start(&p->watch, UV_READABLE, on_dead);
}

/* 0: go on, -errno: it is not one of ours. What comes behind the handshake is the session's. */
static int shake_hands(struct peer *p, const void *bytes, size_t n)
{
	struct auth_message answer;
	int r = 0, sent;

	buf_add(&p->in, bytes, n);
	while (r == 0 && !p->in.failed) {
		uint64_t length;
		int header = frame_decode((uint8_t *)p->in.p, p->in.len, &length);

		if (header < 0 || (header > 0 && length > AUTH_MESSAGE_MAX))
			return -EPROTO;
		if (header == 0 || p->in.len - (size_t)header < length)
			return 0;
		r = auth_feed(&p->auth, p->in.p + header, (size_t)length, &answer);
		sent = say(p, &answer);
		if (r >= 0 && sent < 0)
			r = sent;
		buf_drop(&p->in, (size_t)header + (size_t)length);
	}
	if (r == 1)
		r = enter(p);
	if (r == 0 && p->in.len > 0)
		session_feed(p->session, p->in.p, p->in.len);
	r = p->in.failed ? -ENOMEM : r;
	buf_fini(&p->in);
	return r;
}

/* ---------------------------------------------------------------------------------------------------- reading */

static ssize_t receive(struct peer *p)
{
	ssize_t n;

	do
		n = recv(p->fd, p->service->room, MANAGER_READ_MAX, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void take(struct peer *p, ssize_t n)
{
	int r = 0;

	if (n == -EAGAIN)
		return;
	if (n <= 0)
		r = -ECONNRESET;
	else if (p->session == NULL)
		r = shake_hands(p, p->service->room, (size_t)n);
	else
		session_feed(p->session, p->service->room, (size_t)n);
	if (r < 0)
		peer_close(p);
	peers_send(p->service);
}

/* For a moment, as long as that has been worth it lately: what came, or -EAGAIN. */
static ssize_t look(struct peer *p)
{
	struct spin s = spin_start(&p->budget);
	ssize_t n;

	while ((n = receive(p)) == -EAGAIN && spin_again(&s))
		;
	spin_end(&s, n > 0);
	return n;
}

/*
 * A client that waits for each answer asks again at once: to look for that is faster than to sleep and to be woken. Only where nobody else
 * has asked for anything since it did, and not for long, as others are not heard meanwhile.
 */
static void peer_read(struct peer *p)
{
	enum { TURNS = 8 };
	struct service *w = p->service;
	bool alone = w->latest == p;

	w->latest = p;
	take(p, receive(p));
	for (int i = 0;
	     alone && i < TURNS && !p->is_closed && p->session != NULL && p->events == UV_READABLE;
	     i++) {
		ssize_t n = look(p);

		if (n == -EAGAIN)
			break;
		take(p, n);
	}
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct peer *p = poll->data;
	struct service *w = p->service;

	if (status < 0)
		peer_close(p);
	if (!p->is_closed && (events & UV_WRITABLE) != 0 && p->session != NULL)
		peer_send(p);
	if (!p->is_closed && (events & UV_READABLE) != 0)
		peer_read(p);
	peers_send(w);
}

static int begin(struct peer *p)
{
	struct service *w = p->service;
	struct auth_message challenge;
	int r;

	if (!w->is_tcp)
		return place_is_welcome(p->fd) ? enter(p) : -EACCES;
	p->auth = (struct auth){ .key = w->o->authkey,
				 .key_size = w->o->authkey_size,
				 .is_server = true };
	r = auth_begin(&p->auth, &challenge);
	return r == 0 ? say(p, &challenge) : r;
}

void peer_come(struct service *w, int fd)
{
	struct peer *p = calloc(1, sizeof(*p));
	int r;

	if (p == NULL || uv_poll_init(&w->loop, &p->poll, fd) < 0) {
		free(p);
		close(fd);
		return;
	}
	p->service = w;
	p->fd = fd;
	p->pidfd = -1;
	p->n_open = 1;
	p->poll.data = p;
	p->since = mps_now();
	list_add(&w->pending, p);
	r = begin(p);
	if (r < 0)
		peer_close(p);
	else
		set_events(p, UV_READABLE);
}
