/*
 * What is kept over a restart, as a file: objects with names that are kept, dicts, lists, namespaces and queues.
 *
 * "MPSSNAP1", the length of what follows (8 bytes, little-endian), its SHA-256 (32 bytes), and a packed array of
 * [type, name, arguments, contents]: arguments are those that create() takes; contents is nil, or of a queue an array of its items.
 */
#ifndef MANAGER_SNAPSHOT_H
#define MANAGER_SNAPSHOT_H

#include "manager/server.h"

struct err;

/* 0, -ENOMEM, -errno of a queue that cannot be read. */
int snapshot_encode(struct server *v, struct buf *to);
/*
 * Makes the objects, all or none. With text: -EBADMSG: that is no snapshot, or a damaged one;
 * another -errno: what is in it cannot be made.
 */
int snapshot_decode(struct server *v, const void *p, size_t n, struct err *err);
/* Whether queues have changed since, which only their memory tells. */
bool snapshot_is_stale(struct server *v);

/* The bytes in place of what is there: another file, synced, renamed. 0 or -errno with text. No thread of ours is in its way. */
int snapshot_write(const char *path, const void *p, size_t n, struct err *err);

#endif
