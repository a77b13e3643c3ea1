/*
 * Receiving.
 *
 * What comes is read ahead into one buffer, so many short messages cost one read. A message that is longer than that buffer
 * goes where it is wanted: into memory of ours, that grows as it comes, or the caller's; what follows it is read
 * ahead by the same call. The kernel ends a read behind a byte that carries a descriptor, so a descriptor belongs to the
 * last byte that was read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/connection.h"
#include "ipc/futex.h"

/* n bytes from the head on are done with; descriptors that nobody has asked for go with them. */
static void consume(struct mps_connection *c, size_t n)
{
	size_t old = 0;

	c->head += n;
	c->place += n;
	if (c->head == c->tail)
		c->head = c->tail = 0;
	while (old < c->n_passed && c->passed[old].at < c->place)
		old++;
	if (old > 0)
		connection_drop_fds(c, old);
}

static void keep_passed(struct mps_connection *c, const struct stream_fds *fds, uint64_t at)
{
	for (size_t i = 0; i < fds->n; i++)
		c->passed[c->n_passed++] = (struct passed){ at, fds->fds[i] };
	if (fds->cut && c->n_passed < CONNECTION_FDS_MAX)
		c->passed[c->n_passed++] = (struct passed){ at, -EMFILE };
}

/* For the rest of a message: 0, -ETIMEDOUT, or -EPROTO: it does not come. */
static int wait_for_rest(struct mps_connection *c, struct mps_time until)
{
	for (;;) {
		struct mps_time look = { mps_now().ns + CONNECTION_LOOK_NS };
		bool is_last = until.ns <= look.ns;
		int r = stream_wait(c->s.fd, POLLIN, is_last ? until : look);

		if (r != -ETIMEDOUT)
			return r;
		if (connection_is_cut(c))
			return -EPROTO;
		if (is_last)
			return r;
	}
}

/* Reads once into one or both of body's n bytes and what is free ahead. How many bytes; -ETIMEDOUT; at the end read_error. */
static ssize_t fill(struct mps_connection *c, uint8_t *body, size_t n, bool ahead,
		    struct mps_time until)
{
	int fds[CONNECTION_FDS_MAX];
	struct stream_fds came = { fds, CONNECTION_FDS_MAX - c->n_passed, 0, false };
	struct iovec iov[2];
	size_t n_iov = 0;
	ssize_t got;

	if (n > 0)
		iov[n_iov++] = (struct iovec){ body, n };
	if (ahead)
		iov[n_iov++] = (struct iovec){ c->ahead + c->tail, CONNECTION_AHEAD_MAX - c->tail };
	got = c->other != NULL && connection_is_within(c) ? wait_for_rest(c, until) : 0;
	if (got == 0)
		got = stream_read(&c->s, iov, n_iov, &came, until);
	if (got == 0)
		got = connection_is_within(c) ? -EPROTO : -ENODATA;
	if (got < 0) {
		if (got != -ETIMEDOUT)
			c->read_error = (int)got;
		return got;
	}
	keep_passed(c, &came, c->place + n_ahead(c) + (size_t)got - 1);
	return got;
}

/* The same for a long message, of which `rest` bytes are to come: into n bytes, and what follows it ahead, which is empty. */
static ssize_t fill_body(struct mps_connection *c, uint8_t *p, size_t n, size_t rest,
			 struct mps_time until)
{
	ssize_t got = fill(c, p, n, n == rest, until);
	size_t in_body;

	if (got < 0)
		return got;
	in_body = (size_t)got < n ? (size_t)got : n;
	c->tail = (size_t)got - in_body;
	c->head = 0;
	c->place += in_body;
	consume(c, 0);
	return (ssize_t)in_body;
}

