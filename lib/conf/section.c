/*
 * Applies the key table to one section: unknown keys, expansion with the names that are known there, and messages
 * that say where and which key.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/strv.h"
#include "base/xalloc.h"
#include "conf/expand.h"
#include "conf/load.h"

void section_say(const struct scope *s, enum conf_severity level, const struct ini_entry *entry,
		 const char *key, const char *fmt, ...)
{
	struct conf_place place = { 0 };
	AUTO_BUF label = BUF_INIT, text = BUF_INIT;
	va_list ap;

	if (s->quiet && level != CONF_ERROR)
		return;
	if (entry)
		place = (struct conf_place){ entry->file, entry->line };
	else if (s->section)
		place = s->section->place;
	buf_adds(&label, s->section ? s->section->name : s->kind->name);
	if (key)
		buf_addf(&label, ".%s", key);
	va_start(ap, fmt);
	buf_addv(&text, fmt, ap);
	va_end(ap);
	if (s->lenient && level == CONF_ERROR)
		level = CONF_WARNING;
	report_add(&s->l->report, level, &place, label.p, "%s", text.p);
}

/* ---------------------------------------------------------------------------------- expansion */

static bool is(const char *name, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(name, word, len) == 0;
}

/* The value of NAME in "NAME=value" strings, or NULL. */
static const char *environment_lookup(const struct scope *s, const char *name, size_t len)
{
	const char *value = strv_value(s->own_env, name, len);
	AUTO_FREE char *copy = NULL;

	if (value == NULL)
		value = strv_value(s->l->conf->supervisord.environment, name, len);
	if (value == NULL) {
		copy = xstrndup(name, len);
		value = getenv(copy);
	}
	return value;
}

/* The folder of the file that the value stands in. */
static const char *here(const struct scope *s)
{
	const char *file = s->entry ? s->entry->file : s->l->conf->path;
	const char *slash = strrchr(file, '/');

	if (slash == NULL || slash == file)
		return "/";
	return store_strn(s->l->conf->store, file, (size_t)(slash - file));
}

static bool lookup(const void *ctx, const char *name, size_t len, struct expand_value *ret)
{
	const struct scope *s = ctx;

	ret->text = NULL;
	if (len > 4 && memcmp(name, "ENV_", 4) == 0)
		ret->text = environment_lookup(s, name + 4, len - 4);
	else if (is(name, len, "here"))
		ret->text = here(s);
	else if (is(name, len, "host_node_name"))
		ret->text = s->l->node;
	else if (is(name, len, "program_name"))
		ret->text = s->program;
	else if (is(name, len, "group_name"))
		ret->text = s->group;
	else if (!s->per_process)
		return false;
	else if (is(name, len, "process_num"))
		ret->number = s->process_num;
	else if (is(name, len, "numprocs"))
		ret->number = s->numprocs;
	else
		return false;
	return ret->text != NULL ||
	       (s->per_process && (is(name, len, "process_num") || is(name, len, "numprocs")));
}

static void unknown(const void *ctx, const char *name, size_t len, struct err *err)
{
	const struct scope *s = ctx;

	if (len > 4 && memcmp(name, "ENV_", 4) == 0) {
		err_set(err, -EINVAL, "%%(%.*s)s: the environment variable %.*s is not set",
			(int)len, name, (int)len - 4, name + 4);
		return;
	}
	err_set(err, -EINVAL,
		"there is no %%(%.*s)s here, but %%(here)s, %%(host_node_name)s%s%s and "
		"%%(ENV_NAME)s",
		(int)(len > 60 ? 60 : len), name,
		s->program ? ", %(program_name)s, %(group_name)s" : "",
		s->per_process ? ", %(process_num)d, %(numprocs)d" : "");
}

int section_expand(struct scope *s, const char *text, struct buf *out)
{
	struct expand_names names = { lookup, unknown, s };
	struct err err = ERR_INIT;
	const char *bare = NULL;

	if (expand(text, &names, out, &bare, &err) < 0) {
		section_say(s, CONF_ERROR, s->entry, s->key->name, "%s", err.text);
		return -EINVAL;
	}
	if (bare)
		section_say(s, CONF_WARNING, s->entry, s->key->name,
			    "'%.*s' is kept as it is; supervisord would not: write '%%%.*s'",
			    bare[1] ? 2 : 1, bare, bare[1] ? 2 : 1, bare);
	return 0;
}

/* ---------------------------------------------------------------------------------- keys */

