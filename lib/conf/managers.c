/*
 * [manager:NAME]: a process that runs mpsup itself, and what the others are told of it.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "conf/load.h"

#define PREFIX "MPSUP_MANAGER_"
#define KEY_PREFIX "MPSUP_AUTHKEY_FILE_"

static bool is_address(const char *text)
{
	static const char *const forms[] = { "unix:", "tcp:", "abstract:" };

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		if (strncmp(text, forms[i], strlen(forms[i])) == 0 &&
		    text[strlen(forms[i])] != '\0')
			return true;
	return false;
}

int manager_check(struct scope *s, const struct slots *slots, struct conf_proc *p)
{
	const struct ini_entry *address = slot_of(slots, s, "address");
	const struct ini_entry *user = slot_of(slots, s, "user");

	p->ready = CONF_READY_NOTIFY;
	p->control = CONF_CONTROL_NOTIFY;
	p->stdin_mode = CONF_STDIN_NULL;
	p->track = CONF_TRACK_OFF;
	p->ipc_cleanup = CONF_CLEANUP_OFF;
	if (p->address != NULL && !is_address(p->address)) {
		section_say(s, CONF_ERROR, address, "address",
			    "'%.60s' is no address (such as unix:/run/jobs.sock or "
			    "tcp:localhost:7000)",
			    p->address);
		return 1;
	}
	if (p->address != NULL && strncmp(p->address, "tcp:", 4) == 0 && p->authkey_file == NULL) {
		section_say(s, CONF_ERROR, address, "address",
			    "over TCP there has to be a key: authkey_file= is missing");
		return 1;
	}
	if (p->address == NULL && user != NULL) {
		section_say(s, CONF_ERROR, user, "user",
			    "goes with an address= in a folder of this user: it may not write to "
			    "the runtime directory");
		return 1;
	}
	return 0;
}

void manager_make_argv(struct scope *s, struct conf_proc *p)
{
	struct store *store = s->l->conf->store;
	char *argv[7] = { (char *)"mpsup", (char *)"manager" };
	size_t n = 2;

	if (p->authkey_file != NULL) {
		argv[n++] = (char *)"--authkey-file";
		argv[n++] = p->authkey_file;
	}
	if (p->snapshot != NULL) {
		argv[n++] = (char *)"--snapshot";
		argv[n++] = p->snapshot;
	}
	p->command = store_str(store, "mpsup manager");
	p->argv = store_strv(store, argv, n);
}

static char *variable_of(struct loader *l, const char *prefix, const char *name)
{
	AUTO_FREE char *variable = xasprintf("%s%s", prefix, name);

	for (char *p = variable + strlen(prefix); *p; p++)
		*p = isascii((unsigned char)*p) && isalnum((unsigned char)*p)
			     ? (char)toupper((unsigned char)*p)
			     : '_';
	return store_str(l->conf->store, variable);
}

void load_managers(struct loader *l)
{
	struct conf *conf = l->conf;
	size_t n = 0;

	for (size_t i = 0; i < conf->n_procs; i++)
		n += conf->procs[i].kind == CONF_MANAGER;
	/* The array of processes has its place from now on. */
	if (conf->n_procs > 0)
		conf->procs = xrealloc(conf->procs, conf->n_procs * sizeof(*conf->procs));
	conf->managers = store_alloc(conf->store, (n + 1) * sizeof(*conf->managers));
	for (size_t i = 0; i < conf->n_procs; i++) {
		const struct conf_proc *p = &conf->procs[i];
		struct conf_manager m = { .proc = p };

		if (p->kind != CONF_MANAGER)
			continue;
		m.variable = variable_of(l, PREFIX, p->program);
		m.key_variable = variable_of(l, KEY_PREFIX, p->program);
		for (size_t k = 0; k < conf->n_managers; k++)
			if (conf->managers[k].variable == m.variable)
				report_add(&l->report, CONF_ERROR, &p->place, NULL,
					   "its variable %s is that of [manager:%s] too (%s:%d)",
					   m.variable, conf->managers[k].proc->program,
					   conf->managers[k].proc->place.file,
					   conf->managers[k].proc->place.line);
		conf->managers[conf->n_managers++] = m;
	}
}
