/*
 * mps_event: one word: is it set, does somebody sleep, and how often it was cleared, by which a sleeper knows that it was set
 * in the meantime. No lock, so that a signal handler may set it.
 */
#include <errno.h>
#include <stdatomic.h>

#include "ipc/futex.h"
#include "mpsup.h"

enum { MAGIC = 0x746e7665, SET = 1, SLEEPS = 2, CLEARED = 4 };

struct event {
	_Atomic uint32_t word;
	uint32_t magic;
};
_Static_assert(sizeof(struct event) <= sizeof(struct mps_event), "it fits");

static struct event *event_of(const struct mps_event *p)
{
	struct event *e = (struct event *)(uintptr_t)p;

	return e != NULL && e->magic == MAGIC ? e : NULL;
}

int mps_event_init(struct mps_event *p)
{
	struct event *e = (struct event *)(void *)p;

	if (e == NULL)
		return -EINVAL;
	atomic_store(&e->word, 0);
	e->magic = MAGIC;
	return 0;
}

int mps_event_set(struct mps_event *p)
{
	struct event *e = event_of(p);
	uint32_t w;

	if (e == NULL)
		return -EINVAL;
	w = atomic_load(&e->word);
	while ((w & (SET | SLEEPS)) == 0)
		if (atomic_compare_exchange_weak(&e->word, &w, w | SET))
			return 0;
	/* Several who do it at once do the same. */
	if ((w & SET) == 0)
		futex_or_wake(&e->word, SET, UINT32_MAX);
	return 0;
}

int mps_event_clear(struct mps_event *p)
{
	struct event *e = event_of(p);
	uint32_t w;

	if (e == NULL)
		return -EINVAL;
	w = atomic_load(&e->word);
	/* Who slept was woken when it was set, and nobody sleeps while it is. */
	while ((w & SET) != 0)
		if (atomic_compare_exchange_weak(&e->word, &w,
						 (w & ~(uint32_t)(SET | SLEEPS)) + CLEARED))
			break;
	return 0;
}

bool mps_event_is_set(const struct mps_event *p)
{
	struct event *e = event_of(p);

	return e != NULL && (atomic_load(&e->word) & SET) != 0;
}

int mps_event_wait(struct mps_event *p, int64_t timeout)
{
	struct event *e = event_of(p);
	struct mps_time until;
	uint32_t w, cleared;
	int r = 0;

	if (e == NULL)
		return -EINVAL;
	w = atomic_load(&e->word);
	if ((w & SET) != 0)
		return 0;
	until = until_of(timeout);
	for (cleared = w / CLEARED; (w & SET) == 0 && w / CLEARED == cleared;) {
		if (r < 0)
			return r;
		if ((w & SLEEPS) == 0 && !atomic_compare_exchange_weak(&e->word, &w, w | SLEEPS))
			continue;
		r = futex_wait(&e->word, w | SLEEPS, until);
		w = atomic_load(&e->word);
	}
	return 0;
}
