/*
 * Between the files that load a configuration: files.c fills the INI tree, section.c applies the key table to one
 * section, programs.c makes processes, conf.c goes through all in order.
 */
#ifndef CONF_LOAD_H
#define CONF_LOAD_H

#include "base/hash.h"
#include "conf/conf.h"
#include "conf/ini.h"
#include "conf/keys.h"
#include "conf/report.h"
#include "conf/source.h"
#include "conf/types.h"

struct group_member;
struct forkserver_of;

struct loader {
	struct conf *conf;
	struct report report;
	struct ini ini;
	struct source source;
	char *node; /* uname -n */
	const char *last_user;
	struct group_member *members;	   /* uthash: program -> the groups that name it */
	struct forkserver_of *forkservers; /* list, in the order of the file */
	struct conf_proc defaults[4];	   /* by enum conf_kind */
	size_t cap_procs;
	const char *last_command; /* many processes share a command: its argv is made once */
	char **last_argv;
	char *last_argv_error;
	const char *checked_folder; /* of a log, the last that was looked at */
	unsigned noted;		    /* SECTION_* kinds whose note was given */
	bool noted_keys[KEYS_MAX];
};

/* The text of values by row of the key table: what the file says of one section. */
struct slots {
	const struct ini_entry *of[KEYS_MAX];
};

/* What a value means where it stands. */
struct scope {
	struct loader *l;
	const struct section_kind *kind;
	const struct ini_section *section; /* NULL = nothing of it is in the file */
	const char *program;
	const char *group;
	bool per_process; /* process_num and numprocs are known */
	int process_num;
	int numprocs;
	char **own_env;	       /* the program's own environment=, or NULL */
	bool quiet;	       /* a further process of the section: its warnings were given */
	bool lenient;	       /* mistakes are warnings: supervisord does not read this section */
	const struct key *key; /* the one being read */
	const struct ini_entry *entry;
};

/* files.c: reads a file and what it includes into l->ini. Mistakes go to the report. */
void load_files(struct loader *l, const char *path);

/* section.c */
void section_collect(struct scope *s, struct slots *slots); /* unknown keys go to the report */
const struct ini_entry *slot_of(const struct slots *slots, const struct scope *s, const char *key);
/* Expands and parses one key into base. 0, or -EINVAL after a message. */
int section_apply(struct scope *s, const struct key *key, const struct ini_entry *entry,
		  void *base);
/* All keys of the section that `flags` of the mask match, and those required. The number of errors. */
int section_apply_all(struct scope *s, const struct slots *slots, void *base);
/* Defaults of all keys of the kind into base. */
void section_defaults(struct loader *l, enum conf_section kind, void *base);
/* A message about a key of the section; entry NULL = about the section; key NULL = no key. */
void section_say(const struct scope *s, enum conf_severity level, const struct ini_entry *entry,
		 const char *key, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* 0 with the expanded text in out, or -EINVAL after a message. */
int section_expand(struct scope *s, const char *text, struct buf *out);

/* entries.c */
void load_forkservers(struct loader *l);
void forkservers_fini(struct loader *l);
/* What the keys of one program say about how it is started. The number of errors. */
int entries_check(struct scope *s, const struct slots *slots, struct conf_proc *p);
/* The argv of an entry. */
void entries_make_argv(struct scope *s, struct conf_proc *p);

/* The number of required keys that are missing, after a message for each. */
int section_require(struct scope *s, const struct slots *slots);

/* pipes.c: after the programs. */
void load_pipes(struct loader *l);

/* managers.c: what its section says as arguments of its command; and, after all, the list of them. */
int manager_check(struct scope *s, const struct slots *slots,
		  struct conf_proc *p); /* as entries_check() */
void manager_make_argv(struct scope *s, struct conf_proc *p);
void load_managers(struct loader *l);

/* rotation.c: after the programs. Streams that share a file have one rotation. */
void load_rotation(struct loader *l);

/* programs.c */
/* The name of a program or group, without the blanks around it; NULL after a message. */
char *load_check_name(struct scope *s, const char *name);
void load_groups(struct loader *l);
void load_programs(struct loader *l);
void programs_fini(struct loader *l);

#endif
