/*
 * How a queue lies in its segment, and what its files share: queue.c (its life), queue_put.c, queue_get.c (the two
 * sides), queue_block.c (long items).
 *
 *     a page of struct queue_shared | the ring | blocks for long items, which come and go
 *
 * The ring holds records: a header of 8 bytes, the bytes, and what is missing to a multiple of 8. A position counts the
 * bytes since the beginning and never wraps. Each process has the ring mapped twice, one after the other, so that a
 * record is always in one piece.
 *
 * Each side has a robust lock, which is the turn as well: only who holds it sleeps for room, or for an item; and a
 * counter, which only who holds the lock moves on. It moves when all is in place, by one instruction, or by one
 * system call together with the wake-up of the other side's sleeper. So whoever is killed leaves the queue as it was
 * before or after, there is nothing to be repaired, and no wake-up is lost.
 */
#ifndef IPC_QUEUE_LAYOUT_H
#define IPC_QUEUE_LAYOUT_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mtime.h"
#include "ipc/queue.h"

#define QUEUE_MAGIC UINT64_C(0x3165756575516d) /* "mQueue1" */
#define QUEUE_RING_MIN ((size_t)4 << 10)
#define QUEUE_RING_MAX ((size_t)1 << 30)
#define QUEUE_ITEM_MAX ((size_t)1 << 30)
/* Counts wrap. */
#define QUEUE_COUNT_MAX (UINT32_MAX / QUEUE_ONE)

enum {
	QUEUE_SLEEPS = 1, /* one of the other side sleeps on this word */
	QUEUE_CLOSED = 2,
	QUEUE_ONE = 4,	     /* the count is in the bits above */
	QUEUE_AT_ONCE = 512, /* what FUTEX_WAKE_OP can add is below 2048 */
	QUEUE_LINE = 128,    /* processors fetch lines of 64 bytes in pairs */
	QUEUE_BLOCKS = 64,
	QUEUE_RECORD = 8,
};

/*
 * A counter and, for the two latest counts, the position that belongs to it. Of the two the other one is written. They lie
 * apart, since who waits looks at the word all the time and would take the line away in the middle.
 */
struct queue_counter {
	_Atomic uint32_t word __attribute__((aligned(QUEUE_LINE)));
	struct queue_at {
		_Atomic uint32_t count;
		_Atomic uint64_t position;
	} at[2] __attribute__((aligned(QUEUE_LINE)));
};

/* What only the one side uses, under its lock. What it has seen of the other may be old, which errs on the safe side. */
struct queue_side {
	pthread_mutex_t lock;
	_Atomic uint32_t waiting; /* for the lock */
	_Atomic uint32_t way;	  /* changes when one has it who has waited for long */
	_Atomic uint32_t seen;	  /* the other's counter's word */
	_Atomic uint64_t seen_position;
	_Atomic uint32_t patience; /* puts until big blocks are looked for; 0 = there is none */
} __attribute__((aligned(QUEUE_LINE)));

/* In use by the item whose record is at the position, as long as that is in the ring. */
struct queue_block {
	_Atomic uint64_t room; /* bytes that are really there; odd: at most, a change was begun */
	_Atomic uint64_t position; /* and one */
	_Atomic uint64_t used;	   /* bytes of its item */
};

struct queue_shared {
	_Atomic uint64_t magic; /* the last to be written */
	uint64_t ring_size;
	uint64_t max_item;
	uint32_t max_items;
	uint32_t joinable;
	struct queue_side producers, consumers;
	struct queue_counter tail; /* items put */
	struct queue_counter head; /* items got */
	struct queue_counter done; /* items done with; those who join sleep on it, all */
	pthread_mutex_t done_lock;
	struct queue_block blocks[QUEUE_BLOCKS];
};

struct mps_queue {
	struct queue_shared *s;
	char *ring;
	/* Copies that nobody can damage. */
	size_t page, ring_size;
	size_t max_item;
	uint32_t max_items;
	bool joinable;
	struct mps_shm *shm;
	/* Of each side, in this process: how long it pays to spin (futex.h), and turns while others waited. */
	_Atomic uint32_t put_spin, get_spin, put_turns, get_turns;
	/* The blocks as far as we have had to do with them. Whoever holds the block may change the row. */
	struct queue_map {
		char *p;
		size_t n;
	} maps[QUEUE_BLOCKS];
};

