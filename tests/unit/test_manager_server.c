/*
 * The manager's server without sockets: sessions, references, parked calls, leases, quotas, and what is hostile.
 */
#include "../manager_core.h"

/* ----------------------------------------------------------------------------------- a type of the program's own */

/* A gate: pass() waits until it is open, which lets in so many; seen: calls of pass() that were the last. */
struct gate {
	int64_t open;
};
static int n_gates, n_undone;

static int gate_create(struct mps_call *call, void **ret_self)
{
	size_t n;

	mps_call_args(call, &n);
	if (n > 1)
		return -EINVAL;
	*ret_self = calloc(1, sizeof(struct gate));
	n_gates++;
	return 0;
}

static void gate_destroy(void *self)
{
	n_gates--;
	free(self);
}

static int gate_pass(void *self, struct mps_call *call)
{
	struct gate *g = self;
	uint8_t nr = (uint8_t)mps_call_session(call);

	if (call->mark != NULL && *call->mark != 0 && call->is_last && g->open == 0)
		n_undone++;
	if (g->open == 0) {
		*call->mark = 1;
		return -EAGAIN;
	}
	g->open--;
	return mps_call_reply(call, &nr, 1);
}

static int gate_open(void *self, struct mps_call *call)
{
	struct gate *g = self;
	int64_t n;
	const void *args;
	size_t size;

	args = mps_call_args(call, &size);
	if (mps_unpack(args, size, "[i]", &n) < 0)
		return -EINVAL;
	g->open += n;
	return EOWNERDEAD; /* any positive outcome */
}

enum { PASS, OPEN };
static const struct mps_method gate_methods[] = { { "pass", gate_pass }, { "open", gate_open } };
static struct mps_type gate_type = { .name = "gate",
				     .create = gate_create,
				     .destroy = gate_destroy,
				     .methods = gate_methods,
				     .n_methods = 2 };

static struct core c;

static void begin_with(const struct mps_manager_options *o)
{
	mps_type_add(&gate_type);
	core_begin(&c, o);
}

static void begin(void)
{
	begin_with(NULL);
}

static void end(void)
{
	core_end(&c);
	cr_assert_eq(n_gates, 0);
}

static int64_t gate(struct session *s)
{
	return core_refer(&c, s, WIRE_CREATE, "[\"gate\", \"g\", 2, null]");
}

/* The next answer is to this, with this status; its value is forgotten. */
static void answered(struct session *s, uint32_t seq, int status)
{
	struct raw_answer a;

	cr_assert(core_answer(s, &a));
	free((void *)a.value);
	cr_assert_eq(a.seq, seq);
	cr_assert_eq(a.status, status, "%d, not %d", a.status, status);
}

static bool is_silent(const struct session *s)
{
	return s->out.len == s->sent;
}

/* ---------------------------------------------------------------------------------------------------- parked calls */

Test(manager_server, parked_calls_go_on_in_their_order)
{
	struct session *a, *b;
	uint32_t first, second, third, open;
	int64_t in_a, in_b;

	begin();
	a = core_session(&c, false);
	b = core_session(&c, false);
	in_a = gate(a);
	in_b = gate(b);
	first = core_send_json(&c, a, in_a, PASS, MPS_FOREVER, "[]");
	second = core_send_json(&c, b, in_b, PASS, MPS_FOREVER, "[]");
	third = core_send_json(&c, a, in_a, PASS, MPS_FOREVER, "[]");
	cr_assert(is_silent(a) && is_silent(b));
	open = core_send_json(&c, b, in_b, OPEN, 0, "[1]");
	answered(b, open, EOWNERDEAD);
	answered(a, first, 0);
	cr_assert(is_silent(a) && is_silent(b));
	open = core_send_json(&c, a, in_a, OPEN, 0, "[2]");
	answered(a, open, EOWNERDEAD);
	answered(a, third, 0);
	answered(b, second, 0);
	cr_assert_eq(core_ask(&c, a, in_a, PASS, 0, "[]", NULL), -ETIMEDOUT);
	end();
}

