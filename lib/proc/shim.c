/*
 * The shim and environments. See shim.h.
 */
#include "proc/shim.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strv.h"
#include "proc/elf.h"

/* The shim in that folder, absolute: programs stand elsewhere. Its own name is kept, which is a link's (ELF_SHIM). */
static char *look_in(const char *folder)
{
	AUTO_FREE char *absolute = realpath(folder, NULL);
	AUTO_FREE char *path = NULL;

	if (absolute == NULL || asprintf(&path, "%s/" ELF_SHIM, absolute) < 0)
		return NULL;
	if (access(path, R_OK) != 0 || strpbrk(path, ": \t\n") != NULL)
		return NULL;
	return TAKE_PTR(path);
}

/* In `place` beside that file. */
static char *look_beside(const char *file, const char *place)
{
	const char *slash = strrchr(file, '/');
	AUTO_FREE char *folder = NULL;

	if (asprintf(&folder, "%.*s/%s", slash != NULL ? (int)(slash - file) : 1,
		     slash != NULL ? file : ".", place) < 0)
		return NULL;
	return look_in(folder);
}

char *shim_find(void)
{
	const char *host = getenv("MPSUP_HOST");
	char self[PATH_MAX], *found;
	ssize_t n;

	if (host != NULL && host[0] != '\0')
		return look_beside(host, "");
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return NULL;
	self[n] = '\0';
	found = look_beside(self, "");
	return found != NULL ? found : look_beside(self, "../libexec/mpsup");
}

char **shim_add(char *const *envp, const char *shim)
{
	const char *old = strv_value(envp, "LD_PRELOAD", strlen("LD_PRELOAD"));
	AUTO_FREE char *entry = NULL;

	old = old != NULL ? old : "";
	if (strncmp(old, shim, strlen(shim)) == 0 ||
	    asprintf(&entry, "LD_PRELOAD=%s%s%s", shim, old[0] != '\0' ? ":" : "", old) < 0)
		return NULL;
	return strv_with(envp, entry);
}
