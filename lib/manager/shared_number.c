/*
 * value, array: a raw mps_array (each number by itself is whole, and no lock can be held up) in the second segment. counter: one
 * number in the first.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "manager/shared.h"

struct memory {
	struct shared_head head;
	_Alignas(128) _Atomic int64_t counter;
};

static struct memory *memory_of(void *self)
{
	return (struct memory *)(void *)((struct shared *)self)->head;
}

static struct mps_array *array_of(void *self)
{
	return ((struct shared *)self)->array;
}

static bool is_float(const struct mps_array *a)
{
	return mps_array_type(a) == 'f' || mps_array_type(a) == 'd';
}

/* ---------------------------------------------------------------------------------------------- numbers and values */

static int set_one(struct mps_array *a, uint64_t i, const struct value *v)
{
	if (is_float(a) && v->kind == VALUE_FLOAT)
		return mps_array_set_double(a, i, v->d);
	if (v->kind == VALUE_UINT && mps_array_type(a) != 'L' && mps_array_type(a) != 'Q')
		return -ERANGE;
	if (v->kind != VALUE_INT && v->kind != VALUE_UINT)
		return -EINVAL;
	if (v->kind == VALUE_INT && v->i < 0 &&
	    (mps_array_type(a) == 'L' || mps_array_type(a) == 'Q'))
		return -ERANGE;
	return is_float(a) ? mps_array_set_double(a, i, (double)v->i)
			   : mps_array_set_int(a, i, v->i);
}

static int pack_bits(struct mps_call *call, struct mps_array *a, int64_t bits)
{
	msgpack_packer k = value_packer(call->reply);
	char type = mps_array_type(a);
	int r = type == 'L' || type == 'Q' ? msgpack_pack_uint64(&k, (uint64_t)bits)
					   : msgpack_pack_int64(&k, bits);

	return r < 0 ? -ENOMEM : 0;
}

static int pack_one(struct mps_call *call, struct mps_array *a, uint64_t i)
{
	msgpack_packer k = value_packer(call->reply);
	int64_t bits;
	double d;
	int r = is_float(a) ? mps_array_get_double(a, i, &d) : mps_array_get_int(a, i, &bits);

	if (r < 0)
		return r;
	if (!is_float(a))
		return pack_bits(call, a, bits);
	return msgpack_pack_double(&k, d) < 0 ? -ENOMEM : 0;
}

/* n values from place i on. */
static int set_many(struct mps_array *a, uint64_t i, struct values *v, size_t n)
{
	int r = 0;

	if (i > mps_array_length(a) || n > mps_array_length(a) - i)
		return -ERANGE;
	while (r == 0 && n-- > 0) {
		struct value one;

		r = value_next(v, &one);
		if (r == 0)
			r = set_one(a, i++, &one);
	}
	return r;
}

/* ---------------------------------------------------------------------------------------------- made, opened */

/* [code, number], of a value; [code, length] and [code, [numbers]], of an array. */
struct first {
	char type;
	uint64_t length;
	struct values numbers;
	size_t n;
};

static int first_of(const struct shared_row *row, const struct mps_call *call, struct first *ret)
{
	struct value v;
	const char *code;
	const void *p;
	size_t n, n_code;
	int r = shared_args(call, "[sv]", &code, &n_code, &p, &n);

	if (r < 0 || n_code != 1)
		return -EINVAL;
	*ret = (struct first){ code[0], 1, { p, n }, 1 };
	if (row->kind == SHARED_VALUE)
		return 0;
	value_next(&ret->numbers, &v);
	ret->n = v.kind == VALUE_ARRAY ? v.n : 0;
	ret->length = v.kind == VALUE_ARRAY ? v.n : (uint64_t)v.i;
	if ((v.kind != VALUE_ARRAY && v.kind != VALUE_INT) || v.i < 0)
		return -EINVAL;
	return call->room != 0 && ret->length > call->room / sizeof(int64_t) ? -EDQUOT : 0;
}

static int make_numbers(const struct shared_row *row, struct mps_call *call, int *ret_fd)
{
	struct mps_array *a;
	struct first first;
	int r = first_of(row, call, &first);

	if (r == 0)
		r = mps_array_new(first.type, first.length, MPS_RAW, &a);
	if (r < 0)
		return r;
	r = set_many(a, 0, &first.numbers, first.n);
	if (r == 0) {
		*ret_fd = fcntl(mps_shm_fileno(mps_array_shm(a)), F_DUPFD_CLOEXEC, 0);
		r = *ret_fd < 0 ? -errno : 0;
	}
	mps_array_free(a);
	return r;
}