Test(manager_server, a_parked_call_ends_when_its_time_is_over_or_it_is_cancelled)
{
	struct session *a;
	uint32_t late, later, cancelled;
	int64_t g, now;

	begin();
	a = core_session(&c, false);
	g = gate(a);
	cr_assert_eq(server_next(&c.v).ns, INT64_MAX);
	later = core_send_json(&c, a, g, PASS, 60 * MPS_SECOND, "[]");
	late = core_send_json(&c, a, g, PASS, MPS_SECOND, "[]");
	cancelled = core_send_json(&c, a, g, PASS, MPS_FOREVER, "[]");
	now = mps_now().ns;
	cr_assert(server_next(&c.v).ns <= now + MPS_SECOND);
	server_tick(&c.v, (struct mps_time){ now - MPS_SECOND });
	cr_assert(is_silent(a));
	server_tick(&c.v, (struct mps_time){ now + 2 * MPS_SECOND });
	answered(a, late, -ETIMEDOUT);
	cr_assert(is_silent(a));
	/* The call that is cancelled is answered before the one that cancels it. */
	core_send_json(&c, a, 0, WIRE_CANCEL, 0, "[4]");
	cr_assert_eq(c.seq, cancelled + 1);
	(void)later;
	end();
}

Test(manager_server, cancel_answers_the_call_and_itself)
{
	struct session *a, *b;
	uint32_t parked, cancel;
	char args[32];
	int64_t g;

	begin();
	a = core_session(&c, false);
	b = core_session(&c, false);
	g = gate(a);
	parked = core_send_json(&c, a, g, PASS, MPS_FOREVER, "[]");
	snprintf(args, sizeof(args), "[%u]", parked);
	cr_assert_eq(core_ask(&c, b, 0, WIRE_CANCEL, 0, args, NULL), -ENOENT,
		     "another's is none of its business");
	n_undone = 0;
	cancel = core_send_json(&c, a, 0, WIRE_CANCEL, 0, args);
	answered(a, parked, -ECANCELED);
	answered(a, cancel, 0);
	cr_assert_eq(n_undone, 1);
	cr_assert_eq(core_ask(&c, a, 0, WIRE_CANCEL, 0, args, NULL), -ENOENT);
	end();
}

Test(manager_server, a_session_that_ends_leaves_nothing)
{
	struct session *a, *b;
	uint32_t waits;
	int64_t g;

	begin();
	a = core_session(&c, false);
	b = core_session(&c, false);
	gate(a);
	g = gate(b);
	core_send_json(&c, a, 1, PASS, MPS_FOREVER, "[]");
	core_send_json(&c, a, 1, PASS, 5 * MPS_SECOND, "[]");
	waits = core_send_json(&c, b, g, PASS, MPS_FOREVER, "[]");
	n_undone = 0;
	session_free(a);
	cr_assert_eq(n_undone, 2);
	cr_assert_eq(c.v.n_parked, 1);
	cr_assert_eq(n_gates, 1, "b has a reference");
	core_send_json(&c, b, g, OPEN, 0, "[1]");
	answered(b, c.seq, EOWNERDEAD);
	answered(b, waits, 0);
	session_free(b);
	cr_assert_eq(n_gates, 0);
	end();
}

Test(manager_server, more_parked_calls_than_allowed_are_busy)
{
	struct mps_manager_options o = { .requests_max = 3 };
	struct session *a;
	int64_t g;

	begin_with(&o);
	a = core_session(&c, false);
	g = gate(a);
	for (int i = 0; i < 3; i++)
		core_send_json(&c, a, g, PASS, MPS_FOREVER, "[]");
	cr_assert(is_silent(a));
	cr_assert_eq(core_ask(&c, a, g, PASS, MPS_FOREVER, "[]", NULL), -EBUSY);
	end();
}

