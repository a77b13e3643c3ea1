/*
 * mpsup dict, list, queue, counter, event and barrier: one call to an object of a manager. Which calls there are is a table.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/guess.h"
#include "base/mtime.h"
#include "base/xalloc.h"
#include "conf/types.h"
#include "mpsup.h"
#include "mpsup/cmd.h"
#include "mpsup/front.h"
#include "mpsup/packed.h"
#include "mpsup/reach.h"
#include "mpsup/verbs.h"

/* Whoever is not to be waited for answers within this, or never will. */
#define ANSWER_NS (10 * MPS_NS_PER_S)

enum {
	WAITS = 1 << 0,	 /* until its time is over */
	ASKS = 1 << 1,	 /* true or false: an exit status */
	PAIRS = 1 << 2,	 /* what comes is pairs */
	SILENT = 1 << 3, /* what comes is nobody's business */
	TAKES = 1 << 5,	 /* what comes is nowhere else: it goes back where it cannot be written */
	MANY = 1
	       << 4, /* the last argument may be several, a call each; "-" = the lines of standard input */
};

struct action {
	const char *type, *name, *method;
	/* k: a key; v: a value; i: a number; m: a map; behind "?" they may be left out. */
	const char *kinds, *args;
	unsigned flags;
};

/* clang-format off */
static const struct action actions[] = {
	{ "dict", "get", "get", "k", "KEY", 0 },
	{ "dict", "set", "set", "kv", "KEY VALUE", SILENT },
	{ "dict", "del", "delete", "k", "KEY", SILENT },
	{ "dict", "has", "has", "k", "KEY", ASKS },
	{ "dict", "keys", "keys", "", "", 0 },
	{ "dict", "items", "items", "", "", PAIRS },
	{ "dict", "incr", "add", "k?i", "KEY [N]", 0 },
	{ "dict", "pop", "pop", "k", "KEY", TAKES },
	{ "dict", "update", "update", "m", "JSON-OBJECT", SILENT },
	{ "dict", "size", "size", "", "", 0 },
	{ "dict", "clear", "clear", "", "", SILENT },
	{ "list", "append", "append", "v", "VALUE...|-", MANY | SILENT },
	{ "list", "get", "get", "i", "PLACE", 0 },
	{ "list", "set", "set", "iv", "PLACE VALUE", SILENT },
	{ "list", "insert", "insert", "iv", "PLACE VALUE", SILENT },
	{ "list", "pop", "pop", "?i", "[PLACE]", TAKES },
	{ "list", "slice", "slice", "?ii", "[FROM [TO]]", 0 },
	{ "list", "size", "size", "", "", 0 },
	{ "list", "clear", "clear", "", "", SILENT },
	{ "queue", "put", "put", "v", "VALUE...|-", WAITS | MANY | SILENT },
	{ "queue", "get", "get", "", "", WAITS | TAKES },
	{ "queue", "size", "size", "", "", 0 },
	{ "queue", "close", "close", "", "", SILENT },
	{ "counter", "get", "get", "", "", 0 },
	{ "counter", "add", "add", "?i", "[N]", 0 },
	{ "counter", "set", "set", "i", "N", SILENT },
	{ "event", "set", "set", "", "", SILENT },
	{ "event", "clear", "clear", "", "", SILENT },
	{ "event", "wait", "wait", "", "", WAITS | SILENT },
	{ "event", "is-set", "is_set", "", "", ASKS },
	{ "barrier", "wait", "wait", "", "", WAITS },
	{ "barrier", "abort", "abort", "", "", SILENT },
	{ "barrier", "reset", "reset", "", "", SILENT },
};
/* clang-format on */

static struct reach reach;
static int64_t timeout = -1; /* -1 = it was not given */
static int64_t max_items, parties;

/* One call: which, of what, and how the outcome is to be shown. */
struct call {
	const struct action *action;
	const char *name;
	bool json;
	struct mps_object *object;
	struct buf args;
};

/* ----------------------------------------------------------------------------------------------------------- options */

#define COMMON_OPTIONS                                                                             \
	{ 'm', "manager", "MANAGER", "of this (NAME or address; default: the only one)" },         \
		{ 0, "authkey-file", "FILE", "the key that this manager asks for" },               \
	{                                                                                          \
		't', "timeout", "SECONDS", "wait so long at most, and exit with 124"               \
	}

