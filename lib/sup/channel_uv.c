/*
 * The channel of one process (MPSUP_CONTROL_FD): a pair of packet sockets, made with each start that wants one, of which
 * the keeper holds our end too. What the process says there is what it may say on NOTIFY_SOCKET, but nobody else can have
 * said it; what we say to it are single lines, which it may let lie: then there is no room, and who says more is told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "sup/said.h"
#include "sup/sup_uv.h"

enum { TURN_MAX = 64, LISTEN_MAX = 1024 };

struct channel {
	uv_poll_t poll;
	struct unit *unit;
	int fd;
};

int channel_fd(const struct channel *c)
{
	return c->fd;
}

/* As the socket of all: a message is taken out when it has been acted upon. False when there is no more. */
static bool read_one(struct channel *c)
{
	static char in[NOTIFY_MSG_MAX + 1];
	struct iovec iov = { in, sizeof(in) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct unit *u = c->unit;
	ssize_t n = recvmsg(c->fd, &msg, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR;
	if (n > 0)
		said_message(u, in, (size_t)n, msg.msg_flags & MSG_TRUNC, true);
	while (recv(c->fd, NULL, 0, MSG_DONTWAIT) < 0 && errno == EINTR)
		;
	return n > 0; /* 0 is an empty message, or the end: the next turn will tell */
}

static void read_some(struct unit *u, int max)
{
	struct channel *c = u->channel;

	/* What is said may be the end of this channel. */
	for (int i = 0; i < max && c != NULL && u->channel == c && read_one(c); i++)
		;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct channel *c = poll->data;

	(void)status;
	if (events & UV_DISCONNECT) { /* all who held the other end are gone */
		uv_poll_stop(poll);
		channel_listen(c->unit);
	} else {
		read_some(c->unit, TURN_MAX);
	}
}

void channel_listen(struct unit *u)
{
	read_some(u, LISTEN_MAX);
}

int channel_adopt(struct unit *u, int fd)
{
	struct channel *c = xcalloc(1, sizeof(*c));
	int r = uv_poll_init(&u->sup->loop, &c->poll, fd);

	if (r < 0) {
		free(c);
		return r;
	}
	channel_close(u);
	c->poll.data = c;
	c->unit = u;
	c->fd = fd;
	u->channel = c;
	uv_poll_start(&c->poll, UV_READABLE | UV_DISCONNECT, on_readable);
	return 0;
}

int channel_make(struct unit *u, int *ret_end)
{
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	r = channel_adopt(u, ends[0]);
	if (r < 0) {
		close(ends[0]);
		close(ends[1]);
		return r;
	}
	*ret_end = ends[1];
	return 0;
}

int channel_say(struct unit *u, const char *key, const char *text)
{
	AUTO_BUF b = BUF_INIT;
	struct iovec iov;
	int r;

	if (u->channel == NULL || u->svc.pid == 0)
		return -ENOTCONN;
	buf_addf(&b, "%s=%s", key, text);
	if (b.failed || b.len > NOTIFY_MSG_MAX)
		return -EMSGSIZE;
	iov = (struct iovec){ b.p, b.len };
	r = fd_send(u->channel->fd, &iov, 1, NULL, 0);
	return r == -EPIPE || r == -ECONNRESET ? -ENOTCONN : r;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void channel_close(struct unit *u)
{
	struct channel *c = TAKE_PTR(u->channel);

	if (c == NULL)
		return;
	uv_close((uv_handle_t *)&c->poll, on_closed);
	fd_close(&c->fd);
}
