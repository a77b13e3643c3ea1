/*
 * Lines of programs. See logview.h.
 */
#include "mpsup/logview.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/utf8.h"
#include "base/xalloc.h"

enum { FLUSH_AT = 256 << 10 };

void logview_flush(struct logview *view)
{
	if (view->error == 0 && view->out.len > 0)
		view->error = fd_write_all(STDOUT_FILENO, view->out.p, view->out.len);
	buf_reset(&view->out);
}

static void add_json(struct logvoice *v, const char *line, size_t n)
{
	AUTO_BUF valid = BUF_INIT;
	AUTO_FREE char *text = NULL;
	json_t *object;

	utf8_add_valid(&valid, line, n);
	object = json_pack("{s:s, s:s, s:s%}", "name", v->name, "stream", v->stream, "line",
			   n > 0 ? valid.p : "", valid.len);
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	if (text == NULL)
		xalloc_failed(); /* all of it is UTF-8 */
	buf_adds(&v->view->out, text);
}

void logview_line(const char *line, size_t n, void *voice)
{
	struct logvoice *v = voice;
	struct buf *out = &v->view->out;

	if (v->view->json) {
		add_json(v, line, n);
	} else {
		buf_adds(out, v->prefix);
		buf_add(out, line, n);
	}
	buf_addc(out, '\n');
	if (out->len >= FLUSH_AT)
		logview_flush(v->view);
}

void logview_add(struct logvoice *v, const char *p, size_t n)
{
	lines_feed(&v->lines, p, n, logview_line, v);
}

void logview_end_line(struct logvoice *v)
{
	lines_end(&v->lines, logview_line, v);
}
