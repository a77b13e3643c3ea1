/*
 * When snapshots are written: about a second after a change, by a thread, so that a slow disk holds up nobody; and in the end. Changes of
 * queues in shared memory are looked for as often while anybody has one.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "manager/service_uv.h"
#include "manager/snapshot.h"

#define PAUSE MPS_SECOND
/* However large it is: most of the time is for others. */
enum { SHARE = 20 };

static void say(struct service *w, const char *text)
{
	if (w->o->say != NULL)
		w->o->say(text);
}

static bool has_queues(const struct server *v)
{
	for (const struct object *o = v->objects; o != NULL; o = o->next)
		if (o->flags != 0 && o->references > 1 && o->shared != NULL &&
		    o->shared->queue != NULL)
			return true;
	return false;
}

/* Said once, and when it is over. */
static void report(struct service *w, int r)
{
	if (r < 0 && !w->snapshot.has_failed)
		say(w, w->snapshot.err.text);
	if (r == 0 && w->snapshot.has_failed)
		say(w, "the snapshot is written again");
	w->snapshot.has_failed = r < 0;
}

static void on_work(uv_work_t *work)
{
	struct service *w = work->data;

	w->snapshot.result = snapshot_write(w->o->snapshot, w->snapshot.text.p,
					    w->snapshot.text.len, &w->snapshot.err);
}

static void on_written(uv_work_t *work, int status)
{
	struct service *w = work->data;
	int r = status < 0 ? status : w->snapshot.result;

	w->snapshot.is_written = false;
	buf_fini(&w->snapshot.text);
	report(w, r);
	w->v.changed |= r < 0;
	snapshot_due(w);
}

static int encode(struct service *w)
{
	int64_t from = mps_now().ns;
	int r;

	buf_fini(&w->snapshot.text);
	r = snapshot_encode(&w->v, &w->snapshot.text);
	w->snapshot.pause = SHARE * (mps_now().ns - from);
	if (r < 0)
		return err_set(&w->snapshot.err, r, "snapshot %s: %s", w->o->snapshot,
			       strerror(-r));
	w->v.changed = false;
	return 0;
}

static void on_change(uv_timer_t *timer)
{
	struct service *w = timer->data;
	int r;

	w->v.looks = false;
	if (w->v.changed || snapshot_is_stale(&w->v)) {
		r = encode(w);
		if (r == 0) {
			w->snapshot.work.data = w;
			r = uv_queue_work(&w->loop, &w->snapshot.work, on_work, on_written);
			w->snapshot.is_written = r == 0;
		}
		if (r < 0) {
			w->v.changed = true;
			if (r != -ETIMEDOUT) /* others were at a queue all the time */
				report(w, r);
		}
	}
	w->v.looks |= has_queues(&w->v);
	snapshot_due(w);
}

void snapshot_due(struct service *w)
{
	int64_t pause = w->snapshot.pause > PAUSE ? w->snapshot.pause : PAUSE;

	if (w->o->snapshot == NULL) {
		w->v.changed = w->v.looks = false;
		return;
	}
	if ((w->v.changed || w->v.looks) && !w->snapshot.is_written &&
	    !uv_is_active((uv_handle_t *)&w->change) && !uv_is_closing((uv_handle_t *)&w->change))
		uv_timer_start(&w->change, on_change, (uint64_t)(pause / MPS_NS_PER_MS), 0);
}

int snapshot_load(struct service *w, struct err *err)
{
	const char *path = w->o->snapshot;
	AUTO_FREE char *p = NULL;
	size_t n;
	int r;

	if (path == NULL)
		return 0;
	r = fd_read_file(path, MANAGER_SNAPSHOT_MAX, &p, &n);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_set(err, r, "snapshot %s: %s", path, strerror(-r));
	r = snapshot_decode(&w->v, p, n, err);
	w->v.changed = false;
	return r < 0 ? err_prefix(err, r, "snapshot %s: ", path) : 0;
}

/* One that is being written has to be over first. */
static void wait_for_work(struct service *w)
{
	uv_timer_stop(&w->change);
	while (w->snapshot.is_written)
		uv_run(&w->loop, UV_RUN_ONCE);
	uv_timer_stop(&w->change);
}

int snapshot_end(struct service *w, struct err *err)
{
	int r = 0;

	if (w->o->snapshot == NULL)
		return 0;
	wait_for_work(w);
	if (w->v.changed || snapshot_is_stale(&w->v)) {
		r = encode(w);
		if (r == 0)
			r = snapshot_write(w->o->snapshot, w->snapshot.text.p, w->snapshot.text.len,
					   &w->snapshot.err);
		if (r < 0)
			*err = w->snapshot.err;
	}
	buf_fini(&w->snapshot.text);
	return r;
}
