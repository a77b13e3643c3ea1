/*
 * The control socket: who may enter, and what is told to all. A connection is connection_uv.c's.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "sup/connection_uv.h"
#include "sup/control.h"
#include "sup/events.h"
#include "sup/sup_uv.h"

static bool may_enter(struct control *control, int fd, uid_t *ret_uid)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
		return false;
	*ret_uid = peer.uid;
	if (peer.uid != 0 && peer.uid != geteuid())
		return false;
	return control->n_clients < CONTROL_CLIENTS_MAX;
}

static void let_in(struct control *control, struct client *c)
{
	uv_os_fd_t fd;

	if (uv_fileno((uv_handle_t *)&c->pipe, &fd) < 0 || !may_enter(control, fd, &c->uid)) {
		connection_refuse(c);
		return;
	}
	connection_begin(c);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct control *control = listener->data;
	struct client *c;

	/* Requests mean nothing before the keeper is known; libuv holds the connection until it is accepted. */
	if (status < 0 || control->sup->phase == SUP_STARTING)
		return;
	c = connection_new(control);
	if (uv_accept(listener, (uv_stream_t *)&c->pipe) < 0)
		connection_refuse(c);
	else
		let_in(control, c);
}

int control_add_client(struct sup *s, int fd)
{
	struct client *c = connection_new(s->control);
	int r = uv_pipe_open(&c->pipe, fd);

	if (r < 0)
		connection_refuse(c);
	else
		let_in(s->control, c);
	return r;
}

static void on_listener_closed(uv_handle_t *handle)
{
	free(handle);
}

/* libuv unlinks the path of a socket that it closes, so the old one goes first. */
static void close_listener(struct control *control)
{
	if (control->listener != NULL)
		uv_close((uv_handle_t *)control->listener, on_listener_closed);
	control->listener = NULL;
}

int control_listen(struct sup *s, struct err *err)
{
	struct control *control = s->control;
	uv_pipe_t *listener;
	int r;

	close_listener(control);
	control->listener = listener = xcalloc(1, sizeof(*listener));
	uv_pipe_init(&s->loop, listener, 0);
	listener->data = control;
	if (s->kept_listener >= 0) {
		r = uv_pipe_open(listener, TAKE_FD(s->kept_listener));
	} else {
		/* The lock on the runtime directory is ours, so what lies there is a dead supervisor's. */
		unlink(s->socket_path);
		r = uv_pipe_bind(listener, s->socket_path);
	}
	if (r == 0)
		r = uv_listen((uv_stream_t *)listener, SOMAXCONN, on_connection);
	if (r < 0)
		return err_set(err, r, "control socket %s: %s", s->socket_path, strerror(-r));
	chmod(s->socket_path, 0700);
	return 0;
}

int control_listener(const struct sup *s)
{
	uv_os_fd_t fd;

	if (s->control == NULL || s->control->listener == NULL ||
	    uv_fileno((uv_handle_t *)s->control->listener, &fd) < 0)
		return -1;
	return fd;
}

int control_open(struct sup *s, struct err *err)
{
	s->control = xcalloc(1, sizeof(*s->control));
	s->control->sup = s;
	connection_init(s->control);
	return control_listen(s, err);
}

void control_serve(struct sup *s)
{
	if (s->control != NULL && s->control->listener != NULL)
		on_connection((uv_stream_t *)s->control->listener, 0);
}

void control_close(struct sup *s)
{
	struct control *control = s->control;

	if (control == NULL)
		return;
	while (control->clients != NULL)
		connection_drop(control->clients);
	close_listener(control);
	s->control = NULL;
	connection_fini(control);
}

void control_on_state(struct unit *u, enum svc_state from)
{
	events_state(u, from);
	if (u->waiters != NULL)
		change_on_state(u, from);
}

bool control_has_untold(const struct sup *s)
{
	for (struct client *c = s->control != NULL ? s->control->clients : NULL; c != NULL;
	     c = c->next)
		if (c->subscription != NULL &&
		    uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) > 0)
			return true;
	return false;
}

void control_forget_removed(struct sup *s)
{
	struct control *control = s->control;

	for (struct request *r = control != NULL ? control->requests : NULL, *next; r != NULL;
	     r = next) {
		next = r->next_all;
		change_forget_removed(r);
	}
}
