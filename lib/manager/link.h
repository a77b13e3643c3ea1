/*
 * A client's connection to a server: requests of any number of threads go out over one descriptor, answers come back to who
 * asked. No thread of its own: of those who wait for an answer one reads for all, and hands that over when it has its own.
 */
#ifndef MANAGER_LINK_H
#define MANAGER_LINK_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "ipc/robust.h"
#include "ipc/stream.h"
#include "manager/type.h"
#include "manager/wire.h"

enum { LINK_FDS_MAX = 4, LINK_CAME_MAX = 16 };

/* What to do if an answer comes that nobody wants any more, but that says that it was done. */
enum link_undo { UNDO_NOTHING, UNDO_RELEASE, UNDO_PUT_BACK };

struct link_request {
	uint32_t handle;
	uint16_t method;
	uint16_t undo_method;
	enum link_undo undo;
	int64_t timeout; /* the server's */
	const void *args;
	size_t n;
};

/* One that waits for its turn to read, or for its answer. */
struct link_waiter {
	struct link_waiter *next;
	_Atomic uint32_t woken;
};

struct link_pending {
	uint32_t seq, thread, handle;
	uint16_t undo_method;
	enum link_undo undo;
	bool done;
	bool taken;	/* somebody knows the outcome */
	bool abandoned; /* it is the link's: its answer is not wanted */
	struct link_waiter *waiter;
	int status;
	void *p; /* free(3) */
	size_t n;
	int fds[LINK_FDS_MAX];
	size_t n_fds;
};

/* Descriptors of one answer, which came before its last byte. */
struct link_came {
	int fds[LINK_FDS_MAX];
	size_t n;
	bool cut;
};

struct link {
	_Atomic uint32_t references;
	_Atomic int dead; /* -errno; 0 = alive */
	struct stream s;
	bool shares; /* memory of its objects comes */
	int bell;
	/* The server's, which its thread holds (ipc/robust.h): the kernel tells of its death. NULL = there is none. */
	struct mps_shm *life;
	_Atomic uint32_t *alive;

	pthread_mutex_t lock;	 /* all below but what the reader has */
	struct buf out, sending; /* requests; those of `sending` from `sent` on are on their way */
	size_t sent;
	bool is_sending, is_led;
	struct link_waiter *waiters;
	struct link_pending **slots; /* by seq - 1 */
	uint32_t n_slots, room, *free;
	uint32_t n_free;

	/* The reader's. */
	uint8_t *in;
	size_t in_room, head, tail;
	struct link_came came[LINK_CAME_MAX];
	size_t n_came;
	int64_t recv_timeout; /* as the socket has it, ns */
};

/*
 * Connects, shows the key, says hello. -EBUSY: the server has no room; -EPROTONOSUPPORT: it speaks another version;
 * -ECONNRESET, -EACCES, -ETIMEDOUT and those of mps_connect().
 */
int link_open(const char *address, const struct mps_manager_options *o, struct mps_time until,
	      struct link **ret);
struct link *link_ref(struct link *l);
/* Of the last the descriptor is closed. NULL is allowed. */
void link_unref(struct link *l);
static inline bool link_is_alive(const struct link *l)
{
	return atomic_load_explicit(&l->dead, memory_order_relaxed) == 0 &&
	       (l->alive == NULL ||
		robust_is_held(atomic_load_explicit(l->alive, memory_order_relaxed)));
}
/* All who wait get the error. */
void link_kill(struct link *l, int why);
/* So often this process is a fork of that which has loaded the library. A child uses nothing of its parent's links. */
extern _Atomic unsigned link_forks;

/* Queues a request. 0; -EMSGSIZE, -ENOMEM, -ECONNRESET. */
int link_send(struct link *l, const struct link_request *q, struct link_pending **ret,
	      struct mps_time until);
/* The same for one whose answer nobody wants, and it is on its way if that needs no waiting. */
void link_tell(struct link *l, const struct link_request *q);
/*
 * Until it is answered: its status, and what came with it is in *p. -ETIMEDOUT: it is cancelled; if the server has done it all the same it
 * is undone when that is known.
 */
int link_await(struct link *l, struct link_pending *p, struct mps_time until);
/* Frees it, with what is left in it; one that is not answered is cancelled. */
void link_drop(struct link *l, struct link_pending *p);

/* For the files of the link. With the lock. */
int link_queue(struct link *l, const struct link_request *q, struct link_pending **ret);
void link_answered(struct link *l, struct link_pending *p);
/*
 * Reads once, without the lock, which the reader alone does; then what has come is taken in, with it. 0, also when it could
 * be written again (writes), -ETIMEDOUT, -errno: it is the end.
 */
int link_read(struct link *l, bool writes, struct mps_time until);
int link_take_in(struct link *l);

#endif