static const struct cmd_option options[] = { COMMON_OPTIONS, { 0 } };
static const struct cmd_option queue_options[] = {
	{ 0, "max", "N", "of a new queue: it holds so many at most" },
	COMMON_OPTIONS,
	{ 0 },
};
static const struct cmd_option barrier_options[] = {
	{ 'n', "parties", "N", "a new barrier is for so many" },
	COMMON_OPTIONS,
	{ 0 },
};

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	int max = o->name[0] == 'p' ? MPS_BARRIER_PARTIES_MAX : INT_MAX;
	int64_t *number = strcmp(o->name, "max") == 0	    ? &max_items
			  : strcmp(o->name, "parties") == 0 ? &parties
							    : NULL;

	if (number != NULL && (type_integer(value, number) < 0 || *number < 1 || *number > max))
		return err_set(err, EXIT_USAGE, "--%s: '%s' is no number from 1 to %d", o->name,
			       value, max);
	if (number == NULL && !reach_on_option(&reach, o, value) &&
	    type_time(value, &timeout, err) < 0)
		return err_prefix(err, EXIT_USAGE, "--timeout: ");
	return 0;
}

/* ---------------------------------------------------------------------------------------------------------- arguments */

static int find_action(const char *type, const char *name, const struct action **ret,
		       struct err *err)
{
	struct guess g = guess_begin(name);
	AUTO_BUF all = BUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (strcmp(actions[i].type, type) != 0)
			continue;
		if (strcmp(actions[i].name, name) == 0) {
			*ret = &actions[i];
			return 0;
		}
		guess_try(&g, actions[i].name, actions[i].name);
		buf_addf(&all, "%s%s", all.len > 0 ? ", " : "", actions[i].name);
	}
	if (g.best != NULL)
		return err_set(err, EXIT_USAGE, "unknown word '%s' (did you mean %s?)", name,
			       g.best);
	return err_set(err, EXIT_USAGE, "unknown word '%s': one of %s", name, all.p);
}

void object_add_words(const char *type, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (strcmp(actions[i].type, type) == 0)
			buf_addf(out, " %s", actions[i].name);
}

static int wrong_number(const struct call *c, struct err *err)
{
	const struct action *a = c->action;

	return err_set(err, EXIT_USAGE, "usage: mpsup %s %s %s%s%s", a->type, c->name, a->name,
		       *a->args ? " " : "", a->args);
}

static int add_argument(struct call *c, char kind, const char *text, struct err *err)
{
	size_t at = c->args.len;
	int64_t i;

	if (kind == 'i') {
		if (type_integer(text, &i) < 0)
			return err_set(err, EXIT_USAGE, "'%.60s' is no whole number", text);
		packed_add_int(&c->args, i);
	} else if (kind == 'k') {
		packed_add_text(&c->args, text, strlen(text));
	} else if (!c->json && kind == 'v') {
		packed_add_plain(&c->args, text);
	} else if (packed_add_json(&c->args, text, err) < 0) {
		return EXIT_USAGE;
	}
	if (kind == 'm' && !packed_is_map(c->args.p + at, c->args.len - at))
		return err_set(err, EXIT_USAGE, "'%.60s' is no JSON object (such as {\"k\": 1})",
			       text);
	return 0;
}

/* All of them, packed. 0 or EXIT_USAGE. */
static int pack_arguments(struct call *c, char **words, size_t n, struct err *err)
{
	const char *kinds = c->action->kinds, *optional = strchr(kinds, '?');
	size_t max = strlen(kinds) - (optional != NULL);
	size_t min = optional != NULL ? (size_t)(optional - kinds) : max;
	int r = 0;

	if (n < min || n > max)
		return wrong_number(c, err);
	c->args.len = 0;
	/* incr and the like: what is left out is 1, where the method has no meaning of its own for that. */
	if (strcmp(kinds, "k?i") == 0)
		packed_add_array(&c->args, max);
	else
		packed_add_array(&c->args, n);
	for (size_t i = 0; i < n && r == 0; i++)
		r = add_argument(c, kinds[i + (optional != NULL && i >= min)], words[i], err);
	if (strcmp(kinds, "k?i") == 0 && n < max)
		packed_add_int(&c->args, 1);
	return r;
}

