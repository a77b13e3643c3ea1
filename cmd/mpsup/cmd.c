/*
 * The framework of the verbs: the list, the look-up by prefix, options from the verb's table, and its help.
 */
#include "base/guess.h"
#include "mpsup/cmd.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "mpsup/verbs.h"

const struct cmd *const cmds[] = {
	&cmd_run,	 &cmd_exec,    &cmd_map,      &cmd_lock,    &cmd_sem,	  &cmd_manager,
	&cmd_dict,	 &cmd_list,    &cmd_queue,    &cmd_counter, &cmd_event,	  &cmd_barrier,
	&cmd_start,	 &cmd_stop,    &cmd_restart,  &cmd_reload,  &cmd_status,  &cmd_top,
	&cmd_signal,	 &cmd_send,    &cmd_tell,     &cmd_pid,	    &cmd_wait,	  &cmd_logs,
	&cmd_events,	 &cmd_upgrade, &cmd_shutdown, &cmd_ls,	    &cmd_ipc,	  &cmd_pipes,
	&cmd_graph,	 &cmd_check,   &cmd_keys,     &cmd_help,    &cmd_version, &cmd_supervise,
	&cmd_completion, NULL,
};

/* The options that several verbs share; a verb takes those that its flags name. */
static const struct common_option {
	unsigned flag; /* 0 = every verb */
	struct cmd_option option;
} commons[] = {
	{ CMD_CONFIG, { 'c', "config", "FILE", "the configuration (default: see mpsup.conf(5))" } },
	{ CMD_CONFIG, { 0, "insecure", NULL, "as root, read it though others may write it" } },
	{ CMD_SOCKET,
	  { 's', "socket", "PATH", "the supervisor's socket (default: as configured)" } },
	{ CMD_JSON, { 0, "json", NULL, "print JSON" } },
	{ 0, { 'h', "help", NULL, "print this help" } },
};
static const struct cmd_option version_option = { 'V', "version", NULL, "print the version" };

enum { LONG_BASE = 1000 };

/* The options of one verb, its own first: an own letter hides a common one. */
struct option_set {
	const struct cmd_option *all[CMD_OPTIONS_MAX];
	size_t n;
	size_t n_own;
	struct option longs[CMD_OPTIONS_MAX + 1];
	char shorts[2 * CMD_OPTIONS_MAX + 3];
};

static void set_fill(struct option_set *set, const struct cmd *cmd)
{
	unsigned flags = cmd ? cmd->flags : CMD_CONFIG | CMD_SOCKET | CMD_JSON;

	memset(set, 0, sizeof(*set));
	for (const struct cmd_option *o = cmd ? cmd->options : NULL; o && o->name; o++)
		set->all[set->n++] = o;
	set->n_own = set->n;
	for (size_t i = 0; i < ARRAY_SIZE(commons); i++)
		if ((commons[i].flag & flags) || commons[i].flag == 0)
			set->all[set->n++] = &commons[i].option;
	if (cmd == NULL)
		set->all[set->n++] = &version_option;
}

static void set_for_getopt(struct option_set *set, bool stop_at_word)
{
	char *s = set->shorts;

	if (stop_at_word)
		*s++ = '+'; /* without it getopt_long permutes: options may follow names */
	*s++ = ':';
	for (size_t i = 0; i < set->n; i++) {
		const struct cmd_option *o = set->all[i];

		set->longs[i] = (struct option){
			.name = o->name,
			.has_arg = o->arg ? required_argument : no_argument,
			.val = LONG_BASE + (int)i,
		};
		if (o->letter == 0 || memchr(set->shorts, o->letter, (size_t)(s - set->shorts)))
			continue;
		*s++ = o->letter;
		if (o->arg)
			*s++ = ':';
	}
	*s = '\0';
}

static const struct cmd_option *set_lookup(const struct option_set *set, int c)
{
	if (c >= LONG_BASE)
		return set->all[c - LONG_BASE];
	for (size_t i = 0; i < set->n; i++)
		if (set->all[i]->letter == c)
			return set->all[i];
	return NULL;
}

static int unknown_option(const struct option_set *set, char **argv, struct err *err)
{
	const char *word = argv[optind - 1], *name = word + strspn(word, "-");
	struct guess g = guess_begin(name);

	if (optopt != 0 && optopt < LONG_BASE)
		return err_set(err, EXIT_USAGE, "unknown option -%c", optopt);
	if (optopt >= LONG_BASE)
		return err_set(err, EXIT_USAGE, "--%s takes no value",
			       set->all[optopt - LONG_BASE]->name);
	for (size_t i = 0; i < set->n; i++)
		guess_try(&g, set->all[i]->name, set->all[i]->name);
	if (g.best != NULL)
		return err_set(err, EXIT_USAGE, "unknown option %s (did you mean --%s?)", word,
			       g.best);
	return err_set(err, EXIT_USAGE, "unknown option %s", word);
}

