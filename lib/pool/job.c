/*
 * What tasks were handed over together: chunks, outcomes, and the futures that tell of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/family.h"
#include "ipc/futex.h"
#include "pool/pool.h"

#define ITEM_MAX ((size_t)1 << 30)

enum {
	ROOM = 64,		/* for the result of a single task */
	SLAB_MAX = 1 << 20,	/* but for longer ones */
	CHUNK_BYTES = 256 << 10 /* so much at most where the caller does not say how many */
};

struct slab {
	struct slab *next;
	char data[];
};

/* ---------------------------------------------------------------------------------------------------- chunks */

struct work *work_new(size_t n, size_t size)
{
	size_t head = sizeof(struct work) + n * sizeof(struct mps_result);
	size_t room = n == 1 ? ROOM : 0;
	struct work *w = malloc(head + size + room);

	if (w == NULL)
		return NULL;
	*w = (struct work){ .n = (uint32_t)n,
			    .size = size,
			    .bytes = (char *)w + head,
			    .room = (char *)w + head + size,
			    .n_room = room };
	return w;
}

void work_free(struct work *w)
{
	struct slab *next;

	if (w == NULL)
		return;
	for (struct slab *s = w->slabs; s != NULL; s = next) {
		next = s->next;
		free(s);
	}
	free(w);
}

char *work_put(char *at, const struct mps_item *item)
{
	uint64_t n = item->n;

	memcpy(at, &n, 8);
	if (n > 0)
		memcpy(at + 8, item->p, n);
	return at + lane_item_size(n);
}

/* Those that come are thought to be as long as this one. */
char *work_room(struct work *w, size_t n)
{
	size_t size = (n + 7) & ~(size_t)7, left = w->n - w->done;
	struct slab *slab;

	if (w->n_room < size) {
		w->n_room = left * size < SLAB_MAX ? left * size : size;
		slab = malloc(sizeof(*slab) + w->n_room);
		if (slab == NULL) {
			w->n_room = 0;
			return NULL;
		}
		slab->next = w->slabs;
		w->slabs = slab;
		w->room = slab->data;
	}
	w->room += size;
	w->n_room -= size;
	return w->room - size;
}

void work_outcome(struct work *w, const struct mps_result *result)
{
	struct job *j = w->job;
	struct mps_result *to = &w->results[w->done];

	*to = *result;
	to->index = w->first + w->done;
	w->done++;
	w->tries = 0;
	j->n_left--;
	if (to->outcome != 0 && to->index < j->first_failed)
		j->first_failed = to->index;
}

void work_abandon(struct work *w, int outcome)
{
	while (w->done < w->n)
		work_outcome(w, &(struct mps_result){ .outcome = outcome, .tries = w->tries });
	work_over(w);
}

/* ------------------------------------------------------------------------------------------------------ jobs */

static int find_target(struct mps_pool *p, mps_target *function, uint32_t *ret)
{
	struct pool_target *bigger;
	const char *name;

	for (uint32_t i = 0; i < p->n_targets; i++)
		if (p->targets[i].function == function) {
			*ret = i;
			return 0;
		}
	name = function != NULL ? target_name(function) : p->worker != NULL ? "" : NULL;
	if (name == NULL || strlen(name) >= LANE_RING_MIN / 2)
		return -ENOENT;
	bigger = reallocarray(p->targets, p->n_targets + 1, sizeof(*bigger));
	if (bigger == NULL)
		return -ENOMEM;
	p->targets = bigger;
	p->targets[p->n_targets] = (struct pool_target){ function, name };
	*ret = p->n_targets++;
	return 0;
}

int job_begin(struct mps_pool *p, struct job *j, mps_target *function)
{
	int r;

	if (p->broken)
		return -ECANCELED;
	if (p->state != POOL_OPEN)
		return -EPIPE;
	r = find_target(p, function, &j->target);
	if (r < 0)
		return r;
	j->pool = p;
	p->refs++;
	return 0;
}

void job_tell(struct job *j)
{
	atomic_fetch_add(&j->word, 1);
	if (j->n_waiting > 0)
		futex_wake(&j->word, UINT32_MAX);
	kick_leader(j->pool);
}

static void future_gone(struct mps_future *f)
{
	size_t n = f->works != NULL ? (f->n + f->chunk - 1) / f->chunk : 0;

	for (size_t i = 0; i < n; i++)
		work_free(f->works[i]);
	work_free(f->only);
	free(f->works);
	free(f);
}

