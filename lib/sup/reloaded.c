/*
 * What a reload has done, or would do: rows for the log and for the one who asked. See reloaded.h.
 */
#include "sup/reloaded.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "conf/diff.h"
#include "conf/keys.h"
#include "sup/method.h"

enum { MESSAGES_MAX = 200 }; /* in an answer */

struct reloaded *reloaded_new(void)
{
	struct reloaded *report = xcalloc(1, sizeof(*report));

	report->messages = json_array();
	return report;
}

void reloaded_free(struct reloaded *report)
{
	if (report == NULL)
		return;
	for (size_t i = 0; i < report->n; i++) {
		free(report->rows[i].name);
		free(report->rows[i].keys);
	}
	free(report->rows);
	json_decref(report->messages);
	free(report);
}

struct reloaded_row *reloaded_add(struct reloaded *report, char *name, const char *action,
				  const struct key **keys_of_it, size_t n)
{
	if (report->n == report->cap) {
		report->cap = 2 * report->cap + 16;
		report->rows = xrealloc(report->rows, report->cap * sizeof(*report->rows));
	}
	report->rows[report->n] = (struct reloaded_row){ name, action, keys_of_it, n, NULL };
	return &report->rows[report->n++];
}

void reloaded_own(struct reloaded *report, const struct diff *d, bool live)
{
	const struct key **list = xmalloc((d->n_own + 1) * sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < d->n_own; i++)
		if (!!(d->own[i]->flags & KEY_LIVE) == live)
			list[n++] = d->own[i];
	if (n == 0) {
		free(list);
		return;
	}
	reloaded_add(report, xstrdup("[supervisord]"), live ? diff_kind_word(DIFF_LIVE) : "pending",
		     list, n);
}

static const char *pipe_action(enum diff_kind kind)
{
	return kind == DIFF_RESTART ? "made anew" : diff_kind_word(kind);
}

void reloaded_pipes(struct reloaded *report, struct diff *d)
{
	for (size_t i = 0; i < d->n_pipes; i++) {
		struct diff_pipe *row = &d->pipes[i];
		const struct conf_pipe *p = row->to != NULL ? row->to : row->from;

		if (row->kind != DIFF_SAME)
			reloaded_add(report, xasprintf("[pipe:%s]", p->name),
				     pipe_action(row->kind), TAKE_PTR(row->keys), row->n_keys);
	}
}

void reloaded_message(struct reloaded *report, const struct conf_message *m)
{
	static const char *const words[] = { "error", "warning", "note" };

	if (m->level == CONF_NOTE || json_array_size(report->messages) >= MESSAGES_MAX)
		return;
	json_array_append_new(report->messages,
			      json_pack("{s:o, s:i, s:s, s:o, s:o}", "file", method_text(m->file),
					"line", m->line, "level", words[m->level], "key",
					method_text(m->key), "text", method_text(m->text)));
}

static void log_row(struct sup *s, const struct reloaded_row *row)
{
	AUTO_BUF line = BUF_INIT;

	buf_addf(&line, "reload: %s %s", row->name, row->action);
	for (size_t i = 0; i < row->n_keys; i++)
		buf_addf(&line, "%s%s", i == 0 ? " (" : ", ", row->keys[i]->name);
	buf_adds(&line, row->n_keys > 0 ? ")" : "");
	if (line.failed)
		xalloc_failed();
	activity_log(&s->log, SVC_LOG_INFO, "%s", line.p);
}

void reloaded_log(struct sup *s, const struct reloaded *report)
{
	for (size_t i = 0; i < report->n; i++)
		log_row(s, &report->rows[i]);
	if (report->n == 0)
		activity_log(&s->log, SVC_LOG_INFO, "reload: nothing has changed");
}

static json_t *json_of(const struct reloaded_row *row)
{
	json_t *one = row->waiter != NULL ? change_row(row->waiter) : json_object();
	json_t *list = json_array();

	for (size_t i = 0; i < row->n_keys; i++)
		json_array_append_new(list, json_string(row->keys[i]->name));
	json_object_set_new(one, "name", method_text(row->name));
	json_object_set_new(one, "action", json_string(row->action));
	json_object_set_new(one, "keys", list);
	return one;
}

void reloaded_produce(struct request *r)
{
	const struct reloaded *report = r->report;
	size_t end = r->at + METHOD_ROWS < report->n ? r->at + METHOD_ROWS : report->n;
	json_t *rows = json_array(), *result;
	bool more = end < report->n;

	for (; r->at < end; r->at++)
		json_array_append_new(rows, json_of(&report->rows[r->at]));
	result = json_pack("{s:o}", "processes", rows);
	if (!more) {
		json_object_set(result, "messages", report->messages);
		json_object_set_new(result, "errors", json_integer((json_int_t)report->n_errors));
	}
	request_answer_part(r, result, more);
}
