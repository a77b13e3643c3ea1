/*
 * mpsup events: what happens from now on, one event a line. What a supervisor did not live to tell is found out by
 * comparing the states with what was known.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/follow.h"
#include "mpsup/terminal.h"
#include "mpsup/verbs.h"
#include "sup/events.h"
#include "track/track.h"

static unsigned wanted; /* a bit for each type; 0 = nothing was said */

static const struct cmd_option options[] = {
	{ 't', "type", "TYPE,...", "only these events: state, exit, spawn_error, ..." },
	{ 0 },
};

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	AUTO_FREE char *copy = xstrdup(value);
	char *save = NULL;

	(void)o;
	for (char *word = strtok_r(copy, ", ", &save); word; word = strtok_r(NULL, ", ", &save)) {
		int type = event_find(word, err);

		if (type < 0)
			return EXIT_USAGE;
		wanted |= EVENT_BIT(type);
	}
	return wanted != 0 ? 0 : err_set(err, EXIT_USAGE, "--type needs the name of an event");
}

struct listener {
	json_t *known; /* name -> {"state":,"pid":} */
	bool looked;   /* what comes in rows now was missed */
	bool json;
	unsigned width; /* of the longest name */
	int n_bad;	/* targets that mean nothing */
	bool ending;	/* the supervisor is */
};

/* -------------------------------------------------------------------------------------------- lines for people */

static const char *text_of(const json_t *data, const char *key)
{
	const char *text = json_string_value(json_object_get(data, key));

	return text != NULL ? text : "";
}

static long long number_of(const json_t *data, const char *key)
{
	return (long long)json_integer_value(json_object_get(data, key));
}

static void add_clean(struct buf *b, const char *text)
{
	utf8_add_clean(b, text, strlen(text));
}

static void add_state(struct buf *b, const json_t *data)
{
	const char *state = text_of(data, "state"), *from = text_of(data, "from");
	const char *sgr = terminal_has_colours() ? terminal_state_sgr(state) : NULL;

	buf_addf(b, "%s%s%s%-9s%s", sgr != NULL ? "\033[" : "", sgr != NULL ? sgr : "",
		 sgr != NULL ? "m" : "", state, sgr != NULL ? "\033[0m" : "");
	if (from[0] != '\0')
		buf_addf(b, " from %s", from);
	if (number_of(data, "pid") > 0)
		buf_addf(b, ", pid %lld", number_of(data, "pid"));
	if (json_is_true(json_object_get(data, "missed")))
		buf_adds(b, " (found later)");
}

static void add_end(struct buf *b, const json_t *data)
{
	const char *signal_name = text_of(data, "signal");

	if (signal_name[0] != '\0')
		buf_addf(b, "SIG%s%s", signal_name,
			 json_is_true(json_object_get(data, "core")) ? " (core dumped)" : "");
	else
		buf_addf(b, "code %lld", number_of(data, "code"));
}

static void add_exit(struct buf *b, const json_t *data)
{
	buf_adds(b, "exit      ");
	add_end(b, data);
	buf_addf(b, ", %sexpected, pid %lld",
		 json_is_true(json_object_get(data, "expected")) ? "" : "not ",
		 number_of(data, "pid"));
}

static void add_spawn_error(struct buf *b, const json_t *data)
{
	buf_adds(b, "not started: ");
	add_clean(b, text_of(data, "message"));
}

static void add_log_rotated(struct buf *b, const json_t *data)
{
	buf_adds(b, "log rotated: ");
	add_clean(b, text_of(data, "file"));
}

static void add_reload(struct buf *b, const json_t *data)
{
	static const char *const lists[] = { "added", "removed", "changed" };

	buf_adds(b, "reload");
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		json_t *list = json_object_get(data, lists[i]), *name;
		size_t at;

		json_array_foreach (list, at, name) {
			if (at == 0)
				buf_addf(b, "; %s ", lists[i]);
			else
				buf_adds(b, ", ");
			add_clean(b, json_is_string(name) ? json_string_value(name) : "?");
		}
	}
}

