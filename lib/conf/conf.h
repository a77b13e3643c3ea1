/*
 * A checked, typed, expanded configuration: what `mpsup check` prints and the supervisor runs.
 * conf_load() reads the files (ini.h), expands (expand.h), checks every key by its row in the key table (keys.h) and
 * leaves a flat array of processes. Nothing here starts, opens or creates anything but the files it reads.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct store;

/* Where a value was written. file is owned by the configuration; line counts from 1, 0 = not from a file. */
struct conf_place {
	const char *file;
	int line;
};

enum conf_kind { CONF_PROGRAM, CONF_FCGI_PROGRAM, CONF_EVENTLISTENER, CONF_MANAGER };
enum conf_autorestart { CONF_RESTART_FALSE, CONF_RESTART_TRUE, CONF_RESTART_UNEXPECTED };
enum conf_log_kind { CONF_LOG_NONE, CONF_LOG_AUTO, CONF_LOG_SYSLOG, CONF_LOG_FILE };
enum conf_kill_mode { CONF_KILL_TREE, CONF_KILL_GROUP, CONF_KILL_PROCESS };
enum conf_method { CONF_METHOD_SPAWN, CONF_METHOD_FORK, CONF_METHOD_FORKSERVER };
enum conf_stdin { CONF_STDIN_PIPE, CONF_STDIN_NULL };
/* How it is known that a program has come up. */
enum conf_ready { CONF_READY_TIME, CONF_READY_NOTIFY };
/* What a program may say, each more than the one before. */
enum conf_control {
	CONF_CONTROL_OFF,
	CONF_CONTROL_NOTIFY,
	CONF_CONTROL_SELF,
	CONF_CONTROL_GROUP,
	CONF_CONTROL_ALL
};
/* How it is known which named objects a program makes. */
enum conf_track { CONF_TRACK_PRELOAD, CONF_TRACK_SCAN, CONF_TRACK_OFF };
/* When those that it has left behind are unlinked. */
enum conf_cleanup { CONF_CLEANUP_EXIT, CONF_CLEANUP_SHUTDOWN, CONF_CLEANUP_OFF };
enum conf_stop_method { CONF_STOP_SIGNAL, CONF_STOP_MESSAGE };
enum conf_on_crash { CONF_CRASH_STOP, CONF_CRASH_RESTART };
enum conf_level {
	CONF_LEVEL_CRITICAL,
	CONF_LEVEL_ERROR,
	CONF_LEVEL_WARN,
	CONF_LEVEL_INFO,
	CONF_LEVEL_DEBUG,
	CONF_LEVEL_TRACE,
	CONF_LEVEL_BLATHER
};
enum conf_pipe_mode { CONF_PIPE_STREAM, CONF_PIPE_PACKET, CONF_PIPE_DUPLEX };
enum conf_on_end { CONF_END_EOF, CONF_END_KEEP };
enum conf_side { CONF_FROM, CONF_TO }; /* of a pipe: who writes, who reads */
enum conf_exit_on { CONF_EXIT_NONE, CONF_EXIT_FATAL, CONF_EXIT_NAME, CONF_EXIT_ALL };

#define CONF_RETRIES_INFINITE (-1)
#define CONF_UNSET (-1) /* umask, restart_delay, restart_delay_max: the file says nothing */

struct conf_log {
	char *path; /* CONF_LOG_FILE only; absolute or relative to the supervisor's directory, ~ expanded */
	int64_t maxbytes; /* <= 0 = no rotation */
	int64_t capture_maxbytes;
	enum conf_log_kind kind;
	int backups;
	bool compress; /* gzip for backups */
	bool events_enabled;
	bool syslog; /* also to syslog(3) */
	int line; /* of the key that says where, in the file of the section; else of the section */
	/* Where maxbytes = 0 does not count, since another rotates the file: what was written. Else NULL. */
	const struct conf_log *written;
};

/* A program at an end of a pipe. */
struct conf_end {
	char *program;
	int fd; /* the number in its processes */
};

/* [pipe:NAME]: made once, and kept while programs come and go. */
struct conf_pipe {
	char *name;
	char *variable; /* MPSUP_PIPE_NAME: tells a process the number of its end */
	struct conf_place place;
	char **texts[2]; /* from, to, as the file has them; by enum conf_side */
	struct conf_end *ends[2];
	size_t n_ends[2];
	enum conf_pipe_mode mode;
	int64_t size; /* 0 = the system's */
	enum conf_on_end on_end;
};

