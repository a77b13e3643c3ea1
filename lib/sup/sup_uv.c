/*
 * The life of the supervisor: start, the order of starting and stopping, what ends it, and its exit status.
 */
#include "sup/sup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sig.h"
#include "base/title.h"
#include "base/wire.h"
#include "base/xalloc.h"
#include "proc/tag.h"
#include "proc/tree.h"
#include "sup/files.h"
#include "sup/outlet_uv.h"
#include "sup/pipes_uv.h"
#include "sup/rundir.h"
#include "sup/said.h"
#include "sup/sup_uv.h"
#include "sup/takeover_uv.h"

/* ----------------------------------------------------------------------------------------------- stopping */

enum { REPORT_MS = 3000 }; /* how often we say who is waited for */

static void on_report(uv_timer_t *timer)
{
	struct sup *s = timer->data;
	AUTO_BUF names = BUF_INIT;

	for (size_t i = 0; i < s->n_units; i++)
		if (!svc_is_stopped(&s->units[i]->svc))
			buf_addf(&names, "%s%s", names.len > 0 ? ", " : "",
				 s->units[i]->svc.conf->name);
	if (names.len > 0 && !names.failed)
		activity_log(&s->log, SVC_LOG_INFO, "waiting for %s to die", names.p);
}

static void stop_next_level(struct sup *s);

enum {
	FINISH_MS = 20,	  /* how often we look whether the readers have taken all */
	LISTEN_MS = 1000, /* so long subscribers have for the events that wait for them */
};

static void on_later(uv_timer_t *timer);

static bool somebody_listens(struct sup *s)
{
	if (s->finishing.ns == 0)
		s->finishing = mps_now();
	return control_has_untold(s) && mps_now().ns - s->finishing.ns < LISTEN_MS * MPS_NS_PER_MS;
}

/* The keeper's end may be the container's, so the last output is written before; the loop runs on for clients meanwhile. */
static void finish(struct sup *s)
{
	struct keeper_message m = { .type = KEEPER_EXIT, .status = (uint32_t)s->exit_status };

	uv_timer_stop(&s->report);
	activity_flush(&s->log);
	capture_end_all(s);
	if (capture_is_pending(s) || somebody_listens(s)) {
		uv_timer_start(&s->later, on_later, FINISH_MS, 0);
		return;
	}
	s->phase = SUP_DONE;
	keeper_link_send(s, &m, NULL, NULL, 0);
	uv_stop(&s->loop);
}

/* A level is what has the same priorities; it stops together, and the next only after it. */
static void stop_next_level(struct sup *s)
{
	while (s->level_left == 0 && s->stop_from > 0) {
		const struct svc *top = &s->units[s->stop_from - 1]->svc;
		size_t end = s->stop_from;

		while (s->stop_from > 0 &&
		       order_compare_level(&s->units[s->stop_from - 1]->svc, top) == 0)
			s->stop_from--;
		/* Counted first: one that stops at once must not end the level before the others were told. */
		for (size_t i = s->stop_from; i < end; i++)
			if (!svc_is_stopped(&s->units[i]->svc)) {
				s->units[i]->stop_counted = true;
				s->level_left++;
			}
		for (size_t i = end; i > s->stop_from; i--)
			if (s->units[i - 1]->stop_counted)
				unit_event(s->units[i - 1], s->kill_all ? SVC_EV_KILL : SVC_EV_STOP,
					   NULL);
	}
	if (s->level_left == 0 && s->phase == SUP_STOPPING)
		finish(s);
}

static void on_later(uv_timer_t *timer)
{
	struct sup *s = timer->data;

	while (s->failed != NULL) {
		struct unit *u = s->failed;
		AUTO_FREE char *text = TAKE_PTR(u->failure);

		s->failed = u->next_failed;
		unit_fail(u, text, u->failure_passes);
	}
	if (s->phase == SUP_STOPPING)
		stop_next_level(s);
	else
		reload_go_on(s);
}

void sup_later(struct sup *s)
{
	uv_timer_start(&s->later, on_later, 0, 0);
}

