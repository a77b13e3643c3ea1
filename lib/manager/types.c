/*
 * The types that there are, by name: built in, and the program's own. And what a method of those can ask of its call.
 */
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "manager/server.h"

static struct mps_type *own;

void mps_type_add(struct mps_type *type)
{
	type->next = own;
	own = type;
}

static bool is_called(const struct mps_type *type, const char *name, size_t n)
{
	return strlen(type->name) == n && memcmp(type->name, name, n) == 0;
}

const struct mps_type *type_find(const char *name, size_t n)
{
	for (size_t i = 0; served_types[i] != NULL; i++)
		if (is_called(served_types[i], name, n))
			return served_types[i];
	for (size_t i = 0; shared_types[i] != NULL; i++)
		if (is_called(&shared_types[i]->type, name, n))
			return &shared_types[i]->type;
	for (const struct mps_type *t = own; t != NULL; t = t->next)
		if (is_called(t, name, n))
			return t;
	return NULL;
}

const struct shared_type *type_shared(const struct mps_type *type)
{
	for (size_t i = 0; shared_types[i] != NULL; i++)
		if (&shared_types[i]->type == type)
			return shared_types[i];
	return NULL;
}

const struct served_type *type_served(const struct mps_type *type)
{
	for (size_t i = 0; served_types[i] != NULL; i++)
		if (served_types[i] == type)
			return (const struct served_type *)(const void *)type;
	return NULL;
}

const void *mps_call_args(const struct mps_call *call, size_t *ret_n)
{
	static const uint8_t none = 0x90; /* an empty array */

	*ret_n = call->n_args > 0 ? call->n_args : 1;
	return call->n_args > 0 ? call->args : &none;
}

int mps_call_reply(struct mps_call *call, const void *value, size_t n)
{
	if (n > 0 && value_check(value, n) < 0)
		return -EINVAL;
	buf_reset(call->reply);
	buf_add(call->reply, value, n);
	return call->reply->failed ? -ENOMEM : 0;
}

uint64_t mps_call_session(const struct mps_call *call)
{
	return call->session;
}