/* ------------------------------------------------------------------------------------------------------------ calling */

static int explain(const struct call *c, int status, struct err *err)
{
	const struct action *a = c->action;

	switch (-status) {
	case ENOENT:
	case ERANGE:
		if (strcmp(a->method, "add") == 0)
			return err_set(err, EXIT_GENERIC, "the number would be too large");
		err->text[0] = '\0'; /* as grep(1) where there is nothing */
		return EXIT_GENERIC;
	case ETIMEDOUT:
		err->text[0] = '\0';
		/* Who does not wait has found out what he wanted to know. */
		return timeout == 0 ? EXIT_GENERIC : EXIT_TIMEOUT;
	case EPIPE:
		return strcmp(a->type, "barrier") == 0
			       ? err_set(err, EXIT_GENERIC, "the barrier is broken")
		       : strcmp(a->method, "get") == 0
			       ? (err->text[0] = '\0', EXIT_GENERIC)
			       : err_set(err, EXIT_GENERIC, "the queue is closed");
	case EINVAL:
		return err_set(
			err, EXIT_GENERIC,
			"what is there is no value for that, or the words are none for '%s'; "
			"'mpsup %s --help' lists what there is",
			a->name, a->type);
	case EDQUOT:
		return err_set(err, EXIT_GENERIC, "the manager takes no more of one client");
	case ECONNRESET:
		return err_set(err, EXIT_UNREACHABLE, "the manager has gone");
	default:
		return err_set(err, EXIT_GENERIC, "%s", strerror(-status));
	}
}

static int64_t time_of(const struct call *c)
{
	if (timeout >= 0 && (c->action->flags & WAITS))
		return timeout;
	if (timeout > 0)
		return timeout;
	return c->action->flags & WAITS ? MPS_FOREVER : ANSWER_NS;
}

/* Where it stood; in a queue behind the others. 0 or negative. */
static int give_back(struct call *c, char *const *words, size_t n_words, const void *p, size_t n)
{
	const char *method = "append";
	int64_t place = -1;

	c->args.len = 0;
	if (strcmp(c->action->type, "queue") == 0) {
		method = "put_back";
		packed_add_array(&c->args, 1);
	} else if (strcmp(c->action->type, "dict") == 0) {
		method = "set";
		packed_add_array(&c->args, 2);
		packed_add_text(&c->args, words[0], strlen(words[0]));
	} else if (n_words > 0 && type_integer(words[0], &place) == 0 && place != -1) {
		method = "insert"; /* there is one less, from whose end it is counted */
		packed_add_array(&c->args, 2);
		packed_add_int(&c->args, place < 0 ? place + 1 : place);
	} else {
		packed_add_array(&c->args, 1);
	}
	buf_add(&c->args, p, n);
	return mps_object_call(c->object, method, c->args.p, c->args.len, NULL, NULL, ANSWER_NS);
}

static bool out_was_closed;

/* Does anybody take what will be written? 0 or EXIT_GENERIC: then nothing is taken out for that. */
static int check_output(struct err *err)
{
	struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };

	if (!out_was_closed && (poll(&out, 1, 0) < 0 || !(out.revents & POLLERR)))
		return 0;
	return err_set(err, EXIT_GENERIC, "%s; nothing is taken out",
		       out_was_closed ? "standard output is closed"
				      : "nobody reads standard output");
}

static int show(const struct call *c, const void *p, size_t n)
{
	AUTO_BUF out = BUF_INIT;

	if (c->action->flags & SILENT)
		return EXIT_OK;
	if (c->json && n > 0)
		packed_to_json(p, n, &out);
	else if (!c->json && !(c->action->flags & ASKS))
		packed_to_plain(p, n, c->action->flags & PAIRS, &out);
	if (out.len > 0)
		fwrite(out.p, 1, out.len, stdout);
	if (c->action->flags & ASKS)
		return packed_is_true(p, n) ? EXIT_OK : EXIT_GENERIC;
	return EXIT_OK;
}

