/*
 * Writing without blocking. See drain.h.
 */
#include "map/drain.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

/* A pipe that is ready takes so much at least (PIPE_BUF). */
enum { LITTLE = 4096 };

void drain_init(struct drain *o, int fd)
{
	char path[32];
	struct stat st;
	int again = -1;

	*o = (struct drain){ .fd = fd, .is_tty = isatty(fd) };
	if (fstat(fd, &st) < 0)
		return;
	if (S_ISSOCK(st.st_mode)) {
		o->how = DRAIN_SOCKET;
		return;
	}
	if (!S_ISFIFO(st.st_mode) && !o->is_tty)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	o->how = again >= 0 ? DRAIN_AGAIN : DRAIN_ASKED;
	if (again >= 0)
		o->fd = again;
}

void drain_fini(struct drain *o)
{
	if (o->how == DRAIN_AGAIN)
		fd_close(&o->fd);
	buf_fini(&o->b);
}

static ssize_t put(const struct drain *o, const char *p, size_t n)
{
	struct pollfd asked = { .fd = o->fd, .events = POLLOUT };

	if (o->how == DRAIN_SOCKET)
		return send(o->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (o->how != DRAIN_ASKED)
		return write(o->fd, p, n);
	if (poll(&asked, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	return write(o->fd, p, n < LITTLE ? n : LITTLE);
}

void drain_flush(struct drain *o)
{
	o->full = false;
	while (drain_waiting(o) > 0 && o->error == 0) {
		ssize_t n = put(o, o->b.p + o->from, drain_waiting(o));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			o->full = true;
			break;
		}
		if (n < 0)
			o->error = -errno;
		else
			o->from += (size_t)n;
	}
	if (drain_waiting(o) == 0 || o->error != 0) {
		buf_reset(&o->b);
		o->from = 0;
	} else if (o->from > o->b.len / 2) {
		buf_drop(&o->b, o->from);
		o->from = 0;
	}
}

bool drain_is_same(const struct drain *a, const struct drain *b)
{
	struct stat x, y;

	return fstat(a->fd, &x) == 0 && fstat(b->fd, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}
