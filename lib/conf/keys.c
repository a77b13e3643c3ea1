/*
 * The key table. Rows are sorted by section and then as the man page has them.
 */
#include "base/guess.h"
#include "conf/keys.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "conf/conf.h"

const struct section_kind section_kinds[] = {
	{ SECTION_SUPERVISORD, "supervisord", false, false, false, "the supervisor itself" },
	{ SECTION_PROGRAM, "program", true, false, false, "a program to run" },
	{ SECTION_FCGI, "fcgi-program", true, false, false,
	  "a program whose standard input is a listening socket" },
	{ SECTION_LISTENER, "eventlistener", true, false, false,
	  "a program that reads events on its standard input" },
	{ SECTION_GROUP, "group", true, false, false, "programs that are handled together" },
	{ SECTION_FORKSERVER, "forkserver", true, false, false,
	  "a process that has loaded what programs need, and forks them" },
	{ SECTION_MANAGER, "manager", true, false, false,
	  "a server of dictionaries, queues and so on for all" },
	{ SECTION_PIPE, "pipe", true, false, false,
	  "a pipe between programs, which outlives them" },
	{ SECTION_INCLUDE, "include", false, false, false, "further files" },
	{ SECTION_UNIX_HTTP, "unix_http_server", false, true, false, "supervisord's HTTP door" },
	{ SECTION_INET_HTTP, "inet_http_server", false, true, false, "supervisord's HTTP door" },
	{ SECTION_CTL, "supervisorctl", false, false, true, "settings of supervisorctl" },
	{ SECTION_RPC, "rpcinterface", true, false, true, "a Python extension of supervisord" },
	{ SECTION_CTLPLUGIN, "ctlplugin", true, false, true,
	  "a Python extension of supervisorctl" },
	{ 0 },
};

/* The C type of the field that each key type is parsed into. */
#define C_KEY_STRING char *
#define C_KEY_PATH char *
#define C_KEY_DIRECTORY char *
#define C_KEY_NAME char *
#define C_KEY_BOOL bool
#define C_KEY_INT int
#define C_KEY_SECONDS int
#define C_KEY_TIME int64_t
#define C_KEY_RETRIES int
#define C_KEY_BYTES int64_t
#define C_KEY_OCTAL int
#define C_KEY_CHOICE unsigned int /* an enum without negative values */
#define C_KEY_AUTORESTART unsigned int
#define C_KEY_SIGNAL int
#define C_KEY_EXITCODES uint8_t *
#define C_KEY_LOGFILE struct conf_log
#define C_KEY_ENVIRONMENT char **
#define C_KEY_LIST char **
#define C_KEY_EVENTS char **
#define C_KEY_USER char *
#define C_KEY_OWNER char *
#define C_KEY_URL char *
#define C_KEY_SOCKET char *
#define C_KEY_INET char *
#define C_KEY_LIMIT int
#define C_KEY_EXIT_ON unsigned int
#define C_KEY_ENV_FILE char *
#define C_KEY_ENTRY char *

/* offsetof, but a field of another type than the key's does not compile (an array of -1 elements). */
#define FIELD(s, field, c_type)                                                                    \
	(offsetof(s, field) + 0 * sizeof(char[_Generic(((s *)0)->field, c_type : 1, default : -1)]))

