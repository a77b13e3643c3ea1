/*
 * Makes processes of the program sections: groups, numprocs, what the keys of one program say about each other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "conf/load.h"
#include "conf/split.h"

struct group_member {
	UT_hash_handle hh; /* by program: several groups may name one, hence the list */
	char *program;
	char *group;
	int priority;
	struct group_member *next;
};

static const struct {
	enum conf_section section;
	enum conf_kind kind;
} kinds[] = {
	{ SECTION_PROGRAM, CONF_PROGRAM },
	{ SECTION_FCGI, CONF_FCGI_PROGRAM },
	{ SECTION_LISTENER, CONF_EVENTLISTENER },
	{ SECTION_MANAGER, CONF_MANAGER },
};

/* Blanks around a name are no part of it ([program: web]); NULL after a message. */
char *load_check_name(struct scope *s, const char *name)
{
	size_t len;
	const char *bad;
	char *clean;

	name += strspn(name, " \t");
	len = strlen(name);
	while (len > 0 && (name[len - 1] == ' ' || name[len - 1] == '\t'))
		len--;
	clean = store_strn(s->l->conf->store, name, len);
	bad = strpbrk(clean, " :/");
	if (len == 0)
		section_say(s, CONF_ERROR, NULL, NULL, "the section has no name (such as [%s:web])",
			    s->kind->name);
	else if (bad)
		section_say(s, CONF_ERROR, NULL, NULL, "'%.60s' is no name: '%c' must not be in it",
			    clean, *bad);
	else
		return clean;
	return NULL;
}

/* ---------------------------------------------------------------------------------- groups */

static void add_member(struct scope *s, const struct ini_entry *entry, char *program, char *group,
		       int priority)
{
	struct loader *l = s->l;
	AUTO_FREE char *as_program = xasprintf("program:%s", program);
	AUTO_FREE char *as_fcgi = xasprintf("fcgi-program:%s", program);
	bool is_program = ini_find(&l->ini, as_program), is_fcgi = ini_find(&l->ini, as_fcgi);
	struct group_member *m, *first = NULL;

	if (is_program == is_fcgi) {
		section_say(s, CONF_ERROR, entry, "programs",
			    is_program ? "'%s' is both a program and an fcgi-program"
				       : "there is no [program:%s]",
			    program);
		return;
	}
	HASH_FIND_STR(l->members, program, first);
	for (m = first; m; m = m->next) {
		if (strcmp(m->group, group) == 0) {
			section_say(s, CONF_WARNING, entry, "programs", "'%s' is named twice",
				    program);
			return;
		}
	}
	m = xmalloc(sizeof(*m));
	*m = (struct group_member){ .program = program, .group = group, .priority = priority };
	if (first == NULL) {
		HASH_ADD_KEYPTR(hh, l->members, m->program, strlen(m->program), m);
		return;
	}
	while (first->next)
		first = first->next;
	first->next = m;
}

void load_groups(struct loader *l)
{
	for (struct ini_section *sec = l->ini.sections; sec; sec = sec->hh.next) {
		struct scope s = { .l = l, .section = sec };
		struct conf_other group = { 0 };
		struct slots slots;
		const char *name;

		s.kind = section_find(sec->name, &name);
		if (s.kind == NULL || s.kind->kind != SECTION_GROUP)
			continue;
		section_defaults(l, SECTION_GROUP, &group);
		section_collect(&s, &slots);
		section_apply_all(&s, &slots, &group);
		name = load_check_name(&s, name);
		if (name == NULL)
			continue;
		if (group.programs == NULL || group.programs[0] == NULL)
			section_say(&s, CONF_WARNING, NULL, NULL,
				    "the group has no programs (such as programs=web,worker)");
		for (char **p = group.programs; p && *p; p++)
			add_member(&s, slot_of(&slots, &s, "programs"), *p, (char *)name,
				   group.priority);
	}
}

