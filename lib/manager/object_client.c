/*
 * A client's objects: made, found, lent, and attached again when there is another server.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/futex.h"
#include "manager/client.h"

/* ---------------------------------------------------------------------------------------------- views */

static void view_free(struct view *v)
{
	if (v->self != NULL)
		shared_destroy(v->self);
	link_unref(v->link);
	free(v);
}

/* The server shall know that nobody here has the handle any more. */
static void handle_close(struct link *l, uint32_t handle)
{
	/* [handle] */
	uint8_t args[6] = { 0x91,
			    0xce,
			    (uint8_t)(handle >> 24),
			    (uint8_t)(handle >> 16),
			    (uint8_t)(handle >> 8),
			    (uint8_t)handle };
	struct link_request q = { .method = WIRE_CLOSE, .args = args, .n = sizeof(args) };

	if (atomic_load(&l->dead) == 0)
		link_tell(l, &q);
}

static int open_memory(const struct mps_object *o, struct view *v, struct link_pending *p)
{
	void *self;
	int r = o->row->t.open(p->fds, p->n_fds, &self);

	if (r < 0)
		return r;
	p->n_fds = 0;
	v->self = self;
	v->self->bell = v->link->bell;
	return 0;
}

/* Of an answer of CREATE, ATTACH and TAKE to *o, whose type it sets. */
static int view_of(struct mps_object *o, struct link *l, struct link_pending *p, uint32_t handle,
		   struct view **ret)
{
	struct view *v = calloc(1, sizeof(*v));
	int r = 0;

	if (v == NULL)
		return -ENOMEM;
	v->link = link_ref(l);
	v->handle = handle;
	if (p->n_fds > 0)
		r = o->row != NULL ? open_memory(o, v, p) : -EPROTO;
	if (r < 0)
		view_free(v);
	else
		*ret = v;
	return r;
}

/* ---------------------------------------------------------------------------------------------- types */

static const struct mps_type *type_built_in(const char *name, const struct shared_row **ret_row)
{
	*ret_row = NULL;
	for (size_t i = 0; served_types[i] != NULL; i++)
		if (strcmp(served_types[i]->name, name) == 0)
			return served_types[i];
	for (size_t i = 0; shared_types[i] != NULL; i++)
		if (strcmp(shared_types[i]->type.name, name) == 0) {
			*ret_row = shared_row(shared_types[i]);
			return &shared_types[i]->type;
		}
	return NULL;
}

/* The names of a type that is not built in. */
static int read_methods(struct mps_object *o, const void *p, size_t n)
{
	struct values left;
	struct value v = { .kind = VALUE_NIL };
	int r;

	left = (struct values){ p, n };
	r = value_next(&left, &v);
	if (r < 0 || v.kind != VALUE_ARRAY)
		return -EPROTO;
	o->methods = calloc(v.n + 1, sizeof(*o->methods));
	if (o->methods == NULL)
		return -ENOMEM;
	for (size_t count = v.n; o->n_methods < count; o->n_methods++) {
		if (value_next(&left, &v) < 0 || v.kind != VALUE_STR)
			return -EPROTO;
		o->methods[o->n_methods] = strndup(v.p, v.n);
		if (o->methods[o->n_methods] == NULL)
			return -ENOMEM;
	}
	return 0;
}

int object_method(const struct mps_object *o, const char *name)
{
	for (size_t i = 0; o->built_in != NULL && i < o->built_in->n_methods; i++)
		if (strcmp(o->built_in->methods[i].name, name) == 0)
			return (int)i;
	for (size_t i = 0; i < o->n_methods; i++)
		if (strcmp(o->methods[i], name) == 0)
			return (int)i;
	return -ENOSYS;
}

/* ---------------------------------------------------------------------------------------------- answers */

