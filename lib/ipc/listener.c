/*
 * A socket that listens, and those who have connected to it and not yet shown the key.
 *
 * All of them are in one epoll set, which is what mps_listener_fileno() gives out, with a timer for those who have had their
 * time. Nobody is waited for alone. When there is no room for one more, be it in our list or in the process' table of
 * descriptors, the one that has come first makes room, but not before LISTENER_GRACE_MS, in which an honest one is
 * done with it; until then nobody is accepted and nothing spins.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <poll.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "ipc/place.h"
#include "ipc/address.h"
#include "ipc/auth.h"
#include "ipc/connection.h"
#include "ipc/futex.h"

#define HANDSHAKE (5 * MPS_SECOND)

struct peer {
	struct peer *next, *prev; /* who came later, who came before */
	struct mps_connection *c;
	struct auth auth;
	struct mps_time since;
};

struct mps_listener {
	struct place place;
	int epoll, timer;
	int spare;   /* given up for a moment where no other is to be had; -1 */
	bool parked; /* nobody is accepted: there is no room */
	char *last;  /* where the one is who came last; NULL: nobody has, or it is not known */
	void *key;
	size_t key_size;
	bool allow_md5;
	int64_t handshake;
	struct peer *oldest, *newest; /* by `since` */
	size_t n_peers;
	struct mps_time armed; /* when the timer goes off; 0 = it does not */
};

/* ---------------------------------------------------------------------------------------------------- who waits */

static int watch(struct mps_listener *l, int how, int fd, uint32_t events, void *who)
{
	struct epoll_event e = { .events = events, .data.ptr = who };

	return epoll_ctl(l->epoll, how, fd, &e) < 0 ? -errno : 0;
}

static void park(struct mps_listener *l, bool on)
{
	if (l->parked != on &&
	    watch(l, EPOLL_CTL_MOD, l->place.fd, on ? 0 : EPOLLIN, &l->place.fd) == 0)
		l->parked = on;
}

static struct mps_time grace_end(const struct peer *p)
{
	return (struct mps_time){ p->since.ns + LISTENER_GRACE_MS * MPS_NS_PER_MS };
}

/* For the moment when the first of them has had its time, or may be dropped. */
static void set_timer(struct mps_listener *l)
{
	struct itimerspec t = { 0 };
	struct mps_time when = { 0 };

	if (l->oldest != NULL) {
		when.ns = l->oldest->since.ns + l->handshake;
		if (l->parked && grace_end(l->oldest).ns < when.ns)
			when = grace_end(l->oldest);
	}
	if (when.ns == l->armed.ns)
		return;
	t.it_value.tv_sec = when.ns / MPS_NS_PER_S;
	t.it_value.tv_nsec = when.ns % MPS_NS_PER_S;
	if (timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &t, NULL) == 0)
		l->armed = when;
}

/* Out of the list; its place is free. Returns its connection. */
static struct mps_connection *peer_leave(struct mps_listener *l, struct peer *p)
{
	struct mps_connection *c = p->c;

	*(p->prev != NULL ? &p->prev->next : &l->oldest) = p->next;
	*(p->next != NULL ? &p->next->prev : &l->newest) = p->prev;
	l->n_peers--;
	watch(l, EPOLL_CTL_DEL, mps_connection_fileno(c), 0, NULL);
	free(p);
	park(l, false);
	return c;
}

static void peer_drop(struct mps_listener *l, struct peer *p)
{
	mps_connection_close(peer_leave(l, p));
}

static int peer_say(struct peer *p, const struct auth_message *m)
{
	/* Into an empty socket: who has not room for it is not waited for. */
	return m->n > 0 ? mps_send(p->c, m->p, m->n, 0) : 0;
}

