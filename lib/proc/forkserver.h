/*
 * A forkserver: a process with a single thread that has loaded what workers need, and forks for each start. It listens on
 * nothing but the socket that it was started with, speaks once (whether it has loaded everything) and then only listens;
 * what becomes of a start is told on the pipe that comes with it, by the child itself. It knows nobody but its starter,
 * whose children the workers are. Garbage ends it, and nothing else.
 */
#ifndef PROC_FORKSERVER_H
#define PROC_FORKSERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct mps_spawn;
struct wire;

/* Where it finds its socket (SEQPACKET). */
#define FORKSERVER_FD 3

/* It ends with this status when it was asked for what is on disk now, and that has changed since it was loaded. */
#define FORKSERVER_STALE 3

/* The one thing that it says, a datagram of its own. */
struct forkserver_word {
	uint32_t failed; /* then text says why, and it ends */
	char text[1020];
};

/*
 * A request: tag and mark, and the spawn. Descriptors that travel with it: the pipe for the struct mps_failure, then those of the
 * spawn's table, then, with is_long, the memfd in which the spawn is.
 */
struct forkserver_request {
	uint64_t tag, mark;
	bool is_long;
	const char *rest; /* the encoded spawn */
	size_t rest_size;
};

/* The head; the spawn is put behind it by the caller unless is_long. */
void forkserver_encode(const struct forkserver_request *r, struct buf *to);
/* 0, or -EBADMSG. Pointers go into the message. */
int forkserver_decode(const void *p, size_t n, struct forkserver_request *ret);

/*
 * Asks the server at the other end of the socket for s, whose descriptors are the caller's (without flags) and which the tag
 * of does not travel. `pipe` is the child's end. 0, or -errno; -EPIPE and -ECONNRESET: nobody is there; -EAGAIN: it has been
 * asked for more than it has taken; -E2BIG: such a start cannot be asked for.
 */
int forkserver_ask(int sock, const struct mps_spawn *s, int pipe);

/* The process: argv is NAME PRELOAD... Returns its exit status. */
int forkserver_run(char **argv, int sock);

/*
 * The same without objects, for a program of its own: each start is a copy that calls `function` with the argv that was
 * asked for. Its starter may have other children, and is told of each copy that waits for a request before that can take
 * one, by the copy itself in a datagram. With all signals blocked. Its exit status.
 */
struct forkserver_spare {
	int32_t pid;
};
int forkserver_serve(int sock, int (*function)(int argc, char **argv));

#endif
