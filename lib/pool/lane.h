/*
 * What a pool shares with one of its workers: a segment with two rings, tasks to it and results from it, of which each
 * side writes one. A worker shares its lane with nobody else, so workers do not wait for each other; and a lane ends with
 * its worker, so whatever that was killed in the middle of is never seen again.
 *
 *     a page of struct lane_shared | the ring of tasks | the ring of results
 *
 * Each ring is mapped twice, one after the other, so that a record is always in one piece. Positions count bytes and never
 * wrap. What is too long for a ring goes through a queue beside it (mps_queue); the record tells so.
 *
 * All workers of a pool have its bell, one more segment: there each has a line that tells how far its results go, and a
 * bit that says that they were not looked at, and wakes the one who waits for them as the word of the bell tells.
 */
#ifndef POOL_LANE_H
#define POOL_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mpsup.h"

enum {
	LANE_RING = 64 << 10,
	LANE_RING_MIN = 4 << 10,
	LANE_RING_MAX = 64 << 20,
	LANE_LINE = 128,
	LANE_LONG_RING = 4 << 10, /* of the queues beside */
	BELL_WORDS = 16,
	BELL_LANES = BELL_WORDS * 64,
};

/* The bell's word: one of these, and above it a number that is another each time. */
enum bell_mode {
	BELL_AWAKE, /* somebody looks, or nobody needs to */
	BELL_FUTEX, /* a thread sleeps on the word: it is woken by taking this bit away */
	BELL_EACH,  /* the pool's thread sleeps on the descriptor, and is told of each result */
	BELL_DRY,   /* the same, but when a worker has no task left */
	BELL_MODES
};

struct bell {
	_Atomic uint32_t word;
	struct {
		_Atomic uint64_t bits; /* lanes with results that nobody has looked at, perhaps */
	} __attribute__((aligned(LANE_LINE))) dirty[BELL_WORDS];
	/* By the worker. They are here since a lane may go while somebody waits for what comes from it. */
	struct {
		_Atomic uint64_t result_tail;
		_Atomic int64_t each; /* ns for a task, lately */
	} __attribute__((aligned(LANE_LINE))) lanes[BELL_LANES];
};

enum lane_state { LANE_STARTS, LANE_IS_READY, LANE_HAS_FAILED };

struct lane_shared {
	/* By the worker: */
	_Atomic uint32_t sleeps;     /* it waits for a task */
	_Atomic uint32_t wants_room; /* it waits for room for a result */
	_Atomic uint32_t state;
	_Atomic int32_t code; /* what the initializer has returned */
	/* The number of the latest task that was begun, written before that, and when (if there is a time limit). */
	_Atomic uint64_t claim __attribute__((aligned(LANE_LINE)));
	_Atomic int64_t claimed_at;
	_Atomic uint64_t task_head; /* up to here tasks are done with */
	/* By the pool: */
	_Atomic uint64_t task_tail __attribute__((aligned(LANE_LINE)));
	_Atomic uint64_t result_head __attribute__((aligned(LANE_LINE)));
};

/* A message to a worker. `size` is that of all of the record, a multiple of 8. */
struct lane_message {
	uint32_t kind;
	uint32_t size;
	uint32_t target; /* its number in this pool */
	uint32_t n;	 /* tasks */
	uint32_t arity;	 /* items of each */
	uint32_t zero;
};
enum lane_kind {
	LANE_RUN = 0x61, /* the items of all tasks follow */
	LANE_RUN_LONG,	 /* .. are the next item of the queue */
	LANE_DEFINE,	 /* the name of a target follows, with its NUL */
	LANE_STOP,
};

/* An item of a task: its length, its bytes and what is missing to a multiple of 8. */
static inline size_t lane_item_size(size_t n)
{
	return 8 + ((n + 7) & ~(size_t)7);
}

/* A result, followed by its bytes in the same way. */
struct lane_result {
	uint32_t n; /* and this bit, when the bytes are the next item of the queue */
	int32_t code;
};
#define LANE_LONG (UINT32_C(1) << 31)

static inline bool lane_is_long(size_t ring, size_t n)
{
	return n > ring / 4;
}

/* A process' view. */
struct lane_map {
	struct lane_shared *s;
	char *tasks, *results;
	size_t ring;
};
/* ring: a power of 2, at least LANE_RING_MIN. */
size_t lane_segment_size(size_t ring);
/* 0 or -errno. The segment may be closed afterwards. */
int lane_map(const struct mps_shm *shm, size_t ring, struct lane_map *ret);
void lane_unmap(struct lane_map *m);

static inline char *lane_at(char *ring, size_t size, uint64_t position)
{
	return ring + (position & (size - 1));
}

/* Somebody of the pool has news for the thread that may sleep on the bell's word. */
void bell_wake(struct bell *b);

static inline enum bell_mode bell_mode_of(uint32_t word)
{
	return (enum bell_mode)(word % BELL_MODES);
}

/* ------------------------------------------------------------------------------------------- worker.c */

/*
 * The target of a worker's process. Its arguments: numbers and objects in this order, then those of the initializer as
 * they came.
 */
enum worker_argument {
	WORKER_LANE,
	WORKER_BELL,
	WORKER_EVENT,
	WORKER_TASKS,
	WORKER_RESULTS,
	WORKER_RING,
	WORKER_INDEX,
	WORKER_DEPTH,
	WORKER_TIMED,
	WORKER_INITIALIZER, /* names; "" = none */
	WORKER_LOOP,
	N_WORKER_ARGUMENTS
};
int pool_worker(struct mps_args *args);
/* Of how many pools this process is a worker's worker. */
unsigned worker_depth(void);

#endif
