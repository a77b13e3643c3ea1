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
	struct buf in;
	size_t scanned; /* in.p[0..scanned) holds no line end */
	struct request *requests;
	size_t n_requests;
	struct subscription *subscription; /* NULL = none */
	size_t told;			   /* bytes of events that it has not taken yet */
	bool ended;			   /* will say no more, but waits for answers */
	bool closing;
};

/* For libuv to accept; in no list yet. Then one of the next two is due. */
struct client *connection_new(struct control *control);
void connection_refuse(struct client *c);
/* From here on it is listened to. */
void connection_begin(struct client *c);
/* At once, with all its requests; idempotent. It is freed later. */
void connection_drop(struct client *c);

#endif
