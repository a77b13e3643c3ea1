/*
 * Words that processes share and sleep on. Times are absolute, on the monotonic clock.
 */
#ifndef IPC_FUTEX_H
#define IPC_FUTEX_H

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mtime.h"
#include "mpsup.h"

static inline struct mps_time until_of(int64_t timeout)
{
	int64_t now;

	if (timeout <= 0)
		return (struct mps_time){ 0 };
	now = mps_now().ns;
	return (struct mps_time){ timeout > INT64_MAX - now ? INT64_MAX : now + timeout };
}

static inline int futex_wait(const _Atomic uint32_t *w, uint32_t seen, struct mps_time until)
{
	struct timespec ts = { until.ns / MPS_NS_PER_S, until.ns % MPS_NS_PER_S };

	if (syscall(SYS_futex, w, FUTEX_WAIT_BITSET, seen, until.ns == INT64_MAX ? NULL : &ts, NULL,
		    FUTEX_BITSET_MATCH_ANY) < 0 &&
	    errno == ETIMEDOUT)
		return -ETIMEDOUT;
	return 0;
}

static inline int futex_wake(_Atomic uint32_t *w, uint32_t n)
{
	return (int)syscall(SYS_futex, w, FUTEX_WAKE, n > INT32_MAX ? INT32_MAX : n, NULL, NULL, 0);
}

static inline int futex_add_wake(_Atomic uint32_t *w, int add, uint32_t n)
{
	return (int)syscall(SYS_futex, w, FUTEX_WAKE_OP, n > INT32_MAX ? INT32_MAX : n, 0UL, w,
			    FUTEX_OP(FUTEX_OP_ADD, add, FUTEX_OP_CMP_EQ, 0));
}

#endif
