/*
 * The list of forkservers. They are few.
 */
#include "sup/servers.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "conf/conf.h"

const struct server_of *servers_find(const struct servers *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->v[i].name, name) == 0)
			return &s->v[i];
	return NULL;
}

void servers_set(struct servers *s, const char *name, pid_t pid, bool is_ready, uint32_t n_started)
{
	struct server_of *one = (struct server_of *)servers_find(s, name);

	if (one == NULL) {
		s->v = xrealloc(s->v, (s->n + 1) * sizeof(*s->v));
		one = &s->v[s->n++];
		one->name = xstrdup(name);
	}
	one->pid = pid;
	one->is_ready = is_ready;
	one->n_started = n_started;
}

bool servers_is_used(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->n_procs; i++) {
		const struct conf_proc *p = &conf->procs[i];

		if (p->start_method == CONF_METHOD_FORKSERVER && strcmp(p->forkserver, name) == 0)
			return true;
	}
	return false;
}

void servers_fini(struct servers *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->v[i].name);
	free(s->v);
	*s = (struct servers){ NULL, 0 };
}
