/*
 * The verbs that change what runs, in one frame: call, progress, a line for each process, exit code.
 */
#ifndef CMD_MPSUP_CHANGE_H
#define CMD_MPSUP_CHANGE_H

#include <jansson.h>
#include <stdbool.h>

#include "mpsup/cmd.h"
#include "mpsup/outcome.h"

struct client;

struct change {
	const char *method;
	struct outcome outcome;
	bool no_wait;
	bool stops_first; /* restart: also tells what was stopped */
};

/*
 * Calls the method for `targets` (a reference is stolen) and prints what became of each. The exit code. start and stop are
 * asked for again where another supervisor takes over meanwhile: *client is the connection to that one then. Who means to
 * end the supervisor gives ret_lost: that it is ending is no error then, and *ret_lost is set when it has gone already.
 */
int change_run(struct client **client, const struct cmd_context *ctx, struct change *change,
	       json_t *targets, bool *ret_lost);

/* --no-wait, the option of all of them. */
extern const struct cmd_option change_options[];
int change_on_option(const struct cmd_option *o, const char *value, struct err *err);
bool change_no_wait(void);

#endif