static void unknown_key(struct scope *s, const struct ini_entry *e)
{
	enum conf_severity level = s->l->report.strict ? CONF_ERROR : CONF_WARNING;
	const char *near = key_nearest(s->kind->kind, e->key);

	for (const struct section_kind *k = section_kinds; k->name; k++) {
		if (key_find(k->kind, e->key) == NULL)
			continue;
		section_say(s, level, e, e->key, "unknown key here: it belongs in [%s%s]", k->name,
			    k->named ? ":NAME" : "");
		return;
	}
	if (near)
		section_say(s, level, e, e->key, "unknown key (did you mean %s?)", near);
	else
		section_say(s, level, e, e->key,
			    "unknown key, ignored ('mpsup keys %s' lists them)", s->kind->name);
}

static void note_idle(struct scope *s, const struct key *key, const struct ini_entry *e)
{
	bool *noted = &s->l->noted_keys[key - keys];

	if (!*noted)
		section_say(s, CONF_NOTE, e, key->name, "is read but has no effect");
	*noted = true;
}

/* Each file may include others. */
static void note_double(struct scope *s, const struct ini_entry *old, const struct ini_entry *e)
{
	if (s->kind->kind != SECTION_INCLUDE || old->file == e->file)
		section_say(s, CONF_NOTE, e, e->key, "was given before (%s:%d): this one counts",
			    old->file, old->line);
}

static void collect(struct scope *s, struct slots *slots, const struct ini_section *from)
{
	struct slots own = { 0 };

	for (const struct ini_entry *e = from ? from->first : NULL; e; e = e->next) {
		const struct key *key = key_find(s->kind->kind, e->key);

		if (key && (key->flags & KEY_IDLE))
			note_idle(s, key, e);
		if (key && own.of[key - keys] && from == s->section)
			note_double(s, own.of[key - keys], e);
		if (key)
			own.of[key - keys] = slots->of[key - keys] = e;
		else if (from == s->section && !s->kind->any_key)
			unknown_key(s, e);
	}
}

void section_collect(struct scope *s, struct slots *slots)
{
	memset(slots, 0, sizeof(*slots));
	/* [DEFAULT] says what no section says; only keys that no section has are mistakes there (see conf.c). */
	collect(s, slots, s->l->ini.defaults);
	collect(s, slots, s->section);
}

const struct ini_entry *slot_of(const struct slots *slots, const struct scope *s, const char *name)
{
	const struct key *key = key_find(s->kind->kind, name);

	return key ? slots->of[key - keys] : NULL;
}

static void on_warning(void *ctx, const char *text)
{
	const struct scope *s = ctx;

	section_say(s, CONF_WARNING, s->entry, s->key->name, "%s", text);
}

int section_apply(struct scope *s, const struct key *key, const struct ini_entry *entry, void *base)
{
	struct type_context tc = { s->l->conf->store, on_warning, s, &s->l->last_user };
	const char *text = entry->value;
	struct err err = ERR_INIT;
	AUTO_BUF expanded = BUF_INIT;

	s->key = key;
	s->entry = entry;
	if ((key->flags & KEY_EXPAND) && strchr(text, '%')) {
		if (section_expand(s, text, &expanded) < 0)
			return -EINVAL;
		text = expanded.p ? expanded.p : "";
	}
	if (type_parse(key, text, base, &tc, &err) < 0) {
		section_say(s, CONF_ERROR, entry, key->name, "%s", err.text);
		return -EINVAL;
	}
	return 0;
}

int section_apply_all(struct scope *s, const struct slots *slots, void *base)
{
	int errors = 0;

	for (size_t i = 0; i < n_keys; i++)
		if (slots->of[i])
			errors += section_apply(s, &keys[i], slots->of[i], base) < 0;
	return errors;
}

int section_require(struct scope *s, const struct slots *slots)
{
	int missing = 0;

	for (size_t i = 0; i < n_keys; i++) {
		if (!(keys[i].sections & s->kind->kind) || !(keys[i].flags & KEY_REQUIRED) ||
		    slots->of[i])
			continue;
		section_say(s, CONF_ERROR, NULL, NULL, "%s= is missing: %s", keys[i].name,
			    keys[i].doc);
		missing++;
	}
	return missing;
}

void section_defaults(struct loader *l, enum conf_section kind, void *base)
{
	struct type_context tc = { .store = l->conf->store };

	for (size_t i = 0; i < n_keys; i++) {
		const struct key *key = &keys[i];

		/* A default with a name in it (process_name) is made for each process. */
		if ((key->sections & kind) && key->def && !(key->flags & KEY_WHEN_USED) &&
		    strchr(key->def, '%') == NULL)
			type_parse(key, key->def, base, &tc, NULL);
	}
}
