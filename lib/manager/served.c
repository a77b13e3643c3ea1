/*
 * Types whose objects are values in the server: their list, arguments and answers.
 */
#include "manager/served.h"

struct mps_type *const served_types[] = { &served_dict.type, &served_list.type,
					  &served_namespace.type, NULL };

struct packed served_next(struct values *v)
{
	const void *p = v->p;
	size_t n = 0;

	value_skip(v, &p, &n);
	return (struct packed){ p, n };
}

int served_args(const struct mps_call *call, size_t min, size_t max, struct packed *a)
{
	struct values v;
	size_t n = 0;

	if (values_of_array(call->args, call->n_args, &v) < 0)
		return -EINVAL;
	for (; v.n > 0; n++) {
		if (n == max)
			return -EINVAL;
		a[n] = served_next(&v);
		if (a[n].n == 0)
			return -EINVAL;
	}
	return n < min ? -EINVAL : (int)n;
}

int served_none(const struct mps_call *call)
{
	struct packed none[1];

	return served_args(call, 0, 0, none);
}

int served_int(const struct packed *a, int64_t *ret)
{
	struct values v = { a->p, a->n };
	struct value got;

	if (value_next(&v, &got) < 0 || got.kind != VALUE_INT)
		return -EINVAL;
	*ret = got.i;
	return 0;
}

static int container(const struct packed *a, enum value_kind kind, struct values *ret,
		     size_t *ret_n)
{
	struct values v = { a->p, a->n };
	struct value got;

	if (value_next(&v, &got) < 0 || got.kind != kind)
		return -EINVAL;
	*ret = v;
	*ret_n = got.n;
	return 0;
}

int served_array(const struct packed *a, struct values *ret, size_t *ret_n)
{
	return container(a, VALUE_ARRAY, ret, ret_n);
}

int served_map(const struct packed *a, struct values *ret, size_t *ret_n)
{
	return container(a, VALUE_MAP, ret, ret_n);
}

int served_reply(struct mps_call *call, const void *p, size_t n)
{
	buf_add(call->reply, p, n);
	return call->reply->failed ? -ENOMEM : 0;
}

int served_reply_int(struct mps_call *call, int64_t i)
{
	msgpack_packer k = value_packer(call->reply);

	msgpack_pack_int64(&k, i);
	return call->reply->failed ? -ENOMEM : 0;
}

int served_reply_bool(struct mps_call *call, bool is_so)
{
	return served_reply(call, is_so ? "\xc3" : "\xc2", 1);
}
