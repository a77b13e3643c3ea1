/*
 * A queue as a whole: how it is made, found, closed and counted. How it lies in memory is told in queue_layout.h.
 */
#include "ipc/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/futex.h"
#include "ipc/queue_layout.h"
#include "ipc/robust.h"

#define RING_DEFAULT ((size_t)64 << 10)

/* ------------------------------------------------------------------------------------------------- made, found */

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* The head, the ring and the ring again, in one piece of address space. */
static int map_twice(struct mps_queue *q)
{
	size_t n = q->page + q->ring_size;
	int fd = mps_shm_fileno(q->shm), rw = PROT_READ | PROT_WRITE;
	char *p = mmap(NULL, n + q->ring_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	q->s = (struct queue_shared *)(void *)p;
	q->ring = p + q->page;
	if (mmap(p, n, rw, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
	    mmap(p + n, q->ring_size, rw, MAP_SHARED | MAP_FIXED, fd, (off_t)q->page) == MAP_FAILED)
		return -errno;
	return 0;
}

void mps_queue_free(struct mps_queue *q)
{
	if (q == NULL)
		return;
	for (unsigned i = 0; i < QUEUE_BLOCKS; i++)
		if (q->maps[i].p != NULL)
			munmap(q->maps[i].p, q->maps[i].n);
	if (q->s != NULL)
		munmap(q->s, q->page + 2 * q->ring_size);
	mps_shm_close(q->shm);
	free(q);
}

static int init_side(struct queue_side *side)
{
	return robust_init(&side->lock, PTHREAD_MUTEX_ERRORCHECK);
}

/* Zeroed memory that nobody else looks at yet. */
static int init_shared(struct mps_queue *q)
{
	struct queue_shared *s = q->s;
	int r = init_side(&s->producers);

	if (r == 0)
		r = init_side(&s->consumers);
	if (r == 0)
		r = robust_init(&s->done_lock, PTHREAD_MUTEX_ERRORCHECK);
	if (r < 0)
		return r;
	s->ring_size = q->ring_size;
	s->max_item = q->max_item;
	s->max_items = q->max_items;
	s->joinable = q->joinable;
	atomic_store_explicit(&s->magic, QUEUE_MAGIC, memory_order_release);
	return 0;
}

static bool is_power(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static bool is_ring(uint64_t n, size_t page)
{
	return is_power(n) && n >= QUEUE_RING_MIN && n >= page && n <= QUEUE_RING_MAX;
}

/* It is a robust lock that processes share: the C library would trust it blindly. */
static bool is_lock(const pthread_mutex_t *m)
{
	pthread_mutex_t good;

	if (robust_init(&good, PTHREAD_MUTEX_ERRORCHECK) < 0)
		return false;
	return m->ROBUST_KIND == good.ROBUST_KIND;
}

/* Takes the segment over. */
static int from_shm(struct mps_shm *shm, struct mps_queue **ret)
{
	struct mps_queue *q = calloc(1, sizeof(*q));
	const struct queue_shared *s;
	void *p;
	int r;

	if (q == NULL)
		return -ENOMEM;
	q->page = page_size();
	r = mps_shm_map(shm, 0, q->page, &p);
	if (r < 0) {
		free(q);
		return -EBADMSG;
	}
	s = p;
	q->ring_size = s->ring_size;
	q->max_item = s->max_item;
	q->max_items = s->max_items;
	q->joinable = s->joinable != 0;
	if (atomic_load_explicit(&s->magic, memory_order_acquire) != QUEUE_MAGIC)
		r = s->magic == 0 ? -ENOENT : -EBADMSG;
	else if (!is_ring(q->ring_size, q->page) || q->max_item == 0 ||
		 q->max_item > QUEUE_ITEM_MAX || q->max_items == 0 ||
		 !is_lock(&s->producers.lock) || !is_lock(&s->consumers.lock) ||
		 !is_lock(&s->done_lock) || mps_shm_size(shm) < q->page + q->ring_size)
		r = -EBADMSG;
	if (r < 0) {
		free(q);
		return r;
	}
	q->shm = shm;
	r = map_twice(q);
	if (r < 0) {
		q->shm = NULL;
		mps_queue_free(q);
		return r;
	}
	*ret = q;
	return 0;
}

static int from_options(struct mps_queue *q, const struct mps_queue_options *o)
{
	size_t ring = QUEUE_RING_MIN;

	if (o->ring_size > QUEUE_RING_MAX || o->max_item > QUEUE_ITEM_MAX ||
	    (o->ring_size != 0 && o->ring_size < QUEUE_RING_MIN))
		return -EINVAL;
	q->page = page_size();
	while (ring < q->page || ring < (o->ring_size != 0 ? o->ring_size : RING_DEFAULT))
		ring *= 2;
	q->ring_size = ring;
	q->max_item = o->max_item != 0 ? o->max_item : QUEUE_ITEM_MAX;
	q->max_items = o->max_items != 0 ? o->max_items : UINT32_MAX;
	q->joinable = o->joinable;
	return 0;
}

int mps_queue_new(const struct mps_queue_options *options, struct mps_queue **ret)
{
	static const struct mps_queue_options none = MPS_QUEUE_OPTIONS_INIT;
	const struct mps_queue_options *o = options != NULL ? options : &none;
	struct mps_queue *q = calloc(1, sizeof(*q));
	int r;

	if (q == NULL)
		return -ENOMEM;
	r = from_options(q, o);
	if (r == 0)
		r = mps_shm_create(o->name, q->page + q->ring_size, &q->shm);
	if (r < 0) {
		free(q);
		return r;
	}
	r = map_twice(q);
	if (r == 0)
		r = init_shared(q);
	if (r < 0) {
		if (o->name != NULL)
			mps_shm_unlink(o->name);
		mps_queue_free(q);
		return r;
	}
	*ret = q;
	return 0;
}

int mps_queue_open(const char *name, struct mps_queue **ret)
{
	struct mps_shm *shm;
	int r = mps_shm_open(name, true, &shm);

	if (r < 0)
		return r;
	r = from_shm(shm, ret);
	if (r < 0)
		mps_shm_close(shm);
	return r;
}

int mps_queue_unlink(const char *name)
{
	return mps_shm_unlink(name);
}

int queue_fileno(const struct mps_queue *q)
{
	return mps_shm_fileno(q->shm);
}

int queue_from_fd(int fd, struct mps_queue **ret)
{
	int ours = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct mps_shm *shm;
	int r;

	if (ours < 0)
		return -errno;
	r = mps_shm_from_fd(ours, &shm);
	if (r < 0) {
		close(ours);
		return r == -EINVAL ? -EBADMSG : r;
	}
	r = from_shm(shm, ret);
	if (r == 0)
		close(fd);
	else
		mps_shm_close(shm);
	return r == -ENOENT ? -EBADMSG : r;
}

/* ---------------------------------------------------------------------------------------------- closed, counted */

size_t mps_queue_size(const struct mps_queue *q)
{
	uint32_t head = atomic_load_explicit(&q->s->head.word, memory_order_acquire), again, tail;

	for (;;) {
		tail = atomic_load_explicit(&q->s->tail.word, memory_order_acquire);
		again = atomic_load_explicit(&q->s->head.word, memory_order_acquire);
		if (queue_count(again) == queue_count(head))
			return queue_between(head, tail);
		head = again;
	}
}

/*
 * First the head says so, and who sleeps for room is woken: so the lock is soon to be had. Then, under the lock, nobody puts,
 * and the tail says it to the consumers: from then on it is so. Who is killed in between has not closed it, unless a
 * producer that finds no room goes on with it.
 */
int mps_queue_close(struct mps_queue *q)
{
	struct queue_side *side = &q->s->producers;
	int r;

	queue_mark_closed(&q->s->head);
	r = queue_lock(side, &q->s->head, (struct mps_time){ INT64_MAX });
	if (r < 0)
		return r;
	queue_mark_closed(&q->s->tail);
	queue_unlock(side, &q->put_turns);
	return 0;
}

/* Under its lock: only there the bit goes out. */
static int count_done(struct mps_queue *q)
{
	_Atomic uint32_t *done = &q->s->done.word;
	uint32_t v = atomic_load(done);

	for (;;) {
		uint32_t left = queue_between(v, atomic_load(&q->s->tail.word));

		if (left == 0 || left > QUEUE_COUNT_MAX / 2)
			return -EINVAL;
		if (left == 1 && (v & QUEUE_SLEEPS) != 0) {
			futex_add_wake(done, QUEUE_ONE - QUEUE_SLEEPS, UINT32_MAX);
			return 0;
		}
		if (atomic_compare_exchange_weak(done, &v, v + QUEUE_ONE))
			return 0;
	}
}

/*
 * Done are as many as the tail counts, when all are: there is no second count of items, so none that a killed producer
 * could leave wrong.
 */
int mps_queue_task_done(struct mps_queue *q)
{
	int r;

	if (!q->joinable)
		return -EOPNOTSUPP;
	r = robust_lock(&q->s->done_lock, (struct mps_time){ INT64_MAX });
	if (r < 0)
		return r;
	r = count_done(q);
	robust_unlock(&q->s->done_lock);
	return r;
}

int mps_queue_join(struct mps_queue *q, int64_t timeout)
{
	_Atomic uint32_t *done = &q->s->done.word;
	struct mps_time until = until_of(timeout);
	uint32_t v;
	int r = 0;

	if (!q->joinable)
		return -EOPNOTSUPP;
	for (;;) {
		v = atomic_load(done);
		if (queue_between(v, atomic_load(&q->s->tail.word)) == 0)
			return 0;
		if (r < 0 || until.ns == 0)
			return -ETIMEDOUT;
		if ((v & QUEUE_SLEEPS) == 0 &&
		    !atomic_compare_exchange_strong(done, &v, v | QUEUE_SLEEPS))
			continue;
		r = futex_wait(done, v | QUEUE_SLEEPS, until);
	}
}