/* One end of a pipe as a process has it. */
struct conf_wire {
	char *pipe;	/* its name */
	char *variable; /* "MPSUP_PIPE_NAME=fd" */
	enum conf_pipe_mode mode;
	enum conf_side side;
	int fd;
	struct conf_place place; /* of the key that says so */
};

/* One process: numprocs is expanded already. All strings are expanded, owned by the struct conf, NULL = not
 * set. Processes share equal strings and arrays: nothing here may be changed in place. */
struct conf_proc {
	char *program; /* the x of [program:x] */
	char *name;    /* process_name */
	char *group;
	enum conf_kind kind;
	int group_priority;
	int priority;
	int process_num;
	int numprocs;
	int numprocs_start;
	struct conf_place place; /* of the section */
	struct conf_place
		place_command; /* of these keys (command or entry), for messages of a failed start */
	struct conf_place place_directory;
	struct conf_place place_user;
	struct conf_place place_env_file;

	char *entry; /* as in the file; NULL = a command */
	char *args;
	char *forkserver; /* CONF_METHOD_FORKSERVER: never NULL once it is loaded */
	char **preload;	  /* of that server; NULL-terminated, or NULL */
	char *command;	  /* text as in the file after expansion; argv below */
	char **argv; /* of an entry it begins with that; NULL-terminated; NULL when command or args cannot be split: then argv_error says why */
	char *argv_error;
	char *directory;
	char *user;
	int umask; /* CONF_UNSET = inherit */
	enum conf_autorestart autorestart;
	int startsecs;
	int startretries; /* CONF_RETRIES_INFINITE */
	int stopsignal;
	int stopwaitsecs;
	uint8_t *exitcodes;
	size_t n_exitcodes;
	struct conf_log out;
	struct conf_log err;
	char **environment; /* NULL-terminated "KEY=value": [supervisord]'s and then the program's own, no key twice */
	char *serverurl;
	const struct conf_wire *wires; /* by fd, each once; of all processes of the program */
	size_t n_wires;

	/* mpsup's own */
	enum conf_kill_mode kill_mode;
	enum conf_method start_method;
	enum conf_track track;
	enum conf_cleanup ipc_cleanup;
	int64_t restart_delay; /* ns, CONF_UNSET = supervisord's meaning of startretries */
	int64_t restart_delay_max; /* ns, CONF_UNSET likewise; the table's default counts once either is set */
	int restart_limit_count; /* 0 = no limit */
	int restart_limit_secs;
	char *log_prefix; /* NULL = default ("auto": name in run, none in files), "none", or a text */
	char *env_file;	  /* path without the leading "-" */
	enum conf_stdin stdin_mode;
	enum conf_control control;
	enum conf_ready ready;
	enum conf_stop_method stop_method;
	int64_t start_timeout; /* ns, of ready=notify; 0 = none */
	int64_t watchdog;      /* ns; 0 = none */

	/* fcgi-program: an address checked by conf ("tcp://host:port" or "unix:///path"), owner "user[:group]" */
	union {
		char *socket;
		char *address; /* of a manager, whose argv is without it; NULL = a socket beside that of the supervisor */
	};
	union {
		char *socket_owner;
		char *authkey_file; /* of a manager */
	};
	int socket_backlog; /* 0 = SOMAXCONN */
	int socket_mode;

	/* eventlistener */
	char **events; /* NULL-terminated */
	union {
		char *result_handler;
		char *snapshot; /* of a manager */
	};
	int buffer_size;

	/* All that is yes or no, in one place: between others each would be as large as a pointer. */
	bool autostart;
	bool stopasgroup;
	bool killasgroup;
	bool redirect_stderr;
	bool daemon; /* default yes; no = mpsup run waits for it */
	bool log_timestamp;
	bool env_file_optional; /* it had the leading "-" */
};

/* [manager:NAME], for all others. */
struct conf_manager {
	const struct conf_proc *proc;
	char *variable;	    /* MPSUP_MANAGER_NAME: tells a process the address */
	char *key_variable; /* MPSUP_AUTHKEY_FILE_NAME */
};