/* A new one, who is challenged. The connection is the list's. */
static int peer_come(struct mps_listener *l, struct mps_connection *c)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct auth_message challenge;
	int r = -ENOMEM;

	if (p != NULL) {
		p->c = c;
		p->since = mps_now();
		p->auth = (struct auth){ .key = l->key,
					 .key_size = l->key_size,
					 .allow_md5 = l->allow_md5,
					 .is_server = true };
		mps_connection_set_limit(c, AUTH_MESSAGE_MAX);
		r = auth_begin(&p->auth, &challenge);
	}
	if (r == 0)
		r = peer_say(p, &challenge);
	if (r == 0)
		r = watch(l, EPOLL_CTL_ADD, mps_connection_fileno(c), EPOLLIN, p);
	if (r < 0) {
		free(p);
		mps_connection_close(c);
		return r;
	}
	p->prev = l->newest;
	*(l->newest != NULL ? &l->newest->next : &l->oldest) = p;
	l->newest = p;
	l->n_peers++;
	return 0;
}

/* What it has said is answered. 1: it has shown the key, 0: not yet, or it is gone. */
static int peer_turn(struct mps_listener *l, struct peer *p, struct mps_connection **ret)
{
	struct auth_message answer;
	const void *m;
	size_t n;
	int r = 0, sent;

	while (r == 0) {
		r = mps_recv(p->c, &m, &n, 0);
		if (r == -ETIMEDOUT)
			return 0;
		if (r < 0)
			break;
		r = auth_feed(&p->auth, m, n, &answer);
		sent = peer_say(p, &answer);
		if (r >= 0 && sent < 0)
			r = sent;
	}
	if (r < 0) {
		peer_drop(l, p);
		return 0;
	}
	*ret = peer_leave(l, p);
	mps_connection_set_limit(*ret, MPS_MESSAGE_MAX);
	return 1;
}

static void drop_late(struct mps_listener *l)
{
	int64_t now = mps_now().ns;
	uint64_t times;

	if (read(l->timer, &times, sizeof(times)) < 0)
		return; /* it has been set anew */
	while (l->oldest != NULL && l->oldest->since.ns + l->handshake <= now)
		peer_drop(l, l->oldest);
	if (l->parked && l->oldest != NULL && grace_end(l->oldest).ns <= now)
		park(l, false); /* so that the next one pushes it out */
	l->armed = (struct mps_time){ 0 };
}

/* ---------------------------------------------------------------------------------------------------- accepting */

/* Who may come without a key: on a unix socket we ourselves and root. */
static bool is_welcome(const struct mps_listener *l, int fd)
{
	if (l->key != NULL || strncmp(l->place.address, "tcp:", 4) == 0)
		return true;
	return place_is_welcome(fd);
}

/* 1: it may be used at once; 0; -errno */
static int come(struct mps_listener *l, int fd, struct mps_connection **ret)
{
	struct mps_connection *c;

	if (!is_welcome(l, fd) || mps_connection_open(fd, &c) < 0) {
		close(fd);
		return 0;
	}
	if (l->key != NULL) {
		peer_come(l, c);
		return 0;
	}
	*ret = c;
	return 1;
}

