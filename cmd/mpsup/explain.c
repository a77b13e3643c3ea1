/*
 * Builds the JSON of a configuration, one small object after the other.
 */
#include "mpsup/explain.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mtime.h"
#include "base/sig.h"

/* Bytes of the valid UTF-8 character at s, or 0. */
static size_t utf8_len(const unsigned char *s)
{
	static const unsigned least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] < 0x80	 ? 1
		   : s[0] < 0xc2 ? 0
		   : s[0] < 0xe0 ? 2
		   : s[0] < 0xf0 ? 3
		   : s[0] < 0xf5 ? 4
				 : 0;
	unsigned c;

	if (n < 2)
		return n;
	c = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : n;
}

json_t *explain_string(const char *s)
{
	AUTO_BUF clean = BUF_INIT;
	json_t *j;

	if (s == NULL)
		return json_null();
	j = json_string(s);
	if (j)
		return j;
	while (*s) {
		size_t n = utf8_len((const unsigned char *)s);

		if (n > 0)
			buf_add(&clean, s, n);
		else
			buf_adds(&clean, "\xef\xbf\xbd");
		s += n ? n : 1;
	}
	return json_string(clean.p);
}

static void set_string(json_t *o, const char *key, const char *s)
{
	json_object_set_new(o, key, explain_string(s));
}

static void set_int(json_t *o, const char *key, int64_t n)
{
	json_object_set_new(o, key, json_integer(n));
}

static void set_bool(json_t *o, const char *key, bool b)
{
	json_object_set_new(o, key, json_boolean(b));
}

static void set_octal(json_t *o, const char *key, int mode)
{
	char text[16];

	snprintf(text, sizeof(text), "%03o", (unsigned)mode);
	json_object_set_new(o, key, mode == CONF_UNSET ? json_null() : json_string(text));
}

/* Seconds: a whole number where it is one. */
static void set_time(json_t *o, const char *key, int64_t ns)
{
	json_t *j;

	if (ns == CONF_UNSET)
		j = json_null();
	else if (ns % MPS_NS_PER_S == 0)
		j = json_integer(ns / MPS_NS_PER_S);
	else
		j = json_real((double)ns / MPS_NS_PER_S);
	json_object_set_new(o, key, j);
}

static void set_list(json_t *o, const char *key, char *const *v)
{
	json_t *a = json_array();

	for (; v && *v; v++)
		json_array_append_new(a, explain_string(*v));
	json_object_set_new(o, key, a);
}

static void set_environment(json_t *o, char *const *env)
{
	json_t *vars = json_object();

	for (; env && *env; env++) {
		AUTO_BUF name = BUF_INIT;

		buf_add(&name, *env, strcspn(*env, "="));
		set_string(vars, name.p, *env + name.len + 1);
	}
	json_object_set_new(o, "environment", vars);
}

static void set_log(json_t *o, const char *stream, const struct conf_log *log)
{
	static const char *const words[] = { NULL, "AUTO", "syslog", NULL };
	char key[40];

	if (log->written != NULL)
		log = log->written;
	snprintf(key, sizeof(key), "%s_logfile", stream);
	set_string(o, key, log->kind == CONF_LOG_FILE ? log->path : words[log->kind]);
	snprintf(key, sizeof(key), "%s_logfile_maxbytes", stream);
	set_int(o, key, log->maxbytes);
	snprintf(key, sizeof(key), "%s_logfile_backups", stream);
	set_int(o, key, log->backups);
	snprintf(key, sizeof(key), "%s_logfile_compress", stream);
	set_bool(o, key, log->compress);
	snprintf(key, sizeof(key), "%s_capture_maxbytes", stream);
	set_int(o, key, log->capture_maxbytes);
	snprintf(key, sizeof(key), "%s_events_enabled", stream);
	set_bool(o, key, log->events_enabled);
	snprintf(key, sizeof(key), "%s_syslog", stream);
	set_bool(o, key, log->syslog);
}

static void set_signal(json_t *o, int sig)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", sig);
	set_string(o, "stopsignal", sig_name(sig) ? sig_name(sig) : number);
}

