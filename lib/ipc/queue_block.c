/*
 * Blocks behind the ring, for items that are too long for it. Each has a stretch of the segment to itself, of which as
 * much is real memory as its longest item wanted; so a block can grow and give back without another noticing. A block is free
 * when its item's record is not in the ring, so nobody frees it, and nobody can die before he has.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/queue_layout.h"
#include "ipc/robust.h"
#include "ipc/shm.h"

#define LEAST ((size_t)64 << 10)
/*
 * An item begins so far into its block: half a page off where malloc(3) and mmap(2) lay a caller's. Copying between
 * places whose addresses have the same low 12 bits, or nearly, takes half as long again while another processor has the
 * lines (measured on Zen 4; glibc bug 30994).
 */
#define SHIFT ((size_t)2048)
/*
 * Two items there may be at a time, and others only as long as all are not more than this, or than the ring: what was written
 * long ago is in no cache any more, and copying is then three times as slow.
 */
#define AHEAD ((size_t)4 << 20)
/* More than this a free block does not keep, for longer than so many items. */
#define KEPT ((size_t)4 << 20)
#define PATIENCE 32
/* And this not even until the next item. */
#define HUGE_ITEM ((size_t)64 << 20)

static size_t stretch(const struct mps_queue *q)
{
	return (q->max_item + SHIFT + LEAST - 1) & ~(LEAST - 1);
}

static size_t offset(const struct mps_queue *q, unsigned i)
{
	return q->page + q->ring_size + i * stretch(q);
}

static bool is_free(const struct queue_block *b, uint64_t head, uint64_t end)
{
	uint64_t position = atomic_load_explicit(&b->position, memory_order_relaxed);

	return position <= head || position > end; /* it is one more than the record's */
}

/* ------------------------------------------------------------------------------------------------------- memory */

/* `room` is odd as long as what is there may be anything up to it. */
static void give_back(struct mps_queue *q, unsigned i)
{
	struct queue_block *b = &q->s->blocks[i];
	uint64_t room = atomic_load(&b->room) & ~UINT64_C(1);

	if (room == 0 || room > stretch(q))
		return;
	atomic_store(&b->room, room | 1);
	if (fallocate(queue_fileno(q), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)offset(q, i), (off_t)room) == 0)
		atomic_store(&b->room, 0);
}

/* How many free ones have kept more than that; those that are in use are counted in *ret_left. */
static unsigned give_back_all(struct mps_queue *q, size_t kept, uint64_t head, uint64_t end,
			      unsigned *ret_left)
{
	unsigned n = 0;

	*ret_left = 0;
	for (unsigned i = 0; i < QUEUE_BLOCKS; i++) {
		uint64_t room = atomic_load_explicit(&q->s->blocks[i].room, memory_order_relaxed);

		if (room <= kept) {
			continue;
		} else if (is_free(&q->s->blocks[i], head, end)) {
			give_back(q, i);
			n++;
		} else {
			(*ret_left)++;
		}
	}
	return n;
}

static size_t rounded(const struct mps_queue *q, size_t n)
{
	size_t step = LEAST;

	while (step * 8 < n)
		step *= 2;
	n = (n + step - 1) & ~(step - 1);
	return n < stretch(q) ? n : stretch(q);
}

static int allocate(struct mps_queue *q, unsigned i, size_t n)
{
	struct queue_block *b = &q->s->blocks[i];
	size_t room = atomic_load(&b->room), end = offset(q, i) + n;
	int fd = queue_fileno(q), r;

	atomic_store(&b->room, (n > room ? n : room) | 1);
	r = shm_allocate(fd, offset(q, i), end);
	if (r == 0 && mps_shm_size(q->shm) < end && ftruncate(fd, (off_t)end) < 0)
		r = -errno;
	if (r == 0)
		atomic_store(&b->room, n);
	else
		give_back(q, i);
	return r;
}

/* ------------------------------------------------------------------------------------------------------- blocks */

/* Whether what is on its way is enough, so that a new one of n bytes waits. */
static bool is_enough(const struct mps_queue *q, size_t n, uint64_t head, uint64_t end)
{
	size_t most = q->ring_size > AHEAD ? q->ring_size : AHEAD, in_use = 0, bytes = n;

	for (unsigned i = 0; i < QUEUE_BLOCKS; i++)
		if (!is_free(&q->s->blocks[i], head, end)) {
			bytes += atomic_load_explicit(&q->s->blocks[i].used, memory_order_relaxed);
			in_use++;
		}
	return in_use >= 2 && bytes > most;
}

