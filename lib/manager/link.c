/*
 * Requests of many threads over one descriptor: queueing, sending, and waiting for answers.
 *
 * All who have something to send write what is there, theirs and others'. Of those who wait for an answer one reads. Whoever
 * stops doing either wakes one who waits, to take over what there is to do. Nothing is ever sent in part by one who then
 * gives up: what is begun stays in `sending` for the next.
 */
#include "manager/link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "ipc/connection.h"
#include "ipc/futex.h"

/* So much is sent before anybody waits; with so much unsent nobody adds to it. */
enum { SEND_FROM = 16 << 10, UNSENT_MAX = 1 << 20, KEEP_MAX = 1 << 20 };
/* How long one waits for what its cancelling comes to. */
#define GRACE (50 * MPS_NS_PER_MS)

_Atomic unsigned link_forks;

static void on_fork(void)
{
	atomic_fetch_add(&link_forks, 1);
}

__attribute__((constructor)) static void know_of_forks(void)
{
	pthread_atfork(NULL, NULL, on_fork);
}

/* Asked for once a thread: it is a system call. */
static uint32_t own_thread(void)
{
	static __thread uint32_t tid;
	static __thread unsigned forks;

	if (tid == 0 || forks != link_forks) {
		forks = link_forks;
		tid = (uint32_t)gettid();
	}
	return tid;
}

/* ---------------------------------------------------------------------------------------------- slots */

/* By the lock. */
static int slot_take(struct link *l, struct link_pending *p)
{
	if (l->n_free == 0 && l->n_slots == l->room) {
		uint32_t room = l->room == 0 ? 64 : 2 * l->room;
		struct link_pending **slots = realloc(l->slots, room * sizeof(*slots));
		uint32_t *unused;

		if (slots == NULL)
			return -ENOMEM;
		l->slots = slots;
		unused = realloc(l->free, room * sizeof(*unused));
		if (unused == NULL)
			return -ENOMEM;
		l->free = unused;
		l->room = room;
	}
	p->seq = 1 + (l->n_free > 0 ? l->free[--l->n_free] : l->n_slots++);
	l->slots[p->seq - 1] = p;
	return 0;
}

static void slot_give(struct link *l, const struct link_pending *p)
{
	l->slots[p->seq - 1] = NULL;
	l->free[l->n_free++] = p->seq - 1;
}

static void pending_free(struct link_pending *p)
{
	for (size_t i = 0; i < p->n_fds; i++)
		if (p->fds[i] >= 0)
			close(p->fds[i]);
	free(p->p);
	free(p);
}

/* ---------------------------------------------------------------------------------------------- queueing */

static void add_request(struct link *l, const struct link_request *q, const struct link_pending *p)
{
	uint8_t header[FRAME_HEADER_MAX];
	struct wire_request head = {
		.seq = htole32(p->seq),
		.handle = htole32(q->handle),
		.method = htole16(q->method),
		.thread = htole32(p->thread),
		.timeout = (int64_t)htole64((uint64_t)q->timeout),
	};

	buf_add(&l->out, header, frame_encode(header, sizeof(head) + q->n));
	buf_add(&l->out, &head, sizeof(head));
	if (q->n > 0)
		buf_add(&l->out, q->args, q->n);
}

int link_queue(struct link *l, const struct link_request *q, struct link_pending **ret)
{
	size_t len = l->out.len;
	struct link_pending *p;
	int r;

	if (l->dead < 0)
		return l->dead;
	if (q->n > MANAGER_FRAME_MAX - sizeof(struct wire_request))
		return -EMSGSIZE;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	p->thread = own_thread();
	p->handle = q->handle;
	p->undo = q->undo;
	p->undo_method = q->undo_method;
	r = slot_take(l, p);
	if (r < 0) {
		free(p);
		return r;
	}
	add_request(l, q, p);
	if (l->out.failed) {
		slot_give(l, p);
		free(p);
		l->out.failed = false;
		l->out.len = len;
		return -ENOMEM;
	}
	*ret = p;
	return 0;
}

