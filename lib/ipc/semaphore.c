/*
 * mps_semaphore: a number of units, and who has them. What a thread has is noted in a slot whose robust mutex it holds for as
 * long, so that the kernel tells of its death; the number of free units is what the slots leave, kept beside them
 * and counted anew whenever somebody died in the middle of a change. Without owners it is the number alone.
 *
 * All is looked at and changed with the guard held. Of those who find nothing one sleeps, who holds the turn: on the bell, which
 * is rung before units are given back (it gets to see them after the guard), and on the slots.
 */
#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "ipc/futex.h"
#include "ipc/robust.h"
#include "ipc/sound.h"
#include "mpsup.h"

enum { MAGIC = 0x616d6573, SLEEPS = 1, HOLDERS = MPS_SEMAPHORE_HOLDERS_MAX };

struct slot {
	pthread_mutex_t held;
	_Atomic uint32_t units; /* 0 when it is not held */
	uint32_t spare[5];
};

struct semaphore {
	pthread_mutex_t guard;
	pthread_mutex_t turn;
	_Atomic uint32_t bell; /* bit 0: somebody sleeps */
	_Atomic uint32_t free;
	_Atomic uint32_t used; /* slots that were ever held come before this one */
	uint32_t first;
	uint32_t flags;
	uint32_t magic;
	_Alignas(64) struct slot slots[HOLDERS];
};
_Static_assert(sizeof(struct semaphore) <= sizeof(struct mps_semaphore), "it fits");
_Static_assert(_Alignof(struct semaphore) <= _Alignof(struct mps_semaphore), "it fits");
_Static_assert(HOLDERS + 1 <= FUTEX_MANY_MAX, "they can be slept on at once");

static struct semaphore *semaphore_of(struct mps_semaphore *p)
{
	struct semaphore *s = (struct semaphore *)(void *)p;

	return s != NULL && s->magic == MAGIC ? s : NULL;
}

static bool has_owners(const struct semaphore *s)
{
	return (s->flags & MPS_SEMAPHORE_UNOWNED) == 0;
}

int mps_semaphore_init(struct mps_semaphore *p, uint32_t value, unsigned flags)
{
	struct semaphore *s = (struct semaphore *)(void *)p;
	int r;

	if (s == NULL || (flags & ~(unsigned)(MPS_SEMAPHORE_BOUNDED | MPS_SEMAPHORE_UNOWNED)) != 0)
		return -EINVAL;
	/* Nobody could ever have one to give. */
	if (value == 0 && (flags & MPS_SEMAPHORE_UNOWNED) == 0)
		return -EINVAL;
	s->magic = 0;
	r = robust_init(&s->guard, PTHREAD_MUTEX_ERRORCHECK);
	if (r == 0)
		r = robust_init(&s->turn, PTHREAD_MUTEX_ERRORCHECK);
	for (size_t i = 0; r == 0 && i < HOLDERS && (flags & MPS_SEMAPHORE_UNOWNED) == 0; i++) {
		r = robust_init(&s->slots[i].held, PTHREAD_MUTEX_ERRORCHECK);
		atomic_store(&s->slots[i].units, 0);
	}
	if (r < 0)
		return r;
	atomic_store(&s->bell, 0);
	atomic_store(&s->used, 0);
	atomic_store(&s->free, value);
	s->first = value;
	s->flags = flags;
	s->magic = MAGIC;
	return 0;
}

bool semaphore_is_sound(struct mps_semaphore *p)
{
	struct semaphore *s = semaphore_of(p);
	int kind = lock_kind(PTHREAD_MUTEX_ERRORCHECK);
	bool good = s != NULL && lock_has_kind(&s->guard, kind) && lock_has_kind(&s->turn, kind);

	good = good && atomic_load(&s->used) <= HOLDERS;
	for (uint32_t i = 0; good && has_owners(s) && i < HOLDERS; i++)
		good = lock_has_kind(&s->slots[i].held, kind);
	return good;
}

/* Before there are more units free. Who is woken looks when we let go of the guard, or die. */
static void ring(struct semaphore *s)
{
	if ((atomic_load(&s->bell) & SLEEPS) != 0)
		futex_add_wake(&s->bell, SLEEPS, 1);
}

/* Empties the slots of the dead, and counts. */
static void count_anew(struct semaphore *s)
{
	uint32_t out = 0, n = atomic_load(&s->used);

	for (uint32_t i = 0; i < n && i < HOLDERS; i++) {
		struct slot *slot = &s->slots[i];

		if (robust_is_dead(atomic_load(robust_word(&slot->held))) &&
		    robust_lock(&slot->held, (struct mps_time){ 0 }) >= 0) {
			atomic_store(&slot->units, 0);
			robust_unlock(&slot->held);
		}
		out += atomic_load(&slot->units);
	}
	out = s->first - out;
	if (out > atomic_load(&s->free))
		ring(s);
	atomic_store(&s->free, out);
}

static int enter(struct semaphore *s, struct mps_time until)
{
	int r = robust_lock_brief(&s->guard, until);

	if (r == EOWNERDEAD && has_owners(s))
		count_anew(s);
	return r < 0 ? r : 0;
}

static void leave(struct semaphore *s)
{
	robust_unlock(&s->guard);
}

/* The slot that we hold; else *ret_free is one that nobody holds, or NULL. */
static struct slot *my_slot(struct semaphore *s, struct slot **ret_free)
{
	/* The guard knows who we are. */
	uint32_t me = atomic_load(robust_word(&s->guard)) & FUTEX_TID_MASK;
	uint32_t n = atomic_load(&s->used);