static void set_stopping(json_t *o, const struct conf_proc *p)
{
	json_t *codes = json_array();

	for (size_t i = 0; i < p->n_exitcodes; i++)
		json_array_append_new(codes, json_integer(p->exitcodes[i]));
	json_object_set_new(o, "exitcodes", codes);
	set_signal(o, p->stopsignal);
	set_int(o, "stopwaitsecs", p->stopwaitsecs);
	set_bool(o, "stopasgroup", p->stopasgroup);
	set_bool(o, "killasgroup", p->killasgroup);
	set_string(o, "kill_mode", conf_kill_mode_word(p->kill_mode));
}

static void set_starting(json_t *o, const struct conf_proc *p)
{
	char limit[40];

	set_int(o, "priority", p->priority);
	set_bool(o, "autostart", p->autostart);
	set_string(o, "autorestart", conf_autorestart_word(p->autorestart));
	set_int(o, "startsecs", p->startsecs);
	if (p->startretries == CONF_RETRIES_INFINITE)
		set_string(o, "startretries", "infinite");
	else
		set_int(o, "startretries", p->startretries);
	set_time(o, "restart_delay", p->restart_delay);
	set_time(o, "restart_delay_max", p->restart_delay_max);
	snprintf(limit, sizeof(limit), "%d/%d", p->restart_limit_count, p->restart_limit_secs);
	set_string(o, "restart_limit", p->restart_limit_count ? limit : NULL);
	set_bool(o, "daemon", p->daemon);
}

static void set_dialogue(json_t *o, const struct conf_proc *p)
{
	bool notify = p->ready == CONF_READY_NOTIFY, message = p->stop_method == CONF_STOP_MESSAGE;

	set_string(o, "control", conf_control_word(p->control));
	set_string(o, "ready", notify ? "notify" : "time");
	set_time(o, "start_timeout", p->start_timeout);
	set_time(o, "watchdog_sec", p->watchdog);
	set_string(o, "stop_method", message ? "message" : "signal");
}

static void set_kind(json_t *o, const struct conf_proc *p)
{
	switch (p->kind) {
	case CONF_PROGRAM:
		break;
	case CONF_FCGI_PROGRAM:
		set_string(o, "socket", p->socket);
		set_int(o, "socket_backlog", p->socket_backlog);
		set_string(o, "socket_owner", p->socket_owner);
		set_octal(o, "socket_mode", p->socket_mode);
		break;
	case CONF_EVENTLISTENER:
		set_list(o, "events", p->events);
		set_int(o, "buffer_size", p->buffer_size);
		set_string(o, "result_handler", p->result_handler);
		break;
	case CONF_MANAGER:
		set_string(o, "address", p->address);
		set_string(o, "authkey_file", p->authkey_file);
		set_string(o, "snapshot", p->snapshot);
		break;
	}
}

json_t *explain_proc(const struct conf_proc *p)
{
	AUTO_BUF env_file = BUF_INIT;
	json_t *o = json_object();

	set_string(o, "kind", conf_kind_word(p->kind));
	set_string(o, "group", p->group);
	set_int(o, "group_priority", p->group_priority);
	set_string(o, "name", p->name);
	set_string(o, "program", p->program);
	set_int(o, "process_num", p->process_num);
	set_int(o, "numprocs", p->numprocs);
	set_string(o, "command", p->command);
	set_string(o, "entry", p->entry);
	set_string(o, "args", p->args);
	set_string(o, "start_method", conf_method_word(p->start_method));
	set_string(o, "track", conf_track_word(p->track));
	set_string(o, "ipc_cleanup", conf_cleanup_word(p->ipc_cleanup));
	set_string(o, "forkserver", p->forkserver);
	set_list(o, "preload", p->preload);
	set_string(o, "directory", p->directory);
	set_octal(o, "umask", p->umask);
	set_string(o, "user", p->user);
	set_starting(o, p);
	set_dialogue(o, p);
	set_stopping(o, p);
	set_bool(o, "redirect_stderr", p->redirect_stderr);
	set_log(o, "stdout", &p->out);
	set_log(o, "stderr", &p->err);
	set_string(o, "log_prefix", p->log_prefix ? p->log_prefix : "auto");
	set_bool(o, "log_timestamp", p->log_timestamp);
	set_environment(o, p->environment);
	if (p->env_file)
		buf_addf(&env_file, "%s%s", p->env_file_optional ? "-" : "", p->env_file);
	set_string(o, "env_file", env_file.p);
	set_string(o, "stdin", p->stdin_mode == CONF_STDIN_PIPE ? "pipe" : "null");
	set_string(o, "serverurl", p->serverurl);
	set_kind(o, p);
	return o;
}

