/*
 * mps_barrier: rounds. Who has come to the round of now is in a slot: it holds its robust mutex, and the slot says which round.
 * How many have come is counted from the slots. A round ends by one addition to the word that all sleep on, with the
 * wake-up of all in one system call; how it has ended was written into the slots before. Beside the word they sleep
 * on each other's slots, so that a death wakes one of them, who ends the round for the others. There are two sets of slots
 * in turn, since those who leave a round take their time.
 *
 * Slots are taken and rounds ended with the guard held; there is nothing to repair behind it.
 */
#include "ipc/barrier.h"

#include <errno.h>
#include <stdatomic.h>

#include "ipc/futex.h"
#include "ipc/robust.h"
#include "ipc/sound.h"

enum { MAGIC = 0x72726162, BROKEN = 1, ROUND = 2, PARTIES = MPS_BARRIER_PARTIES_MAX };

struct party {
	pthread_mutex_t here;
	_Atomic uint32_t round;
	_Atomic uint32_t failed; /* how that ended */
};

struct barrier {
	pthread_mutex_t guard;
	_Atomic uint32_t word; /* the round, and BROKEN */
	uint32_t parties;
	uint32_t magic;
	struct party sets[2][PARTIES];
};
_Static_assert(sizeof(struct barrier) <= sizeof(struct mps_barrier), "it fits");
_Static_assert(PARTIES + 1 <= FUTEX_MANY_MAX, "they can be slept on at once");

static const struct mps_time forever = { INT64_MAX };

static struct barrier *barrier_of(struct mps_barrier *p)
{
	struct barrier *b = (struct barrier *)(void *)p;

	return b != NULL && b->magic == MAGIC ? b : NULL;
}

int mps_barrier_init(struct mps_barrier *p, uint32_t parties)
{
	struct barrier *b = (struct barrier *)(void *)p;
	int r;

	if (b == NULL || parties == 0 || parties > PARTIES)
		return -EINVAL;
	b->magic = 0;
	r = robust_init(&b->guard, PTHREAD_MUTEX_ERRORCHECK);
	for (uint32_t i = 0; r == 0 && i < 2 * parties; i++) {
		struct party *me = &b->sets[i % 2][i / 2];

		r = robust_init(&me->here, PTHREAD_MUTEX_ERRORCHECK);
		atomic_store(&me->round, 0);
	}
	if (r < 0)
		return r;
	atomic_store(&b->word, ROUND);
	b->parties = parties;
	b->magic = MAGIC;
	return 0;
}

static struct party *set_of(struct barrier *b, uint32_t word)
{
	return b->sets[word / ROUND % 2];
}

static bool is_in(const struct party *p, uint32_t word)
{
	return atomic_load(&p->round) == word / ROUND;
}

static bool is_dead(struct party *p)
{
	return robust_is_dead(atomic_load(robust_word(&p->here)));
}

/* Ends the round of now: all who are in it go on. */
static void end_round(struct barrier *b, bool failed, unsigned broken)
{
	uint32_t w = atomic_load(&b->word);
	struct party *set = set_of(b, w);

	for (uint32_t i = 0; i < b->parties; i++)
		if (is_in(&set[i], w))
			atomic_store(&set[i].failed, failed);
	futex_add_wake(&b->word, ROUND + (int)broken, UINT32_MAX);
}

/* How many have come; if one of them has died meanwhile the barrier is broken, which is nobody. */
static uint32_t count(struct barrier *b)
{
	uint32_t w = atomic_load(&b->word), n = 0;
	struct party *set = set_of(b, w);

	if ((w & BROKEN) != 0)
		return 0;
	for (uint32_t i = 0; i < b->parties; i++) {
		if (!is_in(&set[i], w))
			continue;
		if (is_dead(&set[i])) {
			end_round(b, true, BROKEN);
			return 0;
		}
		n++;
	}
	return n;
}

static int enter(struct barrier *b, struct mps_time until)
{
	int r = robust_lock_brief(&b->guard, until);

	return r < 0 ? r : 0;
}

