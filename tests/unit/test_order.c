/*
 * Orders of starting and stopping, and the names that people give services.
 */
#include <criterion/criterion.h>

#include <errno.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "conf/conf.h"
#include "sup/order.h"
#include "sup/svc.h"

struct row {
	const char *group;
	const char *name;
	const char *shown;
	int group_priority;
	int priority;
};

enum { ROWS_MAX = 16 };

struct services {
	struct conf_proc confs[ROWS_MAX];
	struct svc svcs[ROWS_MAX];
	struct svc *list[ROWS_MAX];
	size_t n;
	struct order_index *index;
};

static void fill(struct services *s, const struct row *rows, size_t n)
{
	static const struct svc_ops no_ops;

	memset(s, 0, sizeof(*s));
	s->n = n;
	for (size_t i = 0; i < n; i++) {
		s->confs[i] = (struct conf_proc){ .group = (char *)rows[i].group,
						  .name = (char *)rows[i].name,
						  .group_priority = rows[i].group_priority,
						  .priority = rows[i].priority };
		svc_init(&s->svcs[i], (uint32_t)i, rows[i].shown, &s->confs[i], &no_ops, NULL);
		s->list[i] = &s->svcs[i];
	}
}

static void finish(struct services *s)
{
	order_index_free(s->index);
	for (size_t i = 0; i < s->n; i++)
		svc_fini(&s->svcs[i]);
}

static void add_found(struct svc *s, void *user)
{
	struct buf *b = user;

	buf_addf(b, "%s%s", b->len > 0 ? " " : "", s->name);
}

static const struct row named[] = {
	{ "web", "web_00", "web:web_00", 999, 999 },
	{ "web", "web_01", "web:web_01", 999, 999 },
	{ "db", "db", "db", 999, 999 },
	{ "jobs", "jobs", "jobs:jobs", 999, 999 },
	{ "jobs", "mail", "jobs:mail", 999, 999 },
	{ "alone", "one", "alone:one", 999, 999 },
	{ "a[b]", "a[b]", "a[b]", 999, 999 },
};

static const struct {
	const char *claim;
	const char *target;
	const char *found;
	const char *error;
} names[] = {
	{ "a process that is its own group", "db", "db", NULL },
	{ "group:process", "web:web_01", "web:web_01", NULL },
	{ "group:process where people write one word", "db:db", "db", NULL },
	{ "a group by its bare name", "web", "web:web_00 web:web_01", NULL },
	{ "a group of one process", "alone", "alone:one", NULL },
	{ "group:*", "web:*", "web:web_00 web:web_01", NULL },
	{ "group:", "jobs:", "jobs:jobs jobs:mail", NULL },
	{ "a bare word is the process of that name before the group", "jobs", "jobs:jobs", NULL },
	{ "all", "all", "web:web_00 web:web_01 db jobs:jobs jobs:mail alone:one a[b]", NULL },
	{ "a glob on the whole name", "d*", "db", NULL },
	{ "a glob on group:name", "*:web_0?", "web:web_00 web:web_01", NULL },
	{ "a glob on both sides", "[wj]*:*_00", "web:web_00", NULL },
	{ "a name with a glob's letters is a name first", "a[b]", "a[b]", NULL },
	{ "two letters in the wrong order", "wbe", "",
	  "no such process or group: 'wbe' (did you mean 'web'?)" },
	{ "a slip in group:process", "web:web_02", "",
	  "no such process or group: 'web:web_02' (did you mean 'web:web_00'?)" },
	{ "a process without its group", "web_01", "",
	  "no such process or group: 'web_01' (did you mean 'web:web_01'?)" },
	{ "case", "DB", "", "no such process or group: 'DB' (did you mean 'db'?)" },
	{ "nothing near", "postgres", "", "no such process or group: 'postgres'" },
	{ "a glob that matches nothing", "zzz*", "", "no such process or group: 'zzz*'" },
	{ "an unknown group", "wbe:*", "",
	  "no such process or group: 'wbe:*' (did you mean 'web:*'?)" },
	{ "an empty name", "", "", "no such process or group: ''" },
	{ "a colon", ":", "", "no such process or group: ':'" },
};

Test(order, names)
{
	struct services s;

	fill(&s, named, ARRAY_SIZE(named));
	s.index = order_index_new(s.list, s.n);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		AUTO_BUF found = BUF_INIT;
		struct err err = ERR_INIT;
		long n = order_find(s.index, names[i].target, add_found, &found, &err);

		cr_expect_str_eq(found.p ? found.p : "", names[i].found, "%s: %s", names[i].claim,
				 found.p);
		cr_expect_str_eq(err.text, names[i].error ? names[i].error : "", "%s: %s",
				 names[i].claim, err.text);
		cr_expect(names[i].error ? n == -ENOENT : n > 0, "%s: %ld", names[i].claim, n);
	}
	cr_expect_eq(order_find(s.index, "wbe", add_found, NULL, NULL), -ENOENT);
	finish(&s);
}

Test(order, all_of_nothing_is_none)
{
	struct order_index *index = order_index_new(NULL, 0);
	struct err err = ERR_INIT;

	cr_expect_eq(order_find(index, "all", add_found, NULL, &err), 0);
	cr_expect_eq(order_find(index, "web", add_found, NULL, &err), -ENOENT);
	cr_expect_str_eq(err.text, "no such process or group: 'web'");
	order_index_free(index);
	order_index_free(NULL);
}

Test(order, starts_by_group_priority_then_priority_then_names)
{
	static const struct row rows[] = {
		{ "z", "z", "6", 999, 999 }, { "a", "y", "5", 999, 999 },
		{ "a", "x", "4", 999, 999 }, { "b", "b", "3", 999, 1 },
		{ "y", "y", "2", 5, 700 },   { "y", "x", "1", 5, -3 },
	};
	AUTO_BUF order = BUF_INIT;
	struct services s;

	fill(&s, rows, ARRAY_SIZE(rows));
	order_sort(s.list, s.n);
	for (size_t i = 0; i < s.n; i++)
		add_found(s.list[i], &order);
	cr_expect_str_eq(order.p, "1 2 3 4 5 6");
	order_sort(NULL, 0);
	finish(&s);
}

Test(order, names_are_of_no_account_for_levels)
{
	static const struct row rows[] = {
		{ "a", "a", "a", 1, 2 },
		{ "b", "b", "b", 1, 2 },
		{ "c", "c", "c", 1, 3 },
		{ "d", "d", "d", 2, 1 },
	};
	struct services s;

	fill(&s, rows, ARRAY_SIZE(rows));
	cr_expect_eq(order_compare_level(s.list[0], s.list[1]), 0);
	cr_expect(order_compare_level(s.list[1], s.list[2]) < 0);
	cr_expect(order_compare_level(s.list[3], s.list[2]) > 0);
	finish(&s);
}
