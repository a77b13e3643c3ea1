/*
 * The life of a service: a table of states and events whose cells name an action and the states that it may lead to.
 * Its parts are svc_step.c's, svc_stop.c's and svc_after.c's, delays and limits svc_policy.c's, texts svc_text.c's;
 * processes, timers and logs belong to whoever fills struct svc_ops.
 */
#include "sup/svc.h"

#include <assert.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "conf/conf.h"
#include "sup/svc_policy.h"
#include "sup/svc_step.h"

/* There may be a hundred thousand of them. */
_Static_assert(sizeof(struct svc) <= 320, "struct svc has grown");

struct rule {
	enum svc_state (*action)(struct svc *s, struct svc_step *t);
	unsigned targets;
};

#define STOPPED SVC_BIT(SVC_STOPPED)
#define STARTING SVC_BIT(SVC_STARTING)
#define RUNNING SVC_BIT(SVC_RUNNING)
#define BACKOFF SVC_BIT(SVC_BACKOFF)
#define STOPPING SVC_BIT(SVC_STOPPING)
#define EXITED SVC_BIT(SVC_EXITED)
#define FATAL SVC_BIT(SVC_FATAL)
#define UNKNOWN SVC_BIT(SVC_UNKNOWN)

bool svc_is_signallable(const struct svc *s)
{
	return (STARTING | RUNNING | STOPPING) & SVC_BIT(s->state);
}

bool svc_is_stopped(const struct svc *s)
{
	return (STOPPED | EXITED | FATAL | UNKNOWN) & SVC_BIT(s->state);
}

bool svc_is_fresh(const struct svc *s)
{
	return s->changed.ns == 0;
}

bool svc_is_ended(const struct svc *s)
{
	return svc_is_stopped(s) && !s->passing;
}

/* ------------------------------------------------------------------------------------------------------- starting */

static enum svc_state ignore(struct svc *s, struct svc_step *t)
{
	(void)t;
	return s->state;
}

static enum svc_state start(struct svc *s, struct svc_step *t)
{
	(void)t;
	svc_reset_counters(s);
	svc_remember_error(s, NULL);
	return SVC_STARTING;
}

static enum svc_state succeed(struct svc *s, struct svc_step *t)
{
	s->backoff = 0;
	if (svc_tells_when_ready(s))
		svc_say(s, SVC_LOG_INFO,
			"success: %s entered RUNNING state, it has said that it is ready",
			s->conf->name);
	else
		svc_say(s, SVC_LOG_INFO,
			"success: %s entered RUNNING state, process has stayed up for > than %d "
			"seconds (startsecs)",
			s->conf->name, s->conf->startsecs);
	if (s->conf->watchdog > 0)
		t->arm = svc_policy_after(t->now, s->conf->watchdog);
	return SVC_RUNNING;
}

static enum svc_state started(struct svc *s, struct svc_step *t)
{
	if (s->pid != 0 || t->arg->pid <= 0)
		return SVC_STARTING;
	svc_note_started(s, t);
	if (svc_tells_when_ready(s) ? s->ready : s->conf->startsecs <= 0)
		return succeed(s, t);
	if (!svc_tells_when_ready(s))
		svc_set_timer(s, svc_policy_after(t->now, s->conf->startsecs * MPS_NS_PER_S));
	return SVC_STARTING;
}

/* Its word may be here before the keeper's that it has been executed. */
static enum svc_state said_ready(struct svc *s, struct svc_step *t)
{
	if (!svc_tells_when_ready(s))
		return SVC_STARTING;
	if (s->pid != 0)
		return succeed(s, t);
	s->ready = true;
	return SVC_STARTING;
}

static enum svc_state started_while_stopping(struct svc *s, struct svc_step *t)
{
	if (s->pid == 0 && !s->exited && t->arg->pid > 0)
		svc_note_started(s, t);
	return SVC_STOPPING;
}

/* -------------------------------------------------------------------------------------------------- ends */

static enum svc_state run_ended(struct svc *s, struct svc_step *t)
{
	bool expected = svc_exit_is_expected(s, &t->arg->exit);

	svc_note_exit(s, t);
	svc_say_exit(s, expected ? SVC_LOG_INFO : SVC_LOG_WARN, "exited",
		     expected ? "; expected" : "; not expected");
	if (!t->arg->exit.tree_left)
		return svc_after_run(s, t);
	s->exited = true;
	return SVC_STOPPING;
}

