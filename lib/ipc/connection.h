/*
 * What of a connection others of this folder need beside mpsup.h.
 */
#ifndef IPC_CONNECTION_H
#define IPC_CONNECTION_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/limits.h"
#include "ipc/stream.h"
#include "mpsup.h"

struct buf;

/* A descriptor that came with the byte at this place of the stream. */
struct passed {
	uint64_t at;
	int fd; /* or -EMFILE: our table was full */
};

/*
 * Who sends over an end that mps_pipe() has made takes turns with the others who do, threads and children by fork: in a page
 * that they share. Where nobody has the turn and a message is not whole, who sent it was killed: the rest never comes.
 */
struct turn {
	pthread_mutex_t lock;	    /* robust.h */
	_Atomic uint32_t is_within; /* a message that is not written in one piece */
};
struct turns {
	_Atomic uint32_t refs; /* the ends that are open in this process */
	struct turn *ends;     /* of both, a mapping */
};

struct mps_connection {
	struct stream s;
	/* NULL: it was opened by its descriptor, and has one sender. */
	struct turns *turns;
	struct turn *turn, *other;   /* of this end, and of the one that sends to it */
	int read_error, write_error; /* the end, said again and again; 0 = none */
	size_t limit;

	uint8_t *ahead; /* [head, tail) has come, and is not received */
	size_t head, tail;
	uint64_t place; /* of ahead[head] in the stream */

	bool begun; /* a message whose header is gone from `ahead` and that does not fit into it */
	size_t length, got;
	uint8_t *body;
	size_t body_size;

	struct passed passed[CONNECTION_FDS_MAX];
	size_t n_passed;
};

/* The length that stands before a message. */
#define FRAME_HEADER_MAX 12
/* Writes it: 4 bytes, or 12 above 2 GiB - 1. How many. */
size_t frame_encode(uint8_t header[FRAME_HEADER_MAX], uint64_t length);
/* Reads it: how many bytes it has; 0: there are not enough; -EPROTO: there is no such length. */
int frame_decode(const uint8_t *p, size_t n, uint64_t *ret_length);

/*
 * For who hands a connection on: what has been read and not received, which belongs to the descriptor. connection_reopen()
 * makes it the start of what the other one receives. -EBUSY: a descriptor that came over it waits to be received.
 */
int connection_unread(const struct mps_connection *c, struct buf *b);
int connection_reopen(int fd, const void *unread, size_t n, struct mps_connection **ret);

/* How many bytes are read ahead; memory for them (-ENOMEM); and room for so many of the long message that has begun. */
static inline size_t n_ahead(const struct mps_connection *c)
{
	return c->tail - c->head;
}
/* Part of a message is here. */
static inline bool connection_is_within(const struct mps_connection *c)
{
	return c->begun || n_ahead(c) > 0;
}
/*
 * That part cannot be completed since its sender was killed, and others hold its end open. No event tells of that, so
 * who waits for the rest looks each CONNECTION_LOOK_NS.
 */
bool connection_is_cut(struct mps_connection *c);
#define CONNECTION_LOOK_NS (50 * MPS_NS_PER_MS)
int connection_need_ahead(struct mps_connection *c);
int connection_need_body(struct mps_connection *c, size_t size);
/* The first n descriptors that have come are not wanted. */
void connection_drop_fds(struct mps_connection *c, size_t n);

/* The descriptor, which is the caller's from now on, and frees the rest. */
int connection_take_fd(struct mps_connection *c);

#endif
