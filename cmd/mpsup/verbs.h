/*
 * The verbs that are compiled in: cmd.c lists them in the order of help.
 */
#ifndef CMD_MPSUP_VERBS_H
#define CMD_MPSUP_VERBS_H

#include "mpsup/cmd.h"

extern const struct cmd cmd_check;
extern const struct cmd cmd_keys;
extern const struct cmd cmd_version;
extern const struct cmd cmd_help;

#endif