#define ROW(sects, s, key_name, key_type, field, text, lo, hi, words, bits, line)                  \
	{                                                                                          \
		.sections = (sects), .name = (key_name), .type = key_type, .def = (text),          \
		.min = (lo), .max = (hi), .choices = (words), .flags = (bits),                     \
		.offset = FIELD(s, field, C_##key_type), .doc = (line),                            \
	}

#define SUPER(name, type, field, def, lo, hi, words, bits, doc)                                    \
	ROW(SECTION_SUPERVISORD, struct conf_supervisord, name, type, field, def, lo, hi, words,   \
	    (bits) | KEY_EXPAND, doc)
#define PROC(name, type, field, def, lo, hi, words, bits, doc)                                     \
	ROW(SECTION_PROC, struct conf_proc, name, type, field, def, lo, hi, words,                 \
	    (bits) | KEY_EXPAND, doc)
#define COMMAND(name, type, field, def, lo, hi, words, bits, doc)                                  \
	ROW(SECTION_COMMAND, struct conf_proc, name, type, field, def, lo, hi, words,              \
	    (bits) | KEY_EXPAND, doc)
#define ONLY(sects, name, type, field, def, lo, hi, bits, doc)                                     \
	ROW(sects, struct conf_proc, name, type, field, def, lo, hi, NULL, (bits) | KEY_EXPAND, doc)
#define OTHER(sects, name, type, field, def, bits, doc)                                            \
	ROW(sects, struct conf_other, name, type, field, def, 0, 0, NULL, (bits) | KEY_EXPAND, doc)

#define PIPE(name, type, field, def, words, bits, doc)                                             \
	ROW(SECTION_PIPE, struct conf_pipe, name, type, field, def, 0, 0, words,                   \
	    (bits) | KEY_EXPAND | KEY_OWN, doc)

#define EACH KEY_PER_PROCESS
#define OWN KEY_OWN
#define LIVE KEY_LIVE
#define METHODS "spawn|fork|forkserver"
#define TRACKS "preload|scan|off"
#define CLEANUPS "exit|shutdown|off"

/* clang-format off */
const struct key keys[] = {
	SUPER("logfile", KEY_PATH, logfile, "supervisord.log", 0, 0, NULL, 0, "the supervisor's own log; syslog, NONE"),
	SUPER("logfile_maxbytes", KEY_BYTES, logfile_maxbytes, "50MB", 0, 0, NULL, LIVE, "size at which it is rotated; 0 = never"),
	SUPER("logfile_backups", KEY_INT, logfile_backups, "10", 0, 0, NULL, LIVE, "rotated files kept; 0 = none"),
	SUPER("logfile_compress", KEY_BOOL, logfile_compress, "false", 0, 0, NULL, OWN | LIVE, "gzip rotated files"),
	SUPER("loglevel", KEY_CHOICE, loglevel, "info", 0, 0, "critical|error|warn|info|debug|trace|blather", LIVE, "what goes into it"),
	SUPER("pidfile", KEY_PATH, pidfile, "supervisord.pid", 0, 0, NULL, 0, "file for the process id"),
	SUPER("umask", KEY_OCTAL, umask, "022", 0, 0777, NULL, 0, "umask of the supervisor and, unless they set one, its programs"),
	SUPER("nodaemon", KEY_BOOL, nodaemon, "false", 0, 0, NULL, KEY_IDLE, "stay in the foreground"),
	SUPER("silent", KEY_BOOL, silent, "false", 0, 0, NULL, 0, "in the foreground: no log on the terminal"),
	SUPER("minfds", KEY_INT, minfds, "1024", 0, INT_MAX, NULL, 0, "raise the limit of open files to at least this"),
	SUPER("minprocs", KEY_INT, minprocs, "200", 0, INT_MAX, NULL, 0, "raise the limit of processes to at least this"),
	SUPER("nocleanup", KEY_BOOL, nocleanup, "false", 0, 0, NULL, 0, "keep old AUTO logs at start"),
	SUPER("childlogdir", KEY_PATH, childlogdir, NULL, 0, 0, NULL, LIVE, "folder of AUTO logs (default: $TMPDIR or /tmp)"),
	SUPER("user", KEY_USER, user, NULL, 0, 0, NULL, 0, "switch to this user at start"),
	SUPER("directory", KEY_DIRECTORY, directory, NULL, 0, 0, NULL, 0, "change to this folder at start"),
	SUPER("strip_ansi", KEY_BOOL, strip_ansi, "false", 0, 0, NULL, LIVE, "strip terminal escape sequences from logs of programs"),
	SUPER("environment", KEY_ENVIRONMENT, environment, NULL, 0, 0, NULL, KEY_ELSEWHERE, "variables for all programs"),
	SUPER("identifier", KEY_STRING, identifier, "supervisor", 0, 0, NULL, 0, "name of this supervisor"),
	SUPER("start_method", KEY_CHOICE, start_method, "spawn", 0, 0, METHODS, OWN | KEY_ELSEWHERE, "how programs are started that do not say it"),
	SUPER("track", KEY_CHOICE, track, "preload", 0, 0, TRACKS, OWN | KEY_ELSEWHERE, "how the objects of programs are known that do not say it"),
	SUPER("ipc_cleanup", KEY_CHOICE, ipc_cleanup, "exit", 0, 0, CLEANUPS, OWN | KEY_ELSEWHERE, "when the left-over objects of programs are unlinked that do not say it"),
	SUPER("exit_on", KEY_EXIT_ON, exit_on, NULL, 0, 0, NULL, OWN | LIVE, "end with the programs: fatal, exit:NAME or all"),
	SUPER("on_crash", KEY_CHOICE, on_crash, "restart", 0, 0, "stop|restart", OWN | LIVE, "the supervisor has crashed: stop all programs, or start another supervisor, which takes them over"),
	SUPER("orphan_grace", KEY_TIME, orphan_grace, "0.5", 0, 0, NULL, OWN | LIVE, "time between TERM and KILL when the supervisor is gone"),

	COMMAND("command", KEY_STRING, command, NULL, 0, 0, NULL, EACH, "the command line; quotes as in a shell, no shell"),
	COMMAND("entry", KEY_ENTRY, entry, NULL, 0, 0, NULL, OWN | EACH, "in place of a command: FILE.so:FUNCTION, an int f(int argc, char **argv)"),
	COMMAND("args", KEY_STRING, args, NULL, 0, 0, NULL, OWN | EACH, "what the entry gets as arguments; quotes as in a shell"),
	COMMAND("start_method", KEY_CHOICE, start_method, NULL, 0, 0, METHODS, OWN, "how it is started (default: that of [supervisord])"),
	COMMAND("forkserver", KEY_NAME, forkserver, NULL, 0, 0, NULL, OWN, "which forkserver starts it (default: one of its own for all that name none)"),
	COMMAND("track", KEY_CHOICE, track, NULL, 0, 0, TRACKS, OWN, "how it is known which semaphores, shared memory and queues it makes (default: that of [supervisord])"),
	COMMAND("ipc_cleanup", KEY_CHOICE, ipc_cleanup, NULL, 0, 0, CLEANUPS, OWN, "when those that it leaves behind are unlinked (default: that of [supervisord])"),
	COMMAND("process_name", KEY_NAME, name, "%(program_name)s", 0, 0, NULL, EACH | LIVE | KEY_ELSEWHERE, "name of each process"),
	COMMAND("numprocs", KEY_INT, numprocs, "1", INT_MIN, CONF_PROGRAMS_MAX, NULL, LIVE | KEY_ELSEWHERE, "how many processes"),
	COMMAND("numprocs_start", KEY_INT, numprocs_start, "0", 0, 0, NULL, LIVE | KEY_ELSEWHERE, "the first process_num"),
	PROC("priority", KEY_INT, priority, "999", 0, 0, NULL, LIVE, "lower starts first and stops last"),
	PROC("autostart", KEY_BOOL, autostart, "true", 0, 0, NULL, LIVE, "start with the supervisor"),
	PROC("autorestart", KEY_AUTORESTART, autorestart, "unexpected", 0, 0, "false|true|unexpected", LIVE, "restart after an exit from RUNNING"),
	PROC("startsecs", KEY_SECONDS, startsecs, "1", 0, 0, NULL, LIVE, "seconds up until a start counts as good"),
	PROC("startretries", KEY_RETRIES, startretries, "3", 0, 0, NULL, LIVE, "retries of a failed start; infinite"),
	PROC("exitcodes", KEY_EXITCODES, exitcodes, "0", 0, 0, NULL, LIVE, "exit codes that are expected"),
	PROC("stopsignal", KEY_SIGNAL, stopsignal, "TERM", 0, 0, NULL, LIVE, "signal that stops it"),
	PROC("stopwaitsecs", KEY_SECONDS, stopwaitsecs, "10", 0, 0, NULL, LIVE, "seconds until KILL follows"),
	PROC("stopasgroup", KEY_BOOL, stopasgroup, "false", 0, 0, NULL, LIVE, "send the stop signal to the process group"),
	PROC("killasgroup", KEY_BOOL, killasgroup, NULL, 0, 0, NULL, LIVE, "send KILL to the process group (default: stopasgroup)"),
	PROC("kill_mode", KEY_CHOICE, kill_mode, "tree", 0, 0, "tree|group|process", OWN | LIVE, "what is ended with it: all descendants, its group, itself"),
	PROC("restart_delay", KEY_TIME, restart_delay, "1", 0, 0, NULL, OWN | LIVE | KEY_WHEN_USED, "first pause before a restart, doubled each time"),
	PROC("restart_delay_max", KEY_TIME, restart_delay_max, "60", 0, 0, NULL, OWN | LIVE | KEY_WHEN_USED, "longest pause before a restart"),
	PROC("restart_limit", KEY_LIMIT, restart_limit_count, "30/60", 0, 0, NULL, OWN | LIVE, "restarts in so many seconds, then FATAL; off"),
	PROC("user", KEY_USER, user, NULL, 0, 0, NULL, 0, "run as this user"),
	PROC("directory", KEY_STRING, directory, NULL, 0, 0, NULL, EACH, "working directory"),
	PROC("umask", KEY_OCTAL, umask, NULL, 0, 0777, NULL, 0, "umask (default: the supervisor's)"),
	PROC("environment", KEY_ENVIRONMENT, environment, NULL, 0, 0, NULL, EACH, "variables: A=\"1\",B=\"2\""),
	PROC("env_file", KEY_ENV_FILE, env_file, NULL, 0, 0, NULL, OWN | EACH, "file of variables, read at each start; -PATH = may be missing"),
	COMMAND("stdin", KEY_CHOICE, stdin_mode, "pipe", 0, 0, "pipe|null", OWN, "standard input: a pipe that stays open, or /dev/null"),
	PROC("redirect_stderr", KEY_BOOL, redirect_stderr, "false", 0, 0, NULL, 0, "standard error goes where standard output goes"),
	PROC("stdout_logfile", KEY_LOGFILE, out, "AUTO", 0, 0, NULL, EACH, "log of standard output: path, AUTO, NONE"),
	PROC("stdout_logfile_maxbytes", KEY_BYTES, out.maxbytes, "50MB", 0, 0, NULL, EACH, "size at which it is rotated; 0 = never"),
	PROC("stdout_logfile_backups", KEY_INT, out.backups, "10", 0, 0, NULL, EACH, "rotated files kept; 0 = none"),
	PROC("stdout_logfile_compress", KEY_BOOL, out.compress, "false", 0, 0, NULL, OWN | EACH, "gzip rotated files"),
	PROC("stdout_capture_maxbytes", KEY_BYTES, out.capture_maxbytes, "0", 0, 0, NULL, KEY_IDLE, "buffer of captured output"),
	PROC("stdout_events_enabled", KEY_BOOL, out.events_enabled, "false", 0, 0, NULL, KEY_IDLE, "send each write as an event"),
	PROC("stdout_syslog", KEY_BOOL, out.syslog, "false", 0, 0, NULL, EACH, "send lines to syslog too"),
	PROC("stderr_logfile", KEY_LOGFILE, err, "AUTO", 0, 0, NULL, EACH, "log of standard error: path, AUTO, NONE"),
	PROC("stderr_logfile_maxbytes", KEY_BYTES, err.maxbytes, "50MB", 0, 0, NULL, EACH, "size at which it is rotated; 0 = never"),
	PROC("stderr_logfile_backups", KEY_INT, err.backups, "10", 0, 0, NULL, EACH, "rotated files kept; 0 = none"),
	PROC("stderr_logfile_compress", KEY_BOOL, err.compress, "false", 0, 0, NULL, OWN | EACH, "gzip rotated files"),
	PROC("stderr_capture_maxbytes", KEY_BYTES, err.capture_maxbytes, "0", 0, 0, NULL, KEY_IDLE, "buffer of captured output"),
	PROC("stderr_events_enabled", KEY_BOOL, err.events_enabled, "false", 0, 0, NULL, KEY_IDLE, "send each write as an event"),
	PROC("stderr_syslog", KEY_BOOL, err.syslog, "false", 0, 0, NULL, EACH, "send lines to syslog too"),
	PROC("log_prefix", KEY_STRING, log_prefix, NULL, 0, 0, NULL, OWN | EACH, "text before each line: auto, none, or any (default: auto)"),
	PROC("log_timestamp", KEY_BOOL, log_timestamp, "false", 0, 0, NULL, OWN, "the time before each line"),
	COMMAND("control", KEY_CHOICE, control, "notify", 0, 0, "off|notify|self|group|all", OWN, "what it may tell the supervisor: nothing, of itself, or to restart itself, its group, all"),
	COMMAND("ready", KEY_CHOICE, ready, "time", 0, 0, "time|notify", OWN, "it is RUNNING after startsecs, or when it says READY=1"),
	PROC("start_timeout", KEY_TIME, start_timeout, "90", 0, 0, NULL, OWN | LIVE, "how long READY=1, or a forkserver, may take; 0 = for ever"),
	COMMAND("watchdog_sec", KEY_TIME, watchdog, "0", 0, 0, NULL, OWN, "killed when it says no WATCHDOG=1 for so long; 0 = never"),
	COMMAND("stop_method", KEY_CHOICE, stop_method, "signal", 0, 0, "signal|message", OWN, "stopped by stopsignal, or asked by STOP=1 first"),
	PROC("daemon", KEY_BOOL, daemon, "yes", 0, 0, NULL, OWN | LIVE, "no = mpsup run waits for it to end"),
	COMMAND("serverurl", KEY_URL, serverurl, NULL, 0, 0, NULL, 0, "value of SUPERVISOR_SERVER_URL (default: AUTO)"),

	ONLY(SECTION_FCGI, "socket", KEY_SOCKET, socket, NULL, 0, 0, KEY_REQUIRED, "tcp://host:port or unix:///path"),
	ONLY(SECTION_FCGI, "socket_backlog", KEY_INT, socket_backlog, NULL, 1, 65535, LIVE, "length of the listen queue (default: the system's)"),
	ONLY(SECTION_FCGI, "socket_owner", KEY_OWNER, socket_owner, NULL, 0, 0, LIVE, "user[:group] of a unix socket"),
	ONLY(SECTION_FCGI, "socket_mode", KEY_OCTAL, socket_mode, "0700", 0, 07777, LIVE, "permissions of a unix socket"),

	ONLY(SECTION_LISTENER, "events", KEY_EVENTS, events, NULL, 0, 0, KEY_REQUIRED | KEY_IDLE, "event types, with commas"),
	ONLY(SECTION_LISTENER, "buffer_size", KEY_INT, buffer_size, "10", 1, INT_MAX, KEY_IDLE, "events kept while all listeners are busy"),
	ONLY(SECTION_LISTENER, "result_handler", KEY_STRING, result_handler, "supervisor.dispatchers:default_handler", 0, 0, KEY_IDLE, "Python function for results; only the default is known"),

	OTHER(SECTION_GROUP, "programs", KEY_LIST, programs, NULL, KEY_REQUIRED, "names of programs, with commas"),
	OTHER(SECTION_GROUP, "priority", KEY_INT, priority, "999", LIVE, "lower starts first and stops last"),

	ONLY(SECTION_FORKSERVER, "preload", KEY_LIST, preload, NULL, 0, 0, OWN, "shared objects that it loads, with commas"),

	ONLY(SECTION_MANAGER, "address", KEY_STRING, address, NULL, 0, 0, OWN, "unix:PATH, tcp:HOST:PORT or abstract:NAME (default: a socket in the runtime directory)"),
	ONLY(SECTION_MANAGER, "authkey_file", KEY_PATH, authkey_file, NULL, 0, 0, OWN, "file with the key that clients have to show"),
	ONLY(SECTION_MANAGER, "snapshot", KEY_PATH, snapshot, NULL, 0, 0, OWN, "file that keeps dictionaries, lists and queues over a restart"),

	PIPE("from", KEY_LIST, texts[CONF_FROM], NULL, NULL, KEY_REQUIRED, "programs that write into it: PROGRAM[:FD], with commas; FD: a number or none (default: 1)"),
	PIPE("to", KEY_LIST, texts[CONF_TO], NULL, NULL, KEY_REQUIRED, "programs that read from it: PROGRAM[:FD], with commas (default FD: 0)"),
	PIPE("mode", KEY_CHOICE, mode, "stream", "stream|packet|duplex", 0, "bytes, messages that stay whole, or both ways"),
	PIPE("size", KEY_BYTES, size, NULL, NULL, LIVE, "how much it holds (default: the system's)"),
	PIPE("on_end", KEY_CHOICE, on_end, "eof", "eof|keep", LIVE, "the last program of an end has ended: tell the other end, or hold the pipe open"),

	OTHER(SECTION_INCLUDE, "files", KEY_STRING, files, NULL, KEY_REQUIRED, "patterns of file names, with blanks"),

	OTHER(SECTION_UNIX_HTTP, "file", KEY_PATH, file, NULL, KEY_REQUIRED, "path of the socket"),
	OTHER(SECTION_UNIX_HTTP, "chmod", KEY_OCTAL, chmod, "0700", 0, "permissions of the socket"),
	OTHER(SECTION_UNIX_HTTP, "chown", KEY_OWNER, chown, NULL, 0, "user[:group] of the socket"),
	OTHER(SECTION_INET_HTTP, "port", KEY_INET, port, NULL, KEY_REQUIRED, "[host:]port to listen on"),
	OTHER(SECTION_UNIX_HTTP | SECTION_INET_HTTP | SECTION_CTL, "username", KEY_STRING, username, NULL, 0, "user of basic authentication"),
	OTHER(SECTION_UNIX_HTTP | SECTION_INET_HTTP | SECTION_CTL, "password", KEY_STRING, password, NULL, KEY_SECRET, "password of basic authentication"),

	OTHER(SECTION_CTL, "serverurl", KEY_STRING, serverurl, "http://localhost:9001", 0, "where supervisord listens"),
	OTHER(SECTION_CTL, "prompt", KEY_STRING, prompt, "supervisor", 0, "prompt of the shell"),
	OTHER(SECTION_CTL, "history_file", KEY_PATH, history_file, NULL, 0, "file of the shell's history"),

	OTHER(SECTION_RPC, "supervisor.rpcinterface_factory", KEY_STRING, factory, NULL, KEY_REQUIRED, "Python function; only supervisor's own is known"),
	OTHER(SECTION_CTLPLUGIN, "supervisor.ctl_factory", KEY_STRING, factory, NULL, 0, "Python function of a supervisorctl plugin"),
};
/* clang-format on */
const size_t n_keys = ARRAY_SIZE(keys);
_Static_assert(ARRAY_SIZE(keys) <= KEYS_MAX, "KEYS_MAX is too small");

const struct section_kind *section_find(const char *name, const char **ret_name)
{
	const char *colon = strchr(name, ':');
	size_t len = colon ? (size_t)(colon - name) : strlen(name);

	for (const struct section_kind *k = section_kinds; k->name; k++) {
		if (strlen(k->name) != len || memcmp(k->name, name, len) != 0)
			continue;
		if (k->named ? colon == NULL : colon != NULL && !k->may_be_named)
			return NULL;
		*ret_name = colon ? colon + 1 : NULL;
		return k;
	}
	return NULL;
}

const struct key *key_find(enum conf_section kind, const char *name)
{
	for (size_t i = 0; i < n_keys; i++)
		if ((keys[i].sections & kind) && keys[i].name[0] == name[0] &&
		    strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

const char *key_nearest(enum conf_section kind, const char *name)
{
	struct guess g = guess_begin(name);

	for (size_t i = 0; i < n_keys; i++)
		if (keys[i].sections & kind)
			guess_try(&g, keys[i].name, keys[i].name);
	return g.best;
}

const char *section_nearest(const char *name)
{
	size_t len = strcspn(name, ":");
	struct guess g;
	char head[64];

	if (len >= sizeof(head))
		return NULL;
	memcpy(head, name, len);
	head[len] = '\0';
	g = guess_begin(head);
	for (const struct section_kind *k = section_kinds; k->name; k++)
		if (guess_distance(head, k->name) < strlen(k->name) / 2)
			guess_try(&g, k->name, k->name);
	return g.best;
}

static const char *const type_texts[N_KEY_TYPES] = {
	[KEY_STRING] = "text",		 [KEY_PATH] = "path",
	[KEY_DIRECTORY] = "folder",	 [KEY_NAME] = "name",
	[KEY_BOOL] = "true|false",	 [KEY_INT] = "number",
	[KEY_SECONDS] = "seconds",	 [KEY_TIME] = "time",
	[KEY_RETRIES] = "number",	 [KEY_BYTES] = "bytes",
	[KEY_OCTAL] = "octal",		 [KEY_CHOICE] = "choice",
	[KEY_AUTORESTART] = "choice",	 [KEY_SIGNAL] = "signal",
	[KEY_EXITCODES] = "exit codes",	 [KEY_LOGFILE] = "log",
	[KEY_ENVIRONMENT] = "variables", [KEY_LIST] = "list",
	[KEY_EVENTS] = "list",		 [KEY_USER] = "user",
	[KEY_OWNER] = "user[:group]",	 [KEY_URL] = "url",
	[KEY_SOCKET] = "address",	 [KEY_INET] = "address",
	[KEY_LIMIT] = "N/SECONDS",	 [KEY_EXIT_ON] = "event",
	[KEY_ENV_FILE] = "path",	 [KEY_ENTRY] = "file:function",
};

const char *key_type_text(const struct key *key)
{
	return key->choices ? key->choices : type_texts[key->type];
}