static void set_end(json_t *o, const struct conf_pipe *pipe, enum conf_side side)
{
	json_t *list = json_array();

	for (size_t i = 0; i < pipe->n_ends[side]; i++) {
		json_t *end = json_object();

		set_string(end, "program", pipe->ends[side][i].program);
		set_int(end, "fd", pipe->ends[side][i].fd);
		json_array_append_new(list, end);
	}
	json_object_set_new(o, side == CONF_FROM ? "from" : "to", list);
}

static json_t *explain_pipe(const struct conf_pipe *pipe)
{
	json_t *o = json_object();

	set_string(o, "name", pipe->name);
	set_string(o, "variable", pipe->variable);
	set_end(o, pipe, CONF_FROM);
	set_end(o, pipe, CONF_TO);
	set_string(o, "mode", conf_pipe_mode_word(pipe->mode));
	json_object_set_new(o, "size", pipe->size > 0 ? json_integer(pipe->size) : json_null());
	set_string(o, "on_end", conf_on_end_word(pipe->on_end));
	return o;
}

static json_t *explain_supervisord(const struct conf_supervisord *s)
{
	static const char *const exit_words[] = { NULL, "fatal", NULL, "all" };
	AUTO_BUF exit_on = BUF_INIT;
	json_t *o = json_object();

	set_string(o, "logfile", s->logfile);
	set_int(o, "logfile_maxbytes", s->logfile_maxbytes);
	set_int(o, "logfile_backups", s->logfile_backups);
	set_bool(o, "logfile_compress", s->logfile_compress);
	set_string(o, "loglevel", conf_level_word(s->loglevel));
	set_string(o, "pidfile", s->pidfile);
	set_octal(o, "umask", s->umask);
	set_bool(o, "nodaemon", s->nodaemon);
	set_bool(o, "silent", s->silent);
	set_int(o, "minfds", s->minfds);
	set_int(o, "minprocs", s->minprocs);
	set_bool(o, "nocleanup", s->nocleanup);
	set_string(o, "childlogdir", s->childlogdir);
	set_string(o, "user", s->user);
	set_string(o, "directory", s->directory);
	set_bool(o, "strip_ansi", s->strip_ansi);
	set_environment(o, s->environment);
	set_string(o, "identifier", s->identifier);
	set_string(o, "start_method", conf_method_word(s->start_method));
	set_string(o, "track", conf_track_word(s->track));
	set_string(o, "ipc_cleanup", conf_cleanup_word(s->ipc_cleanup));
	if (s->exit_on == CONF_EXIT_NAME)
		buf_addf(&exit_on, "exit:%s", s->exit_on_name);
	set_string(o, "exit_on", s->exit_on == CONF_EXIT_NAME ? exit_on.p : exit_words[s->exit_on]);
	set_string(o, "on_crash", s->on_crash == CONF_CRASH_STOP ? "stop" : "restart");
	set_time(o, "orphan_grace", s->orphan_grace);
	return o;
}

const char *explain_severity(enum conf_severity level)
{
	static const char *const words[] = { "error", "warning", "note" };

	return words[level];
}

json_t *explain_conf(const struct conf *conf)
{
	json_t *programs = json_array(), *pipes = json_array();
	json_t *messages = json_array(), *o = json_object();

	for (size_t i = 0; i < conf->n_procs; i++)
		json_array_append_new(programs, explain_proc(&conf->procs[i]));
	for (size_t i = 0; i < conf->n_pipes; i++)
		json_array_append_new(pipes, explain_pipe(&conf->pipes[i]));
	for (size_t i = 0; i < conf->n_messages; i++) {
		const struct conf_message *m = &conf->messages[i];
		json_t *j = json_object();

		set_string(j, "file", m->file);
		json_object_set_new(j, "line", m->line > 0 ? json_integer(m->line) : json_null());
		set_string(j, "level", explain_severity(m->level));
		set_string(j, "key", m->key);
		set_string(j, "text", m->text);
		json_array_append_new(messages, j);
	}
	set_bool(o, "ok", conf->n_errors == 0);
	set_string(o, "file", conf->path);
	json_object_set_new(o, "supervisord", explain_supervisord(&conf->supervisord));
	json_object_set_new(o, "programs", programs);
	json_object_set_new(o, "pipes", pipes);
	json_object_set_new(o, "messages", messages);
	return o;
}
