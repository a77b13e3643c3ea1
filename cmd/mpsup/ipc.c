/*
 * mpsup ipc: the named objects that programs make, and what they have left. What there is, is inventory.c's.
 */
#include <errno.h>
#include <fnmatch.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/guess.h"
#include "base/mtime.h"
#include "base/table.h"
#include "base/utf8.h"
#include "base/when.h"
#include "base/xalloc.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/inventory.h"
#include "mpsup/terminal.h"
#include "mpsup/usage.h"
#include "mpsup/verbs.h"
#include "sup/client.h"
#include "track/client.h"
#include "track/sweep.h"

#define NONE "\xe2\x80\x93"

static bool all, dry_run;
static const char *match, *older_than;
/* The last option that is of one action alone. */
static const char *of_ls, *of_clean;

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	int64_t unused;

	*(strcmp(o->name, "all") == 0 ? &of_ls : &of_clean) = o->name;
	if (strcmp(o->name, "all") == 0)
		all = true;
	else if (strcmp(o->name, "dry-run") == 0)
		dry_run = true;
	else if (strcmp(o->name, "match") == 0)
		match = value;
	else if (when_parse(value, mps_wall().ns, &unused, err) < 0)
		return err_prefix(err, EXIT_USAGE, "--older-than: ");
	else
		older_than = value;
	return 0;
}

/* Where this user's runtime directories are; n of them, which the caller frees. */
enum { BASES = 2 };
static int find_bases(char *bases[BASES])
{
	bases[0] = client_runtime_base();
	bases[1] = client_runtime_spare();
	if (strcmp(bases[0], bases[1]) != 0)
		return BASES;
	free(bases[1]);
	return 1;
}

static void add_recorded(struct inventory *v)
{
	char *bases[BASES];

	for (int i = 0, n = find_bases(bases); i < n; i++) {
		inventory_add_recorded(v, bases[i]);
		free(bases[i]);
	}
}

/* ------------------------------------------------------------------------------------------------------ ls */

static double age_of(const struct item *item)
{
	return (double)(mps_wall().ns - item->look.born_ns) / (double)MPS_NS_PER_S;
}

static void add_program(struct table *t, const struct item *item)
{
	if (item->program == NULL)
		table_add(t, NONE, NULL);
	else
		table_addf(t, item->is_left ? terminal_state_sgr("FATAL") : NULL, "%s%s",
			   item->program, item->is_left ? " (left)" : "");
}

static void add_row(struct table *t, const struct item *item)
{
	char size[32], age[32] = NONE;
	AUTO_BUF users = BUF_INIT;

	if (item->look.size < 1024)
		snprintf(size, sizeof(size), "%uB", (unsigned)item->look.size);
	else
		usage_format_size(size, sizeof(size), item->look.size);
	if (item->look.born_ns != 0)
		usage_format_span(age, sizeof(age), age_of(item));
	inventory_write_users(item, &users);
	table_add(t, track_type_word(item->type), NULL);
	table_add(t, item->name, NULL);
	if (item->type == TRACK_SYSV_SEM)
		table_addf(t, NULL, "%llu", (unsigned long long)item->look.size);
	else
		table_add(t, size, NULL);
	table_add(t, age, NULL);
	if (item->creator > 0)
		table_addf(t, NULL, "%d", (int)item->creator);
	else
		table_add(t, NONE, NULL);
	add_program(t, item);
	table_add(t, users.len > 0 ? users.p : NONE, NULL);
}

static void print_table(const struct inventory *v)
{
	static const struct table_column columns[] = {
		{ "TYPE", false, 0 },	 { "NAME", false, 0 },	 { "SIZE", true, 1 },
		{ "AGE", false, 2 },	 { "CREATOR", true, 3 }, { "PROGRAM", false, 0 },
		{ "USED BY", false, 0 },
	};
	AUTO_BUF out = BUF_INIT;
	struct table t;

	table_init(&t, columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < v->n; i++)
		add_row(&t, &v->items[i]);
	table_render(&t, &out, terminal_width(), terminal_has_colours());
	if (out.len > 0)
		fwrite(out.p, 1, out.len, stdout);
	table_fini(&t);
}

/* A name may be any bytes; JSON has text. */
static json_t *text(const char *s)
{
	AUTO_BUF b = BUF_INIT;

	if (s == NULL)
		return json_null();
	utf8_add_valid(&b, s, strlen(s));
	return json_string(b.p != NULL ? b.p : "");
}