static int spare_open(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* The table is full, and not of ours: who wants to come is told by the spare one. */
static int refuse(struct mps_listener *l, int why)
{
	int fd;

	fd_close(&l->spare);
	fd = accept4(l->place.fd, NULL, NULL, SOCK_CLOEXEC);
	fd_close(&fd);
	l->spare = spare_open();
	return why;
}

/* 0: try again, or wait for the timer; -errno: it is not in our hands. */
static int make_room(struct mps_listener *l, int why)
{
	if (l->oldest == NULL)
		return refuse(l, why);
	if (grace_end(l->oldest).ns <= mps_now().ns)
		peer_drop(l, l->oldest);
	else
		park(l, true);
	return 0;
}

static int accept_one(struct mps_listener *l, struct mps_connection **ret)
{
	int fd;

	if (l->n_peers >= LISTENER_PENDING_MAX)
		return make_room(l, -EMFILE);
	fd = accept4(l->place.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		return come(l, fd, ret);
	switch (errno) {
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		return make_room(l, -errno);
	case EBADF:
	case EINVAL:
	case ENOTSOCK:
	case EFAULT:
		return -errno;
	default: /* nobody is there, or what went wrong is that one's (accept(2)) */
		return 0;
	}
}

/* One look at all that has happened: 1 with *ret, 0, -errno. */
static int turn(struct mps_listener *l, struct mps_connection **ret)
{
	struct epoll_event events[64];
	bool is_late = false, has_come = false;
	int n = epoll_wait(l->epoll, events, ARRAY_SIZE(events), 0);
	int r = 0;

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n && r == 0; i++) {
		if (events[i].data.ptr == &l->timer)
			is_late = true;
		else if (events[i].data.ptr == &l->place.fd)
			has_come = true;
		else
			r = peer_turn(l, events[i].data.ptr, ret);
	}
	if (is_late && r == 0)
		drop_late(l);
	if (has_come && r == 0)
		r = accept_one(l, ret);
	set_timer(l);
	return r != 0 || n > 0 ? r : -EAGAIN;
}

static void remember(struct mps_listener *l, const struct mps_connection *c)
{
	free(TAKE_PTR(l->last));
	address_of_peer(mps_connection_fileno(c), &l->last);
}

int mps_listener_accept(struct mps_listener *l, struct mps_connection **ret, int64_t timeout)
{
	struct mps_time until = until_of(timeout);
	int r;

	for (;;) {
		r = turn(l, ret);
		if (r == 1) {
			remember(l, *ret);
			return 0;
		}
		if (r == -EAGAIN)
			r = stream_wait(l->epoll, POLLIN, until);
		else if (r == 0 && stream_left(until) <= 0)
			r = -ETIMEDOUT; /* however much there is to do */
		if (r < 0)
			return r;
	}
}

/* ---------------------------------------------------------------------------------------------------- life */

const char *mps_listener_address(const struct mps_listener *l)
{
	return l->place.address;
}

const char *mps_listener_last_accepted(const struct mps_listener *l)
{
	return l->last != NULL ? l->last : "";
}

int mps_listener_fileno(const struct mps_listener *l)
{
	return l->epoll;
}

void mps_listener_close(struct mps_listener *l)
{
	if (l == NULL)
		return;
	while (l->oldest != NULL)
		peer_drop(l, l->oldest);
	place_close(&l->place);
	fd_close(&l->epoll);
	fd_close(&l->timer);
	fd_close(&l->spare);
	if (l->key != NULL)
		explicit_bzero(l->key, l->key_size);
	free(l->key);
	free(l->last);
	free(l);
}

static int take_options(struct mps_listener *l, const struct mps_address_options *o)
{
	l->handshake = o->handshake > 0 ? o->handshake : HANDSHAKE;
	if (l->handshake > INT64_MAX / 2)
		l->handshake = INT64_MAX / 2;
	l->allow_md5 = o->allow_md5;
	if (o->authkey == NULL)
		return 0;
	l->key_size = o->authkey_size;
	l->key = malloc(l->key_size + 1);
	if (l->key == NULL)
		return -ENOMEM;
	memcpy(l->key, o->authkey, l->key_size);
	return 0;
}

static int open_set(struct mps_listener *l)
{
	int r;

	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		return -errno;
	l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->timer < 0)
		return -errno;
	l->spare = spare_open();
	r = watch(l, EPOLL_CTL_ADD, l->timer, EPOLLIN, &l->timer);
	return r < 0 ? r : watch(l, EPOLL_CTL_ADD, l->place.fd, EPOLLIN, &l->place.fd);
}

int mps_listen(const char *address, const struct mps_address_options *options,
	       struct mps_listener **ret)
{
	static const struct mps_address_options plain = MPS_ADDRESS_OPTIONS_INIT;
	struct mps_listener *l = calloc(1, sizeof(*l));
	int r;

	if (l == NULL)
		return -ENOMEM;
	l->place.fd = l->epoll = l->timer = l->spare = -1;
	l->place.owner = getpid();
	if (options == NULL)
		options = &plain;
	r = take_options(l, options);
	if (r == 0)
		r = place_open(&l->place, address, options->backlog);
	if (r == 0)
		r = open_set(l);
	if (r < 0)
		mps_listener_close(l);
	else
		*ret = l;
	return r;
}
