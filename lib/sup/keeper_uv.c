/*
 * The supervisor's end of the socket to the keeper. What the socket does not take waits in line, so a thousand starts at
 * once are no more than a queue; what arrives goes to unit_on_message().
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/wire.h"
#include "base/xalloc.h"
#include "proc/spawn.h"
#include "proc/tag.h"
#include "sup/sup_uv.h"

enum { RETRY_MS = 20 };

struct queued {
	struct queued *next;
	char *bytes;
	size_t n;
	size_t n_fds;
	int fds[];
};

static void queued_free(struct queued *q)
{
	for (size_t i = 0; i < q->n_fds; i++)
		fd_close(&q->fds[i]);
	free(q->bytes);
	free(q);
}

static void on_poll(uv_poll_t *poll, int status, int events);
static void flush(struct link *l);

static void watch(struct link *l, bool writing)
{
	if (l->writing == writing)
		return;
	l->writing = writing;
	uv_poll_start(&l->poll, UV_READABLE | (writing ? UV_WRITABLE : 0), on_poll);
}

static bool is_full(int r)
{
	return r == -EAGAIN || r == -ENOBUFS || r == -ENOMEM;
}

/* Too many descriptors are under way for this user (unix(7)): room comes when they are taken, which nobody tells. */
static bool must_pause(int r)
{
	return r == -ETOOMANYREFS || r == -EMFILE || r == -ENFILE;
}

/* The line takes copies of the descriptors, since the caller closes its own. 0 or -errno. */
static int enqueue(struct link *l, const struct buf *b, const int *fds, size_t n_fds)
{
	struct queued *q = xcalloc(1, sizeof(*q) + n_fds * sizeof(int));

	q->bytes = xmalloc(b->len);
	memcpy(q->bytes, b->p, b->len);
	q->n = b->len;
	for (; q->n_fds < n_fds; q->n_fds++) {
		q->fds[q->n_fds] = fcntl(fds[q->n_fds], F_DUPFD_CLOEXEC, 0);
		if (q->fds[q->n_fds] < 0) {
			int r = -errno;

			queued_free(q);
			return r;
		}
	}
	if (l->last != NULL)
		l->last->next = q;
	else
		l->first = q;
	l->last = q;
	watch(l, true);
	return 0;
}

static void on_retry(uv_timer_t *timer)
{
	struct sup *s = timer->data;

	flush(&s->link);
}

static void flush(struct link *l)
{
	while (l->first != NULL) {
		struct queued *q = l->first;
		struct iovec iov = { q->bytes, q->n };

		int r = fd_send(l->fd, &iov, 1, q->fds, q->n_fds);

		if (is_full(r)) {
			watch(l, true);
			return;
		}
		if (must_pause(r)) {
			watch(l, false);
			uv_timer_start(&l->retry, on_retry, RETRY_MS, 0);
			return;
		}
		l->first = q->next;
		if (l->first == NULL)
			l->last = NULL;
		queued_free(q);
	}
	watch(l, false);
	unit_start_waiting(l->poll.data);
}

static int keeper_link_put(struct link *l, const struct buf *b, const int *fds, size_t n_fds)
{
	struct iovec iov = { b->p, b->len };
	int r = -EAGAIN;

	if (b->failed)
		xalloc_failed();
	if (l->first == NULL)
		r = fd_send(l->fd, &iov, 1, fds, n_fds);
	if (!is_full(r) && !must_pause(r))
		return r;
	r = enqueue(l, b, fds, n_fds);
	if (r == 0)
		flush(l);
	return r;
}

static void send_batch(struct link *l)
{
	if (l->batch.len == 0 || l->fd < 0)
		return;
	keeper_link_put(l, &l->batch, NULL, 0);
	buf_reset(&l->batch);
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct sup *s = prepare->data;

	send_batch(&s->link);
	activity_flush(&s->log);
}

