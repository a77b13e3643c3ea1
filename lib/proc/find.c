/*
 * Finding a command. See find.h.
 */
#include "proc/find.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

static bool can_execute(const char *path)
{
	struct stat st;

	if (eaccess(path, X_OK) < 0)
		return false;
	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		return true;
	errno = EACCES;
	return false;
}

int proc_find_command(const char *name, char **ret)
{
	const char *path = getenv("PATH");
	int r = -ENOENT;

	if (strchr(name, '/') != NULL)
		return (*ret = strdup(name)) != NULL ? 0 : -ENOMEM;
	path = path != NULL ? path : "/bin:/usr/bin";
	for (const char *at = path; at != NULL && *name != '\0';) {
		size_t n = strcspn(at, ":");
		AUTO_FREE char *candidate = NULL;

		if (asprintf(&candidate, "%.*s%s%s", (int)n, at, n > 0 ? "/" : "", name) < 0)
			return -ENOMEM;
		if (can_execute(candidate)) {
			*ret = TAKE_PTR(candidate);
			return 0;
		}
		r = errno == EACCES ? -EACCES : r;
		at = at[n] == ':' ? at + n + 1 : NULL;
	}
	return r;
}