struct queue_record {
	uint32_t n;
	uint32_t kind; /* one of these, and the block from bit 8 on */
};
enum { QUEUE_INLINE = 0x51, QUEUE_IN_BLOCK = 0x52 };

static inline uint32_t queue_count(uint32_t word)
{
	return word / QUEUE_ONE;
}

static inline uint32_t queue_between(uint32_t from, uint32_t to)
{
	return (queue_count(to) - queue_count(from)) & QUEUE_COUNT_MAX;
}

static inline struct queue_record *queue_record(const struct mps_queue *q, uint64_t position)
{
	return (struct queue_record *)(void *)(q->ring + (position & (q->ring_size - 1)));
}

/* Of a record that holds n bytes itself. */
static inline size_t queue_record_size(size_t n)
{
	return QUEUE_RECORD + ((n + 7) & ~(size_t)7);
}

static inline bool queue_is_long(const struct mps_queue *q, size_t n)
{
	return n > q->ring_size / 4;
}

/* Which of the two belongs to the count; -EBADMSG. */
static inline int queue_at(const struct queue_counter *c, uint32_t word)
{
	for (int i = 0; i < 2; i++)
		if (atomic_load_explicit(&c->at[i].count, memory_order_relaxed) ==
		    queue_count(word))
			return i;
	return -EBADMSG;
}

/* The word as it is, and the position that belongs to it, of the side whose lock is held: 0 or -EBADMSG. */
static inline int queue_own(const struct queue_counter *c, uint32_t *ret_word,
			    uint64_t *ret_position)
{
	uint32_t word = atomic_load_explicit(&c->word, memory_order_relaxed);
	int i = queue_at(c, word);

	if (i < 0)
		return i;
	*ret_word = word;
	*ret_position = atomic_load_explicit(&c->at[i].position, memory_order_relaxed);
	return *ret_position % QUEUE_RECORD == 0 ? 0 : -EBADMSG;
}

/* The turn of one side: 0 or -ETIMEDOUT. `counter` is the other side's, which the one who has it may be asleep on. */
int queue_lock(struct queue_side *side, const struct queue_counter *counter, struct mps_time until);
/* The number of turns is this process'. It may let others have one. */
void queue_unlock(struct queue_side *side, _Atomic uint32_t *turns);
/* The same of the other side. */
int queue_look(const struct queue_counter *c, uint32_t *ret_word, uint64_t *ret_position);
/* n more, at that position, in one piece with the wake-up of who sleeps. */
void queue_advance(struct queue_counter *c, uint32_t n, uint64_t position);
/* Waits until the word is another than `seen`. 0: look again; -ETIMEDOUT. */
int queue_sleep(_Atomic uint32_t *budget, _Atomic uint32_t *turns, struct queue_counter *c,
		uint32_t seen, struct mps_time until);
/* Sets the bit and wakes who sleeps, in one piece. Of the tail: with the producers' lock held. */
void queue_mark_closed(struct queue_counter *c);

/*
 * Blocks, all under the producers' lock but the last. A free one with room for n bytes, for the record at the position;
 * what is before `head` has been got. Its number; -EAGAIN: none is free, or others are enough; -ENOSPC and others.
 */
int queue_block_take(struct mps_queue *q, size_t n, uint64_t head, uint64_t position);
/* Its memory in this process: 0 or -errno. */
int queue_block_map(struct mps_queue *q, unsigned i, size_t n, char **ret);
/* Gives back the memory of big blocks that are free, if it is time: once in a number of calls. */
void queue_block_tidy(struct mps_queue *q, uint64_t tail);
/* -EBADMSG unless it holds the item of the record at the position. */
int queue_block_check(const struct mps_queue *q, unsigned i, uint64_t position);
/* After a long item was got, without a lock: an empty queue does not keep what is very big. */
void queue_block_got(struct mps_queue *q, size_t n);

#endif
