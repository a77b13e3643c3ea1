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
#include "sup/files.h"
#include "sup/method.h"
#include "sup/pipes_uv.h"
#include "sup/said.h"

void method_set_exit(json_t *row, int code, int status)
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

/* A row that is being made. */
struct row {
	const struct unit *unit;
	const struct svc *svc;
	struct mps_time now, wall;
};

static json_t *get_name(const struct row *r)
{
	return method_text(r->svc->name);
}

static json_t *get_group(const struct row *r)
{
	return method_text(r->svc->conf->group);
}

static json_t *get_process(const struct row *r)
{
	return method_text(r->svc->conf->name);
}

static json_t *get_state(const struct row *r)
{
	return json_string_nocheck(svc_state_name(r->svc->state));
}

static json_t *get_statecode(const struct row *r)
{
	return json_integer(svc_state_code(r->svc->state));
}

static json_t *get_pid(const struct row *r)
{
	return json_integer(r->svc->pid);
}

static json_t *get_uptime(const struct row *r)
{
	bool up = r->svc->pid != 0 && r->svc->state != SVC_BACKOFF;
	struct mps_time t = { r->now.ns - r->svc->started.ns };

	return up ? json_real(method_seconds(t)) : json_null();
}

static json_t *get_restarts(const struct row *r)
{
	return json_integer(r->svc->restarts);
}

/* It cannot be started before that has loaded everything, which may take long, or for ever. */
static bool waits_for_server(const struct row *r)
{
	const struct conf_proc *conf = r->svc->conf;
	const struct server_of *server;

	if (r->svc->state != SVC_STARTING || r->svc->pid != 0 ||
	    conf->start_method != CONF_METHOD_FORKSERVER)
		return false;
	server = servers_find(&r->unit->sup->servers, conf->forkserver);
	return server == NULL || !server->is_ready;
}

/* In its own words first, while it runs. */
static json_t *get_info(const struct row *r)
{
	AUTO_FREE char *info = svc_info(r->svc, r->now, r->wall), *both = NULL;
	const struct said *said = r->unit->said;

	if (waits_for_server(r)) {
		both = xasprintf("waits for forkserver %s%s%s", r->svc->conf->forkserver,
				 info[0] != '\0' ? "; " : "", info);
		return method_text(both);
	}
	if (said == NULL || said->status == NULL || !svc_is_signallable(r->svc))
		return method_text(info);
	both = xasprintf("%s%s%s", said->status, info[0] != '\0' ? "; " : "", info);
	return method_text(both);
}

static json_t *get_pipes(const struct row *r)
{
	return pipes_of(r->unit->sup, r->svc->conf);
}

static json_t *get_control(const struct row *r)
{
	return json_string(conf_control_word(r->svc->conf->control));
}

static json_t *get_ipc(const struct row *r)
{
	const struct conf_proc *conf = r->svc->conf;

	return json_pack("{s:s, s:s, s:I, s:I}", "track", conf_track_word(conf->track), "cleanup",
			 conf_cleanup_word(conf->ipc_cleanup), "held",
			 (json_int_t)r->unit->n_objects, "cleaned", (json_int_t)r->unit->n_cleaned);
}

static json_t *get_said(const struct row *r)
{
	const struct said *s = r->unit->said;

	if (s == NULL)
		return NULL;
	return json_pack("{s:o, s:b, s:b, s:I, s:I, s:I, s:I}", "status", method_text(s->status),
			 "stopping", s->stopping, "reloading", s->reloading, "messages",
			 (json_int_t)s->messages, "bad", (json_int_t)s->bad, "dropped",
			 (json_int_t)s->dropped, "denied", (json_int_t)s->denied);
}

static json_t *get_changed(const struct row *r)
{
	const struct svc *s = r->svc;

	return s->changed_wall.ns ? json_real(method_seconds(s->changed_wall)) : json_null();
}

static json_t *get_exit(const struct row *r)
{
	json_t *e;

	if (r->svc->last_exit.code == 0)
		return NULL;
	e = json_object();
	method_set_exit(e, r->svc->last_exit.code, r->svc->last_exit.status);
	return e;
}

static json_t *get_spawnerr(const struct row *r)
{
	return r->svc->spawn_error != NULL ? method_text(r->svc->spawn_error) : NULL;
}

static json_t *get_command(const struct row *r)
{
	return method_text(r->svc->conf->command);
}

static json_t *get_directory(const struct row *r)
{
	return method_text(r->svc->conf->directory);
}

static json_t *get_config(const struct row *r)
{
	const struct conf_place *place = &r->svc->conf->place;
	AUTO_FREE char *text =
		xasprintf("%s:%d", place->file != NULL ? place->file : "", place->line);

	return method_text(text);
}

static json_t *get_entry(const struct row *r)
{
	return method_text(r->svc->conf->entry);
}

