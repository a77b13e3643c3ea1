/*
 * Queues, for those that hand them to other processes.
 */
#ifndef IPC_QUEUE_H
#define IPC_QUEUE_H

#include "mpsup.h"

/* The descriptor of its segment: all that another process needs. It stays the queue's. */
int queue_fileno(const struct mps_queue *q);
/* Takes the descriptor over. -EBADMSG: what it stands for is no queue, and -errno; then it stays the caller's. */
int queue_from_fd(int fd, struct mps_queue **ret);
/*
 * Looks at all items, the first first, which stay where they are; p is valid within the call, which stops when it returns anything but 0.
 * 0, that, -ETIMEDOUT: others are at it; -EBADMSG.
 */
int queue_each(struct mps_queue *q, int (*each)(void *user, const void *p, size_t n), void *user);
/* Another number when anything was put or got since. */
uint64_t queue_version(const struct mps_queue *q);
/* As mps_queue_new() was asked for it. */
struct mps_queue_options queue_options(const struct mps_queue *q);

#endif
