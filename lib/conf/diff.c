/*
 * Compares configurations. See diff.h.
 */
#include "conf/diff.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/strv.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "conf/keys.h"

/* ------------------------------------------------------------------------------------------------ values */

/* A field in both, and the structs that it lies in, for types that fill more than one. */
struct pair {
	const void *a, *b;
	const void *base_a, *base_b;
};

static bool is_equal(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_string(const struct pair *p)
{
	return is_equal(*(char *const *)p->a, *(char *const *)p->b);
}

static bool same_bool(const struct pair *p)
{
	return *(const bool *)p->a == *(const bool *)p->b;
}

static bool same_int(const struct pair *p)
{
	return *(const int *)p->a == *(const int *)p->b;
}

static bool same_choice(const struct pair *p)
{
	return *(const unsigned *)p->a == *(const unsigned *)p->b;
}

static bool same_int64(const struct pair *p)
{
	return *(const int64_t *)p->a == *(const int64_t *)p->b;
}

static bool same_list(const struct pair *p)
{
	return strv_is_equal(*(char **const *)p->a, *(char **const *)p->b);
}

/* No name is in it twice, and the order of variables is nothing to a program. */
static bool same_environment(const struct pair *p)
{
	char *const *a = *(char **const *)p->a, *const *b = *(char **const *)p->b;
	bool equal = strv_length(a) == strv_length(b);

	for (; equal && a != NULL && *a != NULL; a++)
		equal = strv_holds(b, *a);
	return equal;
}

static bool same_exitcodes(const struct pair *p)
{
	const struct conf_proc *a = p->base_a, *b = p->base_b;

	return a->n_exitcodes == b->n_exitcodes &&
	       (a->n_exitcodes == 0 || memcmp(a->exitcodes, b->exitcodes, a->n_exitcodes) == 0);
}

static bool same_logfile(const struct pair *p)
{
	const struct conf_log *a = p->a, *b = p->b;

	return a->kind == b->kind && is_equal(a->path, b->path);
}

static bool same_limit(const struct pair *p)
{
	const struct conf_proc *a = p->base_a, *b = p->base_b;

	return a->restart_limit_count == b->restart_limit_count &&
	       a->restart_limit_secs == b->restart_limit_secs;
}

static bool same_exit_on(const struct pair *p)
{
	const struct conf_supervisord *a = p->base_a, *b = p->base_b;

	return a->exit_on == b->exit_on && is_equal(a->exit_on_name, b->exit_on_name);
}

static bool same_env_file(const struct pair *p)
{
	const struct conf_proc *a = p->base_a, *b = p->base_b;

	return is_equal(a->env_file, b->env_file) && a->env_file_optional == b->env_file_optional;
}

static bool (*const same[N_KEY_TYPES])(const struct pair *p) = {
	[KEY_STRING] = same_string,
	[KEY_PATH] = same_string,
	[KEY_DIRECTORY] = same_string,
	[KEY_NAME] = same_string,
	[KEY_BOOL] = same_bool,
	[KEY_INT] = same_int,
	[KEY_SECONDS] = same_int,
	[KEY_TIME] = same_int64,
	[KEY_RETRIES] = same_int,
	[KEY_BYTES] = same_int64,
	[KEY_OCTAL] = same_int,
	[KEY_CHOICE] = same_choice,
	[KEY_AUTORESTART] = same_choice,
	[KEY_SIGNAL] = same_int,
	[KEY_EXITCODES] = same_exitcodes,
	[KEY_LOGFILE] = same_logfile,
	[KEY_ENVIRONMENT] = same_environment,
	[KEY_LIST] = same_list,
	[KEY_EVENTS] = same_list,
	[KEY_USER] = same_string,
	[KEY_OWNER] = same_string,
	[KEY_URL] = same_string,
	[KEY_SOCKET] = same_string,
	[KEY_INET] = same_string,
	[KEY_LIMIT] = same_limit,
	[KEY_EXIT_ON] = same_exit_on,
	[KEY_ENV_FILE] = same_env_file,
	[KEY_ENTRY] = same_string,
};

/* ------------------------------------------------------------------------------------------------ structs */

/* Keys found in which two structs differ. */
struct found {
	const struct key *keys[KEYS_MAX];
	size_t n;
};

/* The keys that both kinds of sections have. */
static void compare(unsigned sections, unsigned others, const void *a, const void *b,
		    struct found *f)
{
	for (size_t i = 0; i < n_keys; i++) {
		const struct key *key = &keys[i];
		struct pair p = { (const char *)a + key->offset, (const char *)b + key->offset, a,
				  b };

		if ((key->sections & sections) && (key->sections & others) &&
		    !(key->flags & KEY_ELSEWHERE) && !same[key->type](&p))
			f->keys[f->n++] = key;
	}
}

static const struct key **take(const struct found *f)
{
	const struct key **v;

	if (f->n == 0)
		return NULL;
	v = xmalloc(f->n * sizeof(*v));
	memcpy(v, f->keys, f->n * sizeof(*v));
	return v;
}

/* That of its group, or, where it is in none, its own once more. */
static void compare_group_priority(const struct conf_proc *a, const struct conf_proc *b,
				   struct found *f)
{
	const struct key *key = key_find(SECTION_GROUP, "priority");

	if (a->group_priority == b->group_priority)
		return;
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->keys[i]->name, key->name) == 0)
			return;
	f->keys[f->n++] = key;
}

