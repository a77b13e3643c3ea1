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

#endif
