/*
 * dict, list and namespace of the manager's server do what Python's do, call by call.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../manager_core.h"
#include "base/cleanup.h"
#include "manager/served.h"

struct row {
	const char *method, *args;
	int status;
	const char *result; /* NULL = none */
};

static unsigned method_of(const struct mps_type *type, const char *name)
{
	for (size_t i = 0; i < type->n_methods; i++)
		if (strcmp(type->methods[i].name, name) == 0)
			return (unsigned)i;
	cr_assert_fail("no method %s", name);
	return 0;
}

static void run(const struct mps_type *type, const char *create, const struct row *rows, size_t n)
{
	struct core c;
	struct session *s;
	int64_t handle;

	core_begin(&c, NULL);
	s = core_session(&c, false);
	handle = core_refer(&c, s, WIRE_CREATE, create);
	cr_assert_gt(handle, 0);
	for (size_t i = 0; i < n; i++) {
		int r = core_ask(&c, s, handle, method_of(type, rows[i].method), 0, rows[i].args,
				 rows[i].result != NULL ? rows[i].result : "null");

		cr_assert_eq(r, rows[i].status, "row %zu, %s%s: %d", i, rows[i].method,
			     rows[i].args, r);
	}
	core_end(&c);
}
#define RUN(type_, create_, rows_)                                                                 \
	run(&(type_).type, create_, rows_, sizeof(rows_) / sizeof(*(rows_)))

Test(manager_types, dict_is_as_pythons)
{
	static const struct row rows[] = {
		{ "size", "[]", 0, "0" },
		{ "get", "[\"a\"]", -ENOENT, NULL },
		{ "get", "[\"a\", 7]", 0, "7" },
		{ "set", "[\"a\", 1]", 0, NULL },
		{ "set", "[1, [1, 2, {\"x\": null}]]", 0, NULL },
		{ "set", "[null, true]", 0, NULL },
		{ "set", "[[1, \"b\"], 2.5]", 0, NULL },
		{ "get", "[\"a\"]", 0, "1" },
		{ "get", "[1]", 0, "[1, 2, {\"x\": null}]" },
		{ "get", "[null]", 0, "true" },
		{ "get", "[[1, \"b\"]]", 0, "2.5" },
		{ "has", "[\"a\"]", 0, "true" },
		{ "has", "[\"b\"]", 0, "false" },
		{ "has", "[1.0]", 0, "false" }, /* numbers of another kind are other keys */
		{ "size", "[]", 0, "4" },
		{ "keys", "[]", 0, "[\"a\", 1, null, [1, \"b\"]]" },
		{ "set", "[\"a\", \"longer than it was before, much longer\"]", 0, NULL },
		{ "keys", "[]", 0, "[\"a\", 1, null, [1, \"b\"]]" },
		{ "delete", "[1]", 0, NULL },
		{ "delete", "[1]", -ENOENT, NULL },
		{ "pop", "[1]", -ENOENT, NULL },
		{ "pop", "[1, \"no\"]", 0, "\"no\"" },
		{ "pop", "[[1, \"b\"]]", 0, "2.5" },
		{ "popitem", "[]", 0, "[null, true]" },
		{ "setdefault", "[\"n\"]", 0, "null" },
		{ "setdefault", "[\"n\", 3]", 0, "null" },
		{ "setdefault", "[\"m\", 3]", 0, "3" },
		{ "values", "[]", 0, "[\"longer than it was before, much longer\", null, 3]" },
		{ "update", "[{\"m\": 4, \"o\": 5}]", 0, NULL },
		{ "delete", "[\"a\"]", 0, NULL },
		{ "items", "[]", 0, "[[\"n\", null], [\"m\", 4], [\"o\", 5]]" },
		{ "copy", "[]", 0, "{\"n\": null, \"m\": 4, \"o\": 5}" },
		{ "add", "[\"hits\", 2]", 0, "2" },
		{ "add", "[\"hits\", -5]", 0, "-3" },
		{ "add", "[\"n\", 1]", -EINVAL, NULL },
		{ "add", "[\"big\", 9223372036854775807]", 0, "9223372036854775807" },
		{ "add", "[\"big\", 1]", -ERANGE, NULL },
		{ "set", "[{}, 1]", -EINVAL, NULL },
		{ "set", "[[1, {}], 1]", -EINVAL, NULL },
		{ "update", "[[1]]", -EINVAL, NULL },
		{ "set", "[1]", -EINVAL, NULL },
		{ "set", "[1, 2, 3]", -EINVAL, NULL },
		{ "clear", "[]", 0, NULL },
		{ "size", "[]", 0, "0" },
		{ "popitem", "[]", -ENOENT, NULL },
	};

	RUN(served_dict, "[\"dict\", null, 0, null]", rows);
}

