/*
 * Bytes are what two clients send to a manager's server, in turn, in pieces: [who and flags, length] and so many bytes. Whatever
 * they are, nothing is lost count of, and nothing stays when they have gone. Every 8th piece is a whole frame of these
 * bytes, so that what is behind the head is reached.
 */
#include <stdint.h>
#include <string.h>

#include "manager/server.h"
#include "poke.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENTS = 2, HELLO = 4 + sizeof(struct wire_request) + 3 };

static struct session *join(struct server *v)
{
	struct wire_request head = { .seq = 1 };
	struct session *s = session_new(v, false);
	uint8_t hello[HELLO] = { 0, 0, 0, HELLO - 4 };

	MUST(s != NULL);
	memcpy(hello + 4, &head, sizeof(head));
	memcpy(hello + 4 + sizeof(head), "\x92\x01\xc2", 3);
	session_feed(s, hello, sizeof(hello));
	MUST(s->greeted);
	return s;
}

/* As a client that reads: all, or what is odd. */
static void drain(struct session *s, uint8_t how)
{
	while (s->over == 0 && s->sent < s->out.len) {
		size_t n = s->out.len - s->sent;

		while (s->n_passing > 0)
			session_passed(s);
		session_sent(s, how & 1 && n > 7 ? 7 : n);
		if (how & 2)
			break;
	}
}

/* A frame with a head of few bits: handle, method, time. */
static void feed_frame(struct session *s, const uint8_t *p, size_t n)
{
	uint8_t frame[4 + sizeof(struct wire_request) + 256] = { 0 };
	struct wire_request head = { .seq = p[0] & 7,
				     .handle = p[0] >> 3 & 3,
				     .method = p[1] & 31,
				     .timeout = (int8_t)p[2] * (int64_t)1000000 };
	size_t total = 4 + sizeof(head) + n - 3;

	frame[2] = (uint8_t)((total - 4) >> 8);
	frame[3] = (uint8_t)(total - 4);
	memcpy(frame + 4, &head, sizeof(head));
	memcpy(frame + 4 + sizeof(head), p + 3, n - 3);
	session_feed(s, frame, total);
}

static void check(const struct server *v)
{
	size_t parked = 0, in = 0, sessions = 0;

	for (const struct session *s = v->sessions; s != NULL; s = s->next) {
		parked += s->n_parked;
		in += s->in.len;
		sessions++;
		MUST(s->account.bytes <= v->bytes_max);
		MUST(s->n_handles <= v->objects_max);
	}
	MUST(parked == v->n_parked && in == v->in_bytes && sessions == v->n_sessions);
	for (const struct object *o = v->objects; o != NULL; o = o->next)
		MUST(o->references > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct mps_manager_options o = { .objects_max = 8,
						      .bytes_max = 1 << 20,
						      .requests_max = 8 };
	struct session *s[CLIENTS];
	struct server v;
	int64_t now = 0;

	MUST(server_init(&v, &o) == 0);
	for (int i = 0; i < CLIENTS; i++)
		s[i] = join(&v);
	while (size >= 2) {
		uint8_t how = data[0];
		size_t n = data[1] < size - 2 ? data[1] : size - 2;
		struct session **who = &s[how & 1];

		if (how & 2 && n >= 3)
			feed_frame(*who, data + 2, n);
		else
			session_feed(*who, data + 2, n);
		drain(*who, how >> 2 & 3);
		while (server_unsent(&v) != NULL)
			;
		if (how & 16)
			server_tick(&v, (struct mps_time){ now = mps_now().ns +
								 (how >> 5) * 20000000 });
		if ((*who)->over != 0 || how == 0xff) {
			session_free(*who);
			*who = join(&v);
		}
		check(&v);
		data += 2 + n;
		size -= 2 + n;
	}
	for (int i = 0; i < CLIENTS; i++)
		session_free(s[i]);
	server_tick(&v, (struct mps_time){ INT64_MAX });
	server_fini(&v);
	MUST(v.n_objects == 0 && v.n_parked == 0 && v.kept.bytes == 0 && v.in_bytes == 0);
	return 0;
}