/* STARTING: old enough, only its timer has not been heard yet. */
static bool is_grown_up(const struct svc *s, struct mps_time now)
{
	return !svc_tells_when_ready(s) && !svc_waits_for_server(s) && s->timer_at.ns != 0 &&
	       now.ns >= s->timer_at.ns;
}

bool svc_exit_is_wanted(const struct svc *s, const struct svc_exit *e, struct mps_time now)
{
	bool up = s->state == SVC_RUNNING || (s->state == SVC_STARTING && is_grown_up(s, now));

	return (s->state == SVC_STOPPING && !s->overdue) || (up && svc_exit_is_expected(s, e));
}

static enum svc_state start_ended(struct svc *s, struct svc_step *t)
{
	if (is_grown_up(s, t->now)) {
		svc_pass_through(s, t, succeed(s, t));
		return run_ended(s, t);
	}
	svc_note_exit(s, t);
	svc_say_exit(s, SVC_LOG_WARN, "exited", "; not expected");
	if (!t->arg->exit.tree_left)
		return svc_fail(s, t);
	s->exited = s->too_soon = true;
	return SVC_STOPPING;
}

/* A pid means that exec has succeeded: the answer belongs to no start of ours. */
static enum svc_state spawn_failed(struct svc *s, struct svc_step *t)
{
	if (s->pid != 0)
		return SVC_STARTING;
	svc_note_spawn_failed(s, t);
	return svc_fail(s, t);
}

static enum svc_state spawn_busy(struct svc *s, struct svc_step *t)
{
	if (s->pid != 0)
		return SVC_STARTING;
	svc_remember_error(s, t->arg->text != NULL ? t->arg->text : "no resources");
	svc_count_up(&s->busy);
	if (s->busy == 1)
		svc_say(s, SVC_LOG_WARN, "spawnerr: %s: %s", s->name, s->spawn_error);
	t->arm = svc_policy_after(t->now, svc_policy_busy_delay(s->busy));
	return SVC_BACKOFF;
}

/* Tries for lack of a resource are all one start. */
static enum svc_state try_again(struct svc *s)
{
	return s->busy > 0 ? SVC_STARTING : svc_start_again(s);
}

static enum svc_state delay_over(struct svc *s, struct svc_step *t)
{
	return svc_timer_is_due(s, t) ? try_again(s) : SVC_BACKOFF;
}

static enum svc_state relief(struct svc *s, struct svc_step *t)
{
	(void)t;
	return s->busy > 0 ? try_again(s) : SVC_BACKOFF;
}

/* ------------------------------------------------------------------------------------------------------- stopping */

static enum svc_state stop(struct svc *s, struct svc_step *t)
{
	s->stop_asked = true;
	svc_say(s, SVC_LOG_INFO, "waiting for %s to stop", s->conf->name);
	s->asked = s->conf->stop_method == CONF_STOP_MESSAGE && s->ops->ask(s);
	if (s->asked) {
		t->arm = svc_half_of_stop(s, t);
		return SVC_STOPPING;
	}
	svc_send_stop(s);
	t->arm = svc_policy_after(t->now, s->conf->stopwaitsecs * MPS_NS_PER_S);
	return SVC_STOPPING;
}

/* It was not there, or did not say READY=1 or, without too_soon, WATCHDOG=1, in time. */
static enum svc_state end_overdue(struct svc *s, struct svc_step *t, const char *what, int64_t ns)
{
	s->overdue = true;
	svc_say(s, SVC_LOG_WARN, "%s %s for %g seconds: ending it", s->name, what,
		(double)ns / (double)MPS_NS_PER_S);
	svc_send_stop(s);
	t->arm = svc_policy_after(t->now, s->conf->stopwaitsecs * MPS_NS_PER_S);
	return SVC_STOPPING;
}

static enum svc_state start_timer(struct svc *s, struct svc_step *t)
{
	if (!svc_timer_is_due(s, t))
		return SVC_STARTING;
	if (!svc_tells_when_ready(s) && !svc_waits_for_server(s))
		return succeed(s, t);
	s->too_soon = true;
	svc_remember_error(s, svc_waits_for_server(s)
				      ? "its forkserver did not start it in time (start_timeout)"
				      : "it did not say READY=1 in time (start_timeout)");
	return end_overdue(s, t,
			   svc_waits_for_server(s) ? "waits for its forkserver"
						   : "has not said READY=1",
			   s->conf->start_timeout);
}

