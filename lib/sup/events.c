/*
 * The names of events. See events.h.
 */
#include "base/guess.h"
#include "sup/events.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"

static const char *const names[] = {
#define X(name, text) text,
	EVENT_TYPES(X)
#undef X
};

const char *event_name(enum event_type type)
{
	return names[type];
}

int event_find(const char *name, struct err *err)
{
	struct guess g = guess_begin(name);
	AUTO_BUF all = BUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(names[i], name) == 0)
			return (int)i;
		guess_try(&g, names[i], names[i]);
		buf_addf(&all, "%s%s", i > 0 ? ", " : "", names[i]);
	}
	if (g.best != NULL)
		return err_set(err, -EINVAL, "no event '%s' (did you mean %s?)", name, g.best);
	return err_set(err, -EINVAL, "no event '%s': one of %s", name, all.p);
}