/* Of those that are free the smallest that is large enough; else the largest; or -EAGAIN. */
static int choose(const struct mps_queue *q, size_t n, uint64_t head, uint64_t end)
{
	int best = -EAGAIN;
	uint64_t best_room = 0;

	for (int i = 0; i < QUEUE_BLOCKS; i++) {
		const struct queue_block *b = &q->s->blocks[i];
		uint64_t room = atomic_load_explicit(&b->room, memory_order_relaxed);

		if (!is_free(b, head, end))
			continue;
		if (room % 2 != 0)
			room = 0;
		if (best < 0 ||
		    (best_room < n ? room > best_room : room >= n && room < best_room)) {
			best = i;
			best_room = room;
		}
	}
	return best;
}

int queue_block_take(struct mps_queue *q, size_t n, uint64_t head, uint64_t position)
{
	int i = is_enough(q, n, head, position) ? -EAGAIN : choose(q, n, head, position), r = 0;
	unsigned left;
	uint64_t room;

	if (i < 0)
		return i;
	n += SHIFT;
	room = atomic_load_explicit(&q->s->blocks[i].room, memory_order_relaxed);
	if (room < n || room % 2 != 0 || room > stretch(q)) {
		r = allocate(q, (unsigned)i, rounded(q, n));
		if (r == -ENOSPC && give_back_all(q, 0, head, position, &left) > 0)
			r = allocate(q, (unsigned)i, rounded(q, n));
	}
	if (r < 0)
		return r;
	atomic_store_explicit(&q->s->blocks[i].used, n, memory_order_relaxed);
	atomic_store_explicit(&q->s->blocks[i].position, position + 1, memory_order_relaxed);
	if (atomic_load_explicit(&q->s->blocks[i].room, memory_order_relaxed) > KEPT &&
	    atomic_load_explicit(&q->s->producers.patience, memory_order_relaxed) == 0)
		atomic_store_explicit(&q->s->producers.patience, PATIENCE, memory_order_relaxed);
	return i;
}

int queue_block_check(const struct mps_queue *q, unsigned i, uint64_t position)
{
	if (i >= QUEUE_BLOCKS ||
	    atomic_load_explicit(&q->s->blocks[i].position, memory_order_relaxed) != position + 1)
		return -EBADMSG;
	return 0;
}

int queue_block_map(struct mps_queue *q, unsigned i, size_t n, char **ret)
{
	struct queue_map *map = &q->maps[i];
	size_t room = atomic_load_explicit(&q->s->blocks[i].room, memory_order_relaxed);

	char *p;

	n += SHIFT;
	if (room < n || room % 2 != 0 || room > stretch(q))
		return -EBADMSG;
	if (map->n < n) {
		if (mps_shm_size(q->shm) < offset(q, i) + room)
			return -EBADMSG;
		p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, queue_fileno(q),
			 (off_t)offset(q, i));
		if (p == MAP_FAILED)
			return -errno;
		if (map->p != NULL)
			munmap(map->p, map->n);
		*map = (struct queue_map){ p, room };
	}
	*ret = map->p + SHIFT;
	return 0;
}

/* ------------------------------------------------------------------------------------------------- big ones free */

void queue_block_tidy(struct mps_queue *q, uint64_t tail)
{
	_Atomic uint32_t *patience = &q->s->producers.patience;
	uint32_t n = atomic_load_explicit(patience, memory_order_relaxed), word;
	unsigned left = 0;
	uint64_t head;

	if (n == 0)
		return;
	if (n == 1 && queue_look(&q->s->head, &word, &head) == 0)
		give_back_all(q, KEPT, head, tail, &left);
	atomic_store_explicit(patience,
			      n > 1	 ? n - 1
			      : left > 0 ? PATIENCE
					 : 0,
			      memory_order_relaxed);
}

void queue_block_got(struct mps_queue *q, size_t n)
{
	struct queue_side *side = &q->s->producers;
	uint64_t head, tail;
	uint32_t word;
	unsigned left;
	int r;

	if (n < HUGE_ITEM)
		return;
	r = robust_lock(&side->lock, (struct mps_time){ 0 });
	if (r < 0)
		return;
	if (queue_look(&q->s->head, &word, &head) == 0 &&
	    queue_look(&q->s->tail, &word, &tail) == 0 && head == tail)
		give_back_all(q, KEPT, head, tail, &left);
	robust_unlock(&side->lock);
}