struct conf_supervisord {
	char *logfile; /* path, "syslog" or "NONE"; default $CWD/supervisord.log */
	bool logfile_set;
	struct conf_place place_logfile; /* line 0 where it is not set */
	int64_t logfile_maxbytes;
	int logfile_backups;
	bool logfile_compress;
	enum conf_level loglevel;
	char *pidfile;
	bool pidfile_set;
	int umask;
	bool nodaemon;
	bool silent;
	int minfds;
	int minprocs;
	bool nocleanup;
	char *childlogdir;
	char *user;
	char *directory;
	bool strip_ansi;
	char **environment;
	char *identifier;
	bool identifier_set;

	/* mpsup's own */
	enum conf_method start_method;
	enum conf_track track;
	enum conf_cleanup ipc_cleanup;
	enum conf_exit_on exit_on;
	char *exit_on_name; /* CONF_EXIT_NAME: "group:name" or "name" as written */
	enum conf_on_crash on_crash;
	int64_t orphan_grace; /* ns */
};

enum conf_severity { CONF_ERROR, CONF_WARNING, CONF_NOTE };

struct conf_message {
	char *file; /* NULL where no file is to blame */
	int line;
	enum conf_severity level;
	char *key; /* "program:web.command", or NULL */
	char *text;
};

struct conf {
	char *path; /* absolute */
	struct conf_supervisord supervisord;
	struct conf_proc
		*procs; /* in the order of the file; the array does not move after loading */
	size_t n_procs;
	struct conf_pipe *pipes; /* in the order of the file; owned */
	size_t n_pipes;
	struct conf_manager *managers; /* in the order of the file */
	size_t n_managers;
	struct conf_message *messages; /* by file and line */
	size_t n_messages;
	size_t n_errors;
	size_t n_warnings;
	struct store *store; /* strings and file names */
};

struct conf_options {
	bool strict;   /* warnings about unknown keys and sections are errors */
	bool insecure; /* as root, also files that others may write */
	/* Gets all that is read, for a later replay; NULL = not wanted. */
	struct buf *record;
	/* Such a record, which is read in place of the files; NULL = the files. */
	const char *replay;
	size_t replay_size;
};

/*
 * Reads `path` and what it includes. Always returns a configuration with messages (never NULL); it may be run only when
 * n_errors is 0. A missing or unreadable file is a message too.
 */
struct conf *conf_load(const char *path, const struct conf_options *options);
void conf_free(struct conf *conf);

/*
 * The quick look that every client verb needs: the identifier= of [supervisord] (expanded) without building programs.
 * 0 with *ret_identifier on the heap, or NULL when the file says none; -errno with err when the file cannot be read.
 */
int conf_peek_identifier(const char *path, bool insecure, char **ret_identifier, struct err *err);

/* The first of the search paths that exists, absolute, on the heap; -ENOENT with the list in err. */
int conf_find(char **ret_path, struct err *err);

/* A path made absolute lexically (as Python's os.path.abspath: links are not followed), on the heap. What conf->path is. */
char *conf_absolute_path(const char *path);

/*
 * Parses a dotenv file (KEY=value, export, quotes, # comments, a bare KEY for our own value of it) into a NULL-terminated "KEY=value" array (free with
 * conf_strv_free). A missing file is -ENOENT. Read at each start of a process.
 */
int conf_read_env_file(const char *path, char ***ret_environment, struct err *err);
void conf_strv_free(char **strv);

/* The words as the file writes them ("true", "unexpected", "tree" ...). */
const char *conf_kind_word(enum conf_kind kind);
const char *conf_autorestart_word(enum conf_autorestart v);
const char *conf_method_word(enum conf_method v);
const char *conf_kill_mode_word(enum conf_kill_mode v);
const char *conf_control_word(enum conf_control v);
const char *conf_track_word(enum conf_track v);
const char *conf_cleanup_word(enum conf_cleanup v);
const char *conf_level_word(enum conf_level v);
const char *conf_pipe_mode_word(enum conf_pipe_mode v);
const char *conf_on_end_word(enum conf_on_end v);
/* By its name; NULL = there is none. */
const struct conf_pipe *conf_pipe_find(const struct conf *conf, const char *name);
/* The wire at this number of the process; NULL = it is no pipe. */
const struct conf_wire *conf_wire_at(const struct conf_proc *proc, int fd);

#endif