void programs_fini(struct loader *l)
{
	struct group_member *m, *tmp;

	HASH_ITER (hh, l->members, m, tmp) {
		HASH_DEL(l->members, m);
		while (m) {
			struct group_member *next = m->next;

			free(m);
			m = next;
		}
	}
}

/* ---------------------------------------------------------------------------------- one process */

static void share_argv(struct scope *s, struct conf_proc *p)
{
	struct loader *l = s->l;
	struct words words = WORDS_INIT;
	struct err err = ERR_INIT;

	if (p->command != l->last_command) {
		int r = split_command(p->command, &words, &err);

		l->last_command = p->command;
		l->last_argv = NULL;
		l->last_argv_error = NULL;
		if (r == 0 && words.n > 0) {
			l->last_argv = store_strv(l->conf->store, words.v, words.n);
		} else {
			AUTO_FREE char *text = r == 0 ? xstrdup("command is empty")
						      : xasprintf("can't parse command '%s': %s",
								  p->command, err.text);

			l->last_argv_error = store_str(l->conf->store, text);
		}
		words_fini(&words);
	}
	p->argv = l->last_argv;
	p->argv_error = l->last_argv_error;
}

/* [supervisord]'s variables, then the program's own; who says nothing shares the array. */
static char **merge_environment(struct loader *l, char **own)
{
	char **base = l->conf->supervisord.environment;
	size_t n_base = 0, n_own = 0, n = 0;
	AUTO_FREE char **all = NULL;

	while (base[n_base])
		n_base++;
	while (own && own[n_own])
		n_own++;
	if (n_own == 0)
		return base;
	all = xcalloc(n_base + n_own, sizeof(*all));
	for (size_t i = 0; i < n_base; i++)
		all[n++] = base[i];
	for (size_t i = 0; i < n_own; i++) {
		size_t len = strcspn(own[i], "=") + 1, at = 0;

		while (at < n && strncmp(all[at], own[i], len) != 0)
			at++;
		all[at] = own[i];
		n += at == n;
	}
	return store_strv(l->conf->store, all, n);
}

static void check_log(struct scope *s, struct conf_log *log, const struct ini_entry *entry,
		      const char *key)
{
	const char *slash = log->path ? strrchr(log->path, '/') : NULL;
	struct stat st;
	char *folder;

	if (log->kind == CONF_LOG_SYSLOG) {
		/* supervisord rewrites its old spelling in the same way. */
		section_say(s, CONF_NOTE, entry, key,
			    "syslog is an old spelling of %.6s_syslog=true", key);
		log->kind = CONF_LOG_NONE;
		log->syslog = true;
	}
	if (slash == NULL || slash == log->path)
		return;
	folder = store_strn(s->l->conf->store, log->path, (size_t)(slash - log->path));
	if (folder == s->l->checked_folder)
		return;
	s->l->checked_folder = folder;
	if (stat(folder, &st) != 0 && errno == ENOENT)
		section_say(s, CONF_NOTE, entry, key,
			    "the folder '%s' does not exist: it is made at start", folder);
}

static void finish_process(struct scope *s, const struct slots *slots, struct conf_proc *p)
{
	const struct ini_entry *err_entry = slot_of(slots, s, "stderr_logfile");

	p->environment = merge_environment(s->l, s->own_env);
	if (p->log_prefix && strcasecmp(p->log_prefix, "auto") == 0)
		p->log_prefix = NULL;
	if (p->kind == CONF_MANAGER)
		manager_make_argv(s, p);
	else if (p->entry != NULL)
		entries_make_argv(s, p);
	else
		share_argv(s, p);
	if (p->argv == NULL) {
		const char *key = p->entry != NULL ? "args" : "command";

		section_say(s, CONF_WARNING, slot_of(slots, s, key), key,
			    "%s: it cannot be started", p->argv_error);
	}
	if (p->redirect_stderr) {
		if (err_entry && p->err.kind == CONF_LOG_FILE)
			section_say(s, CONF_WARNING, err_entry, "stderr_logfile",
				    "is not used, because redirect_stderr is true");
		p->err.kind = CONF_LOG_NONE;
		p->err.path = NULL;
	}
	check_log(s, &p->out, slot_of(slots, s, "stdout_logfile"), "stdout_logfile");
	check_log(s, &p->err, err_entry, "stderr_logfile");
}

