/*
 * The manager's server without sockets, for tests: what a session is fed, and what it answers.
 */
#ifndef TESTS_MANAGER_CORE_H
#define TESTS_MANAGER_CORE_H

#include <criterion/criterion.h>

#include "base/err.h"
#include "manager/server.h"
#include "manager_raw.h"
#include "mpsup/packed.h"

struct core {
	struct server v;
	uint32_t seq;
};

static inline void core_begin(struct core *c, const struct mps_manager_options *o)
{
	static const struct mps_manager_options plain = MPS_MANAGER_OPTIONS_INIT;

	*c = (struct core){ 0 };
	cr_assert_eq(server_init(&c->v, o != NULL ? o : &plain), 0);
}

static inline void core_end(struct core *c)
{
	while (c->v.sessions != NULL)
		session_free(c->v.sessions);
	server_fini(&c->v);
	cr_assert_eq(c->v.n_objects, 0);
	cr_assert_eq(c->v.n_parked, 0);
	cr_assert_eq(c->v.kept.bytes, 0);
}

/* Sent, not answered perhaps: its seq. */
static inline uint32_t core_send(struct core *c, struct session *s, int64_t handle, unsigned method,
				 int64_t timeout, const void *args, size_t n)
{
	uint8_t *frame = malloc(n + 64);

	n = raw_request(frame, ++c->seq, (uint32_t)handle, method, timeout, args, n);
	session_feed(s, frame, n);
	free(frame);
	return c->seq;
}

/* Takes the first of its answers; false: there is none. The value is the caller's: free(3). */
static inline bool core_answer(struct session *s, struct raw_answer *ret)
{
	struct wire_answer head;
	uint32_t length;
	void *value = NULL;

	if (s->out.len == s->sent)
		return false;
	memcpy(&length, s->out.p + s->sent, 4);
	length = be32toh(length);
	memcpy(&head, s->out.p + s->sent + 4, sizeof(head));
	if (length > sizeof(head)) {
		value = malloc(length - sizeof(head));
		memcpy(value, s->out.p + s->sent + 4 + sizeof(head), length - sizeof(head));
	}
	*ret = (struct raw_answer){ head.seq, head.status, head.n_fds, value,
				    length - sizeof(head) };
	while (s->n_passing > 0)
		session_passed(s);
	session_sent(s, 4 + length);
	return true;
}

/* JSON as a packed value; text NULL: nothing. */
static inline void core_pack(const char *text, struct buf *b)
{
	struct err err = ERR_INIT;

	*b = (struct buf)BUF_INIT;
	if (text != NULL)
		cr_assert_eq(packed_add_json(b, text, &err), 0, "%s: %s", text, err.text);
}

static inline uint32_t core_send_json(struct core *c, struct session *s, int64_t handle,
				      unsigned method, int64_t timeout, const char *args)
{
	struct buf b;
	uint32_t seq;

	core_pack(args, &b);
	seq = core_send(c, s, handle, method, timeout, b.p, b.len);
	buf_fini(&b);
	return seq;
}

/* Answered at once: the status. result NULL: any. */
static inline int core_ask(struct core *c, struct session *s, int64_t handle, unsigned method,
			   int64_t timeout, const char *args, const char *result)
{
	uint32_t seq = core_send_json(c, s, handle, method, timeout, args);
	struct raw_answer a;
	struct buf b;

	cr_assert(core_answer(s, &a), "%s: no answer", args);
	cr_assert_eq(a.seq, seq);
	if (result != NULL && a.status >= 0) {
		core_pack(result, &b);
		if (a.n == 0 && b.len == 1 && b.p[0] == '\xc0')
			a.n = b.len, a.value = memcpy(malloc(1), b.p, 1);
		cr_assert(a.n == b.len && memcmp(a.value, b.p, a.n) == 0, "%u%s is not %s", method,
			  args, result);
		buf_fini(&b);
	}
	free((void *)a.value);
	return a.status;
}

/* A session that has said its HELLO. */
static inline struct session *core_session(struct core *c, bool shares)
{
	struct session *s = session_new(&c->v, true);

	cr_assert_eq(core_ask(c, s, 0, WIRE_HELLO, 0, shares ? "[1, true]" : "[1, false]", NULL),
		     0);
	return s;
}

/* CREATE, ATTACH or TAKE: the handle, or what is wrong. */
static inline int64_t core_refer(struct core *c, struct session *s, unsigned method,
				 const char *args)
{
	struct raw_answer a;
	const void *type, *rest;
	size_t n_type, n_rest;
	int64_t handle;

	core_send_json(c, s, 0, method, 0, args);
	cr_assert(core_answer(s, &a));
	if (a.status < 0)
		return a.status;
	cr_assert_eq(mps_unpack(a.value, a.n, "[isv]", &handle, &type, &n_type, &rest, &n_rest), 0);
	free((void *)a.value);
	return handle;
}

#endif
