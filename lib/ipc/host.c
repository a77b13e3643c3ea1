/*
 * See host.h.
 */
#include "ipc/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "mpsup.h"

/* The file that this code is in. */
static bool find_self(char path[PATH_MAX])
{
	Dl_info info;
	ssize_t n;

	if (dladdr((void *)(uintptr_t)mps_version, &info) != 0 && info.dli_fname != NULL &&
	    strstr(info.dli_fname, ".so") != NULL && realpath(info.dli_fname, path) != NULL)
		return true;
	n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	return true;
}

int host_path(char **ret)
{
	static const char *const places[] = { "mpsup-host", "../libexec/mpsup/mpsup-host" };
	const char *set = secure_getenv("MPSUP_HOST");
	AUTO_FREE char *self = malloc(PATH_MAX);
	AUTO_FREE char *path = NULL;

	if (self == NULL)
		return -ENOMEM;
	if (set != NULL && set[0] != '\0')
		path = strdup(set);
	for (size_t i = 0; path == NULL && i < ARRAY_SIZE(places) && find_self(self); i++) {
		if (asprintf(&path, "%.*s/%s", (int)(strrchr(self, '/') - self), self, places[i]) <
		    0)
			return -ENOMEM;
		if (access(path, X_OK) < 0)
			free(TAKE_PTR(path));
	}
	if (path == NULL)
		path = strdup(MPSUP_LIBEXECDIR "/mpsup-host");
	if (path == NULL)
		return -ENOMEM;
	if (access(path, X_OK) < 0)
		return -ENOPKG;
	*ret = TAKE_PTR(path);
	return 0;
}
