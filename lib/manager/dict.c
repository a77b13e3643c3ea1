/*
 * dict and namespace: Python's. A key that is not there is -ENOENT, as KeyError and AttributeError are; keys are nil, bool, int, float, str,
 * bin and arrays of such.
 */
#include <stdlib.h>

#include "manager/served.h"

/* What Python cannot hash cannot be a key. */
static int check_key(const struct packed *k)
{
	struct values v = { k->p, k->n };
	struct value got;

	while (v.n > 0)
		if (value_next(&v, &got) < 0 || got.kind == VALUE_MAP)
			return -EINVAL;
	return 0;
}

static int args_of(const struct mps_call *call, size_t min, size_t max, struct packed *a)
{
	int r = served_args(call, min, max, a);

	if (r > 0 && check_key(&a[0]) < 0)
		return -EINVAL;
	return r;
}

static int put(struct store *s, const struct packed *k, const struct packed *v)
{
	return store_put(s, k->p, k->n, v->p, v->n);
}

static int reply_entry(struct mps_call *call, const struct store_entry *e)
{
	return served_reply(call, store_value(e), e->n_value);
}

/* ---------------------------------------------------------------------------------------------------- one key */

static int get(void *self, struct mps_call *call)
{
	struct packed a[2];
	int n = args_of(call, 1, 2, a);
	const struct store_entry *e;

	if (n < 0)
		return n;
	e = store_find(self, a[0].p, a[0].n);
	if (e != NULL)
		return reply_entry(call, e);
	return n == 2 ? served_reply(call, a[1].p, a[1].n) : -ENOENT;
}

static int set(void *self, struct mps_call *call)
{
	struct packed a[2];
	int n = args_of(call, 2, 2, a);

	return n < 0 ? n : put(self, &a[0], &a[1]);
}

static int delete (void *self, struct mps_call *call)
{
	struct packed a[1];
	int n = args_of(call, 1, 1, a);
	struct store_entry *e;

	if (n < 0)
		return n;
	e = store_find(self, a[0].p, a[0].n);
	if (e == NULL)
		return -ENOENT;
	store_remove(self, e);
	return 0;
}

static int pop(void *self, struct mps_call *call)
{
	struct packed a[2];
	int n = args_of(call, 1, 2, a);
	struct store_entry *e;
	int r;

	if (n < 0)
		return n;
	e = store_find(self, a[0].p, a[0].n);
	if (e == NULL)
		return n == 2 ? served_reply(call, a[1].p, a[1].n) : -ENOENT;
	r = reply_entry(call, e);
	if (r == 0)
		store_remove(self, e);
	return r;
}

static int has(void *self, struct mps_call *call)
{
	struct packed a[1];
	int n = args_of(call, 1, 1, a);

	return n < 0 ? n : served_reply_bool(call, store_find(self, a[0].p, a[0].n) != NULL);
}

static int setdefault(void *self, struct mps_call *call)
{
	struct packed a[2] = { [1] = { (const uint8_t *)"\xc0", 1 } };
	int n = args_of(call, 1, 2, a);
	const struct store_entry *e;
	int r;

	if (n < 0)
		return n;
	e = store_find(self, a[0].p, a[0].n);
	if (e != NULL)
		return reply_entry(call, e);
	r = put(self, &a[0], &a[1]);
	return r < 0 ? r : served_reply(call, a[1].p, a[1].n);
}

/* A counter among the values: what is not there is 0. Returns the sum. */
static int add(void *self, struct mps_call *call)
{
	struct packed a[2];
	int n = args_of(call, 2, 2, a);
	const struct store_entry *e;
	int64_t sum = 0, delta;
	int r;

	if (n < 0 || served_int(&a[1], &delta) < 0)
		return -EINVAL;
	e = store_find(self, a[0].p, a[0].n);
	if (e != NULL && served_int(&(struct packed){ store_value(e), e->n_value }, &sum) < 0)
		return -EINVAL;
	if (__builtin_add_overflow(sum, delta, &sum))
		return -ERANGE;
	r = served_reply_int(call, sum);
	return r < 0 ? r : store_put(self, a[0].p, a[0].n, call->reply->p, call->reply->len);
}

static int popitem(void *self, struct mps_call *call)
{
	struct store_entry *e = store_last(self);
	int r = served_none(call);

	if (r < 0)
		return r;
	if (e == NULL)
		return -ENOENT;
	served_reply(call, "\x92", 1);
	r = served_reply(call, e->p, e->n_key + e->n_value);
	if (r == 0)
		store_remove(self, e);
	return r;
}

/* ---------------------------------------------------------------------------------------------------- all of them */

static int size(void *self, struct mps_call *call)
{
	int r = served_none(call);

	return r < 0 ? r : served_reply_int(call, (int64_t)((struct store *)self)->n);
}

static void put_pairs(const struct store *s, struct buf *to)
{
	STORE_EACH(s, e)
	buf_add(to, e->p, e->n_key + e->n_value);
}

/* All that is there as an array, each as `write` has it. */
static int reply_each(const struct store *s, struct mps_call *call,
		      void (*write)(const struct store_entry *e, struct buf *reply))
{
	msgpack_packer k = value_packer(call->reply);
	int r = served_none(call);

	if (r < 0)
		return r;
	msgpack_pack_array(&k, s->n);
	STORE_EACH(s, e)
	write(e, call->reply);
	return call->reply->failed ? -ENOMEM : 0;
}

static void put_key(const struct store_entry *e, struct buf *reply)
{
	buf_add(reply, e->p, e->n_key);
}

static void put_value(const struct store_entry *e, struct buf *reply)
{
	buf_add(reply, store_value(e), e->n_value);
}

