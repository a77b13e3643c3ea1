/*
 * The allocator of a segment: buddies. The memory is cut into units of 64 bytes; a block is 2^order of them, at a multiple of
 * its size. The truth is one word for each unit: that of a block's first unit says its order, whether it is free, and
 * whose it is; the words within a block are not looked at. So each change is one store:
 *
 *	allocated	the words of the parts that are cut off are written first, within the block as it still is; then
 *			its own becomes "used, so small": that cuts and takes it at once
 *	freed		its word becomes "free"; two free halves one block: the first's word says one order more
 *	kept		its word loses the owner
 *
 * Whoever is killed in between has done it or not. Only the lists of free blocks (heads in the header, links in the words) may be
 * wrong then: who gets the lock next is told, and makes them anew from the words. So he does when they lead to something
 * that is no free block of that order. Free halves are put together when there is no room otherwise, not at each free.
 *
 * Whatever is read is checked, since others may write everywhere: what cannot be is -EBADMSG.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/robust.h"
#include "ipc/self.h"
#include "ipc/shm.h"
#include "ipc/sound.h"
#include "proc/pidfd.h"
#include "proc/tree.h"

#define MAGIC UINT64_C(0x00616e6572615f73) /* s_arena */

enum { UNIT = 64, ORDERS = 32, NONE = 0 };

/*
 * A word: 2 bits of state and 6 of the order; then of a used block the pid of its owner (22 bits; 0 = nobody's) and the low
 * 34 bits of when that was started; of a free block the next in its list (a unit and one, 0 = the last).
 */
enum state { WITHIN, FREE, USED };
#define OF_STATE(w) ((enum state)((w)&3))
#define OF_ORDER(w) ((unsigned)((w) >> 2) & 63)
#define OF_NEXT(w) ((uint32_t)((w) >> 8))
#define OF_OWNER(w) ((w) >> 8)
#define WORD(state, order, rest)                                                                   \
	((uint64_t)(state) | (uint64_t)(order) << 2 | (uint64_t)(rest) << 8)

struct header {
	_Atomic uint64_t magic; /* the last that is written */
	uint64_t n_units;
	pthread_mutex_t lock;
	_Alignas(64) uint32_t heads[ORDERS]; /* of the lists, as links are */
	_Alignas(64) _Atomic uint64_t words[];
};

struct mps_arena {
	struct header *header;
	char *data;
	uint32_t n_units;
	int kind; /* of the lock */
	uint64_t data_offset;
	struct mps_shm *shm;
	bool owns; /* the segment */
};

static uint64_t offset_of_data(uint64_t n_units)
{
	return (sizeof(struct header) + n_units * sizeof(uint64_t) + UNIT - 1) / UNIT * UNIT;
}

static inline uint64_t word(const struct mps_arena *a, uint64_t unit)
{
	return atomic_load_explicit(&a->header->words[unit], memory_order_relaxed);
}

/* In the order in which they are written here. */
static inline void put(struct mps_arena *a, uint64_t unit, uint64_t w)
{
	atomic_store_explicit(&a->header->words[unit], w, memory_order_release);
}

/* ------------------------------------------------------------------------------------------------------- lists */

static void push(struct mps_arena *a, uint32_t unit, unsigned order)
{
	put(a, unit, WORD(FREE, order, a->header->heads[order]));
	a->header->heads[order] = unit + 1;
}

static bool is_free(const struct mps_arena *a, uint64_t unit, unsigned order)
{
	return unit < a->n_units && (word(a, unit) & 255) == WORD(FREE, order, 0);
}

/* A block can be there, by its word. */
static bool can_be(const struct mps_arena *a, uint64_t unit, uint64_t w)
{
	unsigned order = OF_ORDER(w);

	return (OF_STATE(w) == FREE || OF_STATE(w) == USED) && order < ORDERS &&
	       (unit & ((UINT64_C(1) << order) - 1)) == 0 &&
	       (UINT64_C(1) << order) <= a->n_units - unit;
}

/*
 * Called for each block; says -errno to end. What it does to the block's word counts when the next is looked for only if it
 * is larger by that.
 */
typedef int on_block(struct mps_arena *a, uint32_t unit, uint64_t w, void *user);

