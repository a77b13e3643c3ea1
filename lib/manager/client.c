/*
 * A client's manager: how it finds a server, and the next one when that is gone.
 */
#include "manager/client.h"

#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "ipc/address.h"
#include "ipc/futex.h"

/* Between two tries to connect where nothing tells of the server's coming: it doubles. */
#define BACKOFF_FIRST (5 * MPS_NS_PER_MS)
#define BACKOFF_MAX (250 * MPS_NS_PER_MS)

/* ---------------------------------------------------------------------------------------------- life */

struct mps_manager *manager_ref(struct mps_manager *m)
{
	atomic_fetch_add(&m->references, 1);
	return m;
}

void manager_unref(struct mps_manager *m)
{
	if (m == NULL || atomic_fetch_sub(&m->references, 1) != 1)
		return;
	link_unref(m->link);
	free(m->address);
	free(m->authkey);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static int new_manager(const char *address, const struct mps_manager_options *o,
		       struct mps_manager **ret)
{
	static const struct mps_manager_options none = MPS_MANAGER_OPTIONS_INIT;
	struct mps_manager *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return -ENOMEM;
	m->references = 1;
	m->forks = link_forks;
	pthread_mutex_init(&m->lock, NULL);
	m->options = o != NULL ? *o : none;
	m->address = strdup(address);
	m->authkey = malloc(m->options.authkey_size + 1);
	if (m->address == NULL || m->authkey == NULL) {
		manager_unref(m);
		return -ENOMEM;
	}
	if (m->options.authkey != NULL)
		memcpy(m->authkey, m->options.authkey, m->options.authkey_size);
	m->options.authkey = m->options.authkey != NULL ? m->authkey : NULL;
	*ret = m;
	return 0;
}

static int next_link(struct mps_manager *m, struct mps_time until, struct link **ret);

int mps_manager_connect(const char *address, const struct mps_manager_options *options,
			struct mps_manager **ret, int64_t timeout)
{
	struct mps_manager *m;
	int r;

	if (address == NULL && options != NULL)
		address = options->address;
	if (address == NULL)
		return -EINVAL;
	r = new_manager(address, options, &m);
	if (r < 0)
		return r;
	r = m->options.reconnect ? next_link(m, until_of(timeout), &m->link)
				 : link_open(m->address, &m->options, until_of(timeout), &m->link);
	if (r < 0)
		manager_unref(m);
	else
		*ret = m;
	return r;
}

void manager_own(struct mps_manager *m, struct mps_process *server)
{
	m->server = server;
}

const char *mps_manager_address(const struct mps_manager *m)
{
	return m->address;
}

void mps_manager_close(struct mps_manager *m)
{
	struct mps_process *server;

	if (m == NULL)
		return;
	server = TAKE_PTR(m->server);
	if (manager_check(m) == 0) {
		pthread_mutex_lock(&m->lock);
		m->closed = true;
		if (m->link != NULL)
			link_kill(m->link, -ECONNRESET);
		pthread_mutex_unlock(&m->lock);
		if (server != NULL)
			mps_process_terminate(server, MPS_FOREVER);
	}
	mps_process_free(server);
	manager_unref(m);
}

/* ---------------------------------------------------------------------------------------------- the next server */

/* Tells of what is made in the folder of a unix socket. -1: nothing will be told. */
static int watch_folder(const char *address)
{
	const char *path = address_path(address);
	const char *slash = path != NULL ? strrchr(path, '/') : NULL;
	AUTO_FREE char *folder = NULL;
	int fd;

	if (path == NULL)
		return -1;
	folder = slash == NULL ? strdup(".")
			       : strndup(path, slash == path ? 1 : (size_t)(slash - path));
	fd = folder != NULL ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1;
	if (fd >= 0 && inotify_add_watch(fd, folder, IN_CREATE | IN_MOVED_TO) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Until something was made in the folder, or the time is over. */
static void wait_for_change(int watch, struct mps_time until)
{
	char events[4096];

	if (watch < 0) {
		_Atomic uint32_t never = 0;

		while (futex_wait(&never, 0, until) == 0)
			;
		return;
	}
	if (stream_wait(watch, POLLIN, until) == 0)
		while (read(watch, events, sizeof(events)) > 0)
			;
}

static bool may_come(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED || r == -ECONNRESET || r == -EAGAIN ||
	       r == -EBUSY || r == -EPIPE;
}

/*
 * Connects to the next server. That there is a socket's file is told by its folder; nothing tells that somebody listens on it, or of
 * anything of another machine, so that is tried now and then.
 */
static int next_link(struct mps_manager *m, struct mps_time until, struct link **ret)
{
	AUTO_CLOSE int watch = -1;
	int64_t backoff = BACKOFF_FIRST;
	int r;

	r = link_open(m->address, &m->options, until, ret);
	if (!may_come(r))
		return r;
	/* Not before it is needed: to be rid of it takes the kernel up to 10 ms. */
	watch = watch_folder(m->address);
	while (may_come(r = link_open(m->address, &m->options, until, ret)) &&
	       (until.ns == INT64_MAX || mps_now().ns < until.ns)) {
		struct mps_time again = { mps_now().ns + backoff };

		if (watch >= 0 && r == -ENOENT)
			again = until;
		wait_for_change(watch, again.ns < until.ns ? again : until);
		backoff = backoff < BACKOFF_MAX ? 2 * backoff : BACKOFF_MAX;
	}
	return may_come(r) ? -ETIMEDOUT : r;
}

static void connected(struct mps_manager *m, struct link *l)
{
	m->connecting = false;
	atomic_fetch_add(&m->changed, 1);
	futex_wake(&m->changed, UINT32_MAX);
	if (l == NULL)
		return;
	if (m->closed)
		link_kill(l, -ECONNRESET);
	link_unref(m->link);
	m->link = l;
}

/* With the lock; 0: look again. One thread connects for all. */
static int reconnect(struct mps_manager *m, struct mps_time until)
{
	uint32_t seen = m->changed;
	struct link *l = NULL;
	int r;

	if (m->closed || !m->options.reconnect)
		return m->link->dead < 0 ? m->link->dead : -ECONNRESET;
	if (m->connecting) {
		pthread_mutex_unlock(&m->lock);
		r = futex_wait(&m->changed, seen, until);
		pthread_mutex_lock(&m->lock);
		return r;
	}
	m->connecting = true;
	link_kill(m->link, -ECONNRESET);
	pthread_mutex_unlock(&m->lock);
	r = next_link(m, until, &l);
	pthread_mutex_lock(&m->lock);
	connected(m, l);
	return r;
}

int manager_link(struct mps_manager *m, struct mps_time until, struct link **ret)
{
	int r = manager_check(m);

	if (r < 0)
		return r;
	pthread_mutex_lock(&m->lock);
	while (r == 0 && !link_is_alive(m->link))
		r = reconnect(m, until);
	if (r == 0)
		*ret = link_ref(m->link);
	pthread_mutex_unlock(&m->lock);
	return r;
}

/* ---------------------------------------------------------------------------------------------- requests */

struct mps_time manager_until(int64_t timeout)
{
	return until_of(timeout > 0 ? timeout : MANAGER_BRIEF_NS);
}

int manager_ask(struct mps_manager *m, enum wire_server method, const void *args, size_t n,
		void **ret_p, size_t *ret_n, int64_t timeout)
{
	struct link_request q = { .method = method, .timeout = INT64_MAX, .args = args, .n = n };
	struct mps_time until = manager_until(timeout);
	struct link_pending *p;
	struct link *l;
	int r = manager_link(m, until, &l);

	if (r < 0)
		return r;
	r = link_send(l, &q, &p, until);
	if (r == 0) {
		r = link_await(l, p, until);
		if (r >= 0 && ret_p != NULL) {
			*ret_p = TAKE_PTR(p->p);
			*ret_n = p->n;
		}
		link_drop(l, p);
	}
	link_unref(l);
	return r;
}

int mps_manager_shutdown(struct mps_manager *m, int64_t timeout)
{
	return manager_ask(m, WIRE_SHUTDOWN, NULL, 0, NULL, NULL, timeout);
}
