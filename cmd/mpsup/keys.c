/*
 * mpsup keys: the key table, for people, as JSON, or as an example file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "conf/keys.h"
#include "mpsup/cmd.h"
#include "mpsup/explain.h"
#include "mpsup/verbs.h"

enum { CHOICES_SHOWN = 21, COLUMN_GAP = 2, WIDE = 120, N_COLUMNS = 4 };

static bool example;

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	(void)o;
	(void)value;
	(void)err;
	example = true;
	return 0;
}

/* Does the row belong to the kind's own part of the list? Keys of all programs stand under [program] only. */
static bool is_listed(const struct key *key, const struct section_kind *kind)
{
	if (!(key->sections & kind->kind))
		return false;
	return kind->kind == SECTION_PROGRAM || !(key->sections & SECTION_PROGRAM);
}

/* ---------------------------------------------------------------------------------- text */

static int terminal_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	int width = columns ? atoi(columns) : 0;

	if (width <= 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		width = size.ws_col;
	return width > 0 ? width : 80;
}

static const char *cell(const struct key *key, int column)
{
	const char *type = key_type_text(key);

	switch (column) {
	case 0:
		return key->name;
	case 1:
		return strlen(type) > CHOICES_SHOWN ? "choice" : type;
	case 2:
		return key->def ? key->def : "-";
	}
	return key->flags & KEY_LIVE ? "live" : "restart";
}

/* Words of text from column `indent` to `width`; the cursor stands at indent already. */
static void print_wrapped(const char *text, int indent, int width)
{
	int at = indent;

	while (*text) {
		int n = (int)strcspn(text, " ");

		if (at > indent && at + 1 + n > width) {
			printf("\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			printf(" ");
			at++;
		}
		printf("%.*s", n, text);
		at += n;
		text += n + (text[n] == ' ');
	}
	printf("\n");
}

static void print_row(const struct key *key, const int *widths, int width)
{
	AUTO_FREE char *doc = NULL;
	const char *choices =
		key->choices && strlen(key->choices) > CHOICES_SHOWN ? key->choices : NULL;
	int indent = 2;

	if (asprintf(&doc, "%s%s%s", key->doc, choices ? ": " : "", choices ? choices : "") < 0)
		xalloc_failed();
	printf("  ");
	for (int c = 0; c < N_COLUMNS; c++) {
		bool last = c == N_COLUMNS - 1 && width < WIDE;

		printf("%-*s", last ? 0 : widths[c] + COLUMN_GAP, cell(key, c));
		indent += widths[c] + COLUMN_GAP;
	}
	if (width < WIDE) {
		indent = 6;
		printf("\n%*s", indent, "");
	}
	print_wrapped(doc, indent, width);
}

static void print_kind(const struct section_kind *kind, int width)
{
	int widths[N_COLUMNS] = { 0 };

	printf("[%s%s]  %s\n", kind->name, kind->named ? ":NAME" : "", kind->doc);
	if (kind->kind & SECTION_PROC & ~SECTION_PROGRAM)
		printf("  all keys of [program:NAME], and\n");
	for (size_t i = 0; i < n_keys; i++)
		for (int c = 0; c < N_COLUMNS && is_listed(&keys[i], kind); c++)
			if ((int)strlen(cell(&keys[i], c)) > widths[c])
				widths[c] = (int)strlen(cell(&keys[i], c));
	for (size_t i = 0; i < n_keys; i++)
		if (is_listed(&keys[i], kind))
			print_row(&keys[i], widths, width);
}

static void print_text(const struct section_kind *only)
{
	int width = terminal_width();
	bool first = true;

	for (const struct section_kind *k = section_kinds; k->name; k++) {
		if (only && k != only)
			continue;
		if (!first)
			printf("\n");
		first = false;
		print_kind(k, width);
	}
}

/* ---------------------------------------------------------------------------------- JSON */

static json_t *json_row(const struct key *key)
{
	json_t *o = json_object(), *sections = json_array();

	for (const struct section_kind *k = section_kinds; k->name; k++)
		if (key->sections & k->kind)
			json_array_append_new(sections, json_string(k->name));
	json_object_set_new(o, "sections", sections);
	json_object_set_new(o, "name", json_string(key->name));
	json_object_set_new(o, "type", json_string(key_type_text(key)));
	json_object_set_new(o, "default", explain_string(key->def));
	json_object_set_new(o, "live", json_boolean(key->flags & KEY_LIVE));
	json_object_set_new(o, "required", json_boolean(key->flags & KEY_REQUIRED));
	json_object_set_new(o, "own", json_boolean(key->flags & KEY_OWN));
	json_object_set_new(o, "per_process", json_boolean(key->flags & KEY_PER_PROCESS));
	json_object_set_new(o, "doc", json_string(key->doc));
	return o;
}

static void print_json(const struct section_kind *only)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < n_keys; i++)
		if (only == NULL || (keys[i].sections & only->kind))
			json_array_append_new(rows, json_row(&keys[i]));
	json_dumpf(rows, stdout, JSON_INDENT(1));
	printf("\n");
	json_decref(rows);
}

/* ---------------------------------------------------------------------------------- example */