static void add_key(struct found *f, const char *name)
{
	const struct key *key = key_find(SECTION_PIPE, name);

	for (size_t i = 0; i < f->n; i++)
		if (f->keys[i] == key)
			return;
	f->keys[f->n++] = key;
}

static bool same_wire(const struct conf_wire *a, const struct conf_wire *b)
{
	return strcmp(a->variable, b->variable) == 0 && strcmp(a->pipe, b->pipe) == 0 &&
	       a->mode == b->mode && a->side == b->side;
}

/* A process has its ends from its start, so another end is another start. */
static void compare_wires(const struct conf_proc *a, const struct conf_proc *b, struct found *f)
{
	static const char *const sides[] = { [CONF_FROM] = "from", [CONF_TO] = "to" };

	for (size_t i = 0; i < a->n_wires || i < b->n_wires; i++) {
		const struct conf_wire *x = i < a->n_wires ? &a->wires[i] : NULL;
		const struct conf_wire *y = i < b->n_wires ? &b->wires[i] : NULL;

		if (x != NULL && y != NULL && same_wire(x, y))
			continue;
		if (x != NULL && y != NULL && strcmp(x->pipe, y->pipe) == 0 && x->mode != y->mode)
			add_key(f, "mode");
		else
			add_key(f, sides[x != NULL ? x->side : y->side]);
	}
}

/* A field may be that of a key of another kind, too. */
static unsigned sections_of(const struct conf_proc *p)
{
	static const unsigned sections[] = {
		[CONF_PROGRAM] = SECTION_PROGRAM,
		[CONF_FCGI_PROGRAM] = SECTION_FCGI,
		[CONF_EVENTLISTENER] = SECTION_LISTENER,
		[CONF_MANAGER] = SECTION_MANAGER,
	};

	return sections[p->kind] | SECTION_FORKSERVER;
}

static void compare_procs(struct diff_row *row)
{
	struct found f = { .n = 0 };

	compare(sections_of(row->from), sections_of(row->to), row->from, row->to, &f);
	compare_group_priority(row->from, row->to, &f);
	compare_wires(row->from, row->to, &f);
	row->kind = f.n > 0 ? DIFF_LIVE : DIFF_SAME;
	for (size_t i = 0; i < f.n; i++)
		if (!(f.keys[i]->flags & KEY_LIVE))
			row->kind = DIFF_RESTART;
	/* A program that becomes an fcgi-program has another standard input at least. */
	if (row->from->kind != row->to->kind)
		row->kind = DIFF_RESTART;
	row->keys = take(&f);
	row->n_keys = f.n;
}

/* ------------------------------------------------------------------------------------------------ all */

