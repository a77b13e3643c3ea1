/*
 * The method status: a row for each service, with what was asked for in it, in parts that a client can take.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/sig.h"
#include "base/xalloc.h"
#include "sup/method.h"

/* What supervisorctl prints behind the state. Its times are local, without seconds. */
static json_t *compat_text(const struct unit *u, struct mps_time now)
{
	const struct svc *s = &u->svc;
	char buffer[64];
	time_t at = (time_t)(s->changed_wall.ns / MPS_NS_PER_S);
	int64_t up = (now.ns - s->started.ns) / MPS_NS_PER_S;
	struct tm tm;

	switch (s->state) {
	case SVC_RUNNING:
		snprintf(buffer, sizeof(buffer), "pid %d, uptime ", s->pid);
		if (up >= 86400)
			snprintf(buffer + strlen(buffer), 32, "%lld day%s, ", (long long)up / 86400,
				 up < 2 * 86400 ? "" : "s");
		snprintf(buffer + strlen(buffer), 32, "%lld:%02lld:%02lld",
			 (long long)up % 86400 / 3600, (long long)up % 3600 / 60,
			 (long long)up % 60);
		return json_string(buffer);
	case SVC_FATAL:
	case SVC_BACKOFF:
		return method_text(s->spawn_error != NULL
					   ? s->spawn_error
					   : "Exited too quickly (process log may have details)");
	case SVC_STOPPED:
	case SVC_EXITED:
		if (s->gen == 0)
			return json_string("Not started");
		localtime_r(&at, &tm);
		strftime(buffer, sizeof(buffer), "%b %d %I:%M %p", &tm);
		return json_string(buffer);
	case SVC_STARTING:
	case SVC_STOPPING:
	case SVC_UNKNOWN:
	case N_SVC_STATES:
		break;
	}
	return json_string("");
}

static void set_exit(json_t *row, int code, int status)
{
	if (code == CLD_EXITED)
		json_object_set_new(row, "code", json_integer(status));
	else if (code == CLD_KILLED || code == CLD_DUMPED) {
		json_object_set_new(row, "signal", method_text(sig_name(status)));
		json_object_set_new(row, "core", json_boolean(code == CLD_DUMPED));
	} else {
		json_object_set_new(row, "spawnerr", json_true());
	}
}

static json_t *exit_of(const struct svc *s)
{
	json_t *e = json_object();

	set_exit(e, s->last_exit.code, s->last_exit.status);
	return e;
}

static json_t *row_of(const struct unit *u, struct mps_time now, struct mps_time wall)
{
	const struct svc *s = &u->svc;
	bool up = s->pid != 0 && s->state != SVC_BACKOFF;
	AUTO_FREE char *info = svc_info(s, now, wall);
	json_t *row = json_object();

	json_object_set_new_nocheck(row, "name", method_text(s->name));
	json_object_set_new_nocheck(row, "group", method_text(s->conf->group));
	json_object_set_new_nocheck(row, "process", method_text(s->conf->name));
	json_object_set_new_nocheck(row, "state", json_string_nocheck(svc_state_name(s->state)));
	json_object_set_new_nocheck(row, "statecode", json_integer(svc_state_code(s->state)));
	json_object_set_new_nocheck(row, "pid", json_integer(s->pid));
	json_object_set_new_nocheck(row, "uptime",
				    up ? json_real(method_seconds(
						 (struct mps_time){ now.ns - s->started.ns }))
				       : json_null());
	json_object_set_new_nocheck(row, "restarts", json_integer(s->restarts));
	json_object_set_new_nocheck(row, "info", method_text(info));
	json_object_set_new_nocheck(row, "changed",
				    s->changed_wall.ns ? json_real(method_seconds(s->changed_wall))
						       : json_null());
	if (s->last_exit.code != 0)
		json_object_set_new_nocheck(row, "exit", exit_of(s));
	if (s->spawn_error != NULL)
		json_object_set_new_nocheck(row, "spawnerr", method_text(s->spawn_error));
	return row;
}

static json_t *history_of(const struct svc *s)
{
	unsigned from = s->n_history > SVC_HISTORY ? s->n_history - SVC_HISTORY : 0;
	json_t *list = json_array();

	for (unsigned i = from; i < s->n_history; i++) {
		const struct svc_past *p = &s->history[i % SVC_HISTORY];
		json_t *one = json_pack("{s:f, s:f}", "ended", method_seconds(p->ended), "uptime",
					(double)p->uptime_ns / (double)MPS_NS_PER_S);

		set_exit(one, p->code, p->status);
		json_array_append_new(list, one);
	}
	return list;
}

json_t *status_path(const struct sup *s, const char *path)
{
	AUTO_FREE char *absolute = NULL;

	if (path == NULL || path[0] == '/' || s->base.cwd == NULL)
		return method_text(path);
	absolute = xasprintf("%s/%s", s->base.cwd, path);
	return method_text(absolute);
}

static json_t *log_path(const struct unit *u, const struct conf_log *log, const char *auto_path)
{
	return status_path(u->sup, log->kind == CONF_LOG_FILE	? log->path
				   : log->kind == CONF_LOG_AUTO ? auto_path
								: NULL);
}

static void add_detail(json_t *row, const struct unit *u)
{
	const struct conf_proc *c = u->svc.conf;
	AUTO_FREE char *place =
		xasprintf("%s:%d", c->place.file != NULL ? c->place.file : "", c->place.line);

	json_object_set_new(row, "stdout_logfile", log_path(u, &c->out, u->auto_out));
	json_object_set_new(row, "stderr_logfile",
			    c->redirect_stderr ? json_null() : log_path(u, &c->err, u->auto_err));
	json_object_set_new(row, "stdout_syslog", json_boolean(c->out.syslog));
	json_object_set_new(row, "stderr_syslog", json_boolean(c->err.syslog));
	json_object_set_new(row, "log_timestamp", json_boolean(c->log_timestamp));
	json_object_set_new(row, "command", method_text(c->command));
	json_object_set_new(row, "directory", method_text(c->directory));
	json_object_set_new(row, "config", method_text(place));
	json_object_set_new(row, "start_method", json_string("spawn"));
	json_object_set_new(row, "history", history_of(&u->svc));
}

/* The next rows; the errors come with the last. */
static void produce_status(struct request *r)
{
	bool detail = json_is_true(json_object_get(r->params, "detail"));
	bool compat = json_is_true(json_object_get(r->params, "compat"));
	struct mps_time now = mps_now(), wall = mps_wall();
	json_t *rows = json_array(), *result;
	size_t end = r->at + METHOD_ROWS < r->n_list ? r->at + METHOD_ROWS : r->n_list;
	bool more = end < r->n_list;

	for (; r->at < end; r->at++) {
		json_t *row = row_of(r->list[r->at], now, wall);

		if (detail)
			add_detail(row, r->list[r->at]);
		if (compat)
			json_object_set_new(row, "compat", compat_text(r->list[r->at], now));
		json_array_append_new(rows, row);
	}
	result = json_pack("{s:o}", "processes", rows);
	if (!more && r->rows != NULL)
		json_object_set(result, "errors", r->rows);
	request_answer(r, result, more);
	if (more)
		request_continue(r);
	else
		request_end(r);
}

void method_status(struct request *r)
{
	if (!method_find_targets(r)) {
		request_end(r);
		return;
	}
	r->produce = produce_status;
	r->produce(r);
}
