/*
 * The supervisor: reads nothing but what it is given, decides, and tells the keeper. This header is what the program
 * calls; internal.h is what the supervisor's own files share.
 */
#ifndef SUP_SUP_H
#define SUP_SUP_H

#include <stdbool.h>

struct conf;
struct err;

struct sup_options {
	struct conf *conf; /* checked, without errors; sup_run() takes it over */
	const char *name;  /* of the instance */
	const char *dir;   /* its runtime directory */
	bool foreground;   /* run: output of the programs goes to ours */
	int keeper_fd;	   /* socket to the keeper */
	int ready_fd; /* gets what went wrong without harm, a line each, and then 'R' and its end, when the control socket answers; -1 = none */
};

/*
 * Runs until everything is stopped and the keeper has been told the exit status for the whole, or the keeper is gone.
 * Returns the exit status of this process; < 0 (-errno) with err when it could not start.
 */
int sup_run(const struct sup_options *options, struct err *err);

#endif
