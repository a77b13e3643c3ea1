/*
 * The arithmetic of restarting: how long to wait, how often to try. No state of its own, no clock.
 * Spans are nanoseconds.
 */
#ifndef SUP_SVC_POLICY_H
#define SUP_SVC_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mtime.h"

struct conf_proc;

/*
 * True where restart_delay, restart_delay_max or startretries=infinite ask for doubling delays; else supervisord's
 * policy holds: n seconds before retry n, and a restart after RUNNING at once.
 */
bool svc_policy_doubles(const struct conf_proc *conf);

/*
 * The wait before the next try after `failures` (>= 1) of them in a row. The doubling one is spread by 10 % either way
 * by `random` (0 … UINT32_MAX), so that programs that failed together don't come back together.
 */
int64_t svc_policy_delay(const struct conf_proc *conf, unsigned failures, uint32_t random);

/* A run longer than this ends a streak of restarts. */
int64_t svc_policy_steady(const struct conf_proc *conf);

/* False when `backoff` tries in a row have failed and startretries allows no other. */
bool svc_policy_may_retry(const struct conf_proc *conf, unsigned backoff);

/* The wait after `busy` (>= 1) tries in a row that failed for lack of a resource: 50 ms, doubling to 0.8 s. */
int64_t svc_policy_busy_delay(unsigned busy);

/* restart_limit's restarts have been since `first`, the oldest of them: would another one now be too many? */
bool svc_policy_is_too_many(const struct conf_proc *conf, struct mps_time first,
			    struct mps_time now);

/* now + span, not past the end of time and never 0, which means "no timer". A negative span counts as 0. */
struct mps_time svc_policy_after(struct mps_time now, int64_t span);

#endif