void sup_defer(struct sup *s, struct unit *u, char *failure, bool passes)
{
	u->failure = failure;
	u->failure_passes = passes;
	u->next_failed = s->failed;
	s->failed = u;
	sup_later(s);
}

void sup_resume_shutdown(struct sup *s)
{
	s->stop_from = s->n_units;
	events_shutdown(s);
	/* Not from here: we may be inside an event of a service that is to stop. */
	uv_timer_start(&s->later, on_later, 0, 0);
	uv_timer_start(&s->report, on_report, 0, REPORT_MS); /* and this after it */
}

void sup_shutdown(struct sup *s, int exit_status)
{
	if (s->phase >= SUP_STOPPING)
		return;
	s->phase = SUP_STOPPING;
	s->exit_status = exit_status;
	takeover_save_whole(s);
	sup_resume_shutdown(s);
}

void sup_kill_all(struct sup *s)
{
	s->kill_all = true;
	takeover_save_whole(s);
	activity_log(&s->log, SVC_LOG_WARN, "killing everything that is left");
	for (size_t i = 0; i < s->n_units; i++)
		if (!svc_is_stopped(&s->units[i]->svc))
			unit_event(s->units[i], SVC_EV_KILL, NULL);
}

/* ---------------------------------------------------------------------------------------- what ends the whole */

/* How a program ended for good: FATAL is a failure also where it was never started, and what was asked for is none. */
static int status_of(const struct unit *u)
{
	if (u->svc.state == SVC_STOPPED)
		return 0;
	return u->svc.state == SVC_FATAL && u->exit_status == 0 ? 1 : u->exit_status;
}

/* The first failure of a program, or 0 where all went well; of all of them, or of those with daemon=no. */
static int status_of_all(const struct sup *s, bool daemons_too)
{
	for (size_t i = 0; i < s->n_units; i++)
		if ((daemons_too || !s->units[i]->svc.conf->daemon) && status_of(s->units[i]) != 0)
			return status_of(s->units[i]);
	return 0;
}

static bool is_named(const struct unit *u, const char *name)
{
	return name != NULL &&
	       (strcmp(u->svc.name, name) == 0 || strcmp(u->svc.conf->name, name) == 0 ||
		strcmp(u->svc.conf->group, name) == 0);
}

void sup_check_all_ended(struct sup *s, bool by_request)
{
	if (s->phase != SUP_RUNNING)
		return;
	if (s->reload != NULL) {
		if (!by_request)
			reload_put_off_end(s);
		return;
	}
	if (s->conf->supervisord.exit_on == CONF_EXIT_ALL && s->n_active == 0) {
		activity_log(&s->log, SVC_LOG_INFO, "all programs have ended (exit_on=all)");
		sup_shutdown(s, status_of_all(s, true));
	} else if (!by_request && s->options->foreground && s->has_foreground &&
		   s->n_active_foreground == 0) {
		activity_log(&s->log, SVC_LOG_INFO, "the last program with daemon=no has ended");
		sup_shutdown(s, status_of_all(s, false));
	}
}

static void check_exit_on(struct sup *s, const struct unit *u)
{
	const struct conf_supervisord *c = &s->conf->supervisord;

	if (c->exit_on == CONF_EXIT_FATAL && u->svc.state == SVC_FATAL) {
		activity_log(&s->log, SVC_LOG_WARN, "%s is FATAL: ending all (exit_on=fatal)",
			     u->svc.name);
		sup_shutdown(s, status_of(u));
	} else if (c->exit_on == CONF_EXIT_NAME && is_named(u, c->exit_on_name)) {
		activity_log(&s->log, SVC_LOG_INFO, "%s has ended: ending all (exit_on=exit:%s)",
			     u->svc.name, c->exit_on_name);
		sup_shutdown(s, status_of(u));
	}
}

