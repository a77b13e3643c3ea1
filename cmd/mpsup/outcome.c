/*
 * What became of each process. See outcome.h; wording and codes are those of supervisorctl 4.2.
 */
#include "mpsup/outcome.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

static bool is_group(const char *target)
{
	return ends_with(target, ":*") || ends_with(target, ":");
}

/* What stands in the brackets of ERROR (...); NULL where supervisorctl has no word of its own. */
static const char *fault_word(int code, const char *name)
{
	static const struct {
		enum fault code;
		const char *word;
	} words[] = {
		{ FAULT_BAD_SIGNAL, "bad signal name" },
		{ FAULT_NO_FILE, "no such file" },
		{ FAULT_NOT_EXECUTABLE, "file is not executable" },
		{ FAULT_ABNORMAL_TERMINATION, "abnormal termination" },
		{ FAULT_SPAWN_ERROR, "spawn error" },
		{ FAULT_ALREADY_STARTED, "already started" },
		{ FAULT_NOT_RUNNING, "not running" },
	};

	if (code == FAULT_BAD_NAME)
		return is_group(name) ? "no such group" : "no such process";
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if ((int)words[i].code == code)
			return words[i].word;
	return NULL;
}

static void note_failure(struct outcome *o, int code, const char *name)
{
	if (code == FAULT_SUCCESS || code == (int)o->harmless)
		return;
	if (code == FAULT_SPAWN_ERROR || code == FAULT_ABNORMAL_TERMINATION ||
	    code == FAULT_NOT_RUNNING)
		o->exit_code = EXIT_NOT_RUNNING;
	else if (code == FAULT_BAD_NAME && is_group(name))
		o->exit_code = o->no_group;
	else
		o->exit_code = EXIT_GENERIC;
}

/* supervisorctl's "g:*" is "g" in its messages. */
static int shown_length(const char *name)
{
	size_t n = strlen(name);

	if (ends_with(name, ":*"))
		n -= 2;
	else if (ends_with(name, ":"))
		n -= 1;
	return (int)n;
}

/* That the name is unknown stands in the row; what is new in the text is the suggestion at its end, if there is one. */
static void print_hint(const char *name, const char *text)
{
	const char *hint = NULL;

	for (const char *p = text; (p = strstr(p, " (did you mean ")) != NULL; p += 2)
		hint = p + 2;
	if (hint != NULL && ends_with(hint, "?)"))
		fprintf(stderr, "mpsup: %s: %.*s\n", name, (int)strlen(hint) - 1, hint);
}

/* The reason is more than supervisorctl has room for. */
static void print_reason(int code, const char *name, const char *word, const char *text)
{
	if (*text == '\0' || strcmp(text, word) == 0)
		return;
	fflush(stdout);
	if (code == FAULT_BAD_NAME)
		print_hint(name, text);
	else if (code == FAULT_ABNORMAL_TERMINATION)
		fprintf(stderr, "mpsup: %s: %s; 'mpsup logs %s' shows what it has said\n", name,
			text, name);
	else
		fprintf(stderr, "mpsup: %s: %s\n", name, text);
}

static void print_row(const struct outcome *o, const json_t *row, bool untouched)
{
	const char *name = json_string_value(json_object_get(row, "name"));
	const char *message = json_string_value(json_object_get(row, "message"));
	int code = (int)json_integer_value(json_object_get(row, "code"));
	AUTO_BUF buf = BUF_INIT;
	const char *word, *text;

	name = name != NULL ? name : "?";
	if (code == FAULT_SUCCESS) {
		printf("%.*s: %s\n", shown_length(name), name, o->done);
		return;
	}
	if (message != NULL)
		utf8_add_clean(&buf, message, strlen(message));
	text = buf.len > 0 ? buf.p : "";
	word = fault_word(code, name);
	if (word == NULL)
		word = *text != '\0' ? text : fault_name((enum fault)code);
	if (!untouched)
		printf("%.*s: ERROR (%s)\n", shown_length(name), name, word);
	print_reason(code, name, word, text);
}

void outcome_add(struct outcome *o, json_t *row)
{
	const char *name = json_string_value(json_object_get(row, "name"));

	note_failure(o, (int)json_integer_value(json_object_get(row, "code")),
		     name != NULL ? name : "?");
	if (!o->json) {
		print_row(o, row, false);
		return;
	}
	if (o->rows == NULL)
		o->rows = json_array();
	json_array_append(o->rows, row);
}

void outcome_pass_over(const struct outcome *o, const json_t *row)
{
	print_row(o, row, true);
}

int outcome_finish(struct outcome *o)
{
	if (o->json)
		connect_print_json(
			json_pack("{s:o}", "processes", o->rows != NULL ? o->rows : json_array()));
	o->rows = NULL;
	return o->exit_code;
}

static void on_row(json_t *row, void *user)
{
	outcome_add(user, row);
}

int outcome_of(struct client *client, const char *method, json_t *params, struct outcome *o)
{
	const struct connect_on on = { .row = on_row, .user = o };
	struct err err = ERR_INIT;
	int r = connect_rows(client, method, params, &on, &err);
	int code = outcome_finish(o);

	return r == 0 ? code : cmd_fail(connect_exit_code(r), &err);
}
