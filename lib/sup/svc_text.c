/*
 * What people read about a service: names of states and events, how a run ended, the INFO column of the status table.
 */
#include "sup/svc.h"

#include <signal.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/sig.h"
#include "base/xalloc.h"
#include "conf/conf.h"

static const struct {
	const char *name;
	int code;
} states[N_SVC_STATES] = {
#define X(NAME, number, doc) [SVC_##NAME] = { #NAME, (number) },
	SVC_STATES(X)
#undef X
};

static const char *const events[N_SVC_EVENTS] = {
#define X(NAME, doc) [SVC_EV_##NAME] = #NAME,
	SVC_EVENTS(X)
#undef X
};

const char *svc_state_name(enum svc_state state)
{
	return states[state].name;
}

int svc_state_code(enum svc_state state)
{
	return states[state].code;
}

const char *svc_event_name(enum svc_event event)
{
	return events[event];
}

static void add_signal(struct buf *b, int sig)
{
	const char *name = sig_name(sig);

	if (name != NULL)
		buf_addf(b, "SIG%s", name);
	else
		buf_addf(b, "signal %d", sig);
}

char *svc_exit_text(const struct svc_exit *e)
{
	struct buf b = BUF_INIT;

	if (e->code == CLD_EXITED) {
		buf_addf(&b, "exit status %d", e->status);
	} else {
		buf_adds(&b, "terminated by ");
		add_signal(&b, e->status);
		if (e->code == CLD_DUMPED)
			buf_adds(&b, " (core dumped)");
	}
	return xbuf_take(&b);
}

bool svc_has_run(const struct svc *s)
{
	return s->n_history > 0 && s->history[(s->n_history - 1) % SVC_HISTORY].code != 0;
}

bool svc_exit_is_expected(const struct svc *s, const struct svc_exit *e)
{
	if (e->code != CLD_EXITED)
		return false;
	for (size_t i = 0; i < s->conf->n_exitcodes; i++)
		if (s->conf->exitcodes[i] == e->status)
			return true;
	return false;
}

/* One unit is enough: "4m" says more at a glance than "4m 13s". */
static void add_span(struct buf *b, int64_t ns)
{
	int64_t secs = ns > 0 ? ns / MPS_NS_PER_S : 0;

	if (secs < 60)
		buf_addf(b, "%ds", (int)secs);
	else if (secs < 60 * 60)
		buf_addf(b, "%dm", (int)(secs / 60));
	else if (secs < 24 * 60 * 60)
		buf_addf(b, "%dh", (int)(secs / (60 * 60)));
	else
		buf_addf(b, "%lldd", (long long)(secs / (24 * 60 * 60)));
}

/* A wait is short: tenths below ten seconds, so that back-off of a busy system does not read "0 s". */
static void add_wait(struct buf *b, int64_t ns)
{
	int64_t tenths = ns > 0 ? (ns + MPS_NS_PER_S / 10 - 1) / (MPS_NS_PER_S / 10) : 0;

	if (tenths % 10 != 0 && tenths < 100)
		buf_addf(b, "%d.%d s", (int)(tenths / 10), (int)(tenths % 10));
	else
		buf_addf(b, "%lld s", (long long)((tenths + 9) / 10));
}

static void add_exit(struct buf *b, const struct svc_exit *e)
{
	if (e->code == CLD_EXITED) {
		buf_addf(b, "code %d", e->status);
		return;
	}
	add_signal(b, e->status);
	if (e->code == CLD_DUMPED)
		buf_adds(b, " (core)");
}

static void add_last_exit(struct buf *b, const struct svc *s, struct mps_time wall)
{
	if (s->last_exit.code == 0)
		return;
	if (b->len > 0)
		buf_adds(b, "; ");
	buf_adds(b, "last exit: ");
	add_exit(b, &s->last_exit);
	buf_adds(b, ", ");
	add_span(b, wall.ns - s->last_exit.wall.ns);
	buf_adds(b, " ago");
}

static void add_retry(struct buf *b, const struct svc *s, struct mps_time now)
{
	if (s->spawn_error != NULL)
		buf_adds(b, s->spawn_error);
	else if (s->last_exit.code != 0)
		add_exit(b, &s->last_exit);
	buf_addf(b, "%sretry in ", b->len > 0 ? ", " : "");
	add_wait(b, s->timer_at.ns - now.ns);
	if (s->busy > 0 || s->backoff == 0)
		return;
	buf_addf(b, " (%u", s->backoff);
	if (s->conf->startretries != CONF_RETRIES_INFINITE)
		buf_addf(b, " of %d", s->conf->startretries);
	buf_addc(b, ')');
}

static void add_stopping(struct buf *b, const struct svc *s, struct mps_time now)
{
	if (s->exited) {
		add_exit(b, &s->last_exit);
		buf_adds(b, ", ending the rest of its tree");
	} else if (s->pid == 0) {
		buf_adds(b, "its start has not been answered yet");
	} else if (s->killed) {
		buf_adds(b, "SIGKILL sent");
	} else if (s->asked) {
		buf_adds(b, "asked to end, ");
		add_signal(b, s->conf->stopsignal);
		buf_adds(b, " in ");
		add_wait(b, s->timer_at.ns - now.ns);
	} else {
		buf_adds(b, "SIGKILL in ");
		add_wait(b, s->timer_at.ns - now.ns);
	}
	if (s->want_start)
		buf_adds(b, ", then start");
}

char *svc_info(const struct svc *s, struct mps_time now, struct mps_time wall)
{
	struct buf b = BUF_INIT;

	switch (s->state) {
	case SVC_STOPPED:
		if (svc_is_fresh(s))
			buf_adds(&b, "Not started");
		/* fall through */
	case SVC_FATAL:
		if (s->spawn_error != NULL)
			buf_adds(&b, s->spawn_error);
		/* fall through */
	case SVC_STARTING:
	case SVC_RUNNING:
	case SVC_EXITED:
		add_last_exit(&b, s, wall);
		break;
	case SVC_BACKOFF:
		add_retry(&b, s, now);
		break;
	case SVC_STOPPING:
		add_stopping(&b, s, now);
		break;
	case SVC_UNKNOWN:
	case N_SVC_STATES:
		break;
	}
	return xbuf_take(&b);
}
