/*
 * A session: bytes to requests, answers to bytes, the handles of its references, and its end.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/connection.h"
#include "manager/server.h"

enum {
	ANSWER = 4 + sizeof(struct wire_answer), /* before the value */
	KEEP = 4096,				 /* of memory for messages, while there are none */
	SPARE_MAX = 4 << 20,
};

/* ---------------------------------------------------------------------------------------------------- answers */

static void mark_unsent(struct session *s)
{
	if (s->is_unsent)
		return;
	s->is_unsent = true;
	s->next_unsent = s->v->unsent;
	s->v->unsent = s;
}

struct session *server_unsent(struct server *v)
{
	struct session *s = v->unsent;

	if (s == NULL)
		return NULL;
	v->unsent = s->next_unsent;
	s->is_unsent = false;
	return s;
}

void session_fail(struct session *s, int why)
{
	if (s->over == 0)
		s->over = why;
	mark_unsent(s);
}

static void borrow_spare(struct session *s)
{
	if (s->out.len == 0 && s->out.cap < s->v->spare.cap) {
		struct buf own = s->out;

		s->out = s->v->spare;
		s->v->spare = own;
	}
}

/* What is not used now. */
static void give_back(struct session *s)
{
	struct buf *spare = &s->v->spare;

	buf_reset(&s->out);
	s->sent = 0;
	if (s->out.cap <= KEEP)
		return;
	if (s->out.cap <= SPARE_MAX && spare->cap < s->out.cap) {
		buf_fini(spare);
		*spare = s->out;
		s->out = (struct buf)BUF_INIT;
	} else {
		buf_fini(&s->out);
	}
}

static void answer(struct session *s, uint32_t seq, int status, unsigned n_fds, const void *value,
		   size_t n)
{
	struct wire_answer head = { .seq = htole32(seq),
				    .status = (int32_t)htole32((uint32_t)status),
				    .n_fds = htole16((uint16_t)n_fds) };
	uint32_t length;
	char *to;

	if (n > MANAGER_FRAME_MAX - ANSWER) {
		n = 0;
		head.status = (int32_t)htole32((uint32_t)-EMSGSIZE);
	}
	if (s->out.len - s->sent + n > MANAGER_OUT_MAX)
		session_fail(s, -ENOBUFS);
	to = s->over == 0 ? buf_reserve(&s->out, ANSWER + n) : NULL;
	if (to == NULL) {
		session_fail(s, -ENOMEM);
		return;
	}
	length = htobe32((uint32_t)(sizeof(head) + n));
	memcpy(to, &length, 4);
	memcpy(to + 4, &head, sizeof(head));
	if (n > 0)
		memcpy(to + ANSWER, value, n);
	s->out.len += ANSWER + n;
	mark_unsent(s);
}

void session_answer(struct session *s, uint32_t seq, int status, const void *value, size_t n)
{
	answer(s, seq, status, 0, value, n);
}

static int add_passing(struct session *s, struct object *object)
{
	if (s->n_passing == s->passing_room) {
		size_t room = s->passing_room > 0 ? s->passing_room * 2 : 4;
		struct passing *more = realloc(s->passing, room * sizeof(*more));

		if (more == NULL)
			return -ENOMEM;
		s->passing = more;
		s->passing_room = room;
	}
	s->passing[s->n_passing++] = (struct passing){ s->out.len, object };
	if (object != NULL)
		object->references++;
	return 0;
}

void session_answer_with(struct session *s, uint32_t seq, const struct buf *value,
			 struct object *object, bool with_bell)
{
	size_t n_fds = with_bell ? 2 : object != NULL && s->shares ? object->n_fds : 0;

	if (value->failed) {
		session_fail(s, -ENOMEM);
		return;
	}
	answer(s, seq, 0, (unsigned)n_fds, value->p, value->len);
	if (n_fds > 0 && s->over == 0 && add_passing(s, object) < 0)
		session_fail(s, -ENOMEM);
}

size_t session_passing(const struct session *s, size_t *ret_at, int fds[2])
{
	const struct passing *first = s->passing;

	if (s->n_passing == 0)
		return 0;
	*ret_at = first->at;
	fds[0] = first->object != NULL ? first->object->fds[0] : s->v->bell;
	fds[1] = first->object != NULL ? first->object->fds[1] : mps_shm_fileno(s->v->life);
	return first->object != NULL ? first->object->n_fds : 2;
}