/* It has been taken out, and can be nowhere but there: so it has to be written now. */
static int check_written(struct call *c, char *const *words, size_t n_words, const void *p,
			 size_t n, int status, struct err *err)
{
	AUTO_BUF text = BUF_INIT;
	int error;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	error = errno;
	clearerr(stdout);
	if (give_back(c, words, n_words, p, n) >= 0)
		return err_set(err, EXIT_GENERIC, "cannot write what it gave: %s; it is put back%s",
			       strerror(error),
			       strcmp(c->action->type, "queue") == 0 ? ", behind the others" : "");
	packed_to_json(p, n, &text);
	return err_set(err, EXIT_GENERIC, "cannot write what it gave: %s; nor put it back: %.900s",
		       strerror(error), text.p != NULL ? text.p : "");
}

static int call_once(struct call *c, char *const *words, size_t n_words, struct err *err)
{
	bool takes = c->action->flags & TAKES;
	void *p = NULL;
	size_t n = 0;
	int r = takes ? check_output(err) : 0;

	if (r != 0)
		return r;
	r = mps_object_call(c->object, c->action->method, c->args.p, c->args.len, &p, &n,
			    time_of(c));
	if (r < 0)
		return explain(c, r, err);
	r = show(c, p, n);
	if (takes)
		r = check_written(c, words, n_words, p, n, r, err);
	free(p);
	return r;
}

/* Each line is a value. */
static int call_lines(struct call *c, struct err *err)
{
	AUTO_FREE char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = getline(&line, &room, stdin)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		r = pack_arguments(c, &line, 1, err);
		if (r == 0)
			r = call_once(c, NULL, 0, err);
	}
	if (r == 0 && ferror(stdin))
		return err_set(err, EXIT_GENERIC, "standard input: %s", strerror(errno));
	return r;
}

static int call_all(struct call *c, char **words, size_t n, struct err *err)
{
	int r = 0;

	if (!(c->action->flags & MANY)) {
		r = pack_arguments(c, words, n, err);
		return r != 0 ? r : call_once(c, words, n, err);
	}
	if (n == 1 && strcmp(words[0], "-") == 0)
		return call_lines(c, err);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = pack_arguments(c, &words[i], 1, err);
		if (r == 0)
			r = call_once(c, NULL, 0, err);
	}
	return r;
}

/* ------------------------------------------------------------------------------------------------------------- objects */

static int refuse_object(const struct call *c, int r, struct err *err)
{
	if (r == -ETIMEDOUT)
		return err_set(err, EXIT_TIMEOUT, "the manager does not answer");
	if (r == -EPROTOTYPE || r == -EEXIST)
		return err_set(err, EXIT_GENERIC,
			       "it is no %s but another kind of object (mpsup manager ls tells)",
			       c->action->type);
	if (r == -EINVAL)
		return err_set(err, EXIT_USAGE, "that is no name of an object");
	return explain(c, r, err);
}

/* It is there from its first use on, until the manager ends. */
static int take_object(struct call *c, struct mps_manager *m, struct err *err)
{
	const char *type = c->action->type;
	AUTO_BUF args = BUF_INIT;
	int64_t number = strcmp(type, "queue") == 0 ? max_items : parties, time;
	int r;

	time = timeout > 0 && timeout < ANSWER_NS ? timeout : ANSWER_NS;
	if (strcmp(type, "barrier") == 0 && parties == 0) {
		r = mps_object_attach(m, type, c->name, &c->object, time);
		return r == -ENOENT
			       ? err_set(err, EXIT_USAGE,
					 "there is no such barrier yet: -n says for how many it is")
		       : r < 0 ? refuse_object(c, r, err)
			       : 0;
	}
	packed_add_array(&args, number > 0);
	if (number > 0)
		packed_add_int(&args, number);
	r = mps_object_create(m, type, c->name, MPS_OBJECT_KEEP | MPS_OBJECT_EXISTING, args.p,
			      args.len, &c->object, time);
	return r < 0 ? refuse_object(c, r, err) : 0;
}

/* Words are looked at before anybody is asked. */
static int check_words(struct call *c, char **words, size_t n, struct err *err)
{
	if (!(c->action->flags & MANY))
		return pack_arguments(c, words, n, err);
	if (n == 0)
		return wrong_number(c, err);
	for (size_t i = 0; i < n; i++) {
		int r = n == 1 && strcmp(words[0], "-") == 0 ? 0
							     : pack_arguments(c, &words[i], 1, err);

		if (r != 0)
			return r;
	}
	return 0;
}

