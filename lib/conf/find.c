/*
 * Which configuration file is meant when nobody says: supervisord's places, and mpsup's own before them.
 */
#include "conf/conf.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"

/* The working directory first, then beside the program (supervisord's rule for virtualenvs), then the system. */
static const char *const names[] = {
	"mpsup.conf",
	"supervisord.conf",
	"etc/supervisord.conf",
	"@/etc/mpsup.conf",
	"@/etc/supervisord.conf",
	"@/supervisord.conf",
	"/etc/mpsup.conf",
	"/etc/mpsup/mpsup.conf",
	"/etc/supervisord.conf",
	"/etc/supervisor/supervisord.conf",
};

/* The folder above the one that holds this program: /usr/local for /usr/local/bin/mpsup. "" if unknown. */
static void program_prefix(char *prefix, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", prefix, size - 1);
	char *slash;

	prefix[n > 0 ? n : 0] = '\0';
	for (int i = 0; i < 2; i++) {
		slash = strrchr(prefix, '/');
		if (slash == NULL)
			return;
		*slash = '\0';
	}
}

int conf_find(char **ret_path, struct err *err)
{
	AUTO_FREE char *cwd = getcwd(NULL, 0);
	AUTO_BUF tried = BUF_INIT;
	char prefix[4096];

	program_prefix(prefix, sizeof(prefix));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		AUTO_FREE char *path = NULL;

		if (names[i][0] == '@')
			path = xasprintf("%s%s", prefix, names[i] + 1);
		else if (names[i][0] == '/')
			path = xstrdup(names[i]);
		else
			path = xasprintf("%s/%s", cwd ? cwd : ".", names[i]);
		if (access(path, F_OK) == 0) {
			*ret_path = TAKE_PTR(path);
			return 0;
		}
		buf_addf(&tried, "%s%s", i > 0 ? ", " : "", path);
	}
	return err_set(err, -ENOENT, "no configuration file: none of %s exists; name one with -c",
		       tried.p);
}