struct entry {
	UT_hash_handle hh;
	char *name; /* group:name */
	struct diff_row *row;
};

static char *name_of(const struct conf_proc *p)
{
	return xasprintf("%s:%s", p->group, p->name);
}

static void add_entry(struct entry **table, struct entry *e, struct diff_row *row)
{
	e->name = name_of(row->from);
	e->row = row;
	HASH_ADD_KEYPTR(hh, *table, e->name, strlen(e->name), e);
}

/* The row of what is called as p is. */
static struct diff_row *find(struct entry *table, const struct conf_proc *p)
{
	char *name = name_of(p);
	struct entry *e;

	HASH_FIND_STR(table, name, e);
	free(name);
	return e != NULL ? e->row : NULL;
}

/* Programs that come to an end, or leave one, are told of themselves. */
static void compare_pipe(struct diff_pipe *row)
{
	struct found f = { .n = 0 };

	compare(SECTION_PIPE, SECTION_PIPE, row->from, row->to, &f);
	row->kind = f.n == 0			       ? DIFF_SAME
		    : row->from->mode != row->to->mode ? DIFF_RESTART
						       : DIFF_LIVE;
	row->keys = take(&f);
	row->n_keys = f.n;
}

static void compare_pipes(const struct conf *from, const struct conf *to, struct diff *d)
{
	d->pipes = xcalloc(from->n_pipes + to->n_pipes + 1, sizeof(*d->pipes));
	for (size_t i = 0; i < from->n_pipes; i++) {
		const struct conf_pipe *p = &from->pipes[i], *now = conf_pipe_find(to, p->name);
		struct diff_pipe *row = &d->pipes[d->n_pipes++];

		*row = (struct diff_pipe){ .kind = DIFF_REMOVED, .from = p, .to = now };
		if (now != NULL)
			compare_pipe(row);
	}
	for (size_t i = 0; i < to->n_pipes; i++)
		if (conf_pipe_find(from, to->pipes[i].name) == NULL)
			d->pipes[d->n_pipes++] =
				(struct diff_pipe){ .kind = DIFF_ADDED, .to = &to->pipes[i] };
}

struct diff *diff_new(const struct conf *from, const struct conf *to)
{
	struct entry *entries = xcalloc(from->n_procs + 1, sizeof(*entries)), *table = NULL;
	struct diff *d = xcalloc(1, sizeof(*d));
	struct found own = { .n = 0 };

	d->rows = xcalloc(from->n_procs + to->n_procs + 1, sizeof(*d->rows));
	for (size_t i = 0; i < from->n_procs; i++) {
		d->rows[d->n] = (struct diff_row){ .kind = DIFF_REMOVED, .from = &from->procs[i] };
		add_entry(&table, &entries[i], &d->rows[d->n++]);
	}
	for (size_t i = 0; i < to->n_procs; i++) {
		struct diff_row *row = find(table, &to->procs[i]);

		if (row == NULL) {
			row = &d->rows[d->n++];
			*row = (struct diff_row){ .kind = DIFF_ADDED, .to = &to->procs[i] };
			continue;
		}
		row->to = &to->procs[i];
		compare_procs(row);
	}
	compare(SECTION_SUPERVISORD, SECTION_SUPERVISORD, &from->supervisord, &to->supervisord,
		&own);
	compare_pipes(from, to, d);
	d->own = take(&own);
	d->n_own = own.n;
	HASH_CLEAR(hh, table);
	for (size_t i = 0; i < from->n_procs; i++)
		free(entries[i].name);
	free(entries);
	return d;
}

void diff_free(struct diff *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < d->n; i++)
		free(d->rows[i].keys);
	for (size_t i = 0; i < d->n_pipes; i++)
		free(d->pipes[i].keys);
	free(d->rows);
	free(d->pipes);
	free(d->own);
	free(d);
}

const char *diff_kind_word(enum diff_kind kind)
{
	static const char *const words[] = {
#define X(name, word) [DIFF_##name] = (word),
		DIFF_KINDS(X)
#undef X
	};

	return words[kind];
}
