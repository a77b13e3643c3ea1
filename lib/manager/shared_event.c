/*
 * event. How often it was set is counted besides, so that a request that is parked in the server knows of it although it was cleared
 * at once.
 */
#include <errno.h>

#include "manager/shared.h"

struct memory {
	struct shared_head head;
	_Atomic uint32_t sets;
	struct mps_event event;
};

static struct memory *memory_of(void *self)
{
	return (struct memory *)(void *)((struct shared *)self)->head;
}

static int make(const struct shared_row *row, struct mps_call *call, int *ret_fds, size_t *ret_n)
{
	struct memory *m;
	int r = call->n_args > 0 ? shared_args(call, "[]") : 0;

	if (r == 0)
		r = shared_make(row, &ret_fds[0], &m);
	if (r < 0)
		return r;
	return shared_made(row, m, mps_event_init(&m->event), ret_fds, ret_n);
}

static int set(void *self, struct mps_call *call)
{
	struct memory *m = memory_of(self);
	int r = mps_event_set(&m->event);

	(void)call;
	atomic_fetch_add(&m->sets, 1);
	return r;
}

static int clear(void *self, struct mps_call *call)
{
	(void)call;
	return mps_event_clear(&memory_of(self)->event);
}

static int is_set(void *self, struct mps_call *call)
{
	return shared_reply_bool(call, mps_event_is_set(&memory_of(self)->event));
}

static int wait_for(void *self, struct mps_call *call)
{
	struct memory *m = memory_of(self);
	uint64_t sets = (uint64_t)1 << 32 | atomic_load(&m->sets);
	int r = mps_event_wait(&m->event, shared_left(call));

	if (call->session == 0 || r != -ETIMEDOUT)
		return r;
	if (*call->mark == 0)
		*call->mark = sets;
	return *call->mark != sets ? 0 : -EAGAIN;
}

static const struct mps_method methods[] = {
	{ "is_set", is_set },
	{ "set", set },
	{ "clear", clear },
	{ "wait", wait_for },
};

SHARED_TYPE(event, &shared_event_row)

const struct shared_row shared_event_row = {
	SHARED_ROW(event, SHARED_EVENT, methods, sizeof(struct memory)),
	.set = 1,
	.wait = 3,
	.is_waited_for = true,
};
