/*
 * mpsup logs: what programs have written, and with -f what they write. The files are read here; the supervisor tells
 * where they are.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mtime.h"
#include "base/utf8.h"
#include "base/when.h"
#include "base/xalloc.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/follow.h"
#include "mpsup/logview.h"
#include "mpsup/terminal.h"
#include "mpsup/trail.h"
#include "mpsup/verbs.h"
#include "sup/client.h"
#include "sup/events.h"
#include "sup/logfile.h"
#include "sup/logpick.h"
#include "sup/prefix.h"

enum {
	LINES = 10,
	OTHER_FDS = 32, /* beside the files that are followed */
};

static bool follows, wants_stderr;
static bool counted; /* -n was given */
static struct logpick pick = { .lines = LINES, .since_ns = LOGPICK_EVER };

static const struct cmd_option options[] = {
	{ 'f', "follow", NULL, "go on with what is written from now on" },
	{ 'n', "lines", "LINES", "the last so many of each (default: 10), or all" },
	{ 0, "stderr", NULL, "standard error instead of standard output" },
	{ 0, "since", "TIME", "since then: 10m, 2h, 15:30, \"2026-11-21 15:30\", @EPOCH" },
	{ 0 },
};

static int parse_lines(const char *value, struct err *err)
{
	char *end;

	counted = true;
	if (strcmp(value, "all") == 0) {
		pick.lines = -1;
		return 0;
	}
	errno = 0;
	pick.lines = strtol(value, &end, 10);
	if (value[0] >= '0' && value[0] <= '9' && *end == '\0' && errno == 0)
		return 0;
	return err_set(err, EXIT_USAGE, "'%s' is no number of lines (such as 10, or all)", value);
}

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	if (o->letter == 'f')
		follows = true;
	else if (o->letter == 'n')
		return parse_lines(value, err);
	else if (o == &options[2])
		wants_stderr = true;
	else if (when_parse(value, mps_wall().ns, &pick.since_ns, err) < 0)
		return err_prefix(err, EXIT_USAGE, "--since: ");
	return 0;
}

/* One program. */
struct source {
	struct logvoice voice;
	char *name, *path; /* path NULL: it has no file, or none yet */
	bool has_file;	   /* or will have */
	bool is_shown;	   /* what was in the file has been printed */
	bool is_late;	   /* it had no file when we came: all of it is new */
	struct trail *trail;
};

struct logs {
	struct logview view;
	struct trails trails;
	struct source **list;
	size_t n;
	json_t *by_name; /* name -> index in list */
	json_t *by_path; /* path -> name of the first that writes to it */
	size_t n_files;	 /* programs that have one, or will */
	bool failed;	 /* a file could not be read */
	int n_bad;	 /* names that mean nothing */
	bool is_new;	 /* a file is to be shown */
	bool looked;	 /* a reload may take names away */
	bool look;	 /* there may be other files now */
	bool ending;	 /* the supervisor is */
};

/* On standard error, behind what was printed before it. */
static void tell(struct logs *l, const char *text)
{
	logview_flush(&l->view);
	fprintf(stderr, "mpsup: %s\n", text);
}

static void __attribute__((format(printf, 3, 4)))
tell_of(struct logs *l, const struct source *s, const char *format, ...)
{
	struct err err = ERR_INIT;
	va_list ap;

	va_start(ap, format);
	err_vset(&err, 0, format, ap);
	va_end(ap);
	err_prefix(&err, 0, "%s: ", s->name);
	tell(l, err.text);
}

/* --------------------------------------------------------------------------------------------- which files */

static const char *text_in(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text != NULL ? text : "";
}

static struct source *source_of(struct logs *l, const char *name, bool *ret_is_new)
{
	json_t *index = json_object_get(l->by_name, name);
	struct source *s;

	*ret_is_new = index == NULL;
	if (index != NULL)
		return l->list[json_integer_value(index)];
	s = xcalloc(1, sizeof(*s));
	*s = (struct source){ .name = xstrdup(name) };
	s->voice = (struct logvoice){ .view = &l->view, .name = s->name, .prefix = xstrdup("") };
	l->list = xrealloc(l->list, (l->n + 1) * sizeof(struct source *));
	l->list[l->n] = s;
	json_object_set_new(l->by_name, name, json_integer((json_int_t)l->n++));
	return s;
}

