/*
 * The names of events.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "sup/events.h"

Test(events, each_name_is_found_again)
{
	for (int i = 0; i < N_EVENT_TYPES; i++)
		cr_assert_eq(event_find(event_name((enum event_type)i), NULL), i);
}

Test(events, what_is_none_is_told_with_what_would_be_right)
{
	static const struct {
		const char *name;
		const char *says;
	} rows[] = {
		{ "states", "did you mean state?" },
		{ "Exit", "did you mean exit?" },
		{ "spawn-error", "did you mean spawn_error?" },
		{ "",
		  "one of state, exit, spawn_error, log_rotated, ipc, reload, takeover, shutdown" },
		{ "nothing of all this", "one of state," },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct err err = ERR_INIT;

		cr_assert_eq(event_find(rows[i].name, &err), -EINVAL);
		cr_expect(strstr(err.text, rows[i].says) != NULL, "'%s': %s", rows[i].name,
			  err.text);
	}
}