Test(manager_server, what_is_due_comes_first)
{
	struct dues d = { 0 };
	struct due all[200] = { 0 };
	uint32_t r = 1;
	int64_t last = 0;

	for (size_t i = 0; i < 200; i++) {
		r = r * 1664525 + 1013904223;
		all[i].at.ns = r >> 16;
		cr_assert_eq(dues_add(&d, &all[i]), 0);
	}
	for (size_t i = 0; i < 200; i += 3)
		dues_remove(&d, &all[i]);
	dues_remove(&d, &all[0]);
	while (d.n > 0) {
		struct due *first = d.heap[0];

		cr_assert_geq(first->at.ns, last);
		last = first->at.ns;
		dues_remove(&d, first);
		cr_assert_eq(first->place, 0);
	}
	free(d.heap);
}

/* ---------------------------------------------------------------------------------------------------- objects */

Test(manager_server, names_kinds_and_references)
{
	struct session *a, *b;

	begin();
	a = core_session(&c, false);
	b = core_session(&c, false);
	cr_assert_eq(core_refer(&c, a, WIRE_CREATE, "[\"dict\", \"d\", 0, null]"), 1);
	cr_assert_eq(core_refer(&c, b, WIRE_CREATE, "[\"dict\", \"d\", 0, null]"), -EEXIST);
	cr_assert_eq(core_refer(&c, b, WIRE_CREATE, "[\"list\", \"d\", 2, null]"), -EPROTOTYPE);
	cr_assert_eq(core_refer(&c, b, WIRE_CREATE, "[\"dict\", \"d\", 2, null]"), 1);
	cr_assert_eq(core_refer(&c, b, WIRE_ATTACH, "[\"list\", \"d\"]"), -EPROTOTYPE);
	cr_assert_eq(core_refer(&c, b, WIRE_ATTACH, "[null, \"d\"]"), 2);
	cr_assert_eq(core_refer(&c, b, WIRE_ATTACH, "[null, \"e\"]"), -ENOENT);
	cr_assert_eq(core_refer(&c, b, WIRE_CREATE, "[\"nothing\", null, 0, null]"), -EINVAL);
	cr_assert_eq(core_refer(&c, b, WIRE_CREATE, "[\"dict\", null, 1, null]"), -EINVAL);
	cr_assert_eq(core_refer(&c, b, WIRE_CREATE, "[\"dict\", \"\", 0, null]"), -EINVAL);
	cr_assert_eq(core_refer(&c, b, WIRE_CREATE, "[\"dict\", null, 0, [1]]"), -EINVAL);
	cr_assert_eq(core_ask(&c, a, 0, WIRE_LIST, 0, "[]", NULL), 0);
	/* Without its name it lives on for who has it. */
	cr_assert_eq(core_ask(&c, a, 0, WIRE_REMOVE, 0, "[\"d\"]", NULL), 0);
	cr_assert_eq(core_ask(&c, a, 0, WIRE_REMOVE, 0, "[\"d\"]", NULL), -ENOENT);
	cr_assert_eq(core_refer(&c, b, WIRE_ATTACH, "[null, \"d\"]"), -ENOENT);
	cr_assert_eq(core_ask(&c, b, 2, 1, 0, "[1, 2]", NULL), 0);
	cr_assert_eq(core_ask(&c, a, 1, 0, 0, "[1]", "2"), 0);
	cr_assert_eq(core_ask(&c, b, 0, WIRE_CLOSE, 0, "[2]", NULL), 0);
	cr_assert_eq(core_ask(&c, b, 0, WIRE_CLOSE, 0, "[2]", NULL), -EBADF);
	cr_assert_eq(core_ask(&c, b, 2, 0, 0, "[1]", NULL), -EBADF);
	cr_assert_eq(core_ask(&c, b, 1, 0, 0, "[1]", "2"), 0);
	cr_assert_eq(core_ask(&c, b, 0, WIRE_CLOSE, 0, "[1]", NULL), 0);
	cr_assert_eq(c.v.n_objects, 1);
	session_free(a);
	cr_assert_eq(c.v.n_objects, 0);
	end();
}

