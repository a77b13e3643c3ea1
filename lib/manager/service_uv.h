/*
 * The server with its sockets: one libuv loop. Between the files of it.
 */
#ifndef MANAGER_SERVICE_UV_H
#define MANAGER_SERVICE_UV_H

#include <uv.h>

#include "base/err.h"
#include "ipc/auth.h"
#include "ipc/place.h"
#include "manager/server.h"

/* Who has connected. Freed when the last of its handles is closed. */
struct peer {
	struct service *service;
	struct peer *next, *prev;
	uv_poll_t poll, watch;
	int fd, pidfd; /* -1 */
	unsigned n_open;
	int events; /* that are waited for */
	bool is_closed;
	struct session *session; /* NULL: it has not shown the key */
	struct auth auth;
	struct buf in; /* of the handshake */
	struct mps_time since;
	_Atomic uint32_t budget; /* of looking for its next request (ipc/futex.h) */
};

struct peers {
	struct peer *first, *last; /* who came last */
	size_t n;
};

struct service {
	uv_loop_t loop;
	struct server v;
	const struct mps_manager_options *o;
	struct place place;
	bool is_tcp;
	uv_poll_t listener, bell;
	uv_signal_t term, interrupt;
	uv_timer_t due; /* of the server's */
	int64_t due_at; /* 0 = it is not set */
	uv_timer_t
		late; /* of peers that have not shown the key, and of places that will be free again */
	uv_timer_t change; /* of the snapshot */
	bool is_parked;	   /* nobody is accepted */
	int spare;
	struct peers pending, peers;
	const struct peer *latest; /* that has sent something: compared only */
	uint8_t *room;		   /* what is read */
	char pid_namespace[64];
	struct {
		uv_work_t work;
		struct buf text;
		int result;
		bool is_written; /* now, by a thread */
		int64_t pause;	 /* until the next, ns */
		struct err err;
		bool has_failed;
	} snapshot;
};

/* ------------------------------------------------------------------------------------------------- peer_uv.c */

/* One has connected. The descriptor is taken over. */
void peer_come(struct service *w, int fd);
void peer_close(struct peer *p);
/* Sends what there is, to all. */
void peers_send(struct service *w);
/* Sets the timer of what the server has due. */
void service_set_due(struct service *w);

/* ----------------------------------------------------------------------------------------------- accept_uv.c */

int accept_start(struct service *w);
/* There may be room again. */
void accept_resume(struct service *w);
/* One of w->pending is gone, or has come. */
void accept_set_timer(struct service *w);

/* --------------------------------------------------------------------------------------------- snapshot_uv.c */

/* What is in the file, if there is one. 0, or -errno with text. */
int snapshot_load(struct service *w, struct err *err);
/* Something may have changed: it will be written soon. */
void snapshot_due(struct service *w);
/* The last one, at once. 0 or -errno with text. */
int snapshot_end(struct service *w, struct err *err);

#endif