Test(manager_types, list_is_as_pythons)
{
	static const struct row rows[] = {
		{ "size", "[]", 0, "3" },
		{ "get", "[0]", 0, "1" },
		{ "get", "[-1]", 0, "3" },
		{ "get", "[3]", -ERANGE, NULL },
		{ "get", "[-4]", -ERANGE, NULL },
		{ "get", "[\"x\"]", -EINVAL, NULL },
		{ "append", "[\"end\"]", 0, NULL },
		{ "extend", "[[5, 6]]", 0, NULL },
		{ "slice", "[]", 0, "[1, 2, 3, \"end\", 5, 6]" },
		{ "slice", "[1, 3]", 0, "[2, 3]" },
		{ "slice", "[-2, null]", 0, "[5, 6]" },
		{ "slice", "[null, -4]", 0, "[1, 2]" },
		{ "slice", "[4, 2]", 0, "[]" },
		{ "slice", "[-100, 100]", 0, "[1, 2, 3, \"end\", 5, 6]" },
		{ "set", "[3, 4]", 0, NULL },
		{ "set", "[6, 4]", -ERANGE, NULL },
		{ "insert", "[0, 0]", 0, NULL },
		{ "insert", "[-1, 5.5]", 0, NULL },
		{ "insert", "[100, 7]", 0, NULL },
		{ "insert", "[-100, -1]", 0, NULL },
		{ "slice", "[]", 0, "[-1, 0, 1, 2, 3, 4, 5, 5.5, 6, 7]" },
		{ "pop", "[]", 0, "7" },
		{ "pop", "[0]", 0, "-1" },
		{ "pop", "[-2]", 0, "5.5" },
		{ "pop", "[100]", -ERANGE, NULL },
		{ "delete", "[0]", 0, NULL },
		{ "delete", "[6]", -ERANGE, NULL },
		{ "index", "[3]", 0, "2" },
		{ "index", "[3.0]", 0, "2" },
		{ "index", "[9]", -ENOENT, NULL },
		{ "remove", "[1]", 0, NULL },
		{ "remove", "[1]", -ENOENT, NULL },
		{ "count", "[3]", 0, "1" },
		{ "has", "[6]", 0, "true" },
		{ "has", "[1]", 0, "false" },
		{ "reverse", "[]", 0, NULL },
		{ "slice", "[]", 0, "[6, 5, 4, 3, 2]" },
		{ "append", "[2.5]", 0, NULL },
		{ "sort", "[]", 0, NULL },
		{ "slice", "[]", 0, "[2, 2.5, 3, 4, 5, 6]" },
		{ "sort", "[true]", 0, NULL },
		{ "slice", "[]", 0, "[6, 5, 4, 3, 2.5, 2]" },
		{ "append", "[\"x\"]", 0, NULL },
		{ "sort", "[]", -EINVAL, NULL },
		{ "slice", "[-2, null]", 0, "[2, \"x\"]" },
		{ "clear", "[]", 0, NULL },
		{ "pop", "[]", -ERANGE, NULL },
		{ "extend", "[[\"b\", \"a\", \"\", \"ab\"]]", 0, NULL },
		{ "sort", "[]", 0, NULL },
		{ "slice", "[]", 0, "[\"\", \"a\", \"ab\", \"b\"]" },
		{ "extend", "[{}]", -EINVAL, NULL },
		{ "append", "[]", -EINVAL, NULL },
	};

	RUN(served_list, "[\"list\", null, 0, [[1, 2, 3]]]", rows);
}

