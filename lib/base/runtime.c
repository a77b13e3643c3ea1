/*
 * See runtime.h.
 */
#include "base/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *runtime_base(void)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	char *path = NULL;
	int n;

	if (geteuid() == 0)
		return strdup("/run/mpsup");
	if (xdg != NULL && xdg[0] == '/')
		n = asprintf(&path, "%s/mpsup", xdg);
	else
		n = asprintf(&path, "/tmp/mpsup-%u", (unsigned)geteuid());
	return n < 0 ? NULL : path;
}