static enum svc_state watchdog_timer(struct svc *s, struct svc_step *t)
{
	if (!svc_timer_is_due(s, t))
		return SVC_RUNNING;
	return end_overdue(s, t, "has not said WATCHDOG=1", s->conf->watchdog);
}

static enum svc_state said_alive(struct svc *s, struct svc_step *t)
{
	if (s->timer_at.ns != 0)
		svc_set_timer(s, svc_policy_after(t->now, s->conf->watchdog));
	return SVC_RUNNING;
}

static enum svc_state main_changed(struct svc *s, struct svc_step *t)
{
	if (s->pid == 0 || t->arg->pid <= 0 || t->arg->pid == s->pid)
		return s->state;
	s->pid = t->arg->pid;
	svc_say(s, SVC_LOG_INFO, "the main process of %s is pid %ld now", s->name, (long)s->pid);
	return s->state;
}

/* What was sent to the one before is meant for this one. */
static enum svc_state main_changed_stopping(struct svc *s, struct svc_step *t)
{
	pid_t before = s->pid;

	main_changed(s, t);
	if (s->pid != before)
		svc_repeat_stop(s, 0);
	return SVC_STOPPING;
}

static enum svc_state extend_start(struct svc *s, struct svc_step *t)
{
	if (svc_tells_when_ready(s))
		svc_extend(s, t);
	return SVC_STARTING;
}

static enum svc_state extend_stop(struct svc *s, struct svc_step *t)
{
	if (!s->killed && !s->exited)
		svc_extend(s, t);
	return SVC_STOPPING;
}

/* Anybody else's wish begins a new count. */
static void want_start(struct svc *s, const struct svc_step *t)
{
	s->own_wish = t->arg->by_itself && (s->own_wish || !s->want_start);
	s->want_start = true;
}

static enum svc_state stop_and_start(struct svc *s, struct svc_step *t)
{
	want_start(s, t);
	return stop(s, t);
}

static enum svc_state kill_now(struct svc *s, struct svc_step *t)
{
	s->stop_asked = true;
	svc_send_kill(s);
	t->arm = svc_next_kill(s, t);
	return SVC_STOPPING;
}

static enum svc_state stop_waiting(struct svc *s, struct svc_step *t)
{
	(void)t;
	svc_reset_counters(s);
	return SVC_STOPPED;
}

static enum svc_state stop_only(struct svc *s, struct svc_step *t)
{
	(void)t;
	s->want_start = false;
	s->stop_asked = true;
	return SVC_STOPPING;
}

static enum svc_state start_after_stop(struct svc *s, struct svc_step *t)
{
	want_start(s, t);
	return SVC_STOPPING;
}

static enum svc_state kill_stopping(struct svc *s, struct svc_step *t)
{
	stop_only(s, t);
	svc_send_kill(s);
	/* Once the main process is gone the keeper ends the rest in its own time; GONE follows. */
	if (!s->exited)
		svc_set_timer(s, svc_next_kill(s, t));
	return SVC_STOPPING;
}

static enum svc_state stop_timer(struct svc *s, struct svc_step *t)
{
	if (!svc_timer_is_due(s, t))
		return SVC_STOPPING;
	if (s->asked) {
		s->asked = false;
		if (!s->exited)
			svc_send_stop(s);
		svc_set_timer(s, svc_half_of_stop(s, t));
		return SVC_STOPPING;
	}
	svc_send_kill(s);
	svc_set_timer(s, svc_next_kill(s, t));
	return SVC_STOPPING;
}

static enum svc_state stopped(struct svc *s, struct svc_step *t)
{
	bool own_wish = s->own_wish;

	if (!s->want_start)
		return SVC_STOPPED;
	svc_pass_through(s, t, SVC_STOPPED);
	return own_wish ? svc_restart_as_asked(s, t) : start(s, t);
}

static enum svc_state stop_ended(struct svc *s, struct svc_step *t)
{
	if (s->stop_asked)
		svc_say_exit(s,
			     svc_exit_is_expected(s, &s->last_exit) ? SVC_LOG_INFO : SVC_LOG_WARN,
			     "stopped", "");
	else if (s->overdue)
		svc_say_exit(s, SVC_LOG_WARN, "exited", "; not expected");
	if (s->stop_asked || s->want_start)
		return stopped(s, t);
	return s->too_soon ? svc_fail(s, t) : svc_after_run(s, t);
}

