/*
 * The keeper: parent of all, child subreaper (PID 1 in a container). It starts what the supervisor describes, reaps,
 * ends trees, and keeps what must outlive the supervisor. It decides nothing and knows no configuration.
 */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mtime.h"

struct mps_spawn;

/*
 * In place of a supervisor: the process that a person has started for the sake of one command, and whose child this keeper
 * is. It says SIGNAL and EXIT, and hears STARTED, FAILED, STOPPED, EXITED and GONE of KEEPER_FRONT_INSTANCE. When the command has
 * ended, or the front is gone, all ends.
 */
struct keeper_front {
	int sock;
	pid_t pid;
	const struct mps_spawn *command;
	struct mps_time grace; /* between TERM and KILL of what is left */
	const char *dir;       /* of the resource tracker; NULL = there is none */
	/* Also for what nobody tells it of. Letting go of that takes the kernel 10 ms, for which the front would wait. */
	bool scan;
};
#define KEEPER_FRONT_INSTANCE 1

struct keeper_options {
	const char *name; /* for ps(1) */
	int lock_fd;	  /* held open until the end; -1 = none */
	int ready_fd;	  /* handed to each supervisor until one says DETACH; -1 = none */
	char **argv;	  /* of the supervisor; argv[0] is its path */
	const struct keeper_front *front; /* NULL = there is a supervisor */
	/* Where the keeper has something to say that the supervisor cannot: it died, or cannot be started. */
	void (*note)(const char *text);
};

/* The descriptor on which the supervisor finds its socket to the keeper. */
#define KEEPER_SUPERVISOR_FD 3
/* The descriptor on which it finds ready_fd, until DETACH has come. */
#define KEEPER_READY_FD 4
/* Standard error for when it takes over, if until then it has another. */
#define KEEPER_STDERR_FD 5
/* The first that was kept for instance 0: only in one that takes over. The others come before WELCOME, as KEPT. */
#define KEEPER_KEPT_FD 6

/*
 * Runs until the supervisor says EXIT, or is gone, and nothing is left. Does not return but by the exit status for the
 * process. Must be called from the first thread; starts a second one, which does the work.
 */
int keeper_run(const struct keeper_options *options);

#endif
