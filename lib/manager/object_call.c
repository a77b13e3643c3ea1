/*
 * Calls of methods: in shared memory by this thread, else by a request.
 */
#include <stdlib.h>
#include <string.h>

#include "ipc/futex.h"
#include "manager/client.h"

/* ---------------------------------------------------------------------------------------------- either way */

/* It would say that the time is over: so it is looked why. */
static inline int local_end(const struct view *v, int r)
{
	if (v->self->row->is_waited_for)
		shared_ring(v->self);
	return r == -ETIMEDOUT && !link_is_alive(v->link) ? -ECONNRESET : r;
}

/* Whoever waits in shared memory is to notice that the server dies. */
static inline void local_begin(const struct view *v, bool may_wait)
{
	if (may_wait)
		futex_watch(v->link->alive);
}

int object_local(const struct view *v, int method, struct mps_call *call)
{
	int r;

	local_begin(v, true);
	r = v->self->row->t.type.methods[method].call(v->self, call);
	futex_watch(NULL);
	return local_end(v, r);
}

/* What would have to be undone if the answer came too late, by the method's name. */
static enum link_undo undo_of(const struct mps_object *o, int method, uint16_t *ret_method)
{
	const char *name = o->row != NULL ? o->row->t.type.methods[method].name : "";
	bool gets = strcmp(name, "get") == 0 && object_method(o, "put_back") >= 0;
	bool takes = o->row != NULL && o->row->acquire != 0 &&
		     (method == o->row->acquire || method == o->row->wait);

	*ret_method = gets ? (uint16_t)object_method(o, "put_back") : takes ? o->row->release : 0;
	return gets ? UNDO_PUT_BACK : takes ? UNDO_RELEASE : UNDO_NOTHING;
}

int object_send(const struct mps_object *o, const struct view *v, int method, const void *args,
		size_t n, int64_t timeout, struct link_pending **ret)
{
	struct link_request q = {
		.handle = v->handle,
		.method = (uint16_t)method,
		.timeout = timeout > 0 ? timeout : 0,
		.args = args,
		.n = n,
	};

	q.undo = undo_of(o, method, &q.undo_method);
	return link_send(v->link, &q, ret, manager_until(timeout));
}

/* ---------------------------------------------------------------------------------------------- calls */

/* The value as the caller gets it: nil is one, too. */
static int give(void *p, size_t n, void **ret_p, size_t *ret_n)
{
	if (ret_p == NULL) {
		free(p);
		return 0;
	}
	if (n == 0) {
		free(p);
		p = malloc(n = 1);
		if (p == NULL)
			return -ENOMEM;
		*(uint8_t *)p = 0xc0;
	}
	*ret_p = p;
	if (ret_n != NULL)
		*ret_n = n;
	return 0;
}

static int call_here(const struct view *v, int method, const void *args, size_t n,
		     struct mps_time until, void **ret_p, size_t *ret_n)
{
	AUTO_BUF reply = BUF_INIT;
	struct mps_call call = { .args = args, .n_args = n, .reply = &reply, .until = until };
	int r = object_local(v, method, &call), given;

	if (r < 0)
		return r;
	given = give(reply.p, reply.len, ret_p, ret_n);
	reply = (struct buf)BUF_INIT;
	return given < 0 ? given : r;
}

static int await(struct link *l, struct link_pending *p, struct mps_time until, void **ret_p,
		 size_t *ret_n)
{
	int r = link_await(l, p, until), given = 0;

	if (r >= 0)
		given = give(TAKE_PTR(p->p), p->n, ret_p, ret_n);
	link_drop(l, p);
	return given < 0 ? given : r;
}

static int check_args(const void *args, size_t n)
{
	struct values v;

	if (args == NULL)
		return n == 0 ? 0 : -EINVAL;
	return value_check(args, n) < 0 || values_of_array(args, n, &v) < 0 ? -EINVAL : 0;
}

static int call_at(struct mps_object *o, int method, const void *args, size_t n, void **ret_p,
		   size_t *ret_n, int64_t timeout)
{
	struct link_pending *p;
	struct view *v;
	int r = object_view(o, timeout, &v);

	if (r < 0)
		return r;
	if (v->self != NULL)
		return call_here(v, method, args, n, until_of(timeout), ret_p, ret_n);
	r = object_send(o, v, method, args, n, timeout, &p);
	return r < 0 ? r : await(v->link, p, manager_until(timeout), ret_p, ret_n);
}

int mps_object_call(struct mps_object *o, const char *method, const void *args, size_t n,
		    void **ret_p, size_t *ret_n, int64_t timeout)
{
	int place = object_method(o, method);
	int r = place < 0 ? place : check_args(args, n);

	return r < 0 ? r : call_at(o, place, args, n, ret_p, ret_n, timeout);
}

/* ---------------------------------------------------------------------------------------------- sent, and asked for later */

/* One in shared memory was done at once, or is still to be done, if it has to wait. */
struct mps_pending {
	struct mps_object *o;
	struct link *link;
	struct link_pending *sent; /* NULL: here */
	bool done;
	int outcome;
	void *p; /* of one that is done its value, else its arguments */
	size_t n;
	int method;
};

static bool must_not_be_tried(const struct mps_object *o, int method)
{
	return o->row->wait != 0 && method == o->row->wait;
}

static int send_here(struct mps_pending *s, const struct view *v, const void *args, size_t n)
{
	int r = -ETIMEDOUT;

	if (!must_not_be_tried(s->o, s->method))
		r = call_here(v, s->method, args, n, (struct mps_time){ 0 }, &s->p, &s->n);
	s->done = r != -ETIMEDOUT;
	s->outcome = r;
	if (s->done)
		return 0;
	s->n = n;
	s->p = malloc(n + 1);
	if (s->p == NULL)
		return -ENOMEM;
	if (n > 0)
		memcpy(s->p, args, n);
	return 0;
}