static json_t *describe(const struct item *item)
{
	json_t *users = json_array();

	for (size_t i = 0; i < item->n_users; i++)
		json_array_append_new(users, json_integer(item->users[i]));
	return json_pack("{s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:b, s:o}", "type",
			 track_type_word(item->type), "name", text(item->name), "size",
			 (json_int_t)item->look.size, "uid", (json_int_t)item->look.uid, "age",
			 item->look.born_ns != 0 ? json_real(age_of(item)) : json_null(), "creator",
			 item->creator > 0 ? json_integer(item->creator) : json_null(), "program",
			 text(item->program), "supervisor", text(item->instance), "left",
			 item->is_left, "used_by", users);
}

static int list(const struct cmd_context *ctx)
{
	struct inventory v = { 0 };
	int r = 0;

	add_recorded(&v);
	if (all)
		r = inventory_add_all(&v);
	if (r == 0)
		r = inventory_find_users(&v);
	if (r < 0)
		fprintf(stderr, "mpsup: not all can be listed: %s\n", strerror(-r));
	if (ctx->json) {
		json_t *rows = json_array();

		for (size_t i = 0; i < v.n; i++)
			json_array_append_new(rows, describe(&v.items[i]));
		connect_print_json(json_pack("{s:o, s:I}", "objects", rows, "hidden_processes",
					     (json_int_t)v.n_hidden));
	} else if (v.n > 0) {
		print_table(&v);
	} else {
		fprintf(stderr, "mpsup: no program of yours has a named object; --all lists those "
				"of others\n");
	}
	inventory_fini(&v);
	return r < 0 ? EXIT_GENERIC : EXIT_OK;
}

/* --------------------------------------------------------------------------------------------------- clean */

struct cleaning {
	json_t *rows; /* NULL: for people */
	size_t n_unlinked, n_kept, n_failed, n_killed;
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
	c->n_unlinked += kept == NULL;
	c->n_kept += kept != NULL;
	c->n_failed += state == OBJECT_UNKNOWN;
	if (c->rows != NULL) {
		json_array_append_new(c->rows,
				      json_pack("{s:s, s:o, s:o, s:b, s:s?}", "type",
						track_type_word((enum track_type)record->type),
						"name", text(record->name), "program", text(who),
						"unlinked", kept == NULL && !dry_run, "kept",
						kept));
		return;
	}
	utf8_add_clean(&name, record->name, record->name_length);
	printf("%s %s %s",
	       kept != NULL ? "kept"
	       : dry_run    ? "would unlink"
			    : "unlinked",
	       track_type_people((enum track_type)record->type), name.p != NULL ? name.p : "");
	if (who != NULL)
		printf(" (program %s)", who);
	printf(kept != NULL ? ": %s\n" : "\n", kept);
}

/* What bears such a name, whoever made it, if nobody uses it. What a living program of ours has made is its own matter. */
struct strangers {
	struct inventory known;
	struct cleaning *cleaning;
	int64_t born_before;
};

static bool is_meant(const struct strangers *s, enum track_type type, const char *name,
		     const struct track_look *look)
{
	const struct item *item = inventory_find(&s->known, type, name);

	if (fnmatch(match, name, 0) != 0 && fnmatch(match, name + (name[0] == '/'), 0) != 0)
		return false;
	if (item != NULL && !item->is_left)
		return false;
	return s->born_before == 0 || (look->born_ns != 0 && look->born_ns < s->born_before);
}

static void on_stranger(enum track_type type, const char *name, const struct track_look *look,
			void *user)
{
	struct strangers *s = user;
	const struct track_creator creator = { .pid = look->creator, .uid = look->uid };
	struct track_registry registry = { 0 };
	struct track_owner owner = { 0 };
	struct track_record *record;

	if (!is_meant(s, type, name, look))
		return;
	record = track_add(&registry, &owner, type, name, strlen(name), &creator);
	if (record != NULL && object_identify(type, name, &record->identity))
		on_object(record, dry_run ? object_ask(record) : object_unlink(record), NULL,
			  s->cleaning);
	track_registry_fini(&registry);
}