/* Values for keys without a default that can be used as it is. */
static const struct {
	const char *key;
	const char *value;
	bool alternative; /* does not go with the others: stays a comment when the ; is removed */
} examples[] = {
	{ "address", "unix:/run/jobs.sock", false },
	{ "args", "--verbose", true },
	{ "authkey_file", "/etc/jobs.key", true },
	{ "childlogdir", "/tmp", false },
	{ "chown", "root", false },
	{ "command", "/bin/cat", false },
	{ "directory", "/", false },
	{ "entry", "./worker.so:main", true },
	{ "env_file", "-/etc/default/web", false },
	{ "environment", "LANG=\"C.UTF-8\",MODE=\"production\"", false },
	{ "events", "PROCESS_STATE", false },
	{ "exit_on", "fatal", false },
	{ "file", "/run/supervisor.sock", false },
	{ "files", "conf.d/*.conf", false },
	{ "forkserver", "models", true },
	{ "history_file", "~/.supervisorctl_history", false },
	{ "killasgroup", "false", false },
	{ "log_prefix", "auto", false },
	{ "password", "secret", false },
	{ "port", "127.0.0.1:9001", false },
	{ "preload", "/usr/lib/libmodels.so", false },
	{ "programs", "web", false },
	{ "serverurl", "AUTO", false },
	{ "snapshot", "/var/lib/jobs.snapshot", false },
	{ "socket", "unix:///run/web.sock", false },
	{ "socket_backlog", "128", false },
	{ "socket_owner", "root", false },
	{ "start_method", "spawn", false },
	{ "track", "preload", false },
	{ "ipc_cleanup", "exit", false },
	{ "supervisor.ctl_factory", "package.module:function", false },
	{ "supervisor.rpcinterface_factory", "supervisor.rpcinterface:make_main_rpcinterface",
	  false },
	{ "umask", "022", false },
	{ "user", "root", false },
	{ "username", "admin", false },
	{ "from", "web:3", false },
	{ "to", "app:3", false },
	{ "size", "1MB", false },
};

static void print_example_line(const struct key *key)
{
	const char *value = key->def ? key->def : "";
	bool alternative = false;

	for (size_t i = 0; key->def == NULL && i < ARRAY_SIZE(examples); i++)
		if (strcmp(examples[i].key, key->name) == 0) {
			value = examples[i].value;
			alternative = examples[i].alternative;
		}
	printf("# %s\n;%s%s=%s\n", key->doc, alternative ? ";" : "", key->name, value);
}

static const char *example_name(const struct section_kind *kind)
{
	switch (kind->kind) {
	case SECTION_FCGI:
		return ":app";
	case SECTION_LISTENER:
		return ":listener";
	case SECTION_GROUP:
		return ":frontend";
	case SECTION_RPC:
		return ":supervisor";
	case SECTION_FORKSERVER:
		return ":models";
	case SECTION_CTLPLUGIN:
		return ":plugin";
	case SECTION_PIPE:
		return ":frames";
	case SECTION_MANAGER:
		return ":jobs";
	case SECTION_PROGRAM:
		return ":web";
	case SECTION_SUPERVISORD:
	case SECTION_INCLUDE:
	case SECTION_UNIX_HTTP:
	case SECTION_INET_HTTP:
	case SECTION_CTL:
		break;
	}
	return "";
}

static void print_example(const struct section_kind *only)
{
	printf("# Everything that may be set, with its default or an example. Remove the ; of what "
	       "is needed:\n"
	       "# the line of the section and those of the keys.\n");
	for (const struct section_kind *k = section_kinds; k->name; k++) {
		if (only && k != only)
			continue;
		printf("\n# %s\n;[%s%s]\n", k->doc, k->name, example_name(k));
		if (k->kind & SECTION_COMMAND & ~SECTION_PROGRAM)
			printf("# (all keys of a program, and)\n;command=/bin/cat\n");
		for (size_t i = 0; i < n_keys; i++)
			if (is_listed(&keys[i], k))
				print_example_line(&keys[i]);
	}
}

/* ---------------------------------------------------------------------------------- verb */

static int run(struct cmd_context *ctx)
{
	const struct section_kind *only = NULL;
	struct err err = ERR_INIT;

	if (ctx->argc > 1) {
		err_set(&err, 0, "keys takes one section: '%s'", ctx->argv[1]);
		return cmd_fail(EXIT_USAGE, &err);
	}
	for (const struct section_kind *k = section_kinds; ctx->argc > 0 && k->name; k++)
		if (strcmp(k->name, ctx->argv[0]) == 0)
			only = k;
	if (ctx->argc == 1 && only == NULL) {
		const char *near = section_nearest(ctx->argv[0]);

		err_set(&err, 0, "there is no section '%s' (%s%s%s)", ctx->argv[0],
			near ? "did you mean " : "such as ", near ? near : "program",
			near ? "?" : "");
		return cmd_fail(EXIT_USAGE, &err);
	}
	if (example)
		print_example(only);
	else if (ctx->json)
		print_json(only);
	else
		print_text(only);
	return EXIT_OK;
}

static const struct cmd_option own_options[] = {
	{ 0, "example", NULL, "print a commented configuration file" },
	{ 0 },
};

const struct cmd cmd_keys = {
	.name = "keys",
	.args = "[SECTION]",
	.summary = "list the keys of the configuration",
	.help = "For each key: type, default, whether a reload changes it live or by a restart,\n"
		"and what it means.",
	.flags = CMD_JSON,
	.options = own_options,
	.on_option = on_option,
	.run = run,
};