Test(manager_server, what_is_kept_stays_without_references)
{
	struct session *a;

	begin();
	a = core_session(&c, false);
	cr_assert_eq(core_refer(&c, a, WIRE_CREATE, "[\"list\", \"l\", 1, [[1, 2]]]"), 1);
	session_free(a);
	cr_assert_eq(c.v.n_objects, 1);
	a = core_session(&c, false);
	cr_assert_eq(core_refer(&c, a, WIRE_ATTACH, "[\"list\", \"l\"]"), 1);
	cr_assert_eq(core_ask(&c, a, 1, 0, 0, "[1]", "2"), 0);
	cr_assert_eq(core_ask(&c, a, 0, WIRE_REMOVE, 0, "[\"l\"]", NULL), 0);
	cr_assert_eq(c.v.n_objects, 1);
	session_free(a);
	cr_assert_eq(c.v.n_objects, 0);
	end();
}

Test(manager_server, a_lease_outlives_who_lends)
{
	struct raw_answer lent;
	struct session *a, *b;
	char args[64];

	begin();
	a = core_session(&c, false);
	b = core_session(&c, false);
	core_refer(&c, a, WIRE_CREATE, "[\"list\", null, 0, [[7]]]");
	core_send_json(&c, a, 0, WIRE_LEND, 0, "[1, 5000000000]");
	cr_assert(core_answer(a, &lent) && lent.status == 0 && lent.n == 2 + LEASE_TOKEN);
	snprintf(args, sizeof(args), "[\"%.32s\"]", (const char *)lent.value + 2);
	free((void *)lent.value);
	session_free(a);
	cr_assert_eq(c.v.n_objects, 1);
	cr_assert_eq(core_refer(&c, b, WIRE_TAKE, "[\"00112233445566778899aabbccddeeff\"]"),
		     -ENOENT);
	cr_assert_eq(core_refer(&c, b, WIRE_TAKE, args), 1);
	cr_assert_eq(core_refer(&c, b, WIRE_TAKE, args), -ENOENT, "once");
	cr_assert_eq(core_ask(&c, b, 1, 0, 0, "[0]", "7"), 0);
	/* One that nobody takes up. */
	core_send_json(&c, b, 0, WIRE_LEND, 0, "[1, 5000000000]");
	answered(b, c.seq, 0);
	cr_assert_eq(core_ask(&c, b, 0, WIRE_LEND, 0, "[1, 0]", NULL), -EINVAL);
	cr_assert_eq(core_ask(&c, b, 0, WIRE_LEND, 0, "[2, 1000]", NULL), -EBADF);
	session_free(b);
	cr_assert_eq(c.v.n_objects, 1);
	server_tick(&c.v, (struct mps_time){ mps_now().ns + 6 * MPS_SECOND });
	cr_assert_eq(c.v.n_objects, 0);
	cr_assert_eq(server_next(&c.v).ns, INT64_MAX);
	end();
}

/* ---------------------------------------------------------------------------------------------------- quotas */

Test(manager_server, objects_of_one_client_have_a_limit)
{
	struct mps_manager_options o = { .objects_max = 3 };
	struct session *a, *b;

	begin_with(&o);
	a = core_session(&c, false);
	b = core_session(&c, false);
	for (int i = 1; i <= 3; i++)
		cr_assert_eq(core_refer(&c, a, WIRE_CREATE, "[\"dict\", null, 0, null]"), i);
	cr_assert_eq(core_refer(&c, a, WIRE_CREATE, "[\"dict\", null, 0, null]"), -EDQUOT);
	cr_assert_eq(core_refer(&c, b, WIRE_CREATE, "[\"dict\", \"b\", 0, null]"), 1);
	cr_assert_eq(core_refer(&c, a, WIRE_ATTACH, "[null, \"b\"]"), -EDQUOT);
	cr_assert_eq(core_ask(&c, a, 0, WIRE_CLOSE, 0, "[2]", NULL), 0);
	cr_assert_eq(core_refer(&c, a, WIRE_ATTACH, "[null, \"b\"]"), 2);
	end();
}

