/*
 * The manager's server without its sockets: sessions take bytes and give bytes, objects, parked calls, leases. What has
 * to be sent, and when something is due, is for who drives it (server_uv.c; tests).
 */
#ifndef MANAGER_SERVER_H
#define MANAGER_SERVER_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/mtime.h"
#include "manager/store.h"
#include "manager/type.h"
#include "manager/value.h"
#include "manager/wire.h"

/* --------------------------------------------------------------------------------------------- what is due: due.c */

/* Something with a time, embedded in its owner. */
struct due {
	struct mps_time at;
	size_t place; /* in the heap, from 1 on; 0 = it is not there */
	bool is_lease;
};

struct dues {
	struct due **heap;
	size_t n, room;
};

int dues_add(struct dues *d, struct due *due);
void dues_remove(struct dues *d, struct due *due);

/* ----------------------------------------------------------------------------------------------- the server */

struct session;
struct object;

/* Whose objects these are, as far as quotas go. */
struct account {
	struct object *objects; /* by own_next */
	size_t n, bytes;
};

struct server {
	size_t objects_max, bytes_max, requests_max;
	uint8_t epoch[16];
	int64_t since;	      /* wall clock, ns */
	int bell;	      /* an eventfd */
	struct mps_shm *life; /* life.h */

	struct session *sessions;
	size_t n_sessions;
	uint64_t last_session;
	struct session *unsent; /* have something to send, or are to be closed; by next_unsent */
	size_t in_bytes;	/* of requests that are not whole */

	struct object *objects;
	size_t n_objects;
	struct store names;	/* bytes of a name -> struct object * */
	struct account kept;	/* of nobody: those that are kept, and whose client is gone */
	struct object *waiting; /* shared ones with parked calls; by next_waiting */
	size_t n_parked, n_requests;

	struct dues dues;
	struct store leases; /* packed token -> struct lease * */
	struct buf reply;    /* of the call that runs */
	struct buf args;     /* its arguments, as they are written in one way only */
	struct buf spare;    /* memory for answers, lent to the session that is read from */

	bool keeps;   /* there is a snapshot */
	bool changed; /* since the last one */
	bool looks;   /* somebody may have changed a queue of it in shared memory */
	bool ends;    /* SHUTDOWN */
};

/* Options as of mps_manager_serve(); 0, -ENOMEM or -errno. */
int server_init(struct server *v, const struct mps_manager_options *o);
/* Sessions are gone before. */
void server_fini(struct server *v);
/* When something is due; INT64_MAX = nothing is. And does what was due then. */
struct mps_time server_next(const struct server *v);
void server_tick(struct server *v, struct mps_time now);
/* Calls in shared memory may have made that possible which parked ones wait for. */
void server_bell(struct server *v);

/* ---------------------------------------------------------------------------------------------- sessions: session.c */

/* With the bytes before this one of the answers an object's descriptors go. */
struct passing {
	size_t at;
	struct object *object; /* NULL = the bell and the life */
};

struct slot {
	struct object *object; /* NULL: free */
	uint32_t next_free;
};

struct session {
	struct server *v;
	void *user; /* of who drives it */
	struct session *next, *prev, *next_unsent;
	bool is_unsent;
	uint64_t id;
	bool can_share; /* it is on this machine, of our user */
	bool shares;	/* and wants to */
	bool greeted;
	int over; /* -errno: to be closed */

	struct slot *slots;
	uint32_t n_slots, n_handles, first_free;
	struct account account;

	struct parked *parked; /* by session_next */
	size_t n_parked, n_leases;

	struct buf in;	/* what has come of a request that is not whole, or could not be done yet */
	struct buf out; /* answers; out.p[sent ..] are left */
	size_t sent;
	struct passing *passing;
	size_t n_passing, passing_room;
};

/* NULL: no memory. */
struct session *session_new(struct server *v, bool can_share);
/* All that it has. */
void session_free(struct session *s);
/* What has come. Answers are behind s->out then, s->over says whether it can go on. */
void session_feed(struct session *s, const void *p, size_t n);
/* Some of its answers are gone: goes on with what could not be done before. */
void session_sent(struct session *s, size_t n);
/* No more is to be read from it for now: it has not read its answers. */
bool session_is_full(const struct session *s);
/* The first that has something to send, out of the list; NULL. */
struct session *server_unsent(struct server *v);
/* The next descriptors that are to go, with bytes of s->out that end there: how many; 0 = none. Then they have gone. */
size_t session_passing(const struct session *s, size_t *ret_at, int fds[2]);
void session_passed(struct session *s);

