/*
 * Bytes over a pipe or a stream socket, in a limited time, although others may share the open file: so O_NONBLOCK is never
 * set on it. SIGPIPE reaches nobody, and no descriptor that comes with the bytes is lost.
 */
#ifndef IPC_STREAM_H
#define IPC_STREAM_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/mtime.h"

struct stream {
	int fd;
	bool is_socket, reads, writes;
	bool nowait,
		nosignal; /* flags that reads and writes of this pipe take; false for sockets */
};

/* Descriptors that have come with bytes. */
struct stream_fds {
	int *fds;
	size_t max, n;
	bool cut; /* there was no room for all */
};

/* What is left of a time of until_of() (futex.h): 0 or less = it is over, INT64_MAX = for ever. */
int64_t stream_left(struct mps_time until);
/* poll(2) that is not interrupted by a signal: how many there are, 0 when the time is over, or -errno. */
int stream_poll(struct pollfd *p, size_t n, struct mps_time until);
/* 0, -ETIMEDOUT or -errno; errors and the end of file are events, too. */
int stream_wait(int fd, short events, struct mps_time until);

/* -EBADF, or -EINVAL: neither a pipe nor a stream socket. */
int stream_open(struct stream *s, int fd);
/* What there is, at least one byte: how many; 0 = the end. -ETIMEDOUT, -errno. */
ssize_t stream_read(struct stream *s, const struct iovec *iov, size_t n, struct stream_fds *fds,
		    struct mps_time until);
/* recvmsg(2) of a socket, once: how many bytes; -1 with errno. */
ssize_t stream_receive(struct stream *s, const struct iovec *iov, size_t n, struct stream_fds *fds,
		       bool may_block);
/* All of them. On error *ret_done, which may be NULL, is how many bytes have gone. -EPIPE, -ETIMEDOUT, -errno. */
int stream_write(struct stream *s, struct iovec *iov, size_t n, struct mps_time until,
		 size_t *ret_done);
/* One byte with a descriptor (unix(7)). */
int stream_send_fd(struct stream *s, uint8_t byte, int fd, struct mps_time until);

#endif
