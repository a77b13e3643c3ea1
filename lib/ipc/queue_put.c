/*
 * The side of a queue that puts.
 */
#include <errno.h>
#include <string.h>

#include "ipc/futex.h"
#include "ipc/queue_layout.h"

/* Where a put has got to: nobody sees what it writes until it is published. */
struct put {
	struct mps_queue *q;
	uint32_t word; /* the tail's, at the beginning */
	uint32_t n;    /* items written */
	uint64_t at;   /* behind the last */
	uint64_t head; /* up to here it has been got, at least */
	uint32_t head_word;
};

/* As far as it was seen the last time, which need not be fresh. */
static int recall_head(struct put *put)
{
	const struct queue_side *side = &put->q->s->producers;

	put->head = atomic_load_explicit(&side->seen_position, memory_order_relaxed);
	put->head_word = atomic_load_explicit(&side->seen, memory_order_relaxed);
	return put->at - put->head <= put->q->ring_size ? 0 : -EBADMSG;
}

static int look_at_head(struct put *put)
{
	struct queue_side *side = &put->q->s->producers;
	int r = queue_look(&put->q->s->head, &put->head_word, &put->head);

	if (r < 0)
		return r;
	if (put->at - put->head > put->q->ring_size)
		return -EBADMSG;
	/* Each by itself is never too new: it does not matter if we are killed between them. */
	atomic_store_explicit(&side->seen_position, put->head, memory_order_relaxed);
	atomic_store_explicit(&side->seen, put->head_word, memory_order_relaxed);
	return 0;
}

/* Its number, and where it lies. The one that has just been got is the best, so the head is to be fresh. */
static int take_block(struct put *put, size_t n, char **ret)
{
	int r = look_at_head(put), block;

	if (r < 0)
		return r;
	block = queue_block_take(put->q, n, put->head, put->at);
	if (block < 0)
		return block;
	r = queue_block_map(put->q, (unsigned)block, n, ret);
	return r < 0 ? r : block;
}

/* 0, or -EAGAIN: there is no room for it as far as we have seen. */
static int write_item(struct put *put, const struct mps_item *item)
{
	struct mps_queue *q = put->q;
	bool is_long = queue_is_long(q, item->n);
	size_t size = queue_record_size(is_long ? 0 : item->n);
	struct queue_record *record = queue_record(q, put->at);
	char *to = (char *)(record + 1);
	int block = 0;

	if (q->ring_size - (put->at - put->head) < size ||
	    queue_between(put->head_word, put->word) + put->n >= q->max_items)
		return -EAGAIN;
	if (is_long) {
		block = take_block(put, item->n, &to);
		if (block < 0)
			return block;
	}
	*record = (struct queue_record){ (uint32_t)item->n,
					 is_long ? QUEUE_IN_BLOCK | (uint32_t)block << 8
						 : QUEUE_INLINE };
	if (item->n > 0)
		memcpy(to, item->p, item->n);
	put->at += size;
	put->n++;
	return 0;
}

/* The first one waits for room. */
static int write_first(struct put *put, const struct mps_item *item, struct mps_time until)
{
	struct queue_shared *s = put->q->s;
	int r, slept = 0;

	while ((r = write_item(put, item)) == -EAGAIN) {
		uint32_t seen = put->head_word;

		r = look_at_head(put);
		if (r < 0)
			return r;
		if ((put->head_word & QUEUE_CLOSED) != 0) {
			queue_mark_closed(&s->tail);
			return -EPIPE;
		}
		if (queue_count(put->head_word) != queue_count(seen))
			continue;
		if (slept < 0)
			return slept;
		slept = queue_sleep(&put->q->put_spin, &put->q->put_turns, &s->head, put->head_word,
				    until);
	}
	return r;
}

static int write_all(struct put *put, const struct mps_item *items, size_t n, struct mps_time until)
{
	int r = queue_own(&put->q->s->tail, &put->word, &put->at);

	if (r == 0)
		r = recall_head(put);
	if (r < 0)
		return r;
	if ((put->word & QUEUE_CLOSED) != 0)
		return -EPIPE;
	r = write_first(put, &items[0], until);
	while (r == 0 && put->n < n && put->n < QUEUE_AT_ONCE &&
	       items[put->n].n <= put->q->max_item) {
		r = write_item(put, &items[put->n]);
		if (r == -EAGAIN && look_at_head(put) == 0)
			r = write_item(put, &items[put->n]);
	}
	return put->n > 0 ? 0 : r;
}

static int put_until(struct mps_queue *q, const struct mps_item *items, size_t n,
		     struct mps_time until)
{
	struct queue_side *side = &q->s->producers;
	struct put put = { .q = q };
	int r = queue_lock(side, &q->s->head, until);

	if (r < 0)
		return r;
	r = write_all(&put, items, n, until);
	if (r == 0) {
		queue_advance(&q->s->tail, put.n, put.at);
		queue_block_tidy(q, put.at);
	}
	queue_unlock(side, &q->put_turns);
	return r < 0 ? r : (int)put.n;
}

int mps_queue_put_many(struct mps_queue *q, const struct mps_item *items, size_t n, int64_t timeout)
{
	int r;

	if (n == 0)
		return 0;
	if (items[0].n > q->max_item)
		return -EMSGSIZE;
	if (timeout == MPS_FOREVER)
		return put_until(q, items, n, (struct mps_time){ INT64_MAX });
	/* The clock is not looked at where nobody has to wait. */
	r = put_until(q, items, n, (struct mps_time){ 0 });
	if (r == -ETIMEDOUT && timeout > 0)
		r = put_until(q, items, n, until_of(timeout));
	return r;
}

int mps_queue_put(struct mps_queue *q, const void *p, size_t n, int64_t timeout)
{
	struct mps_item item = { (void *)(uintptr_t)p, n };
	int r = mps_queue_put_many(q, &item, 1, timeout);

	return r < 0 ? r : 0;
}
