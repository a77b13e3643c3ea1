/*
 * lock, rlock, condition: a robust mutex, whose holder is a thread of a client, or the server's for one of a remote client. A
 * condition is a word besides, that changes with each notification.
 *
 * When the session of a remote holder ends the server says so in `abandoned`, as the kernel says it of a thread.
 */
#include <errno.h>

#include "base/cleanup.h"
#include "ipc/futex.h"
#include "ipc/robust.h"
#include "ipc/sound.h"
#include "manager/shared.h"

struct memory {
	struct shared_head head;
	_Atomic uint32_t abandoned;
	_Atomic uint32_t word; /* of a condition */
	pthread_mutex_t mutex;
};

static struct memory *memory_of(struct shared *s)
{
	struct memory *m = (struct memory *)(void *)s->head;

	return lock_has_kind(&m->mutex, s->mutex_kind) ? m : NULL;
}

static int make(const struct shared_row *row, struct mps_call *call, int *ret_fds, size_t *ret_n)
{
	struct memory *m;
	int r = call->n_args > 0 ? shared_args(call, "[]") : 0;

	if (r == 0)
		r = shared_make(row, &ret_fds[0], &m);
	if (r < 0)
		return r;
	r = robust_init(&m->mutex, row->kind == SHARED_LOCK ? PTHREAD_MUTEX_ERRORCHECK
							    : PTHREAD_MUTEX_RECURSIVE);
	return shared_made(row, m, r, ret_fds, ret_n);
}

/* ---------------------------------------------------------------------------------------------- acquire, release */

static int lock(struct memory *m, struct mps_time until)
{
	int r = robust_lock(&m->mutex, until);

	if (r == 0 && atomic_load_explicit(&m->abandoned, memory_order_relaxed) != 0 &&
	    atomic_exchange(&m->abandoned, 0) != 0)
		r = EOWNERDEAD;
	return r;
}

/* In the server: `times` for this one, if nobody has it. -EAGAIN */
static int lock_for(struct shared *s, struct memory *m, const struct mps_call *call, uint32_t times)
{
	int r;

	if (s->holders != NULL)
		return -EAGAIN;
	r = shared_hold(s, call, times);
	if (r < 0)
		return r;
	r = lock(m, (struct mps_time){ 0 });
	if (r < 0)
		shared_let_go(s, s->holders, times);
	return shared_late(call, r);
}

static int acquire(void *self, struct mps_call *call)
{
	struct shared *s = self;
	struct memory *m = memory_of(s);
	struct holder *h;

	if (m == NULL)
		return -EBADMSG;
	if (call->session == 0)
		return lock(m, call->until);
	h = shared_holder(s, call);
	if (h == NULL)
		return lock_for(s, m, call, 1);
	if (s->row->kind == SHARED_LOCK)
		return -EDEADLK;
	return shared_hold(s, call, 1);
}

static int release(void *self, struct mps_call *call)
{
	struct shared *s = self;
	struct memory *m = memory_of(s);
	struct holder *h;
	int r = 0;

	if (m == NULL)
		return -EBADMSG;
	if (call->session == 0)
		return robust_unlock(&m->mutex);
	h = shared_holder(s, call);
	if (h == NULL)
		return -EPERM;
	if (h->n == 1)
		r = robust_unlock(&m->mutex);
	shared_let_go(s, h, 1);
	return r;
}

static void leave(void *self, uint64_t session)
{
	struct shared *s = self;
	struct memory *m = memory_of(s);
	struct holder *h = shared_held_by(s, session);

	if (h == NULL)
		return;
	shared_let_go(s, h, UINT32_MAX);
	if (m == NULL)
		return;
	atomic_store(&m->abandoned, 1);
	robust_unlock(&m->mutex);
}

static bool forsake(struct shared *s)
{
	struct memory *m = memory_of(s);

	return m == NULL || robust_forsake(&m->mutex);
}

static int locked(void *self, struct mps_call *call)
{
	struct memory *m = memory_of(self);

	if (m == NULL)
		return -EBADMSG;
	return shared_reply_bool(call, robust_is_held(atomic_load(robust_word(&m->mutex))));
}

/* ---------------------------------------------------------------------------------------------- conditions */

