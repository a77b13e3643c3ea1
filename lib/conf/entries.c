/*
 * How programs are started: what [forkserver:x] says, and what the keys of one program that are about it say together.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/guess.h"
#include "base/xalloc.h"
#include "conf/load.h"
#include "conf/split.h"

/* The one for programs that name none. */
#define DEFAULT_SERVER "default"

struct forkserver_of {
	struct forkserver_of *next;
	char *name;
	char **preload;
};

void load_forkservers(struct loader *l)
{
	struct forkserver_of **last = &l->forkservers;

	for (struct ini_section *sec = l->ini.sections; sec; sec = sec->hh.next) {
		struct scope s = { .l = l, .section = sec };
		struct conf_proc p = { 0 };
		struct slots slots;
		const char *name;

		s.kind = section_find(sec->name, &name);
		if (s.kind == NULL || s.kind->kind != SECTION_FORKSERVER)
			continue;
		section_collect(&s, &slots);
		section_apply_all(&s, &slots, &p);
		name = load_check_name(&s, name);
		if (name == NULL)
			continue;
		*last = xmalloc(sizeof(**last));
		**last = (struct forkserver_of){ NULL, (char *)name, p.preload };
		last = &(*last)->next;
	}
}

void forkservers_fini(struct loader *l)
{
	while (l->forkservers != NULL) {
		struct forkserver_of *f = l->forkservers;

		l->forkservers = f->next;
		free(f);
	}
}

static const char *nearest(const struct loader *l, const char *name)
{
	struct guess g = guess_begin(name);

	for (const struct forkserver_of *f = l->forkservers; f; f = f->next)
		guess_try(&g, f->name, f->name);
	return g.best;
}

/* The server that it names, or the one for all that name none, which need not be in the file. */
static int find_server(struct scope *s, const struct slots *slots, struct conf_proc *p)
{
	const char *name = p->forkserver != NULL ? p->forkserver : DEFAULT_SERVER, *near;
	const struct forkserver_of *f = s->l->forkservers;

	while (f != NULL && strcmp(f->name, name) != 0)
		f = f->next;
	if (f != NULL || p->forkserver == NULL) {
		p->forkserver = store_str(s->l->conf->store, name);
		p->preload = f != NULL ? f->preload : NULL;
		return 0;
	}
	near = nearest(s->l, name);
	if (near != NULL)
		section_say(s, CONF_ERROR, slot_of(slots, s, "forkserver"), "forkserver",
			    "there is no [forkserver:%s] (did you mean %s?)", name, near);
	else
		section_say(s, CONF_ERROR, slot_of(slots, s, "forkserver"), "forkserver",
			    "there is no [forkserver:%s]", name);
	return 1;
}

int entries_check(struct scope *s, const struct slots *slots, struct conf_proc *p)
{
	const struct ini_entry *command = slot_of(slots, s, "command");
	const struct ini_entry *entry = slot_of(slots, s, "entry");
	const struct ini_entry *server = slot_of(slots, s, "forkserver");
	int errors = 0;

	if (p->kind == CONF_MANAGER)
		return manager_check(s, slots, p);
	if (command == NULL && entry == NULL) {
		section_say(s, CONF_ERROR, NULL, NULL, "command= is missing: %s (or entry=)",
			    key_find(s->kind->kind, "command")->doc);
		errors++;
	}
	if (command != NULL && entry != NULL) {
		section_say(s, CONF_ERROR, entry, "entry",
			    "goes in place of command= (line %d), not with it", command->line);
		errors++;
	}
	if (slot_of(slots, s, "args") != NULL && entry == NULL)
		section_say(s, CONF_WARNING, slot_of(slots, s, "args"), "args",
			    "is not used: arguments of a command stand behind it");
	if (slot_of(slots, s, "start_method") == NULL)
		p->start_method = s->l->conf->supervisord.start_method;
	if (slot_of(slots, s, "track") == NULL)
		p->track = s->l->conf->supervisord.track;
	if (slot_of(slots, s, "ipc_cleanup") == NULL)
		p->ipc_cleanup = s->l->conf->supervisord.ipc_cleanup;
	if (p->start_method == CONF_METHOD_FORKSERVER)
		return errors + find_server(s, slots, p);
	if (server != NULL)
		section_say(s, CONF_WARNING, server, "forkserver",
			    "is not used: start_method is %s", conf_method_word(p->start_method));
	p->forkserver = NULL;
	return errors;
}

void entries_make_argv(struct scope *s, struct conf_proc *p)
{
	struct store *store = s->l->conf->store;
	struct words words = WORDS_INIT;
	struct err err = ERR_INIT;
	AUTO_FREE char **all = NULL;

	if (p->args != NULL && split_command(p->args, &words, &err) < 0) {
		AUTO_FREE char *text = xasprintf("can't parse args '%s': %s", p->args, err.text);

		p->argv_error = store_str(store, text);
	} else {
		all = xcalloc(words.n + 1, sizeof(*all));
		all[0] = p->entry;
		if (words.n > 0)
			memcpy(all + 1, words.v, words.n * sizeof(*all));
		p->argv = store_strv(store, all, words.n + 1);
	}
	words_fini(&words);
}