static struct conf_proc *add_proc(struct scope *s, const struct conf_proc *from)
{
	struct conf *conf = s->l->conf;

	if (conf->n_procs >= CONF_PROGRAMS_MAX) {
		section_say(s, CONF_ERROR, NULL, NULL, "more than %d processes", CONF_PROGRAMS_MAX);
		return NULL;
	}
	if (conf->n_procs == s->l->cap_procs) {
		s->l->cap_procs = s->l->cap_procs ? 2 * s->l->cap_procs : 16;
		conf->procs = xrealloc(conf->procs, s->l->cap_procs * sizeof(*conf->procs));
	}
	conf->procs[conf->n_procs] = *from;
	return &conf->procs[conf->n_procs++];
}

/* ---------------------------------------------------------------------------------- one section */

/* Is the value the same for every process of the section? */
static bool is_static(const struct key *key, const struct ini_entry *e)
{
	return !(key->flags & KEY_PER_PROCESS) || strchr(e->value, '%') == NULL;
}

/* Applies the keys that are the same for all processes (or those that are not). The number of errors. */
static int apply_keys(struct scope *s, const struct slots *slots, bool statics, struct conf_proc *p)
{
	const struct key *env = key_find(s->kind->kind, "environment");
	const struct ini_entry *e = slots->of[env - keys];
	int errors = 0;

	/* First its own variables: the other values may use them. */
	if (e && is_static(env, e) == statics) {
		p->environment = NULL;
		errors += section_apply(s, env, e, p) < 0;
		s->own_env = p->environment;
	}
	for (size_t i = 0; i < n_keys; i++)
		if (slots->of[i] && &keys[i] != env && is_static(&keys[i], slots->of[i]) == statics)
			errors += section_apply(s, &keys[i], slots->of[i], p) < 0;
	return errors;
}

static struct conf_place place_of(const struct scope *s, const struct ini_entry *e)
{
	return e ? (struct conf_place){ e->file, e->line } : s->section->place;
}

/* A number is all that there is room for: the file is the section's. */
static int line_of(const struct scope *s, const struct ini_entry *e)
{
	return e && e->file == s->section->place.file ? e->line : s->section->place.line;
}

/* What one key says about another. The number of errors. */
static int check_together(struct scope *s, const struct slots *slots, struct conf_proc *p)
{
	const struct ini_entry *kill = slot_of(slots, s, "killasgroup");
	const struct ini_entry *name = slot_of(slots, s, "process_name");
	int errors = 0;

	if (kill == NULL)
		p->killasgroup = p->stopasgroup;
	if (p->stopasgroup && !p->killasgroup) {
		section_say(s, CONF_ERROR, kill, "killasgroup",
			    "false cannot go with stopasgroup=true: KILL would miss the group");
		errors++;
	}
	if (p->numprocs > 1 && (name == NULL || strstr(name->value, "%(process_num)") == NULL)) {
		section_say(s, CONF_ERROR, name, "process_name",
			    "%%(process_num) must be in it when numprocs is over 1 (such as "
			    "%%(program_name)s_%%(process_num)02d)");
		errors++;
	}
	if (p->numprocs < 1)
		section_say(s, CONF_WARNING, slot_of(slots, s, "numprocs"), "numprocs",
			    "%d makes no process", p->numprocs);
	if (p->numprocs > 1 && p->numprocs_start > INT32_MAX - p->numprocs) {
		section_say(s, CONF_ERROR, slot_of(slots, s, "numprocs_start"), "numprocs_start",
			    "%d is too large", p->numprocs_start);
		errors++;
	}
	if (p->kind == CONF_EVENTLISTENER && p->redirect_stderr) {
		section_say(s, CONF_ERROR, slot_of(slots, s, "redirect_stderr"), "redirect_stderr",
			    "must be false: standard output carries the event protocol");
		errors++;
	}
	if (p->control == CONF_CONTROL_OFF && (p->ready == CONF_READY_NOTIFY || p->watchdog > 0)) {
		section_say(
			s, CONF_ERROR, slot_of(slots, s, "control"), "control",
			"off cannot go with ready=notify or watchdog_sec: nobody would hear it");
		errors++;
	}
	if (p->kind == CONF_FCGI_PROGRAM && p->socket && p->socket[0] == 't' &&
	    (slot_of(slots, s, "socket_owner") || slot_of(slots, s, "socket_mode"))) {
		section_say(s, CONF_ERROR, slot_of(slots, s, "socket"), "socket",
			    "socket_owner and socket_mode go with a unix:// socket only");
		errors++;
	}
	return errors;
}