/* Nothing, or a number. */
static int first_count(const struct mps_call *call, int64_t *ret)
{
	*ret = 0;
	return call->n_args == 0 || shared_args(call, "[]") == 0 ? 0
								 : shared_args(call, "[i]", ret);
}

static int make(const struct shared_row *row, struct mps_call *call, int *ret_fds, size_t *ret_n)
{
	bool is_counter = row->kind == SHARED_COUNTER;
	struct memory *m;
	int64_t count = 0;
	int r = is_counter ? first_count(call, &count) : make_numbers(row, call, &ret_fds[1]);

	if (r < 0)
		return r;
	r = shared_make(row, &ret_fds[0], &m);
	if (r < 0) {
		if (!is_counter)
			close(ret_fds[1]);
		return r;
	}
	atomic_store(&m->counter, count);
	shared_unmap(row, m);
	*ret_n = is_counter ? 1 : 2;
	return 0;
}

static int open_second(struct shared *s, int fd)
{
	int ours = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int r = ours < 0 ? -errno : mps_shm_from_fd(ours, &s->shm);

	if (r < 0) {
		if (ours >= 0)
			close(ours);
		return r == -EINVAL ? -EBADMSG : r;
	}
	r = mps_array_open(s->shm, &s->array);
	if (r == 0 && (mps_array_lock(s->array) != NULL || mps_array_length(s->array) == 0))
		r = -EBADMSG;
	if (r == 0)
		close(fd);
	return r;
}

/* ---------------------------------------------------------------------------------------------- value and array */

/* The arguments: what stands before, which is the place, of an array; then this many. */
static int place_of(void *self, struct mps_call *call, struct values *ret, uint64_t *ret_i)
{
	bool is_value = ((struct shared *)self)->row->kind == SHARED_VALUE;
	struct value v;
	int r = values_of_array(call->args, call->n_args, ret);

	*ret_i = 0;
	if (r < 0 || is_value)
		return r;
	r = value_next(ret, &v);
	if (r < 0 || v.kind != VALUE_INT)
		return -EINVAL;
	*ret_i = (uint64_t)v.i;
	return 0;
}

static int get(void *self, struct mps_call *call)
{
	struct values left;
	uint64_t i;
	int r = place_of(self, call, &left, &i);

	if (r == 0 && left.n > 0)
		r = -EINVAL;
	return r < 0 ? r : pack_one(call, array_of(self), i);
}

static int set(void *self, struct mps_call *call)
{
	struct values left;
	struct value v;
	uint64_t i;
	int r = place_of(self, call, &left, &i);

	if (r == 0 && (value_next(&left, &v) < 0 || left.n > 0))
		r = -EINVAL;
	return r < 0 ? r : set_one(array_of(self), i, &v);
}

/* Of add and exchange: place and number. */
static int number_of(void *self, struct mps_call *call, uint64_t *ret_i, int64_t *ret)
{
	struct values left;
	struct value v;
	int r = place_of(self, call, &left, ret_i);

	if (r == 0 && (value_next(&left, &v) < 0 || left.n > 0 || v.kind != VALUE_INT))
		r = -EINVAL;
	if (r == 0)
		*ret = v.i;
	return r;
}

static int add(void *self, struct mps_call *call)
{
	struct mps_array *a = array_of(self);
	int64_t delta = 0, old = 0;
	uint64_t i;
	int r = number_of(self, call, &i, &delta);

	if (r == 0)
		r = mps_array_add(a, i, delta, &old);
	return r < 0 ? r : pack_bits(call, a, (int64_t)((uint64_t)old + (uint64_t)delta));
}

static int exchange(void *self, struct mps_call *call)
{
	struct mps_array *a = array_of(self);
	int64_t value, old;
	uint64_t i;
	int r = number_of(self, call, &i, &value);

	if (r == 0)
		r = mps_array_exchange(a, i, value, &old);
	return r < 0 ? r : pack_bits(call, a, old);
}

static int code(void *self, struct mps_call *call)
{
	buf_addc(call->reply, (char)0xa1);
	buf_addc(call->reply, mps_array_type(array_of(self)));
	return call->reply->failed ? -ENOMEM : 0;
}