static int each(struct mps_arena *a, on_block *fn, void *user)
{
	uint64_t unit = 0;

	while (unit < a->n_units) {
		uint64_t w = word(a, unit);
		int r;

		if (!can_be(a, unit, w))
			return -EBADMSG;
		r = fn != NULL ? fn(a, (uint32_t)unit, w, user) : 0;
		if (r < 0)
			return r;
		unit += UINT64_C(1) << OF_ORDER(w);
	}
	return 0;
}

/* With each half before it that is free, and so on: those were looked at. */
static int join(struct mps_arena *a, uint32_t unit, uint64_t w, void *user)
{
	unsigned order = OF_ORDER(w);

	(void)user;
	if (OF_STATE(w) != FREE)
		return 0;
	while ((unit >> order & 1) != 0 && is_free(a, unit - (UINT32_C(1) << order), order)) {
		unit -= UINT32_C(1) << order;
		order++;
		put(a, unit, WORD(FREE, order, NONE));
	}
	return 0;
}

static int list_free(struct mps_arena *a, uint32_t unit, uint64_t w, void *user)
{
	(void)user;
	if (OF_STATE(w) == FREE)
		push(a, unit, OF_ORDER(w));
	return 0;
}

/* The lists anew, of blocks as large as they can be. 0 or -EBADMSG. */
static int rebuild(struct mps_arena *a)
{
	int r = each(a, join, NULL);

	if (r < 0)
		return r;
	memset(a->header->heads, 0, sizeof(a->header->heads));
	return each(a, list_free, NULL);
}

/* -------------------------------------------------------------------------------------------------------- lock */

static int wait_for_lock(pthread_mutex_t *m)
{
	int r;

	do {
		if (!lock_is_sound(m, PTHREAD_MUTEX_ERRORCHECK))
			return -EBADMSG;
		r = robust_lock(m, (struct mps_time){ mps_now().ns + MPS_NS_PER_S });
	} while (r == -ETIMEDOUT);
	return r;
}

static int enter(struct mps_arena *a)
{
	pthread_mutex_t *m = &a->header->lock;
	int r = -EBADMSG;

	if (lock_has_kind(m, a->kind))
		r = robust_lock(m, (struct mps_time){ 0 });
	if (r == -ETIMEDOUT)
		r = wait_for_lock(m);
	if (r != EOWNERDEAD)
		return r == 0 || r == -EDEADLK ? r : -EBADMSG;
	r = rebuild(a);
	if (r < 0)
		robust_unlock(m);
	return r;
}

static int leave(struct mps_arena *a, int r)
{
	robust_unlock(&a->header->lock);
	return r;
}

/* ----------------------------------------------------------------------------------------------------- handles */

/* What the header says is read once, so that nobody can change it under us. */
static int attach(struct mps_arena *a)
{
	size_t size = mps_shm_size(a->shm);
	uint64_t magic, n_units;
	void *p;
	int r;

	if (!shm_is_writable(a->shm))
		return -EACCES;
	if (size < sizeof(struct header))
		return -EBADMSG;
	r = mps_shm_map(a->shm, 0, size, &p);
	if (r < 0)
		return r == -ERANGE ? -EBADMSG : r; /* it is shorter by now */
	a->header = p;
	magic = atomic_load(&a->header->magic);
	n_units = a->header->n_units;
	if (magic == 0) /* yet */
		return -ENOENT;
	if (magic != MAGIC || n_units == 0 || n_units > INT32_MAX ||
	    offset_of_data(n_units) + n_units * UNIT > size)
		return -EBADMSG;
	a->n_units = (uint32_t)n_units;
	a->kind = lock_kind(PTHREAD_MUTEX_ERRORCHECK);
	a->data_offset = offset_of_data(n_units);
	a->data = (char *)p + a->data_offset;
	return 0;
}

int mps_arena_open(struct mps_shm *shm, struct mps_arena **ret)
{
	struct mps_arena *a = calloc(1, sizeof(*a));
	int r;

	if (a == NULL)
		return -ENOMEM;
	a->shm = shm;
	r = attach(a);
	if (r == 0)
		r = enter(a);
	if (r == 0)
		r = leave(a, each(a, NULL, NULL));
	if (r < 0) {
		free(a);
		return r;
	}
	*ret = a;
	return 0;
}

