/*
 * barrier. A party of a remote client has a seat (ipc/barrier.h) that the server's thread holds, and is asked again until its
 * round is over.
 */
#include <errno.h>

#include "ipc/barrier.h"
#include "manager/shared.h"

struct memory {
	struct shared_head head;
	struct mps_barrier barrier;
};

static struct mps_barrier *barrier_of(void *self)
{
	return &((struct memory *)(void *)((struct shared *)self)->head)->barrier;
}

static int make(const struct shared_row *row, struct mps_call *call, int *ret_fds, size_t *ret_n)
{
	struct memory *m;
	int64_t parties;
	int r = shared_args(call, "[i]", &parties);

	if (r < 0 || parties < 1 || parties > MPS_BARRIER_PARTIES_MAX)
		return -EINVAL;
	r = shared_make(row, &ret_fds[0], &m);
	if (r < 0)
		return r;
	r = mps_barrier_init(&m->barrier, (uint32_t)parties);
	return shared_made(row, m, r, ret_fds, ret_n);
}

static bool is_sound(void *self, const struct mps_call *call)
{
	return call->session == 0 || barrier_is_sound(barrier_of(self));
}

/* The mark: the round, and the seat with its number. */
static uint64_t mark_of(const struct barrier_seat *seat)
{
	return (uint64_t)seat->word << 32 | (uint64_t)seat->place << 8 | (uint64_t)seat->number;
}

static int wait_remote(struct mps_barrier *b, struct mps_call *call)
{
	struct barrier_seat seat = {
		.word = (uint32_t)(*call->mark >> 32),
		.place = (uint32_t)*call->mark >> 8,
		.number = (uint8_t)*call->mark,
	};
	int r;

	if (*call->mark != 0)
		return barrier_ask(b, &seat, call->is_last);
	r = barrier_arrive(b, &seat);
	if (r == -EAGAIN && call->is_last)
		return barrier_ask(b, &seat, true);
	if (r == -EAGAIN && seat.number != 0)
		*call->mark = mark_of(&seat);
	return r;
}

static int wait_for(void *self, struct mps_call *call)
{
	struct mps_barrier *b = barrier_of(self);
	int r;

	if (!is_sound(self, call))
		return -EBADMSG;
	r = call->session == 0 ? mps_barrier_wait(b, shared_left(call)) : wait_remote(b, call);
	if (r >= 0 && shared_reply_int(call, r) < 0)
		return -ENOMEM;
	return r;
}

static int abort_it(void *self, struct mps_call *call)
{
	return is_sound(self, call) ? mps_barrier_abort(barrier_of(self)) : -EBADMSG;
}

static int reset(void *self, struct mps_call *call)
{
	return is_sound(self, call) ? mps_barrier_reset(barrier_of(self)) : -EBADMSG;
}

static int waiting(void *self, struct mps_call *call)
{
	if (!is_sound(self, call))
		return -EBADMSG;
	return shared_reply_int(call, mps_barrier_waiting(barrier_of(self)));
}

static int broken(void *self, struct mps_call *call)
{
	if (!is_sound(self, call))
		return -EBADMSG;
	return shared_reply_bool(call, mps_barrier_is_broken(barrier_of(self)));
}

static const struct mps_method methods[] = {
	{ "waiting", waiting }, { "wait", wait_for }, { "abort", abort_it },
	{ "reset", reset },	{ "broken", broken },
};

SHARED_TYPE(barrier, &shared_barrier_row)

const struct shared_row shared_barrier_row = {
	SHARED_ROW(barrier, SHARED_BARRIER, methods, sizeof(struct memory)),
	.wait = 1,
	.is_waited_for = true,
};
