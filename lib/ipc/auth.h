/*
 * The handshake of Python's multiprocessing.connection: each side shows the other that it has the key. It knows messages, no
 * descriptors: what has come goes in, what is to be sent comes out.
 */
#ifndef IPC_AUTH_H
#define IPC_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

/* How long a challenge of ours is at most: how it is to be answered, and random bytes. */
#define AUTH_CHALLENGE_MAX 64

enum auth_step {
	AUTH_AWAITS_CHALLENGE, /* of the other side */
	AUTH_AWAITS_WELCOME,   /* for the answer to it */
	AUTH_AWAITS_ANSWER,    /* to our challenge */
	AUTH_OVER,	       /* nothing: whatever comes now is -EACCES */
};

struct auth {
	const void *key; /* the caller's */
	size_t key_size;
	bool allow_md5;
	bool is_server; /* challenges first */
	enum auth_step step;
	uint8_t challenge[AUTH_CHALLENGE_MAX];
	size_t challenge_size;
};

struct auth_message {
	uint8_t p[AUTH_MESSAGE_MAX];
	size_t n; /* 0 = none to be sent */
};

/* The first message: a server's challenge. 0, or -errno of getrandom(2). */
int auth_begin(struct auth *a, struct auth_message *ret);
/* One message has come: 0 = go on, 1 = both have shown it, -EACCES. *ret is set in each case. */
int auth_feed(struct auth *a, const void *p, size_t n, struct auth_message *ret);

#endif
