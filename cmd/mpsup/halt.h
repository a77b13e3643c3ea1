/*
 * Ending a supervisor and waiting until nothing of it is left.
 */
#ifndef CMD_MPSUP_HALT_H
#define CMD_MPSUP_HALT_H

#include <stdbool.h>

struct client;
struct cmd_context;

/* Asks for the shutdown and, if wait, waits for the keeper's end. The exit code. Closes nothing. */
int halt_supervisor(struct client *client, bool json, bool wait);

#endif
