/*
 * mps_manager_serve(): from options to a loop that listens, to its end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "manager/service_uv.h"

static struct err why;

/* ---------------------------------------------------------------------------------------------------- events */

static void on_due(uv_timer_t *timer)
{
	struct service *w = timer->data;

	w->due_at = 0;
	server_tick(&w->v, mps_now());
	peers_send(w);
}

void service_set_due(struct service *w)
{
	int64_t at = server_next(&w->v).ns, now;

	if (at == INT64_MAX)
		at = 0;
	if (at == w->due_at)
		return;
	w->due_at = at;
	if (at == 0) {
		uv_timer_stop(&w->due);
		return;
	}
	now = mps_now().ns;
	uv_update_time(&w->loop);
	uv_timer_start(&w->due, on_due, at <= now ? 0 : (uint64_t)((at - now) / MPS_NS_PER_MS + 1),
		       0);
}

static void on_bell(uv_poll_t *poll, int status, int events)
{
	struct service *w = poll->data;
	uint64_t rings;

	(void)status;
	(void)events;
	if (read(w->v.bell, &rings, sizeof(rings)) < 0)
		return;
	server_bell(&w->v);
	peers_send(w);
}

static void on_signal(uv_signal_t *signal, int number)
{
	(void)number;
	uv_stop(signal->loop);
}

/* ---------------------------------------------------------------------------------------------------- beginning */

static int check(const struct mps_manager_options *o)
{
	bool is_tcp = o->address != NULL && strncmp(o->address, "tcp:", 4) == 0;

	if (is_tcp && (o->authkey == NULL || o->authkey_size == 0))
		return err_set(&why, -EINVAL,
			       "%s: over TCP there has to be a key that clients have to show",
			       o->address);
	return 0;
}

/* Every handle is made before anything can fail, so that the end closes all of them. */
static int make_handles(struct service *w)
{
	uv_signal_init(&w->loop, &w->term);
	uv_signal_init(&w->loop, &w->interrupt);
	uv_timer_init(&w->loop, &w->due);
	uv_timer_init(&w->loop, &w->late);
	uv_timer_init(&w->loop, &w->change);
	w->due.data = w->late.data = w->change.data = w;
	return 0;
}

static int begin_handles(struct service *w)
{
	int r = uv_poll_init(&w->loop, &w->bell, w->v.bell);

	if (r == 0) {
		w->bell.data = w;
		r = uv_poll_start(&w->bell, UV_READABLE, on_bell);
	}
	if (r == 0)
		r = uv_signal_start(&w->term, on_signal, SIGTERM);
	if (r == 0)
		r = uv_signal_start(&w->interrupt, on_signal, SIGINT);
	return r < 0 ? err_set(&why, r, "event loop: %s", strerror(-r)) : 0;
}

static int begin_place(struct service *w)
{
	int r = place_open(&w->place, w->o->address, 0);

	if (r == 0)
		r = uv_poll_init(&w->loop, &w->listener, w->place.fd);
	if (r == 0) {
		w->listener.data = w;
		w->is_tcp = strncmp(w->place.address, "tcp:", 4) == 0;
	}
	if (r < 0)
		return err_set(&why, r, "address %s: %s",
			       w->o->address != NULL ? w->o->address : "of its own",
			       r == -EINVAL ? "is none of unix:/PATH, abstract:NAME, tcp:HOST:PORT"
					    : strerror(-r));
	return 0;
}

static int begin_accepting(struct service *w)
{
	int r = accept_start(w);

	return r < 0 ? err_set(&why, r, "address %s: %s", w->place.address, strerror(-r)) : 0;
}

static void read_namespace(struct service *w)
{
	ssize_t n = readlink("/proc/self/ns/pid", w->pid_namespace, sizeof(w->pid_namespace) - 1);

	w->pid_namespace[n > 0 ? n : 0] = '\0';
}

static int begin(struct service *w)
{
	int r;

	read_namespace(w);
	r = make_handles(w);
	w->room = malloc(MANAGER_READ_MAX);
	if (w->room == NULL)
		return err_set(&why, -ENOMEM, "%s", strerror(ENOMEM));
	if (r == 0)
		r = begin_handles(w);
	if (r == 0)
		r = begin_place(w);
	if (r == 0)
		r = snapshot_load(w, &why);
	return r == 0 ? begin_accepting(w) : r;
}

/* Nobody may wait for it any more; but who does would wait for ever where nothing is said. */
static int say_ready(struct service *w, int fd)
{
	AUTO_BUF line = BUF_INIT;

	if (fd < 0)
		return 0;
	buf_addf(&line, "ready %s\n", w->place.address);
	if (line.failed)
		return err_set(&why, -ENOMEM, "%s", strerror(ENOMEM));
	fd_write_all(fd, line.p, line.len);
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- the end */

static void close_one(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void end(struct service *w)
{
	while (w->peers.first != NULL)
		peer_close(w->peers.first);
	while (w->pending.first != NULL)
		peer_close(w->pending.first);
	uv_walk(&w->loop, close_one, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	uv_loop_close(&w->loop);
	place_close(&w->place);
	fd_close(&w->spare);
	server_fini(&w->v);
	free(w->room);
}

int mps_manager_serve(const struct mps_manager_options *options, int ready_fd, const char **ret_why)
{
	static const struct mps_manager_options plain = MPS_MANAGER_OPTIONS_INIT;
	struct service w = { .o = options != NULL ? options : &plain, .place.fd = -1, .spare = -1 };
	int r;

	why.text[0] = '\0';
	*ret_why = why.text;
	r = check(w.o);
	if (r == 0) {
		r = server_init(&w.v, w.o);
		if (r < 0)
			err_set(&why, r, "%s", strerror(-r));
	}
	if (r < 0)
		return r;
	fd_raise_limit(SIZE_MAX);
	r = fd_check_room(LOOP_FDS);
	if (r == 0)
		r = uv_loop_init(&w.loop);
	if (r < 0) {
		server_fini(&w.v);
		return err_set(&why, r, "event loop: %s", strerror(-r));
	}
	r = begin(&w);
	if (r == 0)
		r = say_ready(&w, ready_fd);
	if (r == 0) {
		uv_run(&w.loop, UV_RUN_DEFAULT);
		/* The place is ours until then: the next server finds it written. */
		r = snapshot_end(&w, &why);
	}
	end(&w);
	return r;
}
