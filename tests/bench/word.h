/*
 * A word that one side moves on and the other one waits for, by a bounded spin and then by a futex: what two processes that hand
 * something over need at the least. Header only.
 */
#ifndef TESTS_BENCH_WORD_H
#define TESTS_BENCH_WORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mtime.h"
#include "ipc/futex.h"

enum { SPIN_NS = 20000 };

struct word {
	_Atomic uint32_t n;
	_Atomic uint32_t sleeps;
} __attribute__((aligned(128)));

/* Until it is another than `seen`. */
static inline void word_await(struct word *w, uint32_t seen, bool spins)
{
	int64_t end = spins ? mps_now().ns + SPIN_NS : 0;

	while (spins && mps_now().ns < end)
		for (int i = 0; i < 16; i++) {
			__builtin_ia32_pause();
			if (atomic_load_explicit(&w->n, memory_order_acquire) != seen)
				return;
		}
	atomic_store(&w->sleeps, 1);
	while (atomic_load(&w->n) == seen)
		futex_wait(&w->n, seen, (struct mps_time){ INT64_MAX });
	atomic_store(&w->sleeps, 0);
}

static inline void word_advance(struct word *w)
{
	atomic_store(&w->n, atomic_load_explicit(&w->n, memory_order_relaxed) + 1);
	if (atomic_load(&w->sleeps))
		futex_wake(&w->n, 1);
}

#endif
