/*
 * What both sides of a queue have in common: the turn, the counter that moves on, the sleep.
 */
#include <errno.h>

#include "ipc/futex.h"
#include "ipc/queue_layout.h"
#include "ipc/robust.h"

/* Who asks for no wait is not sent away because somebody is in the middle of a call: this is time enough for that. */
#define SLICE (MPS_NS_PER_MS)
#define SLICES 10

/* ----------------------------------------------------------------------------------------------------- the turn */

int queue_lock(struct queue_side *side, const struct queue_counter *counter, struct mps_time until)
{
	int r = robust_lock(&side->lock, until);

	for (int i = 0; r == -ETIMEDOUT && until.ns == 0 && i < SLICES; i++) {
		if (atomic_load_explicit(&counter->word, memory_order_relaxed) & QUEUE_SLEEPS)
			return r;
		r = robust_lock(&side->lock, (struct mps_time){ mps_now().ns + SLICE });
	}
	return r == EOWNERDEAD ? 0 : r; /* all is whole */
}

void queue_unlock(struct queue_side *side)
{
	robust_unlock(&side->lock);
}

/* -------------------------------------------------------------------------------------------------- the counter */

int queue_look(const struct queue_counter *c, uint32_t *ret_word, uint64_t *ret_position)
{
	uint32_t word = atomic_load_explicit(&c->word, memory_order_acquire), again;

	for (;; word = again) {
		int i = queue_at(c, word);
		uint64_t position =
			atomic_load_explicit(&c->at[i > 0].position, memory_order_acquire);

		/* It is that of this count only if the count has not moved on meanwhile. */
		again = atomic_load_explicit(&c->word, memory_order_acquire);
		if (queue_count(again) != queue_count(word))
			continue;
		if (i < 0 || position % QUEUE_RECORD != 0)
			return -EBADMSG;
		*ret_word = again;
		*ret_position = position;
		return 0;
	}
}

void queue_advance(struct queue_counter *c, uint32_t n, uint64_t position)
{
	uint32_t word = atomic_load_explicit(&c->word, memory_order_relaxed);
	struct queue_at *at = &c->at[queue_at(c, word) != 1];

	atomic_store_explicit(&at->position, position, memory_order_release);
	atomic_store_explicit(&at->count, queue_count(word + n * QUEUE_ONE), memory_order_release);
	while ((word & QUEUE_SLEEPS) == 0)
		if (atomic_compare_exchange_weak(&c->word, &word, word + n * QUEUE_ONE))
			return;
	futex_add_wake(&c->word, (int)(n * QUEUE_ONE) - QUEUE_SLEEPS, 1);
}

void queue_mark_closed(struct queue_counter *c)
{
	if ((atomic_load(&c->word) & QUEUE_CLOSED) == 0)
		futex_or_wake(&c->word, QUEUE_CLOSED, UINT32_MAX);
}

/* ---------------------------------------------------------------------------------------------------- the sleep */

int queue_sleep(_Atomic uint32_t *budget, struct queue_counter *c, uint32_t seen,
		struct mps_time until)
{
	struct spin s;
	bool changed;

	if (until.ns == 0)
		return -ETIMEDOUT;
	if ((seen & QUEUE_SLEEPS) == 0) {
		s = spin_start(budget);
		while (!(changed = atomic_load_explicit(&c->word, memory_order_relaxed) != seen) &&
		       spin_again(&s))
			;
		spin_end(&s, changed);
		if (changed ||
		    !atomic_compare_exchange_strong(&c->word, &seen, seen | QUEUE_SLEEPS))
			return 0;
	}
	return futex_wait(&c->word, seen | QUEUE_SLEEPS, until);
}
