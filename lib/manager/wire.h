/*
 * What the manager's server and its clients say to each other. After the handshake (ipc/auth.h; over a unix socket the same user
 * needs none) each message is a frame of ipc/connection.h with a head and a body behind it. Heads are little-endian.
 * Who cannot be let in, because there is no room, gets an answer of seq 0 and status -EBUSY in place of all else, also of the handshake.
 * Requests go out without waiting for the answers; answers come in any order, told apart by `seq`.
 */
#ifndef MANAGER_WIRE_H
#define MANAGER_WIRE_H

#include <stdint.h>

#define WIRE_VERSION 1

struct wire_request {
	uint32_t seq; /* the client's, not used by another of its requests in flight */
	uint32_t
		handle; /* of an object, as CREATE, ATTACH and TAKE gave it to this session; 0 = the server */
	uint16_t method; /* a place in the type's table; of the server: enum wire_server */
	uint16_t flags;
	uint32_t thread; /* of the client (gettid(2)), who has what it acquires */
	int64_t timeout; /* ns from its arrival on; INT64_MAX = for ever, 0 = now or never */
			 /* body: a packed array, or nothing */
} __attribute__((packed));

struct wire_answer {
	uint32_t seq;
	int32_t status; /* 0, a positive outcome, or -errno */
	/*
	 * That come with its bytes (SCM_RIGHTS), by a sendmsg(2) of its own or one that ends with it: of CREATE, ATTACH and TAKE for clients
	 * that share memory; of HELLO the bell, and the server's life (life.h).
	 */
	uint16_t n_fds;
	uint16_t flags;
	/* body: a packed value, or nothing (nil) */
} __attribute__((packed));

/* Methods of handle 0. Bodies: arguments -> value. */
enum wire_server {
	WIRE_HELLO, /* [version, wants_shared] -> [version, epoch (bin 16), session, shares]; with the bell (type.h) if it shares. The first request of all */
	WIRE_CREATE, /* [type, name or nil, flags, args] -> [handle, type, [method names of a type that is not built in]] */
	WIRE_ATTACH, /* [type or nil, name] -> the same */
	WIRE_TAKE,   /* [token] -> the same */
	WIRE_LEND,   /* [handle, lease ns] -> token */
	WIRE_CLOSE,  /* [handle] */
	WIRE_REMOVE, /* [name] */
	WIRE_CANCEL, /* [seq]: it is answered with -ECANCELED if it waits */
	WIRE_LIST,   /* [] -> [[name or nil, type, references, bytes], ..] */
	WIRE_INFO,   /* [] -> {clients, objects, bytes, requests, pid, since ..} */
	WIRE_SHUTDOWN, /* [] */
	N_WIRE_SERVER
};

#endif
