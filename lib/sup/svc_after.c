/*
 * What follows when a run is over or a start has failed: again at once, after a delay, or never. How long a delay is, and
 * how many are too many, is svc_policy.c's.
 */
#include <limits.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "sup/svc_policy.h"
#include "sup/svc_step.h"

enum svc_state svc_start_again(struct svc *s)
{
	svc_count_up(&s->restarts);
	return SVC_STARTING;
}

static enum svc_state give_up(struct svc *s, const char *why)
{
	svc_say(s, SVC_LOG_INFO, "gave up: %s entered FATAL state, %s", s->conf->name, why);
	if (s->spawn_error == NULL)
		svc_remember_error(s, why);
	s->backoff = s->streak = 0;
	return SVC_FATAL;
}

static int64_t retry_delay(struct svc *s)
{
	unsigned failures = s->backoff;

	if (!svc_policy_doubles(s->conf))
		return svc_policy_delay(s->conf, failures, 0);
	if (__builtin_add_overflow(failures, s->streak, &failures))
		failures = UINT_MAX;
	return svc_policy_delay(s->conf, failures, s->ops->random(s));
}

enum svc_state svc_fail(struct svc *s, struct svc_step *t)
{
	int64_t delay;

	svc_count_up(&s->backoff);
	if (!svc_policy_may_retry(s->conf, s->backoff)) {
		svc_pass_through(s, t, SVC_BACKOFF);
		if (s->spawn_error == NULL)
			svc_remember_error(s, "Exited too quickly (process log may have details)");
		return give_up(s, "too many start retries too quickly");
	}
	delay = retry_delay(s);
	/* For ever and at once would be a loop without end or rest, whatever the configuration says. */
	if (delay <= 0 && s->conf->startretries == CONF_RETRIES_INFINITE && s->backoff > 1)
		delay = svc_policy_busy_delay(s->backoff - 1);
	if (delay <= 0) {
		svc_pass_through(s, t, SVC_BACKOFF);
		return svc_start_again(s);
	}
	t->arm = svc_policy_after(t->now, delay);
	return SVC_BACKOFF;
}

static bool restart_is_wanted(const struct svc *s)
{
	switch (s->conf->autorestart) {
	case CONF_RESTART_FALSE:
		return false;
	case CONF_RESTART_TRUE:
		return true;
	case CONF_RESTART_UNEXPECTED:
		return s->overdue || !svc_exit_is_expected(s, &s->last_exit);
	}
	return false;
}

static enum svc_state give_up_by_limit(struct svc *s)
{
	AUTO_FREE char *why = xasprintf("%d restarts in %d seconds (restart_limit)",
					s->conf->restart_limit_count, s->conf->restart_limit_secs);

	return give_up(s, why);
}

static enum svc_state restart_by_policy(struct svc *s, struct svc_step *t)
{
	int64_t delay;

	if (!svc_policy_doubles(s->conf))
		return svc_start_again(s);
	if (svc_last_uptime(s) > svc_policy_steady(s->conf))
		s->streak = 0;
	svc_count_up(&s->streak);
	delay = retry_delay(s);
	if (delay <= 0)
		return svc_start_again(s);
	t->arm = svc_policy_after(t->now, delay);
	return SVC_BACKOFF;
}

enum svc_state svc_after_run(struct svc *s, struct svc_step *t)
{
	if (!restart_is_wanted(s))
		return SVC_EXITED;
	svc_pass_through(s, t, SVC_EXITED);
	if (!svc_note_restart(s, t))
		return give_up_by_limit(s);
	return restart_by_policy(s, t);
}

enum svc_state svc_restart_as_asked(struct svc *s, const struct svc_step *t)
{
	return svc_note_restart(s, t) ? svc_start_again(s) : give_up_by_limit(s);
}
