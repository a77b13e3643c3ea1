/*
 * Messages over a pipe or a stream socket, in the frames of Python's multiprocessing.connection: their life, sending, handing on.
 * Bytes are stream.c's, receiving is receive.c's.
 */
#include "ipc/connection.h"
#include "ipc/futex.h"
#include "ipc/robust.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"

/* So many bytes are copied behind their header rather than written from where they are: that is cheaper than a list of two. */
#define SMALL 512

size_t frame_encode(uint8_t header[FRAME_HEADER_MAX], uint64_t length)
{
	uint32_t first = htobe32(length <= INT32_MAX ? (uint32_t)length : UINT32_MAX);
	uint64_t second = htobe64(length);

	memcpy(header, &first, sizeof(first));
	if (length <= INT32_MAX)
		return sizeof(first);
	memcpy(header + sizeof(first), &second, sizeof(second));
	return FRAME_HEADER_MAX;
}

int frame_decode(const uint8_t *p, size_t n, uint64_t *ret_length)
{
	uint32_t first;
	uint64_t second;

	if (n < sizeof(first))
		return 0;
	memcpy(&first, p, sizeof(first));
	first = be32toh(first);
	if (first <= INT32_MAX) {
		*ret_length = first;
		return sizeof(first);
	}
	if (first != UINT32_MAX)
		return -EPROTO;
	if (n < FRAME_HEADER_MAX)
		return 0;
	memcpy(&second, p + sizeof(first), sizeof(second));
	*ret_length = be64toh(second);
	return FRAME_HEADER_MAX;
}

/* ---------------------------------------------------------------------------------------------------- life */