static int use(struct call *c, struct cmd_context *ctx, struct err *err)
{
	struct mps_manager *m = NULL;
	size_t n = (size_t)ctx->argc - 2;
	int r = check_words(c, ctx->argv + 2, n, err);

	if (r == 0)
		r = reach_manager(&reach, ctx,
				  timeout > 0 && timeout < ANSWER_NS ? timeout : ANSWER_NS, &m,
				  err);
	if (r == 0)
		r = take_object(c, m, err);
	if (c->action->flags & TAKES)
		signal(SIGPIPE, SIG_IGN); /* see check_written() */
	if (r == 0)
		r = call_all(c, ctx->argv + 2, n, err);
	mps_object_close(c->object);
	mps_manager_close(m);
	return r;
}

static int run_type(struct cmd_context *ctx, const char *type)
{
	struct err err = ERR_INIT;
	struct call c = { .json = ctx->json, .args = BUF_INIT };
	int r;

	if (ctx->argc < 2) {
		err_set(&err, 0, "%s needs a name and what to do ('mpsup %s --help' lists that)",
			type, type);
		return cmd_fail(EXIT_USAGE, &err);
	}
	out_was_closed = fcntl(STDOUT_FILENO, F_GETFD) < 0;
	front_open_standard(); /* or the manager is written to */
	c.name = ctx->argv[0];
	r = find_action(type, ctx->argv[1], &c.action, &err);
	if (r == 0)
		r = use(&c, ctx, &err);
	buf_fini(&c.args);
	if (r == 0 || err.text[0] == '\0')
		return r;
	err_prefix(&err, 0, "%s %s: ", type, c.name);
	return cmd_fail(r, &err);
}

/* --------------------------------------------------------------------------------------------------------------- verbs */

#define OBJECT(type, words, option_list, what, text)                                               \
	static int run_##type(struct cmd_context *ctx)                                             \
	{                                                                                          \
		return run_type(ctx, #type);                                                       \
	}                                                                                          \
	const struct cmd cmd_##type = {                                                            \
		.name = #type,                                                                     \
		.args = words,                                                                     \
		.summary = what,                                                                   \
		.help = text,                                                                      \
		.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON | CMD_VALUES,                          \
		.options = option_list,                                                            \
		.on_option = on_option,                                                            \
		.run = run_##type,                                                                 \
	};

OBJECT(dict, "OBJECT WORD [ARGUMENT...]", options, "a dictionary of a manager",
       "  get|del|has|pop KEY    set KEY VALUE    incr KEY [N]    update JSON-OBJECT\n"
       "  keys    items    size    clear\n"
       "A VALUE is text or a whole number, with --json any JSON. Exits with 1 where\n"
       "there is no such key; has says it by that alone.")
OBJECT(list, "OBJECT WORD [ARGUMENT...]", options, "a list of a manager",
       "  append VALUE...|-    get PLACE    set|insert PLACE VALUE    pop [PLACE]\n"
       "  slice [FROM [TO]]    size    clear\n"
       "Places count from 0, those below 0 from the end. append - takes the lines of\n"
       "standard input. Exits with 1 where there is no such place.")
OBJECT(queue, "OBJECT WORD [ARGUMENT...]", queue_options, "a queue of a manager",
       "  put VALUE...|-    get    size    close\n"
       "put - takes the lines of standard input. get waits for one, and exits with 1\n"
       "when the queue is closed and empty, or is empty and --timeout is 0.")
OBJECT(counter, "OBJECT get|add|set [N]", options, "a counter of a manager",
       "  get    add [N]    set N\n"
       "add prints what it is then.")
OBJECT(event, "OBJECT set|clear|wait|is-set", options, "wait for others, or let them go on",
       "  set    clear    wait    is-set\n"
       "is-set exits with 1 if it is not.")
OBJECT(barrier, "OBJECT wait|abort|reset", barrier_options, "wait until all are there",
       "  wait -n N    abort    reset\n"
       "wait prints the place, from 0, of who came. Exits with 1 when it is broken: one\n"
       "of them did not wait long enough, was killed, or abort was said.")
