/*
 * See tracker.h. A connection for each word: nothing is kept open, so nothing can be closed by somebody else, or held open
 * by a child.
 */
#include "ipc/tracker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/runtime.h"
#include "base/strv.h"
#include "mpsup.h"
#include "proc/tree.h"
#include "track/client.h"
#include "track/serve.h"

enum { TRIES = 8 };

/* Of the first process of the tree that needed it. It is never freed: forks have it. */
static _Atomic(char *) own;

/* NULL: out of memory, or without /proc. */
static char *make_socket_path(void)
{
	AUTO_FREE char *base = runtime_base();
	struct proc_stat st;
	char *path;

	if (base == NULL || proc_stat_read(getpid(), &st) < 0 ||
	    asprintf(&path, "%s/" SERVE_FOLDER "%d.%" PRIu64 "/ipc.sock", base, (int)getpid(),
		     st.start_ticks) < 0)
		return NULL;
	return path;
}

/* In place of `old`, which is NULL or of the user that we were. */
static char *set_own(char *old)
{
	char *path = make_socket_path(), *now = old;

	if (path == NULL || atomic_compare_exchange_strong(&own, &now, path))
		return path;
	free(path);
	return now;
}

/* It is of the kind that we start. */
static bool is_own(const char *socket)
{
	const char *slash = strrchr(socket, '/');

	while (slash != NULL && slash > socket && slash[-1] != '/')
		slash--;
	return slash != NULL && strncmp(slash, SERVE_FOLDER, strlen(SERVE_FOLDER)) == 0;
}

static bool is_nobody_there(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED || r == -ECONNRESET || r == -EPIPE;
}

/* Nobody has written down that it is there. */
static bool has_journal(const char *socket)
{
	AUTO_FREE char *path = NULL;

	return asprintf(&path, "%.*sjournal", (int)(strlen(socket) - strlen("sock")), socket) < 0 ||
	       access(path, F_OK) == 0;
}

static bool takes_away(enum track_verb verb)
{
	return verb == TRACK_UNREGISTER || verb == TRACK_RETRACT || verb == TRACK_REMOVED;
}

static int say_to(const char *socket, enum track_verb verb, enum track_type type, const char *name)
{
	int r = -ENOENT;

	for (int i = 0; i < TRIES; i++) {
		r = track_say(socket, verb, type, name, NULL);
		if (!is_nobody_there(r))
			return r;
		if (takes_away(verb) && !has_journal(socket))
			return 0;
		r = tracker_revive(socket);
		if (r < 0 && !is_nobody_there(r))
			return r;
	}
	return -ECONNRESET; /* each that was started has ended at once */
}

int tracker_say(enum track_verb verb, enum track_type type, const char *name)
{
	const char *set = secure_getenv("MPSUP_TRACKER");
	char *socket = atomic_load(&own);
	int r;

	if (set != NULL && set[0] == '\0') /* there is to be none */
		return 0;
	if (socket == NULL && set != NULL) {
		r = is_own(set) ? say_to(set, verb, type, name)
				: track_say(set, verb, type, name, NULL);
		/* A supervisor that is no more, or that we do not belong to. */
		if (!is_nobody_there(r) && r != -EACCES && r != -EPERM)
			return r;
	}
	if (socket == NULL)
		socket = set_own(NULL);
	r = socket != NULL ? say_to(socket, verb, type, name) : -ENOMEM;
	if (r == -EACCES && (socket = set_own(socket)) != NULL) /* we were root */
		r = say_to(socket, verb, type, name);
	return r;
}

const char *tracker_socket(void)
{
	return atomic_load(&own);
}

/* Who was given another than ours is to have that. */
static bool is_ours(const char *value)
{
	const char *set = getenv("MPSUP_TRACKER");

	return set != NULL && strcmp(value, set) == 0;
}

char **tracker_environ(char **env)
{
	static const char variable[] = "MPSUP_TRACKER=";
	const char *socket = tracker_socket();
	size_t n = strv_length(env), kept = 0, length;
	char **list, *text;

	if (socket == NULL)
		return NULL;
	length = strlen(socket) + sizeof(variable);
	list = malloc((n + 2) * sizeof(*list) + length);
	if (list == NULL)
		return NULL;
	text = (char *)(list + n + 2);
	for (size_t i = 0; i < n; i++) {
		bool is_it = str_is_prefix(variable, env[i]);

		if (is_it && !is_ours(env[i] + sizeof(variable) - 1)) {
			free(list);
			return NULL;
		}
		if (!is_it)
			list[kept++] = env[i];
	}
	snprintf(text, length, "%s%s", variable, socket);
	list[kept++] = text;
	list[kept] = NULL;
	return list;
}

void tracker_made(enum track_type type, const char *name)
{
	const char *set = secure_getenv("MPSUP_TRACKER"), *socket = atomic_load(&own);

	if (socket == NULL && set != NULL && is_own(set)) /* a supervisor's looks by itself */
		socket = set;
	if (socket != NULL)
		track_tell(socket, TRACK_REGISTER, type, name);
}

/* ------------------------------------------------------------------------------------------------------- public */

static int say_checked(enum track_verb verb, const char *type, const char *name)
{
	AUTO_BUF line = BUF_INIT;
	enum track_type parsed;
	struct track_word w;
	char *p;
	size_t n;

	if (type == NULL || name == NULL || !track_type_parse(type, strlen(type), &parsed))
		return -EINVAL;
	/* There and back: so it has the one spelling. */
	track_word_encode(verb, parsed, name, &line);
	if (line.failed)
		return -ENOMEM;
	p = line.p;
	n = line.len;
	if (track_word_next(&p, &n, &w) != 1 || w.name_length > TRACK_NAME_MAX)
		return -EINVAL;
	return tracker_say(verb, parsed, w.name);
}

int mps_track_register(const char *type, const char *name)
{
	return say_checked(TRACK_REGISTER, type, name);
}

int mps_track_unregister(const char *type, const char *name)
{
	return say_checked(TRACK_UNREGISTER, type, name);
}
