/*
 * The key table: one row for each key of each section. Parsing, defaults, `mpsup check`, `mpsup keys`, what a reload may
 * change without a restart, and the test of the man page all come from it.
 */
#ifndef CONF_KEYS_H
#define CONF_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Kinds of sections, as bits, because programs of all kinds share their keys. */
enum conf_section {
	SECTION_SUPERVISORD = 1 << 0,
	SECTION_PROGRAM = 1 << 1,
	SECTION_FCGI = 1 << 2,
	SECTION_LISTENER = 1 << 3,
	SECTION_GROUP = 1 << 4,
	SECTION_INCLUDE = 1 << 5,
	SECTION_UNIX_HTTP = 1 << 6,
	SECTION_INET_HTTP = 1 << 7,
	SECTION_CTL = 1 << 8,
	SECTION_RPC = 1 << 9,
	SECTION_CTLPLUGIN = 1 << 10,
	SECTION_FORKSERVER = 1 << 11,
	SECTION_PIPE = 1 << 12,
	SECTION_MANAGER = 1 << 13,
};
/* What has a command of its own; what becomes processes. */
#define SECTION_COMMAND (SECTION_PROGRAM | SECTION_FCGI | SECTION_LISTENER)
#define SECTION_PROC (SECTION_COMMAND | SECTION_MANAGER)

struct section_kind {
	enum conf_section kind;
	const char *name;  /* "program" */
	bool named;	   /* [program:x]: a name must follow */
	bool may_be_named; /* [unix_http_server] or [unix_http_server:x] */
	bool any_key;	   /* keys that are not in the table are somebody else's business */
	const char *doc;
};
extern const struct section_kind section_kinds[]; /* ended by name NULL */

/* The kind of a section called `name` in the file, *ret_name = what follows the colon (or NULL); NULL = unknown. */
const struct section_kind *section_find(const char *name, const char **ret_name);

enum key_type {
	KEY_STRING,
	KEY_PATH,      /* ~ is expanded */
	KEY_DIRECTORY, /* a path that must be a directory */
	KEY_NAME,      /* no blank, colon or slash */
	KEY_BOOL,
	KEY_INT,
	KEY_SECONDS, /* whole seconds */
	KEY_TIME,    /* ns: "0.5", "500ms", "2m" */
	KEY_RETRIES, /* a number or "infinite" */
	KEY_BYTES,
	KEY_OCTAL,
	KEY_CHOICE,
	KEY_AUTORESTART,
	KEY_SIGNAL,
	KEY_EXITCODES,
	KEY_LOGFILE,
	KEY_ENVIRONMENT,
	KEY_LIST,
	KEY_EVENTS,
	KEY_USER,
	KEY_OWNER, /* user[:group] */
	KEY_URL,
	KEY_SOCKET, /* tcp://host:port or unix:///path */
	KEY_INET,   /* [host:]port */
	KEY_LIMIT,  /* N/SECONDS */
	KEY_EXIT_ON,
	KEY_ENV_FILE,
	KEY_ENTRY, /* file.so:function */
	N_KEY_TYPES
};

enum {
	KEY_LIVE = 1 << 0,	  /* a change needs no restart of the program */
	KEY_EXPAND = 1 << 1,	  /* %(x)s is expanded */
	KEY_PER_PROCESS = 1 << 2, /* expanded for each process: knows process_num */
	KEY_SECRET = 1 << 3,	  /* never printed */
	KEY_REQUIRED = 1 << 4,
	KEY_OWN = 1 << 5,	/* mpsup's, not supervisord's */
	KEY_WHEN_USED = 1 << 6, /* the default counts only once a key that goes with it is set */
	KEY_IDLE = 1 << 7,	/* read, checked, and without effect: check says so */
	KEY_ELSEWHERE =
		1
		<< 8, /* a change shows elsewhere: in which processes there are, in other values */
};

struct key {
	unsigned sections;
	const char *name;
	enum key_type type;
	const char *def; /* as text, parsed as if the file said it; NULL = none */
	int64_t min;
	int64_t max;	     /* of numbers; both 0 = what the type holds */
	const char *choices; /* "tree|group|process", in the order of the enum */
	unsigned flags;
	size_t offset;
	const char *doc;
};
extern const struct key keys[];
extern const size_t n_keys;
#define KEYS_MAX 160 /* rows at most, for arrays of one slot a row */

/* What the sections without a struct in conf.h are read into. */
struct conf_other {
	char **programs; /* [group:x] */
	int priority;
	char *files; /* [include] */
	char *file;  /* doors from here on */
	int chmod;
	char *chown;
	char *port;
	char *username;
	char *password;
	char *serverurl;
	char *prompt;
	char *history_file;
	char *factory;
};

/* The row of a key in a section kind, NULL = unknown. */
const struct key *key_find(enum conf_section kind, const char *name);

/* The known key (section) that is most like `name`, or NULL when none is near. */
const char *key_nearest(enum conf_section kind, const char *name);
const char *section_nearest(const char *name);

/* "yes|no", "bytes (1024, 50MB)" ...: the type as a person should read it. Static storage or the row's choices. */
const char *key_type_text(const struct key *key);

#endif
