/*
 * Finding mpsup-host. See host.h.
 */
#include "mpsup/host.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"

/* Without /proc: what we were executed as. */
static int find_self(char **ret, struct err *err)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	const char *executed = (const char *)getauxval(AT_EXECFN);

	if (n >= 0)
		path[n] = '\0';
	else if (executed == NULL || realpath(executed, path) == NULL)
		return err_set(err, -errno, "/proc/self/exe: %s; is /proc mounted?",
			       strerror(errno));
	*ret = xstrdup(path);
	return 0;
}

static int find_host(const char *self, char **ret, struct err *err)
{
	static const char *const places[] = { "mpsup-host", "../libexec/mpsup/mpsup-host" };
	const char *set = getenv("MPSUP_HOST");
	int folder = (int)(strrchr(self, '/') - self);

	if (set != NULL && set[0] != '\0') {
		if (access(set, X_OK) < 0)
			return err_set(err, -errno, "MPSUP_HOST=%s: %s", set, strerror(errno));
		*ret = xstrdup(set);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		AUTO_FREE char *path = xasprintf("%.*s/%s", folder, self, places[i]);

		if (access(path, X_OK) != 0)
			continue;
		*ret = TAKE_PTR(path);
		return 0;
	}
	return err_set(err, -ENOENT,
		       "mpsup-host is neither in %.*s nor in ../libexec/mpsup beside it; "
		       "set MPSUP_HOST to its path",
		       folder, self);
}

int host_find(char **ret_self, char **ret_host, struct err *err)
{
	AUTO_FREE char *self = NULL;
	int r = find_self(&self, err);

	if (r == 0)
		r = find_host(self, ret_host, err);
	if (r == 0)
		*ret_self = TAKE_PTR(self);
	return r;
}