	*ret_free = n < HOLDERS ? &s->slots[n] : NULL;
	for (uint32_t i = n; i-- > 0;) {
		uint32_t w = atomic_load(robust_word(&s->slots[i].held));

		if ((w & FUTEX_TID_MASK) == me)
			return &s->slots[i];
		if (!robust_is_held(w) && !robust_is_dead(w))
			*ret_free = &s->slots[i];
	}
	return NULL;
}

static int take_owned(struct semaphore *s)
{
	struct slot *unused, *slot = my_slot(s, &unused);

	if (slot == NULL && unused == NULL) {
		count_anew(s);
		slot = my_slot(s, &unused);
	}
	if (slot == NULL && unused == NULL)
		return -EAGAIN;
	if (slot == NULL) {
		slot = unused;
		if (slot == &s->slots[atomic_load(&s->used)])
			atomic_fetch_add(&s->used, 1);
		robust_lock(&slot->held, (struct mps_time){ 0 });
	}
	/* From here on it is ours: who dies before the next line leaves it to count_anew(). */
	atomic_fetch_add(&slot->units, 1);
	atomic_fetch_sub(&s->free, 1);
	return 0;
}

static int take(struct semaphore *s)
{
	if (atomic_load(&s->free) == 0 && has_owners(s))
		count_anew(s);
	if (atomic_load(&s->free) == 0)
		return -ETIMEDOUT;
	if (has_owners(s))
		return take_owned(s);
	atomic_fetch_sub(&s->free, 1);
	return 0;
}

/* What to sleep on: how many words; 0: somebody has died, look again. */
static size_t watch(struct semaphore *s, struct futex_seen *words)
{
	uint32_t used = has_owners(s) ? atomic_load(&s->used) : 0;
	size_t n = 0;

	words[n++] = (struct futex_seen){ &s->bell, atomic_fetch_or(&s->bell, SLEEPS) | SLEEPS };
	for (uint32_t i = 0; i < used && i < HOLDERS; i++) {
		uint32_t w = robust_watch(&s->slots[i].held);

		if (robust_is_dead(w))
			return 0;
		if (robust_is_held(w))
			words[n++] = (struct futex_seen){ robust_word(&s->slots[i].held), w };
	}
	return n;
}

static int take_in_turn(struct semaphore *s, struct mps_time until)
{
	struct futex_seen words[HOLDERS + 1];
	size_t n;
	int r;

	for (;;) {
		r = enter(s, until);
		if (r < 0)
			return r;
		r = take(s);
		n = r == -ETIMEDOUT ? watch(s, words) : 0;
		leave(s);
		if (r != -ETIMEDOUT)
			return r;
		if (n != 0 && futex_wait_many(words, n, until) < 0)
			return -ETIMEDOUT;
	}
}

int mps_semaphore_acquire(struct mps_semaphore *p, int64_t timeout)
{
	struct semaphore *s = semaphore_of(p);
	struct mps_time until = { 0 };
	int r;

	if (s == NULL)
		return -EINVAL;
	r = enter(s, until);
	if (r == 0) {
		r = take(s);
		leave(s);
	}
	if (r != -ETIMEDOUT || timeout <= 0)
		return r;
	until = until_of(timeout);
	r = robust_lock(&s->turn, until);
	if (r < 0)
		return r;
	r = take_in_turn(s, until);
	robust_unlock(&s->turn);
	return r;
}

static int give_owned(struct semaphore *s, uint32_t n)
{
	struct slot *unused, *slot = my_slot(s, &unused);
	uint32_t units = slot != NULL ? atomic_load(&slot->units) : 0;

	if (units < n)
		return (s->flags & MPS_SEMAPHORE_BOUNDED) != 0 &&
				       n > s->first - atomic_load(&s->free)
			       ? -EOVERFLOW
			       : -EPERM;
	ring(s);
	atomic_store(&slot->units, units - n);
	atomic_fetch_add(&s->free, n);
	if (units == n)
		robust_unlock(&slot->held);
	return 0;
}

static int give(struct semaphore *s, uint32_t n)
{
	uint32_t most = (s->flags & MPS_SEMAPHORE_BOUNDED) != 0 ? s->first : UINT32_MAX;
	uint32_t now = atomic_load(&s->free);

	if (now > most || n > most - now)
		return -EOVERFLOW;
	ring(s);
	atomic_store(&s->free, now + n);
	return 0;
}

int mps_semaphore_release(struct mps_semaphore *p, uint32_t n)
{
	struct semaphore *s = semaphore_of(p);
	int r;

	if (s == NULL)
		return -EINVAL;
	if (n == 0)
		return 0;
	r = enter(s, (struct mps_time){ INT64_MAX });
	if (r < 0)
		return r;
	r = has_owners(s) ? give_owned(s, n) : give(s, n);
	leave(s);
	return r;
}

uint32_t mps_semaphore_value(struct mps_semaphore *p)
{
	struct semaphore *s = semaphore_of(p);
	uint32_t n;

	if (s == NULL || enter(s, (struct mps_time){ INT64_MAX }) < 0)
		return 0;
	if (has_owners(s))
		count_anew(s);
	n = atomic_load(&s->free);
	leave(s);
	return n;
}

bool semaphore_forsake(struct mps_semaphore *p)
{
	struct semaphore *s = semaphore_of(p);
	bool is_free = true;

	if (s == NULL || !has_owners(s) || enter(s, (struct mps_time){ 0 }) < 0)
		return true;
	for (uint32_t i = 0; i < HOLDERS && i < atomic_load(&s->used); i++) {
		pid_t holder =
			(pid_t)(atomic_load(robust_word(&s->slots[i].held)) & FUTEX_TID_MASK);

		if (holder == gettid())
			give_owned(s, atomic_load(&s->slots[i].units));
		else
			is_free &= robust_forsake(&s->slots[i].held);
	}
	leave(s);
	return is_free;
}
