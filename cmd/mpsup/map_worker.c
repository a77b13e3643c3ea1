/*
 * Finding what a map starts. See map_worker.h.
 */
#include "mpsup/map_worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strv.h"
#include "base/xalloc.h"
#include "conf/types.h"
#include "map/map.h"
#include "mpsup/cmd.h"
#include "mpsup/front.h"
#include "mpsup/host.h"
#include "proc/elf.h"
#include "proc/find.h"
#include "proc/shim.h"

const char *const map_worker_methods[] = { "command", "spawn", "fork", "forkserver", NULL };

static size_t method; /* of those; 0: it is a command */

static const enum mps_spawn_method methods[] = {
	[1] = MPS_METHOD_SPAWN,
	[2] = MPS_METHOD_FORK,
	[3] = MPS_METHOD_FORKSERVER,
};

int map_worker_set_method(const char *word, struct err *err)
{
	for (size_t i = 0; map_worker_methods[i] != NULL; i++)
		if (strcmp(map_worker_methods[i], word) == 0) {
			method = i;
			return 0;
		}
	return err_set(err, EXIT_USAGE,
		       "--start-method '%s' is none of command, spawn, fork, forkserver", word);
}

/* As env(1) and xargs(1). */
static int fail(const char *what, int error, const char *hint, struct err *err)
{
	return err_set(err, error == ENOENT ? EXEC_NOT_FOUND : EXEC_CANNOT, "map: %s: %s%s", what,
		       strerror(error), hint);
}

/* FILE:FUNCTION where there is such a file. */
static bool looks_like_entry(const char *word)
{
	AUTO_FREE char *object = NULL;
	size_t n = type_entry(word);

	if (n == 0)
		return false;
	object = xstrndup(word, n);
	return access(object, F_OK) == 0;
}

static int find_command(struct map_options *o, struct err *err)
{
	AUTO_FREE char *path = NULL;
	int r;

	if (map_is_per_task((char *const[]){ o->argv[0], NULL }))
		return 0;
	r = proc_find_command(o->argv[0], &path);
	if (r == 0 && looks_like_entry(path) && access(path, F_OK) < 0)
		r = -errno;
	if (r < 0)
		return fail(o->argv[0], -r,
			    looks_like_entry(o->argv[0])
				    ? "; a function of a shared object needs --start-method spawn, "
				      "fork or forkserver"
				    : "",
			    err);
	o->path = TAKE_PTR(path);
	return 0;
}

/* A name without a slash that is not here is looked for by the dynamic loader. */
static int find_object(const char *word, size_t n, const char **ret, struct err *err)
{
	AUTO_FREE char *object = xstrndup(word, n);

	if (access(object, R_OK) == 0)
		*ret = strchr(object, '/') != NULL ? TAKE_PTR(object) : xasprintf("./%s", object);
	else if (strchr(object, '/') != NULL)
		return fail(object, errno, "", err);
	else
		*ret = TAKE_PTR(object);
	return 0;
}

static int find_entry(struct map_options *o, struct err *err)
{
	const char *word = o->argv[0], *name = map_worker_methods[method];
	AUTO_FREE char *self = NULL;
	size_t n = type_entry(word);
	char *host = NULL;
	int r;

	if (map_is_per_task((char *const[]){ o->argv[0], NULL }))
		return err_set(
			err, EXIT_USAGE,
			"map: --start-method %s: '%s' is another for each task; placeholders may "
			"stand in its arguments",
			name, word);
	if (n == 0)
		return err_set(
			err, EXIT_USAGE,
			"map: --start-method %s needs FILE:FUNCTION (such as ./worker.so:main), "
			"and '%s' is a command",
			name, word);
	r = find_object(word, n, &o->path, err);
	if (r != 0)
		return r;
	o->symbol = word + n + 1;
	o->method = methods[method];
	if (o->method == MPS_METHOD_FORK)
		return 0;
	r = host_find(&self, &host, err);
	if (r < 0)
		return err_prefix(err, EXEC_FAILED, "map: ");
	o->host = host;
	return 0;
}

int map_worker_find(struct map_options *o, struct err *err)
{
	return method == 0 ? find_command(o, err) : find_entry(o, err);
}

/* --------------------------------------------------------------------------------------------- environment */

/* NULL: it is not there, or the loader of what is executed would not load it, or nothing is. */
static char *find_shim(const struct map_options *o)
{
	static struct elf_cache elves;
	const char *image = o->symbol != NULL ? o->host : o->path;
	AUTO_FREE char *shim = image != NULL ? shim_find() : NULL;

	return shim != NULL && elf_can_preload(&elves, image, getenv("PATH")) ? TAKE_PTR(shim)
									      : NULL;
}

/* Ours from now on; NULL: there was no memory, and it stays as it is. */
static void take_environment(char **with)
{
	static char **last;

	if (with == NULL)
		return;
	environ = with;
	free(last);
	last = with;
}

/*
 * Workers that answer lines are to do so line by line, although nobody has told them: Python and what uses the C library's
 * standard output, as sed and grep (lib/preload/lines.c). A copy of us has ours.
 */
bool map_worker_environment(const struct map_options *o, bool tells)
{
	bool answers_lines = o->path != NULL && !map_is_per_task(o->argv) && !o->frame && !o->nul;
	AUTO_FREE char *shim = answers_lines || tells ? find_shim(o) : NULL;

	if (answers_lines) {
		take_environment(strv_with(environ, "PYTHONUNBUFFERED=1"));
		take_environment(strv_with(environ, "MPSUP_LINES=1"));
		setvbuf(stdout, NULL, _IOLBF, 0);
	}
	if (shim == NULL)
		return false;
	take_environment(shim_add(environ, shim));
	return tells;
}
