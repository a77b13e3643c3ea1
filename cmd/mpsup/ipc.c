/*
 * mpsup ipc: the named objects that programs make. What there is, is inventory.c's, and what they have left ipc_clean.c's.
 */
#include <errno.h>
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
#include "mpsup/ipc_clean.h"
#include "mpsup/terminal.h"
#include "mpsup/usage.h"
#include "mpsup/verbs.h"
#include "track/client.h"

#define NONE "\xe2\x80\x93"

static bool all;
static struct ipc_cleaning cleaning;
/* The last option that is of one action alone. */
static const char *of_ls, *of_clean;

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	int64_t unused;

	*(strcmp(o->name, "all") == 0 ? &of_ls : &of_clean) = o->name;
	if (strcmp(o->name, "all") == 0)
		all = true;
	else if (strcmp(o->name, "dry-run") == 0)
		cleaning.dry_run = true;
	else if (strcmp(o->name, "match") == 0)
		cleaning.match = value;
	else if (when_parse(value, mps_wall().ns, &unused, err) < 0)
		return err_prefix(err, EXIT_USAGE, "--older-than: ");
	else
		cleaning.older_than = value;
	return 0;
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
		{ "TYPE", false, 0 },	 { "NAME", false, -20 }, { "SIZE", true, 1 },
		{ "AGE", false, 2 },	 { "CREATOR", true, 3 }, { "PROGRAM", false, -12 },
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

static json_t *describe(const struct item *item)
{
	json_t *users = json_array();

	for (size_t i = 0; i < item->n_users; i++)
		json_array_append_new(users, json_integer(item->users[i]));
	return json_pack("{s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:b, s:o}", "type",
			 track_type_word(item->type), "name", inventory_json_text(item->name),
			 "size", (json_int_t)item->look.size, "uid", (json_int_t)item->look.uid,
			 "age", item->look.born_ns != 0 ? json_real(age_of(item)) : json_null(),
			 "creator", item->creator > 0 ? json_integer(item->creator) : json_null(),
			 "program", inventory_json_text(item->program), "supervisor",
			 inventory_json_text(item->instance), "left", item->is_left, "used_by",
			 users);
}

static int list(const struct cmd_context *ctx)
{
	struct inventory v = { 0 };
	int r = all ? inventory_add_all(&v) : 0;

	inventory_add_own(&v);
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

/* ------------------------------------------------------------------------------------------------- register */

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

static int clean(const struct cmd_context *ctx)
{
	return ipc_clean(ctx, &cleaning);
}

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
	{ " NAME...", 1, -1, ipc_unlink },
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
