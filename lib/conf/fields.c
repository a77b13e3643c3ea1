/*
 * Writes the fields of the key table: one static function a type, called through a table that a unit test walks.
 */
#include "base/guess.h"
#include "conf/types.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/sig.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "conf/split.h"

/* Values in messages are cut to this many bytes. */
#define SHOWN "%.60s"

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct value {
	const struct key *key;
	const char *text;
	void *field;
	void *base;
	const struct type_context *tc;
};

static int put_string(const struct value *v, struct err *err)
{
	(void)err;
	*(char **)v->field = store_str(v->tc->store, v->text);
	return 0;
}

static int put_path(const struct value *v, struct err *err)
{
	AUTO_FREE char *path = type_expanduser(v->text);

	(void)err;
	*(char **)v->field = store_str(v->tc->store, path);
	return 0;
}

static int put_directory(const struct value *v, struct err *err)
{
	AUTO_FREE char *path = type_expanduser(v->text);
	struct stat st;

	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		return err_set(err, -EINVAL, "'" SHOWN "' is not an existing folder", v->text);
	*(char **)v->field = store_str(v->tc->store, path);
	return 0;
}

static int put_name(const struct value *v, struct err *err)
{
	const char *bad = strpbrk(v->text, " :/");

	if (*v->text == '\0')
		return err_set(err, -EINVAL, "the name is empty");
	if (bad)
		return err_set(err, -EINVAL, "'" SHOWN "' is no name: '%c' must not be in it",
			       v->text, *bad);
	return put_string(v, err);
}

static int put_bool(const struct value *v, struct err *err)
{
	return type_bool(v->text, v->field, err);
}

static int in_range(const struct value *v, int64_t n, struct err *err)
{
	int64_t min = v->key->min, max = v->key->max;

	if (min == 0 && max == 0) {
		min = INT_MIN;
		max = INT_MAX;
	}
	if (n < min)
		return err_set(err, -EINVAL, "%" PRId64 " is too small: the least is %" PRId64, n,
			       min);
	if (n > max)
		return err_set(err, -EINVAL, "%" PRId64 " is too large: the most is %" PRId64, n,
			       max);
	return 0;
}

static int put_number(const struct value *v, const char *what, struct err *err)
{
	int64_t n = 0;
	int r = type_integer(v->text, &n);

	if (r == -ERANGE)
		return err_set(err, -EINVAL, "'" SHOWN "' is too large a number", v->text);
	if (r < 0)
		return err_set(err, -EINVAL, "'" SHOWN "' is not a whole number%s (such as %s)",
			       v->text, what, v->key->def ? v->key->def : "10");
	r = in_range(v, n, err);
	if (r == 0)
		*(int *)v->field = (int)n;
	return r;
}

static int put_int(const struct value *v, struct err *err)
{
	return put_number(v, "", err);
}

static int put_seconds(const struct value *v, struct err *err)
{
	return put_number(v, " of seconds", err);
}

static int put_time(const struct value *v, struct err *err)
{
	return type_time(v->text, v->field, err);
}

static int put_retries(const struct value *v, struct err *err)
{
	int r;

	if (strcasecmp(v->text, "infinite") == 0) {
		*(int *)v->field = CONF_RETRIES_INFINITE;
		return 0;
	}
	r = put_number(v, " or infinite", err);
	/* supervisord takes a negative number as "not one retry", which is 0's meaning. */
	if (r == 0 && *(int *)v->field < 0) {
		*(int *)v->field = 0;
		if (v->tc->on_warning)
			v->tc->on_warning(v->tc->ctx,
					  "a negative number means 0; for no limit write infinite");
	}
	return r;
}

static int put_bytes(const struct value *v, struct err *err)
{
	return type_bytes(v->text, v->field, err);
}

static int put_octal(const struct value *v, struct err *err)
{
	const char *p = v->text;
	char *end;
	long n;
	int r;

	if (p[0] == '0' && (p[1] == 'o' || p[1] == 'O') && p[2] != '\0')
		p += 2;
	errno = 0;
	n = strtol(p, &end, 8);
	if (!isdigit((unsigned char)*p) || *end || errno)
		return err_set(err, -EINVAL, "'" SHOWN "' is not an octal number (such as 022)",
			       v->text);
	r = in_range(v, n, NULL);
	if (r < 0)
		return err_set(err, -EINVAL, "'" SHOWN "' is too large: the most is %" PRIo64,
			       v->text, (uint64_t)v->key->max);
	*(int *)v->field = (int)n;
	return 0;
}