/* Free blocks as large as they can be. */
static int format(struct header *h, uint32_t n_units)
{
	struct mps_arena a = { .header = h, .n_units = n_units };
	int r = robust_init(&h->lock, PTHREAD_MUTEX_ERRORCHECK);

	if (r < 0)
		return r;
	h->n_units = n_units;
	for (uint32_t unit = 0; unit < n_units;) {
		unsigned order = 31 - (unsigned)__builtin_clz(n_units - unit);

		push(&a, unit, order);
		unit += UINT32_C(1) << order;
	}
	atomic_store(&h->magic, MAGIC);
	return 0;
}

int mps_arena_create(const char *name, size_t size, struct mps_arena **ret)
{
	size_t n_units = size / UNIT + (size % UNIT != 0);
	struct mps_shm *shm;
	int r;

	if (size == 0)
		return -EINVAL;
	if (n_units > INT32_MAX)
		return -ENOSPC;
	r = mps_shm_create(name, offset_of_data(n_units) + n_units * UNIT, &shm);
	if (r < 0)
		return r;
	r = format(mps_shm_data(shm), (uint32_t)n_units);
	if (r == 0)
		r = mps_arena_open(shm, ret);
	if (r < 0) {
		if (name != NULL)
			mps_shm_unlink(name);
		mps_shm_close(shm);
		return r;
	}
	(*ret)->owns = true;
	return 0;
}

int mps_arena_new(size_t size, struct mps_arena **ret)
{
	return mps_arena_create(NULL, size, ret);
}

void mps_arena_close(struct mps_arena *a)
{
	if (a == NULL)
		return;
	if (a->owns)
		mps_shm_close(a->shm);
	free(a);
}

struct mps_shm *mps_arena_shm(struct mps_arena *a)
{
	return a->shm;
}

/* ------------------------------------------------------------------------------------------------------- sweep */

/* Processes that were asked for in this sweep. */
struct asked {
	uint64_t owner[64];
	bool dead[64];
	int n_freed;
};

static uint64_t owner_of(pid_t pid, uint64_t start)
{
	return ((uint64_t)pid & 0x3fffff) | (start & 0x3ffffffff) << 22;
}

static bool find_out(uint64_t owner)
{
	pid_t pid = (pid_t)(owner & 0x3fffff);
	struct proc_stat st;
	int r;

	if (kill(pid, 0) < 0 && errno == ESRCH)
		return true;
	r = proc_stat_read(pid, &st);
	if (r < 0)
		return r == -ESRCH;
	return owner_of(pid, st.start_ticks) != owner || !process_runs(pid, &st);
}

static bool is_dead(struct asked *asked, uint64_t owner)
{
	size_t at = owner % 64;

	if (asked->owner[at] != owner) {
		asked->dead[at] = find_out(owner);
		asked->owner[at] = owner;
	}
	return asked->dead[at];
}

static int free_of_dead(struct mps_arena *a, uint32_t unit, uint64_t w, void *user)
{
	struct asked *asked = user;

	if (OF_STATE(w) == USED && OF_OWNER(w) != 0 && is_dead(asked, OF_OWNER(w))) {
		push(a, unit, OF_ORDER(w));
		asked->n_freed++;
	}
	return 0;
}

static int sweep(struct mps_arena *a)
{
	struct asked asked = { 0 };
	int r = each(a, free_of_dead, &asked);

	return r < 0 ? r : asked.n_freed;
}

int mps_arena_sweep(struct mps_arena *a)
{
	int r = enter(a);

	return r < 0 ? r : leave(a, sweep(a));
}

/* ------------------------------------------------------------------------------------------------------ blocks */

/* Takes one of the list's order and cuts it. 0, -ENOMEM: the list is empty; -EBADMSG: it is wrong. */
static int take(struct mps_arena *a, unsigned from, unsigned order, uint64_t owner, uint32_t *ret)
{
	uint32_t head = a->header->heads[from], unit = head - 1;
	uint64_t w;

	if (head == NONE)
		return -ENOMEM;
	if (!is_free(a, unit, from) || !can_be(a, unit, w = word(a, unit)))
		return -EBADMSG;
	a->header->heads[from] = OF_NEXT(w);
	while (from > order) {
		from--;
		push(a, unit + (UINT32_C(1) << from), from);
	}
	put(a, unit, WORD(USED, order, owner));
	*ret = unit;
	return 0;
}

