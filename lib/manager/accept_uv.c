/*
 * Who comes: accepting, peers that do not show the key in time, and what happens where there is no room.
 *
 * When the process' table of descriptors is full a spare one is given up for a moment, so that who comes is told and let go.
 * Where even that does not help nobody is accepted until somebody has gone, or some time has.
 */
#include <errno.h>
#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "manager/service_uv.h"

enum { ACCEPT_AT_ONCE = 64 };
#define HANDSHAKE (5 * MPS_SECOND)
#define BREATH MPS_SECOND /* until it is tried again, where nothing else tells that there is room */

static int64_t handshake(const struct service *w)
{
	return w->o->handshake > 0 && w->o->handshake < INT64_MAX / 2 ? w->o->handshake : HANDSHAKE;
}

static bool is_full(const struct service *w)
{
	return w->pending.n >= MANAGER_PENDING_MAX;
}

/* So long one of them is safe from having to make room for the next. */
static int64_t grace_end(const struct peer *p)
{
	return p->since.ns + LISTENER_GRACE_MS * MPS_NS_PER_MS;
}

static void on_late(uv_timer_t *timer)
{
	struct service *w = timer->data;
	int64_t now = mps_now().ns;

	while (w->pending.first != NULL && w->pending.first->since.ns + handshake(w) <= now)
		peer_close(w->pending.first);
	if (w->is_parked && is_full(w) && grace_end(w->pending.first) <= now)
		peer_close(w->pending.first);
	accept_resume(w);
	accept_set_timer(w);
	peers_send(w);
}

void accept_set_timer(struct service *w)
{
	int64_t now = mps_now().ns, at = INT64_MAX;

	if (w->pending.first != NULL)
		at = w->pending.first->since.ns + handshake(w);
	if (w->is_parked && is_full(w) && grace_end(w->pending.first) < at)
		at = grace_end(w->pending.first);
	if (w->is_parked && !is_full(w) && now + BREATH < at)
		at = now + BREATH;
	if (at == INT64_MAX)
		uv_timer_stop(&w->late);
	else
		uv_timer_start(&w->late, on_late,
			       at <= now ? 0 : (uint64_t)((at - now) / MPS_NS_PER_MS + 1), 0);
}

static void park(struct service *w)
{
	w->is_parked = true;
	uv_poll_stop(&w->listener);
	accept_set_timer(w);
}

static int spare_open(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* An answer to no request. */
static void say_busy(int fd)
{
	struct wire_answer head = { .status = (int32_t)htole32((uint32_t)-EBUSY) };
	uint32_t length = htobe32(sizeof(head));
	char frame[sizeof(length) + sizeof(head)];

	memcpy(frame, &length, sizeof(length));
	memcpy(frame + sizeof(length), &head, sizeof(head));
	if (send(fd, frame, sizeof(frame), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		shutdown(fd, SHUT_WR);
}

/* False: it did not help. */
static bool refuse(struct service *w)
{
	bool has_spare = w->spare >= 0;
	int fd;

	fd_close(&w->spare);
	fd = has_spare ? accept4(w->place.fd, NULL, NULL, SOCK_CLOEXEC) : -1;
	if (fd >= 0)
		say_busy(fd);
	has_spare = fd >= 0 || (has_spare && errno == EAGAIN);
	fd_close(&fd);
	w->spare = spare_open();
	return has_spare && w->spare >= 0;
}

/* False: nobody else is there, or nobody can be let in. */
static bool accept_one(struct service *w)
{
	int fd;

	if (is_full(w)) {
		if (grace_end(w->pending.first) > mps_now().ns) {
			park(w);
			return false;
		}
		peer_close(w->pending.first);
	}
	fd = accept4(w->place.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		peer_come(w, fd);
		return true;
	}
	if (errno == EAGAIN)
		return false;
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		if (refuse(w))
			return true;
		park(w);
		return false;
	}
	return true; /* what went wrong is that one's (accept(2)) */
}

static void on_listener(uv_poll_t *poll, int status, int events)
{
	struct service *w = poll->data;

	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPT_AT_ONCE && accept_one(w); i++)
		;
	if (w->pending.n > 0)
		accept_set_timer(w);
	peers_send(w);
}

void accept_resume(struct service *w)
{
	if (!w->is_parked || is_full(w))
		return;
	if (w->spare < 0)
		w->spare = spare_open();
	if (uv_is_closing((uv_handle_t *)&w->listener) ||
	    uv_poll_start(&w->listener, UV_READABLE, on_listener) < 0)
		return;
	w->is_parked = false;
}

int accept_start(struct service *w)
{
	w->spare = spare_open();
	w->is_parked = true;
	accept_resume(w);
	return w->is_parked ? -EIO : 0;
}
