/*
 * Users and groups as a configuration names them: by name or by number.
 */
#ifndef BASE_USER_H
#define BASE_USER_H

#include <sys/types.h>

struct passwd;

/* The user with that name, else with that number; NULL when there is none. Valid until the next look-up. */
const struct passwd *user_find(const char *name);

/* The group with that name, or any number. 0 or -ENOENT. */
int user_find_group(const char *name, gid_t *ret_gid);

#endif
