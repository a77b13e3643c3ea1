/*
 * The keeper's messages: what is encoded is decoded, and nothing else is.
 */
#include "keeper/message.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"

static const struct row {
	struct keeper_message m;
	bool to_keeper;
} rows[] = {
	{ { .type = KEEPER_HELLO, .protocol = 1, .on_crash = 0, .time = { 5 } }, true },
	{ { .type = KEEPER_START,
	    .instance = 7,
	    .gen = 3,
	    .start = { .leftovers = KEEPER_LEFT_KEEP,
		       .grace = { 10 },
		       .cleanup = KEEPER_CLEAN_OFF,
		       .scan = true,
		       .name = "web" } },
	  true },
	{ { .type = KEEPER_START_LONG, .instance = 7, .gen = 3 }, true },
	{ { .type = KEEPER_SIGNAL, .instance = 1, .gen = 2, .signal = 15, .scope = 2 }, true },
	{ { .type = KEEPER_KEEP, .instance = KEEPER_INSTANCES_MAX - 1, .first = 64 }, true },
	{ { .type = KEEPER_FORGET, .instance = 0 }, true },
	{ { .type = KEEPER_EXIT, .status = 255 }, true },
	{ { .type = KEEPER_DETACH, .protocol = 1 }, true },
	{ { .type = KEEPER_UPGRADE, .protocol = 1 }, true },
	{ { .type = KEEPER_DROP_SERVER, .text = "one" }, true },
	{ { .type = KEEPER_HEARD, .count = 7 }, true },
	{ { .type = KEEPER_UNLINKED,
	    .instance = 3,
	    .pid = 9,
	    .object = 2,
	    .text = "/a",
	    .program = "web" },
	  false },
	{ { .type = KEEPER_OBJECTS, .instance = 3, .count = 9, .cleaned = 8 }, false },
	{ { .type = KEEPER_WELCOME,
	    .protocol = 1,
	    .pid = 99,
	    .count = 4,
	    .before = 98,
	    .code = 2,
	    .status = 9 },
	  false },
	{ { .type = KEEPER_KEPT, .instance = 3, .first = 64 }, false },
	{ { .type = KEEPER_INSTANCE,
	    .instance = 3,
	    .gen = 4,
	    .pid = 9,
	    .state = KEEPER_IS_FAILED,
	    .started = { 66 },
	    .sent = UINT64_C(1) << 63,
	    .code = 2,
	    .status = 13,
	    .time = { 88 } },
	  false },
	{ { .type = KEEPER_RETIRE, .protocol = 1 }, false },
	{ { .type = KEEPER_REFUSED, .code = 1, .status = 2 }, false },
	{ { .type = KEEPER_STARTED, .instance = 3, .gen = 4, .pid = 9, .time = { 77 } }, false },
	{ { .type = KEEPER_FAILED, .instance = 3, .gen = 4, .code = 2, .status = 13 }, false },
	{ { .type = KEEPER_EXITED,
	    .instance = 3,
	    .gen = 4,
	    .pid = 9,
	    .code = 1,
	    .status = 2,
	    .tree_left = true,
	    .time = { 88 } },
	  false },
	{ { .type = KEEPER_NAME_MAIN, .instance = 3, .gen = 4, .pid = 9 }, true },
	{ { .type = KEEPER_MAIN, .instance = 3, .gen = 4, .pid = 9 }, false },
	{ { .type = KEEPER_GONE, .instance = 3, .gen = 4 }, false },
	{ { .type = KEEPER_FAILED,
	    .instance = 3,
	    .gen = 4,
	    .code = 2,
	    .status = 0,
	    .text = "a: no" },
	  false },
	{ { .type = KEEPER_SERVER, .text = "one", .pid = 9, .is_ready = true, .count = 7 }, false },
	{ { .type = KEEPER_STOPPED, .instance = 1, .gen = 1, .signal = 20, .count = 2 }, false },
	{ { .type = KEEPER_REAPED, .pid = 9, .code = 1, .status = 2 }, false },
};

static bool same_text(const char *a, const char *b)
{
	return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

static bool same(const struct keeper_message *a, const struct keeper_message *b)
{
	return a->type == b->type && a->instance == b->instance && a->gen == b->gen &&
	       a->protocol == b->protocol && a->signal == b->signal && a->scope == b->scope &&
	       a->status == b->status && a->code == b->code && a->count == b->count &&
	       a->pid == b->pid && a->tree_left == b->tree_left && a->time.ns == b->time.ns &&
	       a->start.leftovers == b->start.leftovers && a->start.grace.ns == b->start.grace.ns &&
	       a->first == b->first && a->state == b->state && a->sent == b->sent &&
	       a->before == b->before && a->cleaned == b->cleaned && a->object == b->object &&
	       a->start.cleanup == b->start.cleanup && a->start.scan == b->start.scan &&
	       same_text(a->start.name, b->start.name) && same_text(a->program, b->program) &&
	       a->started.ns == b->started.ns && same_text(a->text, b->text);
}

static bool has_rest(enum keeper_type type)
{
	return type == KEEPER_HELLO || type == KEEPER_START;
}

Test(message, comes_back_as_it_was_sent)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct keeper_message m;
		AUTO_BUF b = BUF_INIT;

		keeper_encode(&rows[i].m, &b);
		cr_assert_eq(keeper_decode(b.p, b.len, rows[i].to_keeper, &m), 0, "row %zu", i);
		cr_expect(same(&m, &rows[i].m), "row %zu", i);
	}
}

Test(message, is_refused_from_the_wrong_side)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct keeper_message m;
		AUTO_BUF b = BUF_INIT;

		keeper_encode(&rows[i].m, &b);
		cr_expect_eq(keeper_decode(b.p, b.len, !rows[i].to_keeper, &m), -EBADMSG);
	}
}

Test(message, is_refused_when_cut_or_followed_by_more)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct keeper_message m;
		AUTO_BUF b = BUF_INIT;

		keeper_encode(&rows[i].m, &b);
		for (size_t n = 0; n < b.len; n++)
			cr_expect_eq(keeper_decode(b.p, n, rows[i].to_keeper, &m), -EBADMSG,
				     "row %zu, %zu bytes", i, n);
		buf_addc(&b, 'x');
		cr_expect_eq(keeper_decode(b.p, b.len, rows[i].to_keeper, &m),
			     has_rest(rows[i].m.type) ? 0 : -EBADMSG, "row %zu", i);
	}
}

Test(message, is_refused_when_a_number_is_out_of_range)
{
	const struct keeper_message bad[] = {
		{ .type = KEEPER_FORGET, .instance = KEEPER_INSTANCES_MAX },
		{ .type = KEEPER_SIGNAL, .signal = 65 },
		{ .type = KEEPER_SIGNAL, .scope = KEEPER_SCOPE_TREE + 1 },
		{ .type = KEEPER_START, .start.leftovers = (enum keeper_leftovers)3 },
		{ .type = KEEPER_START, .start.grace = { -1 } },
		{ .type = KEEPER_START, .start.grace = { INT64_MAX } },
		{ .type = KEEPER_HELLO, .time = { INT64_MIN } },
		{ .type = KEEPER_HELLO, .on_crash = KEEPER_CRASH_RESTART + 1 },
		{ .type = KEEPER_KEEP, .first = KEEPER_INSTANCES_MAX },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct keeper_message m;
		AUTO_BUF b = BUF_INIT;

		keeper_encode(&bad[i], &b);
		cr_expect_eq(keeper_decode(b.p, b.len, true, &m), -EBADMSG, "row %zu", i);
	}
}