static int set_restart_delays(struct scope *s, const struct slots *slots, struct conf_proc *p)
{
	const struct key *delay = key_find(s->kind->kind, "restart_delay");
	const struct key *max = key_find(s->kind->kind, "restart_delay_max");
	struct type_context tc = { .store = s->l->conf->store };
	bool has_delay = slots->of[delay - keys], has_max = slots->of[max - keys];

	if (!has_delay && !has_max && p->startretries != CONF_RETRIES_INFINITE)
		return 0;
	if (!has_delay)
		type_parse(delay, delay->def, p, &tc, NULL);
	if (!has_max)
		type_parse(max, max->def, p, &tc, NULL);
	if (p->restart_delay <= p->restart_delay_max)
		return 0;
	if (!has_max) {
		p->restart_delay_max = p->restart_delay;
		return 0;
	}
	if (!has_delay) {
		p->restart_delay = p->restart_delay_max;
		return 0;
	}
	section_say(s, CONF_ERROR, slots->of[max - keys], "restart_delay_max",
		    "is less than restart_delay");
	return 1;
}

/* All processes of the section in one group. False after an error. */
static bool add_processes(struct scope *s, const struct slots *slots, const struct conf_proc *all)
{
	const struct ini_entry *name = slot_of(slots, s, "process_name");
	char **own_env = s->own_env;

	s->per_process = true;
	s->numprocs = all->numprocs;
	for (int i = 0; i < all->numprocs; i++) {
		struct conf_proc p = *all;

		s->process_num = p.process_num = all->numprocs_start + i;
		s->own_env = own_env;
		p.group = (char *)s->group;
		if (apply_keys(s, slots, false, &p) > 0)
			return false;
		if (name == NULL)
			p.name = p.program;
		finish_process(s, slots, &p);
		if (add_proc(s, &p) == NULL)
			return false;
		s->quiet = true;
	}
	s->own_env = own_env;
	return true;
}