/* Reads ahead until n bytes are there, which fit. */
static int need(struct mps_connection *c, size_t n, struct mps_time until)
{
	ssize_t r;

	if (n_ahead(c) >= n)
		return 0;
	r = connection_need_ahead(c);
	while (r >= 0 && n_ahead(c) < n) {
		if (c->head + n > CONNECTION_AHEAD_MAX) {
			memmove(c->ahead, c->ahead + c->head, n_ahead(c));
			c->tail -= c->head;
			c->head = 0;
		}
		r = fill(c, NULL, 0, true, until);
		if (r > 0)
			c->tail += (size_t)r;
	}
	return r < 0 ? (int)r : 0;
}

static bool fd_is_next(const struct mps_connection *c)
{
	return c->n_passed > 0 && c->passed[0].at == c->place;
}

/* The next header, which stays where it is: its size, or an error. */
static int peek(struct mps_connection *c, size_t *ret_length, struct mps_time until)
{
	uint64_t length = 0;
	int r = need(c, 1, until);
	int size = 0;

	if (r == 0 && fd_is_next(c))
		return -EBADMSG;
	if (r == 0)
		r = need(c, sizeof(uint32_t), until);
	if (r == 0) {
		size = frame_decode(c->ahead + c->head, n_ahead(c), &length);
		if (size == 0)
			r = need(c, FRAME_HEADER_MAX, until);
		if (r == 0 && size == 0)
			size = frame_decode(c->ahead + c->head, n_ahead(c), &length);
	}
	if (r == 0 && size < 0)
		r = c->read_error = size;
	if (r == 0 && length > c->limit)
		r = c->read_error = -EMSGSIZE;
	if (r < 0)
		return r;
	*ret_length = (size_t)length;
	return size;
}

/* A long message's own memory from now on, with what of it has come. */
static int begin(struct mps_connection *c, size_t header, size_t length)
{
	size_t n = n_ahead(c) - header;
	int r = connection_need_body(c, length < CONNECTION_BODY_FIRST ? length
								       : CONNECTION_BODY_FIRST);

	if (r < 0)
		return r;
	c->begun = true;
	c->length = length;
	c->got = n;
	memcpy(c->body, c->ahead + c->head + header, n);
	consume(c, header + n);
	return 0;
}

/* The rest of it. Memory is taken as it comes, for a length is easily said. */
static int complete(struct mps_connection *c, struct mps_time until)
{
	while (c->got < c->length) {
		size_t room =
			c->got < CONNECTION_BODY_FIRST / 2 ? CONNECTION_BODY_FIRST : 2 * c->got;
		ssize_t r = 0;

		if (c->got == c->body_size)
			r = connection_need_body(c, room < c->length ? room : c->length);
		if (r == 0) {
			room = c->length < c->body_size ? c->length : c->body_size;
			r = fill_body(c, c->body + c->got, room - c->got, c->length - c->got,
				      until);
		}
		if (r < 0)
			return (int)r;
		c->got += (size_t)r;
	}
	return 0;
}

/* A long message, of which nothing is in our memory, straight into the caller's. What of it came in time is kept. */
static int straight(struct mps_connection *c, size_t header, uint8_t *p, size_t n,
		    struct mps_time until)
{
	size_t done = n_ahead(c) - header;
	ssize_t r = 0;

	memcpy(p, c->ahead + c->head + header, done);
	consume(c, header + done);
	c->begun = true;
	while (r >= 0 && done < n) {
		r = fill_body(c, p + done, n - done, n - done, until);
		if (r > 0)
			done += (size_t)r;
	}
	if (r == -ETIMEDOUT) {
		c->length = n;
		c->got = done;
		if (connection_need_body(c, done > 0 ? done : 1) == 0) {
			memcpy(c->body, p, done);
			return -ETIMEDOUT;
		}
		r = c->read_error = -ENOMEM;
	}
	c->begun = false;
	return r < 0 ? (int)r : 0;
}

