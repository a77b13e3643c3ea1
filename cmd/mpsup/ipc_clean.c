/*
 * mpsup ipc clean, what dead instances and strangers have left, and mpsup ipc unlink, one object. Both ask the kernel
 * whether anybody uses it.
 */
#include "mpsup/ipc_clean.h"

#include <errno.h>
#include <fnmatch.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mtime.h"
#include "base/utf8.h"
#include "base/when.h"
#include "base/xalloc.h"
#include "mpsup/connect.h"
#include "mpsup/inventory.h"
#include "track/sweep.h"

/* --------------------------------------------------------------------------------------------------- clean */

struct cleaning {
	const struct ipc_cleaning *how;
	json_t *rows; /* NULL: for people */
	size_t n_unlinked, n_kept, n_failed, n_killed;
	/* Those that were spoken of. */
	struct track_registry told;
	struct track_owner owner;
};

static const char *reason_to_keep(enum object_state state)
{
	switch (state) {
	case OBJECT_USED:
		return "in use";
	case OBJECT_FOREIGN:
		return "another's now";
	case OBJECT_UNKNOWN:
		return strerror(errno);
	case OBJECT_ABSENT:
	case OBJECT_FREE:
		break;
	}
	return NULL;
}

static void on_object(const struct track_record *record, enum object_state state, const char *who,
		      void *user)
{
	struct cleaning *c = user;
	const char *kept = reason_to_keep(state);
	AUTO_BUF name = BUF_INIT;

	if (state == OBJECT_ABSENT)
		return;
	track_add(&c->told, &c->owner, (enum track_type)record->type, record->name,
		  record->name_length, &record->creator);
	c->n_unlinked += kept == NULL;
	c->n_kept += kept != NULL;
	c->n_failed += state == OBJECT_UNKNOWN;
	if (c->rows != NULL) {
		json_array_append_new(c->rows,
				      json_pack("{s:s, s:o, s:o, s:b, s:s?}", "type",
						track_type_word((enum track_type)record->type),
						"name", inventory_json_text(record->name),
						"program", inventory_json_text(who), "unlinked",
						kept == NULL && !c->how->dry_run, "kept", kept));
		return;
	}
	utf8_add_clean(&name, record->name, record->name_length);
	printf("%s %s %s",
	       kept != NULL	 ? "kept"
	       : c->how->dry_run ? "would unlink"
				 : "unlinked",
	       track_type_people((enum track_type)record->type), name.p != NULL ? name.p : "");
	if (who != NULL && who[0] != '\0')
		printf(" (program %s)", who);
	printf(kept != NULL ? ": %s\n" : "\n", kept);
}

/*
 * What bears such a name, whoever made it, if nobody uses it. What a living program of ours has made is its own matter:
 * whose all are is looked at when it is known what there is.
 */
static bool is_meant(const struct cleaning *c, const struct item *item, int64_t born_before)
{
	const char *match = c->how->match, *name = item->name;

	if (fnmatch(match, name, 0) != 0 && fnmatch(match, name + (name[0] == '/'), 0) != 0)
		return false;
	if (item->program != NULL && !item->is_left)
		return false;
	if (track_find(&c->told, item->type, name, strlen(name)) != NULL)
		return false;
	return born_before == 0 || (item->look.born_ns != 0 && item->look.born_ns < born_before);
}

/* What has that name now may be made since. Of SysV objects, whose numbers are not given again soon, no inode is known. */
static bool is_still(const struct item *item, const struct track_record *record)
{
	return track_type_is_sysv(item->type) ||
	       record->identity.ino == (uint64_t)item->look.target.ino;
}

static void clean_stranger(struct cleaning *c, const struct item *item)
{
	const struct track_creator creator = { .pid = item->look.creator, .uid = item->look.uid };
	struct track_registry registry = { 0 };
	struct track_owner owner = { 0 };
	struct track_record *record =
		track_add(&registry, &owner, item->type, item->name, strlen(item->name), &creator);
	enum object_state state = OBJECT_ABSENT;

	if (record == NULL)
		xalloc_failed();
	if (!object_identify(item->type, item->name, &record->identity))
		state = errno == ENOENT ? OBJECT_ABSENT : OBJECT_UNKNOWN;
	else if (is_still(item, record))
		state = c->how->dry_run ? object_ask(record) : object_unlink(record);
	on_object(record, state, NULL, c);
	track_registry_fini(&registry);
}

static int clean_strangers(struct cleaning *c, int64_t born_before)
{
	struct inventory v = { 0 };
	int r = inventory_add_all(&v);

	inventory_add_own(&v);
	for (size_t i = 0; i < v.n; i++)
		if (is_meant(c, &v.items[i], born_before))
			clean_stranger(c, &v.items[i]);
	inventory_fini(&v);
	return r;
}

static void on_killed(size_t n, const char *who, void *user)
{
	struct cleaning *c = user;

	c->n_killed += n;
	if (c->rows == NULL)
		printf("killed %zu process%s that %s, which was killed, has left\n", n,
		       n == 1 ? "" : "es", who);
}

/* 0 or -errno, said. */
static int clean_bases(const struct track_sweep *s)
{
	char *bases[INVENTORY_BASES];
	int r = 0;

	for (int i = 0, n = inventory_bases(bases); i < n; i++) {
		int one = track_sweep_all(bases[i], s);

		if (one < 0)
			fprintf(stderr, "mpsup: %s: %s\n", bases[i], strerror(-one));
		r = r < 0 ? r : one;
		free(bases[i]);
	}
	return r;
}