static enum svc_state exited_stopping(struct svc *s, struct svc_step *t)
{
	if (s->exited)
		return SVC_STOPPING;
	svc_note_exit(s, t);
	if (!t->arg->exit.tree_left)
		return stop_ended(s, t);
	/* stopwaitsecs goes on for the rest of the tree: it is one stop. */
	s->exited = true;
	return SVC_STOPPING;
}

static enum svc_state tree_gone(struct svc *s, struct svc_step *t)
{
	return s->exited ? stop_ended(s, t) : SVC_STOPPING;
}

static enum svc_state spawn_failed_stopping(struct svc *s, struct svc_step *t)
{
	if (s->pid != 0 || s->exited)
		return SVC_STOPPING;
	svc_note_spawn_failed(s, t);
	return s->overdue && !s->stop_asked && !s->want_start ? svc_fail(s, t) : stopped(s, t);
}

static enum svc_state spawn_busy_stopping(struct svc *s, struct svc_step *t)
{
	if (s->pid != 0 || s->exited)
		return SVC_STOPPING;
	if (s->overdue && !s->stop_asked && !s->want_start)
		return svc_fail(s, t);
	svc_remember_error(s, t->arg->text);
	return stopped(s, t);
}

/* ------------------------------------------------------------------------------------------------------ the table */

#define IGN                                                                                        \
	{                                                                                          \
		ignore, 0                                                                          \
	}
#define ON(targets, action)                                                                        \
	{                                                                                          \
		action, targets                                                                    \
	}

#define AFTER_RUN (EXITED | STARTING | BACKOFF | FATAL)
#define AFTER_FAIL (BACKOFF | STARTING | FATAL)

/* clang-format off */
#define RULES_AT_REST { \
	[SVC_EV_START]        = ON(STARTING, start), \
	[SVC_EV_STOP]         = IGN, \
	[SVC_EV_RESTART]      = ON(STARTING, start), \
	[SVC_EV_KILL]         = IGN, \
	[SVC_EV_STARTED]      = IGN, \
	[SVC_EV_SPAWN_FAILED] = IGN, \
	[SVC_EV_SPAWN_BUSY]   = IGN, \
	[SVC_EV_RELIEF]       = IGN, \
	[SVC_EV_EXITED]       = IGN, \
	[SVC_EV_GONE]         = IGN, \
	[SVC_EV_TIMER]        = IGN, \
	[SVC_EV_READY]        = IGN, \
	[SVC_EV_ALIVE]        = IGN, \
	[SVC_EV_EXTEND]       = IGN, \
	[SVC_EV_MAIN]         = IGN, \
}

