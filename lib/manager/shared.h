/*
 * What the types in shared memory (shared_*.c) have in common. A self is one process' view of an object: its memory, mapped, and in
 * the server who of the remote clients holds it. All of memory may be damaged by others of our user: what it says is checked
 * where it would lead out of it, or into a call that trusts it.
 */
#ifndef MANAGER_SHARED_H
#define MANAGER_SHARED_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "manager/type.h"
#include "manager/value.h"

enum shared_kind {
	SHARED_QUEUE = 1,
	SHARED_JOINABLE_QUEUE,
	SHARED_LOCK,
	SHARED_RLOCK,
	SHARED_SEMAPHORE,
	SHARED_BOUNDED_SEMAPHORE,
	SHARED_CONDITION,
	SHARED_EVENT,
	SHARED_BARRIER,
	SHARED_VALUE,
	SHARED_ARRAY,
	SHARED_COUNTER,
};

/* A thread of a remote client, which the server's holds it for; so many times. */
struct holder {
	struct holder *next;
	uint64_t session;
	uint32_t thread;
	uint32_t n;
};

struct shared {
	const struct shared_row *row;
	struct shared_head *head;
	struct mps_queue *queue; /* the second segment, of a kind of those */
	struct mps_array *array;
	struct mps_shm *shm;	/* of the array */
	struct holder *holders; /* in the server */
	int mutex_kind;		/* lock_kind(), of locks and conditions */
	int bell;		/* of a client: not its own; -1 = none */
};

/* A type, and what of it others need not know. */
struct shared_row {
	struct shared_type t;
	enum shared_kind kind;
	size_t size; /* of the first segment */
	/* The second one, whose descriptor it takes over if it is 0; NULL = there is none. */
	int (*open)(struct shared *s, int fd);
	/* robust_forsake() of what may be held in it; NULL = nothing. */
	bool (*forsake)(struct shared *s);
	/* Places of the methods behind mps_object_acquire() and others, and one more; 0 = it has none. */
	uint8_t acquire, release, wait, set;
	/* Others may wait for what its methods do. */
	bool is_waited_for;
};
static inline const struct shared_row *shared_row(const struct shared_type *t)
{
	return (const struct shared_row *)(const void *)t;
}

/* Zeroed memory for one, but for its head: *ret_fd is the caller's, *ret_p is to be unmapped (shared_unmap()). */
int shared_make(const struct shared_row *row, int *ret_fd, void *ret_p);
void shared_unmap(const struct shared_row *row, void *p);
/*
 * Of one descriptor: unmaps it; closes that, and leaves *ret_n alone, where it could not be set up
 * (r < 0). Returns r.
 */
int shared_made(const struct shared_row *row, void *p, int r, int *ret_fds, size_t *ret_n);
int shared_open(const struct shared_row *row, const int *fds, size_t n, void **ret_self);
void shared_destroy(void *self);
struct shared_head *shared_head(void *self);
/* The server looks again at what waits there, if something does. */
void shared_ring(struct shared *s);

/* What a method that could not do it in time answers. */
static inline int shared_late(const struct mps_call *call, int r)
{
	return r == -ETIMEDOUT && call->session != 0 ? -EAGAIN : r;
}

/* What is left of its time, for a call of mpsup.h; 0 in the server. */
int64_t shared_left(const struct mps_call *call);

struct holder *shared_holder(const struct shared *s, const struct mps_call *call);
/* It holds n times more. -ENOMEM. */
int shared_hold(struct shared *s, const struct mps_call *call, uint32_t n);
/* So many times less. */
void shared_let_go(struct shared *s, struct holder *h, uint32_t n);
/* One of the session's; NULL. */
struct holder *shared_held_by(const struct shared *s, uint64_t session);

/* Exactly these arguments (mps_unpack() of the array); none at all with n = 0. */
#define shared_args(call, ...) mps_unpack((call)->args, (call)->n_args, __VA_ARGS__)
/* A count that may be left out: 0 or -EINVAL. */
int shared_count(const struct mps_call *call, uint32_t otherwise, uint32_t *ret);
int shared_reply_int(struct mps_call *call, int64_t value);
int shared_reply_bool(struct mps_call *call, bool value);

/* Of a type: its own make() and open(), by the file's make() of a row; and what all rows have. */
#define SHARED_TYPE(name_, row_)                                                                   \
	static int make_##name_(struct mps_call *call, int ret_fds[2], size_t *ret_n)              \
	{                                                                                          \
		return make(row_, call, ret_fds, ret_n);                                           \
	}                                                                                          \
	static int open_##name_(const int *fds, size_t n, void **ret)                              \
	{                                                                                          \
		return shared_open(row_, fds, n, ret);                                             \
	}
#define SHARED_ROW(name_, kind_, methods_, size_)                                                  \
	.t.type = { #name_, NULL, shared_destroy, methods_, ARRAY_SIZE(methods_), NULL },          \
	.t.make = make_##name_, .t.open = open_##name_, .t.head = shared_head, .kind = kind_,      \
	.size = size_

/* What mps_object_put(), mps_object_get() and mps_object_add() do, of types that have that. */
int shared_put(struct shared *s, const void *value, size_t n, int64_t timeout);
int shared_get(struct shared *s, void **ret_value, size_t *ret_n, int64_t timeout);
int shared_add(struct shared *s, int64_t delta, int64_t *ret_new);

extern const struct shared_row shared_queue_rows[2], shared_lock_rows[3], shared_semaphore_rows[2],
	shared_event_row, shared_barrier_row, shared_number_rows[3];

#endif
