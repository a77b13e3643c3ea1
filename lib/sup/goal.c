/*
 * What somebody waits for. See goal.h.
 */
#include "base/guess.h"
#include "sup/goal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"

#define BIT(state) (1u << SVC_##state)
#define DOWN (BIT(STOPPED) | BIT(EXITED) | BIT(FATAL) | BIT(UNKNOWN))
#define GIVEN_UP (BIT(EXITED) | BIT(FATAL) | BIT(UNKNOWN))

static const struct {
	const char *name;
	goal_set set;
} words[] = {
#define X(name, code, doc) { #name, BIT(name) },
	SVC_STATES(X)
#undef X
		{ "DOWN", DOWN },
	{ "SETTLED", DOWN | BIT(RUNNING) },
};

static int not_found(const char *word, struct err *err)
{
	AUTO_FREE char *nearest = NULL;
	struct guess g = guess_begin(word);

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		guess_try(&g, words[i].name, words[i].name);
	nearest = g.best != NULL ? xstrdup(g.best) : NULL;
	for (char *p = nearest; p != NULL && *p != '\0'; p++)
		*p |= 0x20; /* as people write it */
	if (nearest != NULL)
		return err_set(err, -EINVAL, "no state '%s' (did you mean %s?)", word, nearest);
	return err_set(err, -EINVAL,
		       "no state '%s': one of running, exited, stopped, fatal, backoff, starting, "
		       "stopping, unknown, down, settled",
		       word);
}

const char *goal_word(size_t i)
{
	return i < ARRAY_SIZE(words) ? words[i].name : NULL;
}

int goal_parse(const char *text, goal_set *ret, struct err *err)
{
	AUTO_FREE char *copy = xstrdup(text);
	char *rest = copy;
	goal_set set = 0;

	for (char *word; (word = strsep(&rest, ",")) != NULL;) {
		goal_set found = 0;

		for (size_t i = 0; i < ARRAY_SIZE(words); i++)
			if (strcasecmp(words[i].name, word) == 0)
				found = words[i].set;
		if (found == 0)
			return not_found(word, err);
		set |= found;
	}
	*ret = set;
	return 0;
}

enum goal_verdict goal_judge(goal_set goal, enum svc_state state)
{
	if (goal & 1u << state)
		return GOAL_REACHED;
	return GIVEN_UP & 1u << state ? GOAL_HOPELESS : GOAL_OPEN;
}

bool goal_is_at_rest(goal_set goal)
{
	return goal & DOWN;
}

enum svc_state goal_state(const char *name)
{
	enum svc_state state = 0;

	while (state < N_SVC_STATES && strcmp(svc_state_name(state), name) != 0)
		state++;
	return state;
}
