/*
 * mpsup reload: has the supervisor read its configuration again and says what became of each process.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/progress.h"
#include "mpsup/terminal.h"
#include "mpsup/verbs.h"
#include "sup/client.h"
#include "sup/fault.h"

static bool dry_run, no_wait;

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	(void)value;
	(void)err;
	if (strcmp(o->name, "dry-run") == 0)
		dry_run = true;
	else
		no_wait = true;
	return 0;
}

struct running {
	struct progress progress;
	json_t *rows;
};

static void take_rows(struct running *run, const json_t *result)
{
	json_t *rows = json_object_get(result, "processes");

	if (json_is_array(rows))
		json_array_extend(run->rows, rows);
}

static void on_part(json_t *message, void *user)
{
	struct running *run = user;

	if (json_object_get(message, "event") != NULL)
		progress_event(&run->progress, json_object_get(message, "data"));
	else
		take_rows(run, json_object_get(message, "result"));
}

static const char *string_of(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s != NULL ? s : "";
}

/* What comes from files and programs is shown without control characters. */
static void add(struct buf *b, const char *text)
{
	utf8_add_clean(b, text, strlen(text));
}

static void add_keys(struct buf *b, const json_t *row, const char *before, const char *after)
{
	json_t *list = json_object_get(row, "keys"), *key;
	size_t i;

	json_array_foreach (list, i, key) {
		buf_adds(b, i == 0 ? before : ", ");
		add(b, json_string_value(key) != NULL ? json_string_value(key) : "");
	}
	buf_adds(b, json_array_size(list) > 0 ? after : "");
}

/* It was to be started, and is not up. */
static bool has_failed(const json_t *row)
{
	json_int_t code = json_integer_value(json_object_get(row, "code"));

	return strcmp(string_of(row, "action"), "removed") != 0 && code != 0 &&
	       code != FAULT_SUCCESS;
}

static void print_row(const json_t *row, int width)
{
	const char *action = string_of(row, "action");
	AUTO_BUF name = BUF_INIT, b = BUF_INIT;

	add(&name, string_of(row, "name"));
	if (strcmp(action, "pending") == 0) {
		add_keys(&b, row, "", ": takes effect at the next start of mpsup");
	} else {
		buf_adds(&b, dry_run ? "would be " : "");
		add(&b, action);
		add_keys(&b, row, " (", ")");
	}
	if (has_failed(row)) {
		buf_adds(&b, ", but not up: ");
		add(&b, string_of(row, "message"));
	}
	printf("%-*s  %s\n", width, name.p, b.p);
}

static void print_messages(const json_t *messages)
{
	json_t *m;
	size_t i;

	json_array_foreach (messages, i, m) {
		AUTO_BUF b = BUF_INIT;

		add(&b, string_of(m, "file"));
		if (json_integer_value(json_object_get(m, "line")) > 0)
			buf_addf(&b, ":%d", (int)json_integer_value(json_object_get(m, "line")));
		buf_adds(&b, b.len > 0 ? ": " : "");
		add(&b, string_of(m, "level"));
		buf_adds(&b, ": ");
		add(&b, string_of(m, "key"));
		buf_adds(&b, string_of(m, "key")[0] != '\0' ? ": " : "");
		add(&b, string_of(m, "text"));
		fprintf(stderr, "%s\n", b.p);
	}
}

static int width_of(const json_t *rows)
{
	json_t *row;
	size_t i, width = 0;

	json_array_foreach (rows, i, row)
		if (strlen(string_of(row, "name")) > width)
			width = strlen(string_of(row, "name"));
	return width < 40 ? (int)width : 40;
}

static void print_text(const struct running *run, const json_t *result)
{
	json_int_t errors = json_integer_value(json_object_get(result, "errors"));
	int width = width_of(run->rows);
	json_t *row;
	size_t i;

	print_messages(json_object_get(result, "messages"));
	json_array_foreach (run->rows, i, row)
		print_row(row, width);
	if (errors > 0)
		fprintf(stderr, "mpsup: %d error%s; nothing was changed\n", (int)errors,
			errors == 1 ? "" : "s");
	else if (json_array_size(run->rows) == 0)
		printf("nothing has changed\n");
}

static int exit_code(const struct running *run, const json_t *result)
{
	json_t *row;
	size_t i;

	if (json_integer_value(json_object_get(result, "errors")) > 0)
		return EXIT_GENERIC;
	json_array_foreach (run->rows, i, row)
		if (has_failed(row))
			return EXIT_DOWN;
	return EXIT_OK;
}

static int call(struct client *client, struct cmd_context *ctx, struct running *run)
{
	struct err err = ERR_INIT;
	json_t *result;
	int r, code;

	r = client_call(client, "reload",
			json_pack("{s:b, s:b, s:b, s:b}", "dry_run", dry_run, "insecure",
				  ctx->insecure, "wait", !no_wait, "progress",
				  !no_wait && terminal_is_tty()),
			on_part, run, &result, &err);
	progress_wipe(&run->progress);
	if (r != 0)
		return cmd_fail(connect_exit_code(r), &err);
	take_rows(run, result);
	code = exit_code(run, result);
	if (ctx->json) {
		json_object_set(result, "processes", run->rows);
		connect_print_json(json_incref(result));
	} else {
		print_text(run, result);
	}
	json_decref(result);
	return code;
}

static int run(struct cmd_context *ctx)
{
	struct running running = { 0 };
	struct err err = ERR_INIT;
	struct client *client;
	int r;

	if (ctx->argc > 0) {
		err_set(&err, 0, "reload takes no names; mpsup restart NAME restarts one program");
		return cmd_fail(EXIT_USAGE, &err);
	}
	r = connect_open(ctx, &client, &err);
	if (r < 0)
		return cmd_fail(connect_exit_code(r), &err);
	running.rows = json_array();
	progress_init(&running.progress, !no_wait && !ctx->json);
	r = call(client, ctx, &running);
	progress_fini(&running.progress);
	json_decref(running.rows);
	client_close(client);
	return r;
}

static const struct cmd_option options[] = {
	{ 0, "dry-run", NULL, "only say what would be done" },
	{ 0, "no-wait", NULL, "do not wait for the outcome" },
	{ 0 },
};

const struct cmd cmd_reload = {
	.name = "reload",
	.args = "",
	.summary = "read the configuration again and do what has changed",
	.help = "Programs that did not change are not touched. With an error nothing is changed.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = options,
	.on_option = on_option,
	.run = run,
};
