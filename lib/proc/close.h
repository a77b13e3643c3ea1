/*
 * Closing all descriptors but a few.
 */
#ifndef PROC_CLOSE_H
#define PROC_CLOSE_H

#include <stdbool.h>
#include <stddef.h>

struct mps_fd;

/* Finds out what the kernel can; call before the fork. */
void close_prepare(void);

/* After close_prepare(): close_range(2) is there. */
bool close_can_unshare(void);

/*
 * Closes every descriptor that is no row's `child` and not `keep`. close_range(2) (Linux 5.9), else /proc/self/fd, else
 * one by one up to the limit. Async-signal-safe.
 */
void close_all_but(const struct mps_fd *fds, size_t n_fds, int keep);

/* Closes every descriptor from `from` up that is not close-on-exec. Without /proc none: there is no other list of them. */
void close_inherited(int from);

/* Marks every descriptor from `from` up close-on-exec: at start, for what a careless parent left open. */
void cloexec_from(int from);

#endif
