/*
 * queue, joinable_queue: packed values as the items of a mps_queue, which is the second segment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/fd.h"
#include "ipc/queue.h"
#include "manager/shared.h"

/* Without a limit of items a queue that nobody reads shall hold a good deal. */
enum { RING = 1 << 20 };

struct memory {
	struct shared_head head;
};

/* [], [max_items], [max_items, bytes of the ring] */
static int options_of(struct mps_call *call, struct mps_queue_options *ret)
{
	int64_t items = 0, ring = RING;

	if (call->n_args > 0 && shared_args(call, "[]") < 0 &&
	    shared_args(call, "[i]", &items) < 0 && shared_args(call, "[ii]", &items, &ring) < 0)
		return -EINVAL;
	if (items < 0 || items > UINT32_MAX || ring < 0)
		return -EINVAL;
	ret->max_items = (uint32_t)items;
	ret->ring_size = (size_t)ring;
	return call->room != 0 && ret->ring_size > call->room ? -EDQUOT : 0;
}

static int make(const struct shared_row *row, struct mps_call *call, int *ret_fds, size_t *ret_n)
{
	struct mps_queue_options o = { .joinable = row->kind == SHARED_JOINABLE_QUEUE };
	struct mps_queue *q;
	struct memory *m;
	int r = options_of(call, &o);

	if (r == 0)
		r = mps_queue_new(&o, &q);
	if (r < 0)
		return r;
	ret_fds[1] = fcntl(queue_fileno(q), F_DUPFD_CLOEXEC, 0);
	r = ret_fds[1] < 0 ? -errno : shared_make(row, &ret_fds[0], &m);
	mps_queue_free(q);
	if (r < 0) {
		fd_close(&ret_fds[1]);
		return r;
	}
	shared_unmap(row, m);
	*ret_n = 2;
	return 0;
}

static int open_second(struct shared *s, int fd)
{
	return queue_from_fd(fd, &s->queue);
}

/* ---------------------------------------------------------------------------------------------- methods */

int shared_put(struct shared *s, const void *value, size_t n, int64_t timeout)
{
	int r = s->queue == NULL ? -ENOSYS : value_check(value, n);

	return r < 0 ? r : mps_queue_put(s->queue, value, n, timeout);
}

int shared_get(struct shared *s, void **ret_value, size_t *ret_n, int64_t timeout)
{
	void *p;
	size_t n;
	int r = s->queue == NULL ? -ENOSYS : mps_queue_get_new(s->queue, &p, &n, timeout);

	if (r < 0)
		return r;
	if (value_check(p, n) < 0) {
		free(p);
		return -EBADMSG;
	}
	*ret_value = p;
	*ret_n = n;
	return 0;
}

static int put(void *self, struct mps_call *call)
{
	struct shared *s = self;
	const void *p;
	size_t n;
	int r = shared_args(call, "[v]", &p, &n);

	if (r == 0)
		r = mps_queue_put(s->queue, p, n, shared_left(call));
	return shared_late(call, r);
}

/* Straight behind what is in the reply. */
static int get_into(struct shared *s, struct buf *b, int64_t timeout)
{
	size_t n = 256;
	int r;

	do {
		size_t room = n;
		char *p = buf_reserve(b, room);

		if (p == NULL)
			return -ENOMEM;
		r = mps_queue_get(s->queue, p, room, &n, timeout);
	} while (r == -ENOBUFS);
	if (r < 0)
		return r;
	if (value_check(b->p + b->len, n) < 0)
		return -EBADMSG;
	b->len += n;
	return 0;
}

static int get(void *self, struct mps_call *call)
{
	return shared_late(call, get_into(self, call->reply, shared_left(call)));
}

static int size(void *self, struct mps_call *call)
{
	return shared_reply_int(call, (int64_t)mps_queue_size(((struct shared *)self)->queue));
}

static int close_it(void *self, struct mps_call *call)
{
	(void)call;
	return mps_queue_close(((struct shared *)self)->queue);
}

static int task_done(void *self, struct mps_call *call)
{
	(void)call;
	return mps_queue_task_done(((struct shared *)self)->queue);
}

static int join(void *self, struct mps_call *call)
{
	int r = mps_queue_join(((struct shared *)self)->queue, shared_left(call));

	return shared_late(call, r);
}

/* What was got for a client that had gone by then: at the end, but not lost, and not counted twice. */
static int put_back(void *self, struct mps_call *call)
{
	int r = put(self, call);

	if (r == 0 && ((struct shared *)self)->row->kind == SHARED_JOINABLE_QUEUE)
		r = task_done(self, call);
	return r;
}

static struct mps_queue *queue_of(void *self)
{
	return ((struct shared *)self)->queue;
}

static const struct mps_method methods[] = {
	{ "size", size },
	{ "put", put },
	{ "get", get },
	{ "close", close_it },
	{ "task_done", task_done },
	{ "join", join },
	{ "put_back", put_back },
};

SHARED_TYPE(queue, &shared_queue_rows[0])
SHARED_TYPE(joinable_queue, &shared_queue_rows[1])

#define ROW(name_, kind_)                                                                          \
	SHARED_ROW(name_, kind_, methods, sizeof(struct memory)),                                  \
		.t.queue = queue_of, .open = open_second, .is_waited_for = true
const struct shared_row shared_queue_rows[2] = {
	{ ROW(queue, SHARED_QUEUE) },
	{ ROW(joinable_queue, SHARED_JOINABLE_QUEUE) },
};