static int read_answer(struct mps_object *o, const struct link_pending *p, uint32_t *ret_handle)
{
	const void *type, *methods;
	size_t n_type, n_methods;
	int64_t handle;

	if (mps_unpack(p->p, p->n, "[isv]", &handle, &type, &n_type, &methods, &n_methods) < 0 ||
	    handle <= 0 || handle > UINT32_MAX)
		return -EPROTO;
	*ret_handle = (uint32_t)handle;
	if (o->type != NULL)
		return strlen(o->type) == n_type && memcmp(o->type, type, n_type) == 0 ? 0
										       : -EPROTO;
	o->type = strndup(type, n_type);
	if (o->type == NULL)
		return -ENOMEM;
	o->built_in = type_built_in(o->type, &o->row);
	return o->built_in != NULL ? 0 : read_methods(o, methods, n_methods);
}

/* Asks the server for an object: a view of it. */
static int ask_for(struct mps_object *o, struct link *l, enum wire_server method,
		   const struct buf *args, struct mps_time until, struct view **ret)
{
	struct link_request q = {
		.method = method, .timeout = INT64_MAX, .args = args->p, .n = args->len
	};
	struct link_pending *p;
	uint32_t handle = 0;
	int r = link_send(l, &q, &p, until);

	if (r < 0)
		return r;
	r = link_await(l, p, until);
	if (r >= 0)
		r = read_answer(o, p, &handle);
	if (r == 0)
		r = view_of(o, l, p, handle, ret);
	if (r < 0 && handle != 0)
		handle_close(l, handle);
	link_drop(l, p);
	return r;
}

/* ---------------------------------------------------------------------------------------------- new ones */

static void object_free(struct mps_object *o)
{
	struct view *v = atomic_load(&o->view), *older;

	for (; v != NULL; v = older) {
		older = v->older;
		view_free(v);
	}
	for (size_t i = 0; o->methods != NULL && i < o->n_methods; i++)
		free(o->methods[i]);
	free(o->methods);
	free(o->type);
	free(o->name);
	manager_unref(o->m);
	free(o);
}

static int get_object(struct mps_manager *m, const char *name, enum wire_server method,
		      const struct buf *args, struct mps_object **ret, int64_t timeout)
{
	struct mps_time until = manager_until(timeout);
	struct mps_object *o;
	struct view *v;
	struct link *l;
	int r = args->failed ? -ENOMEM : manager_link(m, until, &l);

	if (r < 0)
		return r;
	o = calloc(1, sizeof(*o));
	r = o == NULL ? -ENOMEM : 0;
	if (r == 0) {
		o->m = manager_ref(m);
		o->name = name != NULL ? strdup(name) : NULL;
		r = name != NULL && o->name == NULL ? -ENOMEM : 0;
	}
	if (r == 0)
		r = ask_for(o, l, method, args, until, &v);
	link_unref(l);
	if (r == 0) {
		atomic_store(&o->view, v);
		*ret = o;
	} else if (o != NULL) {
		object_free(o);
	}
	return r;
}

static void pack_text(msgpack_packer *k, const char *text)
{
	if (text == NULL)
		msgpack_pack_nil(k);
	else
		msgpack_pack_str_with_body(k, text, strlen(text));
}

int mps_object_create(struct mps_manager *m, const char *type, const char *name, unsigned flags,
		      const void *args, size_t n, struct mps_object **ret, int64_t timeout)
{
	AUTO_BUF b = BUF_INIT;
	msgpack_packer k = value_packer(&b);

	if (type == NULL || (args != NULL && value_check(args, n) < 0))
		return -EINVAL;
	msgpack_pack_array(&k, 4);
	pack_text(&k, type);
	pack_text(&k, name);
	msgpack_pack_unsigned_int(&k, flags);
	if (args != NULL)
		buf_add(&b, args, n);
	else
		msgpack_pack_array(&k, 0);
	return get_object(m, name, WIRE_CREATE, &b, ret, timeout);
}

static void pack_attach(struct buf *b, const char *type, const char *name)
{
	msgpack_packer k = value_packer(b);

	msgpack_pack_array(&k, 2);
	pack_text(&k, type);
	pack_text(&k, name);
}

