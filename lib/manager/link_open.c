/*
 * A link from its connecting to its end. Over TCP each side shows the other that it has the key, a unix socket needs none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "ipc/address.h"
#include "ipc/auth.h"
#include "ipc/connection.h"
#include "ipc/futex.h"
#include "manager/life.h"
#include "manager/link.h"
#include "manager/value.h"

#define HANDSHAKE (5 * MPS_SECOND)

/* ---------------------------------------------------------------------------------------------- life */

struct link *link_ref(struct link *l)
{
	atomic_fetch_add(&l->references, 1);
	return l;
}

/* Before it can be told of: so the bell and others are not the reader's. */
static void free_link(struct link *l)
{
	for (uint32_t i = 0; i < l->n_slots; i++) {
		if (l->slots[i] == NULL)
			continue;
		free(l->slots[i]->p);
		free(l->slots[i]);
	}
	for (size_t i = 0; i < l->n_came; i++)
		for (size_t k = 0; k < l->came[i].n; k++)
			close(l->came[i].fds[k]);
	free(l->slots);
	free(l->free);
	free(l->in);
	buf_fini(&l->out);
	buf_fini(&l->sending);
	mps_shm_close(l->life);
	if (l->bell >= 0)
		close(l->bell);
	close(l->s.fd);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void link_unref(struct link *l)
{
	if (l != NULL && atomic_fetch_sub(&l->references, 1) == 1)
		free_link(l);
}

/* ---------------------------------------------------------------------------------------------- the key */

static bool is_busy(const void *p, size_t n)
{
	struct wire_answer a;

	if (n != sizeof(a))
		return false;
	memcpy(&a, p, sizeof(a));
	return a.seq == 0 && (int32_t)le32toh((uint32_t)a.status) == -EBUSY;
}

static int show_key(struct mps_connection *c, const struct mps_manager_options *o,
		    struct mps_time until)
{
	struct auth a = { .key = o->authkey, .key_size = o->authkey_size };
	struct auth_message answer;
	int r = auth_begin(&a, &answer);

	while (r == 0) {
		const void *p;
		size_t n;
		int sent = 0;

		r = mps_recv(c, &p, &n, stream_left(until));
		if (r == 0 && is_busy(p, n))
			return -EBUSY;
		if (r < 0)
			return r == -ENODATA || r == -EPROTO ? -ECONNRESET : r;
		r = auth_feed(&a, p, n, &answer);
		if (answer.n > 0)
			sent = mps_send(c, answer.p, answer.n, stream_left(until));
		if (r >= 0 && sent < 0)
			return sent == -EPIPE ? -ECONNRESET : sent;
	}
	return r < 0 ? r : 0;
}

/* A descriptor that the server would take requests from. */
static int connect_to(const char *address, const struct mps_manager_options *o,
		      struct mps_time until)
{
	struct mps_connection *c;
	int fd = address_connect(address, until);
	int r;

	if (fd < 0 || strncmp(address, "tcp:", 4) != 0)
		return fd;
	r = mps_connection_open(fd, &c);
	if (r == 0) {
		mps_connection_set_limit(c, AUTH_MESSAGE_MAX);
		r = show_key(c, o, until);
		if (r == 0 && n_ahead(c) > 0)
			r = -EPROTO;
		connection_take_fd(c);
	}
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

/* ---------------------------------------------------------------------------------------------- hello */

static int take_life(struct link *l, struct link_pending *p)
{
	int r;

	if (p->n_fds > 0) {
		l->bell = p->fds[0];
		p->fds[0] = -1;
	}
	if (p->n_fds < 2)
		return 0;
	r = life_open(p->fds[1], &l->life, &l->alive);
	if (r == 0)
		p->fds[1] = -1;
	return r;
}

static int hello(struct link *l, const struct mps_manager_options *o, struct mps_time until)
{
	uint8_t args[] = { 0x92, WIRE_VERSION, o->remote ? 0xc2 : 0xc3 };
	struct link_request q = {
		.method = WIRE_HELLO, .timeout = INT64_MAX, .args = args, .n = sizeof(args)
	};
	const void *epoch;
	size_t n_epoch;
	int64_t version, session;
	struct link_pending *p;
	int shares, r = link_send(l, &q, &p, until);

	if (r < 0)
		return r;
	r = link_await(l, p, until);
	if (r == 0)
		r = mps_unpack(p->p, p->n, "[ibit]", &version, &epoch, &n_epoch, &session, &shares);
	if (r == -EINVAL)
		r = -EPROTO;
	if (r == 0 && version != WIRE_VERSION)
		r = -EPROTONOSUPPORT;
	if (r == 0) {
		l->shares = shares;
		r = take_life(l, p);
	}
	link_drop(l, p);
	return r;
}

int link_open(const char *address, const struct mps_manager_options *o, struct mps_time until,
	      struct link **ret)
{
	struct mps_time end = until_of(o->handshake > 0 ? o->handshake : HANDSHAKE);
	struct link *l;
	int fd, r;

	if (until.ns < end.ns)
		end = until;
	fd = connect_to(address, o, end);
	if (fd < 0)
		return fd;
	l = calloc(1, sizeof(*l));
	if (l == NULL) {
		close(fd);
		return -ENOMEM;
	}
	l->references = 1;
	l->bell = -1;
	l->recv_timeout = 0;
	pthread_mutex_init(&l->lock, NULL);
	r = stream_open(&l->s, fd);
	if (r == 0)
		r = hello(l, o, end);
	if (r < 0)
		link_unref(l);
	else
		*ret = l;
	return r;
}