int mps_connection_open(int fd, struct mps_connection **ret)
{
	struct mps_connection *c = malloc(sizeof(*c));
	int r;

	if (c == NULL)
		return -ENOMEM;
	*c = (struct mps_connection){ .limit = MPS_MESSAGE_MAX };
	r = stream_open(&c->s, fd);
	if (r < 0) {
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}

static void turns_drop(struct turns *t)
{
	if (t == NULL || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	munmap(t->ends, 2 * sizeof(*t->ends));
	free(t);
}

static int turns_new(struct turns **ret)
{
	struct turns *t = malloc(sizeof(*t));
	int r;

	if (t == NULL)
		return -ENOMEM;
	*t = (struct turns){ .refs = 2 };
	t->ends = mmap(NULL, 2 * sizeof(*t->ends), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (t->ends == MAP_FAILED) {
		free(t);
		return -errno;
	}
	r = robust_init(&t->ends[0].lock, PTHREAD_MUTEX_ERRORCHECK);
	if (r == 0)
		r = robust_init(&t->ends[1].lock, PTHREAD_MUTEX_ERRORCHECK);
	if (r < 0) {
		munmap(t->ends, 2 * sizeof(*t->ends));
		free(t);
		return r;
	}
	*ret = t;
	return 0;
}

static void take_turns(struct mps_connection *a, struct mps_connection *b, struct turns *t)
{
	a->turns = b->turns = t;
	a->turn = b->other = &t->ends[0];
	b->turn = a->other = &t->ends[1];
}

static int open_both(const int fds[2], struct mps_connection **ret_a, struct mps_connection **ret_b)
{
	struct mps_connection *a, *b;
	struct turns *turns = NULL;
	int r = mps_connection_open(fds[0], &a);

	if (r < 0)
		return r;
	r = mps_connection_open(fds[1], &b);
	if (r == 0) {
		r = turns_new(&turns);
		if (r < 0)
			connection_take_fd(b);
	}
	if (r < 0) {
		connection_take_fd(a);
		return r;
	}
	take_turns(a, b, turns);
	*ret_a = a;
	*ret_b = b;
	return 0;
}

int mps_pipe(bool duplex, struct mps_connection **ret_a, struct mps_connection **ret_b)
{
	int fds[2];
	int r = duplex ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)
		       : pipe2(fds, O_CLOEXEC);

	if (r < 0)
		return -errno;
	r = open_both(fds, ret_a, ret_b);
	if (r < 0) {
		close(fds[0]);
		close(fds[1]);
	}
	return r;
}

void connection_drop_fds(struct mps_connection *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (c->passed[i].fd >= 0)
			close(c->passed[i].fd);
	c->n_passed -= n;
	memmove(c->passed, c->passed + n, c->n_passed * sizeof(*c->passed));
}

int connection_take_fd(struct mps_connection *c)
{
	int fd = c->s.fd;

	connection_drop_fds(c, c->n_passed);
	turns_drop(c->turns);
	free(c->ahead);
	free(c->body);
	free(c);
	return fd;
}

void mps_connection_close(struct mps_connection *c)
{
	if (c != NULL)
		close(connection_take_fd(c));
}

int mps_connection_fileno(const struct mps_connection *c)
{
	return c->s.fd;
}

void mps_connection_set_limit(struct mps_connection *c, size_t bytes)
{
	c->limit = bytes;
}

/* ---------------------------------------------------------------------------------------------------- memory */

int connection_need_ahead(struct mps_connection *c)
{
	if (c->ahead == NULL)
		c->ahead = malloc(CONNECTION_AHEAD_MAX);
	return c->ahead == NULL ? -ENOMEM : 0;
}

int connection_need_body(struct mps_connection *c, size_t size)
{
	uint8_t *bigger;

	if (size <= c->body_size)
		return 0;
	bigger = realloc(c->body, size);
	if (bigger == NULL)
		return -ENOMEM;
	c->body = bigger;
	c->body_size = size;
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- sending */

/* A sender that lives has the turn as long as its message is not whole; one that has gone on meanwhile has written. */
bool connection_is_cut(struct mps_connection *c)
{
	return c->other != NULL && atomic_load(&c->other->is_within) != 0 &&
	       !robust_is_held(atomic_load(robust_word(&c->other->lock))) &&
	       stream_wait(c->s.fd, POLLIN, (struct mps_time){ 0 }) == -ETIMEDOUT;
}

/* Nothing can follow half a message; who can be told of it is told. */
static void cannot_send(struct mps_connection *c)
{
	c->write_error = -EPIPE;
	if (c->s.is_socket)
		shutdown(c->s.fd, SHUT_WR);
}

static void turn_end(struct mps_connection *c, bool is_whole)
{
	if (c->turn == NULL)
		return;
	c->turn->is_within = !is_whole;
	robust_unlock(&c->turn->lock);
}

/* 0, with the turn taken; -EPIPE: this one, or who had it before, has left half a message behind. */
static int turn_begin(struct mps_connection *c, bool in_pieces, struct mps_time until)
{
	bool is_whole = true;
	int r;

	if (c->turn != NULL) {
		r = robust_lock(&c->turn->lock, until);
		if (r < 0)
			return r;
		is_whole = !c->turn->is_within;
	}
	if (!is_whole)
		cannot_send(c);
	if (c->write_error < 0) {
		turn_end(c, is_whole);
		return c->write_error;
	}
	if (c->turn != NULL)
		c->turn->is_within = in_pieces;
	return 0;
}

int mps_send(struct mps_connection *c, const void *p, size_t n, int64_t timeout)
{
	uint8_t header[FRAME_HEADER_MAX + SMALL];
	struct iovec iov[2] = { { header, frame_encode(header, n) }, { (void *)p, n } };
	struct mps_time until = until_of(timeout);
	size_t n_iov = 2, done = 0;
	int r;

	if (!c->s.writes)
		return -EBADF;
	if (n > c->limit)
		return -EMSGSIZE;
	r = turn_begin(c, n > SMALL, until);
	if (r < 0)
		return r;
	if (n <= SMALL) {
		if (n > 0)
			memcpy(header + iov[0].iov_len, p, n);
		iov[0].iov_len += n;
		n_iov = 1;
	}
	r = stream_write(&c->s, iov, n_iov, until, &done);
	if (r < 0 && (done > 0 || r == -EPIPE))
		cannot_send(c);
	turn_end(c, r == 0 || done == 0);
	return r;
}

int mps_send_fd(struct mps_connection *c, int fd, int64_t timeout)
{
	struct mps_time until = until_of(timeout);
	int r;

	if (!c->s.is_socket)
		return -EOPNOTSUPP;
	r = turn_begin(c, false, until);
	if (r < 0)
		return r;
	r = stream_send_fd(&c->s, 1, fd, until);
	turn_end(c, true);
	return r;
}

/* ---------------------------------------------------------------------------------------------------- handing on */

int connection_unread(const struct mps_connection *c, struct buf *b)
{
	uint8_t header[FRAME_HEADER_MAX];

	if (c->n_passed > 0)
		return -EBUSY;
	if (c->begun) {
		buf_add(b, header, frame_encode(header, c->length));
		buf_add(b, c->body, c->got);
	}
	if (n_ahead(c) > 0)
		buf_add(b, c->ahead + c->head, n_ahead(c));
	return b->failed ? -ENOMEM : 0;
}

/* A long message that has begun; what follows it is left to `ahead`. */
static int reopen_begun(struct mps_connection *c, const uint8_t **p, size_t *n)
{
	uint64_t length;
	int header = frame_decode(*p, *n, &length);
	int r;

	if (header <= 0 || length > SIZE_MAX)
		return -EINVAL;
	*p += header;
	*n -= (size_t)header;
	c->begun = true;
	c->length = (size_t)length;
	c->got = *n < c->length ? *n : c->length;
	r = connection_need_body(c, c->got);
	if (r < 0)
		return r;
	if (c->got > 0)
		memcpy(c->body, *p, c->got);
	*p += c->got;
	*n -= c->got;
	return *n <= CONNECTION_AHEAD_MAX ? 0 : -EINVAL;
}

int connection_reopen(int fd, const void *unread, size_t n, struct mps_connection **ret)
{
	const uint8_t *p = unread;
	struct mps_connection *c;
	int r = mps_connection_open(fd, &c);

	if (r < 0)
		return r;
	if (n > 0)
		r = connection_need_ahead(c);
	if (r == 0 && n > CONNECTION_AHEAD_MAX)
		r = reopen_begun(c, &p, &n);
	if (r < 0) {
		connection_take_fd(c);
		return r;
	}
	if (n > 0)
		memcpy(c->ahead, p, n);
	c->tail = n;
	*ret = c;
	return 0;
}
