/*
 * Orders of services and the names that people give them. The index holds every name under which a service can be
 * meant exactly ("web", "web:web_00", and "web:" for its group), so only globs look at the whole list.
 */
#include "base/guess.h"
#include "base/hash.h"
#include "sup/order.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "sup/svc.h"

struct name {
	char *text;
	struct svc **members; /* in the order of the list */
	size_t n;
	size_t cap;
	UT_hash_handle hh;
};

struct order_index {
	struct name *names;
	struct svc **list;
	size_t n;
};

static int compare_ints(int a, int b)
{
	return (a > b) - (a < b);
}

int order_compare_level(const struct svc *a, const struct svc *b)
{
	int c = compare_ints(a->conf->group_priority, b->conf->group_priority);

	return c != 0 ? c : compare_ints(a->conf->priority, b->conf->priority);
}

static int compare_start(const void *pa, const void *pb)
{
	const struct svc *a = *(struct svc *const *)pa, *b = *(struct svc *const *)pb;
	int c = order_compare_level(a, b);

	if (c == 0)
		c = strcmp(a->conf->group, b->conf->group);
	if (c == 0)
		c = strcmp(a->conf->name, b->conf->name);
	return c;
}

void order_sort(struct svc **list, size_t n)
{
	if (n > 0)
		qsort(list, n, sizeof(*list), compare_start);
}

/* ------------------------------------------------------------------------------------------------------- the index */

static struct name *find_name(const struct order_index *index, const char *text)
{
	struct name *name;

	HASH_FIND_STR(index->names, text, name);
	return name;
}

/* Takes text. */
static void add_name(struct order_index *index, char *text, struct svc *s)
{
	struct name *name = find_name(index, text);

	if (name == NULL) {
		name = xcalloc(1, sizeof(*name));
		name->text = text;
		HASH_ADD_KEYPTR(hh, index->names, name->text, strlen(name->text), name);
	} else {
		free(text);
		/* "web:web_00" is both what people write and group:name. */
		if (name->members[name->n - 1] == s)
			return;
	}
	if (name->n == name->cap) {
		name->cap = name->cap ? name->cap * 2 : 1;
		name->members = xrealloc(name->members, name->cap * sizeof(struct svc *));
	}
	name->members[name->n++] = s;
}

struct order_index *order_index_new(struct svc **list, size_t n)
{
	struct order_index *index = xcalloc(1, sizeof(*index));

	index->n = n;
	index->list = xmalloc((n + 1) * sizeof(struct svc *));
	for (size_t i = 0; i < n; i++) {
		struct svc *s = index->list[i] = list[i];

		add_name(index, xstrdup(s->name), s);
		add_name(index, xasprintf("%s:%s", s->conf->group, s->conf->name), s);
		add_name(index, xasprintf("%s:", s->conf->group), s);
	}
	return index;
}

void order_index_free(struct order_index *index)
{
	struct name *name, *next;

	if (index == NULL)
		return;
	HASH_ITER (hh, index->names, name, next) {
		HASH_DEL(index->names, name);
		free(name->text);
		free(name->members);
		free(name);
	}
	free(index->list);
	free(index);
}

/* -------------------------------------------------------------------------------------------------- looking names up */

static bool ends_with(const char *s, const char *tail)
{
	size_t n = strlen(s), m = strlen(tail);

	return n >= m && strcmp(s + n - m, tail) == 0;
}

/* As written; then "web:*"; then, for a bare word, its process of the same name, and its group. */
static const struct name *find_exact(const struct order_index *index, const char *target)
{
	AUTO_FREE char *group = NULL, *process = NULL;
	const struct name *name = find_name(index, target);

	if (name != NULL)
		return name;
	if (ends_with(target, ":*")) {
		group = xstrndup(target, strlen(target) - 1);
		return find_name(index, group);
	}
	if (strchr(target, ':') != NULL)
		return NULL;
	process = xasprintf("%s:%s", target, target);
	name = find_name(index, process);
	if (name != NULL)
		return name;
	group = xasprintf("%s:", target);
	return find_name(index, group);
}

static bool glob_matches(const char *glob, const struct svc *s)
{
	AUTO_FREE char *full = NULL;

	if (fnmatch(glob, s->name, 0) == 0)
		return true;
	full = xasprintf("%s:%s", s->conf->group, s->conf->name);
	return fnmatch(glob, full, 0) == 0;
}

static long find_glob(const struct order_index *index, const char *glob,
		      void (*found)(struct svc *s, void *user), void *user)
{
	long n = 0;

	for (size_t i = 0; i < index->n; i++) {
		if (!glob_matches(glob, index->list[i]))
			continue;
		found(index->list[i], user);
		n++;
	}
	return n;
}

/* The name nearest to `word`, NULL when none is near; of groups only, or of all that has a name. */
static const char *nearest(const struct order_index *index, const char *word, bool groups)
{
	struct guess g = guess_begin(word);

	for (size_t i = 0; i < index->n; i++) {
		const struct svc *s = index->list[i];

		guess_try(&g, s->conf->group, s->conf->group);
		if (groups)
			continue;
		guess_try(&g, s->name, s->name);
		guess_try(&g, s->conf->name, s->name);
	}
	return g.best;
}

static long not_found(const struct order_index *index, const char *target, struct err *err)
{
	AUTO_FREE char *word = xstrdup(target);
	bool groups = ends_with(target, ":") || ends_with(target, ":*");
	const char *best;

	if (err == NULL)
		return -ENOENT;
	if (groups)
		*strrchr(word, ':') = '\0';
	best = nearest(index, word, groups);
	if (best == NULL)
		return err_set(err, -ENOENT, "no such process or group: '%s'", target);
	return err_set(err, -ENOENT, "no such process or group: '%s' (did you mean '%s%s'?)",
		       target, best, groups ? ":*" : "");
}

long order_find(const struct order_index *index, const char *target,
		void (*found)(struct svc *s, void *user), void *user, struct err *err)
{
	const struct name *name;
	long n = 0;

	if (strcmp(target, "all") == 0)
		return find_glob(index, "*", found, user);
	name = find_exact(index, target);
	if (name != NULL) {
		for (size_t i = 0; i < name->n; i++)
			found(name->members[i], user);
		return (long)name->n;
	}
	if (strpbrk(target, "*?[") != NULL)
		n = find_glob(index, target, found, user);
	return n > 0 ? n : not_found(index, target, err);
}
