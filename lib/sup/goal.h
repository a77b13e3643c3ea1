/*
 * Where somebody who waits wants a process to get: a set of states, and when it cannot get there any more.
 */
#ifndef SUP_GOAL_H
#define SUP_GOAL_H

#include <stdbool.h>
#include <stddef.h>

#include "sup/svc.h"

struct err;

/* A bit (1u << state) for each state in it. */
typedef unsigned goal_set;

enum goal_verdict {
	GOAL_OPEN,     /* it may still get there */
	GOAL_REACHED,  /* it is there */
	GOAL_HOPELESS, /* it has come to an end elsewhere; only a request could change that */
};

/*
 * Names of states in any case, with commas between them; "down" is every state at rest, "settled" these and RUNNING.
 * 0, or -EINVAL with err naming the nearest, or all.
 */
int goal_parse(const char *text, goal_set *ret, struct err *err);

/* The words that there are, "RUNNING", "DOWN"...; NULL behind the last. */
const char *goal_word(size_t i);

/* A process that is STOPPED may be started by somebody, so it is not hopeless. */
enum goal_verdict goal_judge(goal_set goal, enum svc_state state);

/* A shutdown may lead there. */
bool goal_is_at_rest(goal_set goal);

/* N_SVC_STATES: no state has this name. */
enum svc_state goal_state(const char *name);

#endif
