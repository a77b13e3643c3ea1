/*
 * The objects of this library as arguments: what travels is their descriptor, and the child makes a handle of its own of it.
 * With a connection goes what has been read from it ahead.
 */
#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "ipc/args.h"
#include "ipc/connection.h"
#include "ipc/queue.h"

int mps_args_add_shm(struct mps_args *args, const struct mps_shm *shm)
{
	return args_add_fd(args, ARG_SHM, mps_shm_fileno(shm));
}

int mps_args_add_queue(struct mps_args *args, const struct mps_queue *queue)
{
	return args_add_fd(args, ARG_QUEUE, queue_fileno(queue));
}

int mps_args_add_connection(struct mps_args *args, const struct mps_connection *connection)
{
	AUTO_BUF unread = BUF_INIT;
	int r = connection_unread(connection, &unread);
	struct arg *a;

	if (r == 0)
		r = args_add_fd(args, ARG_CONNECTION, mps_connection_fileno(connection));
	if (r < 0)
		return r;
	a = args_at(args, (size_t)r, ARG_CONNECTION);
	a->n = unread.len;
	a->p = buf_take(&unread);
	return r;
}

/* The descriptor of the item becomes the object's. */
static void *keep(struct arg *a, void *object)
{
	a->fd = -1;
	a->object = object;
	return object;
}

struct mps_shm *mps_args_shm(struct mps_args *args, size_t i)
{
	struct arg *a = args_at(args, i, ARG_SHM);
	struct mps_shm *shm;

	if (a == NULL || a->object != NULL)
		return a != NULL ? a->object : NULL;
	return mps_shm_from_fd(a->fd, &shm) == 0 ? keep(a, shm) : NULL;
}

struct mps_queue *mps_args_queue(struct mps_args *args, size_t i)
{
	struct arg *a = args_at(args, i, ARG_QUEUE);
	struct mps_queue *queue;

	if (a == NULL || a->object != NULL)
		return a != NULL ? a->object : NULL;
	return queue_from_fd(a->fd, &queue) == 0 ? keep(a, queue) : NULL;
}

struct mps_connection *mps_args_connection(struct mps_args *args, size_t i)
{
	struct arg *a = args_at(args, i, ARG_CONNECTION);
	struct mps_connection *c;

	if (a == NULL || a->object != NULL)
		return a != NULL ? a->object : NULL;
	return connection_reopen(a->fd, a->p, a->n, &c) == 0 ? keep(a, c) : NULL;
}

void args_close_object(struct arg *a)
{
	if (a->object == NULL)
		return;
	if (a->kind == ARG_SHM)
		mps_shm_close(a->object);
	if (a->kind == ARG_QUEUE)
		mps_queue_free(a->object);
	if (a->kind == ARG_CONNECTION)
		mps_connection_close(a->object);
	a->object = NULL;
}
