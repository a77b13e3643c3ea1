/*
 * Which manager a verb means, and a connection to it.
 */
#ifndef CMD_MPSUP_REACH_H
#define CMD_MPSUP_REACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cmd_context;
struct cmd_option;
struct err;
struct mps_manager;

struct reach {
	const char *manager;  /* --manager: a name or an address; NULL = the only one there is */
	const char *key_file; /* --authkey-file */
	bool remote; /* no shared memory: what is held is the connection's, and any process may have a copy of it */
};

/* Keeps what --manager or --authkey-file says; false: it is another option. */
bool reach_on_option(struct reach *reach, const struct cmd_option *o, const char *value);

/*
 * --manager, else the only one of MPSUP_MANAGER_*, else the only one of the supervisor (-c, -s: of that alone). 0, or an exit code
 * with err, which says what to do: EXIT_USAGE: it is not known which; EXIT_UNREACHABLE: it is not there; EXIT_TIMEOUT.
 */
int reach_manager(const struct reach *reach, const struct cmd_context *ctx, int64_t timeout,
		  struct mps_manager **ret, struct err *err);

/* A key: all of the file but one newline at its end. Not of a file that others may read. 0, or -errno with err. */
int reach_read_key(const char *path, char **ret_key, size_t *ret_n, struct err *err);

#endif