static void count(struct unit *u)
{
	struct sup *s = u->sup;
	bool ended = svc_is_ended(&u->svc);
	size_t step = ended ? (size_t)-1 : 1;

	if (ended == u->ended)
		return;
	u->ended = ended;
	(ended ? pipes_leave : pipes_enter)(s, u->svc.conf);
	s->n_active += step;
	if (!u->svc.conf->daemon)
		s->n_active_foreground += step;
	if (!ended || s->phase != SUP_RUNNING)
		return;
	if (u->svc.state != SVC_STOPPED)
		check_exit_on(s, u);
	/* What mpsup run waits for is the end of one with daemon=no, by itself. */
	sup_check_all_ended(s, u->svc.state == SVC_STOPPED || u->svc.conf->daemon);
}

void sup_on_state(struct unit *u, enum svc_state from)
{
	struct sup *s = u->sup;

	if (u->svc.state == SVC_STARTING) {
		u->exit_status = 0;
		said_forget(u);
	}
	control_on_state(u, from);
	count(u);
	reload_on_state(u);
	if (u->stop_counted && svc_is_stopped(&u->svc)) {
		u->stop_counted = false;
		if (--s->level_left == 0)
			sup_later(s);
	}
}

/* --------------------------------------------------------------------------------------------------- start */

static bool follows_another(const struct sup *s)
{
	return s->options->heritage->state.head != NULL;
}

void sup_tell_log(struct sup *s)
{
	const struct keeper_message m = { .type = KEEPER_DETACH };
	const struct sink *k = s->log_file != NULL ? &s->log_file->sink : NULL;

	/* As long as somebody waits to hear that we are ready the keeper must not let go of him. */
	if (!s->options->foreground && (s->options->ready_fd < 0 || s->told_ready))
		keeper_link_send(s, &m, NULL, k != NULL ? &k->fd : NULL,
				 k != NULL && k->kind == SINK_FILE && k->fd >= 0);
}

static void be_ready(struct sup *s)
{
	int null;

	if (s->options->ready_fd < 0)
		return;
	fd_write_all(s->options->ready_fd, "R", 1);
	close(s->options->ready_fd);
	s->told_ready = true;
	sup_tell_log(s);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDERR_FILENO);
		close(null);
	}
}

void sup_start_new(struct sup *s)
{
	for (size_t i = 0; i < s->n_units; i++)
		if (s->units[i]->svc.conf->autostart && svc_is_fresh(&s->units[i]->svc))
			unit_event(s->units[i], SVC_EV_START, NULL);
}

/* Who starts us as a daemon does not see the activity log: told before the R that says we are ready. */
static void complain_of_pidfile(struct sup *s, int error)
{
	AUTO_FREE char *text =
		xasprintf("could not write pidfile %s: %s", s->pidfile, path_strerror(error));

	activity_log(&s->log, SVC_LOG_CRIT, "%s", text);
	if (s->options->ready_fd >= 0) {
		fd_write_all(s->options->ready_fd, text, strlen(text));
		fd_write_all(s->options->ready_fd, "\n", 1);
	}
}

/* The keeper is there: now everything that names it can be made, and the programs can start. */
void sup_begin(struct sup *s)
{
	int r = s->pidfile != NULL ? files_write_pid(s->pidfile, s->keeper_pid) : 0;
	if (r < 0)
		complain_of_pidfile(s, -r);
	activity_log(&s->log, SVC_LOG_INFO, "supervisord started with pid %d", s->keeper_pid);
	be_ready(s);
	sup_start_new(s);
	takeover_save_whole(s);
}

void sup_on_welcome(struct sup *s, const struct keeper_message *m)
{
	if (s->phase != SUP_STARTING)
		return;
	s->keeper_pid = m->pid;
	s->keeper_id = tag_keeper_id(m->pid);
	s->phase = SUP_RUNNING;
	if (!follows_another(s)) {
		sup_begin(s);
		control_serve(s);
		signals_serve(s);
	} else if (takeover_begin(s, m) < 0) {
		activity_flush(&s->log);
		_exit(1); /* whoever comes next may be luckier */
	}
}

