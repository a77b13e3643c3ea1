/*
 * Loads a configuration: files, [supervisord], groups, programs, and the sections that others read; then lets go of
 * everything but the result.
 */
#include "conf/conf.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"
#include "conf/load.h"

/* ---------------------------------------------------------------------------------- [supervisord] */

static char *temp_folder(void)
{
	static const char *const names[] = { "TMPDIR", "TEMP", "TMP" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char *value = getenv(names[i]);

		if (value && *value)
			return value;
	}
	return (char *)"/tmp";
}

/* A path of the supervisor itself is meant from where it starts, not from where it changes to. */
static char *absolute(struct loader *l, char *path)
{
	AUTO_FREE char *full = conf_absolute_path(path);

	return store_str(l->conf->store, full);
}

/* supervisord refuses the file for a missing folder; here it is made at start. */
static void note_folder(struct scope *s, const char *path, bool is_folder,
			const struct ini_entry *e, const char *key)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *folder =
		is_folder || slash == NULL ? xstrdup(path) : xstrndup(path, (size_t)(slash - path));

	if (e && *folder == '/' && access(folder, F_OK) != 0 && errno == ENOENT)
		section_say(s, CONF_NOTE, e, key,
			    "the folder '%s' does not exist: it is made at start", folder);
}

static void load_supervisord(struct loader *l)
{
	struct conf_supervisord *s = &l->conf->supervisord;
	struct scope scope = { .l = l, .section = ini_find(&l->ini, "supervisord") };
	const struct ini_entry *logfile;
	struct slots slots;
	const char *name;

	scope.kind = section_find("supervisord", &name);
	s->environment = store_strv(l->conf->store, NULL, 0);
	section_defaults(l, SECTION_SUPERVISORD, s);
	s->childlogdir = store_str(l->conf->store, temp_folder());
	section_collect(&scope, &slots);
	section_apply_all(&scope, &slots, s);
	logfile = slot_of(&slots, &scope, "logfile");
	s->logfile_set = logfile != NULL;
	if (logfile != NULL)
		s->place_logfile = (struct conf_place){ logfile->file, logfile->line };
	s->pidfile_set = slot_of(&slots, &scope, "pidfile") != NULL;
	s->identifier_set = slot_of(&slots, &scope, "identifier") != NULL;
	if (strcasecmp(s->logfile, "none") == 0 || strcasecmp(s->logfile, "off") == 0)
		s->logfile = store_str(l->conf->store, "NONE");
	else if (strcasecmp(s->logfile, "syslog") == 0)
		s->logfile = store_str(l->conf->store, "syslog");
	else
		s->logfile = absolute(l, s->logfile);
	s->pidfile = absolute(l, s->pidfile);
	note_folder(&scope, s->logfile, false, logfile, "logfile");
	note_folder(&scope, s->pidfile, false, slot_of(&slots, &scope, "pidfile"), "pidfile");
	note_folder(&scope, s->childlogdir, true, slot_of(&slots, &scope, "childlogdir"),
		    "childlogdir");
}

/* ---------------------------------------------------------------------------------- what others read */

static void note_once(struct scope *s, const char *text)
{
	if (s->l->noted & s->kind->kind)
		return;
	s->l->noted |= s->kind->kind;
	section_say(s, CONF_NOTE, NULL, NULL, "%s", text);
}

static void check_door(struct scope *s, const struct slots *slots, const struct conf_other *door)
{
	if ((door->username == NULL) != (door->password == NULL) && s->kind->kind != SECTION_CTL)
		section_say(s, CONF_ERROR, NULL, NULL,
			    "username and password go together: %s is missing",
			    door->username ? "password" : "username");
	section_require(s, slots);
}

