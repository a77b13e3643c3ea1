/*
 * File descriptors. See fd.h for the contracts.
 */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

void cleanup_close(int *fd)
{
	fd_close(fd);
}

static int set_flag(int fd, int get, int set, int flag, bool on)
{
	int flags = fcntl(fd, get);

	if (flags < 0)
		return -errno;
	if (on == ((flags & flag) != 0))
		return 0;
	return fcntl(fd, set, on ? flags | flag : flags & ~flag) < 0 ? -errno : 0;
}

int fd_set_cloexec(int fd, bool on)
{
	return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int fd_set_nonblock(int fd, bool on)
{
	return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

bool fd_is_locked(int dir, const char *name)
{
	AUTO_CLOSE int lock = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) < 0;
}

int fd_lock(int fd)
{
	enum { LOOKS_MAX = 100000 };

	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		/* Who looks has it shared, for a moment. */
		if (i == LOOKS_MAX || flock(fd, LOCK_SH | LOCK_NB) < 0)
			return -EWOULDBLOCK;
		flock(fd, LOCK_UN);
		sched_yield();
	}
	return 0;
}

int fd_write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t w = write(fd, at, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		at += w;
		n -= (size_t)w;
	}
	return 0;
}

int fd_read_all(int fd, size_t max, char **ret_text, size_t *ret_len)
{
	AUTO_BUF b = BUF_INIT;

	for (;;) {
		char *to = buf_reserve(&b, 16384);
		ssize_t r;

		if (to == NULL)
			return -ENOMEM;
		r = read(fd, to, 16384);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		b.len += (size_t)r;
		if (b.len > max)
			return -EFBIG;
	}
	*ret_len = b.len;
	*ret_text = buf_take(&b);
	return *ret_text != NULL ? 0 : -ENOMEM;
}

int fd_read_file(const char *path, size_t max, char **ret_text, size_t *ret_len)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return -errno;
	return fd_read_all(fd, max, ret_text, ret_len);
}

union fd_control {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int) * FORKSERVER_FDS_MAX)];
};

int fd_send(int sock, const struct iovec *iov, size_t iovcnt, const int *fds, size_t nfds)
{
	union fd_control control;
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = iovcnt };

	if (nfds > FORKSERVER_FDS_MAX)
		return -EINVAL;
	if (nfds > 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	for (;;) {
		if (sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

bool fd_take(struct msghdr *m, int *fds, size_t max, size_t *n)
{
	bool cut = (m->msg_flags & MSG_CTRUNC) != 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (*n < max) {
				fds[(*n)++] = fd;
			} else {
				fd_close(&fd);
				cut = true;
			}
		}
	}
	return !cut;
}

ssize_t fd_recv(int sock, void *p, size_t size, int *fds, size_t max_fds, size_t *ret_nfds,
		bool *ret_cut)
{
	union fd_control control;
	struct iovec iov = { p, size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	*ret_nfds = 0;
	*ret_cut = false;
	msg.msg_control = &control;
	msg.msg_controllen = sizeof(control);
	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*ret_cut = !fd_take(&msg, fds, max_fds, ret_nfds) || (msg.msg_flags & MSG_TRUNC) != 0;
	return n;
}

int fd_connect_unix(int type, const char *name)
{
	AUTO_CLOSE int sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = strlen(name);

	if (sock < 0)
		return -errno;
	if ((name[0] != '@' && name[0] != '/') || n < 2 || n >= sizeof(a.sun_path))
		return -EINVAL;
	memcpy(a.sun_path, name, n);
	if (name[0] == '@')
		a.sun_path[0] = '\0';
	else
		n++; /* with its NUL */
	if (connect(sock, (struct sockaddr *)&a,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		return -errno;
	return TAKE_FD(sock);
}

void fd_make_room(size_t n)
{
	int fd = open("/", O_PATH | O_CLOEXEC), high = -1;

	if (fd >= 0)
		high = fcntl(fd, F_DUPFD_CLOEXEC, (int)n - 1);
	fd_close(&high);
	fd_close(&fd);
}

int fd_check_room(size_t n)
{
	AUTO_CLOSE int fd = open("/", O_PATH | O_CLOEXEC);
	int r = fd < 0 ? -errno : 0;

	if (r == 0 && n > 1)
		r = fd_check_room(n - 1);
	return r;
}

size_t fd_raise_limit(size_t want)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return 0;
	if (r.rlim_cur >= want)
		return r.rlim_cur;
	if (r.rlim_max < want) {
		struct rlimit more = { want, want };

		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			return want;
		want = r.rlim_max;
	}
	r.rlim_cur = want;
	setrlimit(RLIMIT_NOFILE, &r);
	getrlimit(RLIMIT_NOFILE, &r);
	return r.rlim_cur;
}