static void add_ipc(struct buf *b, const json_t *data)
{
	const char *word = text_of(data, "type");
	enum track_type type;

	buf_adds(b, "leaked ");
	if (track_type_parse(word, strlen(word), &type))
		word = track_type_people(type);
	add_clean(b, word);
	buf_addc(b, ' ');
	add_clean(b, text_of(data, "object"));
	buf_addf(b, " unlinked, pid %lld", number_of(data, "pid"));
}

static void add_takeover(struct buf *b, const json_t *data)
{
	buf_addf(b, "supervisor %lld has followed %lld", number_of(data, "supervisor_pid"),
		 number_of(data, "before"));
	if (json_object_get(data, "signal") != NULL || json_object_get(data, "code") != NULL) {
		buf_adds(b, ", which ended with ");
		add_end(b, data);
	}
}

static void add_shutdown(struct buf *b, const json_t *data)
{
	buf_addf(b, "shutdown, exit status %lld", number_of(data, "exit_status"));
}

static void (*const adds[N_EVENT_TYPES])(struct buf *b, const json_t *data) = {
	[EVENT_STATE] = add_state,
	[EVENT_EXIT] = add_exit,
	[EVENT_SPAWN_ERROR] = add_spawn_error,
	[EVENT_LOG_ROTATED] = add_log_rotated,
	[EVENT_RELOAD] = add_reload,
	[EVENT_IPC] = add_ipc,
	[EVENT_TAKEOVER] = add_takeover,
	[EVENT_SHUTDOWN] = add_shutdown,
};

/* Local time to the millisecond. */
static void add_time(struct buf *b, double seconds)
{
	long long ms = (long long)(seconds * 1000 + 0.5);
	time_t whole = (time_t)(ms / 1000);
	char text[32] = "";
	struct tm tm;

	if (localtime_r(&whole, &tm) != NULL)
		strftime(text, sizeof(text), "%H:%M:%S", &tm);
	buf_addf(b, "%s.%03d  ", text, (int)(ms % 1000));
}

static void print_line(struct listener *l, enum event_type type, const json_t *message)
{
	const json_t *data = json_object_get(message, "data");
	AUTO_BUF name = BUF_INIT;
	AUTO_BUF b = BUF_INIT;
	unsigned width;

	add_clean(&name, text_of(data, "name"));
	width = name.len > 0 ? utf8_width(name.p, name.len) : 0;
	if (width > l->width)
		l->width = width;
	add_time(&b, json_number_value(json_object_get(message, "time")));
	buf_addf(&b, "%s%*s  ", name.len > 0 ? name.p : "", (int)(l->width - width), "");
	adds[type](&b, data);
	buf_addc(&b, '\n');
	fwrite(b.p, 1, b.len, stdout);
}

/* --------------------------------------------------------------------------------------------- what comes in */

static void print(struct listener *l, enum event_type type, json_t *message)
{
	if (l->json)
		connect_print_json(json_incref(message));
	else
		print_line(l, type, message);
	fflush(stdout);
}

static void note(struct listener *l, const json_t *data)
{
	const char *name = text_of(data, "name");
	unsigned width = utf8_width(name, strlen(name));

	if (name[0] == '\0')
		return;
	json_object_set_new(l->known, name,
			    json_pack("{s:O?, s:O?}", "state", json_object_get(data, "state"),
				      "pid", json_object_get(data, "pid")));
	if (width > l->width)
		l->width = width;
}

static void on_event(json_t *message, void *user)
{
	struct listener *l = user;
	int type = event_find(text_of(message, "event"), NULL);

	if (type < 0)
		return; /* a newer supervisor's */
	if (type == EVENT_STATE)
		note(l, json_object_get(message, "data"));
	if (type == EVENT_SHUTDOWN)
		l->ending = true;
	if (wanted == 0 || (wanted & EVENT_BIT(type)))
		print(l, (enum event_type)type, message);
}