/* As often as this thread holds it: how often. -EPERM */
static int unlock_all(struct memory *m)
{
	uint32_t holder = atomic_load(robust_word(&m->mutex)) & FUTEX_TID_MASK;
	int times, r = robust_unlock(&m->mutex);

	if (r < 0)
		return r;
	for (times = 1; (atomic_load(robust_word(&m->mutex)) & FUTEX_TID_MASK) == holder; times++)
		robust_unlock(&m->mutex);
	return times;
}

static int wait_here(struct shared *s, struct memory *m, struct mps_time until)
{
	uint32_t seen = atomic_load(&m->word);
	int times = unlock_all(m), r = 0, again;

	if (times < 0)
		return times;
	shared_ring(s);
	while (r == 0 && atomic_load(&m->word) == seen)
		r = futex_wait(&m->word, seen, until);
	again = lock(m, (struct mps_time){ INT64_MAX });
	while (again >= 0 && --times > 0)
		robust_lock(&m->mutex, (struct mps_time){ 0 });
	return again != 0 ? again : r;
}

/* The first asking: lets go of the lock. The mark keeps how often it was held, and the word. */
static int wait_begin(struct shared *s, struct memory *m, struct mps_call *call)
{
	struct holder *h = shared_holder(s, call);

	if (h == NULL)
		return -EPERM;
	if (call->is_last)
		return -ETIMEDOUT;
	*call->mark = (uint64_t)h->n << 32 | atomic_load(&m->word);
	shared_let_go(s, h, UINT32_MAX);
	robust_unlock(&m->mutex);
	return -EAGAIN;
}

/*
 * For a remote client. Each notification is one for all of these: a wait may end without one, and which of those who wait here and
 * elsewhere would have been the one that it was for, nobody could tell.
 */
static int wait_remote(struct shared *s, struct memory *m, struct mps_call *call)
{
	bool notified;
	int r;

	if (*call->mark == 0)
		return wait_begin(s, m, call);
	notified = atomic_load(&m->word) != (uint32_t)*call->mark;
	if (!notified && !call->is_last)
		return -EAGAIN;
	r = lock_for(s, m, call, (uint32_t)(*call->mark >> 32));
	if (r == -EAGAIN)
		return call->is_last ? -ENOLCK : r;
	return r == 0 && !notified ? -ETIMEDOUT : r;
}

static int wait_for(void *self, struct mps_call *call)
{
	struct shared *s = self;
	struct memory *m = memory_of(s);

	if (m == NULL)
		return -EBADMSG;
	return call->session == 0 ? wait_here(s, m, call->until) : wait_remote(s, m, call);
}

static int notify_n(struct memory *m, uint32_t n)
{
	if (m == NULL)
		return -EBADMSG;
	if (n > 0)
		futex_add_wake(&m->word, 1, n);
	return 0;
}

static int notify(void *self, struct mps_call *call)
{
	uint32_t n;
	int r = shared_count(call, 1, &n);

	return r < 0 ? r : notify_n(memory_of(self), n);
}

static int notify_all(void *self, struct mps_call *call)
{
	(void)call;
	return notify_n(memory_of(self), UINT32_MAX);
}

/* ---------------------------------------------------------------------------------------------- tables */

static const struct mps_method lock_methods[] = {
	{ "locked", locked },
	{ "acquire", acquire },
	{ "release", release },
};

static const struct mps_method condition_methods[] = {
	{ "locked", locked }, { "acquire", acquire }, { "release", release },
	{ "wait", wait_for }, { "notify", notify },   { "notify_all", notify_all },
};

SHARED_TYPE(lock, &shared_lock_rows[0])
SHARED_TYPE(rlock, &shared_lock_rows[1])
SHARED_TYPE(condition, &shared_lock_rows[2])

#define ROW(name_, kind_, methods_)                                                                \
	SHARED_ROW(name_, kind_, methods_, sizeof(struct memory)),                                 \
		.t.leave = leave, .forsake = forsake, .acquire = 1, .release = 2,                  \
		.is_waited_for = true
const struct shared_row shared_lock_rows[3] = {
	{ ROW(lock, SHARED_LOCK, lock_methods) },
	{ ROW(rlock, SHARED_RLOCK, lock_methods) },
	{ ROW(condition, SHARED_CONDITION, condition_methods), .wait = 3 },
};
