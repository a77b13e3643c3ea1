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
#include "base/utf8.h"
#include "base/xalloc.h"
#include "sup/client.h"
#include "track/journal.h"
#include "track/slate.h"
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

/* ------------------------------------------------------------------------------------------------- machine */

static void add_found(enum track_type type, const char *name, const struct track_look *look,
		      void *user)
{
	struct item *item = append(user);

	item->type = type;
	item->name = xstrdup(name);
	item->look = *look;
	item->creator = look->creator;
}

int inventory_add_all(struct inventory *v)
{
	int r = track_list(add_found, v);

	sort(v);
	return r;
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

/* Where inventories are merged: `v` is sorted, `own` is not yet. */
struct adding {
	struct inventory *v;
	struct inventory own;
	const struct track_registry *registry;
	const struct track_heir *heir;
	bool is_left;
};

static void add_record(struct adding *a, const struct track_record *record)
{
	const char *instance = a->heir->who != NULL ? a->heir->who : "";
	bool has_owner = record->owner != NULL && record->owner->name[0] != '\0';
	struct track_look look;
	struct item *item;

	if (track_look(record->type, record->name, &look) < 0 ||
	    !is_listed(a->registry, record, &look))
		return;
	item = (struct item *)inventory_find(a->v, (enum track_type)record->type, record->name);
	if (item == NULL) {
		item = append(&a->own);
		item->type = record->type;
		item->name = xstrdup(record->name);
	}
	/* Somebody who lives has told of it too. */
	if (a->is_left && item->program != NULL && !item->is_left)
		return;
	free(item->instance);
	free(item->program);
	item->look = look;
	item->creator = record->creator.pid;
	item->instance = xstrdup(instance);
	item->program = xstrdup(has_owner ? record->owner->name : instance);
	item->is_left = a->is_left;
}

static void add_records(struct adding *a)
{
	for (size_t i = 0; i < a->registry->n_buckets; i++)
		for (const struct track_record *r = a->registry->buckets[i]; r != NULL;
		     r = r->next_in_bucket)
			add_record(a, r);
}

static void add_folder(struct adding *a, const char *folder)
{
	AUTO_FREE char *path = xasprintf("%s/ipc.journal", folder);
	AUTO_CLOSE int dir = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool held = dir >= 0 && track_dir_is_held(dir);
	struct track_registry registry = { 0 };
	struct track_heir heir = TRACK_HEIR_INIT;
	struct track_owner untold = { .name = "" };

	a->registry = &registry;
	a->heir = &heir;
	/* What is about to be made goes from there to the journal. Of the dead it may be of what never was. */
	if (held)
		slate_read_at(dir, &registry, &untold);
	if (track_journal_read(path, &registry, &heir) == 0 && !heir.other_boot) {
		a->is_left = !held && !track_heir_has_keeper(&heir);
		add_records(a);
	}
	track_registry_fini(&registry);
	track_heir_fini(&heir);
}

static void add_base(struct adding *a, const char *base)
{
	DIR *dir = opendir(base);
	const struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		AUTO_FREE char *folder = xasprintf("%s/%s", base, entry->d_name);

		if (entry->d_name[0] != '.')
			add_folder(a, folder);
	}
	if (dir != NULL)
		closedir(dir);
}

int inventory_bases(char *bases[INVENTORY_BASES])
{
	bases[0] = client_runtime_base();
	bases[1] = client_runtime_spare();
	if (strcmp(bases[0], bases[1]) != 0)
		return INVENTORY_BASES;
	free(bases[1]);
	return 1;
}

void inventory_add_own(struct inventory *v)
{
	struct adding a = { .v = v };
	char *bases[INVENTORY_BASES];

	for (int i = 0, n = inventory_bases(bases); i < n; i++) {
		add_base(&a, bases[i]);
		free(bases[i]);
	}
	for (size_t i = 0; i < a.own.n; i++)
		*append(v) = a.own.items[i];
	free(a.own.items);
	sort(v);
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

void inventory_write_process(pid_t pid, struct buf *to)
{
	AUTO_FREE char *path = xasprintf("/proc/%d/comm", (int)pid);
	AUTO_FREE char *comm = NULL;
	size_t n;

	buf_addf(to, "%d", (int)pid);
	if (fd_read_file(path, 64, &comm, &n) < 0)
		return;
	buf_adds(to, " (");
	utf8_add_clean(to, comm, strcspn(comm, "\n"));
	buf_addc(to, ')');
}

void inventory_write_users(const struct item *item, struct buf *to)
{
	for (size_t i = 0; i < item->n_users; i++) {
		if (i > 0)
			buf_adds(to, ", ");
		inventory_write_process(item->users[i], to);
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

json_t *inventory_json_text(const char *s)
{
	AUTO_BUF b = BUF_INIT;

	if (s == NULL)
		return json_null();
	utf8_add_valid(&b, s, strlen(s));
	return json_string(b.p != NULL ? b.p : "");
}
