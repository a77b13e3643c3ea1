/*
 * futex(2) and futex_waitv(2), which the C library has no functions for.
 */
#include "ipc/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <unistd.h>

#include "base/feature.h"
#include "ipc/robust.h"

#if FUTEX_TSAN
void __tsan_release(void *p);
#endif

struct mps_time until_of(int64_t timeout)
{
	int64_t now;

	if (timeout <= 0)
		return (struct mps_time){ 0 };
	if (timeout == INT64_MAX)
		return (struct mps_time){ INT64_MAX };
	now = mps_now().ns;
	return (struct mps_time){ timeout > INT64_MAX - now ? INT64_MAX : now + timeout };
}

static struct timespec timespec_of(struct mps_time t)
{
	return (struct timespec){ .tv_sec = t.ns / MPS_NS_PER_S, .tv_nsec = t.ns % MPS_NS_PER_S };
}

static long count_of(uint32_t n)
{
	return n > INT32_MAX ? INT32_MAX : (long)n;
}

static __thread const _Atomic uint32_t *watched;

void futex_watch(const _Atomic uint32_t *holder)
{
	watched = holder;
}

struct mps_time futex_slice(struct mps_time until)
{
	struct mps_time slice = { watched != NULL ? mps_now().ns + FUTEX_WATCH_NS : INT64_MAX };

	return until.ns < slice.ns ? until : slice;
}

bool futex_goes_on(struct mps_time slice, struct mps_time until)
{
	return slice.ns < until.ns && (watched == NULL || robust_is_held(atomic_load(watched)));
}

static int wait_once(const _Atomic uint32_t *w, uint32_t seen, struct mps_time until)
{
	struct timespec ts = timespec_of(until);

	/* A handler that ran, a word that has changed: the caller looks again, which is the same for it. */
	if (syscall(FUTEX_CALL, w, FUTEX_WAIT_BITSET, seen, until.ns == INT64_MAX ? NULL : &ts,
		    NULL, FUTEX_BITSET_MATCH_ANY) < 0 &&
	    errno == ETIMEDOUT)
		return -ETIMEDOUT;
	return 0;
}

int futex_wait(const _Atomic uint32_t *w, uint32_t seen, struct mps_time until)
{
	struct mps_time slice;
	int r;

	do {
		slice = futex_slice(until);
		r = wait_once(w, seen, slice);
	} while (r < 0 && futex_goes_on(slice, until));
	return r;
}

int futex_wake(_Atomic uint32_t *w, uint32_t n)
{
	return (int)syscall(FUTEX_CALL, w, FUTEX_WAKE, count_of(n), NULL, NULL, 0);
}

/*
 * Both words of the call are the same. It ends with waking one more if the word was what it is compared with: a number that
 * no word of ours is but once in four thousand million changes.
 */
static int wake_op(_Atomic uint32_t *w, unsigned op, unsigned arg, uint32_t n)
{
	const unsigned compared_with = 0x800;

#if FUTEX_TSAN
	/* It does not see what the kernel writes. */
	__tsan_release(w);
#endif
	return (int)syscall(FUTEX_CALL, w, FUTEX_WAKE_OP, count_of(n), 0L, w,
			    op << 28 | (unsigned)FUTEX_OP_CMP_EQ << 24 | (arg & 0xfff) << 12 |
				    compared_with);
}

int futex_add_wake(_Atomic uint32_t *w, int add, uint32_t n)
{
	return wake_op(w, FUTEX_OP_ADD, (unsigned)add, n);
}

int futex_or_wake(_Atomic uint32_t *w, unsigned bits, uint32_t n)
{
	return wake_op(w, FUTEX_OP_OR, bits, n);
}

int futex_clear_wake(_Atomic uint32_t *w, unsigned bits, uint32_t n)
{
	return wake_op(w, FUTEX_OP_ANDN, bits, n);
}

static int wait_slice(const struct futex_seen *words, size_t n, struct mps_time until)
{
	int64_t slice = mps_now().ns + FUTEX_SLICE_NS;

	for (size_t i = 0; i < n; i++)
		if (atomic_load(words[i].w) != words[i].seen)
			return 0;
	if (until.ns <= slice)
		return futex_wait(words[0].w, words[0].seen, until);
	futex_wait(words[0].w, words[0].seen, (struct mps_time){ slice });
	return 0;
}

static int wait_many_once(const struct futex_seen *words, size_t n, struct mps_time until)
{
	static _Atomic int is_there; /* 0 = not known, 1, -1 */
	struct timespec ts = timespec_of(until);
	struct futex_waitv v[FUTEX_MANY_MAX];

	if (is_there == 0)
		is_there = feature_allowed(FEATURE_FUTEX_WAITV) ? 1 : -1;
	if (is_there < 0)
		return wait_slice(words, n, until);
	for (size_t i = 0; i < n; i++)
		v[i] = (struct futex_waitv){ .val = words[i].seen,
					     .uaddr = (uintptr_t)words[i].w,
					     .flags = FUTEX_32 };
	if (syscall(SYS_futex_waitv, v, n, 0, until.ns == INT64_MAX ? NULL : &ts,
		    CLOCK_MONOTONIC) >= 0)
		return 0;
	/* Also where a filter of system calls does not know it. */
	if (errno == ENOSYS || errno == EPERM) {
		is_there = -1;
		return wait_slice(words, n, until);
	}
	return errno == ETIMEDOUT ? -ETIMEDOUT : 0;
}

int futex_wait_many(const struct futex_seen *words, size_t n, struct mps_time until)
{
	struct mps_time slice;
	int r;

	do {
		slice = futex_slice(until);
		r = wait_many_once(words, n, slice);
	} while (r < 0 && futex_goes_on(slice, until));
	return r;
}

static _Atomic bool many_cpus;

/*
 * How many CPUs this thread may use is asked once a second: it is a system call, and may change.
 * Only by who is about to sleep, whom the clock costs nothing.
 */
static void count_cpus(void)
{
	static _Atomic int64_t asked;
	int64_t now = mps_now().ns;
	cpu_set_t set;

	if (asked != 0 && now - asked <= MPS_NS_PER_S)
		return;
	/* More CPUs than the set has room for is an error. */
	many_cpus = sched_getaffinity(0, sizeof(set), &set) < 0 || CPU_COUNT(&set) > 1;
	asked = now;
}

struct spin spin_start(_Atomic uint32_t *budget)
{
	static _Atomic uint32_t starts;
	struct spin s = { .budget = budget };

	if (!many_cpus)
		count_cpus();
	if (!many_cpus)
		return s;
	s.limit = atomic_load_explicit(budget, memory_order_relaxed);
	/* Now and then as long as it may: it may have become worth it. */
	if (s.limit == 0 ||
	    atomic_fetch_add_explicit(&starts, 1, memory_order_relaxed) % SPIN_PROBE == 0)
		s.limit = SPIN_MAX_NS;
	return s;
}

/* A quarter less each time that it was in vain, and twice as much when it was not. */
void spin_end(const struct spin *s, bool was_there)
{
	uint32_t b = atomic_load_explicit(s->budget, memory_order_relaxed);

	if (s->limit == 0)
		return;
	if (!was_there)
		count_cpus();
	if (b == 0)
		b = SPIN_MAX_NS;
	b = was_there ? 2 * b : b - b / 4;
	if (b > SPIN_MAX_NS)
		b = SPIN_MAX_NS;
	if (b < SPIN_MIN_NS)
		b = SPIN_MIN_NS;
	atomic_store_explicit(s->budget, b, memory_order_relaxed);
}
