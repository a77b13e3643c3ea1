/*
 * Bringing up an instance: configuration, name, runtime directory, lock, and then the keeper, in the place of this process
 * or as a daemon. What the keeper and the supervisor do then is theirs.
 */
#ifndef CMD_MPSUP_LAUNCH_H
#define CMD_MPSUP_LAUNCH_H

#include <stdbool.h>
#include <sys/types.h>

struct launch {
	char *config; /* absolute */
	char *name;
	char *dir;     /* the runtime directory */
	char *self;    /* this program */
	char *host;    /* mpsup-host */
	bool insecure; /* see conf_options */
	int lock_fd;
	char *user;    /* to become, NULL = nobody else */
	bool may_join; /* LAUNCH_HELD instead of a message where the lock is taken */
	uid_t uid;     /* whose the runtime directory is */
	gid_t gid;
};

#define LAUNCH_INIT                                                                                \
	{                                                                                          \
		.lock_fd = -1                                                                      \
	}

/* Somebody else has the instance's lock. */
#define LAUNCH_HELD (-1)

/*
 * Loads the configuration at `config` (absolute), makes the runtime directory and takes its lock. 0, or an exit code
 * after it has said on standard error what is wrong.
 */
int launch_prepare(struct launch *l, const char *config, bool insecure);
void launch_fini(struct launch *l);

/* Becomes the keeper. Returns only on failure, with an exit code after saying why. */
int launch_exec(struct launch *l);

/*
 * Starts the keeper in a session of its own and waits until the supervisor is ready to answer. 0 and the keeper's pid,
 * or an exit code; what went wrong is on standard error by then.
 */
int launch_daemon(struct launch *l, pid_t *ret_pid);

/*
 * launch_prepare() and launch_daemon() in one; LAUNCH_HELD with the runtime directory (the caller's) where somebody else
 * has or had it.
 */
int daemon_start(const char *config, bool insecure, pid_t *ret_pid, char **ret_dir);

#endif