Test(manager_server, bytes_of_one_client_have_a_limit)
{
	struct mps_manager_options o = { .bytes_max = 10000 };
	struct session *a;
	char big[4200] = "[\"k0\", \"";
	size_t n = strlen(big);

	begin_with(&o);
	a = core_session(&c, false);
	memset(big + n, 'x', 4000);
	strcpy(big + n + 4000, "\"]");
	cr_assert_eq(core_refer(&c, a, WIRE_CREATE, "[\"dict\", null, 0, null]"), 1);
	cr_assert_eq(core_ask(&c, a, 1, 1, 0, big, NULL), 0);
	big[3] = '1';
	cr_assert_eq(core_ask(&c, a, 1, 1, 0, big, NULL), 0);
	big[3] = '2';
	cr_assert_eq(core_ask(&c, a, 1, 1, 0, big, NULL), -EDQUOT);
	cr_assert_leq(a->account.bytes, 10000);
	/* Reading and deleting go on, and make room. */
	cr_assert_eq(core_ask(&c, a, 1, 0, 0, "[\"k0\"]", NULL), 0);
	cr_assert_eq(core_ask(&c, a, 1, 2, 0, "[\"k0\"]", NULL), 0);
	cr_assert_eq(core_ask(&c, a, 1, 1, 0, big, NULL), 0);
	/* Many small ones are counted with what they are kept in. */
	cr_assert_eq(core_refer(&c, a, WIRE_CREATE,
				"[\"list\", null, 0, [[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]]"),
		     -EDQUOT);
	end();
}

Test(manager_server, what_a_gone_client_has_made_counts_for_it_no_more)
{
	struct session *a, *b;

	begin();
	a = core_session(&c, false);
	b = core_session(&c, false);
	core_refer(&c, a, WIRE_CREATE, "[\"dict\", \"d\", 0, null]");
	core_refer(&c, b, WIRE_ATTACH, "[null, \"d\"]");
	cr_assert_gt(a->account.bytes, 0);
	session_free(a);
	cr_assert_gt(c.v.kept.bytes, 0);
	cr_assert_eq(core_ask(&c, b, 1, 1, 0, "[1, 2]", NULL), 0);
	session_free(b);
	cr_assert_eq(c.v.kept.bytes, 0);
	end();
}

/* ---------------------------------------------------------------------------------------------------- hostile */

Test(manager_server, hello_comes_first_and_once)
{
	struct session *s;

	begin();
	s = session_new(&c.v, true);
	core_send_json(&c, s, 0, WIRE_LIST, 0, "[]");
	cr_assert_eq(s->over, -EPROTO);
	session_free(s);
	s = session_new(&c.v, true);
	cr_assert_eq(core_ask(&c, s, 0, WIRE_HELLO, 0, "[999, false]", NULL), -EPROTONOSUPPORT);
	cr_assert(!s->greeted);
	cr_assert_eq(core_ask(&c, s, 0, WIRE_HELLO, 0, "[1, false]", NULL), 0);
	core_send_json(&c, s, 0, WIRE_HELLO, 0, "[1, false]");
	cr_assert_eq(s->over, -EPROTO);
	end();
}

Test(manager_server, frames_that_are_none_end_the_session)
{
	static const struct {
		const char *p;
		size_t n;
	} rows[] = {
		{ "\0\0\0\0", 4 },			     /* shorter than a head */
		{ "\0\0\0\x17zzzzzzzzzzzzzzzzzzzzzzz", 27 }, /* by one byte */
		{ "\x7f\xff\xff\xff", 4 },		     /* longer than any may be */
		{ "\xff\xff\xff\xff\0\0\0\1\0\0\0\0", 12 },  /* the long form, too long */
		{ "\xff\xff\xff\xfe", 4 },		     /* no length */
	};

	begin();
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct session *s = core_session(&c, false);

		session_feed(s, rows[i].p, rows[i].n);
		cr_assert_eq(s->over, -EPROTO, "row %zu", i);
		session_feed(s, "more", 4);
		session_free(s);
	}
	cr_assert_eq(c.v.in_bytes, 0);
	end();
}

