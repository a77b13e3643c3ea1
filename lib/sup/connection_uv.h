/*
 * One connection of the control socket. Only control_uv.c, which lets it in, and connection_uv.c know it.
 */
#ifndef SUP_CONNECTION_UV_H
#define SUP_CONNECTION_UV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "base/buf.h"
#include "sup/sup_uv.h"

struct control {
	struct sup *sup;
	uv_pipe_t *listener; /* frees itself when it is closed */
	struct client *clients;
	size_t n_clients;
	struct request *requests;
	/* Those with a whole line that is not read yet: each in its turn says one, between other events. */
	struct client *ready, **ready_end;
	uv_idle_t turn; /* its close callback frees all this */
	size_t waiting; /* bytes of answers and events given to libuv, of all clients */
};

struct client {
	struct client *next;
	struct sup *sup;
	uv_pipe_t pipe;
	/*
	 * Who has shut down its side and waits: libuv tells no more of such a stream, so its end is watched for by itself.
	 * A descriptor of its own, because libuv watches each once. -1 = not so.
	 */
	uv_poll_t hangup;
	int hangup_fd;
	unsigned n_handles; /* not closed yet */
	uid_t uid;
	struct client *next_ready;
	bool is_ready;
	struct buf in;
	size_t from;	/* in.p[0..from) was read */
	size_t scanned; /* in.p[from..scanned) holds no line end */
	struct request *requests;
	size_t n_requests;
	struct subscription *subscription; /* NULL = none */
	size_t told;			   /* bytes of events that it has not taken yet */
	bool ended;			   /* will say no more, but waits for answers */
	bool closing;
};

void connection_init(struct control *control);
/* Frees it when the loop has closed its handle; it has no clients by then. */
void connection_fini(struct control *control);

/* For libuv to accept; in no list yet. Then one of the next two is due. */
struct client *connection_new(struct control *control);
void connection_refuse(struct client *c);
/* From here on it is listened to. */
void connection_begin(struct client *c);
/* At once, with all its requests; idempotent. It is freed later. */
void connection_drop(struct client *c);

#endif