static void put_item(const struct store_entry *e, struct buf *reply)
{
	buf_addc(reply, '\x92');
	buf_add(reply, e->p, e->n_key + e->n_value);
}

static int keys(void *self, struct mps_call *call)
{
	return reply_each(self, call, put_key);
}

static int values(void *self, struct mps_call *call)
{
	return reply_each(self, call, put_value);
}

static int items(void *self, struct mps_call *call)
{
	return reply_each(self, call, put_item);
}

static int copy(void *self, struct mps_call *call)
{
	msgpack_packer k = value_packer(call->reply);
	const struct store *s = self;
	int r = served_none(call);

	if (r < 0)
		return r;
	msgpack_pack_map(&k, s->n);
	put_pairs(s, call->reply);
	return call->reply->failed ? -ENOMEM : 0;
}

static int clear(void *self, struct mps_call *call)
{
	int r = served_none(call);

	if (r == 0)
		store_clear(self);
	return r;
}

static bool is_text(const struct packed *k)
{
	return (k->p[0] >= 0xa0 && k->p[0] < 0xc0) || (k->p[0] >= 0xd9 && k->p[0] <= 0xdb);
}

static int update_from(struct store *s, const struct packed *map, bool texts)
{
	struct values v, again;
	size_t n;
	int r = served_map(map, &v, &n);

	if (r < 0)
		return r;
	again = v;
	for (size_t i = 0; i < n; i++) {
		struct packed k = served_next(&again);

		served_next(&again);
		if (check_key(&k) < 0 || (texts && !is_text(&k)))
			return -EINVAL; /* before anything is changed */
	}
	for (size_t i = 0; i < n && r == 0; i++) {
		struct packed k = served_next(&v), value = served_next(&v);

		r = put(s, &k, &value);
	}
	return r;
}

static int update(void *self, struct mps_call *call)
{
	struct packed a[1];
	int n = served_args(call, 1, 1, a);

	return n < 0 ? n : update_from(self, &a[0], false);
}

/* ---------------------------------------------------------------------------------------------------- life */

static int make(struct mps_call *call, void **ret_self, bool texts)
{
	struct store *s = calloc(1, sizeof(*s));
	struct packed a[1];
	int r = s == NULL ? -ENOMEM : served_args(call, 0, 1, a);

	if (r > 0)
		r = update_from(s, &a[0], texts);
	if (r < 0) {
		if (s != NULL)
			store_fini(s);
		free(s);
		return r;
	}
	*ret_self = s;
	return 0;
}

static int dict_create(struct mps_call *call, void **ret_self)
{
	return make(call, ret_self, false);
}

static int namespace_create(struct mps_call *call, void **ret_self)
{
	return make(call, ret_self, true);
}

static void destroy(void *self)
{
	store_fini(self);
	free(self);
}

static size_t bytes(const void *self)
{
	return ((const struct store *)self)->bytes;
}

static void save(const void *self, struct buf *to)
{
	msgpack_packer k = value_packer(to);
	const struct store *s = self;

	msgpack_pack_array(&k, 1);
	msgpack_pack_map(&k, s->n);
	put_pairs(s, to);
}

/* ---------------------------------------------------------------------------------------------------- tables */

/* Their places are the wire's numbers: only more are added, at the end. */
enum {
	GET,
	SET,
	DELETE,
	POP,
	HAS,
	SIZE,
	KEYS,
	VALUES,
	ITEMS,
	CLEAR,
	UPDATE,
	SETDEFAULT,
	ADD,
	POPITEM,
	COPY,
	N_METHODS
};
static const struct mps_method dict_methods[N_METHODS] = {
	[GET] = { "get", get },		 [SET] = { "set", set },
	[DELETE] = { "delete", delete }, [POP] = { "pop", pop },
	[HAS] = { "has", has },		 [SIZE] = { "size", size },
	[KEYS] = { "keys", keys },	 [VALUES] = { "values", values },
	[ITEMS] = { "items", items },	 [CLEAR] = { "clear", clear },
	[UPDATE] = { "update", update }, [SETDEFAULT] = { "setdefault", setdefault },
	[ADD] = { "add", add },		 [POPITEM] = { "popitem", popitem },
	[COPY] = { "copy", copy },
};
#define BIT(m) (UINT32_C(1) << (m))
struct served_type served_dict = {
	.type = { .name = "dict",
		  .create = dict_create,
		  .destroy = destroy,
		  .methods = dict_methods,
		  .n_methods = N_METHODS },
	.grows = BIT(SET) | BIT(UPDATE) | BIT(SETDEFAULT) | BIT(ADD),
	.writes = BIT(SET) | BIT(DELETE) | BIT(POP) | BIT(CLEAR) | BIT(UPDATE) | BIT(SETDEFAULT) |
		  BIT(ADD) | BIT(POPITEM),
	.bytes = bytes,
	.save = save,
};

static int name_set(void *self, struct mps_call *call)
{
	struct packed a[2];
	int n = served_args(call, 2, 2, a);

	return n < 0 ? n : !is_text(&a[0]) ? -EINVAL : put(self, &a[0], &a[1]);
}

static const struct mps_method namespace_methods[] = {
	{ "get", get },
	{ "set", name_set },
	{ "delete", delete },
	{ "items", items },
};
struct served_type served_namespace = {
	.type = { .name = "namespace",
		  .create = namespace_create,
		  .destroy = destroy,
		  .methods = namespace_methods,
		  .n_methods = sizeof(namespace_methods) / sizeof(*namespace_methods) },
	.grows = BIT(1),
	.writes = BIT(1) | BIT(2),
	.bytes = bytes,
	.save = save,
};