void sup_say_hello(struct sup *s)
{
	struct keeper_message hello = {
		.type = KEEPER_HELLO,
		.protocol = KEEPER_PROTOCOL,
		.on_crash = s->conf->supervisord.on_crash == CONF_CRASH_STOP ? KEEPER_CRASH_STOP
									     : KEEPER_CRASH_RESTART,
		.time = { s->conf->supervisord.orphan_grace },
		.text = s->options->dir,
	};
	AUTO_FREE char *lock = xasprintf("%s/lock", s->options->dir);
	/* In this order: the folder is empty when its turn comes. pidfile is the last, since it may be missing. */
	char *files[] = { s->socket_path, lock, (char *)s->options->dir, s->pidfile, NULL };
	AUTO_BUF rest = BUF_INIT;

	wire_put_strv(&rest, files);
	keeper_link_send(s, &hello, &rest, NULL, 0);
}

static int go_to_directory(struct sup *s, struct err *err)
{
	const struct conf_supervisord *c = &s->conf->supervisord;

	umask((mode_t)(c->umask >= 0 ? c->umask : 022));
	/* A reload reads relative paths from where we stood at the start. */
	s->start_dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->directory != NULL && chdir(c->directory) < 0)
		return err_set(err, -errno, "directory %s: %s", c->directory, strerror(errno));
	return 0;
}

int sup_make_programs(struct sup *s, struct err *err)
{
	struct socket_of *kept = TAKE_PTR(s->sockets);
	int r = sockets_open(s->conf, kept, &s->sockets, err);

	if (r == 0)
		r = units_make(s, err);
	if (r == 0)
		r = pipes_make(s, err);
	if (r == 0)
		r = takeover_resume_reload(s, kept, err);
	sockets_free(kept);
	return r;
}

/* What one that follows another does only when it is welcome. */
static int open_new(struct sup *s, struct err *err)
{
	int r = sup_make_programs(s, err);

	if (r == 0)
		r = notify_open(s, err);
	if (r == 0)
		r = control_open(s, err);
	if (r < 0)
		return r;
	runtime_open(s);
	ipc_sweep_dead(s);
	return takeover_open(s, err);
}

/*
 * The one place where a configuration comes into force, but for the programs' own settings, which their units take over
 * one by one. The old one is the caller's again.
 */
struct conf *sup_use_conf(struct sup *s, struct conf *conf)
{
	struct conf *old = s->conf;
	bool tell = conf->supervisord.orphan_grace != old->supervisord.orphan_grace ||
		    conf->supervisord.on_crash != old->supervisord.on_crash;

	s->conf = conf;
	worker_base_use_conf(&s->base, conf);
	activity_set_level(&s->log, conf->supervisord.loglevel);
	capture_use_conf(s);
	pipes_use_conf(s);
	if (tell)
		sup_say_hello(s);
	return old;
}

static int open_all(struct sup *s, struct err *err)
{
	const struct conf_supervisord *c = &s->conf->supervisord;
	int r = go_to_directory(s, err);

	if (r < 0)
		return r;
	worker_base_init(&s->base, s->conf, s->options->name, s->socket_path);
	fd_raise_limit(1 << 20);
	/* The memory of the logs is another's until we are welcome. */
	if (follows_another(s))
		activity_init(&s->log, c, s->options->foreground, NULL);
	else
		r = capture_open(s, err);
	if (r < 0)
		return r;
	if (!c->nocleanup && !follows_another(s))
		files_clean_auto(s->conf);
	r = keeper_link_open(s, s->options->keeper_fd);
	if (r < 0)
		return err_set(err, r, "keeper: %s", strerror(-r));
	return follows_another(s) ? 0 : open_new(s, err);
}

/* ----------------------------------------------------------------------------------------------------- end */

/* The keeper has held the lock on the runtime directory. -1: somebody else has it by now. */
static int inherit_lock(const struct sup *s)
{
	struct err err = ERR_INIT;
	int fd;

	return rundir_lock(s->options->dir, s->options->name, &fd, &err) == 0 ? fd : -1;
}