/* What there is to be known of the next message before it is received: its header's size (0: it has begun), or an error. */
static int next_message(struct mps_connection *c, size_t *ret_n, struct mps_time until)
{
	if (!c->s.reads)
		return -EBADF;
	if (c->begun) {
		*ret_n = c->length;
		return 0;
	}
	if (c->read_error < 0)
		return c->read_error;
	return peek(c, ret_n, until);
}

/* All of it is here: 0. *header, if not 0 afterwards: in `ahead`, behind a header of that size; otherwise as the body. */
static int gather(struct mps_connection *c, int *header, size_t n, struct mps_time until)
{
	int r;

	if (*header > 0 && (size_t)*header + n <= CONNECTION_AHEAD_MAX)
		return need(c, (size_t)*header + n, until);
	if (*header > 0) {
		r = begin(c, (size_t)*header, n);
		if (r < 0)
			return r;
		*header = 0;
	}
	return c->read_error < 0 ? c->read_error : complete(c, until);
}

static int gather_next(struct mps_connection *c, int *ret_header, size_t *ret_n,
		       struct mps_time until)
{
	*ret_header = next_message(c, ret_n, until);
	return *ret_header < 0 ? *ret_header : gather(c, ret_header, *ret_n, until);
}

/* The gathered message, and it is received. */
static const uint8_t *take(struct mps_connection *c, int header, size_t n)
{
	const uint8_t *p = c->body;

	c->begun = false;
	if (header > 0) {
		p = c->ahead + c->head + header;
		consume(c, (size_t)header + n);
	}
	return p;
}

/* Memory for a message that was longer than most is let go. */
static void trim(struct mps_connection *c)
{
	if (c->begun || c->body_size <= CONNECTION_KEEP_MAX)
		return;
	free(c->body);
	c->body = NULL;
	c->body_size = 0;
}

int mps_recv(struct mps_connection *c, const void **ret_p, size_t *ret_n, int64_t timeout)
{
	size_t n;
	int header, r;

	trim(c);
	r = gather_next(c, &header, &n, until_of(timeout));
	if (r < 0)
		return r;
	*ret_p = take(c, header, n);
	*ret_n = n;
	return 0;
}

int mps_recv_into(struct mps_connection *c, void *p, size_t size, size_t *ret_n, int64_t timeout)
{
	struct mps_time until = until_of(timeout);
	size_t n;
	int header, r;

	trim(c);
	header = next_message(c, &n, until);
	if (header < 0)
		return header;
	*ret_n = n;
	if (n > size)
		return -ENOBUFS;
	if (header > 0 && (size_t)header + n > CONNECTION_AHEAD_MAX)
		return straight(c, (size_t)header, p, n, until);
	r = gather(c, &header, n, until);
	if (r == 0 && n > 0)
		memcpy(p, take(c, header, n), n);
	else if (r == 0)
		take(c, header, n);
	return r;
}

int mps_connection_poll(struct mps_connection *c, int64_t timeout)
{
	size_t n;
	int header, r;

	r = gather_next(c, &header, &n, until_of(timeout));
	if (r == -ENOMEM || r == -EBADF)
		return r;
	return r != -ETIMEDOUT;
}

int mps_recv_fd(struct mps_connection *c, int *ret_fd, int64_t timeout)
{
	struct mps_time until = until_of(timeout);
	int fd, r;

	if (!c->s.is_socket)
		return -EOPNOTSUPP;
	if (c->begun)
		return -EBADMSG;
	r = c->read_error < 0 ? c->read_error : need(c, 1, until);
	if (r < 0)
		return r;
	if (!fd_is_next(c))
		return -EBADMSG;
	fd = c->passed[0].fd;
	if (c->n_passed > 1 && c->passed[1].at == c->place)
		fd = -EMFILE; /* more than one, or not all of them */
	else
		c->passed[0].fd = -1;
	if (fd >= 0 && c->ahead[c->head] != 1) {
		close(fd);
		fd = -EBADMSG;
	}
	consume(c, 1);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}
