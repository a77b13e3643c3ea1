/*
 * Following events, whoever the supervisor is: subscribe, look at what is, and then hear what changes; and all of it anew
 * when the connection is lost, because the supervisor was replaced, or we were too slow. Who goes and is not followed by
 * another closes the socket, so that the end is known.
 */
#ifndef CMD_MPSUP_FOLLOW_H
#define CMD_MPSUP_FOLLOW_H

#include <jansson.h>
#include <stdbool.h>

#include "base/mtime.h"

struct client;
struct cmd_context;
struct err;

/* Rows, errors and events come in the order in which things happened. What the functions get is only lent. */
struct follow {
	json_t *types;		  /* names of events, NULL = all; the caller's */
	json_t *targets;	  /* names, NULL = all; the caller's */
	json_t *fields;		  /* of the rows to look at, NULL = none are wanted; the caller's */
	struct mps_time deadline; /* of everything; ns 0 = none */
	/* Subscribed: now come the rows of all. So many events were lost on the way, at most. */
	void (*begin)(json_int_t n_missed, void *user);
	void (*row)(json_t *row, void *user);
	void (*error)(json_t *error, void *user); /* a target that means nothing */
	void (*event)(json_t *message, void *user);
	void *user;

	char *path;
	struct client *client;
	json_int_t supervisor_pid, seq; /* what was heard last */
};

/*
 * Connects, subscribes and looks. 0; a positive fault number; -ENOENT or -ECONNREFUSED: nobody is there; -ETIMEDOUT: the
 * deadline has come; else -errno. follow_close() is to be called in any case.
 */
int follow_open(struct follow *f, const struct cmd_context *ctx, struct err *err);

/* Waits for one more event. As above; -ETIMEDOUT also when `until` has come (ns 0 = never), and then it goes on. */
int follow_next(struct follow *f, struct mps_time until, struct err *err);

/* What poll(2) is to wait for, and whether follow_next() has something without that. */
int follow_fd(const struct follow *f);
bool follow_has_more(const struct follow *f);

/* Looks again: the rows of all. As above. */
int follow_look(struct follow *f, struct err *err);

void follow_close(struct follow *f);

/* Nobody is there any more. */
bool follow_is_over(int r);

#endif