/* Nobody wants it. */
static void queue_alone(struct link *l, const struct link_request *q)
{
	struct link_pending *p;

	if (link_queue(l, q, &p) == 0)
		p->abandoned = true;
}

/* It was done, but for nobody. */
static void undo(struct link *l, const struct link_pending *p)
{
	AUTO_BUF args = BUF_INIT;
	struct link_request q = {
		.handle = p->handle,
		.method = p->undo_method,
		.timeout = INT64_MAX,
	};

	if (p->undo == UNDO_PUT_BACK) {
		buf_addc(&args, (char)0x91);
		buf_add(&args, p->p, p->n);
		q.args = args.p;
		q.n = args.len;
	}
	if (args.failed)
		return;
	queue_alone(l, &q);
}

static void forget(struct link *l, struct link_pending *p)
{
	if (p->undo != UNDO_NOTHING && p->status >= 0 && !p->taken && l->dead == 0)
		undo(l, p);
	pending_free(p);
}

void link_answered(struct link *l, struct link_pending *p)
{
	slot_give(l, p);
	p->done = true;
	if (p->waiter != NULL) {
		atomic_store(&p->waiter->woken, 1);
		futex_wake(&p->waiter->woken, 1);
	}
	if (p->abandoned)
		forget(l, p);
}

/* ---------------------------------------------------------------------------------------------- sending */

static size_t unsent(const struct link *l)
{
	return l->out.len + l->sending.len - l->sent;
}

static void died(struct link *l, int why)
{
	if (l->dead < 0)
		return;
	l->dead = why;
	shutdown(l->s.fd, SHUT_RDWR);
	for (uint32_t i = 0; i < l->n_slots; i++) {
		if (l->slots[i] == NULL)
			continue;
		l->slots[i]->status = why;
		link_answered(l, l->slots[i]);
	}
	for (struct link_waiter *w = l->waiters; w != NULL; w = w->next) {
		atomic_store(&w->woken, 1);
		futex_wake(&w->woken, 1);
	}
}

void link_kill(struct link *l, int why)
{
	pthread_mutex_lock(&l->lock);
	died(l, why);
	pthread_mutex_unlock(&l->lock);
}

/* What is begun is sent first. Memory for very much is let go. */
static void next_batch(struct link *l)
{
	struct buf done = l->sending;

	l->sending = l->out;
	l->sent = 0;
	buf_reset(&done);
	if (done.cap > KEEP_MAX)
		buf_fini(&done);
	l->out = done;
}