/* An answer: value n = 0 is nil. object: its descriptors come with it; with_bell: the bell does. */
void session_answer(struct session *s, uint32_t seq, int status, const void *value, size_t n);
void session_answer_with(struct session *s, uint32_t seq, const struct buf *value,
			 struct object *object, bool with_bell);
void session_fail(struct session *s, int why);
/* A reference for it: its handle, or -errno. */
int64_t session_refer(struct session *s, struct object *o);
struct object *session_object(const struct session *s, uint32_t handle);
int session_close_handle(struct session *s, uint32_t handle);

/* ------------------------------------------------------------------------------------------------- objects: object.c */

struct object {
	struct object *next, *prev;	    /* of the server */
	struct object *own_next, *own_prev; /* of its account */
	struct account *account;
	const struct mps_type *type;
	const struct shared_type *shared; /* NULL, or what type is of */
	const struct served_type *served;
	char *name; /* NULL = none */
	unsigned flags;
	size_t references;
	size_t bytes;
	void *self; /* of a shared one NULL until it is needed here */
	struct shared_head *head;
	int fds[2];
	size_t n_fds;
	struct parked *first, *last; /* by object_next */
	struct object *next_waiting, *prev_waiting;
	uint64_t saved; /* of a queue: what it had counted at the last snapshot */
};

/* One with a reference, of that account. 0 or -errno. */
int object_new(struct server *v, struct session *s, const struct mps_type *type, const char *name,
	       size_t n_name, unsigned flags, const void *args, size_t n, struct object **ret);
/* A name: 1 to MANAGER_NAME_MAX bytes without NUL; nil: *ret NULL, where that is allowed. 0, -EINVAL, -ENAMETOOLONG. */
int object_read_name(struct values *v, bool may_miss, const char **ret, size_t *ret_n);
struct object *object_find(struct server *v, const char *name, size_t n);
void object_unref(struct server *v, struct object *o);
/* Its name, and that it is kept for the sake of it. */
void object_remove(struct server *v, struct object *o);
/* Opens what is in shared memory for the server itself. */
int object_open(struct object *o);
/* For so many bytes more. */
bool account_has_room(const struct server *v, const struct account *a, size_t more);
void object_account(struct object *o, struct account *to);
/* -EAGAIN, what the method has answered, -ENOSYS, -EDQUOT. The value is in v->reply. */
int object_call(struct server *v, struct object *o, struct session *s, unsigned method,
		uint32_t thread, const void *args, size_t n, uint64_t *mark, bool is_last);

/* ---------------------------------------------------------------------------------------------- parked calls: parked.c */

struct parked {
	struct due due;
	struct object *object; /* a reference of its own */
	struct session *session;
	struct parked *object_next, *object_prev, *session_next, *session_prev;
	uint32_t seq, thread;
	uint16_t method;
	uint64_t mark;
	size_t n;
	uint8_t args[];
};

/* 0, -ENOMEM. Its arguments count as bytes of the client. mark as the first call has left it. */
int parked_add(struct session *s, struct object *o, const struct wire_request *head,
	       const void *args, size_t n, uint64_t mark, struct mps_time until);
/* Something of the object has been called. */
void parked_ask(struct server *v, struct object *o);
/* Its time is over. */
void parked_expire(struct server *v, struct parked *p, int why);
/* 0, -ENOENT. */
int parked_cancel(struct session *s, uint32_t seq);
/* All of a session that ends: without answers. */
void parked_forget(struct session *s);

/* --------------------------------------------------------------------------------------------------- leases: lease.c */

struct lease;
enum { LEASE_TOKEN = 32 }; /* hexadecimal digits */
int lease_new(struct session *s, struct object *o, int64_t time, char token[LEASE_TOKEN]);
/* The object, with the reference that the lease had; NULL. */
struct object *lease_take(struct server *v, const char *token, size_t n);
void lease_expire(struct server *v, struct due *due);
void leases_fini(struct server *v);

/* ------------------------------------------------------------------------------------------------ methods: method.c */

/* A request to the server itself; answers it. */
void manager_method(struct session *s, const struct wire_request *head, const void *args, size_t n);

/* ------------------------------------------------------------------------------------------------- types: types.c */

/* What the server needs of a type whose objects are values here, beside what everybody needs. */
struct served_type {
	struct mps_type type;
	uint32_t grows, writes; /* bits of methods that can make it larger; that change it */
	size_t (*bytes)(const void *self);
	/* All that is in it, as create() takes it: a packed array of arguments. */
	void (*save)(const void *self, struct buf *to);
};

const struct mps_type *type_find(const char *name, size_t n);
/* NULL: it is not of these. */
const struct shared_type *type_shared(const struct mps_type *type);
const struct served_type *type_served(const struct mps_type *type);

#endif
