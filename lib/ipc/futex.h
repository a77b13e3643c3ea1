/*
 * Words that processes share and sleep on (futex(2), not FUTEX_PRIVATE), and how long to look at one before sleeping.
 * Times are absolute, on the monotonic clock: {INT64_MAX} is for ever, {0} is long over. No call is interrupted by a signal.
 */
#ifndef IPC_FUTEX_H
#define IPC_FUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "base/mtime.h"

/* Built for ThreadSanitizer, which does not see what the kernel does. */
#if defined(__SANITIZE_THREAD__)
#define FUTEX_TSAN 1
#elif defined(__has_feature)
#define FUTEX_TSAN __has_feature(thread_sanitizer)
#else
#define FUTEX_TSAN 0
#endif

/* Of two the call whose timespec has seconds of 64 bits. */
#ifdef SYS_futex_time64
#define FUTEX_CALL SYS_futex_time64
#else
#define FUTEX_CALL SYS_futex
#endif

/* A timeout argument of a call of mpsup.h as a time, once, at the entry. */
struct mps_time until_of(int64_t timeout);

/* Sleeps while *w is `seen`: 0 (look again: it may still be), -ETIMEDOUT. */
int futex_wait(const _Atomic uint32_t *w, uint32_t seen, struct mps_time until);
/*
 * For this thread: while the robust mutex (robust.h) with this word is not held by anybody, because its holder has died, no
 * call sleeps for more than FUTEX_WATCH_NS but ends with -ETIMEDOUT then; also within calls of mpsup.h. NULL: no more. No sleep can be for a word and the
 * death of who would change it both, so it is looked at now and then.
 */
#define FUTEX_WATCH_NS (50 * MPS_NS_PER_MS)
void futex_watch(const _Atomic uint32_t *holder);
/* How long to sleep at once, of that time; and whether to go on afterwards. */
struct mps_time futex_slice(struct mps_time until);
bool futex_goes_on(struct mps_time slice, struct mps_time until);

/* Wakes up to n, UINT32_MAX = all: how many. Async-signal-safe as the next three. */
int futex_wake(_Atomic uint32_t *w, uint32_t n);
/*
 * *w += add (-2048 to 2047), *w |= bits or *w &= ~bits (0 to 2047), and the wake-up of up to n who sleep on it, in one system call: who is
 * killed has done both or nothing (FUTEX_WAKE_OP). In a rare case one more is woken.
 */
int futex_add_wake(_Atomic uint32_t *w, int add, uint32_t n);
int futex_or_wake(_Atomic uint32_t *w, unsigned bits, uint32_t n);
int futex_clear_wake(_Atomic uint32_t *w, unsigned bits, uint32_t n);

/*
 * Sleeps while all words are as they were seen. FUTEX_WAITV, Linux 5.16; without it on the first word alone, and the
 * caller looks at the others FUTEX_SLICE_NS later at the latest. n from 1 to FUTEX_MANY_MAX.
 */
enum { FUTEX_MANY_MAX = 128 };
#define FUTEX_SLICE_NS (10 * MPS_NS_PER_MS)
struct futex_seen {
	const _Atomic uint32_t *w;
	uint32_t seen;
};
int futex_wait_many(const struct futex_seen *words, size_t n, struct mps_time until);

/*
 * Looking before sleeping, for what another CPU is about to do:
 *
 *	struct spin s = spin_start(&budget);
 *	while (!(done = is_there()) && spin_again(&s))
 *		;
 *	spin_end(&s, done);
 *
 * At most SPIN_MAX_NS, less where it has been in vain lately (the budget, in nanoseconds, is the caller's, of this process, 0 to
 * begin with), and not at all where this thread has one CPU.
 */
enum { SPIN_MAX_NS = 20000, SPIN_MIN_NS = 500, SPIN_LOOKS = 16, SPIN_PROBE = 16 };
struct spin {
	_Atomic uint32_t *budget;
	/* 0: the clock was not looked at yet, which takes as long as a round trip between CPUs. */
	int64_t from;
	uint32_t limit, looks;
};
struct spin spin_start(_Atomic uint32_t *budget);
void spin_end(const struct spin *s, bool was_there);

static inline bool spin_again(struct spin *s)
{
	int64_t now;

	if (s->limit == 0)
		return false;
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
	if (++s->looks % SPIN_LOOKS != 0)
		return true;
	now = mps_now().ns;
	if (s->from == 0)
		s->from = now;
	return now - s->from < s->limit;
}

#endif