void job_unref(struct job *j)
{
	if (--j->refs > 0)
		return;
	j->pool->refs--;
	if (j->kind == JOB_IMAP)
		imap_gone(j);
	else
		future_gone((struct mps_future *)j);
}

static void call_back(struct mps_future *f)
{
	struct mps_pool *p = f->job.pool;

	f->job.refs++;
	f->next_callback = NULL;
	*p->callbacks_end = f;
	p->callbacks_end = &f->next_callback;
	pool_call_thread(p);
}

static void future_done(struct mps_future *f)
{
	atomic_store_explicit(&f->job.is_done, true, memory_order_release);
	job_tell(&f->job);
	if (f->job.has_callback) {
		f->job.pool->n_callbacks--;
		call_back(f);
	}
}

void work_over(struct work *w)
{
	struct job *j = w->job;

	if (j->fail_fast && j->first_failed != SIZE_MAX && !j->cancelled) {
		j->cancelled = true;
		dispatch_drop(j->pool, j);
	}
	if (j->kind == JOB_IMAP)
		imap_work_over(w);
	else if (j->n_left == 0)
		future_done((struct mps_future *)j);
	job_unref(j);
}

/* ------------------------------------------------------------------------------------------------- handing over */

static int add_size(const struct mps_item *items, size_t n, size_t *ret)
{
	*ret = 0;
	for (size_t i = 0; i < n; i++) {
		if (items[i].n > ITEM_MAX)
			return -EMSGSIZE;
		*ret += lane_item_size(items[i].n);
		if (*ret > ITEM_MAX)
			return -EMSGSIZE;
	}
	return 0;
}

static int future_new(const struct mps_pool *p, size_t n, size_t arity, size_t chunk,
		      struct mps_future **ret)
{
	int r = arity <= UINT16_MAX ? pool_check(p) : -EINVAL;
	struct mps_future *f;

	if (r < 0)
		return r;
	f = *ret = malloc(sizeof(*f)); /* calloc() asks the arena: glibc before 2.41 */
	if (f == NULL)
		return -ENOMEM;
	*f = (struct mps_future){
		.job = { .refs = 1,
			 .arity = (uint32_t)arity,
			 .n_left = n,
			 .first_failed = SIZE_MAX },
		.n = n,
		.chunk = chunk,
	};
	return 0;
}

/* Tasks first .. first + n of it as a chunk. */
static int make_work(struct mps_future *f, const struct mps_item *items, size_t first, size_t n,
		     struct work **ret)
{
	size_t size, n_items = n * f->job.arity;
	char *at;
	int r;

	items += first * f->job.arity;
	r = add_size(items, n_items, &size);
	if (r < 0)
		return r;
	*ret = work_new(n, size);
	if (*ret == NULL)
		return -ENOMEM;
	(*ret)->job = &f->job;
	(*ret)->first = first;
	at = (*ret)->bytes;
	for (size_t i = 0; i < n_items; i++)
		at = work_put(at, &items[i]);
	f->job.refs++;
	return 0;
}

static int make_works(struct mps_future *f, const struct mps_item *items, struct work **ret_list)
{
	size_t n_works = (f->n + f->chunk - 1) / f->chunk;
	struct work **end = ret_list;
	int r = 0;

	*ret_list = NULL;
	if (f->n <= f->chunk) {
		r = f->n > 0 ? make_work(f, items, 0, f->n, &f->only) : 0;
		*ret_list = f->only;
		return r;
	}
	f->works = calloc(n_works, sizeof(struct work *));
	if (f->works == NULL)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < n_works; i++) {
		size_t first = i * f->chunk, left = f->n - first;

		r = make_work(f, items, first, left < f->chunk ? left : f->chunk, &f->works[i]);
		*end = f->works[i];
		end = r == 0 ? &f->works[i]->next : end;
	}
	return r;
}

static bool is_done(const struct mps_future *f)
{
	return atomic_load_explicit(&f->job.is_done, memory_order_acquire);
}

static bool job_is_done(struct job *j)
{
	return is_done((struct mps_future *)j);
}

/* Nobody asks for it any more; under the lock. */
static void future_drop(struct mps_future *f)
{
	struct mps_pool *p = f->job.pool;

	f->callback = NULL;
	if (!is_done(f)) {
		p->n_callbacks -= f->job.has_callback;
		f->job.has_callback = false;
		f->job.cancelled = true;
		f->job.refs++;
		dispatch_drop(p, &f->job);
		job_unref(&f->job);
	}
	job_unref(&f->job);
}

