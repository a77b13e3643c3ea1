/*
 * Messages from the supervisor: read, decoded and handed to whom they concern.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/wire.h"
#include "keeper/internal.h"
#include "keeper/tracker.h"

static void on_hello(struct keeper *k, const struct keeper_message *m)
{
	k->orphan_grace = m->time;
	k->on_crash = m->on_crash;
	k->unlink_size = m->rest_size;
	if (k->unlink_size > 0)
		memcpy(k->unlink_list, m->rest, m->rest_size);
	if (m->text != NULL)
		track_open(k, m->text);
	boss_on_hello(k, m);
}

static void on_start(struct keeper *k, const struct keeper_message *m, bool cut)
{
	struct wire w = { m->rest, m->rest_size, false };
	bool is_long = m->type == KEEPER_START_LONG;
	struct mps_spawn spawn;
	size_t size = 0;
	void *map = NULL;
	int r = 0;

	if (cut) { /* our table was full: the kernel dropped descriptors */
		slot_refuse(k, &m->start, MPS_STEP_RECEIVE, EMFILE);
		return;
	}
	if (is_long) {
		r = k->n_fds > 0 ? mps_unseal(k->fds[k->n_fds - 1], KEEPER_SPAWN_MAX, &map, &size)
				 : -EBADMSG;
		w = (struct wire){ map, size, false };
	}
	if (r == 0)
		r = mps_spawn_decode(&w, k->n_fds - is_long, &k->scratch, &spawn);
	if (r == 0)
		slot_start(k, &m->start, &spawn, !is_long);
	else
		slot_refuse(k, &m->start, MPS_STEP_RECEIVE, -r);
	if (map != NULL)
		munmap(map, size);
}

static void on_signal_message(struct keeper *k, const struct keeper_message *m)
{
	k->conts += m->signal == SIGCONT;
	if (m->instance >= k->n_slots || k->slots[m->instance].gen != m->gen || m->signal == 0)
		return;
	k->slots[m->instance].sent |= UINT64_C(1) << (m->signal - 1);
	slot_signal(k, m->instance, (int)m->signal, m->scope);
}

static void on_name_main(struct keeper *k, const struct keeper_message *m)
{
	if (m->instance < k->n_slots && k->slots[m->instance].gen == m->gen)
		heir_name(k, m->instance, m->pid);
}

static void on_keep(struct keeper *k, const struct keeper_message *m)
{
	for (size_t i = 0; i < k->n_fds; i++)
		keeper_lift(&k->fds[i]);
	slot_keep(k, m->instance, m->first, k->fds, k->n_fds);
	k->n_fds = 0;
}

static void on_forget(struct keeper *k, uint32_t index)
{
	if (index >= k->n_slots || k->slots[index].state != SLOT_IDLE)
		return;
	slot_keep(k, index, 0, NULL, 0);
	track_forget(k, index);
	k->slots[index].gen = 0;
	k->slots[index].reports = 0;
}

static void on_upgrade(struct keeper *k)
{
	int fd = -1;

	if (k->n_fds > 0)
		fd = k->fds[--k->n_fds];
	boss_upgrade(k, fd);
}

static void on_detach(struct keeper *k)
{
	dup2(k->null, STDERR_FILENO);
	boss_close_ready(k);
	if (k->n_fds == 0)
		return;
	fd_close(&k->log_fd);
	k->log_fd = k->fds[--k->n_fds];
	keeper_lift(&k->log_fd);
}

static void on_message(struct keeper *k, const struct keeper_message *m, bool cut)
{
	switch (m->type) {
	case KEEPER_HELLO:
		on_hello(k, m);
		break;
	case KEEPER_START:
	case KEEPER_START_LONG:
		on_start(k, m, cut);
		break;
	case KEEPER_SIGNAL:
		on_signal_message(k, m);
		break;
	case KEEPER_NAME_MAIN:
		on_name_main(k, m);
		break;
	case KEEPER_KEEP:
		on_keep(k, m);
		break;
	case KEEPER_FORGET:
		on_forget(k, m->instance);
		break;
	case KEEPER_EXIT:
		end_begin(k, (int)m->status);
		break;
	case KEEPER_DETACH:
		on_detach(k);
		break;
	case KEEPER_UPGRADE:
		on_upgrade(k);
		break;
	case KEEPER_HEARD:
		track_heard(k, m->count);
		break;
	case KEEPER_DROP_SERVER:
		server_drop(k, m->text);
		break;
	case KEEPER_WELCOME:
	case KEEPER_KEPT:
	case KEEPER_INSTANCE:
	case KEEPER_STARTED:
	case KEEPER_MAIN:
	case KEEPER_FAILED:
	case KEEPER_EXITED:
	case KEEPER_GONE:
	case KEEPER_REAPED:
	case KEEPER_RETIRE:
	case KEEPER_REFUSED:
	case KEEPER_SIGNALLED:
	case KEEPER_SERVER:
	case KEEPER_UNLINKED:
	case KEEPER_OBJECTS:
	case KEEPER_STOPPED:
		break; /* ours to say: the decoder has refused them */
	}
}

/* The messages of one datagram; a malformed one ends it. */
static void on_datagram(struct keeper *k, size_t n, bool cut)
{
	struct wire w = { k->in, n, false };
	struct keeper_message m;

	while (w.n > 0 && keeper_decode_next(&w, true, &m) == 0)
		on_message(k, &m, cut);
}

/* Nothing was received: an empty datagram, or the end? */
static bool has_hung_up(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* A few at a time, so that a thousand starts in a row do not delay an exit. False when there are no more. */
bool dispatch_read(struct keeper *k)
{
	for (int i = 0; i < 8 && k->boss.sock >= 0; i++) {
		bool cut;
		ssize_t n = fd_recv(k->boss.sock, k->in, KEEPER_MSG_MAX, k->fds, KEEPER_FDS_MAX,
				    &k->n_fds, &cut);

		if (n == -EAGAIN)
			return false;
		/* It has died with words of ours unread (unix(7)); what it had said before is behind that. */
		if (n == -ECONNRESET)
			continue;
		if (n == 0 && !has_hung_up(k->boss.sock))
			continue;
		if (n <= 0) { /* its pidfd tells the rest */
			keeper_unwatch(k, &k->boss.sock);
			front_on_gone(k);
			return false;
		}
		on_datagram(k, (size_t)n, cut);
		slot_release_files(k, false);
		for (size_t f = 0; f < k->n_fds; f++)
			fd_close(&k->fds[f]);
		k->n_fds = 0;
	}
	return true;
}
