/*
 * The shim and environments. See shim.h.
 */
#include "sup/shim.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strv.h"
#include "base/xalloc.h"
#include "proc/elf.h"

static const char variable[] = "LD_PRELOAD=";

/* The shim in that folder, absolute: programs stand elsewhere. Its own name is kept, which is a link's (ELF_SHIM). */
static char *look_in(const char *folder)
{
	AUTO_FREE char *absolute = realpath(folder, NULL);
	AUTO_FREE char *path = absolute != NULL ? xasprintf("%s/" ELF_SHIM, absolute) : NULL;

	if (path == NULL || access(path, R_OK) != 0 || strpbrk(path, ": \t\n") != NULL)
		return NULL;
	return TAKE_PTR(path);
}

static char *folder_of(const char *file)
{
	const char *slash = strrchr(file, '/');

	return slash != NULL ? xstrndup(file, (size_t)(slash - file) + 1) : xstrdup(".");
}

char *shim_find(void)
{
	static const char *const places[] = { "", "../libexec/mpsup" };
	const char *host = getenv("MPSUP_HOST");
	char self[PATH_MAX];
	AUTO_FREE char *folder = NULL;
	char *found = NULL;
	ssize_t n;

	if (host != NULL && host[0] != '\0') {
		folder = folder_of(host);
		return look_in(folder);
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return NULL;
	self[n] = '\0';
	folder = folder_of(self);
	for (size_t i = 0; i < ARRAY_SIZE(places) && found == NULL; i++) {
		AUTO_FREE char *place = xasprintf("%s%s", folder, places[i]);

		found = look_in(place);
	}
	return found;
}

char **shim_add(char **envp, const char *shim)
{
	size_t n = strv_length(envp), at = 0;
	AUTO_FREE char **v = xcalloc(n + 2, sizeof(*v));
	AUTO_FREE char *entry = NULL;
	const char *old;
	char **packed;

	memcpy(v, envp, n * sizeof(*v));
	while (at < n && strncmp(v[at], variable, strlen(variable)) != 0)
		at++;
	old = at < n ? v[at] + strlen(variable) : "";
	if (strncmp(old, shim, strlen(shim)) == 0)
		return envp;
	entry = xasprintf("%s%s%s%s", variable, shim, old[0] != '\0' ? ":" : "", old);
	v[at] = entry;
	packed = strv_pack(v);
	if (packed == NULL)
		abort();
	free(envp);
	return packed;
}
