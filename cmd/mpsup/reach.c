/*
 * Which manager a verb means. See reach.h.
 */
#include "mpsup/reach.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "mpsup.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "sup/client.h"

enum { KEY_LONGEST = 4096, ANSWER_MS = 5000 };
#define PREFIX "MPSUP_MANAGER_"
#define KEY_PREFIX "MPSUP_AUTHKEY_FILE_"

extern char **environ;

/* What was found; owned. */
struct place {
	char *address, *key_file;
	bool is_supervised; /* it is there soon, or again */
};

int reach_read_key(const char *path, char **ret_key, size_t *ret_n, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *key = NULL;
	struct stat st;
	size_t n = 0;
	int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;

	if (r == 0 && (st.st_mode & 077) != 0)
		return err_set(err, -EACCES, "%s: others may read this key (chmod 600 it)", path);
	if (r == 0)
		r = fd_read_all(fd, KEY_LONGEST, &key, &n);
	if (r < 0)
		return err_set(err, r, "%s: %s", path, strerror(-r));
	n -= n > 0 && key[n - 1] == '\n';
	if (n == 0)
		return err_set(err, -EINVAL, "%s: there is no key in it", path);
	*ret_key = TAKE_PTR(key);
	*ret_n = n;
	return 0;
}

/* ------------------------------------------------------------------------------------------------------- environment */

static char *variable_of(const char *prefix, const char *name)
{
	char *v = xasprintf("%s%s", prefix, name);

	for (char *p = v + strlen(prefix); *p; p++)
		*p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
	return v;
}

/* The address of this one; false: it is not there. */
static bool find_named(const char *name, struct place *ret)
{
	AUTO_FREE char *variable = variable_of(PREFIX, name);
	AUTO_FREE char *key = variable_of(KEY_PREFIX, name);
	const char *address = getenv(variable), *file = getenv(key);

	if (address == NULL || *address == '\0')
		return false;
	ret->is_supervised = true;
	ret->address = xstrdup(address);
	ret->key_file = file != NULL ? xstrdup(file) : NULL;
	return true;
}

/* How many there are; their names with commas, and the last one in `last`. */
static size_t list_named(struct buf *names, char **last)
{
	size_t n = 0;

	for (char **e = environ; *e != NULL; e++) {
		const char *name = *e + strlen(PREFIX);

		if (!str_is_prefix(PREFIX, *e) || strchr(name, '=') == NULL)
			continue;
		free(*last);
		*last = xstrndup(name, strcspn(name, "="));
		buf_addf(names, "%s%s", n++ > 0 ? ", " : "", *last);
	}
	return n;
}

/* -------------------------------------------------------------------------------------------------------- supervisor */

static char *text_of(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text != NULL ? xstrdup(text) : NULL;
}

/* Of the list of a supervisor: the one of this name, or the only one. 0 or EXIT_USAGE. */
static int choose(const json_t *managers, const char *name, struct place *ret, struct err *err)
{
	AUTO_BUF names = BUF_INIT;
	const json_t *found = NULL;

	for (size_t i = 0; i < json_array_size(managers); i++) {
		const json_t *row = json_array_get(managers, i);
		const char *its = json_string_value(json_object_get(row, "name"));

		buf_addf(&names, "%s%s", i > 0 ? ", " : "", its);
		if (name == NULL ? json_array_size(managers) == 1 : strcmp(its, name) == 0)
			found = row;
	}
	if (names.len == 0)
		return err_set(err, EXIT_USAGE,
			       "the supervisor has no manager: a section [manager:NAME] makes one, "
			       "or name one by --manager");
	if (found == NULL && name != NULL)
		return err_set(err, EXIT_USAGE, "there is no manager '%s' (there is %s)", name,
			       names.p);
	if (found == NULL)
		return err_set(err, EXIT_USAGE, "which manager? --manager one of %s", names.p);
	ret->is_supervised = true;
	ret->address = text_of(found, "address");
	ret->key_file = text_of(found, "authkey_file");
	return 0;
}

/* The environment does not count. */
static bool is_asked_only(const struct cmd_context *ctx)
{
	return ctx->config != NULL || ctx->socket != NULL;
}

