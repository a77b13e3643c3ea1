/*
 * Who we are, as others may ask of it in memory later: the pid means this process only together with its start time. Costs no
 * system call, and is right in a forked child.
 */
#ifndef IPC_SELF_H
#define IPC_SELF_H

#include <stdint.h>
#include <sys/types.h>

struct self {
	pid_t pid;
	uint64_t start; /* as struct proc_stat has it */
};

/* 0 or -errno: without /proc there is no telling. */
int self_get(struct self *ret);

#endif
