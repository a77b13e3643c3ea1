/*
 * list: Python's. A place that is not there is -ERANGE, as IndexError is; a value that is not there -ENOENT, as ValueError.
 */
#include <stdlib.h>
#include <string.h>

#include "manager/served.h"

struct item {
	uint8_t *p;
	size_t n;
};

struct list {
	struct item *items;
	size_t n, room;
	size_t bytes;
};

static int reserve(struct list *l, size_t more)
{
	size_t room = l->room > 0 ? l->room : 8;
	struct item *items;

	while (room < l->n + more)
		room *= 2;
	if (room == l->room)
		return 0;
	items = realloc(l->items, room * sizeof(*items));
	if (items == NULL)
		return -ENOMEM;
	l->items = items;
	l->room = room;
	return 0;
}

static int item_new(struct list *l, const struct packed *v, struct item *ret)
{
	uint8_t *p = malloc(v->n);

	if (p == NULL)
		return -ENOMEM;
	memcpy(p, v->p, v->n);
	*ret = (struct item){ p, v->n };
	l->bytes += v->n + STORE_OVERHEAD;
	return 0;
}

static void item_free(struct list *l, struct item *i)
{
	l->bytes -= i->n + STORE_OVERHEAD;
	free(i->p);
}

static int insert_at(struct list *l, size_t i, const struct packed *v)
{
	struct item item;
	int r = reserve(l, 1);

	if (r == 0)
		r = item_new(l, v, &item);
	if (r < 0)
		return r;
	memmove(l->items + i + 1, l->items + i, (l->n - i) * sizeof(item));
	l->items[i] = item;
	l->n++;
	return 0;
}

static void remove_at(struct list *l, size_t i)
{
	item_free(l, &l->items[i]);
	memmove(l->items + i, l->items + i + 1, (--l->n - i) * sizeof(*l->items));
}

static void remove_all(struct list *l)
{
	while (l->n > 0)
		item_free(l, &l->items[--l->n]);
}

/* A place counted from either end. */
static int place(const struct list *l, const struct packed *a, size_t *ret)
{
	int64_t i;

	if (served_int(a, &i) < 0)
		return -EINVAL;
	if (i < 0)
		i += (int64_t)l->n;
	if (i < 0 || (uint64_t)i >= l->n)
		return -ERANGE;
	*ret = (size_t)i;
	return 0;
}

/* The same of slices and inserts: what is beyond an end is the end; nil is `otherwise`. */
static int bound(const struct list *l, const struct packed *a, size_t otherwise, size_t *ret)
{
	int64_t i, n = (int64_t)l->n;

	if (a->n == 1 && a->p[0] == 0xc0) {
		*ret = otherwise;
		return 0;
	}
	if (served_int(a, &i) < 0)
		return -EINVAL;
	if (i < 0)
		i = i < -n ? 0 : i + n;
	*ret = (size_t)(i > n ? n : i);
	return 0;
}

static int reply_item(struct mps_call *call, const struct item *i)
{
	return served_reply(call, i->p, i->n);
}

/* ---------------------------------------------------------------------------------------------------- comparing */

static struct value read_item(const uint8_t *p, size_t n)
{
	struct values v = { p, n };
	struct value got = { .kind = VALUE_NIL };

	value_next(&v, &got);
	return got;
}

static bool is_number(const struct value *v)
{
	return v->kind == VALUE_INT || v->kind == VALUE_UINT || v->kind == VALUE_FLOAT;
}

static int sign(bool less, bool more)
{
	return less ? -1 : more;
}

/* Of whole numbers exactly, else as floats. */
static int compare_numbers(const struct value *a, const struct value *b)
{
	long double x = a->kind == VALUE_FLOAT	? a->d
			: a->kind == VALUE_UINT ? (long double)(uint64_t)a->i
						: (long double)a->i;
	long double y = b->kind == VALUE_FLOAT	? b->d
			: b->kind == VALUE_UINT ? (long double)(uint64_t)b->i
						: (long double)b->i;

	if (a->kind == VALUE_INT && b->kind == VALUE_INT)
		return sign(a->i<b->i, a->i> b->i);
	return sign(x<y, x> y);
}

static int compare_texts(const struct value *a, const struct value *b)
{
	size_t n = a->n < b->n ? a->n : b->n;
	int r = n > 0 ? memcmp(a->p, b->p, n) : 0;

	return r != 0 ? r : sign(a->n<b->n, a->n> b->n);
}

static bool is_equal(const struct item *i, const struct packed *v)
{
	struct value a, b;

	if (i->n == v->n && memcmp(i->p, v->p, v->n) == 0)
		return true;
	a = read_item(i->p, i->n);
	b = read_item(v->p, v->n);
	return is_number(&a) && is_number(&b) && compare_numbers(&a, &b) == 0 && a.d == a.d &&
	       b.d == b.d;
}

static int find(const struct list *l, const struct packed *v, size_t *ret)
{
	for (size_t i = 0; i < l->n; i++)
		if (is_equal(&l->items[i], v)) {
			*ret = i;
			return 0;
		}
	return -ENOENT;
}

