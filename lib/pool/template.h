/*
 * Where workers are to be copies of the caller: a process that was copied from it when the pool was made, as it has a single
 * thread then, and that makes the copies from then on, as their parent. It tells their ends, which it alone is told of.
 */
#ifndef POOL_TEMPLATE_H
#define POOL_TEMPLATE_H

#include <sys/types.h>

struct mps_pool;
struct seat;

struct template_end {
	pid_t pid;
	int code;
};

struct template
{
	struct mps_process *process; /* NULL = there is none */
	int sock;
	struct template_end *ends; /* of which nobody has asked yet */
	size_t n, cap;
};

/* 0, or -errno of mps_process_start(). */
int template_start(struct mps_pool *p);
/* The worker of a seat whose lane is made: 0 with its pid and pidfd, or -errno. */
int template_fork(struct mps_pool *p, struct seat *s, pid_t *ret_pid, int *ret_pidfd);
/* What the worker has ended with; INT_MIN: it cannot be known. Its tree has ended, too. */
int template_code(struct mps_pool *p, pid_t pid);
void template_stop(struct mps_pool *p);

#endif