/* The place of a word in "a|b|c", or -1. */
static int choice_index(const char *choices, const char *text)
{
	size_t len = strlen(text);
	int i = 0;

	for (const char *p = choices;; i++) {
		size_t n = strcspn(p, "|");

		if (n == len && strncasecmp(p, text, n) == 0)
			return i;
		if (p[n] == '\0')
			return -1;
		p += n + 1;
	}
}

/* As all messages list words: "a, b, c". */
static int refuse_choice(const struct value *v, struct err *err)
{
	AUTO_BUF list = BUF_INIT;

	for (const char *p = v->key->choices; *p != '\0'; p++) {
		if (*p == '|')
			buf_adds(&list, ", ");
		else
			buf_addc(&list, *p);
	}
	return err_set(err, -EINVAL, "'" SHOWN "' is none of %s", v->text, list.p);
}

static int put_choice(const struct value *v, struct err *err)
{
	int i = choice_index(v->key->choices, v->text);

	if (i < 0)
		return refuse_choice(v, err);
	*(unsigned *)v->field = (unsigned)i;
	return 0;
}

static int put_autorestart(const struct value *v, struct err *err)
{
	bool yes;

	if (strcasecmp(v->text, "unexpected") == 0)
		*(unsigned *)v->field = CONF_RESTART_UNEXPECTED;
	else if (type_bool(v->text, &yes, NULL) == 0)
		*(unsigned *)v->field = yes ? CONF_RESTART_TRUE : CONF_RESTART_FALSE;
	else
		return err_set(err, -EINVAL, "'" SHOWN "' is none of true, false, unexpected",
			       v->text);
	return 0;
}

static int put_signal(const struct value *v, struct err *err)
{
	int sig = sig_parse(v->text);

	if (sig < 0)
		return err_set(err, -EINVAL,
			       "'" SHOWN "' is no signal (such as TERM, SIGINT or 15)", v->text);
	*(int *)v->field = sig;
	return 0;
}

static int put_exitcodes(const struct value *v, struct err *err)
{
	struct conf_proc *proc = v->base;
	uint8_t codes[256];
	size_t n = 0;
	const char *p = v->text;

	while (*p) {
		size_t len = strcspn(p, ",");
		AUTO_FREE char *one = xstrndup(p, len);
		int64_t code;

		if (type_integer(one, &code) != 0 || code < 0 || code > 255)
			return err_set(err, -EINVAL,
				       "'" SHOWN
				       "' is no list of exit codes from 0 to 255 (such as 0,2)",
				       v->text);
		if (n < sizeof(codes))
			codes[n++] = (uint8_t)code;
		if (p[len] && p[len + 1] == '\0')
			return err_set(err, -EINVAL, "'" SHOWN "' ends in a comma", v->text);
		p += len + (p[len] == ',');
	}
	/* Stored as a string, because most programs have the same list (0 bytes are part of it). */
	*(uint8_t **)v->field = n ? (uint8_t *)store_strn(v->tc->store, (char *)codes, n) : NULL;
	proc->n_exitcodes = n;
	return 0;
}

static int put_logfile(const struct value *v, struct err *err)
{
	struct conf_log *log = v->field;
	AUTO_FREE char *path = NULL;

	(void)err;
	log->path = NULL;
	if (strcasecmp(v->text, "none") == 0 || strcasecmp(v->text, "off") == 0) {
		log->kind = CONF_LOG_NONE;
	} else if (strcasecmp(v->text, "auto") == 0) {
		log->kind = CONF_LOG_AUTO;
	} else if (strcasecmp(v->text, "syslog") == 0) {
		log->kind = CONF_LOG_SYSLOG;
	} else {
		path = type_expanduser(v->text);
		log->kind = CONF_LOG_FILE;
		log->path = store_str(v->tc->store, path);
	}
	return 0;
}

static int put_environment(const struct value *v, struct err *err)
{
	struct words words = WORDS_INIT;
	int r = split_environment(v->text, &words, v->tc->on_warning, v->tc->ctx, err);

	if (r == 0)
		*(char ***)v->field = store_strv(v->tc->store, words.v, words.n);
	words_fini(&words);
	return r;
}

static void split_list(const char *text, struct words *words)
{
	for (const char *p = text; *p;) {
		size_t len = strcspn(p, ","), skip = strspn(p, " \t\r\n"), n;

		n = len;
		while (n > skip && is_blank(p[n - 1]))
			n--;
		if (skip < n)
			words_add(words, p + skip, n - skip);
		p += len + (p[len] == ',');
	}
}

static int put_list(const struct value *v, struct err *err)
{
	struct words words = WORDS_INIT;

	(void)err;
	split_list(v->text, &words);
	*(char ***)v->field = store_strv(v->tc->store, words.v, words.n);
	words_fini(&words);
	return 0;
}

