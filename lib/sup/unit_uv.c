/*
 * One service's effects: what the machine in svc.c asks for is done here, what the keeper reports is turned into its
 * events. Nothing here decides. What a start consists of is unit_start_uv.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "proc/spawn.h"
#include "sup/pipes_uv.h"
#include "sup/said.h"
#include "sup/sup_uv.h"

/* ------------------------------------------------------------------------------------------------- effects */

static void on_start(struct svc *svc)
{
	unit_start(svc->user);
}

static void on_signal(struct svc *svc, int sig, enum svc_scope scope)
{
	static const enum keeper_scope scopes[] = {
		[SVC_SCOPE_MAIN] = KEEPER_SCOPE_MAIN,
		[SVC_SCOPE_GROUP] = KEEPER_SCOPE_GROUP,
		[SVC_SCOPE_TREE] = KEEPER_SCOPE_TREE,
	};
	struct unit *u = svc->user;
	struct keeper_message m = {
		.type = KEEPER_SIGNAL,
		.instance = svc->id,
		.gen = svc->gen,
		.signal = (uint32_t)sig,
		.scope = scopes[scope],
	};

	keeper_link_send(u->sup, &m, NULL, NULL, 0);
}

void unit_name_main(struct unit *u, pid_t pid)
{
	struct keeper_message m = {
		.type = KEEPER_NAME_MAIN,
		.instance = u->svc.id,
		.gen = u->svc.gen,
		.pid = pid,
	};

	keeper_link_send(u->sup, &m, NULL, NULL, 0);
	keeper_link_flush(
		u->sup); /* the one that was started may wait only for its word to be read, and then exit */
}

static bool on_ask(struct svc *svc)
{
	return channel_say(svc->user, "STOP", "1") == 0;
}

/* Before a program pays for its silence, what it has said is heard: perhaps it was we who were late. */
static void on_timer(uv_timer_t *timer)
{
	struct unit *u = timer->data;

	if (u->svc.state == SVC_RUNNING || u->svc.conf->ready == CONF_READY_NOTIFY) {
		notify_listen(u->sup);
		channel_listen(u);
	}
	unit_event(u, SVC_EV_TIMER, NULL);
}

/* Rounded up to libuv's milliseconds, so that the time has come when the timer fires. */
static void on_timer_set(struct svc *svc, struct mps_time at)
{
	struct unit *u = svc->user;
	int64_t left;

	if (at.ns == 0) {
		uv_timer_stop(&u->timer);
		return;
	}
	uv_update_time(&u->sup->loop);
	left = at.ns - (int64_t)uv_now(&u->sup->loop) * MPS_NS_PER_MS;
	uv_timer_start(&u->timer, on_timer,
		       left <= 0 ? 0 : (uint64_t)((left + MPS_NS_PER_MS - 1) / MPS_NS_PER_MS), 0);
}

static void on_state(struct svc *svc, enum svc_state from)
{
	sup_on_state(svc->user, from);
}

static void on_log(struct svc *svc, enum svc_level level, const char *text)
{
	struct unit *u = svc->user;

	activity_log(&u->sup->log, level, "%s", text);
}

static uint32_t on_random(struct svc *svc)
{
	uint32_t v = 0;

	(void)svc;
	if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v))
		v = (uint32_t)mps_now().ns;
	return v;
}

static const struct svc_ops ops = {
	.start = on_start,
	.signal = on_signal,
	.ask = on_ask,
	.timer = on_timer_set,
	.on_state = on_state,
	.log = on_log,
	.random = on_random,
};

/* -------------------------------------------------------------------------------------------------- events */

void unit_event(struct unit *u, enum svc_event event, const struct svc_arg *arg)
{
	svc_event(&u->svc, event, arg, mps_now());
	takeover_save(u);
}

void unit_join_busy(struct unit *u)
{
	struct sup *s = u->sup;

	if (u->in_busy)
		return;
	u->in_busy = true;
	u->next_busy = NULL;
	if (s->busy_last != NULL)
		s->busy_last->next_busy = u;
	else
		s->busy_first = u;
	s->busy_last = u;
}

void unit_relief(struct sup *s)
{
	while (s->busy_first != NULL) {
		struct unit *u = s->busy_first;

		s->busy_first = u->next_busy;
		if (s->busy_first == NULL)
			s->busy_last = NULL;
		u->in_busy = false;
		if (u->svc.state != SVC_BACKOFF || u->svc.busy == 0)
			continue;
		unit_event(u, SVC_EV_RELIEF, NULL);
		return;
	}
}

void unit_fail(struct unit *u, const char *text, bool passes)
{
	struct svc_arg arg = { .text = text };

	/* Not one that was being stopped before it was there, nor each further try for a resource. */
	if (u->svc.state == SVC_STARTING && u->svc.pid == 0 && (!passes || u->svc.busy == 0))
		events_spawn_error(u, text);
	unit_event(u, passes ? SVC_EV_SPAWN_BUSY : SVC_EV_SPAWN_FAILED, &arg);
	if (passes && u->svc.state == SVC_BACKOFF)
		unit_join_busy(u);
}