int mps_object_send(struct mps_object *o, const char *method, const void *args, size_t n,
		    struct mps_pending **ret, int64_t timeout)
{
	int place = object_method(o, method), r = place < 0 ? place : check_args(args, n);
	struct mps_pending *s;
	struct view *v;

	if (r == 0)
		r = object_view(o, timeout, &v);
	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->o = o;
	s->method = place;
	s->link = link_ref(v->link);
	r = v->self != NULL ? send_here(s, v, args, n)
			    : object_send(o, v, place, args, n, timeout, &s->sent);
	if (r == 0) {
		*ret = s;
		return 0;
	}
	link_unref(s->link);
	free(s);
	return r;
}

static int result_here(struct mps_pending *s, void **ret_p, size_t *ret_n, int64_t timeout)
{
	int r;

	if (s->done) {
		r = s->outcome >= 0 ? give(TAKE_PTR(s->p), s->n, ret_p, ret_n) : 0;
		return r < 0 ? r : s->outcome;
	}
	r = call_at(s->o, s->method, s->n > 0 ? s->p : NULL, s->n, ret_p, ret_n, timeout);
	return r;
}

int mps_object_result(struct mps_pending *s, void **ret_p, size_t *ret_n, int64_t timeout)
{
	int r;

	if (manager_check(s->o->m) < 0)
		return -EINVAL;
	r = s->sent != NULL ? await(s->link, s->sent, manager_until(timeout), ret_p, ret_n)
			    : result_here(s, ret_p, ret_n, timeout);
	link_unref(s->link);
	free(s->p);
	free(s);
	return r;
}

/* ---------------------------------------------------------------------------------------------- without packing */

/* A method without arguments, by its place in the row; 0 = there is none. */
static int verb(struct mps_object *o, int method, int64_t timeout)
{
	struct mps_call call = { .until = until_of(timeout) };
	struct view *v;
	int r;

	if (o->row == NULL || method == 0)
		return -ENOSYS;
	r = object_view(o, timeout, &v);
	if (r < 0)
		return r;
	return v->self != NULL ? object_local(v, method, &call)
			       : call_at(o, method, NULL, 0, NULL, NULL, timeout);
}

int mps_object_acquire(struct mps_object *o, int64_t timeout)
{
	return verb(o, o->row != NULL ? o->row->acquire : 0, timeout);
}

int mps_object_release(struct mps_object *o)
{
	return verb(o, o->row != NULL ? o->row->release : 0, MPS_FOREVER);
}

int mps_object_wait(struct mps_object *o, int64_t timeout)
{
	return verb(o, o->row != NULL ? o->row->wait : 0, timeout);
}

int mps_object_set(struct mps_object *o)
{
	return verb(o, o->row != NULL ? o->row->set : 0, MPS_FOREVER);
}

static bool is_queue(const struct mps_object *o)
{
	return o->row != NULL &&
	       (o->row->kind == SHARED_QUEUE || o->row->kind == SHARED_JOINABLE_QUEUE);
}

int mps_object_put(struct mps_object *o, const void *value, size_t n, int64_t timeout)
{
	AUTO_BUF args = BUF_INIT;
	struct view *v;
	int r = is_queue(o) ? object_view(o, timeout, &v) : -ENOSYS;

	if (r < 0)
		return r;
	if (v->self != NULL) {
		local_begin(v, timeout > 0);
		r = shared_put(v->self, value, n, timeout);
		futex_watch(NULL);
		return local_end(v, r);
	}
	r = value_check(value, n);
	buf_addc(&args, (char)0x91);
	buf_add(&args, value, n);
	if (r < 0 || args.failed)
		return r < 0 ? r : -ENOMEM;
	return call_at(o, object_method(o, "put"), args.p, args.len, NULL, NULL, timeout);
}

int mps_object_get(struct mps_object *o, void **ret_value, size_t *ret_n, int64_t timeout)
{
	struct view *v;
	int r = is_queue(o) ? object_view(o, timeout, &v) : -ENOSYS;

	if (r < 0)
		return r;
	if (v->self == NULL)
		return call_at(o, object_method(o, "get"), NULL, 0, ret_value, ret_n, timeout);
	local_begin(v, timeout > 0);
	r = shared_get(v->self, ret_value, ret_n, timeout);
	futex_watch(NULL);
	return local_end(v, r);
}

static int add_remote(struct mps_object *o, int64_t delta, int64_t *ret_new)
{
	AUTO_FREE void *args = NULL, *value = NULL;
	int64_t now;
	size_t n;
	int r = object_method(o, "add");

	if (r >= 0)
		r = mps_pack(&args, &n, "[i]", delta) < 0 ? -ENOMEM : r;
	if (r >= 0)
		r = call_at(o, r, args, n, &value, &n, MPS_FOREVER);
	if (r == 0 && mps_unpack(value, n, "i", &now) < 0)
		r = -EPROTO;
	if (r == 0 && ret_new != NULL)
		*ret_new = now;
	return r;
}

int mps_object_add(struct mps_object *o, int64_t delta, int64_t *ret_new)
{
	struct view *v;
	int r = -ENOSYS;

	if (o->row != NULL && (o->row->kind == SHARED_COUNTER || o->row->kind == SHARED_VALUE))
		r = object_view(o, MPS_FOREVER, &v);
	if (r < 0)
		return r;
	return v->self != NULL ? shared_add(v->self, delta, ret_new)
			       : add_remote(o, delta, ret_new);
}