Test(manager_types, namespace_has_names)
{
	static const struct row rows[] = {
		{ "get", "[\"x\"]", 0, "1" },
		{ "get", "[\"y\"]", -ENOENT, NULL },
		{ "set", "[\"y\", [2]]", 0, NULL },
		{ "set", "[2, 2]", -EINVAL, NULL },
		{ "items", "[]", 0, "[[\"x\", 1], [\"y\", [2]]]" },
		{ "delete", "[\"x\"]", 0, NULL },
		{ "delete", "[\"x\"]", -ENOENT, NULL },
	};

	RUN(served_namespace, "[\"namespace\", null, 0, [{\"x\": 1}]]", rows);
}

Test(manager_types, a_key_is_one_however_it_is_written)
{
	/* [1, 1] with the key as uint64, and [1] as int32; [str8 "a", float32 1] */
	static const uint8_t set[] = "\x92\xcf\0\0\0\0\0\0\0\x01\x07", get[] = "\x91\xd2\0\0\0\x01",
			     set_text[] = "\x92\xd9\x01"
					  "a\xca\x3f\x80\0\0";
	struct raw_answer a;
	struct core c;
	struct session *s;
	int64_t handle;

	core_begin(&c, NULL);
	s = core_session(&c, false);
	handle = core_refer(&c, s, WIRE_CREATE, "[\"dict\", null, 0, null]");
	core_send(&c, s, handle, method_of(&served_dict.type, "set"), 0, set, sizeof(set) - 1);
	cr_assert(core_answer(s, &a) && a.status == 0);
	core_send(&c, s, handle, method_of(&served_dict.type, "get"), 0, get, sizeof(get) - 1);
	cr_assert(core_answer(s, &a) && a.status == 0 && a.n == 1);
	cr_assert_eq(*(const uint8_t *)a.value, 7);
	free((void *)a.value);
	cr_assert_eq(core_ask(&c, s, handle, method_of(&served_dict.type, "get"), 0, "[1]", "7"),
		     0);
	core_send(&c, s, handle, method_of(&served_dict.type, "set"), 0, set_text,
		  sizeof(set_text) - 1);
	cr_assert(core_answer(s, &a) && a.status == 0);
	cr_assert_eq(core_ask(&c, s, handle, method_of(&served_dict.type, "get"), 0, "[\"a\"]",
			      "1.0"),
		     0);
	core_end(&c);
}

Test(manager_types, a_store_of_many_keys_keeps_their_order)
{
	enum { MANY = 20000 };
	struct store s = { 0 };
	uint32_t next = 0;

	for (uint32_t i = 0; i < MANY; i++)
		cr_assert_eq(store_put(&s, &i, sizeof(i), &i, sizeof(i)), 0);
	for (uint32_t i = 0; i < MANY; i++)
		if (i % 3 != 0)
			store_remove(&s, store_find(&s, &i, sizeof(i)));
	for (uint32_t i = MANY; i < 2 * MANY; i++)
		cr_assert_eq(store_put(&s, &i, sizeof(i), &i, sizeof(i)), 0);
	STORE_EACH(&s, e)
	{
		uint32_t key;

		memcpy(&key, e->p, sizeof(key));
		cr_assert_geq(key, next);
		next = key + 1;
	}
	for (uint32_t i = 0; i < 2 * MANY; i++)
		cr_assert_eq(store_find(&s, &i, sizeof(i)) != NULL, i >= MANY || i % 3 == 0);
	/* Ever new keys in one that stays small do not fill it with marks of the old. */
	store_clear(&s);
	cr_assert_eq(s.bytes, 0);
	for (uint32_t i = 0; i < MANY; i++) {
		store_put(&s, &i, sizeof(i), "", 0);
		store_remove(&s, store_find(&s, &i, sizeof(i)));
	}
	cr_assert_eq(s.n, 0);
	cr_assert_lt(s.n_places, 64);
	store_fini(&s);
}