static void leave(struct barrier *b)
{
	robust_unlock(&b->guard);
}

/* A slot, held. NULL: all are still held by some who were there two rounds ago. */
static struct party *sit_down(struct barrier *b, uint32_t word)
{
	struct party *set = set_of(b, word);

	for (uint32_t i = 0; i < b->parties; i++)
		if (!is_in(&set[i], word) &&
		    robust_lock(&set[i].here, (struct mps_time){ 0 }) >= 0) {
			/* For those who sleep on it already: it was free. */
			robust_watch(&set[i].here);
			return &set[i];
		}
	return NULL;
}

/*
 * More threads than parties use the barrier, and one of those before us has not got away yet: until it has. The one who is
 * woken by that may be another, so not for long.
 */
static int wait_for_seat(struct barrier *b, uint32_t word, struct mps_time until)
{
	pthread_mutex_t *here = &set_of(b, word)[0].here;
	int64_t now = mps_now().ns;

	if (until.ns <= now)
		return -ETIMEDOUT;
	if (robust_lock(here, until.ns - now > FUTEX_SLICE_NS
				      ? (struct mps_time){ now + FUTEX_SLICE_NS }
				      : until) >= 0)
		robust_unlock(here);
	return -EAGAIN;
}

/* 0: the round is over, and so are we; positive: *ret_me waits in the round of *ret_word, as this one's number. */
static int arrive(struct barrier *b, struct mps_time until, struct party **ret_me,
		  uint32_t *ret_word)
{
	struct party *me;
	uint32_t n, w;
	int r = enter(b, until);

	if (r < 0)
		return r;
	n = count(b);
	w = atomic_load(&b->word);
	me = (w & BROKEN) == 0 ? sit_down(b, w) : NULL;
	if (me != NULL) {
		atomic_store(&me->round, w / ROUND);
		if (++n == b->parties)
			end_round(b, false, 0);
		r = (int)(b->parties - n);
	}
	leave(b);
	if ((w & BROKEN) != 0)
		return -EPIPE;
	if (me == NULL)
		return wait_for_seat(b, w, until);
	if (r == 0)
		robust_unlock(&me->here);
	*ret_me = me;
	*ret_word = w;
	return r;
}

/* What to sleep on: how many words; 0: it seems that somebody has died. */
static size_t watch(struct barrier *b, const struct party *me, uint32_t word,
		    struct futex_seen *words)
{
	struct party *set = set_of(b, word);
	size_t n = 0;

	words[n++] = (struct futex_seen){ &b->word, word };
	for (uint32_t i = 0; i < b->parties; i++) {
		uint32_t seen = atomic_load(robust_word(&set[i].here));

		if (robust_is_dead(seen) && is_in(&set[i], word))
			return 0;
		if (&set[i] != me)
			words[n++] = (struct futex_seen){ robust_word(&set[i].here), seen };
	}
	return n;
}

/* Until the round is over, which it is after -ETIMEDOUT, too, but if the guard could not be had. */
static int wait_in(struct barrier *b, const struct party *me, uint32_t word, struct mps_time until)
{
	struct futex_seen words[PARTIES + 1];
	int r = 0;

	while (atomic_load(&b->word) == word) {
		size_t n = watch(b, me, word, words);

		if (n != 0)
			r = futex_wait_many(words, n, until);
		if (n != 0 && r == 0)
			continue;
		if (enter(b, until) < 0)
			return -ETIMEDOUT;
		/* Only now it is certain. */
		count(b);
		r = r < 0 && atomic_load(&b->word) == word ? r : 0;
		if (r < 0)
			end_round(b, true, BROKEN);
		leave(b);
		if (r < 0)
			return r;
	}
	return 0;
}

