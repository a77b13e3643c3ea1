/*
 * Waiting for several things at once.
 *
 * A connection is ready when a message is there as a whole, and a part of it may be in our memory already: so each is asked before
 * and after poll(2).
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ipc/connection.h"
#include "ipc/futex.h"

#define FEW 32 /* need no memory of the heap */

static int fd_of(const struct mps_waitable *w)
{
	if (w->connection != NULL)
		return mps_connection_fileno(w->connection);
	return w->process != NULL ? mps_process_sentinel(w->process) : w->fd;
}

/* Asks those whose descriptor has something, or all connections. How many are ready, or -errno. */
static int ask(struct mps_waitable *list, const struct pollfd *p, size_t n, bool all)
{
	int ready = 0;

	for (size_t i = 0; i < n; i++) {
		struct mps_waitable *w = &list[i];
		int r = p[i].revents != 0;

		if (p[i].revents & POLLNVAL)
			return -EBADF;
		if (w->connection != NULL && (r == 1 || all))
			r = mps_connection_poll(w->connection, 0);
		if (r < 0)
			return r;
		w->ready = w->ready || r == 1;
		ready += w->ready;
	}
	return ready;
}

/* Until then there can only be what poll(2) tells of. */
static struct mps_time next_look(const struct mps_waitable *list, size_t n, struct mps_time until)
{
	struct mps_time look = { mps_now().ns + CONNECTION_LOOK_NS };

	if (until.ns <= look.ns)
		return until;
	for (size_t i = 0; i < n; i++)
		if (list[i].connection != NULL && list[i].connection->other != NULL &&
		    connection_is_within(list[i].connection))
			return look;
	return until;
}

int mps_wait(struct mps_waitable *list, size_t n, int64_t timeout)
{
	struct mps_time until = until_of(timeout);
	struct pollfd few[FEW];
	AUTO_FREE struct pollfd *many = n > FEW ? calloc(n, sizeof(*many)) : NULL;
	struct pollfd *p = n > FEW ? many : few;
	int ready, r;

	if (p == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		p[i] = (struct pollfd){ .fd = fd_of(&list[i]), .events = POLLIN };
		list[i].ready = false;
		if (p[i].fd < 0)
			return -EBADF;
	}
	ready = ask(list, p, n, true);
	while (ready >= 0) {
		/* If some are ready the others are looked at, too. */
		struct mps_time then =
			ready > 0 ? (struct mps_time){ 0 } : next_look(list, n, until);

		r = stream_poll(p, n, then);
		if (r < 0 || (r == 0 && (ready > 0 || then.ns == until.ns)))
			return r < 0 ? r : ready;
		ready = ask(list, p, n, r == 0);
		if (ready > 0)
			break;
	}
	return ready;
}
