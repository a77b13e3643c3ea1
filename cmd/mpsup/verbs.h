/*
 * The verbs that are compiled in: cmd.c lists them in the order of help.
 */
#ifndef CMD_MPSUP_VERBS_H
#define CMD_MPSUP_VERBS_H

#include "mpsup/cmd.h"

extern const struct cmd cmd_run;
extern const struct cmd cmd_exec;
extern const struct cmd cmd_lock;
extern const struct cmd cmd_sem;
extern const struct cmd cmd_manager;
extern const struct cmd cmd_dict;
extern const struct cmd cmd_list;
extern const struct cmd cmd_queue;
extern const struct cmd cmd_counter;
extern const struct cmd cmd_event;
extern const struct cmd cmd_barrier;
extern const struct cmd cmd_map;
extern const struct cmd cmd_start;
extern const struct cmd cmd_stop;
extern const struct cmd cmd_restart;
extern const struct cmd cmd_status;
extern const struct cmd cmd_reload;
extern const struct cmd cmd_top;
extern const struct cmd cmd_signal;
extern const struct cmd cmd_send;
extern const struct cmd cmd_tell;
extern const struct cmd cmd_pid;
extern const struct cmd cmd_wait;
extern const struct cmd cmd_logs;
extern const struct cmd cmd_events;
extern const struct cmd cmd_upgrade;
extern const struct cmd cmd_shutdown;
extern const struct cmd cmd_ls;
extern const struct cmd cmd_ipc;
/* What it can do, for completion. NULL-terminated. */
extern const char *const ipc_actions[];

struct buf;

/* What can be said behind an object of that type ("dict" ...): each word after a blank. */
void object_add_words(const char *type, struct buf *out);
extern const struct cmd cmd_pipes;
extern const struct cmd cmd_graph;
extern const struct cmd cmd_check;
extern const struct cmd cmd_keys;
extern const struct cmd cmd_supervise;
extern const struct cmd cmd_version;
extern const struct cmd cmd_completion;
extern const struct cmd cmd_help;

#endif
