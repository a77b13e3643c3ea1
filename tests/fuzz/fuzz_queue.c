/*
 * Bytes are what somebody has written over a queue: the first half of them over its head (but the locks, which the C library
 * trusts), at the offset that two bytes tell, the rest over its ring. Whatever is called then gives a result.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/queue_layout.h"
#include "poke.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RING = 4096, ITEM = 8192, LONG = 200000 };

static struct mps_queue *fresh(void)
{
	struct mps_queue_options o = { .ring_size = RING, .max_item = 1 << 20, .joinable = true };
	static char item[LONG];
	struct mps_queue *q;

	MUST(mps_queue_new(&o, &q) == 0);
	MUST(mps_queue_put(q, item, 100, 0) == 0);
	MUST(mps_queue_put(q, item, LONG, 0) == 0);
	MUST(mps_queue_put(q, item, 1000, 0) == 0);
	return q;
}

static void damage(struct mps_queue *q, const uint8_t *p, size_t n)
{
	struct queue_shared *s = q->s;
	pthread_mutex_t locks[3] = { s->producers.lock, s->consumers.lock, s->done_lock };
	size_t at = n >= 2 ? (p[0] | p[1] << 8) % sizeof(*s) : 0, head;

	if (n < 2)
		return;
	p += 2;
	n -= 2;
	head = n / 2 < sizeof(*s) - at ? n / 2 : sizeof(*s) - at;
	memcpy((char *)s + at, p, head);
	s->producers.lock = locks[0];
	s->consumers.lock = locks[1];
	s->done_lock = locks[2];
	n -= head;
	memcpy(q->ring, p + head, n < RING ? n : RING);
}

static void use(struct mps_queue *q)
{
	static char room[ITEM];
	struct mps_item items[3] = { { room, 10 }, { room, ITEM }, { room, ITEM } };
	size_t n = 0;
	void *p;
	int r;

	mps_queue_size(q);
	for (int i = 0; i < 4; i++) {
		r = mps_queue_put(q, room, (size_t)i * 1000, 0);
		MUST(r <= 0);
		r = mps_queue_get(q, room, sizeof(room), &n, 0);
		MUST(r != 0 || n <= sizeof(room));
		r = mps_queue_get_new(q, &p, &n, 0);
		if (r == 0)
			free(p);
	}
	MUST(mps_queue_put_many(q, items, 3, 0) <= 3);
	MUST(mps_queue_get_many(q, items, 3, 0) <= 3);
	mps_queue_task_done(q);
	mps_queue_join(q, 0);
	mps_queue_close(q);
	MUST(mps_queue_put(q, room, 1, 0) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mps_queue *q = fresh(), *again;
	int fd = fcntl(queue_fileno(q), F_DUPFD_CLOEXEC, 0), r;

	damage(q, data, size);
	MUST(fd >= 0);
	r = queue_from_fd(fd, &again);
	if (r == 0) {
		use(again);
		mps_queue_free(again);
	} else {
		close(fd);
	}
	mps_queue_free(q);
	return 0;
}
