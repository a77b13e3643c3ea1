/*
 * Types of objects: tables of methods, the same on both sides. What lives in shared memory is called where the caller is: in a
 * client on this machine by its own thread, which waits until its time is over; for the others in the server, which does not wait.
 *
 * In the server a method that would wait answers -EAGAIN; the request is parked with its object, first in, first out,
 * and asked again when something of the object has been called or its time is over. What clients call in shared memory the
 * server does not see: so while requests are parked it counts them in struct shared_head.parked, and who has called a method that
 * others may wait for looks there afterwards (both sequentially consistent), and rings the bell: an eventfd, one
 * a server, that came with the answer to HELLO. Who is killed in between is noticed by its pidfd; then all that is parked is asked again.
 *
 * What a thread of a remote client has acquired the server's thread holds for it; the object's self in the server knows for whom
 * (session, thread): it is not released by others, nor acquired again by them. When a session closes an object, or ends, it leaves
 * the object (struct shared_type.leave), after its parked requests have been asked for the last time.
 */
#ifndef MANAGER_TYPE_H
#define MANAGER_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mtime.h"
#include "mpsup.h"

struct buf;

struct mps_call {
	const void *args; /* a packed array */
	size_t n_args;
	struct buf *reply; /* a packed value; empty = nil */
	struct mps_time
		until; /* of a method in shared memory: {0} in the server: it answers -EAGAIN where it would wait */
	uint64_t session; /* 0: it is called where the caller is */
	uint32_t
		thread; /* of the session's client, as its request says: holders are told apart by both */
	/*
	 * In the server (else NULL and false). A word of this request, 0 at first, that stays with it while it is parked: so a method of
	 * two steps (a condition's wait) knows that it has done the first. And this is the last time that it is asked: its time is
	 * over, it is cancelled, or its client is gone: what it has begun is undone; -EAGAIN becomes -ETIMEDOUT.
	 */
	uint64_t *mark;
	bool is_last;
	size_t room; /* of make(): so many bytes it may take; -EDQUOT */
};

/* At the start of the memory of a shared object. */
struct shared_head {
	uint32_t magic, type;
	_Atomic uint32_t parked; /* requests that wait in the server */
};

/* A built-in type that lives in shared memory: its row, and what else it needs. */
struct shared_type {
	struct mps_type type; /* create is not called */
	/* By the server: memory (one or two segments, descriptors are sent in this order) of a new one. 0 or -errno. */
	int (*make)(struct mps_call *call, int ret_fds[2], size_t *ret_n);
	/* By everybody: self of these descriptors, which it takes over. -EBADMSG: that is none. */
	int (*open)(const int *fds, size_t n, void **ret_self);
	struct shared_head *(*head)(void *self);
	/* In the server: the session is over; what self holds for it is released. NULL: it never holds anything for one. */
	void (*leave)(void *self, uint64_t session);
	/* Of queues, for snapshots; else NULL. */
	struct mps_queue *(*queue)(void *self);
};

/* By name, in the order of the wire; NULL. The places of methods in their tables are the wire's numbers, so they only grow. */
extern const struct shared_type *const shared_types[];
extern struct mps_type *const served_types[]; /* dict, list, namespace */

#endif
