/*
 * A command that runs while something is held by its name, for this user on this machine or of a
 * manager: a lock, or a unit of a semaphore. Of this machine they are files in the runtime
 * directory, that last as long as somebody holds them or waits for them.
 */
#ifndef CMD_MPSUP_HOLD_H
#define CMD_MPSUP_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "mpsup/reach.h"

struct cmd_context;
struct cmd_option;
struct err;

/* What a verb holds, and how it waits for it. */
struct hold_verb {
	const char *name;   /* of the verb */
	bool shared;	    /* with others that say so; not of a manager */
	uint32_t units;	    /* it is one of so many of a semaphore; 0 = a lock */
	int64_t timeout;    /* ns; INT64_MAX = for ever */
	struct reach reach; /* its manager NULL = of this machine */
};
#define HOLD_VERB(name_)                                                                           \
	{                                                                                          \
		.name = name_, .timeout = INT64_MAX, .reach = { .remote = true },                  \
	}

/* --timeout, --manager or --authkey-file. 0, or EXIT_USAGE with err. */
int hold_on_option(struct hold_verb *v, const struct cmd_option *o, const char *value,
		   struct err *err);

/*
 * The first argument is the name, the others are the command, run as by `mpsup exec`: what is held
 * is free when all of it has gone, whoever is killed. Its exit status; or, and that is said,
 * EXIT_TIMEOUT (who has it), EXIT_USAGE: no such name, or a semaphore of another number of units,
 * EXIT_UNREACHABLE or EXEC_FAILED.
 */
int hold_run(const struct hold_verb *v, struct cmd_context *ctx);

#endif