/* As the event that would have told of it; it has no number. */
static void tell_missed(struct listener *l, const json_t *row, json_t *before)
{
	static const char *const same[] = { "name", "group", "process", "state", "pid" };
	json_t *data = json_object(), *message;

	for (size_t i = 0; i < ARRAY_SIZE(same); i++)
		json_object_set(data, same[i], json_object_get(row, same[i]));
	if (before != NULL)
		json_object_set(data, "from", json_object_get(before, "state"));
	json_object_set_new(data, "missed", json_true());
	message = json_pack("{s:s, s:O?, s:o}", "event", event_name(EVENT_STATE), "time",
			    json_object_get(row, "changed"), "data", data);
	print(l, EVENT_STATE, message);
	json_decref(message);
}

static void on_row(json_t *row, void *user)
{
	struct listener *l = user;
	json_t *before = json_object_get(l->known, text_of(row, "name"));

	if (l->looked &&
	    (before == NULL ||
	     !json_equal(json_object_get(before, "state"), json_object_get(row, "state")) ||
	     !json_equal(json_object_get(before, "pid"), json_object_get(row, "pid"))))
		tell_missed(l, row, before);
	note(l, row);
}

/* A name that a reload has taken out may come back. */
static void on_error(json_t *error, void *user)
{
	struct listener *l = user;

	if (l->looked)
		return;
	l->n_bad++;
	fprintf(stderr, "mpsup: %s\n", text_of(error, "message"));
}

static void on_begin(json_int_t n_missed, void *user)
{
	(void)user;
	if (n_missed > 0)
		fprintf(stderr, "mpsup: too slow: up to %lld events were lost\n",
			(long long)n_missed);
}

static json_t *types_to_ask_for(void)
{
	json_t *types;

	if (wanted == 0)
		return NULL;
	types = json_array();
	for (int i = 0; i < N_EVENT_TYPES; i++)
		if ((wanted | EVENT_BIT(EVENT_SHUTDOWN)) & EVENT_BIT(i))
			json_array_append_new(types, json_string(event_name((enum event_type)i)));
	return types;
}

static int listen_to(struct follow *f, struct listener *l, const struct cmd_context *ctx)
{
	struct err err = ERR_INIT;
	int r = follow_open(f, ctx, &err);

	if (r != 0)
		return cmd_fail(connect_exit_code(r), &err);
	if (l->n_bad > 0)
		return EXIT_GENERIC;
	l->looked = true;
	while (r == 0 && !ferror(stdout))
		r = follow_next(f, (struct mps_time){ 0 }, &err);
	if (r == 0)
		return EXIT_GENERIC; /* that nothing can be written is told at the end */
	if (!follow_is_over(r))
		return cmd_fail(connect_exit_code(r), &err);
	err_set(&err, 0, "the supervisor has %s", l->ending ? "ended" : "gone without a shutdown");
	return cmd_fail(l->ending ? EXIT_OK : EXIT_NOT_RUNNING, &err);
}

static int run(struct cmd_context *ctx)
{
	struct listener l = { .known = json_object(), .json = ctx->json || !terminal_is_tty() };
	struct follow f = {
		.types = types_to_ask_for(),
		.targets = ctx->argc > 0 ? connect_names(ctx) : NULL,
		.begin = on_begin,
		.row = on_row,
		.error = on_error,
		.event = on_event,
		.user = &l,
	};
	int r;

	if (wanted == 0 || (wanted & EVENT_BIT(EVENT_STATE)))
		f.fields = json_pack("[s, s, s, s, s, s]", "name", "group", "process", "state",
				     "pid", "changed");
	r = listen_to(&f, &l, ctx);
	follow_close(&f);
	json_decref(f.types);
	json_decref(f.targets);
	json_decref(f.fields);
	json_decref(l.known);
	return r;
}

const struct cmd cmd_events = {
	.name = "events",
	.args = "[NAME...]",
	.summary = "print what happens from now on, one event a line",
	.help = "States, exits, failed starts, what was left behind and unlinked, log\n"
		"rotations, reloads, takeovers and the shutdown; with a NAME, of programs only\n"
		"of those. JSON as in mpsup-ipc(7), on a terminal text. Ends with the\n"
		"supervisor, not when another one takes over.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = options,
	.on_option = on_option,
	.run = run,
};