int mps_object_attach(struct mps_manager *m, const char *type, const char *name,
		      struct mps_object **ret, int64_t timeout)
{
	AUTO_BUF b = BUF_INIT;

	if (name == NULL)
		return -EINVAL;
	pack_attach(&b, type, name);
	return get_object(m, name, WIRE_ATTACH, &b, ret, timeout);
}

int mps_object_take(struct mps_manager *m, const char *token, struct mps_object **ret,
		    int64_t timeout)
{
	AUTO_BUF b = BUF_INIT;
	msgpack_packer k = value_packer(&b);

	msgpack_pack_array(&k, 1);
	pack_text(&k, token);
	return get_object(m, NULL, WIRE_TAKE, &b, ret, timeout);
}

int mps_object_remove(struct mps_manager *m, const char *name, int64_t timeout)
{
	AUTO_BUF b = BUF_INIT;
	msgpack_packer k = value_packer(&b);

	if (name == NULL)
		return -EINVAL;
	msgpack_pack_array(&k, 1);
	pack_text(&k, name);
	return b.failed ? -ENOMEM : manager_ask(m, WIRE_REMOVE, b.p, b.len, NULL, NULL, timeout);
}

int mps_object_lend(struct mps_object *o, int64_t lease, char token[33], int64_t timeout)
{
	AUTO_FREE void *args = NULL, *answer = NULL;
	struct view *v;
	const char *text;
	size_t n, n_answer, n_text;
	int r = object_view(o, timeout, &v);

	if (r == 0)
		r = mps_pack(&args, &n, "[ii]", (int64_t)v->handle, lease);
	if (r == 0)
		r = manager_ask(o->m, WIRE_LEND, args, n, &answer, &n_answer, timeout);
	if (r < 0)
		return r;
	if (mps_unpack(answer, n_answer, "s", &text, &n_text) < 0 || n_text != 32)
		return -EPROTO;
	memcpy(token, text, n_text);
	token[n_text] = '\0';
	return 0;
}

const char *mps_object_type(const struct mps_object *o)
{
	return o->type;
}

/* In a forked child the server is told nothing: the references are the parent's. */
void mps_object_close(struct mps_object *o)
{
	struct view *v;

	if (o == NULL)
		return;
	v = atomic_load(&o->view);
	if (manager_check(o->m) == 0)
		handle_close(v->link, v->handle);
	object_free(o);
}

/* ---------------------------------------------------------------------------------------------- another server */

/* Two threads may do it at once: the first one's is it. */
static int attach_again(struct mps_object *o, struct view *old, struct link *l,
			struct mps_time until)
{
	AUTO_BUF b = BUF_INIT;
	struct view *v;
	int r;

	if (o->name == NULL)
		return -ESTALE;
	pack_attach(&b, o->type, o->name);
	r = b.failed ? -ENOMEM : ask_for(o, l, WIRE_ATTACH, &b, until, &v);
	if (r == -ENOENT || r == -EPROTOTYPE)
		return -ESTALE;
	if (r < 0)
		return r;
	v->older = old;
	if (!atomic_compare_exchange_strong(&o->view, &old, v)) {
		handle_close(l, v->handle);
		view_free(v);
	}
	return 0;
}

int object_view_anew(struct mps_object *o, int64_t timeout, struct view **ret)
{
	struct mps_time until = manager_until(timeout);
	int r = manager_check(o->m);

	while (r == 0) {
		struct view *v = atomic_load_explicit(&o->view, memory_order_acquire);
		struct link *l;

		*ret = v;
		if (link_is_alive(v->link))
			return 0;
		r = manager_link(o->m, until, &l);
		if (r < 0)
			return r;
		r = attach_again(o, v, l, until);
		link_unref(l);
		if (r == -ECONNRESET && o->m->options.reconnect)
			r = 0;
	}
	return r;
}