void session_passed(struct session *s)
{
	struct object *o = s->passing[0].object;

	memmove(s->passing, s->passing + 1, --s->n_passing * sizeof(*s->passing));
	if (o != NULL)
		object_unref(s->v, o);
}

bool session_is_full(const struct session *s)
{
	return s->out.len - s->sent > MANAGER_OUT_HIGH;
}

/* ---------------------------------------------------------------------------------------------------- requests */

static bool is_array(const void *p)
{
	uint8_t first = *(const uint8_t *)p;

	return (first >= 0x90 && first < 0xa0) || first == 0xdc || first == 0xdd;
}

static void call(struct session *s, const struct wire_request *head, const void *args, size_t n)
{
	struct object *o = session_object(s, head->handle);
	struct server *v = s->v;
	bool may_park = head->timeout > 0 && s->n_parked < v->requests_max;
	struct mps_time until = { INT64_MAX };
	uint64_t mark = 0;
	int r;

	if (o == NULL) {
		session_answer(s, head->seq, -EBADF, NULL, 0);
		return;
	}
	r = object_call(v, o, s, head->method, head->thread, args, n, &mark, !may_park);
	if (r == -EAGAIN && may_park) {
		if (head->timeout < INT64_MAX / 2)
			until.ns = mps_now().ns + head->timeout;
		r = parked_add(s, o, head, args, n, mark, until);
		if (r == 0)
			return;
	}
	if (r == -EAGAIN)
		r = head->timeout > 0 ? -EBUSY : -ETIMEDOUT;
	session_answer(s, head->seq, r, v->reply.p, r < 0 ? 0 : v->reply.len);
	if (o->first != NULL)
		parked_ask(v, o);
}

static void request(struct session *s, const uint8_t *p, size_t n)
{
	struct buf *args = &s->v->args;
	struct wire_request head;

	if (n < sizeof(head)) {
		session_fail(s, -EPROTO);
		return;
	}
	memcpy(&head, p, sizeof(head));
	head.seq = le32toh(head.seq);
	head.handle = le32toh(head.handle);
	head.method = le16toh(head.method);
	head.thread = le32toh(head.thread);
	head.timeout = (int64_t)le64toh((uint64_t)head.timeout);
	s->v->n_requests++;
	buf_reset(args);
	if (n > sizeof(head) && (!is_array(p + sizeof(head)) ||
				 value_canonical(p + sizeof(head), n - sizeof(head), args) < 0)) {
		session_answer(s, head.seq, args->failed ? -ENOMEM : -EINVAL, NULL, 0);
		*args = args->failed ? (struct buf)BUF_INIT : *args;
	} else if (!s->greeted && (head.handle != 0 || head.method != WIRE_HELLO)) {
		session_fail(s, -EPROTO);
	} else if (head.handle == 0) {
		manager_method(s, &head, args->p, args->len);
	} else {
		call(s, &head, args->p, args->len);
	}
	if (args->cap > SPARE_MAX)
		buf_fini(args);
	if (s->v->reply.cap > SPARE_MAX || s->v->reply.failed)
		buf_fini(&s->v->reply);
}

/* Does what is whole, as long as there is room for answers: how many bytes. */
static size_t run(struct session *s, const uint8_t *p, size_t n)
{
	size_t done = 0;

	while (s->over == 0 && !session_is_full(s)) {
		uint64_t length;
		int header = frame_decode(p + done, n - done, &length);

		if (header < 0 || (header > 0 && length > MANAGER_FRAME_MAX)) {
			session_fail(s, -EPROTO);
			break;
		}
		if (header == 0 || n - done - (size_t)header < length)
			break;
		request(s, p + done + header, (size_t)length);
		done += (size_t)header + (size_t)length;
	}
	return done;
}

static void run_kept(struct session *s)
{
	size_t done = run(s, (const uint8_t *)s->in.p, s->in.len);

	s->v->in_bytes -= done;
	buf_drop(&s->in, done);
	if (s->in.len == 0 && s->in.cap > KEEP)
		buf_fini(&s->in);
}

static void keep(struct session *s, const uint8_t *p, size_t n)
{
	if (s->v->in_bytes + n > MANAGER_IN_ALL_MAX) {
		session_fail(s, -ENOBUFS);
		return;
	}
	buf_add(&s->in, p, n);
	if (s->in.failed)
		session_fail(s, -ENOMEM);
	else
		s->v->in_bytes += n;
}

