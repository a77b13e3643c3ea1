/*
 * What comes from the server: read by one thread at a time, cut into answers, which go to who has asked.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "ipc/connection.h"
#include "manager/link.h"

enum { ROOM_FIRST = 64 << 10, ROOM_KEEP = 1 << 20 };
/* A shorter wait is left to poll(2). */
#define RECV_LEAST (4 * MPS_NS_PER_MS)

/* Room for at least n bytes behind the tail, and some more. */
static int make_room(struct link *l, size_t n)
{
	size_t room = l->in_room == 0 ? ROOM_FIRST : l->in_room;
	uint8_t *bigger;

	if (l->head > 0) {
		memmove(l->in, l->in + l->head, l->tail - l->head);
		l->tail -= l->head;
		l->head = 0;
	}
	while (room - l->tail < n)
		room *= 2;
	if (l->tail == 0 && n < ROOM_FIRST && room > ROOM_KEEP)
		room = ROOM_FIRST;
	if (room == l->in_room)
		return 0;
	bigger = realloc(l->in, room);
	if (bigger == NULL)
		return -ENOMEM;
	l->in = bigger;
	l->in_room = room;
	return 0;
}

/*
 * How long recv(2) shall block: the power of two below what is left, so that a limit that is the same for all calls is told
 * to the socket once, and a wait wakes up a few times at most. False: not at all, poll(2) it is.
 */
static bool may_block(struct link *l, struct mps_time until)
{
	int64_t left = stream_left(until), limit = RECV_LEAST;
	struct timeval tv;

	if (left < RECV_LEAST)
		return false;
	if (left == INT64_MAX)
		limit = 0;
	else
		while (limit <= left / 2)
			limit *= 2;
	if (limit == l->recv_timeout)
		return true;
	tv = (struct timeval){ limit / MPS_NS_PER_S, limit % MPS_NS_PER_S / 1000 };
	if (setsockopt(l->s.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0)
		return false;
	l->recv_timeout = limit;
	return true;
}

static ssize_t receive(struct link *l, struct stream_fds *fds, bool blocks)
{
	struct iovec iov = { l->in + l->tail, l->in_room - l->tail };
	ssize_t n = stream_receive(&l->s, &iov, 1, fds, blocks);

	if (n > 0)
		return n;
	if (n == 0 || errno == ECONNRESET || errno == EPIPE)
		return -ECONNRESET;
	return errno == EAGAIN || errno == EINTR ? -EAGAIN : -errno;
}

static void keep_fds(struct link *l, const struct stream_fds *fds)
{
	struct link_came *c = &l->came[l->n_came];

	if (fds->n == 0 && !fds->cut)
		return;
	c->n = fds->n;
	c->cut = fds->cut;
	l->n_came++;
}

int link_read(struct link *l, bool writes, struct mps_time until)
{
	struct stream_fds fds = { l->came[l->n_came].fds, LINK_FDS_MAX, 0, false };
	bool blocks = !writes && may_block(l, until);
	ssize_t n;
	int r = make_room(l, 1);

	if (r == 0 && l->n_came == LINK_CAME_MAX)
		r = -EPROTO;
	if (r == 0 && !blocks)
		r = stream_wait(l->s.fd, POLLIN | (writes ? POLLOUT : 0), until);
	if (r < 0)
		return r;
	n = receive(l, &fds, blocks);
	if (n == -EAGAIN)
		return writes ? 0 : -ETIMEDOUT;
	if (n < 0)
		return (int)n;
	l->tail += (size_t)n;
	keep_fds(l, &fds);
	return 0;
}

/* ---------------------------------------------------------------------------------------------- taking in */

/* Those of this answer: the next ones that have come. -EMFILE: our table had no room for all, so there is none. */
static int take_fds(struct link *l, struct link_pending *p, size_t n)
{
	struct link_came *c = &l->came[0];

	if (n == 0)
		return 0;
	if (l->n_came == 0)
		return -EPROTO;
	memcpy(p->fds, c->fds, c->n * sizeof(*c->fds));
	p->n_fds = c->n;
	n = c->cut || c->n != n;
	memmove(c, c + 1, --l->n_came * sizeof(*c));
	return n != 0 ? -EMFILE : 0;
}

static int answer(struct link *l, const uint8_t *p, size_t n)
{
	struct wire_answer head;
	struct link_pending *to;
	uint32_t seq;
	int r;

	if (n < sizeof(head))
		return -EPROTO;
	memcpy(&head, p, sizeof(head));
	seq = le32toh(head.seq);
	if (seq == 0)
		return (int32_t)le32toh((uint32_t)head.status) == -EBUSY ? -EBUSY : -EPROTO;
	to = seq <= l->n_slots ? l->slots[seq - 1] : NULL;
	if (to == NULL)
		return -EPROTO;
	to->status = (int32_t)le32toh((uint32_t)head.status);
	r = take_fds(l, to, le16toh(head.n_fds));
	to->n = n - sizeof(head);
	if (to->n > 0)
		to->p = malloc(to->n);
	if (to->p != NULL)
		memcpy(to->p, p + sizeof(head), to->n);
	else if (to->n > 0)
		r = -ENOMEM;
	if (r < 0 && to->status >= 0)
		to->status = r;
	link_answered(l, to);
	return 0;
}

int link_take_in(struct link *l)
{
	uint64_t length;
	int header, r = 0;

	while (r == 0 && l->tail > l->head) {
		const uint8_t *p = l->in + l->head;
		size_t n = l->tail - l->head;

		header = frame_decode(p, n, &length);
		if (header < 0 || (header > 0 && length > MANAGER_FRAME_MAX))
			return -EPROTO;
		if (header == 0 || n < (size_t)header + length)
			return header == 0 ? 0 : make_room(l, (size_t)header + length - n);
		n = (size_t)header + length;
		l->head += n;
		r = answer(l, p + header, length);
	}
	if (l->head == l->tail)
		l->head = l->tail = 0;
	return r;
}