Test(manager_types, every_method_refuses_what_are_no_arguments)
{
	static const char *const bad[] = { "{}", "[1, 2, 3, 4]", "3" };
	struct core c;
	struct session *s;

	core_begin(&c, NULL);
	s = core_session(&c, false);
	for (size_t t = 0; served_types[t] != NULL; t++) {
		char create[64];
		int64_t handle;

		snprintf(create, sizeof(create), "[\"%s\", null, 0, null]", served_types[t]->name);
		handle = core_refer(&c, s, WIRE_CREATE, create);
		for (unsigned m = 0; m < served_types[t]->n_methods; m++)
			for (size_t i = 0; i < 3; i++) {
				const char *name = served_types[t]->methods[m].name;
				int r = core_ask(&c, s, handle, m, 0, bad[i], NULL);

				cr_assert(r == -EINVAL, "%s.%s(%s): %d", served_types[t]->name,
					  name, bad[i], r);
			}
		cr_assert_eq(core_ask(&c, s, handle, 99, 0, "[]", NULL), -ENOSYS);
	}
	core_end(&c);
}

/* The lowest number that is free: what was opened and closed is not in the way. */
static int free_number(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

/* With room for so many descriptors. */
static int make_with(const struct shared_type *type, struct mps_call *call, int room, int fds[2],
		     size_t *ret_n)
{
	struct rlimit limit, less;
	int r;

	getrlimit(RLIMIT_NOFILE, &limit);
	less = limit;
	less.rlim_cur = (rlim_t)(free_number() + room);
	setrlimit(RLIMIT_NOFILE, &less);
	r = type->make(call, fds, ret_n);
	setrlimit(RLIMIT_NOFILE, &limit);
	return r;
}

Test(manager_types, what_could_not_be_made_has_no_descriptors_that_would_be_closed_again)
{
	static const struct {
		const char *args;
		size_t n;
	} wrong[] = { { "\x91\x00", 2 }, { "\x91\xff", 2 }, { "\x92\x00\x01", 3 }, { "\x80", 1 } },
	  right[] = { { NULL, 0 }, { "\x91\x01", 2 }, { "\x92\xa1h\x01", 4 } };
	int first = free_number(), fds[2];
	size_t n = 0;

	for (size_t t = 0; shared_types[t] != NULL; t++) {
		const struct shared_type *type = shared_types[t];

		for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
			struct mps_call call = { .args = wrong[i].args, .n_args = wrong[i].n };
			int r = type->make(&call, fds, &n);

			for (; r == 0 && n > 0; n--)
				close(fds[n - 1]);
			cr_expect(r <= 0 && n == 0, "%s: %d", type->type.name, r);
		}
		for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
			struct mps_call call = { .args = right[i].args, .n_args = right[i].n };
			int r, room = 0;

			while ((r = make_with(type, &call, room, fds, &n)) == -EMFILE && n == 0)
				cr_assert_lt(room++, 10);
			cr_expect(r == 0 || n == 0, "%s, room for %d: %d", type->type.name, room,
				  r);
			for (; n > 0; n--)
				close(fds[n - 1]);
		}
		cr_expect_eq(free_number(), first, "%s", type->type.name);
	}
}

Test(manager_types, every_method_is_in_the_manual)
{
	char *page, word[64];
	size_t n;

	cr_assert_eq(fd_read_file("man/mpsup-manager.7", 1 << 20, &page, &n), 0);
	for (size_t t = 0; served_types[t] != NULL; t++)
		for (size_t m = 0; m < served_types[t]->n_methods; m++) {
			snprintf(word, sizeof(word), "\n.It Ic %s",
				 served_types[t]->methods[m].name);
			cr_assert_not_null(strstr(page, word), "%s%s", served_types[t]->name, word);
		}
	for (size_t t = 0; shared_types[t] != NULL; t++)
		for (size_t m = 0; m < shared_types[t]->type.n_methods; m++) {
			snprintf(word, sizeof(word), "\n.It Ic %s",
				 shared_types[t]->type.methods[m].name);
			cr_assert_not_null(strstr(page, word), "%s%s", shared_types[t]->type.name,
					   word);
		}
	free(page);
}
