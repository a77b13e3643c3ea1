/*
 * The side of a queue that gets.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/futex.h"
#include "ipc/queue_layout.h"

struct get {
	struct mps_queue *q;
	uint32_t word;	    /* the head's, at the beginning */
	uint32_t n;	    /* items read */
	uint32_t tail_word; /* so many are there, at least */
	uint64_t at;	    /* behind the last */
	size_t longest;
	bool allocates; /* memory for the items */
};

static uint32_t n_left(const struct get *get)
{
	return queue_between(get->word, get->tail_word) - get->n;
}

/* Until there is an item. */
static int wait_for_item(struct get *get, struct mps_time until)
{
	struct queue_shared *s = get->q->s;
	int slept = 0;

	get->tail_word = atomic_load_explicit(&s->consumers.seen, memory_order_relaxed);
	while (n_left(get) == 0) {
		get->tail_word = atomic_load_explicit(&s->tail.word, memory_order_acquire);
		if (n_left(get) != 0)
			break;
		if ((get->tail_word & QUEUE_CLOSED) != 0)
			return -EPIPE;
		if (slept < 0)
			return slept;
		slept = queue_sleep(&get->q->get_spin, &get->q->get_turns, &s->tail, get->tail_word,
				    until);
	}
	atomic_store_explicit(&s->consumers.seen, get->tail_word, memory_order_relaxed);
	return n_left(get) <= get->q->ring_size / QUEUE_RECORD ? 0 : -EBADMSG;
}

/* Where the bytes of the next one are, and how many; -EBADMSG ... */
static int find_item(struct get *get, char **ret_p, struct queue_record *ret)
{
	struct mps_queue *q = get->q;
	struct queue_record *record = queue_record(q, get->at);
	unsigned block;
	int r;

	*ret = *(volatile struct queue_record *)record;
	block = ret->kind >> 8;
	if (ret->n > q->max_item ||
	    (ret->kind & 0xff) != (queue_is_long(q, ret->n) ? QUEUE_IN_BLOCK : QUEUE_INLINE))
		return -EBADMSG;
	if (!queue_is_long(q, ret->n)) {
		*ret_p = (char *)(record + 1);
		return 0;
	}
	r = queue_block_check(q, block, get->at);
	return r < 0 ? r : queue_block_map(q, block, ret->n, ret_p);
}

/* 0; -ENOBUFS: it is too long, its size is in the item. */
static int read_item(struct get *get, struct mps_item *item)
{
	struct queue_record record;
	char *from;
	int r = find_item(get, &from, &record);

	if (r < 0)
		return r;
	if (get->allocates) {
		item->p = malloc(record.n > 0 ? record.n : 1);
		if (item->p == NULL)
			return -ENOMEM;
	} else if (record.n > item->n) {
		if (get->n == 0)
			item->n = record.n;
		return -ENOBUFS;
	}
	if (record.n > 0)
		memcpy(item->p, from, record.n);
	item->n = record.n;
	if (queue_is_long(get->q, record.n)) {
		get->at += QUEUE_RECORD;
		if (record.n > get->longest)
			get->longest = record.n;
	} else {
		get->at += queue_record_size(record.n);
	}
	get->n++;
	return 0;
}

static int read_all(struct get *get, struct mps_item *items, size_t n, struct mps_time until)
{
	int r = queue_own(&get->q->s->head, &get->word, &get->at);

	if (r == 0)
		r = wait_for_item(get, until);
	while (r == 0 && get->n < n && get->n < QUEUE_AT_ONCE && n_left(get) > 0)
		r = read_item(get, &items[get->n]);
	return get->n > 0 ? 0 : r;
}

static int get_until(struct get *get, struct mps_item *items, size_t n, struct mps_time until)
{
	struct queue_shared *s = get->q->s;
	int r = queue_lock(&s->consumers, &s->tail, until);

	if (r < 0)
		return r;
	r = read_all(get, items, n, until);
	if (r == 0)
		queue_advance(&s->head, get->n, get->at);
	queue_unlock(&s->consumers, &get->q->get_turns);
	if (r == 0 && get->longest > 0)
		queue_block_got(get->q, get->longest);
	return r < 0 ? r : (int)get->n;
}

static int get_many(struct mps_queue *q, struct mps_item *items, size_t n, bool allocates,
		    int64_t timeout)
{
	struct get get = { .q = q, .allocates = allocates };
	int r;

	if (n == 0)
		return 0;
	if (timeout == MPS_FOREVER)
		return get_until(&get, items, n, (struct mps_time){ INT64_MAX });
	r = get_until(&get, items, n, (struct mps_time){ 0 });
	if (r == -ETIMEDOUT && timeout > 0)
		r = get_until(&get, items, n, until_of(timeout));
	return r;
}

int mps_queue_get_many(struct mps_queue *q, struct mps_item *items, size_t n, int64_t timeout)
{
	return get_many(q, items, n, false, timeout);
}

int mps_queue_get(struct mps_queue *q, void *p, size_t size, size_t *ret_n, int64_t timeout)
{
	struct mps_item item = { p, size };
	int r = get_many(q, &item, 1, false, timeout);

	if (r > 0 || r == -ENOBUFS)
		*ret_n = item.n;
	return r < 0 ? r : 0;
}

int mps_queue_get_new(struct mps_queue *q, void **ret_p, size_t *ret_n, int64_t timeout)
{
	struct mps_item item = { NULL, 0 };
	int r = get_many(q, &item, 1, true, timeout);

	if (r < 0)
		return r;
	*ret_p = item.p;
	*ret_n = item.n;
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- looking */

/* With the lock, so that nothing that is there goes. */
static int each_item(struct get *get, int (*each)(void *user, const void *p, size_t n), void *user)
{
	int r = queue_own(&get->q->s->head, &get->word, &get->at);

	get->tail_word = atomic_load_explicit(&get->q->s->tail.word, memory_order_acquire);
	if (r == 0 && n_left(get) > get->q->ring_size / QUEUE_RECORD)
		r = -EBADMSG;
	while (r == 0 && n_left(get) > 0) {
		struct queue_record record;
		char *p;

		r = find_item(get, &p, &record);
		if (r == 0)
			r = each(user, p, record.n);
		get->at += queue_is_long(get->q, record.n) ? QUEUE_RECORD
							   : queue_record_size(record.n);
		get->n++;
	}
	return r;
}

int queue_each(struct mps_queue *q, int (*each)(void *user, const void *p, size_t n), void *user)
{
	struct queue_shared *s = q->s;
	struct get get = { .q = q };
	int r = queue_lock(&s->consumers, &s->tail, (struct mps_time){ 0 });

	/* Who has the turn and sleeps does so because there is nothing. */
	if (r == -ETIMEDOUT && mps_queue_size(q) == 0)
		return 0;
	if (r < 0)
		return r;
	r = each_item(&get, each, user);
	queue_unlock(&s->consumers, &q->get_turns);
	return r;
}

uint64_t queue_version(const struct mps_queue *q)
{
	return (uint64_t)queue_count(atomic_load(&q->s->head.word)) << 32 |
	       queue_count(atomic_load(&q->s->tail.word));
}

struct mps_queue_options queue_options(const struct mps_queue *q)
{
	return (struct mps_queue_options){ .max_items = q->max_items,
					   .ring_size = q->ring_size,
					   .max_item = q->max_item,
					   .joinable = q->joinable };
}
