/*
 * What the programs say, and what is said to them. notify_uv.c: the socket of all (NOTIFY_SOCKET), and what becomes of a
 * message wherever it came from. channel_uv.c: the channel of one process (MPSUP_CONTROL_FD).
 */
#ifndef SUP_SAID_H
#define SUP_SAID_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sup/notify.h"

struct buf;
struct err;
struct sup;
struct unit;

/* What a program has said. Made with its first message; status to reloading are of the present run. */
struct said {
	char *status; /* without anything that steers a terminal; owned; NULL = none */
	bool stopping, reloading;
	uint64_t messages; /* of these .. */
	uint64_t bad;	   /* make no sense, as a whole or in a line */
	uint64_t dropped;  /* came too fast */
	uint64_t denied;   /* ask for what control= does not allow */
	struct notify_rate rate;
};

/* notify_uv.c */
/* Opens the socket, or goes on with s->kept_notify. 0 or -errno with err. */
int notify_open(struct sup *s, struct err *err);
void notify_close(struct sup *s);
/* The socket, to be kept; -1 = there is none. */
int notify_fd(const struct sup *s);
/* Messages that came from no program of ours. */
uint64_t notify_strangers(const struct sup *s);
/* Reads what is there: before something is done because a program is silent. */
void notify_listen(struct sup *s);

/* One datagram of u's program. is_cut: it was longer. `sure`: nobody else can have sent it, so it may ask for something. */
void said_message(struct unit *u, const char *p, size_t n, bool is_cut, bool sure);
/* A new run begins. */
void said_forget(struct unit *u);
void said_free(struct said *said);
/* For who takes over: as a program would say it. */
void said_encode(const struct said *said, struct buf *to);
void said_restore(struct unit *u, const char *p, size_t n);

/* channel_uv.c */
struct channel;
/* A new one in the place of an earlier; *ret_end is the child's, and the caller's to close. 0 or -errno. */
int channel_make(struct unit *u, int *ret_end);
/* One that was kept. 0, or -errno: then fd is the caller's. */
int channel_adopt(struct unit *u, int fd);
int channel_fd(const struct channel *c);
/* KEY=TEXT down. 0, -ENOTCONN where there is nobody to hear it, -EAGAIN where he does not listen, -EMSGSIZE. */
int channel_say(struct unit *u, const char *key, const char *text);
/* Reads what is there. */
void channel_listen(struct unit *u);
void channel_close(struct unit *u);

#endif
