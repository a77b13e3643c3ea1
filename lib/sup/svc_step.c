/*
 * The parts that the machine's actions are made of. svc_enter() is the only writer of a state: what the new state
 * forbids ends there, so that no action has to think of it.
 */
#include "conf/conf.h"
#include "sup/svc_step.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "sup/svc_policy.h"

_Static_assert((CONF_LIMIT_MAX & (CONF_LIMIT_MAX - 1)) == 0, "rings come round at a power of two");
enum { LIMIT_ROOM = 8 }; /* restarts that a ring has room for at first */

#define MAY_HAVE_TIMER                                                                             \
	(SVC_BIT(SVC_STARTING) | SVC_BIT(SVC_RUNNING) | SVC_BIT(SVC_BACKOFF) |                     \
	 SVC_BIT(SVC_STOPPING))

void svc_say(struct svc *s, enum svc_level level, const char *fmt, ...)
{
	AUTO_BUF line = BUF_INIT;
	AUTO_FREE char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	buf_addv(&line, fmt, ap);
	va_end(ap);
	text = xbuf_take(&line);
	s->ops->log(s, level, text);
}

void svc_say_exit(struct svc *s, enum svc_level level, const char *what, const char *judgement)
{
	AUTO_FREE char *text = svc_exit_text(&s->last_exit);

	svc_say(s, level, "%s: %s (%s%s)", what, s->conf->name, text, judgement);
}

void svc_set_timer(struct svc *s, struct mps_time at)
{
	if (s->timer_at.ns == at.ns)
		return;
	s->timer_at = at;
	s->ops->timer(s, at);
}

bool svc_timer_is_due(struct svc *s, const struct svc_step *t)
{
	if (s->timer_at.ns == 0)
		return false;
	if (t->now.ns >= s->timer_at.ns)
		return true;
	s->ops->timer(s, s->timer_at);
	return false;
}

bool svc_tells_when_ready(const struct svc *s)
{
	return s->conf->ready == CONF_READY_NOTIFY;
}

bool svc_waits_for_server(const struct svc *s)
{
	return s->conf->start_method == CONF_METHOD_FORKSERVER && s->pid == 0;
}

/* From the moment that it is asked for: what it loads before it can say a word is a part of its start. */
static void arm_start(const struct svc *s, struct svc_step *t)
{
	if ((svc_tells_when_ready(s) || svc_waits_for_server(s)) && s->conf->start_timeout > 0)
		t->arm = svc_policy_after(t->now, s->conf->start_timeout);
}

void svc_enter(struct svc *s, struct svc_step *t, enum svc_state to)
{
	enum svc_state from = s->state;

	assert(t->allowed & SVC_BIT(to));
	if (to != SVC_RUNNING && to != SVC_STOPPING)
		s->pid = 0;
	if (to == SVC_STARTING) {
		s->gen++;
		arm_start(s, t);
	}
	if (to != SVC_STOPPING)
		s->want_start = s->stop_asked = s->exited = s->killed = s->too_soon = s->asked =
			s->overdue = s->own_wish = false;
	s->ready = false;
	s->state = to;
	s->changed = t->now;
	s->changed_wall = mps_wall();
	assert(t->arm.ns == 0 || MAY_HAVE_TIMER & SVC_BIT(to));
	svc_set_timer(s, t->arm);
	t->arm.ns = 0;
	s->ops->on_state(s, from);
	if (to == SVC_STARTING)
		s->ops->start(s);
}

void svc_pass_through(struct svc *s, struct svc_step *t, enum svc_state state)
{
	s->passing = true;
	svc_enter(s, t, state);
	s->passing = false;
}

void svc_remember_error(struct svc *s, const char *text)
{
	char *copy = text != NULL ? xstrdup(text) : NULL;

	free(s->spawn_error);
	s->spawn_error = copy;
}

static struct svc_past *past_next(struct svc *s)
{
	if (s->history == NULL)
		s->history = xcalloc(SVC_HISTORY, sizeof(*s->history));
	return &s->history[s->n_history++ % SVC_HISTORY];
}

int64_t svc_last_uptime(const struct svc *s)
{
	return s->history[(s->n_history - 1) % SVC_HISTORY].uptime_ns;
}

void svc_note_exit(struct svc *s, const struct svc_step *t)
{
	int64_t uptime = s->pid != 0 ? t->now.ns - s->started.ns : 0;

	s->last_exit = t->arg->exit;
	if (s->last_exit.wall.ns == 0)
		s->last_exit.wall = mps_wall();
	*past_next(s) = (struct svc_past){ .ended = s->last_exit.wall,
					   .uptime_ns = uptime > 0 ? uptime : 0,
					   .code = s->last_exit.code,
					   .status = s->last_exit.status };
	s->pid = 0;
}

void svc_note_spawn_failed(struct svc *s, const struct svc_step *t)
{
	if (!s->overdue) { /* or it has failed for that reason */
		svc_remember_error(s, t->arg->text != NULL ? t->arg->text : "unknown error");
		svc_say(s, SVC_LOG_INFO, "spawnerr: %s: %s", s->name, s->spawn_error);
	}
	*past_next(s) = (struct svc_past){ .ended = mps_wall() };
	s->busy = 0;
}

static struct mps_time *limited_at(const struct svc *s, unsigned n)
{
	return &s->limited[n % CONF_LIMIT_MAX];
}

/* While the ring has not come round its room is doubled when it is full; most programs never need the second eight. */
static void limited_make_room(struct svc *s)
{
	unsigned n = s->n_limited;

	if (n == 0 && s->limited == NULL)
		s->limited = xmalloc(LIMIT_ROOM * sizeof(*s->limited));
	else if (n >= LIMIT_ROOM && n < CONF_LIMIT_MAX && (n & (n - 1)) == 0)
		s->limited = xrealloc(s->limited, 2 * n * sizeof(*s->limited));
}

bool svc_note_restart(struct svc *s, const struct svc_step *t)
{
	unsigned max = (unsigned)s->conf->restart_limit_count;

	if (s->conf->restart_limit_count <= 0)
		return true;
	if (s->n_limited >= max &&
	    svc_policy_is_too_many(s->conf, *limited_at(s, s->n_limited - max), t->now))
		return false;
	limited_make_room(s);
	*limited_at(s, s->n_limited++) = t->now;
	return true;
}

void svc_reset_counters(struct svc *s)
{
	s->restarts = s->backoff = s->busy = s->streak = s->n_limited = 0;
}

void svc_count_up(unsigned *n)
{
	if (*n < UINT_MAX)
		++*n;
}

void svc_note_started(struct svc *s, const struct svc_step *t)
{
	s->pid = t->arg->pid;
	s->started = t->now;
	s->started_wall = mps_wall();
	s->busy = 0;
	if (!s->overdue)
		svc_remember_error(s, NULL);
	svc_say(s, SVC_LOG_INFO, "spawned: '%s' with pid %ld", s->conf->name, (long)s->pid);
}
