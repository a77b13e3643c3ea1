/*
 * imap: tasks from an input that may have no end, so many at a time and no more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/futex.h"
#include "pool/pool.h"

/* For each worker, where the caller does not say how many. */
enum { PREFETCH_CHUNKS = 64 };
#define ITEM_MAX ((size_t)1 << 30)

struct mps_imap {
	struct job job;
	struct mps_imap_options o;
	struct mps_item *items; /* of one task, for the input */
	bool is_gone;		/* the handle */
	/* In order: those that were not given out yet. Unordered: those that are done. Under the lock. */
	struct work *first, **end;
	/* The caller's alone: */
	struct work *ready; /* done, to be given out */
	struct work *giving;
	size_t n_read, ahead; /* read; read and not given out */
	bool is_over;	      /* nothing more is to be read */
	int error;	      /* because of that */
	char *bytes;	      /* of a chunk that is being read */
	size_t cap;
};

static bool is_done(const struct work *w)
{
	return w->done == w->n;
}

static void append(struct mps_imap *im, struct work *w)
{
	w->follow = NULL;
	*im->end = w;
	im->end = &w->follow;
}

void imap_work_over(struct work *w)
{
	struct mps_imap *im = (struct mps_imap *)w->job;

	if (im->is_gone) {
		work_free(w);
		return;
	}
	if (im->o.unordered)
		append(im, w);
	if (im->first == w || im->o.unordered)
		job_tell(&im->job);
}

void imap_gone(struct job *j)
{
	struct mps_imap *im = (struct mps_imap *)j;

	free(im->bytes);
	free(im->items);
	free(im);
}

int mps_pool_imap(struct mps_pool *p, mps_target *function, const struct mps_imap_options *options,
		  struct mps_imap **ret)
{
	struct mps_imap *im;
	int r = pool_check(p);

	if (r < 0)
		return r;
	if (options->input == NULL || options->arity > UINT16_MAX || options->chunk > INT32_MAX)
		return -EINVAL;
	im = calloc(1, sizeof(*im));
	if (im == NULL)
		return -ENOMEM;
	im->o = *options;
	if (im->o.arity == 0)
		im->o.arity = 1;
	if (im->o.chunk == 0)
		im->o.chunk = 1;
	if (im->o.prefetch == 0)
		im->o.prefetch = PREFETCH_CHUNKS * im->o.chunk * p->want;
	if (im->o.chunk > im->o.prefetch)
		im->o.chunk = im->o.prefetch;
	im->end = &im->first;
	im->items = calloc(im->o.arity, sizeof(*im->items));
	im->job = (struct job){ .kind = JOB_IMAP,
				.refs = 1,
				.arity = (uint32_t)im->o.arity,
				.first_failed = SIZE_MAX };
	r = im->items != NULL ? 0 : -ENOMEM;
	pool_lock(p);
	if (r == 0)
		r = job_begin(p, &im->job, function);
	pool_unlock(p);
	if (r < 0)
		imap_gone(&im->job);
	else
		*ret = im;
	return r;
}

/* --------------------------------------------------------------------------------------------------- reading */

static int reserve(struct mps_imap *im, size_t n)
{
	size_t cap = im->cap != 0 ? im->cap : 256;
	char *bigger;

	if (n <= im->cap)
		return 0;
	while (cap < n)
		cap *= 2;
	bigger = realloc(im->bytes, cap);
	if (bigger == NULL)
		return -ENOMEM;
	im->bytes = bigger;
	im->cap = cap;
	return 0;
}

/* One task, behind the *size bytes of those before it: 1, 0 or -errno. */
static int read_task(struct mps_imap *im, size_t *size)
{
	int r = im->o.input(im->o.user, im->items);

	for (size_t i = 0; r > 0 && i < im->o.arity; i++) {
		size_t n = im->items[i].n;

		if (n > ITEM_MAX || *size + lane_item_size(n) > ITEM_MAX)
			return -EMSGSIZE;
		r = reserve(im, *size + lane_item_size(n));
		if (r < 0)
			return r;
		work_put(im->bytes + *size, &im->items[i]);
		*size += lane_item_size(n);
		r = 1;
	}
	return r;
}

static struct work *read_chunk(struct mps_imap *im)
{
	size_t n = 0, size = 0, room = im->o.prefetch - im->ahead;
	struct work *w;
	int r = 1;