/* ---------------------------------------------------------------------------------------------------- methods */

static int get(void *self, struct mps_call *call)
{
	const struct list *l = self;
	struct packed a[1];
	size_t i = 0;
	int r = served_args(call, 1, 1, a);

	if (r > 0)
		r = place(l, &a[0], &i);
	return r < 0 ? r : reply_item(call, &l->items[i]);
}

static int set(void *self, struct mps_call *call)
{
	struct list *l = self;
	struct packed a[2];
	struct item item;
	size_t i = 0;
	int r = served_args(call, 2, 2, a);

	if (r > 0)
		r = place(l, &a[0], &i);
	if (r == 0)
		r = item_new(l, &a[1], &item);
	if (r < 0)
		return r;
	item_free(l, &l->items[i]);
	l->items[i] = item;
	return 0;
}

static int append(void *self, struct mps_call *call)
{
	struct list *l = self;
	struct packed a[1];
	int r = served_args(call, 1, 1, a);

	return r < 0 ? r : insert_at(l, l->n, &a[0]);
}

static int extend_by(struct list *l, const struct packed *array)
{
	struct values v;
	size_t n, before = l->n;
	int r = served_array(array, &v, &n);

	if (r == 0)
		r = reserve(l, n);
	for (size_t i = 0; i < n && r == 0; i++) {
		struct packed item = served_next(&v);

		r = insert_at(l, l->n, &item);
	}
	while (r < 0 && l->n > before)
		item_free(l, &l->items[--l->n]);
	return r;
}

static int extend(void *self, struct mps_call *call)
{
	struct packed a[1];
	int r = served_args(call, 1, 1, a);

	return r < 0 ? r : extend_by(self, &a[0]);
}

static int insert(void *self, struct mps_call *call)
{
	struct list *l = self;
	struct packed a[2];
	size_t i = 0;
	int r = served_args(call, 2, 2, a);

	if (r > 0)
		r = bound(l, &a[0], l->n, &i);
	return r < 0 ? r : insert_at(l, i, &a[1]);
}

static int pop(void *self, struct mps_call *call)
{
	struct list *l = self;
	struct packed a[1] = { { (const uint8_t *)"\xff", 1 } }; /* -1 */
	size_t i = 0;
	int r = served_args(call, 0, 1, a);

	if (r >= 0)
		r = place(l, &a[0], &i);
	if (r == 0)
		r = reply_item(call, &l->items[i]);
	if (r == 0)
		remove_at(l, i);
	return r;
}

static int delete (void *self, struct mps_call *call)
{
	struct list *l = self;
	struct packed a[1];
	size_t i = 0;
	int r = served_args(call, 1, 1, a);

	if (r > 0)
		r = place(l, &a[0], &i);
	if (r == 0)
		remove_at(l, i);
	return r;
}

static int remove_value(void *self, struct mps_call *call)
{
	struct list *l = self;
	struct packed a[1];
	size_t i = 0;
	int r = served_args(call, 1, 1, a);

	if (r > 0)
		r = find(l, &a[0], &i);
	if (r == 0)
		remove_at(l, i);
	return r;
}

static int index_of(void *self, struct mps_call *call)
{
	struct packed a[1];
	size_t i = 0;
	int r = served_args(call, 1, 1, a);

	if (r > 0)
		r = find(self, &a[0], &i);
	return r < 0 ? r : served_reply_int(call, (int64_t)i);
}

static int has(void *self, struct mps_call *call)
{
	struct packed a[1];
	size_t i = 0;
	int r = served_args(call, 1, 1, a);

	return r < 0 ? r : served_reply_bool(call, find(self, &a[0], &i) == 0);
}

static int count(void *self, struct mps_call *call)
{
	const struct list *l = self;
	struct packed a[1];
	int64_t n = 0;
	int r = served_args(call, 1, 1, a);

	if (r < 0)
		return r;
	for (size_t i = 0; i < l->n; i++)
		n += is_equal(&l->items[i], &a[0]);
	return served_reply_int(call, n);
}

static int size(void *self, struct mps_call *call)
{
	int r = served_none(call);

	return r < 0 ? r : served_reply_int(call, (int64_t)((struct list *)self)->n);
}

static void put_items(const struct list *l, size_t from, size_t to, struct buf *b)
{
	msgpack_packer k = value_packer(b);

	msgpack_pack_array(&k, from < to ? to - from : 0);
	for (size_t i = from; i < to; i++)
		buf_add(b, l->items[i].p, l->items[i].n);
}

static int slice(void *self, struct mps_call *call)
{
	const struct list *l = self;
	struct packed a[2] = { { (const uint8_t *)"\xc0", 1 }, { (const uint8_t *)"\xc0", 1 } };
	size_t from, to;
	int r = served_args(call, 0, 2, a);

	if (r >= 0)
		r = bound(l, &a[0], 0, &from);
	if (r == 0)
		r = bound(l, &a[1], l->n, &to);
	if (r < 0)
		return r;
	put_items(l, from, to, call->reply);
	return call->reply->failed ? -ENOMEM : 0;
}

