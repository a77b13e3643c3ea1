/*
 * The manager's protocol without its client: frames written and read by hand, as a stranger would. For tests and benchmarks.
 */
#ifndef TESTS_MANAGER_RAW_H
#define TESTS_MANAGER_RAW_H

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "manager/wire.h"
#include "mpsup.h"

enum { RAW_LIMIT_MS = 20000, RAW_ROOM = 1 << 20 };

struct raw {
	int fd;
	uint32_t seq; /* of the last request */
	uint8_t *room;
	size_t from, to;
	int fds[8]; /* that have come; the caller's */
	size_t n_fds;
};

struct raw_answer {
	uint32_t seq;
	int32_t status;
	unsigned n_fds;
	const void *value; /* until the next is read */
	size_t n;
};

/* A request as it lies on the wire: how many bytes. */
static inline size_t raw_request(void *to, uint32_t seq, uint32_t handle, unsigned method,
				 int64_t timeout, const void *args, size_t n)
{
	struct wire_request head = { .seq = seq,
				     .handle = handle,
				     .method = (uint16_t)method,
				     .thread = 1,
				     .timeout = timeout };
	uint32_t length = htobe32((uint32_t)(sizeof(head) + n));
	uint8_t *p = to;

	memcpy(p, &length, 4);
	memcpy(p + 4, &head, sizeof(head));
	if (n > 0)
		memcpy(p + 4 + sizeof(head), args, n);
	return 4 + sizeof(head) + n;
}

static inline int raw_write(struct raw *c, const void *p, size_t n)
{
	while (n > 0) {
		ssize_t w = send(c->fd, p, n, MSG_NOSIGNAL);

		if (w < 0)
			return -errno;
		p = (const char *)p + w;
		n -= (size_t)w;
	}
	return 0;
}

/* Its seq is c->seq then. */
static inline int raw_send(struct raw *c, uint32_t handle, unsigned method, int64_t timeout,
			   const void *args, size_t n)
{
	uint8_t small[512], *p = n < 256 ? small : malloc(n + 64);
	int r = raw_write(c, p, raw_request(p, ++c->seq, handle, method, timeout, args, n));

	if (p != small)
		free(p);
	return r;
}

static inline ssize_t raw_more(struct raw *c)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(8 * sizeof(int))];
	} control;
	struct iovec iov = { c->room + c->to, RAW_ROOM - c->to };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);

	if (n <= 0)
		return n == 0 ? -ECONNRESET : -errno;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h != NULL; h = CMSG_NXTHDR(&msg, h)) {
		size_t n_fds = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < n_fds && c->n_fds < 8; i++)
			memcpy(&c->fds[c->n_fds++], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
	}
	c->to += (size_t)n;
	return n;
}

/* The next answer. -ETIMEDOUT; -ECONNRESET. */
static inline int raw_read_for(struct raw *c, struct raw_answer *ret, int ms)
{
	struct wire_answer head;
	uint32_t length = 0;

	for (;;) {
		struct pollfd p = { .fd = c->fd, .events = POLLIN };

		if (c->to - c->from >= 4) {
			memcpy(&length, c->room + c->from, 4);
			length = be32toh(length);
			if (length < sizeof(head) || length > RAW_ROOM - 4)
				return -EPROTO;
			if (c->to - c->from - 4 >= length)
				break;
		}
		if (c->from > 0) {
			memmove(c->room, c->room + c->from, c->to - c->from);
			c->to -= c->from;
			c->from = 0;
		}
		if (ms >= 0 && poll(&p, 1, ms) == 0)
			return -ETIMEDOUT;
		ssize_t n = raw_more(c);
		if (n < 0)
			return (int)n;
	}
	memcpy(&head, c->room + c->from + 4, sizeof(head));
	*ret = (struct raw_answer){ head.seq, head.status, head.n_fds,
				    c->room + c->from + 4 + sizeof(head), length - sizeof(head) };
	c->from += 4 + length;
	return 0;
}

static inline int raw_read(struct raw *c, struct raw_answer *ret)
{
	return raw_read_for(c, ret, RAW_LIMIT_MS);
}

/* A request and its answer: the status. */
static inline int raw_ask(struct raw *c, uint32_t handle, unsigned method, int64_t timeout,
			  const void *args, size_t n, struct raw_answer *ret)
{
	int r = raw_send(c, handle, method, timeout, args, n);

	*ret = (struct raw_answer){ 0 }; /* gcc -O3 does not know that -errno is below 0 */
	if (r == 0)
		r = raw_read(c, ret);
	return r < 0 ? r : ret->status;
}

/* The same packed as by mps_pack(). */
#define raw_call(c_, handle_, method_, timeout_, ret_, ...)                                        \
	({                                                                                         \
		void *args_;                                                                       \
		size_t n_;                                                                         \
		int r_ = mps_pack(&args_, &n_, __VA_ARGS__);                                       \
		if (r_ == 0) {                                                                     \
			r_ = raw_ask(c_, handle_, method_, timeout_, args_, n_, ret_);             \
			free(args_);                                                               \
		}                                                                                  \
		r_;                                                                                \
	})

static inline int raw_open(struct raw *c, int fd, bool shares)
{
	struct raw_answer a;

	*c = (struct raw){ .fd = fd };
	c->room = malloc(RAW_ROOM);
	if (fd < 0 || c->room == NULL)
		return fd < 0 ? fd : -ENOMEM;
	return raw_call(c, 0, WIRE_HELLO, 0, &a, "[it]", (int64_t)WIRE_VERSION, (int)shares);
}

static inline void raw_close(struct raw *c)
{
	for (size_t i = 0; i < c->n_fds; i++)
		close(c->fds[i]);
	fd_close(&c->fd);
	free(c->room);
	c->room = NULL;
}

/* "/path" or "@name". */
static inline int raw_connect(struct raw *c, const char *name, bool shares)
{
	return raw_open(c, fd_connect_unix(SOCK_STREAM, name), shares);
}

/* Its handle, or what went wrong. name NULL = none. */
static inline int64_t raw_create(struct raw *c, const char *type, const char *name, unsigned flags)
{
	struct raw_answer a = { 0 };
	const char *is;
	const void *rest;
	size_t n_is, n_rest;
	int64_t handle;
	int r;

	if (name != NULL)
		r = raw_call(c, 0, WIRE_CREATE, 0, &a, "[ssin]", type, name, (int64_t)flags);
	else
		r = raw_call(c, 0, WIRE_CREATE, 0, &a, "[snin]", type, (int64_t)flags);
	if (r < 0)
		return r;
	r = mps_unpack(a.value, a.n, "[isv]", &handle, &is, &n_is, &rest, &n_rest);
	return r < 0 ? r : handle;
}

/* A server as a child of this process, which dies with it; it is there when this returns. */
static inline pid_t raw_serve(const struct mps_manager_options *o)
{
	int ends[2];
	char line[256];
	pid_t pid;

	if (pipe(ends) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		const char *why;
		int r;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		r = mps_manager_serve(o, ends[1], &why);
		if (r < 0)
			dprintf(2, "manager: %s\n", why);
		_exit(r < 0 ? 1 : 0);
	}
	close(ends[1]);
	if (pid > 0 && read(ends[0], line, sizeof(line)) <= 0) {
		waitpid(pid, NULL, 0);
		pid = -ECONNREFUSED;
	}
	close(ends[0]);
	return pid;
}

#endif
