/*
 * Leases: references that belong to a token for a while, until somebody takes them up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "manager/server.h"

struct lease {
	struct due due;
	struct object *object;
	char token[LEASE_TOKEN];
};

int lease_new(struct session *s, struct object *o, int64_t time, char token[LEASE_TOKEN])
{
	static const char digits[] = "0123456789abcdef";
	struct server *v = s->v;
	uint8_t random[LEASE_TOKEN / 2];
	struct lease *l;

	if (v->leases.n >= MANAGER_LEASES_MAX)
		return -EDQUOT;
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	l = calloc(1, sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(random); i++) {
		l->token[2 * i] = digits[random[i] >> 4];
		l->token[2 * i + 1] = digits[random[i] & 15];
	}
	l->object = o;
	l->due.is_lease = true;
	l->due.at.ns = mps_now().ns + time;
	if (dues_add(&v->dues, &l->due) < 0) {
		free(l);
		return -ENOMEM;
	}
	if (store_put(&v->leases, l->token, LEASE_TOKEN, &l, sizeof(l)) < 0) {
		dues_remove(&v->dues, &l->due);
		free(l);
		return -ENOMEM;
	}
	o->references++;
	memcpy(token, l->token, LEASE_TOKEN);
	return 0;
}

static void end(struct server *v, struct lease *l)
{
	struct store_entry *e = store_find(&v->leases, l->token, LEASE_TOKEN);

	if (e != NULL)
		store_remove(&v->leases, e);
	dues_remove(&v->dues, &l->due);
	free(l);
}

struct object *lease_take(struct server *v, const char *token, size_t n)
{
	struct store_entry *e = store_find(&v->leases, token, n);
	struct object *o;
	struct lease *l;

	if (e == NULL)
		return NULL;
	memcpy(&l, store_value(e), sizeof(l));
	o = l->object;
	end(v, l);
	return o;
}

void lease_expire(struct server *v, struct due *due)
{
	struct lease *l = (struct lease *)due;
	struct object *o = l->object;

	end(v, l);
	object_unref(v, o);
}

void leases_fini(struct server *v)
{
	struct store_entry *e;

	while ((e = store_last(&v->leases)) != NULL) {
		struct lease *l;

		memcpy(&l, store_value(e), sizeof(l));
		lease_expire(v, &l->due);
	}
	store_fini(&v->leases);
}