static int ask_supervisor(const struct cmd_context *ctx, const char *name, struct place *ret,
			  struct err *err)
{
	struct err why = ERR_INIT;
	AUTO_FREE char *path = NULL;
	struct client *client;
	json_t *info;
	AUTO_FREE char *variable = name != NULL ? variable_of(PREFIX, name) : NULL;
	int r = connect_socket_path(ctx, &path, &why);

	if (r == 0)
		r = connect_ask(path, ANSWER_MS, "info", NULL, &client, &info, &why);
	if (r != 0 && name != NULL)
		return err_set(err, EXIT_UNREACHABLE, "no manager '%s': %s%s%s", name,
			       is_asked_only(ctx) ? "" : variable,
			       is_asked_only(ctx) ? "" : " is not in the environment, and ",
			       why.text);
	if (r != 0)
		return err_set(err, EXIT_UNREACHABLE,
			       "no manager: --manager names none, there is no " PREFIX
			       "* in the environment, and %s",
			       why.text);
	r = choose(json_object_get(info, "managers"), name, ret, err);
	json_decref(info);
	client_close(client);
	return r;
}

/* --------------------------------------------------------------------------------------------------------------- all */

static int find(const struct reach *reach, const struct cmd_context *ctx, struct place *ret,
		struct err *err)
{
	AUTO_FREE char *only = NULL;
	AUTO_BUF names = BUF_INIT;
	const char *m = reach->manager;
	size_t n;

	if (m != NULL && strchr(m, ':') != NULL) {
		ret->address = xstrdup(m);
		return 0;
	}
	if (m != NULL && strchr(m, '/') != NULL) {
		ret->address = xasprintf("unix:%s", m);
		return 0;
	}
	if (is_asked_only(ctx))
		return ask_supervisor(ctx, m, ret, err);
	if (m != NULL)
		return find_named(m, ret) ? 0 : ask_supervisor(ctx, m, ret, err);
	n = list_named(&names, &only);
	if (n > 1)
		return err_set(err, EXIT_USAGE, "which manager? --manager one of %s", names.p);
	return n == 1 && find_named(only, ret) ? 0 : ask_supervisor(ctx, NULL, ret, err);
}

static int connect_to(const char *address, const struct mps_manager_options *o, int64_t timeout,
		      struct mps_manager **ret, struct err *err)
{
	int r = mps_manager_connect(address, o, ret, timeout);

	if (r == 0)
		return 0;
	if (r == -ETIMEDOUT)
		return err_set(err, EXIT_TIMEOUT, "the manager at %s %s", address,
			       o->reconnect ? "is not there, or does not answer"
					    : "does not answer");
	if (r == -EINVAL)
		return err_set(err, EXIT_USAGE,
			       "'%s' is no address (such as unix:/run/jobs.sock or tcp:host:7000)",
			       address);
	return err_set(err, EXIT_UNREACHABLE, "the manager at %s: %s%s", address, strerror(-r),
		       r == -EACCES && o->authkey == NULL ? " (is --authkey-file missing?)" : "");
}

bool reach_on_option(struct reach *reach, const struct cmd_option *o, const char *value)
{
	if (strcmp(o->name, "manager") == 0)
		reach->manager = value;
	else if (strcmp(o->name, "authkey-file") == 0)
		reach->key_file = value;
	else
		return false;
	return true;
}

int reach_manager(const struct reach *reach, const struct cmd_context *ctx, int64_t timeout,
		  struct mps_manager **ret, struct err *err)
{
	struct mps_manager_options o = MPS_MANAGER_OPTIONS_INIT;
	struct place place = { 0 };
	const char *file;
	AUTO_FREE char *key = NULL;
	int r = find(reach, ctx, &place, err);

	file = reach->key_file != NULL ? reach->key_file : place.key_file;
	if (r == 0 && file != NULL && reach_read_key(file, &key, &o.authkey_size, err) < 0)
		r = EXIT_GENERIC;
	o.authkey = key;
	o.remote = reach->remote;
	o.reconnect = place.is_supervised;
	if (r == 0)
		r = connect_to(place.address, &o, timeout, ret, err);
	free(place.address);
	free(place.key_file);
	return r;
}
