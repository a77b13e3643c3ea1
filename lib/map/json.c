/*
 * A task as a JSON object in one line.
 */
#include <jansson.h>

#include "base/utf8.h"
#include "map/internal.h"

/* Bytes that are no UTF-8 become U+FFFD. */
static json_t *text(const char *p, size_t n)
{
	AUTO_BUF b = BUF_INIT;

	if (p == NULL)
		return json_null();
	utf8_add_valid(&b, p, n);
	return b.p != NULL ? json_stringn_nocheck(b.p, b.len) : json_string("");
}

static const char *const whys[] = {
	[MAP_FAILED_EXIT] = "exit",	  [MAP_FAILED_SIGNAL] = "signal",
	[MAP_FAILED_TIMEOUT] = "timeout", [MAP_FAILED_START] = "start",
	[MAP_FAILED_CLOSED] = "closed",	  [MAP_FAILED_LONG] = "too long",
};

static int add(const char *p, size_t n, void *user)
{
	buf_add(user, p, n);
	return 0;
}

void json_task(struct map *m, struct batch *b, const struct verdict *v, const char *out,
	       size_t n_out, bool cut, struct buf *to)
{
	const struct map_failure *f = v->failure;
	bool by_signal = f != NULL && (f->why == MAP_FAILED_SIGNAL || f->why == MAP_FAILED_TIMEOUT);
	json_t *o = json_object();
	size_t n;
	const char *task = batch_task(m, b, b->answered, &n);

	json_object_set_new(o, "seq", json_integer((json_int_t)(b->seq + b->answered)));
	json_object_set_new(o, "task", text(task, n));
	json_object_set_new(o, "status",
			    by_signal ? json_null() : json_integer(f != NULL ? f->status : 0));
	json_object_set_new(o, "signal", by_signal ? json_integer(f->status) : json_null());
	json_object_set_new(o, "failed", f != NULL ? json_string(whys[f->why]) : json_null());
	if (v->answer != NULL) /* without its delimiter or head */
		out = item_text(out, n_out, m->o->frame, &n_out);
	json_object_set_new(o, "stdout", text(out, n_out));
	if (cut)
		json_object_set_new(o, "truncated", json_true());
	json_object_set_new(o, "seconds",
			    json_real((double)(mps_now().ns - v->since.ns) / MPS_NS_PER_S));
	json_object_set_new(o, "pid", json_integer(v->pid));
	json_object_set_new(o, "tries", json_integer(b->tries + 1));
	json_dump_callback(o, add, to, JSON_COMPACT | JSON_REAL_PRECISION(6));
	json_decref(o);
	buf_addc(to, '\n');
}
