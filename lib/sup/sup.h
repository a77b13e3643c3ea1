/*
 * The supervisor: reads nothing but what it is given, decides, and tells the keeper. This header is what the program
 * calls; internal.h is what the supervisor's own files share.
 */
#ifndef SUP_SUP_H
#define SUP_SUP_H

#include <stdbool.h>

#include "base/buf.h"
#include "sup/state.h"

struct conf;
struct err;

/*
 * libuv has its memory from xalloc.h, also that of others in this process. Before any of its calls.
 */
void sup_own_memory(void);

/* What is handed on from supervisor to supervisor. */
struct sup_heritage {
	struct state state; /* of the one before; head NULL = there was none */
	struct buf record;  /* of the files of the configuration, else */
	int stderr_fd;	    /* standard error for later; -1 = ours is the one */
};

/*
 * The configuration, from its files, or as it was in force for the supervisor that this one follows: then 1, and its
 * errors do not count, because the world has changed around it and not the file. 0, or -errno with err when what was
 * left cannot be read. `path` is where it would be.
 */
int sup_load(const char *path, bool insecure, struct sup_heritage *h, struct conf **ret,
	     struct err *err);

struct sup_options {
	struct conf *conf;	       /* checked, without errors; sup_run() takes it over */
	struct sup_heritage *heritage; /* from sup_load() */
	const char *name;	       /* of the instance */
	const char *dir;	       /* its runtime directory */
	bool foreground;	       /* run: output of the programs goes to ours */
	bool insecure;		       /* see conf_options, also at reloads */
	int keeper_fd;		       /* socket to the keeper */
	int ready_fd; /* gets what went wrong without harm, a line each, and then 'R' and its end, when the control socket answers; -1 = none */
};

/*
 * Runs until everything is stopped and the keeper has been told the exit status for the whole, or the keeper is gone.
 * Returns the exit status of this process; < 0 (-errno) with err when it could not start.
 */
int sup_run(const struct sup_options *options, struct err *err);

#endif
