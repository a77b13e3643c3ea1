/*
 * Bytes become a program's settings and then events with passing time. The first byte decides whether the keeper is
 * an honest one (nothing ends before it was started) or says anything at any time, and whether another supervisor takes
 * over after each event, which must make no difference. tests/svc_check.h holds what must
 * hold; an honest keeper must also be able to bring every service to rest after a stop.
 */
#include "../svc_check.h"

#include "base/cleanup.h"
#include "sup/svc_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p;
	size_t left;
};

/* What a keeper knows of the instance. */
struct keeper {
	struct world w; /* first */
	bool honest;
	bool mortal; /* the supervisor */
	struct svc_record record;
	struct svc_past past[SVC_HISTORY];
	struct mps_time limited[CONF_LIMIT_MAX];
	bool asked; /* to start; no answer yet */
	bool alive; /* exec has succeeded */
	bool tree;  /* the main process has ended, others have not */
	unsigned starts;
};

static unsigned byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->p++;
}

static void read_settings(struct conf_proc *c, struct input *in)
{
	static const int64_t delays[] = { CONF_UNSET, 0, 1, 100 * MPS_NS_PER_MS, INT64_MAX };
	unsigned b = byte(in), d = byte(in), l = byte(in);

	c->autorestart = (enum conf_autorestart)(b % 3);
	c->kill_mode = (enum conf_kill_mode)(b / 3 % 3);
	c->stopasgroup = b & 16;
	c->killasgroup = b & 32;
	c->stopsignal = b & 64 ? SIGKILL : SIGTERM;
	c->restart_delay = delays[d % 5];
	c->restart_delay_max = delays[d / 5 % 5];
	c->startretries = (int)(d / 25 % 5) - 1;
	c->restart_limit_count = (int[]){ 0, 1, 3, 9 }[l & 3];
	c->restart_limit_secs = (int)(l >> 2 & 3);
	c->startsecs = (int[]){ 0, 1, 10, INT32_MAX }[l >> 4 & 3];
	c->stopwaitsecs = (int[]){ 0, 1, 10, INT32_MAX }[l >> 6];
}

static void pass_time(struct world *w, unsigned step)
{
	static const int64_t spans[] = { 0, 1, 40 * MPS_NS_PER_MS, MPS_NS_PER_S };

	if (step % 8 < 4)
		w->now.ns += spans[step % 4];
	else if (step % 8 < 6)
		w->now.ns += MPS_NS_PER_S * (1 + step / 8);
	else if (w->timer.ns > w->now.ns && w->timer.ns < INT64_MAX / 2)
		w->now.ns = w->timer.ns - (step % 8 == 7);
}

/* Whether an honest keeper could say this now; if so it is said. */
static bool keeper_says(struct keeper *k, enum svc_event event, const struct svc_exit *e)
{
	switch (event) {
	case SVC_EV_STARTED:
		if (!k->asked)
			return false;
		k->asked = false;
		k->alive = true;
		return true;
	case SVC_EV_SPAWN_FAILED:
	case SVC_EV_SPAWN_BUSY:
		if (!k->asked)
			return false;
		k->asked = false;
		return true;
	case SVC_EV_EXITED:
		/* A stop may reach a process before exec is known of. */
		if (!k->alive && !(k->asked && k->w.svc.state == SVC_STOPPING))
			return false;
		k->asked = k->alive = false;
		k->tree = e->tree_left;
		return true;
	case SVC_EV_GONE:
		if (!k->tree)
			return false;
		k->tree = false;
		return true;
	case SVC_EV_START:
	case SVC_EV_STOP:
	case SVC_EV_RESTART:
	case SVC_EV_KILL:
	case SVC_EV_RELIEF:
	case SVC_EV_TIMER:
	case SVC_EV_READY:
	case SVC_EV_ALIVE:
	case SVC_EV_EXTEND:
	case SVC_EV_MAIN:
	case N_SVC_EVENTS:
		break;
	}
	return true;
}

