/*
 * The names of events. See events.h.
 */
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
	unsigned best = str_tolerance(name) + 1;
	const char *nearest = NULL;
	AUTO_BUF all = BUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		unsigned d = str_distance(name, names[i]);

		if (strcmp(names[i], name) == 0)
			return (int)i;
		if (d < best) {
			best = d;
			nearest = names[i];
		}
		buf_addf(&all, "%s%s", i > 0 ? ", " : "", names[i]);
	}
	if (nearest != NULL)
		return err_set(err, -EINVAL, "no event '%s' (did you mean %s?)", name, nearest);
	return err_set(err, -EINVAL, "no event '%s': one of %s", name, all.p);
}
