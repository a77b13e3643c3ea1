/*
 * What a program and its supervisor say to each other: datagrams of KEY=VALUE lines, those of sd_notify(3) and some more;
 * mpsup-worker(7). Pure: bytes to items. notify_uv.c has the socket, channel_uv.c the channels.
 */
#ifndef SUP_NOTIFY_H
#define SUP_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(NAME, what its value is, what it says) */
#define NOTIFY_KEYS(X)                                                                             \
	X(READY, ONE, "it is ready")                                                               \
	X(STATUS, TEXT, "a line for people")                                                       \
	X(STOPPING, ONE, "it is about to end")                                                     \
	X(RELOADING, ONE, "it reads its settings again; READY follows")                            \
	X(WATCHDOG, ONE, "it is alive")                                                            \
	X(MAINPID, PID, "the process that does the work")                                          \
	X(EXTEND_TIMEOUT_USEC, USEC, "it needs so much longer to start or to stop")                \
	X(START, TARGET, "a program to start")                                                     \
	X(STOP, TARGET, "a program to stop")                                                       \
	X(RESTART, TARGET, "a program to restart")                                                 \
	X(KILL, TARGET, "a program to end by SIGKILL")

enum notify_key {
#define X(name, type, doc) NOTIFY_##name,
	NOTIFY_KEYS(X)
#undef X
		N_NOTIFY_KEYS
};

/* One line whose key we know. The text points into the datagram and is not terminated. */
struct notify_item {
	enum notify_key key;
	const char *text;
	size_t size;
	int64_t number; /* MAINPID: a pid; EXTEND_TIMEOUT_USEC: nanoseconds */
};

#define NOTIFY_ITEMS_MAX 32 /* lines of one datagram that are looked at */

/*
 * Reads a datagram of n bytes into at most NOTIFY_ITEMS_MAX items. How many there are; lines with keys that we do not
 * know are none, as for sd_notify(3). *ret_bad counts lines that make no sense: no "=", a value that the key does not
 * have, one line too many. -EBADMSG for a datagram that is empty, longer than NOTIFY_MSG_MAX, or holds a NUL.
 */
int notify_parse(const char *p, size_t n, struct notify_item items[NOTIFY_ITEMS_MAX],
		 unsigned *ret_bad);

const char *notify_key_name(enum notify_key key);

/*
 * How many messages a program may send: NOTIFY_BURST at once, and NOTIFY_RATE a second. True where this one is within
 * that. Zeroed = none was sent yet.
 */
struct notify_rate {
	int64_t full_at; /* monotonic, ns: when as many as ever may be sent again */
};
#define NOTIFY_BURST 200
#define NOTIFY_RATE 50
bool notify_allows(struct notify_rate *rate, int64_t now);

#endif