/* The common options; 0, CMD_DONE or EXIT_USAGE. */
static int apply_common(const struct cmd *cmd, const struct cmd_option *o, struct cmd_context *ctx)
{
	if (o == &version_option) {
		printf("mpsup %s\n", MPSUP_VERSION);
		return CMD_DONE;
	}
	if (strcmp(o->name, "help") == 0) {
		if (cmd)
			cmd_usage(cmd, stdout);
		else
			cmd_overview(stdout);
		return CMD_DONE;
	}
	if (strcmp(o->name, "config") == 0)
		ctx->config = optarg;
	else if (strcmp(o->name, "socket") == 0)
		ctx->socket = optarg;
	else if (strcmp(o->name, "insecure") == 0)
		ctx->insecure = true;
	else
		ctx->json = true;
	return 0;
}

/* An option before the verb counts only for a verb that takes it. */
static int check_common(const struct cmd *cmd, const struct cmd_context *ctx, struct err *err)
{
	const char *bad = NULL;

	if (ctx->config && !(cmd->flags & CMD_CONFIG))
		bad = "-c";
	if (ctx->insecure && !(cmd->flags & CMD_CONFIG))
		bad = "--insecure";
	if (ctx->socket && !(cmd->flags & CMD_SOCKET))
		bad = "-s";
	if (ctx->json && !(cmd->flags & CMD_JSON))
		bad = "--json";
	return bad ? err_set(err, EXIT_USAGE, "takes no %s", bad) : 0;
}

static bool is_own(const struct option_set *set, const struct cmd_option *o)
{
	for (size_t i = 0; i < set->n_own; i++)
		if (set->all[i] == o)
			return true;
	return false;
}

/*
 * Numbers below 0 among the words of such a verb are none of getopt's business: a mark hides them from it. It stands as well before
 * words that begin with it anyway.
 */
#define MARK '\1'

static void mark_numbers(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (argv[i][0] == MARK ||
		    (argv[i][0] == '-' && argv[i][1] >= '0' && argv[i][1] <= '9'))
			argv[i] = xasprintf("%c%s", MARK, argv[i]);
}

static char *without_mark(char *word)
{
	return word != NULL && word[0] == MARK ? word + 1 : word;
}

/* Up to the first word, or the end of the options: 0 with optind, CMD_DONE or EXIT_USAGE. */
static int read_options(const struct cmd *cmd, const struct option_set *set, int argc, char **argv,
			struct cmd_context *ctx, struct err *err)
{
	int c, r;

	opterr = 0;
	optind = 0; /* glibc: start anew, with this string's own way of ordering */
	while ((c = getopt_long(argc, argv, set->shorts, set->longs, NULL)) != -1) {
		const struct cmd_option *o = set_lookup(set, c == ':' ? optopt : c);

		if (c == ':')
			return err_set(err, EXIT_USAGE, "--%s needs a value: %s", o->name, o->arg);
		if (c == '?')
			return unknown_option(set, argv, err);
		if (cmd != NULL && (cmd->flags & CMD_VALUES))
			optarg = without_mark(optarg);
		if (is_own(set, o))
			r = cmd->on_option(o, optarg, err);
		else
			r = apply_common(cmd, o, ctx);
		if (r != 0)
			return r;
	}
	return 0;
}

int cmd_options(const struct cmd *cmd, int argc, char **argv, struct cmd_context *ctx,
		struct err *err)
{
	bool is_named = cmd != NULL && (cmd->flags & CMD_NAMED);
	struct option_set set;
	char *name;
	int r;

	set_fill(&set, cmd);
	if (cmd != NULL && (cmd->flags & CMD_VALUES))
		mark_numbers(argc, argv);
	set_for_getopt(&set, cmd == NULL || (cmd->flags & (CMD_COMMAND | CMD_NAMED)));
	r = read_options(cmd, &set, argc, argv, ctx, err);
	if (r == 0 && is_named && optind < argc) {
		/* The name takes the place of the verb, and in the end that of the last option. */
		argv += optind;
		argc -= optind;
		name = argv[0];
		r = read_options(cmd, &set, argc, argv, ctx, err);
		argv[0] = argv[--optind];
		argv[optind] = name;
	}
	if (r != 0)
		return r;
	ctx->argc = argc - optind;
	ctx->argv = argv + optind;
	for (int i = 0; cmd != NULL && (cmd->flags & CMD_VALUES) && i < ctx->argc; i++)
		ctx->argv[i] = without_mark(ctx->argv[i]);
	return cmd ? check_common(cmd, ctx, err) : 0;
}