static int clean_strangers(struct cleaning *c, int64_t born_before)
{
	struct strangers s = { .cleaning = c, .born_before = born_before };
	int r;

	add_recorded(&s.known);
	r = track_list(on_stranger, &s);
	inventory_fini(&s.known);
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
	char *bases[BASES];
	int r = 0;

	for (int i = 0, n = find_bases(bases); i < n; i++) {
		int one = track_sweep_all(bases[i], s);

		if (one < 0)
			fprintf(stderr, "mpsup: %s: %s\n", bases[i], strerror(-one));
		r = r < 0 ? r : one;
		free(bases[i]);
	}
	return r;
}

static int clean(const struct cmd_context *ctx)
{
	struct cleaning c = { .rows = ctx->json ? json_array() : NULL };
	struct track_sweep s = {
		.dry_run = dry_run, .tell = on_object, .killed = on_killed, .user = &c
	};
	int64_t now = mps_wall().ns, before = 0;
	int r;

	if (older_than != NULL && when_parse(older_than, now, &before, NULL) == 0)
		s.older_than_ns = now - before;
	r = clean_bases(&s);
	if (r >= 0 && match != NULL && (r = clean_strangers(&c, before)) < 0)
		fprintf(stderr, "mpsup: not all can be looked at: %s\n", strerror(-r));
	if (ctx->json)
		connect_print_json(json_pack("{s:o, s:I}", "objects", c.rows, "killed",
					     (json_int_t)c.n_killed));
	else if (c.n_unlinked + c.n_kept + c.n_killed == 0)
		fprintf(stderr, "mpsup: nothing to clean\n");
	return r < 0 || c.n_failed > 0 ? EXIT_GENERIC : EXIT_OK;
}

/* --------------------------------------------------------------------------------------- unlink, register */

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

static int say_who_uses(enum track_type type, const char *name, struct err *err)
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
	return err_set(err, -EBUSY, "%s %s is in use%s%s", track_type_people(type), name,
		       users.len > 0 ? " by " : "", users.len > 0 ? users.p : "");
}

static int unlink_one(const char *arg, struct err *err)
{
	struct track_registry registry = { 0 };
	struct track_owner owner = { 0 };
	struct track_record *record = NULL;
	enum object_state state = OBJECT_UNKNOWN;
	struct track_look look;
	enum track_type type;
	AUTO_FREE char *name = NULL;
	int r = find_object(arg, &type, &name, err);

	if (r < 0)
		return r;
	errno = ENOMEM;
	if (track_look(type, name, &look) == 0)
		record = track_add(&registry, &owner, type, name, strlen(name),
				   &(struct track_creator){ .pid = look.creator, .uid = look.uid });
	if (record != NULL && object_identify(type, name, &record->identity))
		state = object_unlink(record);
	r = errno;
	track_registry_fini(&registry);
	if (state == OBJECT_USED)
		return say_who_uses(type, name, err);
	return state == OBJECT_UNKNOWN
		       ? err_set(err, -r, "%s %s: %s", track_type_people(type), name, strerror(r))
		       : 0;
}

static int unlink_all(const struct cmd_context *ctx)
{
	int code = EXIT_OK;

	for (int i = 1; i < ctx->argc; i++) {
		struct err err = ERR_INIT;

		if (unlink_one(ctx->argv[i], &err) < 0)
			code = cmd_fail(EXIT_GENERIC, &err);
	}
	return code;
}

static int say(const struct cmd_context *ctx, enum track_verb verb)
{
	const char *socket = getenv("MPSUP_TRACKER"), *word = ctx->argv[1];
	struct err err = ERR_INIT;
	struct track_look look;
	enum track_type type;

	if (!track_type_parse(word, strlen(word), &type)) {
		struct guess g = guess_begin(word);

		for (size_t i = 0; i < N_TRACK_TYPES; i++)
			guess_try(&g, track_type_word((enum track_type)i),
				  track_type_word((enum track_type)i));
		err_set(&err, 0, "'%s' is no type of objects; did you mean %s?", word,
			g.best != NULL ? g.best : "shared_memory");
		return cmd_fail(EXIT_USAGE, &err);
	}
	if (socket == NULL || socket[0] == '\0') {
		err_set(&err, 0,
			"nobody to tell: MPSUP_TRACKER is not set (does a supervisor or mpsup exec "
			"run this, "
			"and without track=off?)");
		return cmd_fail(EXIT_GENERIC, &err);
	}
	if (verb == TRACK_REGISTER && type != TRACK_FILE && type != TRACK_FOLDER &&
	    track_look(type, ctx->argv[2], &look) == 0) {
		err_set(&err, 0, "%s %s is there already; it is told of before it is made",
			track_type_people(type), ctx->argv[2]);
		return cmd_fail(EXIT_GENERIC, &err);
	}
	return track_say(socket, verb, type, ctx->argv[2], &err) < 0 ? cmd_fail(EXIT_GENERIC, &err)
								     : EXIT_OK;
}

