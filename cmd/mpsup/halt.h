/*
 * Ending a supervisor and waiting until nothing of it is left.
 */
#ifndef CMD_MPSUP_HALT_H
#define CMD_MPSUP_HALT_H

#include <stdbool.h>

struct client;
struct cmd_context;

/* Asks for the shutdown, if need be the one who has taken over, and waits for the keeper's end if wait. The exit code. */
int halt_supervisor(struct client **client, const struct cmd_context *ctx, bool wait);

#endif
