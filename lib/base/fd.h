/*
 * File descriptors: CLOEXEC at birth, moved between processes by SCM_RIGHTS.
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Closes *fd if it is >= 0 and sets it to -1; errno is kept. */
void fd_close(int *fd);

/* 0 or -errno. */
int fd_set_cloexec(int fd, bool on);
int fd_set_nonblock(int fd, bool on);

/*
 * True where somebody holds the lock of the file `name` in the folder `dir` (flock(2)). It is opened for reading only, so
 * that those who watch it are not woken.
 */
bool fd_is_locked(int dir, const char *name);
/* Takes it (LOCK_EX), and does not take one who only looks for somebody who holds it. 0, or -EWOULDBLOCK or another -errno. */
int fd_lock(int fd);

/* All of n bytes, through EINTR and short writes (the fd must block). 0 or -errno. */
int fd_write_all(int fd, const void *p, size_t n);

/* The whole file from where it stands, at most `max` bytes, as a heap string the caller frees. -EFBIG if longer. */
int fd_read_all(int fd, size_t max, char **ret_text, size_t *ret_len);
int fd_read_file(const char *path, size_t max, char **ret_text, size_t *ret_len);

/*
 * A unix socket of that type (SOCK_STREAM ...), CLOEXEC, connected to a path or to "@NAME", an abstract one. The
 * descriptor, or -errno; -EINVAL: neither, or too long.
 */
int fd_connect_unix(int type, const char *name);

/*
 * One datagram with descriptors (SCM_RIGHTS, unix(7)). fd_send: 0 or -errno (-EAGAIN on a full socket, -EMSGSIZE).
 * fd_recv: bytes received, 0 at end of file, or -errno; received fds are CLOEXEC and the caller's. *ret_cut is set
 * when descriptors had to be dropped (our table is full, or there are more than max_fds) or bytes; then what did arrive
 * is still returned.
 */
int fd_send(int sock, const struct iovec *iov, size_t iovcnt, const int *fds, size_t nfds);
ssize_t fd_recv(int sock, void *p, size_t size, int *fds, size_t max_fds, size_t *ret_nfds,
		bool *ret_cut);
/* Adds the descriptors of a message that was received to the *n that are in fds. False: some of them were dropped. */
bool fd_take(struct msghdr *m, int *fds, size_t max, size_t *n);

/*
 * Makes room in the kernel's table for n descriptors, as far as the limit allows. It grows by itself, but where threads share
 * it each time waits for an RCU grace period, 10 ms and more (expand_fdtable() in fs/file.c): so before the first thread.
 */
void fd_make_room(size_t n);

/*
 * That n more (a few) can be had now: before calls of others that abort where they cannot. 0,
 * -EMFILE or another -errno.
 */
int fd_check_room(size_t n);

/* Raises the soft RLIMIT_NOFILE to at least `want`, and the hard one where allowed. The soft limit now in force. */
size_t fd_raise_limit(size_t want);

#endif
