/*
 * The arithmetic of restarting. The machine (svc.c) decides when it is asked.
 */
#include "sup/svc_policy.h"

#include "conf/conf.h"

#define DELAY_DEFAULT MPS_NS_PER_S
#define DELAY_MAX_DEFAULT (60 * MPS_NS_PER_S)
#define BUSY_DELAY (50 * MPS_NS_PER_MS)
#define BUSY_DELAY_MAX                                                                             \
	(800 * MPS_NS_PER_MS) /* nobody tells of relief: a start within a second of it */

bool svc_policy_doubles(const struct conf_proc *conf)
{
	return conf->restart_delay != CONF_UNSET || conf->restart_delay_max != CONF_UNSET ||
	       conf->startretries == CONF_RETRIES_INFINITE;
}

static int64_t doubled(int64_t delay, int64_t max, unsigned failures)
{
	for (; failures > 1 && delay > 0 && delay < max; failures--)
		delay = delay > max / 2 ? max : delay * 2;
	return delay < max ? delay : max;
}

static int64_t spread(int64_t delay, uint32_t random)
{
	return delay - delay / 10 + (delay / 5 >> 16) * (int64_t)(random >> 16);
}

static int64_t first_delay(const struct conf_proc *conf)
{
	return conf->restart_delay < 0 ? DELAY_DEFAULT : conf->restart_delay;
}

int64_t svc_policy_steady(const struct conf_proc *conf)
{
	if (conf->restart_delay_max >= 0)
		return conf->restart_delay_max;
	/* A restart_delay of ten minutes alone must not be cut to the default maximum. */
	return first_delay(conf) > DELAY_MAX_DEFAULT ? first_delay(conf) : DELAY_MAX_DEFAULT;
}

int64_t svc_policy_delay(const struct conf_proc *conf, unsigned failures, uint32_t random)
{
	if (!svc_policy_doubles(conf))
		return (int64_t)failures * MPS_NS_PER_S;
	return spread(doubled(first_delay(conf), svc_policy_steady(conf), failures), random);
}

bool svc_policy_may_retry(const struct conf_proc *conf, unsigned backoff)
{
	if (conf->startretries == CONF_RETRIES_INFINITE)
		return true;
	return conf->startretries > 0 && backoff <= (unsigned)conf->startretries;
}

int64_t svc_policy_busy_delay(unsigned busy)
{
	return doubled(BUSY_DELAY, BUSY_DELAY_MAX, busy);
}

bool svc_policy_is_too_many(const struct conf_proc *conf, struct mps_time first,
			    struct mps_time now)
{
	return now.ns - first.ns <= conf->restart_limit_secs * MPS_NS_PER_S;
}

struct mps_time svc_policy_after(struct mps_time now, int64_t span)
{
	int64_t at;

	if (span < 0)
		span = 0;
	if (__builtin_add_overflow(now.ns, span, &at))
		at = INT64_MAX;
	return (struct mps_time){ at > 0 ? at : 1 };
}