static json_t *get_args(const struct row *r)
{
	return method_text(r->svc->conf->args);
}

static json_t *get_start_method(const struct row *r)
{
	return json_string(conf_method_word(r->svc->conf->start_method));
}

/* Of one that is not there (yet) the pid is 0. */
static json_t *get_forkserver(const struct row *r)
{
	const struct conf_proc *conf = r->svc->conf;
	const struct server_of *server;
	json_t *o, *preload = json_array();

	if (conf->start_method != CONF_METHOD_FORKSERVER) {
		json_decref(preload);
		return json_null();
	}
	server = servers_find(&r->unit->sup->servers, conf->forkserver);
	for (char **p = conf->preload; p != NULL && *p != NULL; p++)
		json_array_append_new(preload, method_text(*p));
	o = json_object();
	json_object_set_new(o, "name", method_text(conf->forkserver));
	json_object_set_new(o, "pid", json_integer(server != NULL ? server->pid : 0));
	json_object_set_new(o, "ready", json_boolean(server != NULL && server->is_ready));
	json_object_set_new(o, "preload", preload);
	json_object_set_new(o, "started", json_integer(server != NULL ? server->n_started : 0));
	return o;
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
	if (log->kind == CONF_LOG_FILE)
		return status_path(u->sup, log->path);
	return log->kind == CONF_LOG_AUTO ? status_path(u->sup, auto_path) : json_null();
}

static json_t *get_stdout_logfile(const struct row *r)
{
	return log_path(r->unit, &r->svc->conf->out, r->unit->auto_out);
}

static json_t *get_stdout_syslog(const struct row *r)
{
	return json_boolean(r->svc->conf->out.syslog);
}

static json_t *get_stderr_syslog(const struct row *r)
{
	return json_boolean(r->svc->conf->err.syslog);
}

static json_t *get_stderr_logfile(const struct row *r)
{
	return r->svc->conf->redirect_stderr
		       ? json_null()
		       : log_path(r->unit, &r->svc->conf->err, r->unit->auto_err);
}

/* Where output goes. */
static json_t *log_target(const struct unit *u, const struct conf_log *log)
{
	bool standard = log->kind == CONF_LOG_FILE
				? files_standard_fd(log->path) >= 0
				: log->kind == CONF_LOG_AUTO && u->sup->options->foreground;

	if (standard)
		return json_string("terminal");
	if (log->kind == CONF_LOG_FILE || log->kind == CONF_LOG_AUTO)
		return json_string("file");
	return json_string(log->syslog ? "syslog" : "none");
}

static json_t *get_stdout_to(const struct row *r)
{
	return log_target(r->unit, &r->svc->conf->out);
}

static json_t *get_stderr_to(const struct row *r)
{
	return r->svc->conf->redirect_stderr ? json_string("stdout")
					     : log_target(r->unit, &r->svc->conf->err);
}

static json_t *get_history(const struct row *r)
{
	const struct svc *s = r->svc;
	unsigned from = s->n_history > SVC_HISTORY ? s->n_history - SVC_HISTORY : 0;
	json_t *list = json_array();

	for (unsigned i = from; i < s->n_history; i++) {
		const struct svc_past *p = &s->history[i % SVC_HISTORY];
		json_t *one = json_pack("{s:f, s:f}", "ended", method_seconds(p->ended), "uptime",
					(double)p->uptime_ns / (double)MPS_NS_PER_S);

		method_set_exit(one, p->code, p->status);
		json_array_append_new(list, one);
	}
	return list;
}