/* The pool is locked then, for the caller to do more. The future is gone where it fails. */
static int hand_over(struct mps_pool *p, mps_target *function, struct mps_future *f,
		     const struct mps_item *items, bool leads)
{
	struct work *list;
	int r = make_works(f, items, &list);

	pool_lock(p);
	if (r == 0)
		r = job_begin(p, &f->job, function);
	if (r < 0) {
		future_gone(f);
		return r;
	}
	if (leads)
		try_to_lead(p);
	dispatch(p, list);
	if (f->n == 0)
		future_done(f);
	return 0;
}

/* The same, and its tasks are done. */
static int hand_over_and_wait(struct mps_pool *p, mps_target *function, struct mps_future *f,
			      const struct mps_item *items, int64_t timeout)
{
	int r = hand_over(p, function, f, items, true);

	if (r < 0)
		return r;
	r = wait_for_job(&f->job, job_is_done, until_of(timeout));
	if (r < 0)
		future_drop(f);
	return r;
}

static const struct mps_result *result_at(const struct mps_future *f, size_t i)
{
	return f->only != NULL ? &f->only->results[i]
			       : &f->works[i / f->chunk]->results[i % f->chunk];
}

/* Of one that is done: the first that has failed, or the first. */
static struct mps_result first_result(const struct mps_future *f)
{
	if (f->n == 0)
		return (struct mps_result){ 0 };
	return *result_at(f, f->job.first_failed != SIZE_MAX ? f->job.first_failed : 0);
}

/* Not locked any more, and nobody waits: the future is the caller's. */
static int hand_over_for_later(struct mps_pool *p, mps_target *function, struct mps_future *f,
			       const struct mps_item *items, struct mps_future **ret)
{
	int r = hand_over(p, function, f, items, false);

	pool_unlock(p);
	if (r == 0)
		*ret = f;
	return r;
}

int mps_pool_apply_async(struct mps_pool *p, mps_target *function, const struct mps_item *items,
			 size_t arity, struct mps_future **ret)
{
	struct mps_future *f;
	int r = future_new(p, 1, arity, 1, &f);

	return r < 0 ? r : hand_over_for_later(p, function, f, items, ret);
}

/* With bytes that the caller is to free. */
static int give_copy(const struct mps_result *from, struct mps_result *ret)
{
	void *p = from->n > 0 ? malloc(from->n) : NULL;

	if (from->n > 0 && p == NULL)
		return -ENOMEM;
	*ret = *from;
	ret->p = p;
	if (from->n > 0)
		memcpy(p, from->p, from->n);
	return from->outcome;
}

int mps_pool_apply(struct mps_pool *p, mps_target *function, const struct mps_item *items,
		   size_t arity, struct mps_result *ret, int64_t timeout)
{
	struct mps_future *f;
	bool is_long;
	int r;

	if (pool_is_own_thread(p))
		return -EDEADLK;
	r = future_new(p, 1, arity, 1, &f);
	if (r < 0)
		return r;
	r = hand_over_and_wait(p, function, f, items, timeout);
	if (r < 0) {
		pool_unlock(p);
		return r;
	}
	is_long = f->only->results->n > ROOM;
	if (is_long)
		pool_unlock(p); /* the others do not wait for the copying */
	r = ret != NULL ? give_copy(f->only->results, ret) : f->only->results->outcome;
	if (is_long)
		pool_lock(p);
	future_drop(f);
	pool_unlock(p);
	return r;
}

static size_t default_chunk(const struct mps_pool *p, const struct mps_item *items, size_t n,
			    size_t arity)
{
	size_t parts = 4 * (size_t)p->want, chunk = (n + parts - 1) / parts, bytes = 0, i;

	for (i = 0; i < n * arity && i < 1000; i++)
		bytes += lane_item_size(items[i].n);
	if (bytes / (i + 1) * arity * chunk > CHUNK_BYTES)
		chunk = CHUNK_BYTES / (bytes / (i + 1) * arity);
	return chunk > 0 ? chunk : 1;
}

