/*
 * The control socket: connections (connection_uv.c) and the requests that come over them (method_uv.c, status_uv.c,
 * change_uv.c). What travels is described in mpsup-ipc(7).
 */
#ifndef SUP_CONTROL_H
#define SUP_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "sup/fault.h"
#include "sup/svc.h"

struct client;
struct reloaded;
struct request;
struct subscription;
struct sup;
struct unit;

/* A request that waits for the state of a service. */
struct waiter {
	struct waiter *next; /* of the same service */
	struct unit *
		unit; /* NULL once a reload has taken it away; then it is done, and `name` is set */
	char *name;   /* owned */
	struct request *request;
	bool for_stop; /* else for RUNNING */
	bool begun;    /* the start that it waits for has begun */
	bool done;
	enum fault code;
	char *message; /* owned */
};

/*
 * One request from its arrival to its last answer. It may wait for services; it may be answered in parts, the next when
 * the client has taken the last. It ends with request_end(), or when its client does.
 */
struct request {
	struct request *next; /* of the same client */
	struct request *next_all,
		*prev_all; /* of all clients, also of those that are being closed */
	struct client *client;
	struct sup *sup;
	json_t *id;
	json_t *params; /* lives as long as the request */
	bool progress;	/* wants an event for each change of state */
	bool all_told;	/* no more waiters will be added */
	int signal;
	struct waiter **waiters;
	size_t n_waiters, n_pending;
	json_t *rows; /* of targets that are no service */
	/* An answer in parts: called until it has said the last. */
	void (*produce)(struct request *r);
	/* What `produce` becomes when the last waiter is done; NULL = a row for each. */
	void (*results)(struct request *r);
	struct reloaded *report; /* of a reload */
	struct unit **list;
	size_t n_list, at;
	uint64_t fields; /* of a row of status, a bit each */
	bool brief;	 /* without those that say what most do */
};

/* connection_uv.c */
void request_answer(struct request *r, json_t *result); /* steals result */
/* The same of one that produces: it is called again when the client has taken that, or without more it has ended. */
void request_answer_part(struct request *r, json_t *result, bool more);
void request_event(struct request *r, const char *event, json_t *data); /* steals data */
void request_fail(struct request *r, enum fault code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* After the last answer. */
void request_end(struct request *r);

/* Its client has been dropped: what is said to it is not heard. */
bool request_is_lost(const struct request *r);
/* The client of r gets what sub is for, in the place of an earlier subscription, until it goes. Takes sub. */
void request_subscribe(struct request *r, struct subscription *sub);
/* A line of n bytes, which is copied. A client that has more than `max` bytes of events to read is dropped instead. */
void client_tell(struct client *c, const char *line, size_t n, size_t max);

/* method_uv.c: finds the method and runs it; every path ends in an answer, now or later. */
void method_run(struct request *r, const char *name);

/* change_uv.c */
/* Lets go of the services that r waits for. */
void change_forget(struct request *r);
/* The same for those that a reload takes away now. May be the end of r. */
void change_forget_removed(struct request *r);
/* A service has changed its state. */
void change_on_state(struct unit *u, enum svc_state from);

/* reloaded.c */
void reloaded_free(struct reloaded *report);

#endif
