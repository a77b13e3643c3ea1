/*
 * Calls that wait: with their object, first in, first out, until something of it has been called, or their time is over.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "manager/server.h"

/* ---------------------------------------------------------------------------------------------------- the lists */

/* While there are any, clients of its memory ring the bell. */
static void set_waiting(struct server *v, struct object *o, bool on)
{
	if (o->shared == NULL)
		return;
	atomic_fetch_add(&o->head->parked, on ? 1 : -1u);
	if (on ? o->first != o->last : o->first != NULL)
		return;
	if (on) {
		o->prev_waiting = NULL;
		o->next_waiting = v->waiting;
		if (v->waiting != NULL)
			v->waiting->prev_waiting = o;
		v->waiting = o;
	} else {
		*(o->prev_waiting != NULL ? &o->prev_waiting->next_waiting : &v->waiting) =
			o->next_waiting;
		if (o->next_waiting != NULL)
			o->next_waiting->prev_waiting = o->prev_waiting;
	}
}

static void link_in(struct parked *p)
{
	struct object *o = p->object;
	struct session *s = p->session;

	p->object_prev = o->last;
	*(o->last != NULL ? &o->last->object_next : &o->first) = p;
	o->last = p;
	p->session_next = s->parked;
	if (s->parked != NULL)
		s->parked->session_prev = p;
	s->parked = p;
	o->references++;
	s->n_parked++;
	s->v->n_parked++;
	set_waiting(s->v, o, true);
}

/* And frees it. The object may be gone then. */
static void drop(struct server *v, struct parked *p)
{
	struct object *o = p->object;
	struct session *s = p->session;

	*(p->object_prev != NULL ? &p->object_prev->object_next : &o->first) = p->object_next;
	*(p->object_next != NULL ? &p->object_next->object_prev : &o->last) = p->object_prev;
	*(p->session_prev != NULL ? &p->session_prev->session_next : &s->parked) = p->session_next;
	if (p->session_next != NULL)
		p->session_next->session_prev = p->session_prev;
	s->n_parked--;
	v->n_parked--;
	set_waiting(v, o, false);
	dues_remove(&v->dues, &p->due);
	free(p);
	object_unref(v, o);
}

int parked_add(struct session *s, struct object *o, const struct wire_request *head,
	       const void *args, size_t n, uint64_t mark, struct mps_time until)
{
	struct parked *p = calloc(1, sizeof(*p) + n);

	if (p == NULL)
		return -ENOMEM;
	p->object = o;
	p->session = s;
	p->seq = head->seq;
	p->method = head->method;
	p->thread = head->thread;
	p->mark = mark;
	p->n = n;
	if (n > 0)
		memcpy(p->args, args, n);
	p->due.at = until;
	if (until.ns != INT64_MAX && dues_add(&s->v->dues, &p->due) < 0) {
		free(p);
		return -ENOMEM;
	}
	link_in(p);
	/* What became possible since it was asked, before others knew that somebody waits. */
	if (o->shared != NULL)
		parked_ask(s->v, o);
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- asking */

static int ask(struct server *v, struct parked *p, bool is_last)
{
	return object_call(v, p->object, p->session, p->method, p->thread, p->args, p->n, &p->mark,
			   is_last);
}

static void answer(struct server *v, struct parked *p, int status)
{
	session_answer(p->session, p->seq, status, v->reply.p, status < 0 ? 0 : v->reply.len);
	drop(v, p);
}

/*
 * One look at all: whether any could go on. In shared memory what one cannot do others of the same method cannot do either; a
 * program's own may look at their arguments.
 */
static bool ask_once(struct server *v, struct object *o)
{
	uint64_t asked = 0;
	bool any = false;

	for (struct parked *p = o->first, *next; p != NULL; p = next) {
		uint64_t bit = o->shared != NULL ? UINT64_C(1) << p->method % 64 : 0;
		int r;

		next = p->object_next;
		if ((asked & bit) != 0)
			continue;
		r = ask(v, p, false);
		if (r == -EAGAIN) {
			asked |= bit;
			continue;
		}
		answer(v, p, r);
		any = true;
	}
	return any;
}

void parked_ask(struct server *v, struct object *o)
{
	o->references++;
	while (o->first != NULL && ask_once(v, o))
		;
	object_unref(v, o);
}

void parked_expire(struct server *v, struct parked *p, int why)
{
	struct object *o = p->object;
	int r = ask(v, p, true);

	o->references++;
	answer(v, p, r == -EAGAIN ? why : r);
	parked_ask(v, o);
	object_unref(v, o);
}

int parked_cancel(struct session *s, uint32_t seq)
{
	for (struct parked *p = s->parked; p != NULL; p = p->session_next)
		if (p->seq == seq) {
			parked_expire(s->v, p, -ECANCELED);
			return 0;
		}
	return -ENOENT;
}

void parked_forget(struct session *s)
{
	while (s->parked != NULL) {
		struct parked *p = s->parked;
		struct object *o = p->object;

		/* What it has not begun is not done for nobody. */
		if (p->mark != 0)
			ask(s->v, p, true);
		o->references++;
		drop(s->v, p);
		parked_ask(s->v, o);
		object_unref(s->v, o);
	}
}

void server_bell(struct server *v)
{
	for (struct object *o = v->waiting, *next; o != NULL; o = next) {
		o->references++;
		parked_ask(v, o);
		next = o->next_waiting;
		/* It may have left the list: then what comes after it has been kept there. */
		object_unref(v, o);
	}
}
