/*
 * Forkservers as the supervisor knows them: what the keeper has said last. They are the keeper's.
 */
#ifndef SUP_SERVERS_H
#define SUP_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct conf;

struct server_of {
	char *name;
	pid_t pid;	    /* 0 = none now */
	bool is_ready;	    /* it has loaded everything */
	uint32_t n_started; /* by all that had this name */
};

/* Zeroed is empty. */
struct servers {
	struct server_of *v;
	size_t n;
};

void servers_set(struct servers *s, const char *name, pid_t pid, bool is_ready, uint32_t n_started);
/* NULL: there has been none of that name. Valid until the next servers_set(). */
const struct server_of *servers_find(const struct servers *s, const char *name);
/* Is any program of the configuration to be started by it? */
bool servers_is_used(const struct conf *conf, const char *name);
void servers_fini(struct servers *s);

#endif
