/*
 * Reads and writes that end in time.
 *
 * On sockets MSG_DONTWAIT says it for one call. On pipes RWF_NOWAIT does (Linux 6.4); without it poll(2) comes first, and
 * then at most PIPE_BUF bytes are written, for which there is room when poll says so. Where the time has no limit a plain
 * call that blocks is all there is. SIGPIPE: MSG_NOSIGNAL, RWF_NOSIGNAL (Linux 6.18); without that it is blocked for the
 * call and taken back.
 */
#include "ipc/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/feature.h"

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100
#endif

static const struct mps_time forever = { INT64_MAX };

int64_t stream_left(struct mps_time until)
{
	return until.ns == 0 || until.ns == forever.ns ? until.ns : until.ns - mps_now().ns;
}

int stream_poll(struct pollfd *p, size_t n, struct mps_time until)
{
	int r;

	do {
		int64_t left = stream_left(until);
		struct timespec ts = { 0, 0 };

		if (left > 0)
			ts = (struct timespec){ left / MPS_NS_PER_S, left % MPS_NS_PER_S };
		r = ppoll(p, n, left == INT64_MAX ? NULL : &ts, NULL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

int stream_wait(int fd, short events, struct mps_time until)
{
	struct pollfd p = { .fd = fd, .events = events };
	int r = stream_poll(&p, 1, until);

	if (r > 0 && (p.revents & POLLNVAL))
		return -EBADF;
	return r > 0 ? 0 : r < 0 ? r : -ETIMEDOUT;
}

static int socket_open(struct stream *s)
{
	int type;
	socklen_t size = sizeof(type);

	if (getsockopt(s->fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return -errno;
	if (type != SOCK_STREAM)
		return -EINVAL;
	s->is_socket = s->reads = s->writes = true;
	return 0;
}

int stream_open(struct stream *s, int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	*s = (struct stream){ .fd = fd };
	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISSOCK(st.st_mode))
		return socket_open(s);
	if (!S_ISFIFO(st.st_mode))
		return -EINVAL;
	s->reads = (flags & O_ACCMODE) != O_WRONLY;
	s->writes = (flags & O_ACCMODE) != O_RDONLY;
	s->nowait = s->nosignal = feature_allowed(FEATURE_RWF);
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- reading */

ssize_t stream_receive(struct stream *s, const struct iovec *iov, size_t n, struct stream_fds *fds,
		       bool may_block)
{
	union {
		char room[CMSG_SPACE(253 * sizeof(int))]; /* SCM_MAX_FD */
		struct cmsghdr align;
	} control;
	struct msghdr m = {
		.msg_iov = (struct iovec *)iov,
		.msg_iovlen = n,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t r = recvmsg(s->fd, &m, MSG_CMSG_CLOEXEC | (may_block ? 0 : MSG_DONTWAIT));

	if (r >= 0 && !fd_take(&m, fds->fds, fds->max, &fds->n))
		fds->cut = true;
	return r;
}

static ssize_t pipe_read(struct stream *s, const struct iovec *iov, size_t n, bool may_block)
{
	if (may_block)
		return n == 1 ? read(s->fd, iov->iov_base, iov->iov_len)
			      : readv(s->fd, iov, (int)n);
	if (s->nowait) {
		ssize_t r = preadv2(s->fd, iov, (int)n, -1, RWF_NOWAIT);

		if (r >= 0 || errno != EOPNOTSUPP)
			return r;
		s->nowait = false;
	}
	errno = -stream_wait(s->fd, POLLIN, (struct mps_time){ 0 });
	if (errno != 0) {
		errno = errno == ETIMEDOUT ? EAGAIN : errno;
		return -1;
	}
	return readv(s->fd, iov, (int)n);
}

ssize_t stream_read(struct stream *s, const struct iovec *iov, size_t n, struct stream_fds *fds,
		    struct mps_time until)
{
	bool may_block = until.ns == forever.ns;

	for (;;) {
		ssize_t got = s->is_socket ? stream_receive(s, iov, n, fds, may_block)
					   : pipe_read(s, iov, n, may_block);
		int r;

		if (got >= 0)
			return got;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return errno == ECONNRESET ? 0 : -errno;
		r = until.ns == 0 ? -ETIMEDOUT : stream_wait(s->fd, POLLIN, until);
		if (r < 0)
			return r;
	}
}

/* ---------------------------------------------------------------------------------------------------- writing */

/* writev(2), and a SIGPIPE of ours is taken back; one that has been pending before stays. */
static ssize_t quiet_writev(int fd, const struct iovec *iov, size_t n)
{
	static const struct timespec at_once = { 0, 0 };
	sigset_t pipe_only, before, pending;
	ssize_t r;
	int saved;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigemptyset(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
	if (sigismember(&before, SIGPIPE))
		sigpending(&pending);
	r = writev(fd, iov, (int)n);
	saved = errno;
	if (r < 0 && saved == EPIPE && !sigismember(&pending, SIGPIPE))
		while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return r;
}

/* The first `max` bytes of the list. */
static size_t first_bytes(const struct iovec *iov, size_t n, size_t max, struct iovec out[2])
{
	size_t i;

	for (i = 0; i < n && i < 2 && max > 0; i++) {
		out[i] = iov[i];
		if (out[i].iov_len > max)
			out[i].iov_len = max;
		max -= out[i].iov_len;
	}
	return i;
}

static ssize_t pipe_write(struct stream *s, const struct iovec *iov, size_t n, bool may_block)
{
	struct iovec part[2];

	if (s->nosignal) {
		ssize_t r = pwritev2(s->fd, iov, (int)n, -1,
				     RWF_NOSIGNAL | (may_block ? 0 : RWF_NOWAIT));

		if (r >= 0 || errno != EOPNOTSUPP)
			return r;
		s->nosignal = false;
	}
	if (may_block)
		return quiet_writev(s->fd, iov, n);
	errno = -stream_wait(s->fd, POLLOUT, (struct mps_time){ 0 });
	if (errno != 0) {
		errno = errno == ETIMEDOUT ? EAGAIN : errno;
		return -1;
	}
	n = first_bytes(iov, n, PIPE_BUF, part);
	return quiet_writev(s->fd, part, n);
}

static ssize_t socket_write(struct stream *s, const struct iovec *iov, size_t n, bool may_block)
{
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	int flags = MSG_NOSIGNAL | (may_block ? 0 : MSG_DONTWAIT);

	return n == 1 ? send(s->fd, iov->iov_base, iov->iov_len, flags) : sendmsg(s->fd, &m, flags);
}

/* What has been written is gone from the list. */
static void advance(struct iovec **iov, size_t *n, size_t done)
{
	while (*n > 0 && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (done > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

/* The error of a write as ours: 0 = again. */
static int after_error(struct stream *s, struct mps_time until)
{
	if (errno == EINTR)
		return 0;
	if (errno == EAGAIN)
		return until.ns == 0 ? -ETIMEDOUT : stream_wait(s->fd, POLLOUT, until);
	return errno == ECONNRESET ? -EPIPE : -errno;
}

int stream_write(struct stream *s, struct iovec *iov, size_t n, struct mps_time until,
		 size_t *ret_done)
{
	bool may_block = until.ns == forever.ns;
	size_t done = 0;
	int r = 0;

	while (n > 0 && r == 0) {
		ssize_t w = s->is_socket ? socket_write(s, iov, n, may_block)
					 : pipe_write(s, iov, n, may_block);

		if (w >= 0) {
			done += (size_t)w;
			advance(&iov, &n, (size_t)w);
		} else {
			r = after_error(s, until);
		}
	}
	if (r < 0 && ret_done != NULL)
		*ret_done = done;
	return r;
}

int stream_send_fd(struct stream *s, uint8_t byte, int fd, struct mps_time until)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr head;
	} control = { .head = { .cmsg_len = CMSG_LEN(sizeof(int)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control.room) };
	int r;

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	do {
		if (sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		r = after_error(s, until);
	} while (r == 0);
	return r;
}
