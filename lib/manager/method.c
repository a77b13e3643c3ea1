/*
 * What the server itself is asked for: making and finding objects, references, what there is.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "manager/server.h"

struct request {
	struct session *s;
	const struct wire_request *head;
	const void *args;
	size_t n;
};

static void done(const struct request *q, int status)
{
	session_answer(q->s, q->head->seq, status, NULL, 0);
}

static void done_with(const struct request *q, const struct buf *value)
{
	session_answer_with(q->s, q->head->seq, value, NULL, false);
}

static void put_text(msgpack_packer *k, const char *p, size_t n)
{
	msgpack_pack_str(k, n);
	msgpack_pack_str_body(k, p, n);
}

static void put_name(msgpack_packer *k, const char *text)
{
	if (text == NULL)
		msgpack_pack_nil(k);
	else
		put_text(k, text, strlen(text));
}

static void put_bool(msgpack_packer *k, bool is_so)
{
	if (is_so)
		msgpack_pack_true(k);
	else
		msgpack_pack_false(k);
}

/* ---------------------------------------------------------------------------------------------------- sessions */

static void hello(const struct request *q)
{
	AUTO_BUF b = BUF_INIT;
	msgpack_packer k = value_packer(&b);
	struct session *s = q->s;
	int64_t version;
	int wants;

	if (s->greeted || mps_unpack(q->args, q->n, "[it]", &version, &wants) < 0) {
		session_fail(s, -EPROTO);
		return;
	}
	if (version != WIRE_VERSION) {
		done(q, -EPROTONOSUPPORT);
		return;
	}
	s->greeted = true;
	s->shares = wants && s->can_share;
	msgpack_pack_array(&k, 4);
	msgpack_pack_int(&k, WIRE_VERSION);
	msgpack_pack_bin(&k, sizeof(s->v->epoch));
	msgpack_pack_bin_body(&k, s->v->epoch, sizeof(s->v->epoch));
	msgpack_pack_uint64(&k, s->id);
	put_bool(&k, s->shares);
	session_answer_with(s, q->head->seq, &b, NULL, s->shares);
}

static void cancel(const struct request *q)
{
	int64_t seq;

	if (mps_unpack(q->args, q->n, "[i]", &seq) < 0)
		done(q, -EINVAL);
	else
		done(q, parked_cancel(q->s, (uint32_t)seq));
}

/* ---------------------------------------------------------------------------------------------------- references */

/* Handle, type, and methods where only the server knows them. */
static void refer(const struct request *q, struct object *o)
{
	AUTO_BUF b = BUF_INIT;
	msgpack_packer k = value_packer(&b);
	int64_t handle = session_refer(q->s, o);
	bool is_own = o->shared == NULL && o->served == NULL;

	if (handle < 0) {
		done(q, (int)handle);
		return;
	}
	msgpack_pack_array(&k, 3);
	msgpack_pack_int64(&k, handle);
	put_name(&k, o->type->name);
	msgpack_pack_array(&k, is_own ? o->type->n_methods : 0);
	for (size_t i = 0; is_own && i < o->type->n_methods; i++)
		put_name(&k, o->type->methods[i].name);
	session_answer_with(q->s, q->head->seq, &b, o, false);
}

struct create {
	const char *type, *name;
	size_t n_type, n_name;
	struct value flags;
	const void *args;
	size_t n;
};

static int read_create(const struct request *q, struct create *c)
{
	struct values v;
	int r = values_of_array(q->args, q->n, &v);

	if (r == 0)
		r = object_read_name(&v, false, &c->type, &c->n_type);
	if (r == 0)
		r = object_read_name(&v, true, &c->name, &c->n_name);
	if (r < 0)
		return r;
	if (value_next(&v, &c->flags) < 0 || c->flags.kind != VALUE_INT ||
	    (c->flags.i & ~(int64_t)(MPS_OBJECT_KEEP | MPS_OBJECT_EXISTING)) != 0 ||
	    (c->name == NULL && c->flags.i != 0))
		return -EINVAL;
	if (value_skip(&v, &c->args, &c->n) < 0 || v.n > 0)
		return -EINVAL;
	if (c->n == 1 && *(const uint8_t *)c->args == 0xc0) /* nil */
		c->n = 0;
	return c->n == 0 || values_of_array(c->args, c->n, &v) == 0 ? 0 : -EINVAL;
}

static int create_object(const struct request *q, const struct create *c, struct object **ret)
{
	struct server *v = q->s->v;
	const struct mps_type *type = type_find(c->type, c->n_type);
	struct object *o = c->name != NULL ? object_find(v, c->name, c->n_name) : NULL;

	if (type == NULL)
		return -EINVAL;
	if (o == NULL) {
		if (q->s->n_handles >= v->objects_max)
			return -EDQUOT;
		return object_new(v, q->s, type, c->name, c->n_name, (unsigned)c->flags.i, c->args,
				  c->n, ret);
	}
	if (!(c->flags.i & MPS_OBJECT_EXISTING))
		return -EEXIST;
	if (o->type != type)
		return -EPROTOTYPE;
	o->references++;
	*ret = o;
	return 0;
}

static void create(const struct request *q)
{
	struct create c;
	struct object *o;
	int r = read_create(q, &c);

	if (r == 0)
		r = create_object(q, &c, &o);
	if (r < 0) {
		done(q, r);
		return;
	}
	refer(q, o);
	object_unref(q->s->v, o);
}