/* What supervisorctl prints behind the state. Its times are local, without seconds. */
static json_t *get_compat(const struct row *r)
{
	const struct svc *s = r->svc;
	char buffer[64];
	time_t at = (time_t)(s->changed_wall.ns / MPS_NS_PER_S);
	int64_t up = (r->now.ns - s->started.ns) / MPS_NS_PER_S;
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
		if (svc_is_fresh(s))
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

enum { ROW_ALWAYS = 1, ROW_DETAIL = 2, ROW_COMPAT = 4 };

/* What a row may hold. `part` is when it is sent without "fields"; NULL from `get`: there is none. */
static const struct field {
	const char *name;
	unsigned part;
	json_t *(*get)(const struct row *r);
} fields[] = {
	{ "name", ROW_ALWAYS, get_name },
	{ "group", ROW_ALWAYS, get_group },
	{ "process", ROW_ALWAYS, get_process },
	{ "state", ROW_ALWAYS, get_state },
	{ "statecode", ROW_ALWAYS, get_statecode },
	{ "pid", ROW_ALWAYS, get_pid },
	{ "uptime", ROW_ALWAYS, get_uptime },
	{ "restarts", ROW_ALWAYS, get_restarts },
	{ "start_method", ROW_ALWAYS, get_start_method },
	{ "info", ROW_ALWAYS, get_info },
	{ "changed", ROW_ALWAYS, get_changed },
	{ "exit", ROW_ALWAYS, get_exit },
	{ "spawnerr", ROW_ALWAYS, get_spawnerr },
	{ "stdout_logfile", ROW_DETAIL, get_stdout_logfile },
	{ "stderr_logfile", ROW_DETAIL, get_stderr_logfile },
	{ "stdout_to", ROW_DETAIL, get_stdout_to },
	{ "stderr_to", ROW_DETAIL, get_stderr_to },
	{ "stdout_syslog", ROW_DETAIL, get_stdout_syslog },
	{ "stderr_syslog", ROW_DETAIL, get_stderr_syslog },
	{ "command", ROW_DETAIL, get_command },
	{ "directory", ROW_DETAIL, get_directory },
	{ "config", ROW_DETAIL, get_config },
	{ "entry", ROW_DETAIL, get_entry },
	{ "args", ROW_DETAIL, get_args },
	{ "forkserver", ROW_DETAIL, get_forkserver },
	{ "pipes", ROW_DETAIL, get_pipes },
	{ "control", ROW_DETAIL, get_control },
	{ "said", ROW_DETAIL, get_said },
	{ "ipc", ROW_ALWAYS, get_ipc },
	{ "history", ROW_DETAIL, get_history },
	{ "compat", ROW_COMPAT, get_compat },
};
_Static_assert(ARRAY_SIZE(fields) <= 64, "struct request has a bit for each");

/* What most rows say, and a brief one does not. */
static bool is_usual(const struct field *f, const json_t *value)
{
	const char *usual = f->get == get_start_method ? conf_method_word(CONF_METHOD_SPAWN) : "";

	if (f->get == get_ipc)
		return json_integer_value(json_object_get(value, "held")) == 0 &&
		       json_integer_value(json_object_get(value, "cleaned")) == 0;
	if (json_is_integer(value))
		return json_integer_value(value) == 0;
	if (json_is_string(value))
		return strcmp(json_string_value(value), usual) == 0;
	return json_is_null(value);
}

static json_t *row_of(const struct request *r, const struct unit *u, struct mps_time now,
		      struct mps_time wall)
{
	const struct row row = { u, &u->svc, now, wall };
	json_t *json = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		json_t *value = r->fields & UINT64_C(1) << i ? fields[i].get(&row) : NULL;

		if (r->brief && is_usual(&fields[i], value))
			json_decref(value);
		else
			json_object_set_new_nocheck(json, fields[i].name, value);
	}
	return json;
}

/* The next rows; the errors come with the last. */
static void produce_status(struct request *r)
{
	struct mps_time now = mps_now(), wall = mps_wall();
	json_t *rows = json_array(), *result;
	size_t end = r->at + METHOD_ROWS < r->n_list ? r->at + METHOD_ROWS : r->n_list;
	bool more = end < r->n_list;

	for (; r->at < end; r->at++)
		json_array_append_new(rows, row_of(r, r->list[r->at], now, wall));
	result = json_pack("{s:o}", "processes", rows);
	if (!more && r->rows != NULL)
		json_object_set(result, "errors", r->rows);
	request_answer_part(r, result, more);
}

static uint64_t fields_of(unsigned parts)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].part & parts)
			bits |= UINT64_C(1) << i;
	return bits;
}

static uint64_t field_named(const char *name)
{
	for (size_t i = 0; name != NULL && i < ARRAY_SIZE(fields); i++)
		if (strcmp(fields[i].name, name) == 0)
			return UINT64_C(1) << i;
	return 0;
}

/* "fields", else what "detail" and "compat" say. False after an answer was sent. */
static bool choose_fields(struct request *r)
{
	json_t *list = json_object_get(r->params, "fields"), *name;
	bool detail = json_is_true(json_object_get(r->params, "detail"));
	bool compat = json_is_true(json_object_get(r->params, "compat"));
	size_t i;

	if (list == NULL) {
		r->fields = fields_of(ROW_ALWAYS | (detail ? ROW_DETAIL : 0) |
				      (compat ? ROW_COMPAT : 0));
		return true;
	}
	json_array_foreach (list, i, name) {
		uint64_t bit = field_named(json_string_value(name));

		if (bit == 0) {
			request_fail(r, FAULT_BAD_ARGUMENTS, "fields: a row has no '%s'",
				     json_is_string(name) ? json_string_value(name) : "");
			return false;
		}
		r->fields |= bit;
	}
	if (!json_is_array(list))
		request_fail(r, FAULT_INCORRECT_PARAMETERS, "fields: not a list of names");
	return json_is_array(list);
}

void method_status(struct request *r)
{
	r->brief = json_is_true(json_object_get(r->params, "brief"));
	if (!choose_fields(r) || !method_find_targets(r)) {
		request_end(r);
		return;
	}
	r->produce = produce_status;
	r->produce(r);
}
