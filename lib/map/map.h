/*
 * Tasks from a stream, each to a process of its own or to one of some that live on, their results in order: the engine of
 * `mpsup map`. It is the parent of what it starts and ends that; what is above it ends what it leaves when it is killed.
 * map.c is the loop, schedule.c hands out, place.c starts and ends processes, birth.c those of entries, worker.c speaks with those that live on,
 * result.c keeps outputs until their turn, spill.c those that are too much for memory, input.c, drain.c, template.c and
 * joblog.c are what their names say.
 */
#ifndef MAP_MAP_H
#define MAP_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mtime.h"
#include "proc/spawn.h"

/* How far it is, for a bar. */
struct map_progress {
	uint64_t done, failed, running, taken;
	int64_t bytes; /* of the input handed out */
	int64_t size;  /* of the whole input, -1 = not known */
	bool ended;    /* nothing more will come: `taken` are all */
	struct mps_time since, now;
};

enum map_why {
	MAP_FAILED_EXIT,    /* status */
	MAP_FAILED_SIGNAL,  /* status */
	MAP_FAILED_TIMEOUT, /* status: the signal that it took */
	MAP_FAILED_START,   /* status: errno */
	MAP_FAILED_CLOSED,  /* the worker closed its standard output */
	MAP_FAILED_LONG,    /* the worker's answer is longer than MAP_TASK_MAX */
};

/* What a task came to that did not succeed. */
struct map_failure {
	uint64_t seq;
	enum map_why why;
	int status;
	char text[64]; /* the beginning of it, cut at a character, "..." where it was longer */
};

struct map_options {
	char *const *argv; /* the command; not empty, NULL-terminated */
	const char *path;  /* what is executed for argv[0]; NULL = that has a placeholder */
	/* NULL, or the function of the object `path` that is called: it is started in that way. */
	const char *symbol;
	enum mps_spawn_method method;
	const char *host; /* mpsup-host, for who needs a fresh image */
	char *const *envp;
	unsigned jobs;
	bool unordered;
	unsigned chunk; /* tasks handed to a worker at a time, 0 = as fast as it answers */
	unsigned retries;
	struct mps_time timeout, grace; /* timeout: ns 0 = none */
	uint64_t max_tasks;		/* that one worker gets, 0 = as many as there are */
	bool fail_fast, nul, frame, json;
	const char *joblog; /* NULL = none */
	bool resume, resume_failed;

	/* A line for people, without a newline at its end; may be called whenever map_run() runs. */
	void (*say)(const char *text, void *user);
	/* Called about ten times a second from the first second on (at once with `eager`); NULL = nobody looks. wipe: before
	 * anything else is written to the terminal. */
	void (*draw)(const struct map_progress *p, void *user);
	void (*wipe)(void *user);
	bool eager;
	void *user;
};

struct map_outcome {
	uint64_t done, failed;
	int signal; /* that has ended us, SIGPIPE: nobody reads the output; 0 = none */
	struct map_failure *
		failures; /* the first MAP_FAILURES_MAX, in the order in which they happened; free() */
	size_t n_failures;
	int start_error; /* errno: no task could be started, ever; it was said */
	bool trouble;	 /* something else went wrong; it was said */
};

/* True where an argument has a placeholder, so that each task is a process of its own. */
bool map_is_per_task(char *const *argv);

/*
 * Reads tasks from descriptor 0, writes results to 1 and what tasks say on standard error to 2, until all is over. The
 * caller is a process of its own for this, with one thread, and has its signals as its children shall have them. 0 with
 * *ret, or -errno with err when it could not begin.
 */
int map_run(const struct map_options *o, struct map_outcome *ret, struct err *err);

#endif
