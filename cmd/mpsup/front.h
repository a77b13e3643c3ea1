/*
 * The front of one command (exec, map, lock, sem): the process that a person has started, above a private keeper.
 */
#ifndef CMD_MPSUP_FRONT_H
#define CMD_MPSUP_FRONT_H

#include <stdbool.h>

#include "base/mtime.h"

struct front_options {
	const char *verb; /* for messages */
	/* NULL, or what the command is in place of an exec: its result is the exit status. It has all descriptors. */
	int (*function)(int argc, char **argv);
	struct mps_time timeout; /* ns 0 = none */
	struct mps_time grace;
	const char
		*dir; /* the resource tracker's; NULL = nothing is tracked. Goes when all is over */
	int dir_lock; /* held until it has gone; -1 = none */
	int hold; /* stays open here and in the keeper, until nothing of the command is left; -1 = none */
	bool preload; /* the command gets the shim */
	char **argv;  /* the command; NULL-terminated, not empty */
};

/* Exit statuses of our own, as those of timeout(1) and env(1). */
enum { EXEC_TIMEOUT = 124, EXEC_FAILED = 125, EXEC_CANNOT = 126, EXEC_NOT_FOUND = 127 };

/* Nothing of ours may get the numbers 0 to 2. What we have found closed the command finds so, too. */
void front_open_standard(void);

/* For ps(1): what it runs. */
void front_show(const char *verb, char *const *argv);

/* Runs it to its end, and that of its tree. The exit status; what went wrong is said on standard error. */
int front_run(const struct front_options *options);

#endif