static const char *const event_names[] = {
	"EVENT",
	"PROCESS_STATE",
	"PROCESS_STATE_STOPPED",
	"PROCESS_STATE_STARTING",
	"PROCESS_STATE_RUNNING",
	"PROCESS_STATE_BACKOFF",
	"PROCESS_STATE_STOPPING",
	"PROCESS_STATE_EXITED",
	"PROCESS_STATE_FATAL",
	"PROCESS_STATE_UNKNOWN",
	"PROCESS_COMMUNICATION",
	"PROCESS_COMMUNICATION_STDOUT",
	"PROCESS_COMMUNICATION_STDERR",
	"PROCESS_LOG",
	"PROCESS_LOG_STDOUT",
	"PROCESS_LOG_STDERR",
	"REMOTE_COMMUNICATION",
	"SUPERVISOR_STATE_CHANGE",
	"SUPERVISOR_STATE_CHANGE_RUNNING",
	"SUPERVISOR_STATE_CHANGE_STOPPING",
	"TICK",
	"TICK_5",
	"TICK_60",
	"TICK_3600",
	"PROCESS_GROUP",
	"PROCESS_GROUP_ADDED",
	"PROCESS_GROUP_REMOVED",
};

static int unknown_event(const char *name, struct err *err)
{
	struct guess g = guess_begin(name);

	for (size_t i = 0; i < ARRAY_SIZE(event_names); i++) {
		if (strcasecmp(name, event_names[i]) == 0)
			return 0;
		guess_try(&g, event_names[i], event_names[i]);
	}
	return err_set(err, -EINVAL, "there is no event type '" SHOWN "' (%s%s)", name,
		       g.best ? "did you mean " : "such as ", g.best ? g.best : "PROCESS_STATE");
}

static int put_events(const struct value *v, struct err *err)
{
	struct words words = WORDS_INIT;
	int r = 0;

	split_list(v->text, &words);
	for (size_t i = 0; i < words.n && r == 0; i++) {
		for (char *c = words.v[i]; *c; c++)
			*c = (char)toupper((unsigned char)*c);
		r = unknown_event(words.v[i], err);
	}
	if (r == 0 && words.n == 0)
		r = err_set(err, -EINVAL, "names no event type (such as PROCESS_STATE)");
	if (r == 0)
		*(char ***)v->field = store_strv(v->tc->store, words.v, words.n);
	words_fini(&words);
	return r;
}

static int check_user(const char *name, struct err *err)
{
	int64_t id;

	if (type_integer(name, &id) == 0) {
		if (id < 0 || id >= UINT_MAX || getpwuid((uid_t)id) == NULL)
			return err_set(err, -EINVAL, "there is no user with the id " SHOWN, name);
		return 0;
	}
	if (getpwnam(name) == NULL)
		return err_set(err, -EINVAL, "there is no user '" SHOWN "'", name);
	return 0;
}

static int put_user(const struct value *v, struct err *err)
{
	char *name = store_str(v->tc->store, v->text);
	const char **known = v->tc->last_user;
	int r;

	/* getpwnam reads all of /etc/passwd, and most programs of a file have the same user. */
	if (known == NULL || *known != name) {
		r = check_user(name, err);
		if (r < 0)
			return r;
		if (known)
			*known = name;
	}
	*(char **)v->field = name;
	return 0;
}

static int put_owner(const struct value *v, struct err *err)
{
	const char *colon = strchr(v->text, ':');
	AUTO_FREE char *user =
		xstrndup(v->text, colon ? (size_t)(colon - v->text) : strlen(v->text));
	int64_t id;
	int r = check_user(user, err);

	if (r < 0)
		return r;
	if (colon && (type_integer(colon + 1, &id) == 0
			      ? id < 0 || id >= UINT_MAX || getgrgid((gid_t)id) == NULL
			      : getgrnam(colon + 1) == NULL))
		return err_set(err, -EINVAL, "there is no group '" SHOWN "'", colon + 1);
	return put_string(v, err);
}

static int put_url(const struct value *v, struct err *err)
{
	const char *colon = strchr(v->text, ':');

	if (strcasecmp(v->text, "auto") == 0 || *v->text == '\0') {
		*(char **)v->field = NULL;
		return 0;
	}
	if (colon == NULL || colon == v->text || colon[1] == '\0')
		return err_set(err, -EINVAL,
			       "'" SHOWN "' is no URL (such as http://localhost:9001) and not AUTO",
			       v->text);
	return put_string(v, err);
}

/* A port from 1 to 65535. */
static bool is_port(const char *text)
{
	int64_t port;

	return *text >= '0' && *text <= '9' && type_integer(text, &port) == 0 && port >= 1 &&
	       port <= 65535;
}