int mps_barrier_wait(struct mps_barrier *p, int64_t timeout)
{
	struct barrier *b = barrier_of(p);
	struct mps_time until = until_of(timeout);
	struct party *me = NULL;
	uint32_t word = 0;
	int number, r;

	if (b == NULL)
		return -EINVAL;
	do
		number = arrive(b, until, &me, &word);
	while (number == -EAGAIN);
	if (number <= 0)
		return number;
	r = wait_in(b, me, word, until);
	if (r == 0)
		r = atomic_load(&me->failed) ? -EPIPE : number;
	atomic_store(&me->round, 0);
	robust_unlock(&me->here);
	return r;
}

/* ------------------------------------------------------------------------------------- for who must not wait */

bool barrier_is_sound(struct mps_barrier *p)
{
	struct barrier *b = barrier_of(p);
	int kind = lock_kind(PTHREAD_MUTEX_ERRORCHECK);
	bool good = b != NULL && b->parties <= PARTIES && lock_has_kind(&b->guard, kind);

	for (uint32_t i = 0; good && i < 2 * b->parties && i < 2 * PARTIES; i++)
		good = lock_has_kind(&b->sets[i % 2][i / 2].here, kind);
	return good;
}

int barrier_arrive(struct mps_barrier *p, struct barrier_seat *ret)
{
	struct barrier *b = barrier_of(p);
	struct party *me = NULL;
	uint32_t word = 0;
	int r;

	*ret = (struct barrier_seat){ 0 };
	if (b == NULL)
		return -EINVAL;
	r = arrive(b, (struct mps_time){ 0 }, &me, &word);
	if (r == -ETIMEDOUT)
		return -EAGAIN;
	if (r <= 0)
		return r;
	*ret = (struct barrier_seat){ word, (uint32_t)(me - set_of(b, word)), (uint32_t)r };
	return -EAGAIN;
}

int barrier_ask(struct mps_barrier *p, const struct barrier_seat *seat, bool give_up)
{
	struct barrier *b = barrier_of(p);
	struct party *me;
	bool over;
	int r = b != NULL && seat->place < PARTIES ? enter(b, forever) : -EINVAL;

	if (r < 0)
		return r;
	me = &set_of(b, seat->word)[seat->place];
	/* It ends the round if one of it has died. */
	count(b);
	over = atomic_load(&b->word) != seat->word;
	r = !over ? -EAGAIN : atomic_load(&me->failed) ? -EPIPE : (int)seat->number;
	if (!over && give_up) {
		end_round(b, true, BROKEN);
		r = -ETIMEDOUT;
	}
	leave(b);
	if (r == -EAGAIN)
		return r;
	atomic_store(&me->round, 0);
	robust_unlock(&me->here);
	return r;
}

int mps_barrier_abort(struct mps_barrier *p)
{
	struct barrier *b = barrier_of(p);
	int r = b != NULL ? enter(b, forever) : -EINVAL;

	if (r < 0)
		return r;
	if ((atomic_load(&b->word) & BROKEN) == 0)
		end_round(b, true, BROKEN);
	leave(b);
	return 0;
}

int mps_barrier_reset(struct mps_barrier *p)
{
	struct barrier *b = barrier_of(p);
	int r = b != NULL ? enter(b, forever) : -EINVAL;

	if (r < 0)
		return r;
	if (count(b) > 0)
		end_round(b, true, 0);
	else if ((atomic_load(&b->word) & BROKEN) != 0)
		end_round(b, true, (unsigned)-BROKEN);
	leave(b);
	return 0;
}

uint32_t mps_barrier_waiting(struct mps_barrier *p)
{
	struct barrier *b = barrier_of(p);
	uint32_t n;

	if (b == NULL || enter(b, forever) < 0)
		return 0;
	n = count(b);
	leave(b);
	return n;
}

bool mps_barrier_is_broken(struct mps_barrier *p)
{
	struct barrier *b = barrier_of(p);
	bool broken;

	if (b == NULL || enter(b, forever) < 0)
		return false;
	count(b);
	broken = (atomic_load(&b->word) & BROKEN) != 0;
	leave(b);
	return broken;
}