static void source_free(struct source *s)
{
	lines_fini(&s->voice.lines);
	free(s->voice.prefix);
	free(s->name);
	free(s->path);
	free(s);
}

/* The words for an output that is no file; NULL: it is one. */
static const char *elsewhere(const char *target)
{
	static const struct {
		const char *target, *says;
	} all[] = {
		{ "none", "goes nowhere (NONE)" },
		{ "syslog", "goes to syslog only" },
		{ "terminal", "goes where mpsup's own does" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (strcmp(all[i].target, target) == 0)
			return all[i].says;
	return NULL;
}

/* From here on the source's file is this one. */
static void set_path(struct logs *l, struct source *s, const char *path)
{
	const char *other = json_string_value(json_object_get(l->by_path, path));

	if (s->trail != NULL) {
		trails_drop(&l->trails, TAKE_PTR(s->trail));
		logview_end_line(&s->voice);
	}
	if (s->path != NULL && strcmp(text_in(l->by_path, s->path), s->name) == 0)
		json_object_del(l->by_path, s->path);
	free(s->path);
	s->path = xstrdup(path);
	s->is_shown = other != NULL;
	l->is_new = true;
	if (other != NULL)
		tell_of(l, s, "writes to the same file as %s, which stands for both", other);
	else
		json_object_set_new(l->by_path, path, json_string(s->name));
}

/* Its file is another one, or one that it shared is its own now. */
static bool has_moved(const struct logs *l, const struct source *s, const char *path)
{
	return s->path == NULL || strcmp(s->path, path) != 0 ||
	       json_object_get(l->by_path, path) == NULL;
}

/* Its log is a file; path "": not yet. */
static void take_path(struct logs *l, struct source *s, const char *path, bool is_new)
{
	l->n_files += is_new;
	s->has_file = true;
	if (path[0] != '\0' && has_moved(l, s, path)) {
		set_path(l, s, path);
		s->is_late = !is_new;
	} else if (path[0] == '\0' && is_new) {
		tell_of(l, s, "has no log yet: it was not started");
	}
}

static void on_row(json_t *row, void *user)
{
	struct logs *l = user;
	bool is_new, is_err = wants_stderr;
	struct source *s = source_of(l, text_in(row, "name"), &is_new);
	const char *target = text_in(row, is_err ? "stderr_to" : "stdout_to"), *says;

	if (strcmp(target, "stdout") == 0) {
		is_err = false;
		target = text_in(row, "stdout_to");
		if (is_new)
			tell_of(l, s, "its standard error is in the log of its standard output");
	}
	s->voice.stream = is_err ? "stderr" : "stdout";
	says = elsewhere(target);
	if (says == NULL)
		take_path(l, s, text_in(row, is_err ? "stderr_logfile" : "stdout_logfile"), is_new);
	else if (is_new)
		tell_of(l, s, "its standard %s %s", is_err ? "error" : "output", says);
}

static void on_error(json_t *error, void *user)
{
	struct logs *l = user;

	if (l->looked)
		return;
	l->n_bad++;
	tell(l, text_in(error, "message"));
}

/* Its file is made, and gets its name, when it starts. */
static bool is_awaited(const struct logs *l, const json_t *data)
{
	json_t *index = json_object_get(l->by_name, text_in(data, "name"));
	const struct source *s = index != NULL ? l->list[json_integer_value(index)] : NULL;

	return s != NULL && s->has_file && s->path == NULL;
}

static void on_event(json_t *message, void *user)
{
	struct logs *l = user;
	int type = event_find(text_in(message, "event"), NULL);

	if (type == EVENT_SHUTDOWN)
		l->ending = true;
	else if (type == EVENT_RELOAD ||
		 (type == EVENT_STATE && is_awaited(l, json_object_get(message, "data"))))
		l->look = true;
}

static void on_begin(json_int_t n_missed, void *user)
{
	(void)n_missed; /* the rows tell all that matters */
	(void)user;
}

/* One process needs no name before its lines. */
static void set_prefixes(struct logs *l)
{
	unsigned width = 0;

	if (l->n < 2)
		return;
	for (size_t i = 0; i < l->n; i++) {
		unsigned w = utf8_width(l->list[i]->name, strlen(l->list[i]->name));

		if (l->list[i]->has_file && w > width)
			width = w;
	}
	for (size_t i = 0; i < l->n; i++) {
		struct source *s = l->list[i];

		free(s->voice.prefix);
		s->voice.prefix = prefix_make(s->name, width, (unsigned)i, terminal_has_colours());
	}
}

/* -------------------------------------------------------------------------------------------- what is in them */

/* What is there. The file stays open in *file, unless there is none. */
static void show_file(struct logs *l, struct source *s, struct logfile *file)
{
	static const struct logpick everything = { .lines = -1, .since_ns = LOGPICK_EVER };
	struct err err = ERR_INIT;
	int r = logfile_open(file, s->path, &err);

	if (r == -ENOENT && follows)
		return; /* it will come */
	if (r == 0)
		r = logpick_run(s->is_late ? &everything : &pick, file, &s->voice.lines,
				logview_line, &s->voice, &err);
	if (r != 0) {
		tell(l, err.text);
		l->failed = true;
	}
}

static void show_new(struct logs *l)
{
	if (l->is_new)
		set_prefixes(l);
	for (size_t i = 0; l->is_new && i < l->n && l->view.error == 0; i++) {
		struct source *s = l->list[i];
		struct logfile file = { 0 };
		off_t at = 0;
		int fd = -1;

		if (s->path == NULL || s->is_shown)
			continue;
		s->is_shown = true;
		show_file(l, s, &file);
		if (file.n > 0)
			fd = logfile_take_fd(&file, &at);
		logfile_close(&file);
		if (follows) {
			s->trail = trails_add(&l->trails, s->path, fd, at, s);
		} else {
			fd_close(&fd);
		}
	}
	l->is_new = false;
	logview_flush(&l->view);
}

static json_t *fields(void)
{
	return json_pack("[s, s, s, s, s]", "name", "stdout_to", "stderr_to", "stdout_logfile",
			 "stderr_logfile");
}

static int exit_code(const struct logs *l)
{
	return l->failed || (l->n > 0 && l->n_files == 0) ? EXIT_GENERIC : EXIT_OK;
}

static int show(struct logs *l, struct cmd_context *ctx)
{
	const struct connect_on on = { on_row, on_error, NULL, l };
	struct client *client = NULL;
	struct err err = ERR_INIT;
	int r = connect_open(ctx, &client, &err);

	if (r == 0)
		r = connect_rows(client, "status",
				 json_pack("{s:o, s:o*}", "fields", fields(), "targets",
					   ctx->argc > 0 ? connect_names(ctx) : NULL),
				 &on, &err);
	client_close(client);
	if (r != 0)
		return cmd_fail(connect_exit_code(r), &err);
	if (l->n_bad > 0)
		return EXIT_GENERIC;
	if (l->n == 0)
		connect_tell_empty(ctx);
	show_new(l);
	return exit_code(l);
}

/* -------------------------------------------------------------------------------------------------- following */

static void on_data(const char *p, size_t n, void *user)
{
	struct source *s = user;

	logview_add(&s->voice, p, n);
}

static void on_cut(void *user)
{
	struct source *s = user;

	logview_end_line(&s->voice);
}

static void on_note(const char *text, void *user)
{
	struct source *s = user;

	logview_flush(s->voice.view);
	fprintf(stderr, "mpsup: %s\n", text);
}

/* 0, or what follow_next() returns. */
static int wait_for_more(struct logs *l, struct follow *f, struct err *err)
{
	struct pollfd p[] = {
		{ .fd = l->trails.inotify, .events = POLLIN },
		{ .fd = follow_fd(f), .events = POLLIN },
		{ .fd = STDOUT_FILENO },
	};

	if (!follow_has_more(f)) {
		if (poll(p, ARRAY_SIZE(p), -1) < 0)
			return 0;
		if (p[2].revents & (POLLERR | POLLHUP))
			l->view.error = -EPIPE; /* nobody reads it any more */
		if (p[0].revents != 0)
			trails_take(&l->trails);
		if (p[1].revents == 0)
			return 0;
	}
	return follow_next(f, (struct mps_time){ 0 }, err);
}

static int follow_all(struct logs *l, struct follow *f, struct err *err)
{
	int r = 0;

	while (r == 0 && l->view.error == 0) {
		r = wait_for_more(l, f, err);
		if (r == 0 && l->look) {
			l->look = false;
			r = follow_look(f, err);
		}
		if (r == 0)
			show_new(l);
	}
	return r;
}

static int finish(struct logs *l, int r, struct err *err)
{
	if (l->view.error != 0)
		return EXIT_OK; /* told by who looks at it */
	trails_drain(&l->trails);
	for (size_t i = 0; i < l->n; i++)
		logview_end_line(&l->list[i]->voice);
	logview_flush(&l->view);
	if (!follow_is_over(r))
		return cmd_fail(connect_exit_code(r), err);
	err_set(err, 0, "the supervisor has %s", l->ending ? "ended" : "gone without a shutdown");
	return cmd_fail(l->ending ? EXIT_OK : EXIT_NOT_RUNNING, err);
}

static int listen_to(struct logs *l, struct follow *f, struct cmd_context *ctx)
{
	static const struct trail_on on = { on_data, on_cut, on_note };
	struct err err = ERR_INIT;
	int r = trails_init(&l->trails, &on, &err);

	if (r < 0)
		return cmd_fail(EXIT_GENERIC, &err);
	r = follow_open(f, ctx, &err);
	if (r != 0)
		return cmd_fail(connect_exit_code(r), &err);
	if (l->n_bad > 0 || (l->n > 0 && l->n_files == 0))
		return EXIT_GENERIC;
	if (l->n == 0)
		connect_tell_empty(ctx);
	l->looked = true;
	fd_raise_limit(l->n + OTHER_FDS);
	show_new(l);
	return finish(l, follow_all(l, f, &err), &err);
}

static int follow(struct logs *l, struct cmd_context *ctx)
{
	struct follow f = {
		.types = json_pack("[s, s, s]", event_name(EVENT_STATE), event_name(EVENT_RELOAD),
				   event_name(EVENT_SHUTDOWN)),
		.targets = ctx->argc > 0 ? connect_names(ctx) : NULL,
		.fields = fields(),
		.begin = on_begin,
		.row = on_row,
		.error = on_error,
		.event = on_event,
		.user = l,
	};
	int r = listen_to(l, &f, ctx);

	follow_close(&f);
	trails_fini(&l->trails);
	json_decref(f.types);
	json_decref(f.targets);
	json_decref(f.fields);
	return r;
}

static int run(struct cmd_context *ctx)
{
	struct logs l = { .by_name = json_object(), .by_path = json_object() };
	int r;

	l.view.json = ctx->json;
	pick.to_the_end = !follows;
	if (pick.since_ns != LOGPICK_EVER && !counted)
		pick.lines = -1;
	r = follows ? follow(&l, ctx) : show(&l, ctx);
	if (l.view.error != 0 && l.view.error != -EPIPE) {
		fprintf(stderr, "mpsup: cannot write the output: %s\n", strerror(-l.view.error));
		r = EXIT_GENERIC;
	}
	for (size_t i = 0; i < l.n; i++)
		source_free(l.list[i]);
	free(l.list);
	buf_fini(&l.view.out);
	json_decref(l.by_name);
	json_decref(l.by_path);
	return r;
}

const struct cmd cmd_logs = {
	.name = "logs",
	.args = "[NAME...]",
	.summary = "print what programs have written, and with -f what they write",
	.help = "Without a NAME, of all programs. Reaches back into rotated files. Where there\n"
		"are several, each line has the program's name before it. With --since, and no\n"
		"-n, all lines since then.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = options,
	.on_option = on_option,
	.run = run,
};
