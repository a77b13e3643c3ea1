/*
 * Objects: their making, names, references, whom they are counted for, and calls of their methods.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "manager/server.h"

/* What an object costs beside what is in it. */
enum { OBJECT_BYTES = 512 };

/* ---------------------------------------------------------------------------------------------------- accounts */

void object_account(struct object *o, struct account *to)
{
	struct account *from = o->account;

	if (from != NULL) {
		*(o->own_prev != NULL ? &o->own_prev->own_next : &from->objects) = o->own_next;
		if (o->own_next != NULL)
			o->own_next->own_prev = o->own_prev;
		from->n--;
		from->bytes -= o->bytes;
	}
	o->account = to;
	if (to == NULL)
		return;
	o->own_prev = NULL;
	o->own_next = to->objects;
	if (to->objects != NULL)
		to->objects->own_prev = o;
	to->objects = o;
	to->n++;
	to->bytes += o->bytes;
}

static void set_bytes(struct object *o, size_t bytes)
{
	o->account->bytes += bytes - o->bytes;
	o->bytes = bytes;
}

/* How much more a call can need: its arguments, and what the values of its first are kept in. */
static size_t weight(const void *args, size_t n)
{
	struct values left;
	struct value first;

	if (values_of_array(args, n, &left) < 0 || left.n == 0 || value_next(&left, &first) < 0 ||
	    first.kind < VALUE_ARRAY)
		return n + STORE_OVERHEAD;
	return n + (first.n + 1) * STORE_OVERHEAD;
}

bool account_has_room(const struct server *v, const struct account *a, size_t more)
{
	return a->bytes <= v->bytes_max && more <= v->bytes_max - a->bytes;
}

/* ---------------------------------------------------------------------------------------------------- names */

int object_read_name(struct values *v, bool may_miss, const char **ret, size_t *ret_n)
{
	struct value name;

	if (value_next(v, &name) < 0)
		return -EINVAL;
	*ret = NULL;
	*ret_n = 0;
	if (name.kind == VALUE_NIL && may_miss)
		return 0;
	if (name.kind != VALUE_STR || name.n == 0 || memchr(name.p, '\0', name.n) != NULL)
		return -EINVAL;
	if (name.n > MANAGER_NAME_MAX)
		return -ENAMETOOLONG;
	*ret = name.p;
	*ret_n = name.n;
	return 0;
}

struct object *object_find(struct server *v, const char *name, size_t n)
{
	struct store_entry *e = store_find(&v->names, name, n);
	struct object *o;

	if (e == NULL)
		return NULL;
	memcpy(&o, store_value(e), sizeof(o));
	return o;
}

static int set_name(struct server *v, struct object *o, const char *name, size_t n)
{
	o->name = strndup(name, n);
	return o->name != NULL ? store_put(&v->names, name, n, &o, sizeof(o)) : -ENOMEM;
}

static void drop_name(struct server *v, struct object *o)
{
	struct store_entry *e;

	if (o->name == NULL)
		return;
	e = store_find(&v->names, o->name, strlen(o->name));
	if (e != NULL && memcmp(store_value(e), &o, sizeof(o)) == 0)
		store_remove(&v->names, e);
	free(o->name);
	o->name = NULL;
}

/* ---------------------------------------------------------------------------------------------------- life */

static void destroy(struct server *v, struct object *o)
{
	drop_name(v, o);
	object_account(o, NULL);
	*(o->prev != NULL ? &o->prev->next : &v->objects) = o->next;
	if (o->next != NULL)
		o->next->prev = o->prev;
	v->n_objects--;
	if (o->self != NULL)
		o->type->destroy(o->self);
	for (size_t i = 0; i < o->n_fds; i++)
		fd_close(&o->fds[i]);
	free(o);
}

void object_unref(struct server *v, struct object *o)
{
	if (--o->references == 0)
		destroy(v, o);
}

void object_remove(struct server *v, struct object *o)
{
	bool was_kept = (o->flags & MPS_OBJECT_KEEP) != 0;

	v->changed |= was_kept;
	drop_name(v, o);
	o->flags &= ~(unsigned)MPS_OBJECT_KEEP;
	if (was_kept)
		object_unref(v, o);
}

static int make_shared(struct object *o, struct mps_call *call)
{
	int r = o->shared->make(call, o->fds, &o->n_fds);
	struct stat st;

	if (r < 0)
		return r;
	for (size_t i = 0; i < o->n_fds; i++)
		if (fstat(o->fds[i], &st) == 0)
			o->bytes += (size_t)st.st_size;
	return o->bytes > call->room ? -EDQUOT : 0;
}