static void check_honest(const struct keeper *k)
{
	const struct svc *s = &k->w.svc;

	MUST((s->pid != 0) == k->alive);
	MUST(k->tree == s->exited);
	MUST(svc_is_signallable(s) == (k->asked || k->alive || k->tree));
}

static void take_over(struct keeper *k)
{
	const struct svc_rings rings = { k->past, k->limited };
	struct svc *s = &k->w.svc, next;
	struct svc_record before = k->record, again;

	svc_save(s, &before, &k->record, &rings);
	svc_init(&next, s->id, s->name, s->conf, s->ops, s->user);
	MUST(svc_restore(&next, &k->record, &rings));
	next.spawn_error = s->spawn_error;
	s->spawn_error = NULL;
	s->timer_at.ns = 0; /* next has it */
	svc_fini(s);
	*s = next;
	svc_save(s, &k->record, &again, &rings);
	MUST(memcmp(&again, &k->record, sizeof(again)) == 0);
}

static void event(struct keeper *k, enum svc_event ev, const struct svc_arg *arg)
{
	if (k->honest && !keeper_says(k, ev, &arg->exit))
		return;
	world_event(&k->w, ev, arg);
	if (k->mortal)
		take_over(k);
	if (k->w.starts != k->starts) {
		MUST(!k->honest || (!k->asked && !k->alive && !k->tree));
		k->starts = k->w.starts;
		k->asked = true;
	}
	if (k->honest)
		check_honest(k);
}

static void read_event(struct keeper *k, struct input *in)
{
	static const int codes[] = { CLD_EXITED, CLD_KILLED, CLD_DUMPED, CLD_EXITED };
	unsigned b = byte(in), d = byte(in);
	struct svc_arg arg = { .pid = 42, .text = "no", .span = (int64_t)d * MPS_NS_PER_S };

	pass_time(&k->w, b >> 4);
	arg.exit.code = codes[d & 3];
	arg.exit.status = (int)(d >> 2 & 15);
	arg.exit.tree_left = d & 128;
	arg.exit.wall.ns = 1;
	if (!k->honest && d & 64)
		arg = (struct svc_arg){ 0 };
	event(k, (enum svc_event)((b & 15) % N_SVC_EVENTS), &arg);
}

/* After a stop, a keeper whose processes die of SIGKILL alone. */
static void come_to_rest(struct keeper *k)
{
	struct svc_arg killed = { .exit = { .code = CLD_KILLED, .status = SIGKILL, .wall.ns = 1 } };
	struct world *w = &k->w;

	event(k, SVC_EV_STOP, &killed);
	for (int i = 0; !svc_is_ended(&w->svc); i++) {
		MUST(i < 10);
		if (k->tree) {
			event(k, SVC_EV_GONE, &killed);
			continue;
		}
		w->now = w->timer;
		event(k, SVC_EV_TIMER, &killed);
		if (w->sigkill)
			event(k, SVC_EV_EXITED, &killed);
	}
}

static void read_texts(struct keeper *k)
{
	AUTO_FREE char *info = svc_info(&k->w.svc, k->w.now, (struct mps_time){ 0 });

	MUST(info != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct keeper k = { 0 };
	unsigned who = byte(&in);

	world_init(&k.w, false);
	k.honest = !(who & 1);
	k.mortal = who & 2;
	read_settings(&k.w.conf, &in);
	/* What older inputs do not say is as it was. */
	k.w.conf.ready = who & 4 ? CONF_READY_NOTIFY : CONF_READY_TIME;
	k.w.conf.start_timeout = who & 8 ? 5 * MPS_NS_PER_S : 0;
	k.w.conf.watchdog = who & 16 ? 3 * MPS_NS_PER_S : 0;
	k.w.conf.stop_method = who & 32 ? CONF_STOP_MESSAGE : CONF_STOP_SIGNAL;
	k.w.deaf = who & 64;
	k.w.conf.start_method = who & 128 ? CONF_METHOD_FORKSERVER : CONF_METHOD_SPAWN;
	while (in.left > 0)
		read_event(&k, &in);
	read_texts(&k);
	if (k.honest)
		come_to_rest(&k);
	world_fini(&k.w);
	return 0;
}