static void load_program(struct loader *l, struct ini_section *sec, const struct section_kind *kind,
			 const char *name, enum conf_kind proc_kind)
{
	struct scope s = { .l = l, .section = sec, .kind = kind };
	struct conf_proc all = l->defaults[proc_kind];
	struct group_member *m = NULL;
	struct slots slots;
	int errors = 0;
	char *program = load_check_name(&s, name);

	section_collect(&s, &slots);
	if (program == NULL)
		return;
	if (proc_kind == CONF_PROGRAM || proc_kind == CONF_FCGI_PROGRAM)
		HASH_FIND_STR(l->members, program, m);
	s.program = program;
	s.group = m ? m->group : program;
	errors += section_require(&s, &slots);
	all.program = program;
	all.place = sec->place;
	all.place_command =
		place_of(&s,
			 slot_of(&slots, &s, slot_of(&slots, &s, "entry") ? "entry" : "command"));
	all.place_directory = place_of(&s, slot_of(&slots, &s, "directory"));
	all.place_user = place_of(&s, slot_of(&slots, &s, "user"));
	all.place_env_file = place_of(&s, slot_of(&slots, &s, "env_file"));
	all.out.line = line_of(&s, slot_of(&slots, &s, "stdout_logfile"));
	all.err.line = line_of(&s, slot_of(&slots, &s, "stderr_logfile"));
	errors += apply_keys(&s, &slots, true, &all);
	errors += check_together(&s, &slots, &all);
	errors += entries_check(&s, &slots, &all);
	errors += set_restart_delays(&s, &slots, &all);
	if (errors > 0) {
		struct conf_proc first = all;

		/* Nothing is made of it, but the mistakes of the other keys are told in the same go. */
		s.per_process = true;
		s.process_num = all.numprocs_start;
		s.numprocs = all.numprocs;
		apply_keys(&s, &slots, false, &first);
		return;
	}
	if (m == NULL) {
		all.group_priority = all.priority;
		/* Those that others need start first and stop last. */
		if ((proc_kind == CONF_EVENTLISTENER || proc_kind == CONF_MANAGER) &&
		    slot_of(&slots, &s, "priority") == NULL)
			all.group_priority = -1;
		add_processes(&s, &slots, &all);
	}
	for (; m; m = m->next) {
		s.group = m->group;
		all.group_priority = m->priority;
		if (!add_processes(&s, &slots, &all))
			return;
	}
}

/* ---------------------------------------------------------------------------------- all */

struct seen {
	UT_hash_handle hh;
	struct {
		const char *group, *name; /* stored: equal names are one pointer */
	} id;
	size_t index;
};

/* Of two processes with one name supervisord silently runs the last. We too, but we say it. */
static void drop_doubles(struct loader *l)
{
	struct conf *conf = l->conf;
	struct seen *all = xcalloc(conf->n_procs + 1, sizeof(*all)), *table = NULL;
	size_t kept = 0;

	for (size_t i = 0; i < conf->n_procs; i++) {
		struct conf_proc *p = &conf->procs[i];
		struct seen *old = NULL;

		all[i].id.group = p->group;
		all[i].id.name = p->name;
		all[i].index = i;
		HASH_FIND(hh, table, &all[i].id, sizeof(all[i].id), old);
		if (old) {
			struct conf_proc *first = &conf->procs[old->index];

			report_add(&l->report, CONF_WARNING, &p->place, NULL,
				   "another process is called %s:%s (%s:%d): this one replaces it",
				   p->group, p->name, first->place.file, first->place.line);
			HASH_DEL(table, old);
			first->name = NULL;
		}
		HASH_ADD(hh, table, id, sizeof(all[i].id), &all[i]);
	}
	HASH_CLEAR(hh, table);
	free(all);
	for (size_t i = 0; i < conf->n_procs; i++)
		if (conf->procs[i].name)
			conf->procs[kept++] = conf->procs[i];
	conf->n_procs = kept;
}

static void set_defaults(struct loader *l, enum conf_kind kind, enum conf_section section)
{
	struct conf_proc *p = &l->defaults[kind];

	*p = (struct conf_proc){
		.kind = kind,
		.numprocs = 1,
		.umask = CONF_UNSET,
		.restart_delay = CONF_UNSET,
		.restart_delay_max = CONF_UNSET,
	};
	section_defaults(l, section, p);
}

void load_programs(struct loader *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		set_defaults(l, kinds[i].kind, kinds[i].section);
	for (struct ini_section *sec = l->ini.sections; sec; sec = sec->hh.next) {
		const char *name;
		const struct section_kind *kind = section_find(sec->name, &name);

		for (size_t i = 0; kind && i < ARRAY_SIZE(kinds); i++)
			if (kind->kind == kinds[i].section)
				load_program(l, sec, kind, name, kinds[i].kind);
	}
	drop_doubles(l);
}
