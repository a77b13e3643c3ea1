/*
 * mpsup ipc clean and mpsup ipc unlink.
 */
#ifndef CMD_MPSUP_IPC_CLEAN_H
#define CMD_MPSUP_IPC_CLEAN_H

#include <stdbool.h>

#include "mpsup/cmd.h"

struct ipc_cleaning {
	bool dry_run;
	const char *match;	/* NULL: only what dead instances have left */
	const char *older_than; /* NULL: all; else as when_parse() takes it */
};

/* Both: the exit status. */
int ipc_clean(const struct cmd_context *ctx, const struct ipc_cleaning *how);
int ipc_unlink(const struct cmd_context *ctx);

#endif
