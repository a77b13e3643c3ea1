/*
 * Time. The machine's decisions use the monotonic clock only; the wall clock is for what people read.
 */
#ifndef BASE_MTIME_H
#define BASE_MTIME_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

_Static_assert(sizeof(time_t) == 8 && sizeof(off_t) == 8,
	       "after 2038 and beyond 2 GiB, too: -D_TIME_BITS=64 -D_FILE_OFFSET_BITS=64");

#define MPS_NS_PER_S INT64_C(1000000000)
#define MPS_NS_PER_MS INT64_C(1000000)

/*
 * The clock by which files are born and System V objects change is CLOCK_REALTIME_COARSE. It lags behind CLOCK_REALTIME by
 * up to a tick, of 10 ms at most (HZ=100), and for as long as a virtual machine misses the processor that moves it on:
 * with ticks of 4 ms it has been 12 ms late, and more. Beyond this it is another time.
 */
#define MPS_COARSE_LAG_NS (100 * MPS_NS_PER_MS)

/* A point on CLOCK_MONOTONIC, or a span, in nanoseconds. */
struct mps_time {
	int64_t ns;
};

static inline struct mps_time mps_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (struct mps_time){ ts.tv_sec * MPS_NS_PER_S + ts.tv_nsec };
}

/* CLOCK_REALTIME in nanoseconds since the epoch: for log lines and status, never for a decision. */
static inline struct mps_time mps_wall(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (struct mps_time){ ts.tv_sec * MPS_NS_PER_S + ts.tv_nsec };
}

#endif