static int find(const struct request *q, struct object **ret)
{
	const char *type = NULL, *name = NULL;
	size_t n_type = 0, n_name = 0;
	struct object *o;
	struct values v;
	int r = values_of_array(q->args, q->n, &v);

	if (r == 0)
		r = object_read_name(&v, true, &type, &n_type);
	if (r == 0)
		r = object_read_name(&v, false, &name, &n_name);
	if (r < 0 || v.n > 0)
		return r < 0 ? r : -EINVAL;
	o = object_find(q->s->v, name, n_name);
	if (o == NULL)
		return -ENOENT;
	if (type != NULL && type_find(type, n_type) != o->type)
		return -EPROTOTYPE;
	*ret = o;
	return 0;
}

static void attach(const struct request *q)
{
	struct object *o;
	int r = find(q, &o);

	if (r < 0)
		done(q, r);
	else
		refer(q, o);
}

static void lend(const struct request *q)
{
	AUTO_BUF b = BUF_INIT;
	msgpack_packer k = value_packer(&b);
	char token[LEASE_TOKEN];
	int64_t handle, time;
	struct object *o = NULL;
	int r = mps_unpack(q->args, q->n, "[ii]", &handle, &time);

	if (r == 0) {
		o = handle >= 0 && handle <= UINT32_MAX ? session_object(q->s, (uint32_t)handle)
							: NULL;
		r = o == NULL ? -EBADF : time <= 0 || time > INT64_MAX / 2 ? -EINVAL : 0;
	}
	if (r == 0)
		r = lease_new(q->s, o, time, token);
	if (r < 0) {
		done(q, r);
		return;
	}
	put_text(&k, token, sizeof(token));
	done_with(q, &b);
}

static void take(const struct request *q)
{
	const char *token;
	struct object *o = NULL;
	size_t n;

	if (mps_unpack(q->args, q->n, "[s]", &token, &n) < 0) {
		done(q, -EINVAL);
		return;
	}
	if (q->s->n_handles < q->s->v->objects_max)
		o = lease_take(q->s->v, token, n);
	else
		n = 0;
	if (o == NULL) {
		done(q, n == 0 ? -EDQUOT : -ENOENT);
		return;
	}
	refer(q, o);
	object_unref(q->s->v, o);
}

static void close_handle(const struct request *q)
{
	int64_t handle;

	if (mps_unpack(q->args, q->n, "[i]", &handle) < 0 || handle < 0 || handle > UINT32_MAX)
		done(q, -EINVAL);
	else
		done(q, session_close_handle(q->s, (uint32_t)handle));
}

static void remove_name(const struct request *q)
{
	const char *name;
	struct object *o;
	size_t n;

	if (mps_unpack(q->args, q->n, "[s]", &name, &n) < 0) {
		done(q, -EINVAL);
		return;
	}
	o = object_find(q->s->v, name, n);
	if (o != NULL)
		object_remove(q->s->v, o);
	done(q, o != NULL ? 0 : -ENOENT);
}

/* ---------------------------------------------------------------------------------------------------- what there is */

static void list(const struct request *q)
{
	AUTO_BUF b = BUF_INIT;
	msgpack_packer k = value_packer(&b);

	msgpack_pack_array(&k, q->s->v->n_objects);
	for (const struct object *o = q->s->v->objects; o != NULL; o = o->next) {
		msgpack_pack_array(&k, 4);
		put_name(&k, o->name);
		put_name(&k, o->type->name);
		msgpack_pack_uint64(&k, o->references);
		msgpack_pack_uint64(&k, o->bytes);
	}
	done_with(q, &b);
}

static size_t all_bytes(const struct server *v)
{
	size_t n = v->kept.bytes;

	for (const struct session *s = v->sessions; s != NULL; s = s->next)
		n += s->account.bytes;
	return n;
}

static void info(const struct request *q)
{
	const struct server *v = q->s->v;
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "pid", (uint64_t)getpid() }, { "since", (uint64_t)v->since },
		{ "clients", v->n_sessions },  { "objects", v->n_objects },
		{ "bytes", all_bytes(v) },     { "requests", v->n_requests },
		{ "parked", v->n_parked },     { "leases", v->leases.n },
	};
	AUTO_BUF b = BUF_INIT;
	msgpack_packer k = value_packer(&b);

	msgpack_pack_map(&k, sizeof(rows) / sizeof(*rows));
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		put_name(&k, rows[i].name);
		msgpack_pack_uint64(&k, rows[i].value);
	}
	done_with(q, &b);
}

static void end(const struct request *q)
{
	q->s->v->ends = true;
	done(q, 0);
}

static void (*const methods[N_WIRE_SERVER])(const struct request *q) = {
	[WIRE_HELLO] = hello,	     [WIRE_CREATE] = create, [WIRE_ATTACH] = attach,
	[WIRE_TAKE] = take,	     [WIRE_LEND] = lend,     [WIRE_CLOSE] = close_handle,
	[WIRE_REMOVE] = remove_name, [WIRE_CANCEL] = cancel, [WIRE_LIST] = list,
	[WIRE_INFO] = info,	     [WIRE_SHUTDOWN] = end,
};

void manager_method(struct session *s, const struct wire_request *head, const void *args, size_t n)
{
	const struct request q = { s, head, args, n };

	if (head->method < N_WIRE_SERVER)
		methods[head->method](&q);
	else
		done(&q, -ENOSYS);
}