static void load_other(struct loader *l, struct ini_section *sec, const struct section_kind *kind)
{
	struct scope s = { .l = l, .section = sec, .kind = kind };
	struct conf_other other = { 0 };
	struct slots slots;

	/* supervisord itself never looks into these, so a mistake there must not stop it. */
	s.lenient = kind->kind == SECTION_CTL || kind->kind == SECTION_CTLPLUGIN;
	section_defaults(l, kind->kind, &other);
	section_collect(&s, &slots);
	if (kind->kind != SECTION_INCLUDE)
		section_apply_all(&s, &slots, &other);
	check_door(&s, &slots, &other);
	switch (kind->kind) {
	case SECTION_UNIX_HTTP:
	case SECTION_INET_HTTP:
		note_once(&s, "is read but not served: mpsup has a control socket of its own");
		break;
	case SECTION_CTL:
		note_once(&s, "is for supervisorctl, mpsup does not need it");
		break;
	case SECTION_CTLPLUGIN:
		note_once(&s, "is a Python extension of supervisorctl, mpsup cannot load it");
		break;
	case SECTION_RPC:
		if (other.factory &&
		    strcmp(other.factory, "supervisor.rpcinterface:make_main_rpcinterface") != 0)
			section_say(&s, CONF_WARNING, NULL, NULL,
				    "'%.60s' is a Python extension of supervisord, mpsup cannot "
				    "load it",
				    other.factory);
		else
			note_once(&s,
				  "is read but not served: mpsup has a control socket of its own");
		break;
	case SECTION_INCLUDE:
	case SECTION_SUPERVISORD:
	case SECTION_PROGRAM:
	case SECTION_FCGI:
	case SECTION_LISTENER:
	case SECTION_GROUP:
	case SECTION_FORKSERVER:
	case SECTION_PIPE:
	case SECTION_MANAGER:
		break;
	}
}

static void unknown_section(struct loader *l, const struct ini_section *sec)
{
	enum conf_severity level = l->report.strict ? CONF_ERROR : CONF_WARNING;
	const char *near = section_nearest(sec->name), *name;
	AUTO_FREE char *with_name = xasprintf("%s:NAME", sec->name);

	if (section_find(with_name, &name))
		report_add(&l->report, level, &sec->place, sec->name,
			   "the section needs a name ([%s]), it is ignored", with_name);
	else if (near)
		report_add(&l->report, level, &sec->place, sec->name,
			   "unknown section, ignored (did you mean [%s%s]?)", near,
			   strchr(sec->name, ':') ? strchr(sec->name, ':') : "");
	else
		report_add(&l->report, level, &sec->place, sec->name, "unknown section, ignored");
}

static void load_others(struct loader *l)
{
	for (struct ini_section *sec = l->ini.sections; sec; sec = sec->hh.next) {
		const char *name;
		const struct section_kind *kind = section_find(sec->name, &name);

		if (kind == NULL)
			unknown_section(l, sec);
		else if (!(kind->kind & (SECTION_SUPERVISORD | SECTION_PROC | SECTION_GROUP |
					 SECTION_FORKSERVER | SECTION_PIPE)))
			load_other(l, sec, kind);
	}
}

/* A key of [DEFAULT] that no section knows. */
static void check_defaults(struct loader *l)
{
	const struct ini_section *sec = l->ini.defaults;

	for (const struct ini_entry *e = sec ? sec->first : NULL; e; e = e->next) {
		struct conf_place place = { e->file, e->line };
		bool known = false;

		for (size_t i = 0; i < n_keys && !known; i++)
			known = strcmp(keys[i].name, e->key) == 0;
		if (!known)
			report_add(&l->report, l->report.strict ? CONF_ERROR : CONF_WARNING, &place,
				   "DEFAULT", "no section has a key '%s'", e->key);
	}
}

static bool is_name_of(const char *name, const struct conf_proc *p)
{
	AUTO_FREE char *full = xasprintf("%s:%s", p->group, p->name);

	return strcmp(name, p->name) == 0 || strcmp(name, p->group) == 0 || strcmp(name, full) == 0;
}

/* With a name that is none the container would never end. */
static void check_exit_on(struct loader *l)
{
	const char *name = l->conf->supervisord.exit_on_name;
	const struct ini_section *sec = ini_find(&l->ini, "supervisord");
	struct conf_place place = { 0 };

	for (size_t i = 0; name != NULL && i < l->conf->n_procs; i++)
		if (is_name_of(name, &l->conf->procs[i]))
			return;
	if (name == NULL || sec == NULL)
		return;
	place = sec->place;
	for (const struct ini_entry *e = sec->first; e; e = e->next)
		if (strcmp(e->key, "exit_on") == 0)
			place = (struct conf_place){ e->file, e->line };
	report_add(&l->report, CONF_WARNING, &place, "supervisord.exit_on",
		   "there is no program or group '%s'", name);
}

/* ---------------------------------------------------------------------------------- all */

static void loader_init(struct loader *l, const char *path, const struct conf_options *options)
{
	struct utsname uts;
	AUTO_FREE char *full = conf_absolute_path(path);

	*l = (struct loader){ .conf = xcalloc(1, sizeof(*l->conf)) };
	l->conf->store = store_new();
	l->conf->path = store_str(l->conf->store, full);
	l->report.store = l->conf->store;
	l->report.strict = options && options->strict;
	if (options != NULL)
		l->source = (struct source){
			.replays = options->replay != NULL,
			.from = { options->replay, options->replay_size, false },
			.record = options->record,
			.insecure = options->insecure,
		};
	ini_init(&l->ini);
	uname(&uts);
	l->node = xstrdup(uts.nodename);
}