/* All that can be written now, if nobody else is at it. False: it is not all. */
static bool flush(struct link *l)
{
	while (unsent(l) > 0 && l->dead == 0) {
		ssize_t n;

		if (l->is_sending)
			return false;
		if (l->sent == l->sending.len)
			next_batch(l);
		l->is_sending = true;
		pthread_mutex_unlock(&l->lock);
		n = send(l->s.fd, l->sending.p + l->sent, l->sending.len - l->sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			n = -errno;
		pthread_mutex_lock(&l->lock);
		l->is_sending = false;
		if (n > 0)
			l->sent += (size_t)n;
		else if (n == -EAGAIN)
			return false;
		else if (n != -EINTR)
			died(l, -ECONNRESET);
	}
	return true;
}

/* ---------------------------------------------------------------------------------------------- waiting */

static void sleep_as(struct link *l, struct link_pending *p, struct mps_time until)
{
	struct link_waiter w = { .next = l->waiters }, **at = &l->waiters;

	l->waiters = &w;
	if (p != NULL)
		p->waiter = &w;
	pthread_mutex_unlock(&l->lock);
	while (atomic_load(&w.woken) == 0 && futex_wait(&w.woken, 0, until) == 0)
		;
	pthread_mutex_lock(&l->lock);
	if (p != NULL)
		p->waiter = NULL;
	while (*at != &w)
		at = &(*at)->next;
	*at = w.next;
}

static void lead(struct link *l, bool writes, struct mps_time until)
{
	int r;

	l->is_led = true;
	pthread_mutex_unlock(&l->lock);
	r = link_read(l, writes, until);
	pthread_mutex_lock(&l->lock);
	l->is_led = false;
	if (r == 0)
		r = link_take_in(l);
	if (r < 0 && r != -ETIMEDOUT)
		died(l, r);
}

static void wait_to_write(struct link *l, struct mps_time until)
{
	l->is_sending = true;
	pthread_mutex_unlock(&l->lock);
	stream_wait(l->s.fd, POLLOUT, until);
	pthread_mutex_lock(&l->lock);
	l->is_sending = false;
}

/* Somebody has to do what we stop doing. */
static void hand_over(struct link *l)
{
	struct link_waiter *w = l->waiters;

	if (w == NULL || (l->is_led && (unsent(l) == 0 || l->is_sending)))
		return;
	while (w->next != NULL && atomic_load(&w->woken) != 0)
		w = w->next;
	atomic_store(&w->woken, 1);
	futex_wake(&w->woken, 1);
}

static bool is_over(struct mps_time until)
{
	return until.ns != INT64_MAX && mps_now().ns >= until.ns;
}

/* Until it is answered, or, where there is none, until there is room for more: 0, -ETIMEDOUT, and -errno of the latter. */
static int pump(struct link *l, struct link_pending *p, struct mps_time until)
{
	int r = 0;

	for (;;) {
		bool blocked = !flush(l) && !l->is_sending;

		if (p != NULL ? p->done : l->dead < 0 || unsent(l) < UNSENT_MAX)
			break;
		if (is_over(until)) {
			r = -ETIMEDOUT;
			break;
		}
		if (!l->is_led)
			lead(l, blocked, until);
		else if (blocked)
			wait_to_write(l, until);
		else
			sleep_as(l, p, until);
	}
	hand_over(l);
	return r < 0 ? r : p == NULL ? l->dead : 0;
}

/* ---------------------------------------------------------------------------------------------- requests */

int link_send(struct link *l, const struct link_request *q, struct link_pending **ret,
	      struct mps_time until)
{
	int r = 0;

	pthread_mutex_lock(&l->lock);
	if (unsent(l) >= UNSENT_MAX)
		r = pump(l, NULL, until);
	if (r == 0)
		r = link_queue(l, q, ret);
	if (r == 0 && unsent(l) >= SEND_FROM)
		flush(l);
	pthread_mutex_unlock(&l->lock);
	return r;
}

void link_tell(struct link *l, const struct link_request *q)
{
	pthread_mutex_lock(&l->lock);
	queue_alone(l, q);
	flush(l);
	hand_over(l);
	pthread_mutex_unlock(&l->lock);
}

/* With the lock. */
static void cancel(struct link *l, const struct link_pending *p)
{
	/* [seq] */
	uint8_t args[6] = { 0x91,
			    0xce,
			    (uint8_t)(p->seq >> 24),
			    (uint8_t)(p->seq >> 16),
			    (uint8_t)(p->seq >> 8),
			    (uint8_t)p->seq };
	struct link_request q = { .method = WIRE_CANCEL, .args = args, .n = sizeof(args) };

	queue_alone(l, &q);
}

int link_await(struct link *l, struct link_pending *p, struct mps_time until)
{
	int r;

	pthread_mutex_lock(&l->lock);
	r = pump(l, p, until);
	if (r == -ETIMEDOUT) {
		cancel(l, p);
		r = pump(l, p, (struct mps_time){ mps_now().ns + GRACE });
	}
	pthread_mutex_unlock(&l->lock);
	if (r < 0)
		return r;
	p->taken = true;
	return p->status == -ECANCELED ? -ETIMEDOUT : p->status;
}

void link_drop(struct link *l, struct link_pending *p)
{
	pthread_mutex_lock(&l->lock);
	p->abandoned = true;
	if (p->done)
		forget(l, p);
	else
		cancel(l, p);
	flush(l);
	hand_over(l);
	pthread_mutex_unlock(&l->lock);
}
