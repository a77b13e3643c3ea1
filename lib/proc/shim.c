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

static const char variable[] = "LD_PRELOAD=";

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
	size_t n = strv_length(envp), at = 0;
	AUTO_FREE char **v = calloc(n + 2, sizeof(*v));
	AUTO_FREE char *entry = NULL;
	const char *old;

	if (v == NULL)
		return NULL;
	memcpy(v, envp, n * sizeof(*v));
	while (at < n && strncmp(v[at], variable, strlen(variable)) != 0)
		at++;
	old = at < n ? v[at] + strlen(variable) : "";
	if (strncmp(old, shim, strlen(shim)) == 0 ||
	    asprintf(&entry, "%s%s%s%s", variable, shim, old[0] != '\0' ? ":" : "", old) < 0)
		return NULL;
	v[at] = entry;
	return strv_pack(v);
}