static int map_future(struct mps_pool *p, const struct mps_item *items, size_t n,
		      const struct mps_map_options *options, struct mps_future **ret)
{
	static const struct mps_map_options none = MPS_MAP_OPTIONS_INIT;
	const struct mps_map_options *o = options != NULL ? options : &none;
	size_t arity = o->arity != 0 ? o->arity : 1;
	int r;

	if (o->chunk > INT32_MAX)
		return -EINVAL;
	r = future_new(p, n, arity, o->chunk, ret);
	if (r < 0)
		return r;
	if (o->chunk == 0)
		(*ret)->chunk = default_chunk(p, items, n, arity);
	(*ret)->job.fail_fast = o->fail_fast;
	return 0;
}

int mps_pool_map_async(struct mps_pool *p, mps_target *function, const struct mps_item *items,
		       size_t n, const struct mps_map_options *options, struct mps_future **ret)
{
	struct mps_future *f;
	int r = map_future(p, items, n, options, &f);

	return r < 0 ? r : hand_over_for_later(p, function, f, items, ret);
}

int mps_pool_map(struct mps_pool *p, mps_target *function, const struct mps_item *items, size_t n,
		 const struct mps_map_options *options, struct mps_future **ret, int64_t timeout)
{
	struct mps_future *f;
	int r;

	if (pool_is_own_thread(p))
		return -EDEADLK;
	r = map_future(p, items, n, options, &f);
	if (r < 0)
		return r;
	r = hand_over_and_wait(p, function, f, items, timeout);
	pool_unlock(p);
	if (r < 0)
		return r;
	*ret = f;
	return first_result(f).outcome;
}

/* --------------------------------------------------------------------------------------------------- futures */

/* Of one whose tasks are done no lock is needed. */
static int wait_until(struct mps_future *f, struct mps_time until)
{
	struct mps_pool *p = f->job.pool;
	int r;

	if (is_done(f))
		return 0;
	r = pool_check(p);
	if (r < 0)
		return r;
	pool_lock(p);
	r = wait_for_job(&f->job, job_is_done, until);
	pool_unlock(p);
	return r;
}

int mps_future_get(struct mps_future *f, struct mps_result *ret, int64_t timeout)
{
	struct mps_result result;
	int r = wait_until(f, until_of(timeout));

	if (r < 0)
		return r;
	result = first_result(f);
	if (ret != NULL)
		*ret = result;
	return result.outcome;
}

bool mps_future_ready(struct mps_future *f)
{
	return is_done(f) || wait_until(f, (struct mps_time){ 0 }) == 0;
}

size_t mps_future_count(const struct mps_future *f)
{
	return f->n;
}

int mps_future_result(struct mps_future *f, size_t i, struct mps_result *ret)
{
	struct work *w;
	int r = 0;

	if (i >= f->n)
		return -ERANGE;
	if (!mps_future_ready(f)) {
		r = pool_check(f->job.pool);
		if (r < 0)
			return r;
		pool_lock(f->job.pool);
		w = f->only != NULL ? f->only : f->works[i / f->chunk];
		r = w->first + w->done > i ? 0 : -EBUSY;
		pool_unlock(f->job.pool);
	}
	if (r < 0)
		return r;
	*ret = *result_at(f, i);
	return ret->outcome;
}

int mps_future_cancel(struct mps_future *f)
{
	struct mps_pool *p = f->job.pool;
	size_t n;
	int r;

	if (is_done(f))
		return 0;
	r = pool_check(p);
	if (r < 0)
		return r;
	pool_lock(p);
	f->job.cancelled = true;
	f->job.refs++;
	n = dispatch_drop(p, &f->job);
	job_unref(&f->job);
	pool_unlock(p);
	return n < INT32_MAX ? (int)n : INT32_MAX;
}

int mps_future_callback(struct mps_future *f, void (*function)(struct mps_future *f, void *user),
			void *user)
{
	struct mps_pool *p = f->job.pool;
	int r = pool_check(p);

	if (r < 0)
		return r;
	pool_lock(p);
	if (f->callback != NULL) {
		r = -EALREADY;
	} else if (atomic_load(&p->ended)) {
		r = -EPIPE;
	} else {
		f->callback = function;
		f->user = user;
		if (is_done(f)) {
			call_back(f);
		} else {
			f->job.has_callback = true;
			p->n_callbacks++;
			if (!p->leads)
				arm_bell(p);
		}
	}
	pool_unlock(p);
	return r;
}

void mps_future_free(struct mps_future *f)
{
	struct mps_pool *p;

	if (f == NULL)
		return;
	p = f->job.pool;
	if (pool_check(p) < 0)
		return;
	pool_lock(p);
	future_drop(f);
	pool_unlock(p);
}
