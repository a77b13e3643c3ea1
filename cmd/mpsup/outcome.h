/*
 * The outcome of start, stop, restart and signal for each process: supervisorctl's lines and exit codes, or JSON.
 */
#ifndef CMD_MPSUP_OUTCOME_H
#define CMD_MPSUP_OUTCOME_H

#include <jansson.h>
#include <stdbool.h>

#include "sup/fault.h"

struct client;

struct outcome {
	const char *done; /* "started" */
	enum fault
		harmless; /* a fault that is no failure: ALREADY_STARTED, NOT_RUNNING; 0 = none */
	int no_group;	  /* exit code for a group that is not there */
	bool json;
	json_t *rows;  /* with json: what has come */
	int exit_code; /* of the last failure */
};

/* Prints (or keeps) one row of a result. */
void outcome_add(struct outcome *o, json_t *row);

/* Of a harmless row of one that was not named only the reason, on standard error, if there is more than a word. */
void outcome_pass_over(const struct outcome *o, const json_t *row);

/* Prints what was kept; the exit code. */
int outcome_finish(struct outcome *o);

/* All of it of a call of the method; a reference to params is stolen. The exit code. */
int outcome_of(struct client *client, const char *method, json_t *params, struct outcome *o);

#endif
