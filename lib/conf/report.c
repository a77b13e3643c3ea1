/*
 * Messages are kept in the order they came and sorted at the end.
 */
#include "conf/report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"

void report_add(struct report *r, enum conf_severity level, const struct conf_place *place,
		const char *key, const char *fmt, ...)
{
	struct conf_message *m;
	AUTO_BUF text = BUF_INIT;
	va_list ap;

	if (level == CONF_ERROR)
		r->n_errors++;
	if (r->n >= REPORT_MAX)
		return;
	if (r->n == r->cap) {
		r->cap = r->cap ? 2 * r->cap : 16;
		r->messages = xrealloc(r->messages, r->cap * sizeof(*r->messages));
	}
	va_start(ap, fmt);
	buf_addv(&text, fmt, ap);
	va_end(ap);
	m = &r->messages[r->n++];
	*m = (struct conf_message){
		.file = place ? store_str(r->store, place->file) : NULL,
		.line = place ? place->line : 0,
		.level = level,
		.key = store_str(r->store, key),
		.text = store_strn(r->store, text.p ? text.p : "", text.len),
	};
}

static int by_place(const void *a, const void *b)
{
	const struct conf_message *x = a, *y = b;
	int c = strcmp(x->file ? x->file : "", y->file ? y->file : "");

	if (c != 0)
		return c;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return (int)x->level - (int)y->level;
}

void report_finish(struct report *r, struct conf *conf)
{
	/* Errors are counted as they come: those past REPORT_MAX must refuse the file too. */
	if (r->n > 0)
		qsort(r->messages, r->n, sizeof(*r->messages), by_place);
	conf->messages = r->messages;
	conf->n_messages = r->n;
	conf->n_errors = r->n_errors;
	conf->n_warnings = 0;
	for (size_t i = 0; i < r->n; i++)
		conf->n_warnings += r->messages[i].level == CONF_WARNING;
	r->messages = NULL;
	r->n = r->cap = 0;
}
