/*
 * The life of the server, and what is due.
 */
#include "manager/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "base/fd.h"
#include "manager/life.h"

enum { OBJECTS_MAX = 10000, REQUESTS_MAX = 1024 };
#define BYTES_MAX ((size_t)1 << 30)

int server_init(struct server *v, const struct mps_manager_options *o)
{
	int r;

	*v = (struct server){
		.objects_max = o->objects_max > 0 ? o->objects_max : OBJECTS_MAX,
		.bytes_max = o->bytes_max > 0 ? o->bytes_max : BYTES_MAX,
		.requests_max = o->requests_max > 0 ? o->requests_max : REQUESTS_MAX,
		.since = mps_wall().ns,
		.keeps = o->snapshot != NULL,
	};
	if (getrandom(v->epoch, sizeof(v->epoch), 0) != (ssize_t)sizeof(v->epoch))
		return -EIO;
	v->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->bell < 0)
		return -errno;
	r = life_begin(&v->life);
	if (r < 0)
		fd_close(&v->bell);
	return r;
}

void server_fini(struct server *v)
{
	struct store_entry *e;

	leases_fini(v);
	while ((e = store_last(&v->names)) != NULL) {
		struct object *o;

		memcpy(&o, store_value(e), sizeof(o));
		object_remove(v, o);
	}
	store_fini(&v->names);
	free(v->dues.heap);
	buf_fini(&v->reply);
	buf_fini(&v->args);
	buf_fini(&v->spare);
	fd_close(&v->bell);
	life_end(v->life);
}

struct mps_time server_next(const struct server *v)
{
	return v->dues.n > 0 ? v->dues.heap[0]->at : (struct mps_time){ INT64_MAX };
}

void server_tick(struct server *v, struct mps_time now)
{
	while (v->dues.n > 0 && v->dues.heap[0]->at.ns <= now.ns) {
		struct due *due = v->dues.heap[0];

		if (due->is_lease)
			lease_expire(v, due);
		else
			parked_expire(v, (struct parked *)due, -ETIMEDOUT);
	}
}
