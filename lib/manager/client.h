/*
 * A client: its manager, which keeps a link to a server, and objects, which have a view of what is behind them: a handle of
 * that link and, of what is in shared memory, a self of this process.
 */
#ifndef MANAGER_CLIENT_H
#define MANAGER_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "manager/link.h"
#include "manager/shared.h"

/* What an object is as of one link. Those of former servers stay until the object is closed, as threads may be within. */
struct view {
	struct view *older;
	struct link *link;
	uint32_t handle;
	struct shared *self; /* NULL = it is asked for by requests */
};

struct mps_manager {
	_Atomic uint32_t references; /* its objects' and the caller's */
	unsigned forks;		     /* link_forks of its process */
	char *address;
	struct mps_manager_options options;
	void *authkey;		    /* a copy */
	struct mps_process *server; /* that mps_manager_start() has started */

	pthread_mutex_t lock;
	struct link *link;
	bool closed, connecting;
	_Atomic uint32_t changed; /* counts ends of connecting */
};

struct mps_object {
	struct mps_manager *m;
	char *type, *name;		 /* name NULL = none */
	const struct mps_type *built_in; /* NULL = the program's own: */
	char **methods;
	size_t n_methods;
	const struct shared_row *row; /* NULL: not of those in shared memory */
	_Atomic(struct view *) view;
};

/* -EINVAL in a forked child. */
static inline int manager_check(const struct mps_manager *m)
{
	return m->forks == atomic_load_explicit(&link_forks, memory_order_relaxed) ? 0 : -EINVAL;
}

/* It is ended with the manager, whose it is. */
void manager_own(struct mps_manager *m, struct mps_process *server);
struct mps_manager *manager_ref(struct mps_manager *m);
void manager_unref(struct mps_manager *m);
/* A link that lives, with a reference. -ECONNRESET; with `reconnect` the next one: -ETIMEDOUT. */
int manager_link(struct mps_manager *m, struct mps_time until, struct link **ret);
/* A request to the server itself. *ret_p, which may be NULL: the value, free(3). */
int manager_ask(struct mps_manager *m, enum wire_server method, const void *args, size_t n,
		void **ret_p, size_t *ret_n, int64_t timeout);

/* How long to wait for the answer to a call that may not wait, and for ones that the server does at once. */
#define MANAGER_BRIEF_NS MPS_NS_PER_S
struct mps_time manager_until(int64_t timeout);

/*
 * The view of now: 0 with *ret; of a new server it is attached by its name, -ESTALE: it has none there. What object_send()
 * gives is of that view.
 */
int object_view_anew(struct mps_object *o, int64_t timeout, struct view **ret);
static inline int object_view(struct mps_object *o, int64_t timeout, struct view **ret)
{
	struct view *v = atomic_load_explicit(&o->view, memory_order_acquire);

	if (manager_check(o->m) < 0 || !link_is_alive(v->link))
		return object_view_anew(o, timeout, ret);
	*ret = v;
	return 0;
}
/* The place of a method; -ENOSYS. */
int object_method(const struct mps_object *o, const char *name);
/* One in shared memory by this thread: its outcome; -ECONNRESET: the server died meanwhile. */
int object_local(const struct view *v, int method, struct mps_call *call);
/* A request for it, sent, or queued. */
int object_send(const struct mps_object *o, const struct view *v, int method, const void *args,
		size_t n, int64_t timeout, struct link_pending **ret);

#endif
