/*
 * Which kernel features may be used. Callers keep the answer: the variable is read at each call.
 */
#include "base/feature.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[N_FEATURES] = {
	[FEATURE_PIDFD] = "pidfd",
	[FEATURE_CLOSE_RANGE] = "close_range",
	[FEATURE_CHILDREN] = "children",
	[FEATURE_CLONE_VM] = "clone_vm",
	[FEATURE_CRASH_LIMIT] = "crash_limit",
	[FEATURE_INOTIFY] = "inotify",
	[FEATURE_FANOTIFY] = "fanotify",
	[FEATURE_LEASE] = "lease",
	[FEATURE_FUTEX_WAITV] = "futex_waitv",
	[FEATURE_MEMFD] = "memfd",
	[FEATURE_TMPFILE] = "tmpfile",
	[FEATURE_RWF] = "rwf",
};

bool feature_allowed(enum feature f)
{
	const char *at = getenv("MPSUP_NO");
	size_t n = strlen(names[f]);

	while (at != NULL && *at != '\0') {
		size_t len = strcspn(at, ",");

		if (len == n && strncmp(at, names[f], n) == 0)
			return false;
		at += len;
		at += *at == ',';
	}
	return true;
}