static int length(void *self, struct mps_call *call)
{
	return shared_reply_int(call, (int64_t)mps_array_length(array_of(self)));
}

/* [i, n] -> [numbers] */
static int read_many(void *self, struct mps_call *call)
{
	struct mps_array *a = array_of(self);
	msgpack_packer k = value_packer(call->reply);
	int64_t i, n;
	int r = shared_args(call, "[ii]", &i, &n);

	if (r < 0)
		return r;
	if (i < 0 || n < 0 || (uint64_t)i > mps_array_length(a) ||
	    (uint64_t)n > mps_array_length(a) - (uint64_t)i || n > UINT32_MAX)
		return -ERANGE;
	msgpack_pack_array(&k, (size_t)n);
	while (r == 0 && n-- > 0)
		r = pack_one(call, a, (uint64_t)i++);
	return r;
}

/* [i, [numbers]] */
static int write_many(void *self, struct mps_call *call)
{
	struct values left;
	struct value v;
	int64_t i;
	const void *p;
	size_t n;
	int r = shared_args(call, "[iv]", &i, &p, &n);

	if (r < 0)
		return r;
	left = (struct values){ p, n };
	value_next(&left, &v);
	if (v.kind != VALUE_ARRAY)
		return -EINVAL;
	return i < 0 ? -ERANGE : set_many(array_of(self), (uint64_t)i, &left, v.n);
}

/* ---------------------------------------------------------------------------------------------- counter */

int shared_add(struct shared *s, int64_t delta, int64_t *ret_new)
{
	int64_t old;
	int r;

	if (s->row->kind == SHARED_COUNTER) {
		old = atomic_fetch_add_explicit(&memory_of(s)->counter, delta,
						memory_order_acq_rel);
	} else {
		r = s->row->kind == SHARED_VALUE ? mps_array_add(s->array, 0, delta, &old)
						 : -ENOSYS;
		if (r < 0)
			return r;
	}
	if (ret_new != NULL)
		*ret_new = (int64_t)((uint64_t)old + (uint64_t)delta);
	return 0;
}

static int counter_get(void *self, struct mps_call *call)
{
	return shared_reply_int(call, atomic_load(&memory_of(self)->counter));
}

static int counter_set(void *self, struct mps_call *call)
{
	int64_t value;
	int r = shared_args(call, "[i]", &value);

	if (r == 0)
		atomic_store(&memory_of(self)->counter, value);
	return r;
}

static int counter_add(void *self, struct mps_call *call)
{
	int64_t delta = 1, now = 0;
	int r = call->n_args == 0 || shared_args(call, "[]") == 0
			? 0
			: shared_args(call, "[i]", &delta);

	if (r == 0)
		r = shared_add(self, delta, &now);
	return r < 0 ? r : shared_reply_int(call, now);
}

static int counter_exchange(void *self, struct mps_call *call)
{
	int64_t value;
	int r = shared_args(call, "[i]", &value);

	return r < 0 ? r
		     : shared_reply_int(call, atomic_exchange(&memory_of(self)->counter, value));
}

/* ---------------------------------------------------------------------------------------------- tables */

static const struct mps_method value_methods[] = {
	{ "get", get }, { "set", set }, { "add", add }, { "exchange", exchange }, { "code", code },
};

static const struct mps_method array_methods[] = {
	{ "get", get },	  { "set", set },	{ "add", add },	       { "exchange", exchange },
	{ "code", code }, { "length", length }, { "read", read_many }, { "write", write_many },
};

static const struct mps_method counter_methods[] = {
	{ "get", counter_get },
	{ "set", counter_set },
	{ "add", counter_add },
	{ "exchange", counter_exchange },
};

SHARED_TYPE(value, &shared_number_rows[0])
SHARED_TYPE(array, &shared_number_rows[1])
SHARED_TYPE(counter, &shared_number_rows[2])

const struct shared_row shared_number_rows[3] = {
	{ SHARED_ROW(value, SHARED_VALUE, value_methods, sizeof(struct memory)),
	  .open = open_second },
	{ SHARED_ROW(array, SHARED_ARRAY, array_methods, sizeof(struct memory)),
	  .open = open_second },
	{ SHARED_ROW(counter, SHARED_COUNTER, counter_methods, sizeof(struct memory)) },
};