int keeper_link_send(struct sup *s, const struct keeper_message *m, const struct buf *rest,
		     const int *fds, size_t n_fds)
{
	struct keeper_message head = *m;
	AUTO_CLOSE int memfd = -1;
	AUTO_BUF b = BUF_INIT;
	int all[KEEPER_FDS_MAX];

	if (s->link.fd < 0)
		return 0; /* the keeper is gone, and that ends everything */
	if (rest == NULL && n_fds == 0) {
		keeper_encode(m, &s->link.batch);
		if (s->link.batch.len > KEEPER_MSG_MAX / 2)
			send_batch(&s->link);
		return 0;
	}
	send_batch(&s->link);
	if (n_fds > 0)
		memcpy(all, fds, n_fds * sizeof(*fds));
	keeper_encode(&head, &b);
	if (rest != NULL && b.len + rest->len > KEEPER_MSG_MAX) {
		memfd = mps_seal(rest->p, rest->len);
		if (memfd < 0)
			return memfd;
		all[n_fds++] = memfd;
		head.type = KEEPER_START_LONG;
		rest = NULL;
		buf_reset(&b);
		keeper_encode(&head, &b);
	}
	if (rest != NULL)
		buf_add(&b, rest->p, rest->len);
	return keeper_link_put(&s->link, &b, all, n_fds);
}

static void on_keeper_lost(struct sup *s)
{
	s->keeper_lost = true;
	keeper_link_close(s);
	uv_stop(&s->loop);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct sup *s = poll->data;
	static char in[KEEPER_MSG_MAX];
	int fds[KEEPER_FDS_MAX];

	(void)status;
	(void)events;
	if (s->link.first != NULL)
		flush(&s->link);
	/* Bounded, so that a burst of exits does not starve the clients. */
	for (int i = 0; i < 256 && s->link.fd >= 0; i++) {
		struct keeper_message m;
		struct wire w = { in, 0, false };
		size_t n_fds;
		bool cut;
		ssize_t n = fd_recv(s->link.fd, in, sizeof(in), fds, KEEPER_FDS_MAX, &n_fds, &cut);

		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			on_keeper_lost(s);
			return;
		}
		w.n = (size_t)n;
		while (w.n > 0 && keeper_decode_next(&w, false, &m) == 0)
			if (m.type == KEEPER_KEPT)
				takeover_on_kept(s, &m, fds, n_fds);
			else
				unit_on_message(s, &m);
		for (size_t f = 0; f < n_fds; f++)
			fd_close(&fds[f]);
	}
}

int keeper_link_open(struct sup *s, int fd)
{
	int r, size = 1 << 20;

	s->link.fd = fd;
	/* More room means fewer turns when everything starts at once; the kernel may give less. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r = uv_poll_init(&s->loop, &s->link.poll, fd);
	if (r < 0)
		return r;
	s->link.poll.data = s;
	uv_timer_init(&s->loop, &s->link.retry);
	s->link.retry.data = s;
	uv_prepare_init(&s->loop, &s->link.prepare);
	s->link.prepare.data = s;
	uv_prepare_start(&s->link.prepare, on_prepare);
	return uv_poll_start(&s->link.poll, UV_READABLE, on_poll);
}

/* At the end, when the loop no longer runs: what waits in line must still reach the keeper. */
static void drain(struct link *l)
{
	struct pollfd p = { .fd = l->fd, .events = POLLOUT };

	while (l->first != NULL && poll(&p, 1, 1000) > 0 && (p.revents & POLLOUT))
		flush(l);
}

void keeper_link_flush(struct sup *s)
{
	send_batch(&s->link);
	drain(&s->link);
}

void keeper_link_close(struct sup *s)
{
	struct link *l = &s->link;

	if (l->fd < 0)
		return;
	send_batch(l);
	drain(l);
	buf_fini(&l->batch);
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_close((uv_handle_t *)&l->retry, NULL);
	while (l->first != NULL) {
		struct queued *q = l->first;

		l->first = q->next;
		queued_free(q);
	}
	l->last = NULL;
	uv_close((uv_handle_t *)&l->poll, NULL);
	fd_close(&l->fd);
}