static int put_socket(const struct value *v, struct err *err)
{
	const char *host = v->text + strlen("tcp://");
	const char *colon;

	if (str_is_prefix("unix://", v->text)) {
		if (v->text[strlen("unix://")] != '/')
			return err_set(
				err, -EINVAL,
				"'" SHOWN
				"': the path must be absolute (such as unix:///run/app.sock)",
				v->text);
		return put_string(v, err);
	}
	colon = str_is_prefix("tcp://", v->text) ? strrchr(v->text, ':') : NULL;
	if (colon == NULL || colon <= host || !is_port(colon + 1) || strpbrk(host, " \t\n"))
		return err_set(err, -EINVAL, "'" SHOWN "' is not tcp://HOST:PORT or unix:///PATH",
			       v->text);
	return put_string(v, err);
}

static int put_inet(const struct value *v, struct err *err)
{
	const char *colon = strrchr(v->text, ':');

	if (!is_port(colon ? colon + 1 : v->text))
		return err_set(err, -EINVAL,
			       "'" SHOWN "' is not [HOST:]PORT with a port from 1 to 65535",
			       v->text);
	return put_string(v, err);
}

static int put_limit(const struct value *v, struct err *err)
{
	struct conf_proc *proc = v->base;

	return type_limit(v->text, &proc->restart_limit_count, &proc->restart_limit_secs, err);
}

static int put_exit_on(const struct value *v, struct err *err)
{
	struct conf_supervisord *s = v->base;

	s->exit_on_name = NULL;
	if (strcmp(v->text, "fatal") == 0) {
		s->exit_on = CONF_EXIT_FATAL;
	} else if (strcmp(v->text, "all") == 0) {
		s->exit_on = CONF_EXIT_ALL;
	} else if (strcmp(v->text, "none") == 0) {
		s->exit_on = CONF_EXIT_NONE;
	} else if (str_is_prefix("exit:", v->text) && v->text[strlen("exit:")]) {
		s->exit_on = CONF_EXIT_NAME;
		s->exit_on_name = store_str(v->tc->store, v->text + strlen("exit:"));
	} else {
		return err_set(err, -EINVAL, "'" SHOWN "' is none of fatal, exit:NAME, all, none",
			       v->text);
	}
	return 0;
}

static int put_env_file(const struct value *v, struct err *err)
{
	struct conf_proc *proc = v->base;
	bool optional = v->text[0] == '-';
	AUTO_FREE char *path = type_expanduser(v->text + optional);

	if (*path == '\0')
		return err_set(err, -EINVAL, "names no file");
	proc->env_file_optional = optional;
	proc->env_file = store_str(v->tc->store, path);
	return 0;
}

static int put_entry(const struct value *v, struct err *err)
{
	if (type_entry(v->text) == 0)
		return err_set(err, -EINVAL,
			       "'" SHOWN "' is not FILE:FUNCTION (such as ./worker.so:main)",
			       v->text);
	return put_string(v, err);
}

static int (*const parsers[N_KEY_TYPES])(const struct value *v, struct err *err) = {
	[KEY_STRING] = put_string,
	[KEY_PATH] = put_path,
	[KEY_DIRECTORY] = put_directory,
	[KEY_NAME] = put_name,
	[KEY_BOOL] = put_bool,
	[KEY_INT] = put_int,
	[KEY_SECONDS] = put_seconds,
	[KEY_TIME] = put_time,
	[KEY_RETRIES] = put_retries,
	[KEY_BYTES] = put_bytes,
	[KEY_OCTAL] = put_octal,
	[KEY_CHOICE] = put_choice,
	[KEY_AUTORESTART] = put_autorestart,
	[KEY_SIGNAL] = put_signal,
	[KEY_EXITCODES] = put_exitcodes,
	[KEY_LOGFILE] = put_logfile,
	[KEY_ENVIRONMENT] = put_environment,
	[KEY_LIST] = put_list,
	[KEY_EVENTS] = put_events,
	[KEY_USER] = put_user,
	[KEY_OWNER] = put_owner,
	[KEY_URL] = put_url,
	[KEY_SOCKET] = put_socket,
	[KEY_INET] = put_inet,
	[KEY_LIMIT] = put_limit,
	[KEY_EXIT_ON] = put_exit_on,
	[KEY_ENV_FILE] = put_env_file,
	[KEY_ENTRY] = put_entry,
};

int type_parse(const struct key *key, const char *text, void *base, const struct type_context *tc,
	       struct err *err)
{
	struct value v = { key, text, (char *)base + key->offset, base, tc };

	return parsers[key->type](&v, err);
}