static void on_failed(struct unit *u, const struct keeper_message *m)
{
	AUTO_FREE char *text = worker_failure_text(&u->sup->base, u->svc.conf,
						   (enum mps_step)m->code, (int)m->status, m->text);

	unit_fail(u, text, mps_error_passes((int)m->status));
}

static void drain(struct unit *u, bool is_end)
{
	if (u->out != NULL)
		capture_drain(u->out, is_end);
	if (u->err != NULL)
		capture_drain(u->err, is_end);
}

static void on_exited(struct unit *u, const struct keeper_message *m)
{
	struct svc_arg arg = {
		.exit = { .code = (int)m->code,
			  .status = (int)m->status,
			  .tree_left = m->tree_left,
			  .wall = m->time },
	};

	u->exit_status = arg.exit.code == CLD_EXITED ? arg.exit.status : 128 + arg.exit.status;
	/* What is left of its tree may be in the middle of a line. */
	drain(u, !m->tree_left);
	if (svc_is_signallable(&u->svc) && !u->svc.exited)
		events_exit(u, m->pid, &arg.exit);
	unit_event(u, SVC_EV_EXITED, &arg);
	unit_relief(u->sup);
}

static void on_reaped(struct sup *s, const struct keeper_message *m)
{
	struct svc_exit e = { .code = (int)m->code, .status = (int)m->status };
	AUTO_FREE char *text = svc_exit_text(&e);

	activity_log(&s->log, SVC_LOG_INFO, "reaped unknown pid %d (%s)", m->pid, text);
}

static void on_unit_message(struct unit *u, const struct keeper_message *m)
{
	struct svc_arg arg = { .pid = m->pid };

	if (m->gen != u->svc.gen)
		return; /* an answer to an earlier start */
	if (m->type == KEEPER_STARTED) {
		unit_event(u, SVC_EV_STARTED, &arg);
		unit_relief(u->sup);
	} else if (m->type == KEEPER_MAIN) {
		unit_event(u, SVC_EV_MAIN, &arg);
	} else if (m->type == KEEPER_FAILED) {
		on_failed(u, m);
	} else if (m->type == KEEPER_EXITED) {
		on_exited(u, m);
	} else if (m->type == KEEPER_GONE) {
		drain(u, true);
		unit_event(u, SVC_EV_GONE, NULL);
		unit_relief(u->sup);
	}
}

static void on_server(struct sup *s, const struct keeper_message *m)
{
	const struct server_of *one = servers_find(&s->servers, m->text);
	bool is_other = m->pid != 0 && (one == NULL || one->pid != m->pid);

	servers_set(&s->servers, m->text, m->pid, m->is_ready, m->count);
	/* One that the supervisor before us has left. When a reload is through all are looked at. */
	if (is_other && s->reload == NULL)
		units_drop_server(s, m->text);
}

void unit_on_message(struct sup *s, const struct keeper_message *m)
{
	if (m->type == KEEPER_WELCOME)
		sup_on_welcome(s, m);
	else if (m->type == KEEPER_REAPED)
		on_reaped(s, m);
	else if (m->type == KEEPER_INSTANCE)
		takeover_on_instance(s, m);
	else if (m->type == KEEPER_SERVER && m->text != NULL)
		on_server(s, m);
	else if (m->type == KEEPER_RETIRE)
		upgrade_retire(s);
	else if (m->type == KEEPER_SIGNALLED)
		signals_on_told(s, m);
	else if (m->type == KEEPER_UNLINKED)
		ipc_on_unlinked(s, m);
	else if (m->type == KEEPER_OBJECTS)
		ipc_on_objects(s, m);
	else if (m->type == KEEPER_REFUSED)
		upgrade_on_refused(s, m);
	else if (m->instance < s->n_ids && s->by_id[m->instance] != NULL)
		on_unit_message(s->by_id[m->instance], m);
	else if (m->type == KEEPER_GONE || (m->type == KEEPER_EXITED && !m->tree_left))
		takeover_on_unknown(s, m);
}

/* ------------------------------------------------------------------------------------------------ takeover */

/* As unit_start_uv.c has given them to the keeper. Whether one is wanted was decided when it was made: its program writes to it. */
void unit_adopt(struct unit *u, int *fds, size_t n)
{
	for (; n >= 2; fds += 2, n -= 2) {
		bool is_err = (fcntl(fds[0], F_GETFL) & O_ACCMODE) == O_WRONLY;
		struct capture **capture = is_err ? &u->err : &u->out;

		*capture = capture_adopt(u, is_err, (int[]){ fds[is_err], fds[!is_err] });
		if (*capture != NULL)
			fds[0] = fds[1] = -1;
		else
			activity_log(&u->sup->log, SVC_LOG_CRIT, "the output of %s is not read: %s",
				     u->svc.name, strerror(errno));
	}
	if (n == 1 && channel_adopt(u, fds[0]) == 0)
		fds[0] = -1;
}