int ipc_clean(const struct cmd_context *ctx, const struct ipc_cleaning *how)
{
	struct cleaning c = { .how = how,
			      .rows = ctx->json ? json_array() : NULL,
			      .owner = { .name = "" } };
	struct track_sweep s = {
		.dry_run = how->dry_run, .tell = on_object, .killed = on_killed, .user = &c
	};
	int64_t now = mps_wall().ns, before = 0;
	int r;

	if (how->older_than != NULL && when_parse(how->older_than, now, &before, NULL) == 0)
		s.older_than_ns = now - before;
	r = clean_bases(&s);
	if (r >= 0 && how->match != NULL && (r = clean_strangers(&c, before)) < 0)
		fprintf(stderr, "mpsup: not all can be looked at: %s\n", strerror(-r));
	if (ctx->json)
		connect_print_json(json_pack("{s:o, s:I}", "objects", c.rows, "killed",
					     (json_int_t)c.n_killed));
	else if (c.n_unlinked + c.n_kept + c.n_killed == 0)
		fprintf(stderr, "mpsup: nothing to clean\n");
	track_registry_fini(&c.told);
	return r < 0 || c.n_failed > 0 ? EXIT_GENERIC : EXIT_OK;
}

/* -------------------------------------------------------------------------------------------------- unlink */

/* Its name, which is what was written or has the slash that was left out; NULL where there is none. */
static char *find_name(enum track_type type, const char *written)
{
	AUTO_FREE char *slashed = xasprintf("/%s", written);
	bool is_path = type == TRACK_FILE || type == TRACK_FOLDER;
	struct track_look look;

	if (track_look(type, written, &look) == 0)
		return xstrdup(written);
	return !is_path && written[0] != '/' && track_look(type, slashed, &look) == 0
		       ? TAKE_PTR(slashed)
		       : NULL;
}

/* TYPE:NAME, or a name that one object alone has. 0 and a heap string, or -errno. */
static int find_object(const char *arg, enum track_type *ret_type, char **ret_name, struct err *err)
{
	const char *colon = strchr(arg, ':');
	int n = 0;

	if (colon != NULL && track_type_parse(arg, (size_t)(colon - arg), ret_type)) {
		*ret_name = find_name(*ret_type, colon + 1);
		return *ret_name != NULL ? 0
					 : err_set(err, -ENOENT, "there is no %s %s",
						   track_type_people(*ret_type), colon + 1);
	}
	for (size_t i = 0; i < N_TRACK_TYPES; i++) {
		enum track_type type = (enum track_type)i;
		char *name =
			type == TRACK_FILE || type == TRACK_FOLDER ? NULL : find_name(type, arg);

		if (name == NULL)
			continue;
		free(*ret_name);
		*ret_name = name;
		*ret_type = type;
		n++;
	}
	if (n == 0)
		return err_set(err, -ENOENT,
			       "there is no object %s; mpsup ipc ls --all lists what there is",
			       arg);
	return n == 1 ? 0
		      : err_set(err, -EEXIST, "there is more than one %s: say which, such as %s:%s",
				arg, track_type_word(*ret_type), arg);
}

static int say_who_uses(enum track_type type, const char *name, pid_t maker, struct err *err)
{
	struct inventory v = { 0 };
	AUTO_BUF users = BUF_INIT;
	const struct item *item;

	inventory_add_all(&v);
	inventory_find_users(&v);
	item = inventory_find(&v, type, name);
	if (item != NULL)
		inventory_write_users(item, &users);
	inventory_fini(&v);
	if (users.len == 0 && maker > 0) {
		inventory_write_process(maker, &users);
		buf_adds(&users, ", which has made it");
	}
	return err_set(err, -EBUSY, "%s %s is in use%s%s", track_type_people(type), name,
		       users.len > 0 ? " by " : "", users.len > 0 ? users.p : "");
}

/* Of a semaphore set and a queue the kernel does not know who has made them; of ours we do. */
static pid_t find_maker(enum track_type type, const char *name, const struct track_look *look)
{
	struct inventory v = { 0 };
	const struct item *item;
	pid_t maker = look->creator;

	if (type != TRACK_SYSV_SEM && type != TRACK_SYSV_MSG)
		return maker;
	inventory_add_own(&v);
	item = inventory_find(&v, type, name);
	if (item != NULL && !item->is_left)
		maker = item->creator;
	inventory_fini(&v);
	return maker;
}

static int unlink_one(const char *arg, struct err *err)
{
	struct track_registry registry = { 0 };
	struct track_owner owner = { 0 };
	struct track_record *record = NULL;
	enum object_state state = OBJECT_UNKNOWN;
	struct track_creator maker = { 0 };
	struct track_look look;
	enum track_type type;
	AUTO_FREE char *name = NULL;
	int r = find_object(arg, &type, &name, err);

	if (r < 0)
		return r;
	errno = ENOMEM;
	if (track_look(type, name, &look) == 0) {
		maker.pid = find_maker(type, name, &look);
		maker.uid = look.uid;
		record = track_add(&registry, &owner, type, name, strlen(name), &maker);
	}
	if (record != NULL && object_identify(type, name, &record->identity))
		state = object_unlink(record);
	r = errno;
	track_registry_fini(&registry);
	if (state == OBJECT_USED)
		return say_who_uses(type, name, maker.pid, err);
	return state == OBJECT_UNKNOWN
		       ? err_set(err, -r, "%s %s: %s", track_type_people(type), name, strerror(r))
		       : 0;
}

int ipc_unlink(const struct cmd_context *ctx)
{
	int code = EXIT_OK;

	for (int i = 1; i < ctx->argc; i++) {
		struct err err = ERR_INIT;

		if (unlink_one(ctx->argv[i], &err) < 0)
			code = cmd_fail(EXIT_GENERIC, &err);
	}
	return code;
}
