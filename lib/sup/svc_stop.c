/*
 * The parts of stopping: which signal goes to whom, how long is waited for it, and what a supervisor before us may not
 * have sent. When it is done is the table's business.
 */
#include <signal.h>

#include "conf/conf.h"
#include "sup/svc_policy.h"
#include "sup/svc_step.h"

/* A program that has run and is no longer heard of leaves a core, to be looked into. */
static int stop_signal(const struct svc *s)
{
	return s->overdue && !s->too_soon ? SIGABRT : s->conf->stopsignal;
}

void svc_send_stop(struct svc *s)
{
	const struct conf_proc *c = s->conf;
	bool group = c->stopasgroup || c->kill_mode == CONF_KILL_GROUP;
	enum svc_scope scope = group ? SVC_SCOPE_GROUP : SVC_SCOPE_MAIN;
	int sig = stop_signal(s);

	s->ops->signal(s, sig, scope);
	/* A stopped process does not see the signal before it is continued. */
	if (sig != SIGKILL)
		s->ops->signal(s, SIGCONT, scope);
}

static enum svc_scope kill_scope(const struct conf_proc *c)
{
	if (c->kill_mode == CONF_KILL_TREE)
		return SVC_SCOPE_TREE;
	if (c->kill_mode == CONF_KILL_GROUP || c->killasgroup)
		return SVC_SCOPE_GROUP;
	return SVC_SCOPE_MAIN;
}

void svc_send_kill(struct svc *s)
{
	if (s->pid != 0)
		svc_say(s, SVC_LOG_WARN, "killing '%s' (%ld) with SIGKILL", s->conf->name,
			(long)s->pid);
	else
		svc_say(s, SVC_LOG_WARN, "killing %s'%s' with SIGKILL",
			s->exited ? "what is left of " : "", s->conf->name);
	s->ops->signal(s, SIGKILL, kill_scope(s->conf));
	s->killed = true;
	s->asked = false;
}

void svc_repeat_stop(struct svc *s, uint64_t sent)
{
	int sig = s->killed ? SIGKILL : stop_signal(s);

	if (s->state != SVC_STOPPING || (sent & UINT64_C(1) << (sig - 1)))
		return;
	if (s->killed)
		s->ops->signal(s, SIGKILL, kill_scope(s->conf));
	else if ((s->stop_asked || s->overdue) && !s->exited && !s->asked)
		svc_send_stop(s);
}

struct mps_time svc_next_kill(const struct svc *s, const struct svc_step *t)
{
	int secs = s->conf->stopwaitsecs > 1 ? s->conf->stopwaitsecs : 1;

	return svc_policy_after(t->now, secs * MPS_NS_PER_S);
}

struct mps_time svc_half_of_stop(const struct svc *s, const struct svc_step *t)
{
	return svc_policy_after(t->now, s->conf->stopwaitsecs * MPS_NS_PER_S / 2);
}

void svc_extend(struct svc *s, const struct svc_step *t)
{
	struct mps_time at = svc_policy_after(t->now, t->arg->span);

	if (s->timer_at.ns != 0 && at.ns > s->timer_at.ns)
		svc_set_timer(s, at);
}