static void reconcile_started(struct unit *u, const struct keeper_message *m)
{
	struct svc_arg arg = { .pid = m->pid };

	if (u->svc.pid != 0 || u->svc.exited)
		return;
	svc_event(&u->svc, SVC_EV_STARTED, &arg, m->started);
	takeover_save(u);
}

static void reconcile_exited(struct unit *u, const struct keeper_message *m)
{
	struct keeper_message exited = *m;

	exited.tree_left = m->state == KEEPER_IS_ENDING;
	reconcile_started(u, m);
	if (!u->svc.exited && !svc_is_stopped(&u->svc) && u->svc.state != SVC_BACKOFF)
		on_exited(u, &exited);
	else if (u->svc.exited && m->state == KEEPER_IS_ENDED) {
		drain(u, true);
		unit_event(u, SVC_EV_GONE, NULL);
	}
}

static void reconcile_same(struct unit *u, const struct keeper_message *m)
{
	switch ((enum keeper_instance)m->state) {
	case KEEPER_IS_BEGUN:
		break;
	case KEEPER_IS_ALIVE:
		reconcile_started(u, m);
		unit_event(u, SVC_EV_MAIN, &(struct svc_arg){ .pid = m->pid });
		break;
	case KEEPER_IS_ENDING:
	case KEEPER_IS_ENDED:
		reconcile_exited(u, m);
		return;
	case KEEPER_IS_FAILED:
		on_failed(u, m);
		return;
	}
	svc_repeat_stop(&u->svc, m->sent);
}

/* The START was never sent. */
static void reconcile_unsent(struct unit *u)
{
	if (u->svc.state == SVC_STARTING)
		unit_start(u);
	else if (u->svc.state == SVC_STOPPING)
		unit_fail(u, "stopped before it was started", false);
}

void unit_reconcile(struct unit *u, const struct keeper_message *m)
{
	struct svc *svc = &u->svc;

	u->reconciled = true;
	/* Its resource came back, or a client was faster: it has gone on already. */
	if (svc->gen != u->restored_gen)
		return;
	if (svc->timer_at.ns != 0)
		on_timer_set(svc, svc->timer_at);
	if (svc->state == SVC_BACKOFF && svc->busy > 0)
		unit_join_busy(u);
	/* While there was no supervisor nobody heard it. */
	if (svc->state == SVC_RUNNING)
		unit_event(u, SVC_EV_ALIVE, NULL);
	if (m->gen == svc->gen && m->gen != 0)
		reconcile_same(u, m);
	else
		reconcile_unsent(u);
}

/* ------------------------------------------------------------------------------------------- life of a unit */

char *unit_name(const struct conf_proc *conf)
{
	if (strcmp(conf->group, conf->name) == 0)
		return xstrdup(conf->name);
	return xasprintf("%s:%s", conf->group, conf->name);
}

struct unit *unit_new(struct sup *s, uint32_t id, const struct conf_proc *conf)
{
	struct unit *u = xcalloc(1, sizeof(*u));
	AUTO_FREE char *name = unit_name(conf);

	u->sup = s;
	uv_timer_init(&s->loop, &u->timer);
	u->timer.data = u;
	svc_init(&u->svc, id, name, conf, &ops, u);
	return u;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct unit *u = handle->data;

	svc_fini(&u->svc);
	free(u->auto_out);
	free(u->auto_err);
	free(u->failure);
	said_free(u->said);
	free(u);
}

void unit_close_logs(struct unit *u)
{
	struct keeper_message m = { .type = KEEPER_KEEP, .instance = u->svc.id };

	if (u->out != NULL)
		capture_close(TAKE_PTR(u->out));
	if (u->err != NULL)
		capture_close(TAKE_PTR(u->err));
	channel_close(u);
	keeper_link_send(u->sup, &m, NULL, NULL, 0);
}

void unit_use_conf(struct unit *u, const struct conf_proc *conf)
{
	bool was_daemon = u->svc.conf->daemon;

	if (!u->ended &&
	    conf != u->svc.conf) { /* in this order: an end that it keeps is not let go */
		pipes_enter(u->sup, conf);
		pipes_leave(u->sup, u->svc.conf);
	}
	u->svc.conf = conf;
	if (!u->ended && was_daemon != conf->daemon)
		u->sup->n_active_foreground += conf->daemon ? (size_t)-1 : 1;
	if (u->out != NULL)
		capture_reconfigure(u->out);
	if (u->err != NULL)
		capture_reconfigure(u->err);
}

void unit_close(struct unit *u)
{
	if (u->out != NULL)
		capture_close(u->out);
	if (u->err != NULL)
		capture_close(u->err);
	channel_close(u);
	uv_close((uv_handle_t *)&u->timer, on_timer_closed);
}
