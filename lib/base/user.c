/*
 * Users and groups by name or number. See user.h.
 */
#include "base/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* 2^32 must not become user 0, and 2^32 - 1 means "leave it" to chown(). */
static bool parse_id(const char *text, unsigned *ret_id)
{
	unsigned long long id;

	if (*text == '\0' || text[strspn(text, "0123456789")] != '\0')
		return false;
	errno = 0;
	id = strtoull(text, NULL, 10);
	if (errno != 0 || id >= UINT32_MAX)
		return false;
	*ret_id = (unsigned)id;
	return true;
}

const struct passwd *user_find(const char *name)
{
	const struct passwd *pw = getpwnam(name);
	unsigned id;

	if (pw == NULL && parse_id(name, &id))
		pw = getpwuid((uid_t)id);
	return pw;
}

int user_find_group(const char *name, gid_t *ret_gid)
{
	const struct group *gr = getgrnam(name);
	unsigned id;

	if (gr != NULL)
		*ret_gid = gr->gr_gid;
	else if (parse_id(name, &id))
		*ret_gid = (gid_t)id;
	else
		return -ENOENT;
	return 0;
}