/* The verbs that begin with what was given, with commas. */
static void explain_ambiguous(const char *name, struct err *err)
{
	AUTO_BUF list = BUF_INIT;

	for (size_t i = 0; cmds[i]; i++)
		if (!(cmds[i]->flags & CMD_HIDDEN) && str_is_prefix(name, cmds[i]->name))
			buf_addf(&list, "%s%s", list.len > 0 ? ", " : "", cmds[i]->name);
	err_set(err, EXIT_USAGE, "ambiguous verb '%s': one of %s", name, list.p);
}

const struct cmd *cmd_find(const char *name, struct err *err)
{
	const struct cmd *found = NULL;
	struct guess g = guess_begin(name);
	unsigned n_found = 0;

	for (size_t i = 0; cmds[i]; i++) {
		if (strcmp(cmds[i]->name, name) == 0)
			return cmds[i];
		if ((cmds[i]->flags & CMD_HIDDEN) || *name == '\0')
			continue;
		if (str_is_prefix(name, cmds[i]->name)) {
			found = cmds[i];
			n_found++;
		}
		guess_try(&g, cmds[i]->name, cmds[i]->name);
	}
	if (n_found == 1)
		return found;
	if (n_found > 1)
		explain_ambiguous(name, err);
	else if (g.best != NULL)
		err_set(err, EXIT_USAGE, "unknown verb '%s' (did you mean %s?)", name, g.best);
	else
		err_set(err, EXIT_USAGE, "unknown verb '%s' ('mpsup help' lists them)", name);
	return NULL;
}

size_t cmd_list_options(const struct cmd *cmd, const struct cmd_option **ret_all)
{
	struct option_set set;

	set_fill(&set, cmd);
	memcpy(ret_all, set.all, set.n * sizeof(*ret_all));
	return set.n;
}

/* "-c, --config FILE": what stands left of the explanation. */
static char *option_label(const struct cmd_option *o)
{
	char letter[5] = "    ";

	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	return xasprintf("%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
}

static void print_options(const struct option_set *set, FILE *to)
{
	int width = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < set->n; i++) {
			AUTO_FREE char *label = option_label(set->all[i]);

			if (pass == 0 && (int)strlen(label) > width)
				width = (int)strlen(label);
			if (pass == 1)
				fprintf(to, "  %-*s  %s\n", width, label, set->all[i]->doc);
		}
	}
}

void cmd_usage(const struct cmd *cmd, FILE *to)
{
	struct option_set set;

	set_fill(&set, cmd);
	fprintf(to, "usage: mpsup %s [OPTION...]%s%s\n\n", cmd->name, *cmd->args ? " " : "",
		cmd->args);
	fprintf(to, "%s.\n", cmd->summary);
	if (cmd->help)
		fprintf(to, "\n%s\n", cmd->help);
	fprintf(to, "\noptions:\n");
	print_options(&set, to);
}

void cmd_overview(FILE *to)
{
	struct option_set set;
	int width = 0;

	for (size_t i = 0; cmds[i]; i++)
		if (!(cmds[i]->flags & CMD_HIDDEN) && (int)strlen(cmds[i]->name) > width)
			width = (int)strlen(cmds[i]->name);
	fprintf(to, "usage: mpsup [OPTION...] VERB [OPTION...] [ARGUMENT...]\n\nverbs:\n");
	for (size_t i = 0; cmds[i]; i++)
		if (!(cmds[i]->flags & CMD_HIDDEN))
			fprintf(to, "  %-*s  %s\n", width, cmds[i]->name, cmds[i]->summary);
	set_fill(&set, NULL);
	fprintf(to, "\noptions:\n");
	print_options(&set, to);
	fprintf(to, "\nA verb may be cut to a prefix that only it has. 'mpsup help VERB' explains "
		    "one.\n");
}

int cmd_takes_nothing(const struct cmd_context *ctx, const char *verb)
{
	struct err err;

	if (ctx->argc == 0)
		return EXIT_OK;
	err_set(&err, 0, "%s takes no arguments: '%s'", verb, ctx->argv[0]);
	return cmd_fail(EXIT_USAGE, &err);
}

int cmd_fail(int code, const struct err *err)
{
	fprintf(stderr, "mpsup: %s\n", err->text);
	return code;
}

int cmd_config_path(const struct cmd_context *ctx, char **ret_path, struct err *err)
{
	if (ctx->config == NULL)
		return conf_find(ret_path, err);
	*ret_path = conf_absolute_path(ctx->config);
	return 0;
}
