/*
 * What both sides of a queue have in common: the turn, the counter that moves on, the sleep.
 */
#include <errno.h>

#include "ipc/futex.h"
#include "ipc/queue_layout.h"
#include "ipc/robust.h"

#define SLICE (MPS_NS_PER_MS)

/* ----------------------------------------------------------------------------------------------------- the turn */

/*
 * Who asks for no wait is not sent away because somebody is in the middle of a call, but when one is asleep, and soon.
 */
#define SLICES 10

static int lock_at_once(struct queue_side *side, const struct queue_counter *counter)
{
	int r = -ETIMEDOUT;

	for (int i = 0; r == -ETIMEDOUT && i < SLICES; i++) {
		if (atomic_load_explicit(&counter->word, memory_order_relaxed) & QUEUE_SLEEPS)
			return r;
		r = robust_lock(&side->lock, (struct mps_time){ mps_now().ns + SLICE });
	}
	return r;
}

/*
 * The lock goes to who comes first, and that is who runs and not who has to be woken; so two could hand it to each other for
 * ever. Therefore who has had so many turns, and somebody waits, stays away until one who has waited for long has had his,
 * or for a moment. How many wait is a hint, since one may be killed at it.
 */
#define TURNS 256
/* One that was slept for counts for more: there are few, and time enough. */
#define TURNS_OF_SLEEP 64

static void waits_no_more(struct queue_side *side)
{
	uint32_t n = atomic_load_explicit(&side->waiting, memory_order_relaxed);

	while (n > 0 && !atomic_compare_exchange_weak(&side->waiting, &n, n - 1))
		;
}

static int lock_in_turn(struct queue_side *side, struct mps_time until)
{
	int64_t from = mps_now().ns;
	int r;

	atomic_fetch_add(&side->waiting, 1);
	r = robust_lock(&side->lock, until);
	waits_no_more(side);
	if (r >= 0 && mps_now().ns - from >= SLICE) {
		atomic_fetch_add(&side->way, 1);
		futex_wake(&side->way, UINT32_MAX);
	}
	return r;
}

static void give_way(struct queue_side *side)
{
	uint32_t seen = atomic_load(&side->way);

	if (futex_wait(&side->way, seen, (struct mps_time){ mps_now().ns + SLICE }) < 0)
		waits_no_more(side); /* one who was killed */
}

int queue_lock(struct queue_side *side, const struct queue_counter *counter, struct mps_time until)
{
	int r = robust_lock(&side->lock, (struct mps_time){ 0 });

	if (r == -ETIMEDOUT)
		r = until.ns == 0 ? lock_at_once(side, counter) : lock_in_turn(side, until);
	return r == EOWNERDEAD ? 0 : r; /* all is whole */
}

void queue_unlock(struct queue_side *side, _Atomic uint32_t *turns)
{
	uint32_t n = atomic_load_explicit(turns, memory_order_relaxed) + 1;
	uint32_t word = atomic_load_explicit(robust_word(&side->lock), memory_order_relaxed);

	robust_unlock(&side->lock);
	if ((word & FUTEX_WAITERS) == 0 &&
	    atomic_load_explicit(&side->waiting, memory_order_relaxed) == 0)
		return;
	atomic_store_explicit(turns, n < TURNS ? n : 0, memory_order_relaxed);
	if (n >= TURNS)
		give_way(side);
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

int queue_sleep(_Atomic uint32_t *budget, _Atomic uint32_t *turns, struct queue_counter *c,
		uint32_t seen, struct mps_time until)
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
	atomic_fetch_add_explicit(turns, TURNS_OF_SLEEP, memory_order_relaxed);
	return futex_wait(&c->word, seen | QUEUE_SLEEPS, until);
}