Test(manager_server, bodies_that_are_no_arguments_are_refused)
{
	static const char *const rows[] = { "\x92\x01",
					    "\x01",
					    "\xc1",
					    "\x91\xc7\x01\x01x",
					    "\xdd\xff\xff\xff\xff",
					    "\x91\xdb\xff\xff\xff\xff",
					    "\x91\x01\x01" };
	char deep[200];
	struct session *s;
	struct raw_answer a;

	begin();
	s = core_session(&c, false);
	core_refer(&c, s, WIRE_CREATE, "[\"dict\", null, 0, null]");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		core_send(&c, s, 1, 1, 0, rows[i], strlen(rows[i]));
		cr_assert(core_answer(s, &a) && a.status == -EINVAL, "row %zu", i);
	}
	memset(deep, '\x91', sizeof(deep));
	deep[199] = 1;
	core_send(&c, s, 1, 1, 0, deep, sizeof(deep));
	cr_assert(core_answer(s, &a) && a.status == -EINVAL);
	cr_assert_eq(s->over, 0);
	end();
}

Test(manager_server, requests_come_in_any_pieces)
{
	uint8_t all[2000];
	struct session *s;
	struct raw_answer a;
	size_t n = 0;

	begin();
	s = core_session(&c, false);
	core_refer(&c, s, WIRE_CREATE, "[\"dict\", null, 0, null]");
	for (uint32_t i = 0; i < 50; i++) /* add("k", 1) */
		n += raw_request(all + n, 1000 + i, 1, 12, 0, "\x92\xa1k\x01", 4);
	for (size_t i = 0; i < n; i++) {
		session_feed(s, all + i, 1);
		cr_assert_leq(s->in.len, 64);
	}
	for (uint32_t i = 0; i < 50; i++) {
		cr_assert(core_answer(s, &a) && a.seq == 1000 + i && a.status == 0);
		cr_assert_eq(*(const uint8_t *)a.value, i + 1);
		free((void *)a.value);
	}
	cr_assert_eq(c.v.in_bytes, 0);
	end();
}

Test(manager_server, who_does_not_read_is_not_read_from)
{
	enum { BIG = 100000, MANY = 100 };
	struct session *s;
	struct raw_answer a;
	char *value = malloc(BIG + 16), *all = malloc(MANY * 64);
	size_t n = 0;
	void *args;
	size_t n_args;

	begin();
	s = core_session(&c, false);
	core_refer(&c, s, WIRE_CREATE, "[\"dict\", null, 0, null]");
	memset(value, 'x', BIG);
	cr_assert_eq(mps_pack(&args, &n_args, "[ib]", INT64_C(1), value, (size_t)BIG), 0);
	core_send(&c, s, 1, 1, 0, args, n_args);
	free(args);
	answered(s, c.seq, 0);
	for (uint32_t i = 0; i < MANY; i++)
		n += raw_request(all + n, i, 1, 0, 0, "\x91\x01", 2);
	session_feed(s, all, n);
	cr_assert(session_is_full(s));
	cr_assert_lt(s->out.len, MANAGER_OUT_HIGH + 2 * BIG);
	cr_assert_gt(s->in.len, 0);
	/* As it reads they are all done. */
	for (uint32_t i = 0; i < MANY; i++) {
		cr_assert(core_answer(s, &a), "%u", i);
		cr_assert(a.seq == i && a.status == 0 && a.n > BIG);
		free((void *)a.value);
	}
	cr_assert_eq(s->in.len, 0);
	cr_assert(is_silent(s));
	free(value);
	free(all);
	end();
}

Test(manager_server, values_that_are_not_read_do_not_pile_up_without_end)
{
	enum { BIG = 60 << 20 };
	struct session *s;
	void *args;
	size_t n;
	char *value = calloc(1, BIG);

	begin();
	s = core_session(&c, false);
	cr_assert_eq(mps_pack(&args, &n, "[b]", value, (size_t)BIG), 0);
	free(value);
	/* Calls that were parked while there was room are answered at once. */
	for (int i = 0; i < 4; i++)
		session_answer(s, 1, 0, args, n);
	cr_assert_eq(s->over, -ENOBUFS);
	free(args);
	end();
}