static int make(struct server *v, struct object *o, struct account *a, uint64_t session,
		const void *args, size_t n)
{
	struct mps_call call = { .args = args,
				 .n_args = n,
				 .reply = &v->reply,
				 .session = session,
				 .room = v->bytes_max > a->bytes ? v->bytes_max - a->bytes : 0 };
	int r;

	buf_reset(&v->reply);
	o->bytes = OBJECT_BYTES;
	if (o->bytes + n > call.room)
		return -EDQUOT;
	if (o->shared != NULL)
		return make_shared(o, &call);
	if (o->served != NULL && o->bytes + weight(args, n) > call.room)
		return -EDQUOT;
	r = o->type->create(&call, &o->self);
	if (r == 0 && o->served != NULL)
		o->bytes += o->served->bytes(o->self);
	return r;
}

static int set_up(struct server *v, struct object *o, struct session *s, const char *name,
		  size_t n_name, const void *args, size_t n)
{
	bool is_kept = (o->flags & MPS_OBJECT_KEEP) != 0;
	struct account *a = s != NULL && !is_kept ? &s->account : &v->kept;
	int r;

	if (s != NULL && is_kept && v->kept.n >= MANAGER_KEPT_MAX)
		return -EDQUOT;
	r = make(v, o, a, s != NULL ? s->id : 0, args, n);
	if (r == 0 && name != NULL)
		r = set_name(v, o, name, n_name);
	if (r < 0)
		return r;
	object_account(o, a);
	return 0;
}

/* The caller has the first reference, that it is kept is another. */
int object_new(struct server *v, struct session *s, const struct mps_type *type, const char *name,
	       size_t n_name, unsigned flags, const void *args, size_t n, struct object **ret)
{
	struct object *o = calloc(1, sizeof(*o));
	int r;

	if (o == NULL)
		return -ENOMEM;
	o->type = type;
	o->shared = type_shared(type);
	o->served = type_served(type);
	o->flags = flags & MPS_OBJECT_KEEP;
	o->fds[0] = o->fds[1] = -1;
	o->references = o->flags != 0 ? 2 : 1;
	o->next = v->objects;
	if (v->objects != NULL)
		v->objects->prev = o;
	v->objects = o;
	v->n_objects++;
	r = set_up(v, o, s, name, n_name, args, n);
	if (r != 0) {
		destroy(v, o);
		return r < 0 ? r : -EINVAL;
	}
	v->changed |= o->flags != 0;
	*ret = o;
	return 0;
}

int object_open(struct object *o)
{
	int fds[2] = { -1, -1 };
	int r = 0;

	if (o->self != NULL)
		return 0;
	for (size_t i = 0; i < o->n_fds && r == 0; i++) {
		fds[i] = fcntl(o->fds[i], F_DUPFD_CLOEXEC, 3);
		if (fds[i] < 0)
			r = -errno;
	}
	if (r == 0)
		r = o->shared->open(fds, o->n_fds, &o->self);
	if (r < 0) {
		fd_close(&fds[0]);
		fd_close(&fds[1]);
		o->self = NULL;
		return r;
	}
	o->head = o->shared->head(o->self);
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- calls */

static bool has_bit(uint32_t bits, unsigned method)
{
	return method < 32 && (bits >> method & 1) != 0;
}

int object_call(struct server *v, struct object *o, struct session *s, unsigned method,
		uint32_t thread, const void *args, size_t n, uint64_t *mark, bool is_last)
{
	struct mps_call call = { .args = args,
				 .n_args = n,
				 .reply = &v->reply,
				 .session = s->id,
				 .thread = thread,
				 .mark = mark,
				 .is_last = is_last };
	int r;

	if (method >= o->type->n_methods)
		return -ENOSYS;
	buf_reset(&v->reply);
	if (o->shared != NULL && o->self == NULL) {
		r = object_open(o);
		if (r < 0)
			return r;
	}
	if (o->served == NULL)
		return o->type->methods[method].call(o->self, &call);
	if (has_bit(o->served->grows, method) && !account_has_room(v, o->account, weight(args, n)))
		return -EDQUOT;
	r = o->type->methods[method].call(o->self, &call);
	if (has_bit(o->served->writes, method)) {
		set_bytes(o, OBJECT_BYTES + o->served->bytes(o->self));
		v->changed |= o->flags != 0;
	}
	return r;
}