static int find(struct mps_arena *a, unsigned order, uint64_t owner, uint32_t *ret)
{
	for (unsigned from = order; from < ORDERS; from++) {
		int r = take(a, from, order, owner, ret);

		if (r != -ENOMEM)
			return r;
	}
	return -ENOMEM;
}

/* There is none at hand: free halves are put together, then what the dead have is free. */
static int find_slowly(struct mps_arena *a, unsigned order, uint64_t owner, uint32_t *ret)
{
	int r = rebuild(a);

	if (r == 0)
		r = find(a, order, owner, ret);
	if (r != -ENOMEM)
		return r;
	r = sweep(a);
	if (r <= 0)
		return r < 0 ? r : -ENOMEM;
	r = rebuild(a);
	return r < 0 ? r : find(a, order, owner, ret);
}

static unsigned order_for(size_t n)
{
	size_t units = n / UNIT + (n % UNIT != 0);

	return units <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(units - 1);
}

int mps_arena_alloc(struct mps_arena *a, size_t n, uint64_t *ret_offset)
{
	unsigned order = order_for(n);
	struct self self;
	uint32_t unit;
	int r = self_get(&self);

	if (r < 0)
		return r;
	if (order >= ORDERS)
		return -ENOMEM;
	r = enter(a);
	if (r < 0)
		return r;
	r = find(a, order, owner_of(self.pid, self.start), &unit);
	if (r == -ENOMEM || r == -EBADMSG)
		r = find_slowly(a, order, owner_of(self.pid, self.start), &unit);
	if (r == 0)
		*ret_offset = a->data_offset + (uint64_t)unit * UNIT;
	return leave(a, r);
}

/* The block that begins there. */
static int used_at(const struct mps_arena *a, uint64_t offset, uint32_t *ret_unit, uint64_t *ret_w)
{
	uint64_t unit = (offset - a->data_offset) / UNIT;

	if (offset < a->data_offset || offset % UNIT != 0 || unit >= a->n_units)
		return -EINVAL;
	*ret_w = word(a, unit);
	*ret_unit = (uint32_t)unit;
	if (OF_STATE(*ret_w) != USED)
		return -EINVAL;
	return can_be(a, unit, *ret_w) ? 0 : -EBADMSG;
}

/* The owner does not have it any more. */
static int let_go(struct mps_arena *a, uint64_t offset, bool is_kept)
{
	uint32_t unit;
	uint64_t w;
	int r = enter(a);

	if (r < 0)
		return r;
	r = used_at(a, offset, &unit, &w);
	if (r == 0 && is_kept)
		put(a, unit, w & 255);
	else if (r == 0)
		push(a, unit, OF_ORDER(w));
	return leave(a, r);
}

int mps_arena_free(struct mps_arena *a, uint64_t offset)
{
	return let_go(a, offset, false);
}

int mps_arena_keep(struct mps_arena *a, uint64_t offset)
{
	return let_go(a, offset, true);
}

void *mps_arena_at(struct mps_arena *a, uint64_t offset)
{
	if (offset < a->data_offset || offset - a->data_offset >= (uint64_t)a->n_units * UNIT)
		return NULL;
	return a->data + (offset - a->data_offset);
}

uint64_t mps_arena_offset(struct mps_arena *a, const void *p)
{
	uintptr_t at = (uintptr_t)p, data = (uintptr_t)a->data;

	return at < data || at - data >= (uint64_t)a->n_units * UNIT ? 0
								     : a->data_offset + (at - data);
}

static int count(struct mps_arena *a, uint32_t unit, uint64_t w, void *user)
{
	size_t *sums = user;

	(void)a;
	(void)unit;
	sums[OF_STATE(w) == USED] += (size_t)UNIT << OF_ORDER(w);
	return 0;
}

int mps_arena_usage(struct mps_arena *a, size_t *ret_used, size_t *ret_free)
{
	size_t sums[2] = { 0 };
	int r = enter(a);

	if (r < 0)
		return r;
	r = leave(a, each(a, count, sums));
	if (r == 0) {
		*ret_used = sums[1];
		*ret_free = sums[0];
	}
	return r;
}