static int clear(void *self, struct mps_call *call)
{
	struct list *l = self;
	int r = served_none(call);

	if (r < 0)
		return r;
	remove_all(l);
	free(l->items);
	l->items = NULL;
	l->room = 0;
	return 0;
}

static int reverse(void *self, struct mps_call *call)
{
	struct list *l = self;
	int r = served_none(call);

	if (r < 0)
		return r;
	for (size_t i = 0; i < l->n / 2; i++) {
		struct item item = l->items[i];

		l->items[i] = l->items[l->n - 1 - i];
		l->items[l->n - 1 - i] = item;
	}
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- sort */

struct sorted {
	struct item item;
	struct value value;
	size_t was;
};

static int by_value(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;
	int r = is_number(&x->value) ? compare_numbers(&x->value, &y->value)
				     : compare_texts(&x->value, &y->value);

	return r != 0 ? r : sign(x->was<y->was, x->was> y->was);
}

/* The other way round, but what is equal stays as it was, as with Python. */
static int by_value_down(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;
	int r = is_number(&x->value) ? compare_numbers(&y->value, &x->value)
				     : compare_texts(&y->value, &x->value);

	return r != 0 ? r : sign(x->was<y->was, x->was> y->was);
}

/* All numbers, or all text, or all bytes; as with Python nothing else can be compared. */
static int read_all(const struct list *l, struct sorted *s)
{
	for (size_t i = 0; i < l->n; i++) {
		s[i] = (struct sorted){ l->items[i], read_item(l->items[i].p, l->items[i].n), i };
		if (is_number(&s[i].value)
			    ? !is_number(&s[0].value)
			    : s[i].value.kind != s[0].value.kind || (s[i].value.kind != VALUE_STR &&
								     s[i].value.kind != VALUE_BIN))
			return -EINVAL;
	}
	return 0;
}

static int sort(void *self, struct mps_call *call)
{
	struct list *l = self;
	struct packed a[1] = { { (const uint8_t *)"\xc2", 1 } };
	struct sorted *s;
	int r = served_args(call, 0, 1, a);

	if (r < 0 || a[0].n != 1 || (a[0].p[0] | 1) != 0xc3)
		return -EINVAL;
	s = malloc((l->n + 1) * sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	r = read_all(l, s);
	if (r == 0)
		qsort(s, l->n, sizeof(*s), a[0].p[0] == 0xc3 ? by_value_down : by_value);
	for (size_t i = 0; r == 0 && i < l->n; i++)
		l->items[i] = s[i].item;
	free(s);
	return r;
}

/* ---------------------------------------------------------------------------------------------------- life */

static void destroy(void *self)
{
	struct list *l = self;

	remove_all(l);
	free(l->items);
	free(l);
}

static int create(struct mps_call *call, void **ret_self)
{
	struct list *l = calloc(1, sizeof(*l));
	struct packed a[1];
	int r = l == NULL ? -ENOMEM : served_args(call, 0, 1, a);

	if (r > 0)
		r = extend_by(l, &a[0]);
	if (r < 0) {
		if (l != NULL)
			destroy(l);
		return r;
	}
	*ret_self = l;
	return 0;
}

static size_t bytes(const void *self)
{
	return ((const struct list *)self)->bytes;
}

static void save(const void *self, struct buf *to)
{
	const struct list *l = self;

	buf_addc(to, '\x91'); /* one argument */
	put_items(l, 0, l->n, to);
}

/* Their places are the wire's numbers: only more are added, at the end. */
enum {
	GET,
	SET,
	APPEND,
	EXTEND,
	INSERT,
	POP,
	REMOVE,
	INDEX,
	SIZE,
	SLICE,
	CLEAR,
	REVERSE,
	SORT,
	DELETE,
	COUNT,
	HAS,
	N_METHODS
};
static const struct mps_method methods[N_METHODS] = {
	[GET] = { "get", get },
	[SET] = { "set", set },
	[APPEND] = { "append", append },
	[EXTEND] = { "extend", extend },
	[INSERT] = { "insert", insert },
	[POP] = { "pop", pop },
	[REMOVE] = { "remove", remove_value },
	[INDEX] = { "index", index_of },
	[SIZE] = { "size", size },
	[SLICE] = { "slice", slice },
	[CLEAR] = { "clear", clear },
	[REVERSE] = { "reverse", reverse },
	[SORT] = { "sort", sort },
	[DELETE] = { "delete", delete },
	[COUNT] = { "count", count },
	[HAS] = { "has", has },
};
#define BIT(m) (UINT32_C(1) << (m))
struct served_type served_list = {
	.type = { .name = "list",
		  .create = create,
		  .destroy = destroy,
		  .methods = methods,
		  .n_methods = N_METHODS },
	.grows = BIT(SET) | BIT(APPEND) | BIT(EXTEND) | BIT(INSERT),
	.writes = BIT(SET) | BIT(APPEND) | BIT(EXTEND) | BIT(INSERT) | BIT(POP) | BIT(REMOVE) |
		  BIT(CLEAR) | BIT(REVERSE) | BIT(SORT) | BIT(DELETE),
	.bytes = bytes,
	.save = save,
};
