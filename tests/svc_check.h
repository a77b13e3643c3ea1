/*
 * A world without processes for tests of the machine: ops that write down what they are asked for, settings of a
 * program, and what must hold of a service after every event. Included by the unit test and the fuzzer.
 */
#ifndef TESTS_SVC_CHECK_H
#define TESTS_SVC_CHECK_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/sig.h"
#include "conf/conf.h"
#include "must.h"
#include "sup/svc.h"

struct world {
	struct svc svc;
	struct conf_proc conf;
	uint8_t exitcodes[2];
	struct mps_time now;
	bool own_wish;	       /* before the event: a restart would be its own */
	struct mps_time timer; /* as armed; ns 0 = not */
	struct buf trace;      /* states, signals and timers; only where traced */
	struct buf logged;     /* "LEVEL text\n" */
	bool traced;
	bool down; /* a STOP or KILL was the last request */
	unsigned starts;
	unsigned signals;
	bool sigkill; /* was sent in the last event */
	bool deaf;    /* it cannot be asked to end */
	enum svc_state from;
	enum svc_event event;	   /* the one at work */
	struct mps_time *restarts; /* by the policy after a run, since the last request */
	size_t n_restarts;
};

static void world_start(struct svc *s)
{
	struct world *w = s->user;

	MUST(!w->down);
	MUST(s->state == SVC_STARTING && s->pid == 0);
	w->starts++;
}

static void world_signal(struct svc *s, int sig, enum svc_scope scope)
{
	static const char *const scopes[] = { "MAIN", "GROUP", "TREE" };
	struct world *w = s->user;

	w->signals++;
	w->sigkill |= sig == SIGKILL;
	if (w->traced)
		buf_addf(&w->trace, "%s>%s ", sig_name(sig), scopes[scope]);
}

static bool world_ask(struct svc *s)
{
	struct world *w = s->user;

	MUST(s->conf->stop_method == CONF_STOP_MESSAGE);
	if (w->traced && !w->deaf)
		buf_adds(&w->trace, "ASK ");
	return !w->deaf;
}

static void world_timer(struct svc *s, struct mps_time at)
{
	struct world *w = s->user;

	w->timer = at;
	if (w->traced && at.ns != 0)
		buf_addf(&w->trace, "@%lld ",
			 (long long)((at.ns - w->now.ns + MPS_NS_PER_MS / 2) / MPS_NS_PER_MS));
}

/* restart_limit, counted the long way. */
static size_t restarts_in_its_seconds(const struct world *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n_restarts; i++)
		n += w->now.ns - w->restarts[i].ns <= w->conf.restart_limit_secs * MPS_NS_PER_S;
	return n;
}

static void check_restart_limit(struct world *w, enum svc_state from, enum svc_state to)
{
	bool asked = w->event == SVC_EV_START || w->event == SVC_EV_RESTART;
	bool by_policy = from == SVC_EXITED || (from == SVC_STOPPED && w->own_wish);
	size_t max = (size_t)w->conf.restart_limit_count;

	if (to == SVC_STOPPED && w->own_wish)
		return;
	if ((to == SVC_STARTING && (asked || (from == SVC_STOPPED && !by_policy))) ||
	    to == SVC_STOPPED) {
		w->n_restarts = 0;
	} else if (by_policy && to == SVC_FATAL) {
		MUST(max > 0 && restarts_in_its_seconds(w) >= max);
	} else if (by_policy) {
		MUST(max == 0 || restarts_in_its_seconds(w) < max);
		w->restarts = realloc(w->restarts, (w->n_restarts + 1) * sizeof(*w->restarts));
		MUST(w->restarts != NULL);
		w->restarts[w->n_restarts++] = w->now;
	}
}

static void world_on_state(struct svc *s, enum svc_state from)
{
	struct world *w = s->user;

	MUST(from == w->from && from != s->state);
	w->from = s->state;
	check_restart_limit(w, from, s->state);
	if (w->traced)
		buf_addf(&w->trace, "%s ", svc_state_name(s->state));
}

static void world_log(struct svc *s, enum svc_level level, const char *text)
{
	static const char *const levels[] = { "CRIT", "ERRO", "WARN", "INFO", "DEBG" };
	struct world *w = s->user;

	MUST(text[0] != '\0' && strchr(text, '\n') == NULL);
	if (w->traced)
		buf_addf(&w->logged, "%s %s\n", levels[level], text);
}

/* The middle: no jitter to speak of. */
static uint32_t world_random(struct svc *s)
{
	(void)s;
	return UINT32_C(1) << 31;
}