static const struct rule rules[N_SVC_STATES][N_SVC_EVENTS] = {
	[SVC_STOPPED] = RULES_AT_REST,
	[SVC_EXITED]  = RULES_AT_REST,
	[SVC_FATAL]   = RULES_AT_REST,
	[SVC_UNKNOWN] = RULES_AT_REST,
	[SVC_STARTING] = {
		[SVC_EV_START]        = IGN,
		[SVC_EV_STOP]         = ON(STOPPING, stop),
		[SVC_EV_RESTART]      = ON(STOPPING, stop_and_start),
		[SVC_EV_KILL]         = ON(STOPPING, kill_now),
		[SVC_EV_STARTED]      = ON(STARTING | RUNNING, started),
		[SVC_EV_SPAWN_FAILED] = ON(AFTER_FAIL, spawn_failed),
		[SVC_EV_SPAWN_BUSY]   = ON(STARTING | BACKOFF, spawn_busy),
		[SVC_EV_RELIEF]       = IGN,
		[SVC_EV_EXITED]       = ON(AFTER_FAIL | STOPPING | RUNNING | AFTER_RUN, start_ended),
		[SVC_EV_GONE]         = IGN,
		[SVC_EV_TIMER]        = ON(STARTING | RUNNING | STOPPING, start_timer),
		[SVC_EV_READY]        = ON(STARTING | RUNNING, said_ready),
		[SVC_EV_ALIVE]        = IGN,
		[SVC_EV_EXTEND]       = ON(STARTING, extend_start),
		[SVC_EV_MAIN]         = ON(STARTING, main_changed),
	},
	[SVC_RUNNING] = {
		[SVC_EV_START]        = IGN,
		[SVC_EV_STOP]         = ON(STOPPING, stop),
		[SVC_EV_RESTART]      = ON(STOPPING, stop_and_start),
		[SVC_EV_KILL]         = ON(STOPPING, kill_now),
		[SVC_EV_STARTED]      = IGN,
		[SVC_EV_SPAWN_FAILED] = IGN,
		[SVC_EV_SPAWN_BUSY]   = IGN,
		[SVC_EV_RELIEF]       = IGN,
		[SVC_EV_EXITED]       = ON(AFTER_RUN | STOPPING, run_ended),
		[SVC_EV_GONE]         = IGN,
		[SVC_EV_TIMER]        = ON(RUNNING | STOPPING, watchdog_timer),
		[SVC_EV_READY]        = IGN,
		[SVC_EV_ALIVE]        = ON(RUNNING, said_alive),
		[SVC_EV_EXTEND]       = IGN,
		[SVC_EV_MAIN]         = ON(RUNNING, main_changed),
	},
	[SVC_BACKOFF] = {
		[SVC_EV_START]        = ON(STARTING, start),
		[SVC_EV_STOP]         = ON(STOPPED, stop_waiting),
		[SVC_EV_RESTART]      = ON(STARTING, start),
		[SVC_EV_KILL]         = ON(STOPPED, stop_waiting),
		[SVC_EV_STARTED]      = IGN,
		[SVC_EV_SPAWN_FAILED] = IGN,
		[SVC_EV_SPAWN_BUSY]   = IGN,
		[SVC_EV_RELIEF]       = ON(BACKOFF | STARTING, relief),
		[SVC_EV_EXITED]       = IGN,
		[SVC_EV_GONE]         = IGN,
		[SVC_EV_TIMER]        = ON(BACKOFF | STARTING, delay_over),
		[SVC_EV_READY]        = IGN,
		[SVC_EV_ALIVE]        = IGN,
		[SVC_EV_EXTEND]       = IGN,
		[SVC_EV_MAIN]         = IGN,
	},
	[SVC_STOPPING] = {
		[SVC_EV_START]        = ON(STOPPING, start_after_stop),
		[SVC_EV_STOP]         = ON(STOPPING, stop_only),
		[SVC_EV_RESTART]      = ON(STOPPING, start_after_stop),
		[SVC_EV_KILL]         = ON(STOPPING, kill_stopping),
		[SVC_EV_STARTED]      = ON(STOPPING, started_while_stopping),
		[SVC_EV_SPAWN_FAILED] = ON(STOPPING | STOPPED | AFTER_FAIL, spawn_failed_stopping),
		[SVC_EV_SPAWN_BUSY]   = ON(STOPPING | STOPPED | AFTER_FAIL, spawn_busy_stopping),
		[SVC_EV_RELIEF]       = IGN,
		[SVC_EV_EXITED]       = ON(STOPPING | STOPPED | AFTER_FAIL | AFTER_RUN, exited_stopping),
		[SVC_EV_GONE]         = ON(STOPPING | STOPPED | AFTER_FAIL | AFTER_RUN, tree_gone),
		[SVC_EV_TIMER]        = ON(STOPPING, stop_timer),
		[SVC_EV_READY]        = IGN,
		[SVC_EV_ALIVE]        = IGN,
		[SVC_EV_EXTEND]       = ON(STOPPING, extend_stop),
		[SVC_EV_MAIN]         = ON(STOPPING, main_changed_stopping),
	},
};
/* clang-format on */

unsigned svc_rule_targets(enum svc_state state, enum svc_event event)
{
	const struct rule *rule = &rules[state][event];

	return rule->action == ignore ? SVC_BIT(state) : rule->targets;
}

void svc_event(struct svc *s, enum svc_event event, const struct svc_arg *arg, struct mps_time now)
{
	static const struct svc_arg none;
	struct svc_step t = { .arg = arg != NULL ? arg : &none, .now = now };
	enum svc_state next;

	assert(!s->inside);
	s->inside = true;
	t.allowed = svc_rule_targets(s->state, event);
	next = rules[s->state][event].action(s, &t);
	assert(t.allowed & SVC_BIT(next));
	if (next != s->state)
		svc_enter(s, &t, next);
	s->inside = false;
}

void svc_init(struct svc *s, uint32_t id, const char *name, const struct conf_proc *conf,
	      const struct svc_ops *ops, void *user)
{
	*s = (struct svc){ .conf = conf, .ops = ops, .user = user, .id = id };
	s->name = xstrdup(name);
}

void svc_fini(struct svc *s)
{
	if (s == NULL)
		return;
	if (s->timer_at.ns != 0)
		svc_set_timer(s, (struct mps_time){ 0 });
	free(s->name);
	free(s->spawn_error);
	free(s->history);
	free(s->limited);
	*s = (struct svc){ 0 };
}