/* ----------------------------------------------------------------------------------------------------- verb */

static int run_register(const struct cmd_context *ctx)
{
	return say(ctx, TRACK_REGISTER);
}

static int run_unregister(const struct cmd_context *ctx)
{
	return say(ctx, TRACK_UNREGISTER);
}

/* In the order of ipc_actions. */
const char *const ipc_actions[] = { "ls", "clean", "unlink", "register", "unregister", NULL };

static const struct action {
	const char *args;
	int least, most; /* arguments; most -1 = any number */
	int (*run)(const struct cmd_context *ctx);
} actions[] = {
	{ "", 0, 0, list },
	{ "", 0, 0, clean },
	{ " NAME...", 1, -1, unlink_all },
	{ " TYPE NAME", 2, 2, run_register },
	{ " TYPE NAME", 2, 2, run_unregister },
};

/* What another action takes, this one must not do without: unlink --dry-run would unlink. */
static int check_options(const char *action, struct err *err)
{
	const char *wrong = strcmp(action, "ls") != 0 && of_ls != NULL	       ? of_ls
			    : strcmp(action, "clean") != 0 && of_clean != NULL ? of_clean
									       : NULL;

	return wrong == NULL ? 0
			     : err_set(err, -EINVAL, "ipc %s takes no --%s, which is for ipc %s",
				       action, wrong, wrong == of_ls ? "ls" : "clean");
}

static int run(struct cmd_context *ctx)
{
	struct guess g;
	const char *name = ctx->argc > 0 ? ctx->argv[0] : "ls";
	int n = ctx->argc > 0 ? ctx->argc - 1 : 0;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		const struct action *a = &actions[i];

		if (strcmp(ipc_actions[i], name) != 0)
			continue;
		if (check_options(name, &err) < 0)
			return cmd_fail(EXIT_USAGE, &err);
		if (n >= a->least && (a->most < 0 || n <= a->most))
			return a->run(ctx);
		err_set(&err, 0, "usage: mpsup ipc %s%s", name, a->args);
		return cmd_fail(EXIT_USAGE, &err);
	}
	g = guess_begin(name);
	for (size_t i = 0; ipc_actions[i] != NULL; i++)
		guess_try(&g, ipc_actions[i], ipc_actions[i]);
	if (g.best != NULL)
		err_set(&err, 0, "unknown: mpsup ipc %s (did you mean ipc %s?)", name, g.best);
	else
		err_set(&err, 0,
			"unknown: mpsup ipc %s (it can ls, clean, unlink, register, unregister)",
			name);
	return cmd_fail(EXIT_USAGE, &err);
}

const struct cmd cmd_ipc = {
	.name = "ipc",
	.args = "[ACTION] [ARGUMENT...]",
	.summary = "named semaphores, memory and queues: whose they are, what was left",
	.help = "ls        those of your programs; with --all everything of this machine\n"
		"clean     unlink what supervisors that are no more have left; with --match\n"
		"          also what others have left, if nobody uses it\n"
		"unlink    by name or TYPE:NAME, if nobody uses it\n"
		"register  from inside a program: this is to go with it (unregister: it is\n"
		"          not). TYPE is semaphore, shared_memory, sysv_sem, sysv_shm,\n"
		"          sysv_msg, mqueue, file or folder",
	.flags = CMD_JSON,
	.options =
		(const struct cmd_option[]){
			{ 'a', "all", NULL, "ls: what others have made, too" },
			{ 'n', "dry-run", NULL, "clean: only say what would be unlinked" },
			{ 0, "older-than", "TIME", "clean: only what is older: 30s, 10m, 2h, 1d" },
			{ 0, "match", "GLOB",
			  "clean: also such names of others, if nobody uses them" },
			{ 0 },
		},
	.on_option = on_option,
	.run = run,
};