void session_feed(struct session *s, const void *p, size_t n)
{
	size_t done = 0;

	if (s->over != 0)
		return;
	borrow_spare(s);
	if (s->in.len > 0) {
		keep(s, p, n);
		run_kept(s);
		return;
	}
	done = run(s, p, n);
	if (done < n && s->over == 0)
		keep(s, (const uint8_t *)p + done, n - done);
}

/* What has gone is dropped, now and then. */
static void compact(struct session *s)
{
	if (s->sent < KEEP || s->sent < s->out.len / 2)
		return;
	for (size_t i = 0; i < s->n_passing; i++)
		s->passing[i].at -= s->sent;
	buf_drop(&s->out, s->sent);
	s->sent = 0;
}

void session_sent(struct session *s, size_t n)
{
	s->sent += n;
	if (s->sent == s->out.len)
		give_back(s);
	else
		compact(s);
	if (s->in.len > 0 && s->over == 0 && !session_is_full(s))
		run_kept(s);
}

/* ---------------------------------------------------------------------------------------------------- references */

static int more_slots(struct session *s)
{
	uint32_t n = s->n_slots > 0 ? s->n_slots * 2 : 4;
	struct slot *more = realloc(s->slots, n * sizeof(*more));

	if (more == NULL)
		return -ENOMEM;
	for (uint32_t i = n; i-- > s->n_slots;) {
		more[i] = (struct slot){ NULL, s->first_free };
		s->first_free = i + 1;
	}
	s->slots = more;
	s->n_slots = n;
	return 0;
}

int64_t session_refer(struct session *s, struct object *o)
{
	uint32_t handle;

	if (s->n_handles >= s->v->objects_max)
		return -EDQUOT;
	if (s->first_free == 0 && more_slots(s) < 0)
		return -ENOMEM;
	handle = s->first_free;
	s->first_free = s->slots[handle - 1].next_free;
	s->slots[handle - 1].object = o;
	s->n_handles++;
	o->references++;
	if (o->flags != 0 && o->shared != NULL && o->shared->queue != NULL)
		s->v->looks = true;
	return handle;
}

struct object *session_object(const struct session *s, uint32_t handle)
{
	return handle > 0 && handle <= s->n_slots ? s->slots[handle - 1].object : NULL;
}

/* What is held for it is released. */
static void leave(struct session *s, struct object *o)
{
	if (o->shared == NULL || o->self == NULL || o->shared->leave == NULL)
		return;
	o->shared->leave(o->self, s->id);
	parked_ask(s->v, o);
}

static bool refers(const struct session *s, const struct object *o)
{
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->slots[i].object == o)
			return true;
	return false;
}

int session_close_handle(struct session *s, uint32_t handle)
{
	struct object *o = session_object(s, handle);

	if (o == NULL)
		return -EBADF;
	s->slots[handle - 1] = (struct slot){ NULL, s->first_free };
	s->first_free = handle;
	s->n_handles--;
	if (o->shared != NULL && o->self != NULL && !refers(s, o))
		leave(s, o);
	object_unref(s->v, o);
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- life */

struct session *session_new(struct server *v, bool can_share)
{
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->v = v;
	s->id = ++v->last_session;
	s->can_share = can_share;
	s->next = v->sessions;
	if (v->sessions != NULL)
		v->sessions->prev = s;
	v->sessions = s;
	v->n_sessions++;
	return s;
}

static void leave_list(struct session *s)
{
	struct session **at = &s->v->unsent;

	*(s->prev != NULL ? &s->prev->next : &s->v->sessions) = s->next;
	if (s->next != NULL)
		s->next->prev = s->prev;
	s->v->n_sessions--;
	while (s->is_unsent && *at != s)
		at = &(*at)->next_unsent;
	if (s->is_unsent)
		*at = s->next_unsent;
}

void session_free(struct session *s)
{
	if (s == NULL)
		return;
	if (s->over == 0)
		s->over = -ECONNRESET;
	parked_forget(s);
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->slots[i].object != NULL) {
			leave(s, s->slots[i].object);
			object_unref(s->v, s->slots[i].object);
		}
	while (s->n_passing > 0)
		session_passed(s);
	while (s->account.objects != NULL)
		object_account(s->account.objects, &s->v->kept);
	leave_list(s);
	s->v->in_bytes -= s->in.len;
	buf_fini(&s->in);
	buf_fini(&s->out);
	free(s->passing);
	free(s->slots);
	free(s);
}
