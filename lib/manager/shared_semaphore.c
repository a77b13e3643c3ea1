/*
 * semaphore, bounded_semaphore. The units of remote clients are those of the server's thread; it keeps who has how many.
 */
#include <errno.h>

#include "ipc/sound.h"
#include "manager/shared.h"

struct memory {
	struct shared_head head;
	uint32_t flags;
	uint32_t units; /* that it was made of */
	struct mps_semaphore semaphore;
};

static struct mps_semaphore *semaphore_of(struct shared *s)
{
	return &((struct memory *)(void *)s->head)->semaphore;
}

static bool has_owners(const struct shared *s)
{
	return (((struct memory *)(void *)s->head)->flags & MPS_SEMAPHORE_UNOWNED) == 0;
}

/* [value], [value, MPS_SEMAPHORE_UNOWNED] */
static int make(const struct shared_row *row, struct mps_call *call, int *ret_fds, size_t *ret_n)
{
	int64_t value, unowned = 0;
	unsigned flags = row->kind == SHARED_BOUNDED_SEMAPHORE ? MPS_SEMAPHORE_BOUNDED : 0;
	struct memory *m;
	int r = shared_args(call, "[ii]", &value, &unowned);

	if (r < 0)
		r = shared_args(call, "[i]", &value);
	if (r < 0 || value < 0 || value > UINT32_MAX ||
	    (unowned != 0 && unowned != MPS_SEMAPHORE_UNOWNED))
		return -EINVAL;
	r = shared_make(row, &ret_fds[0], &m);
	if (r < 0)
		return r;
	m->flags = flags | (unsigned)unowned;
	m->units = (uint32_t)value;
	r = mps_semaphore_init(&m->semaphore, (uint32_t)value, m->flags);
	return shared_made(row, m, r, ret_fds, ret_n);
}

/* The server's thread shall not trip over what others have written. */
static bool is_sound(struct shared *s, const struct mps_call *call)
{
	return call->session == 0 || !has_owners(s) || semaphore_is_sound(semaphore_of(s));
}

static int acquire(void *self, struct mps_call *call)
{
	struct shared *s = self;
	bool counts = call->session != 0 && has_owners(s);
	int r = is_sound(s, call) ? 0 : -EBADMSG;

	if (r == 0 && counts)
		r = shared_hold(s, call, 1);
	if (r < 0)
		return r;
	r = mps_semaphore_acquire(semaphore_of(s), shared_left(call));
	if (r < 0 && counts)
		shared_let_go(s, shared_holder(s, call), 1);
	return shared_late(call, r);
}

static int release_of(struct shared *s, struct holder *h, uint32_t n)
{
	int r = mps_semaphore_release(semaphore_of(s), n);

	if (r == 0 && h != NULL)
		shared_let_go(s, h, n);
	return r;
}

static int release(void *self, struct mps_call *call)
{
	struct shared *s = self;
	struct holder *h = NULL;
	uint32_t n;
	int r = shared_count(call, 1, &n);

	if (r < 0 || n == 0)
		return r;
	if (!is_sound(s, call))
		return -EBADMSG;
	if (call->session != 0 && has_owners(s)) {
		h = shared_holder(s, call);
		if (h == NULL || h->n < n)
			return s->row->kind == SHARED_BOUNDED_SEMAPHORE && s->holders == NULL
				       ? -EOVERFLOW
				       : -EPERM;
	}
	return release_of(s, h, n);
}

static void leave(void *self, uint64_t session)
{
	struct shared *s = self;
	struct holder *h;

	while ((h = shared_held_by(s, session)) != NULL)
		if (!semaphore_is_sound(semaphore_of(s)) || release_of(s, h, h->n) < 0)
			shared_let_go(s, h, UINT32_MAX);
}

static bool forsake(struct shared *s)
{
	return !has_owners(s) ||
	       (semaphore_is_sound(semaphore_of(s)) && semaphore_forsake(semaphore_of(s)));
}

static int value(void *self, struct mps_call *call)
{
	if (!is_sound(self, call))
		return -EBADMSG;
	return shared_reply_int(call, mps_semaphore_value(semaphore_of(self)));
}

static int units(void *self, struct mps_call *call)
{
	struct shared *s = self;

	return shared_reply_int(call, ((struct memory *)(void *)s->head)->units);
}

static const struct mps_method methods[] = {
	{ "value", value },
	{ "acquire", acquire },
	{ "release", release },
	{ "units", units },
};

SHARED_TYPE(semaphore, &shared_semaphore_rows[0])
SHARED_TYPE(bounded_semaphore, &shared_semaphore_rows[1])

#define ROW(name_, kind_)                                                                          \
	SHARED_ROW(name_, kind_, methods, sizeof(struct memory)),                                  \
		.t.leave = leave, .forsake = forsake, .acquire = 1, .release = 2,                  \
		.is_waited_for = true
const struct shared_row shared_semaphore_rows[2] = {
	{ ROW(semaphore, SHARED_SEMAPHORE) },
	{ ROW(bounded_semaphore, SHARED_BOUNDED_SEMAPHORE) },
};
