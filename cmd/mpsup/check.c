/*
 * mpsup check: reads a configuration and tells what is wrong with it, or, as JSON, all that was understood.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "conf/conf.h"
#include "mpsup/cmd.h"
#include "mpsup/explain.h"
#include "mpsup/missing.h"
#include "mpsup/verbs.h"

static struct conf_options options;

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	(void)o;
	(void)value;
	(void)err;
	options.strict = true;
	return 0;
}

static bool use_colour(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (no == NULL || *no == '\0') &&
	       (term == NULL || strcmp(term, "dumb") != 0);
}

/* Values come from the file: what would move the cursor or break the line is shown as an escape. */
static void print_clean(const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '\n')
			printf("\\n");
		else if (c < ' ' || c == 0x7f)
			printf("\\x%02x", c);
		else
			putchar(c);
	}
}

static void print_message(const struct conf_message *m, bool colour)
{
	static const char *const on[] = { "\033[1;31m", "\033[1;33m", "\033[1;36m" };

	if (m->file)
		printf("%s:", m->file);
	if (m->file && m->line > 0)
		printf("%d:", m->line);
	printf("%s%s%s%s: ", m->file ? " " : "", colour ? on[m->level] : "",
	       explain_severity(m->level), colour ? "\033[0m" : "");
	if (m->key) {
		print_clean(m->key);
		printf(": ");
	}
	print_clean(m->text);
	printf("\n");
}

static void print_count(size_t n, const char *what, const char *end)
{
	printf("%zu %s%s%s", n, what, n == 1 ? "" : "s", end);
}

static void print_text(const struct conf *conf)
{
	bool colour = use_colour();

	for (size_t i = 0; i < conf->n_messages; i++)
		print_message(&conf->messages[i], colour);
	if (conf->n_errors == 0) /* else not all of them could be read */
		print_count(conf->n_procs, "program", ", ");
	print_count(conf->n_errors, "error", ", ");
	print_count(conf->n_warnings, "warning", "\n");
}

static void print_json(const struct conf *conf)
{
	json_t *j = explain_conf(conf);

	json_dumpf(j, stdout, JSON_INDENT(1));
	printf("\n");
	json_decref(j);
}

static int run(struct cmd_context *ctx)
{
	AUTO_FREE char *path = NULL;
	struct err err = ERR_INIT;
	struct conf *conf;
	int code;

	if (ctx->argc > 0) {
		err_set(&err, 0, "check takes no names: '%s' (the file is given with -c)",
			ctx->argv[0]);
		return cmd_fail(EXIT_USAGE, &err);
	}
	if (cmd_config_path(ctx, &path, &err) < 0)
		return cmd_fail(EXIT_USAGE, &err);
	options.insecure = ctx->insecure;
	conf = conf_load(path, &options);
	missing_note(conf);
	if (ctx->json)
		print_json(conf);
	else
		print_text(conf);
	code = conf->n_errors ? EXIT_GENERIC : EXIT_OK;
	conf_free(conf);
	return code;
}

static const struct cmd_option own_options[] = {
	{ 0, "strict", NULL, "unknown keys and sections are errors" },
	{ 0 },
};

const struct cmd cmd_check = {
	.name = "check",
	.args = "",
	.summary = "check a configuration file",
	.help = "Prints what is wrong, with the place and what would be right. With --json also\n"
		"all programs, with the values in force. Exits 0 when the configuration can be\n"
		"run, 1 when not.",
	.flags = CMD_CONFIG | CMD_JSON,
	.options = own_options,
	.on_option = on_option,
	.run = run,
};
