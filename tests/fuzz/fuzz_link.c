/*
 * Bytes are what a manager's server answers to four requests: frames as they come, or by the first byte pieces [seq, status,
 * descriptors, length] that get a good head. Each request has an outcome, which is a status and perhaps bytes, and nothing
 * stays.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "ipc/connection.h"
#include "manager/link.h"
#include "poke.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { REQUESTS = 4 };

static struct link *make_link(int fd)
{
	struct link *l = calloc(1, sizeof(*l));

	MUST(l != NULL);
	l->references = 1;
	l->bell = -1;
	MUST(pthread_mutex_init(&l->lock, NULL) == 0);
	MUST(stream_open(&l->s, fd) == 0);
	return l;
}

static void say(int fd, const void *p, size_t n)
{
	MUST(send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n);
}

/* With a descriptor, as those of memory come. */
static void say_with_fd(int fd, const void *p, size_t n)
{
	char control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec iov = { (void *)(uintptr_t)p, n };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	MUST(sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n);
}

static void say_answers(int fd, struct input *in)
{
	while (in->left > 0) {
		uint8_t message[FRAME_HEADER_MAX + sizeof(struct wire_answer) + 256];
		uint8_t what = (uint8_t)byte(in);
		struct wire_answer head = { .seq = htole32(what & 7),
					    .status = (int32_t)htole32((uint32_t)(int8_t)byte(in)),
					    .n_fds = htole16(what >> 3 & 3) };
		size_t n = byte(in), at;

		if (n > in->left)
			n = in->left;
		at = frame_encode(message, sizeof(head) + n);
		memcpy(message + at, &head, sizeof(head));
		memcpy(message + at + sizeof(head), in->p, n);
		in->p += n;
		in->left -= n;
		if (what & 0x80)
			say_with_fd(fd, message, at + sizeof(head) + n);
		else
			say(fd, message, at + sizeof(head) + n);
	}
}

static void check(struct link *l, struct link_pending *p)
{
	int r = link_await(l, p, (struct mps_time){ INT64_MAX });

	MUST(r < 0 || (p->done && r == p->status));
	MUST(p->n == 0 || p->p != NULL || r < 0);
	link_drop(l, p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nothing[] = { 0x90 };
	struct link_request q = { .timeout = INT64_MAX, .args = nothing, .n = sizeof(nothing) };
	struct link_pending *p[REQUESTS];
	struct input in = { data, size < 16384 ? size : 16384 };
	struct link *l;
	int fds[2];
	bool whole;

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	l = make_link(fds[0]);
	for (int i = 0; i < REQUESTS; i++) {
		q.handle = (uint32_t)i;
		MUST(link_send(l, &q, &p[i], (struct mps_time){ INT64_MAX }) == 0);
	}
	whole = byte(&in) & 1;
	if (whole)
		say_answers(fds[1], &in);
	else if (in.left > 0)
		say(fds[1], in.p, in.left);
	MUST(shutdown(fds[1], SHUT_WR) == 0);
	for (int i = 0; i < REQUESTS; i++)
		check(l, p[i]);
	link_unref(l);
	close(fds[1]);
	return 0;
}
