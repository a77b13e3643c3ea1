/*
 * The program's end of what notify_uv.c and channel_uv.c listen to. See tell.h.
 */
#include "sup/tell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/limits.h"

enum { PATIENCE_MS = 5000 };

/* The channel, if the variable tells of one and it is ours still; a child may have been started without it. */
static int channel(void)
{
	const char *text = getenv("MPSUP_CONTROL_FD");
	char *end;
	long fd = text != NULL ? strtol(text, &end, 10) : -1;
	int type = 0;
	socklen_t size = sizeof(type);

	if (text == NULL || *end != '\0' || fd < 0 || fd > 1 << 20 ||
	    getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET)
		return -1;
	return (int)fd;
}

/* Like fd_send(), but waits for room. */
static int say(int sock, const char *text, const int *fd)
{
	struct iovec iov = { (char *)text, strlen(text) };
	struct pollfd p = { .fd = sock, .events = POLLOUT };
	int r;

	while ((r = fd_send(sock, &iov, 1, fd, fd != NULL)) == -EAGAIN)
		if (poll(&p, 1, PATIENCE_MS) == 0)
			return -ETIMEDOUT;
	return r;
}

/* sd_notify_barrier(3): the other side closes the descriptor when it has read so far. */
static int wait_until_read(int sock)
{
	AUTO_CLOSE int ours = -1;
	struct pollfd p = { 0 };
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	ours = ends[0];
	r = say(sock, "BARRIER=1", &ends[1]);
	close(ends[1]);
	if (r < 0)
		return r;
	p.fd = ours;
	return poll(&p, 1, PATIENCE_MS) > 0 ? 0 : -ETIMEDOUT;
}

int tell_supervisor(const char *text, struct err *err)
{
	const char *name = getenv("NOTIFY_SOCKET");
	AUTO_CLOSE int sock = -1;
	int fd = channel(), r;

	if (strlen(text) > NOTIFY_MSG_MAX)
		return err_set(err, -EMSGSIZE, "the message has %zu bytes (%d at most)",
			       strlen(text), NOTIFY_MSG_MAX);
	if (fd >= 0) {
		r = say(fd, text, NULL);
		if (r == 0)
			r = wait_until_read(fd);
		return r < 0 ? err_set(err, r, "MPSUP_CONTROL_FD=%d: %s", fd, strerror(-r)) : 0;
	}
	if (name == NULL || name[0] == '\0')
		return err_set(err, -ENOTCONN,
			       "nobody to tell: neither MPSUP_CONTROL_FD nor NOTIFY_SOCKET is set "
			       "(does a supervisor run this, and without control=off?)");
	r = sock = fd_connect_unix(SOCK_DGRAM, name);
	if (r >= 0)
		r = say(sock, text, NULL);
	if (r == 0)
		r = wait_until_read(sock);
	return r < 0 ? err_set(err, r, "NOTIFY_SOCKET=%s: %s", name, strerror(-r)) : 0;
}
