/*
 * From a configured program to a complete struct mps_spawn: which file to execute, as whom, with which environment.
 * Everything that can fail fails here, before the keeper is asked.
 */
#ifndef SUP_WORKER_H
#define SUP_WORKER_H

#include <stdbool.h>
#include <sys/types.h>

#include "proc/spawn.h"

struct conf;
struct conf_place;
struct elf_cache;
struct conf_proc;
struct err;

/* What all workers share; made once. */
struct worker_base {
	const struct conf *conf;
	const char *name;   /* of the instance */
	const char *socket; /* path of the control socket */
	const char *notify; /* NOTIFY_SOCKET; NULL = none */
	char *tracker;	    /* path of its socket */
	char *shim;	    /* what LD_PRELOAD names; NULL = there is none */
	struct elf_cache *elves;
	char *cwd; /* of the supervisor: relative paths of programs start there */
	uint64_t nofile;
	int umask;		   /* of programs that set none */
	struct worker_user *users; /* looked up already */
};

void worker_base_init(struct worker_base *base, const struct conf *conf, const char *name,
		      const char *socket);
/* Another configuration; also looks up users anew. */
void worker_base_use_conf(struct worker_base *base, const struct conf *conf);
void worker_base_fini(struct worker_base *base);

/* Where a manager listens. Heap string. */
char *worker_manager_address(const struct worker_base *base, const struct conf_proc *proc);

bool worker_has_channel(const struct conf_proc *proc);
/* Where it finds it: the lowest number from 3 on that no pipe has. */
int worker_channel_fd(const struct conf_proc *proc);

/* A spawn and the memory that it points to; fds are the caller's to fill. */
struct worker_spawn {
	struct mps_spawn spawn;
	char **envp;
	char *path;
	char *cwd;
	char **argv; /* NULL: the configuration's */
	char *address;
	char **preload; /* and what it points to */
};

/*
 * `display` is the name as people write it. 0, or -errno with err in the words of status and log ("can't find command
 * 'x'", "directory ..."). Errors for which mps_error_passes() holds may be tried again.
 */
int worker_prepare(struct worker_base *base, const struct conf_proc *proc, const char *display,
		   uint32_t gen, struct worker_spawn *ret, struct err *err);
void worker_spawn_fini(struct worker_spawn *w);
/* The bytes of FILE in the FILE:FUNCTION of its entry. */
size_t worker_object_length(const struct conf_proc *proc);

/* worker_failure.c */
/* Puts where the key stands behind what err says; r. */
int worker_fail_at(const struct worker_base *base, const struct conf_place *place, int r,
		   struct err *err);
/*
 * What people read when the start failed in the keeper or the child: "exec /opt/x: No such file or directory
 * (conf.d/legacy.conf:3)", "exec /srv/a.sh: its interpreter /usr/bin/pyton3 does not exist (...)", "entry ./a.so:
 * undefined symbol: main (...)". `text` says more than the number, or is NULL. Heap string.
 */
char *worker_failure_text(struct worker_base *base, const struct conf_proc *proc,
			  enum mps_step step, int error, const char *text);

#endif