static struct conf *loader_fini(struct loader *l)
{
	struct conf *conf = l->conf;

	report_finish(&l->report, conf);
	programs_fini(l);
	forkservers_fini(l);
	ini_fini(&l->ini);
	free(l->node);
	store_seal(conf->store);
	return conf;
}

struct conf *conf_load(const char *path, const struct conf_options *options)
{
	struct loader l;
	struct conf *conf;

	loader_init(&l, path, options);
	load_files(&l, l.conf->path);
	load_supervisord(&l);
	load_groups(&l);
	load_forkservers(&l);
	load_programs(&l);
	load_rotation(&l);
	load_pipes(&l);
	load_managers(&l);
	load_others(&l);
	check_defaults(&l);
	check_exit_on(&l);
	conf = loader_fini(&l);
	malloc_trim(0);
	return conf;
}

void conf_free(struct conf *conf)
{
	if (conf == NULL)
		return;
	free(conf->procs);
	free(conf->pipes);
	free(conf->messages);
	store_free(conf->store);
	free(conf);
}

int conf_peek_identifier(const char *path, bool insecure, char **ret_identifier, struct err *err)
{
	struct loader l;
	struct conf *conf;
	int r = 0;

	loader_init(&l, path, &(struct conf_options){ .insecure = insecure });
	l.ini.only_supervisord = true;
	load_files(&l, l.conf->path);
	load_supervisord(&l);
	conf = loader_fini(&l);
	for (size_t i = 0; i < conf->n_messages && r == 0; i++) {
		const struct conf_message *m = &conf->messages[i];

		/* A file that is wrong elsewhere must not keep a client from its supervisor. */
		if (m->level != CONF_ERROR ||
		    (m->line > 0 &&
		     (m->key == NULL || strcmp(m->key, "supervisord.identifier") != 0)))
			continue;
		r = m->line > 0
			    ? err_set(err, -EINVAL, "%s:%d: %s", m->file, m->line, m->text)
			    : err_set(err, -ENOENT, "%s: %s", m->file ? m->file : path, m->text);
	}
	if (r == 0)
		*ret_identifier = conf->supervisord.identifier_set
					  ? xstrdup(conf->supervisord.identifier)
					  : NULL;
	conf_free(conf);
	return r;
}

/* ---------------------------------------------------------------------------------- words */

const char *conf_kind_word(enum conf_kind kind)
{
	static const char *const words[] = { "program", "fcgi-program", "eventlistener",
					     "manager" };

	return words[kind];
}

const char *conf_autorestart_word(enum conf_autorestart v)
{
	static const char *const words[] = { "false", "true", "unexpected" };

	return words[v];
}

const char *conf_method_word(enum conf_method v)
{
	static const char *const words[] = { "spawn", "fork", "forkserver" };

	return words[v];
}

const char *conf_kill_mode_word(enum conf_kill_mode v)
{
	static const char *const words[] = { "tree", "group", "process" };

	return words[v];
}

const char *conf_control_word(enum conf_control v)
{
	static const char *const words[] = { "off", "notify", "self", "group", "all" };

	return words[v];
}

const char *conf_track_word(enum conf_track v)
{
	static const char *const words[] = { "preload", "scan", "off" };

	return words[v];
}

const char *conf_cleanup_word(enum conf_cleanup v)
{
	static const char *const words[] = { "exit", "shutdown", "off" };

	return words[v];
}

const char *conf_pipe_mode_word(enum conf_pipe_mode v)
{
	static const char *const words[] = { "stream", "packet", "duplex" };

	return words[v];
}

const char *conf_on_end_word(enum conf_on_end v)
{
	static const char *const words[] = { "eof", "keep" };

	return words[v];
}

const struct conf_pipe *conf_pipe_find(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->n_pipes; i++)
		if (strcmp(conf->pipes[i].name, name) == 0)
			return &conf->pipes[i];
	return NULL;
}

const struct conf_wire *conf_wire_at(const struct conf_proc *proc, int fd)
{
	for (size_t i = 0; i < proc->n_wires; i++)
		if (proc->wires[i].fd == fd)
			return &proc->wires[i];
	return NULL;
}

const char *conf_level_word(enum conf_level v)
{
	static const char *const words[] = { "critical", "error", "warn",   "info",
					     "debug",	 "trace", "blather" };

	return words[v];
}