static const struct svc_ops world_ops = {
	.start = world_start,
	.signal = world_signal,
	.ask = world_ask,
	.timer = world_timer,
	.on_state = world_on_state,
	.log = world_log,
	.random = world_random,
};

/* supervisord's defaults. */
static void world_init(struct world *w, bool traced)
{
	memset(w, 0, sizeof(*w));
	w->traced = traced;
	w->now.ns = 1000 * MPS_NS_PER_S;
	w->conf = (struct conf_proc){
		.autorestart = CONF_RESTART_UNEXPECTED,
		.startsecs = 1,
		.startretries = 3,
		.stopsignal = SIGTERM,
		.stopwaitsecs = 10,
		.n_exitcodes = 1,
		.kill_mode = CONF_KILL_TREE,
		.restart_delay = CONF_UNSET,
		.restart_delay_max = CONF_UNSET,
	};
	w->conf.exitcodes = w->exitcodes;
	w->conf.name = (char *)"web";
	svc_init(&w->svc, 7, "web", &w->conf, &world_ops, w);
}

static void world_fini(struct world *w)
{
	svc_fini(&w->svc);
	buf_fini(&w->trace);
	buf_fini(&w->logged);
	free(w->restarts);
}

static void check_timer(const struct world *w)
{
	const struct svc *s = &w->svc;
	bool armed = s->timer_at.ns != 0;

	MUST(w->timer.ns == s->timer_at.ns);
	switch (s->state) {
	case SVC_STARTING:
		MUST(armed == (s->conf->ready == CONF_READY_NOTIFY ||
					       (s->conf->start_method == CONF_METHOD_FORKSERVER &&
						s->pid == 0)
				       ? s->conf->start_timeout > 0
				       : s->pid != 0));
		MUST(!s->ready || (s->pid == 0 && s->conf->ready == CONF_READY_NOTIFY));
		break;
	case SVC_RUNNING:
		MUST(armed == (s->conf->watchdog > 0));
		break;
	case SVC_BACKOFF:
		MUST(armed);
		break;
	case SVC_STOPPING:
		MUST(armed || s->exited); /* then the keeper ends what is left */
		break;
	case SVC_STOPPED:
	case SVC_EXITED:
	case SVC_FATAL:
	case SVC_UNKNOWN:
	case N_SVC_STATES:
		MUST(!armed);
		break;
	}
}

/* What holds of every service between two events. */
static void world_check(const struct world *w)
{
	const struct svc *s = &w->svc;

	check_timer(w);
	MUST(s->state < N_SVC_STATES && s->state == w->from);
	MUST(!s->inside && !s->passing);
	MUST(s->gen == w->starts);
	MUST(s->pid >= 0 && (s->pid == 0 || svc_is_signallable(s)));
	MUST(s->state != SVC_RUNNING || s->pid > 0);
	MUST(s->state == SVC_STOPPING ||
	     !(s->want_start || s->stop_asked || s->exited || s->killed || s->too_soon ||
	       s->asked || s->overdue || s->own_wish));
	MUST(s->state == SVC_STARTING || !s->ready);
	MUST(s->state != SVC_STOPPING || s->exited || s->stop_asked || s->overdue);
	MUST(!s->asked || (s->stop_asked && !s->killed));
	MUST(!s->exited || s->pid == 0);
	MUST(s->state != SVC_FATAL || s->spawn_error != NULL);
	MUST(s->busy == 0 || s->pid == 0);
	MUST(svc_is_ended(s) == svc_is_stopped(s));
	MUST(s->conf->startretries == CONF_RETRIES_INFINITE || s->conf->startretries < 0 ||
	     s->backoff <= (unsigned)s->conf->startretries);
}

/* One event, and what it may do. */
static void world_event(struct world *w, enum svc_event event, const struct svc_arg *arg)
{
	struct svc *s = &w->svc;
	enum svc_state before = s->state;
	unsigned starts = w->starts;
	unsigned signals = w->signals;

	w->sigkill = false;
	w->event = event;
	w->own_wish = w->svc.want_start && w->svc.own_wish;
	if (event == SVC_EV_STOP || event == SVC_EV_KILL)
		w->down = true;
	if (event == SVC_EV_START || event == SVC_EV_RESTART)
		w->down = false;
	svc_event(s, event, arg, w->now);
	MUST(svc_rule_targets(before, event) & (1u << s->state));
	MUST(w->starts - starts <= 1);
	MUST(w->signals == signals || s->state == SVC_STOPPING);
	world_check(w);
}

#endif