	while (n < im->o.chunk && n < room && (r = read_task(im, &size)) > 0)
		n++;
	if (r <= 0) {
		im->is_over = true;
		im->error = r;
	}
	w = n > 0 ? work_new(n, size) : NULL;
	if (w == NULL) {
		if (n > 0) {
			im->is_over = true;
			im->error = -ENOMEM;
		}
		return NULL;
	}
	memcpy(w->bytes, im->bytes, size);
	w->job = &im->job;
	w->first = im->n_read;
	im->n_read += n;
	im->ahead += n;
	return w;
}

/* A good part of what may be read ahead is to be read, or there is nothing else to do. */
static bool is_due(const struct mps_imap *im)
{
	size_t room = im->o.prefetch - im->ahead, part = im->o.prefetch / 4;

	if (im->is_over || room == 0)
		return false;
	return im->ready == NULL || room >= (part > im->o.chunk ? part : im->o.chunk);
}

static struct work *read_ahead(struct mps_imap *im)
{
	struct work *list = NULL, **end = &list, *w;

	while (!im->is_over && im->ahead < im->o.prefetch && (w = read_chunk(im)) != NULL) {
		*end = w;
		end = &w->next;
	}
	return list;
}

/* ------------------------------------------------------------------------------------------------ giving out */

static bool job_has_ready(struct job *j)
{
	struct mps_imap *im = (struct mps_imap *)j;

	return im->first != NULL && is_done(im->first);
}

static void take_ready(struct mps_imap *im)
{
	struct work **end = &im->ready;

	while (*end != NULL)
		end = &(*end)->follow;
	while (im->first != NULL && is_done(im->first)) {
		struct work *w = im->first;

		im->first = w->follow;
		if (im->first == NULL)
			im->end = &im->first;
		w->follow = NULL;
		*end = w;
		end = &w->follow;
	}
}

static void hand_over(struct mps_imap *im, struct work *list)
{
	struct mps_pool *p = im->job.pool;

	if (p->state != POOL_OPEN && !im->is_over) {
		im->is_over = true;
		im->error = p->broken ? -ECANCELED : -EPIPE;
	}
	for (struct work *w = list; w != NULL; w = w->next) {
		im->job.refs++;
		im->job.n_left += w->n;
		if (!im->o.unordered)
			append(im, w);
	}
	dispatch(p, list);
}

static int exchange(struct mps_imap *im, struct mps_time until)
{
	struct mps_pool *p = im->job.pool;
	struct work *list = is_due(im) ? read_ahead(im) : NULL;
	int r = pool_check(p);

	if (r < 0)
		return r;
	if (im->ahead == 0)
		return im->error != 0 ? im->error : -ENODATA;
	pool_lock(p);
	if (!pool_is_own_thread(p))
		try_to_lead(p);
	hand_over(im, list);
	r = wait_for_job(&im->job, job_has_ready,
			 im->ready != NULL ? (struct mps_time){ 0 } : until);
	take_ready(im);
	pool_unlock(p);
	return im->ready != NULL ? 0 : r;
}

int mps_imap_next(struct mps_imap *im, struct mps_result *ret, int64_t timeout)
{
	struct work *w = im->giving;
	int r;

	if (w == NULL || w->given == w->n) {
		work_free(w);
		im->giving = NULL;
		if (im->ready == NULL || is_due(im)) {
			r = exchange(im, until_of(timeout));
			if (r < 0)
				return r;
		}
		w = im->giving = im->ready;
		im->ready = w->follow;
	}
	*ret = w->results[w->given++];
	im->ahead--;
	return ret->outcome;
}

static void free_list(struct work *w)
{
	struct work *next;

	for (; w != NULL; w = next) {
		next = w->follow;
		if (is_done(w)) /* else it is when it is */
			work_free(w);
	}
}

void mps_imap_free(struct mps_imap *im)
{
	struct mps_pool *p;

	if (im == NULL)
		return;
	p = im->job.pool;
	if (pool_check(p) < 0)
		return;
	work_free(im->giving);
	free_list(im->ready);
	pool_lock(p);
	im->is_gone = true;
	im->job.cancelled = true;
	free_list(im->first);
	dispatch_drop(p, &im->job);
	job_unref(&im->job);
	pool_unlock(p);
}