/* The keeper was the parent of all: with it gone there is nobody else to end what it left. */
static void end_without_keeper(struct sup *s)
{
	size_t n = 0;

	activity_log(&s->log, SVC_LOG_CRIT,
		     "the keeper (pid %d) is gone: ending all programs and stopping",
		     s->keeper_pid);
	if (s->keeper_pid != 0)
		tagged_kill(s->keeper_id, NULL, NULL, 5 * MPS_NS_PER_S, &n);
	activity_log(&s->log, SVC_LOG_CRIT, "killed %zu processes that were left", n);
	ipc_sweep_own(s);
	if (s->pidfile != NULL)
		unlink(s->pidfile);
	s->exit_status = 1;
}

/* The same for its files, when nothing of ours uses them any more. */
static void remove_files(const struct sup *s, int lock_fd)
{
	if (lock_fd < 0)
		lock_fd = inherit_lock(s);
	if (lock_fd < 0)
		return;
	unlink(s->socket_path);
	unlink(s->base.tracker);
	rundir_remove(s->options->dir, lock_fd);
	close(lock_fd);
}

static void close_all(struct sup *s)
{
	runtime_close(s);
	control_close(s);
	notify_close(s);
	uv_run(&s->loop, UV_RUN_NOWAIT); /* requests let go of the units before these go */
	activity_flush(&s->log);
	capture_finish(s);
	for (size_t i = 0; i < s->n_units; i++)
		unit_close(s->units[i]);
	capture_close_sinks(s);
	signals_close(s);
	uv_close((uv_handle_t *)&s->later, NULL);
	uv_close((uv_handle_t *)&s->report, NULL);
	uv_close((uv_handle_t *)&s->trim, NULL);
	keeper_link_close(s);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	uv_loop_close(&s->loop);
}

static void fini(struct sup *s)
{
	s->n_left_over = 0;
	takeover_close_unknown(s); /* where it ends before it took over */
	reload_free(s);
	reload_free_old(s);
	sockets_free(s->sockets);
	servers_fini(&s->servers);
	pipes_free(s);
	units_free(s);
	worker_base_fini(&s->base);
	fd_close(&s->start_dir);
	activity_fini(&s->log);
	logs_fini(&s->logs);
	free(s->socket_path);
	free(s->pidfile);
	state_close(&s->state);
	fd_close(&s->upgrade_fd);
	conf_free(s->conf);
}

int sup_run(const struct sup_options *options, struct err *err)
{
	struct sup s = { .options = options,
			 .conf = options->conf,
			 .link.fd = -1,
			 .logs.memfd = -1,
			 .kept_logs = { -1, -1, -1 },
			 .kept_listener = -1,
			 .kept_notify = -1,
			 .upgrade_fd = -1,
			 .signal_fd = -1,
			 .start_dir = -1 };
	const struct conf_supervisord *c = &options->conf->supervisord;
	int lock_fd = -1, r;

	s.state = options->heritage->state;
	title_set("mpsup: supervisor %s", options->name);
	r = fd_check_room(LOOP_FDS);
	if (r == 0)
		r = uv_loop_init(&s.loop);
	if (r < 0)
		return err_set(err, r, "event loop: %s", strerror(-r));
	s.started = mps_now();
	s.started_wall = mps_wall();
	s.socket_path = xasprintf("%s/control.sock", options->dir);
	if (c->pidfile != NULL && (!options->foreground || c->pidfile_set))
		s.pidfile = xstrdup(c->pidfile);
	uv_timer_init(&s.loop, &s.later);
	s.later.data = &s;
	uv_timer_init(&s.loop, &s.report);
	s.report.data = &s;
	uv_timer_init(&s.loop, &s.trim);
	s.trim.data = &s;
	r = signals_open(&s, err);
	if (r == 0)
		r = open_all(&s, err);
	if (r == 0) {
		sup_say_hello(&s);
		uv_run(&s.loop, UV_RUN_DEFAULT);
		if (s.keeper_lost) {
			lock_fd = inherit_lock(&s); /* so that no other begins meanwhile */
			end_without_keeper(&s);
		}
		r = s.exit_status;
	}
	close_all(&s);
	if (s.keeper_lost)
		remove_files(&s, lock_fd);
	fini(&s);
	return r;
}
