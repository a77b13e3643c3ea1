/*
 * See inventory.h.
 */
#include "mpsup/inventory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "track/journal.h"
#include "track/sweep.h"

static struct item *append(struct inventory *v)
{
	if (v->n == v->cap) {
		v->cap = v->cap * 2 + 16;
		v->items = xrealloc(v->items, v->cap * sizeof(*v->items));
	}
	v->items[v->n] = (struct item){ 0 };
	return &v->items[v->n++];
}

static int compare(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return x->type != y->type ? (int)x->type - (int)y->type : strcmp(x->name, y->name);
}

static void sort(struct inventory *v)
{
	if (v->n > 0)
		qsort(v->items, v->n, sizeof(*v->items), compare);
}

const struct item *inventory_find(const struct inventory *v, enum track_type type, const char *name)
{
	const struct item key = { .type = type, .name = (char *)name };

	return v->n > 0 ? bsearch(&key, v->items, v->n, sizeof(key), compare) : NULL;
}

/* ------------------------------------------------------------------------------------------------ journals */

/* Several may have told of one object: it is listed once, and what is of no object that is there is not. */
static bool is_listed(const struct track_registry *registry, const struct track_record *record,
		      const struct track_look *look)
{
	const struct track_record *r = track_find(registry, (enum track_type)record->type,
						  record->name, record->name_length);
	const struct track_record *best = r;

	for (; r != NULL; r = track_next(r))
		if (r->identity.ino == (uint64_t)look->target.ino)
			best = r;
	return record == best;
}

static void add_record(struct inventory *v, const struct track_registry *registry,
		       const struct track_record *record, const struct track_heir *heir,
		       bool is_left)
{
	struct track_look look;
	struct item *item;

	if (track_look(record->type, record->name, &look) < 0 ||
	    !is_listed(registry, record, &look))
		return;
	item = append(v);
	item->type = record->type;
	item->name = xstrdup(record->name);
	item->look = look;
	item->creator = record->creator.pid;
	item->instance = xstrdup(heir->who != NULL ? heir->who : "");
	item->program = xstrdup(record->owner != NULL && record->owner->name[0] != '\0'
					? record->owner->name
					: item->instance);
	item->is_left = is_left;
}

static void add_journal(struct inventory *v, const char *folder)
{
	AUTO_FREE char *path = xasprintf("%s/ipc.journal", folder);
	AUTO_CLOSE int dir = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool held = dir >= 0 && track_dir_is_held(dir);
	struct track_registry registry = { 0 };
	struct track_heir heir = TRACK_HEIR_INIT;

	if (track_journal_read(path, &registry, &heir) == 0)
		for (size_t i = 0; i < registry.n_buckets; i++)
			for (struct track_record *r = registry.buckets[i]; r != NULL;
			     r = r->next_in_bucket)
				add_record(v, &registry, r, &heir,
					   !held && !track_heir_has_keeper(&heir));
	track_registry_fini(&registry);
	track_heir_fini(&heir);
}

void inventory_add_recorded(struct inventory *v, const char *base)
{
	DIR *dir = opendir(base);
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		AUTO_FREE char *folder = xasprintf("%s/%s", base, entry->d_name);

		if (entry->d_name[0] != '.')
			add_journal(v, folder);
	}
	if (dir != NULL)
		closedir(dir);
	sort(v);
}

/* ------------------------------------------------------------------------------------------------- machine */

struct listing {
	const struct inventory *known;
	struct inventory found;
};

static void add_found(enum track_type type, const char *name, const struct track_look *look,
		      void *user)
{
	struct listing *l = user;
	struct item *item;

	if (inventory_find(l->known, type, name) != NULL)
		return;
	item = append(&l->found);
	item->type = type;
	item->name = xstrdup(name);
	item->look = *look;
	item->creator = look->creator;
}

int inventory_add_all(struct inventory *v)
{
	struct listing l = { .known = v };
	int r = track_list(add_found, &l);

	for (size_t i = 0; i < l.found.n; i++)
		*append(v) = l.found.items[i];
	free(l.found.items);
	sort(v);
	return r;
}

/* --------------------------------------------------------------------------------------------------- users */

static void on_user(size_t index, pid_t pid, void *user)
{
	struct item *item = &((struct inventory *)user)->items[index];

	item->users = xrealloc(item->users, (item->n_users + 1) * sizeof(pid));
	item->users[item->n_users++] = pid;
}

int inventory_find_users(struct inventory *v)
{
	AUTO_FREE struct track_target *targets = xcalloc(v->n + 1, sizeof(*targets));

	for (size_t i = 0; i < v->n; i++)
		targets[i] = v->items[i].look.target;
	return track_users(targets, v->n, on_user, v, &v->n_hidden);
}

static void add_name(pid_t pid, struct buf *to)
{
	AUTO_FREE char *path = xasprintf("/proc/%d/comm", (int)pid);
	AUTO_FREE char *comm = NULL;
	size_t n;

	if (fd_read_file(path, 64, &comm, &n) == 0)
		buf_addf(to, " (%.*s)", (int)strcspn(comm, "\n"), comm);
}

void inventory_write_users(const struct item *item, struct buf *to)
{
	for (size_t i = 0; i < item->n_users; i++) {
		buf_addf(to, "%s%d", i > 0 ? ", " : "", (int)item->users[i]);
		add_name(item->users[i], to);
	}
}

void inventory_fini(struct inventory *v)
{
	for (size_t i = 0; i < v->n; i++) {
		free(v->items[i].name);
		free(v->items[i].program);
		free(v->items[i].instance);
		free(v->items[i].users);
	}
	free(v->items);
	*v = (struct inventory){ 0 };
}
