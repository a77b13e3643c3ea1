/*
 * All about one process. See detail.h. First everything is put into the row, then the row is printed, so that text and
 * JSON cannot differ.
 */
#include "mpsup/detail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/table.h"
#include "base/utf8.h"
#include "mpsup/snapshot.h"
#include "mpsup/terminal.h"
#include "mpsup/usage.h"

#define LOG_LINES 10
#define LOG_BYTES 65536

static const char *text_of(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text != NULL ? text : "";
}

static void on_process(pid_t pid, unsigned depth, void *user)
{
	AUTO_BUF command = BUF_INIT;

	usage_add_command(&command, pid);
	json_array_append_new(user,
			      json_pack("{s:i, s:i, s:s}", "pid", (int)pid, "depth", (int)depth,
					"command", command.p != NULL ? command.p : ""));
}

/* The end of a regular file; a pipe or a terminal would be emptied or block. */
static ssize_t read_end(const char *path, char *text, size_t size)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	off_t from;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	from = st.st_size > (off_t)size ? st.st_size - (off_t)size : 0;
	return pread(fd, text, size, from);
}

static json_t *last_lines(const char *path)
{
	static char text[LOG_BYTES];
	ssize_t n = read_end(path, text, sizeof(text));
	json_t *lines;
	char *end;

	if (n < 0)
		return NULL;
	lines = json_array();
	if (n > 0 && text[n - 1] == '\n')
		n--;
	for (end = text + n; end > text && json_array_size(lines) < LOG_LINES;) {
		char *before = memrchr(text, '\n', (size_t)(end - text));
		char *from = before != NULL ? before + 1 : text;
		AUTO_BUF clean = BUF_INIT;

		utf8_add_clean(&clean, from, (size_t)(end - from));
		json_array_insert_new(lines, 0, json_string(clean.p != NULL ? clean.p : ""));
		end = before != NULL ? before : text;
	}
	return lines;
}

void detail_fill(json_t *row, const struct snapshot *snapshot)
{
	pid_t pid = (pid_t)json_integer_value(json_object_get(row, "pid"));
	const char *log = text_of(row, "stdout_logfile");
	json_t *lines = log[0] == '/' ? last_lines(log) : NULL;
	json_t *tree;

	if (lines != NULL)
		json_object_set_new(row, "log", lines);
	if (pid <= 0)
		return;
	tree = json_array();
	snapshot_walk(snapshot, 0, on_process, tree);
	json_object_set_new(row, "tree", tree);
}

/* A command may have several lines in the file; here it has one. */
static void add_clean(struct buf *out, const char *text)
{
	for (;;) {
		size_t n = strcspn(text, "\n");

		utf8_add_clean(out, text, n);
		if (text[n] == '\0')
			return;
		buf_addc(out, ' ');
		text += n + 1;
	}
}

static void add_field(struct buf *out, const char *title, const char *value)
{
	AUTO_BUF line = BUF_INIT;

	if (value[0] == '\0')
		return;
	buf_addf(&line, "  %-11s ", title);
	add_clean(&line, value);
	terminal_add_line(out, line.p != NULL ? line.p : "");
}

static void add_heading(struct buf *out, const char *text)
{
	buf_addf(out, terminal_has_colours() ? "\n\033[1m%s\033[0m\n" : "\n%s\n", text);
}

static void add_when(char *to, size_t size, double when)
{
	time_t t = (time_t)when;
	struct tm tm;

	if (localtime_r(&t, &tm) == NULL || strftime(to, size, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(to, size, "?");
}

static void add_process_line(struct buf *out, const json_t *row)
{
	char text[160], span[32], cpu[32], size[32];
	json_int_t pid = json_integer_value(json_object_get(row, "pid"));

	if (pid <= 0)
		return;
	usage_format_span(span, sizeof(span), json_number_value(json_object_get(row, "uptime")));
	usage_format_cpu(cpu, sizeof(cpu), json_number_value(json_object_get(row, "cpu")));
	usage_format_size(size, sizeof(size),
			  (uint64_t)json_integer_value(json_object_get(row, "rss")));
	snprintf(text, sizeof(text), "%lld, up %s, CPU %s, memory %s", (long long)pid, span, cpu,
		 size);
	add_field(out, "pid", text);
}

static void add_forkserver(struct buf *out, const json_t *server)
{
	json_t *preload = json_object_get(server, "preload"), *object;
	json_int_t pid = json_integer_value(json_object_get(server, "pid"));
	const char *verb = json_is_true(json_object_get(server, "ready")) ? "has loaded "
			   : pid > 0					  ? "is loading "
									  : "is to load ";
	AUTO_BUF text = BUF_INIT;
	size_t i;

	if (!json_is_object(server))
		return;
	buf_addf(&text, "%s, ", text_of(server, "name"));
	if (pid > 0)
		buf_addf(&text, "pid %lld, ", (long long)pid);
	buf_addf(&text, "%lld started",
		 (long long)json_integer_value(json_object_get(server, "started")));
	json_array_foreach (preload, i, object)
		buf_addf(&text, "%s%s%s", i == 0 ? "; " : ", ", i == 0 ? verb : "",
			 json_is_string(object) ? json_string_value(object) : "");
	if (!text.failed)
		add_field(out, "forkserver", text.p);
}

static void add_ends(struct buf *line, const json_t *ends)
{
	json_t *end;
	size_t i;

	json_array_foreach (ends, i, end)
		buf_addf(line, "%s%s", i > 0 ? ", " : "", text_of(end, "program"));
}

/* "jobs at 0, from producer: open, 43 bytes wait" */
static void add_pipe(struct buf *out, const json_t *pipe)
{
	bool writes = strcmp(text_of(pipe, "side"), "from") == 0;
	bool both = strcmp(text_of(pipe, "mode"), "duplex") == 0;
	const json_t *waiting = json_object_get(pipe, both && writes ? "waiting_back" : "waiting");
	AUTO_BUF line = BUF_INIT;

	buf_addf(&line, "%s at %lld, %s ", text_of(pipe, "name"),
		 (long long)json_integer_value(json_object_get(pipe, "fd")),
		 both	  ? "with"
		 : writes ? "to"
			  : "from");
	add_ends(&line, json_object_get(pipe, writes ? "to" : "from"));
	buf_addf(&line, ": %s", text_of(pipe, "state"));
	if (json_is_integer(waiting))
		buf_addf(&line, ", %lld bytes wait", (long long)json_integer_value(waiting));
	if (!line.failed)
		add_field(out, both ? "talks on" : writes ? "writes to" : "reads from", line.p);
}

static void add_pipes(struct buf *out, const json_t *pipes)
{
	json_t *pipe;
	size_t i;

	json_array_foreach (pipes, i, pipe)
		add_pipe(out, pipe);
}

/* What it has said. */
static void add_said(struct buf *out, const json_t *said)
{
	static const struct {
		const char *key, *text;
	} counts[] = { { "messages", "messages" },
		       { "bad", "that make no sense" },
		       { "dropped", "too many a second" },
		       { "denied", "not allowed" } };
	AUTO_BUF line = BUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		json_int_t n = json_integer_value(json_object_get(said, counts[i].key));

		if (n > 0)
			buf_addf(&line, "%s%lld %s", line.len > 0 ? ", " : "", (long long)n,
				 i == 0 && n == 1 ? "message" : counts[i].text);
	}
	if (json_is_true(json_object_get(said, "reloading")))
		buf_adds(&line, "; it reads its settings again");
	if (json_is_true(json_object_get(said, "stopping")))
		buf_adds(&line, "; it is about to end");
	if (line.len > 0)
		add_field(out, "it said", line.p);
}

/* Semaphores, shared memory and the like that it has made. */
static void add_ipc(struct buf *out, const json_t *ipc)
{
	json_int_t held = json_integer_value(json_object_get(ipc, "held"));
	json_int_t cleaned = json_integer_value(json_object_get(ipc, "cleaned"));
	AUTO_BUF line = BUF_INIT;

	if (held == 0 && cleaned == 0)
		return;
	buf_addf(&line, "%lld held, %lld leaked and unlinked", (long long)held, (long long)cleaned);
	if (!line.failed)
		add_field(out, "objects", line.p);
}

static void add_head(struct buf *out, const json_t *row)
{
	static const struct {
		const char *title, *key;
	} fields[] = {
		{ "info", "info" },
		{ "command", "command" },
		{ "entry", "entry" },
		{ "args", "args" },
		{ "directory", "directory" },
		{ "config", "config" },
		{ "started by", "start_method" },
		{ "stdout", "stdout_logfile" },
		{ "stderr", "stderr_logfile" },
		{ "control", "control" },
	};
	const char *state = text_of(row, "state"), *sgr = terminal_state_sgr(state);
	bool colours = terminal_has_colours() && sgr != NULL;
	json_t *changed = json_object_get(row, "changed");
	char text[64];

	add_clean(out, text_of(row, "name"));
	if (colours)
		buf_addf(out, "  \033[%sm%s\033[0m\n", sgr, state);
	else
		buf_addf(out, "  %s\n", state);
	add_process_line(out, row);
	if (json_is_number(changed)) {
		add_when(text, sizeof(text), json_number_value(changed));
		add_field(out, "since", text);
	}
	snprintf(text, sizeof(text), "%lld",
		 (long long)json_integer_value(json_object_get(row, "restarts")));
	add_field(out, "restarts", text);
	if (strstr(text_of(row, "info"), text_of(row, "spawnerr")) == NULL)
		add_field(out, "error", text_of(row, "spawnerr"));
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		add_field(out, fields[i].title, text_of(row, fields[i].key));
	add_forkserver(out, json_object_get(row, "forkserver"));
	add_pipes(out, json_object_get(row, "pipes"));
	add_said(out, json_object_get(row, "said"));
	add_ipc(out, json_object_get(row, "ipc"));
}

static unsigned depth_of(const json_t *tree, size_t i)
{
	return (unsigned)json_integer_value(json_object_get(json_array_get(tree, i), "depth"));
}

/* After process i, does another come at this depth, below the same parent? */
static bool has_sibling(const json_t *tree, size_t i, unsigned depth)
{
	for (i++; i < json_array_size(tree) && depth_of(tree, i) >= depth; i++)
		if (depth_of(tree, i) == depth)
			return true;
	return false;
}

static const char *branch(bool is_own, bool goes_on)
{
	if (is_own)
		return goes_on ? "\xe2\x94\x9c\xe2\x94\x80 " : "\xe2\x94\x94\xe2\x94\x80 ";
	return goes_on ? "\xe2\x94\x82  " : "   ";
}

static void add_tree(struct buf *out, const json_t *tree)
{
	json_t *process;
	size_t i;

	if (json_array_size(tree) == 0)
		return;
	add_heading(out, "Processes");
	json_array_foreach (tree, i, process) {
		unsigned depth = depth_of(tree, i);
		AUTO_BUF line = BUF_INIT;

		buf_addf(&line, "  %7lld  ",
			 (long long)json_integer_value(json_object_get(process, "pid")));
		for (unsigned d = 1; d <= depth; d++)
			buf_adds(&line, branch(d == depth, has_sibling(tree, i, d)));
		add_clean(&line, text_of(process, "command"));
		terminal_add_line(out, line.p != NULL ? line.p : "");
	}
}

static void add_end(struct table *t, const json_t *past)
{
	const char *signal_name = json_string_value(json_object_get(past, "signal"));

	if (json_is_true(json_object_get(past, "spawnerr")))
		table_add(t, "could not be started", NULL);
	else if (signal_name != NULL)
		table_addf(t, NULL, "SIG%s%s", signal_name,
			   json_is_true(json_object_get(past, "core")) ? " (core)" : "");
	else
		table_addf(t, NULL, "exit code %lld",
			   (long long)json_integer_value(json_object_get(past, "code")));
}

static void add_history(struct buf *out, const json_t *history)
{
	static const struct table_column columns[] = { { "  ENDED", false, 0 },
						       { "UPTIME", false, 0 },
						       { "HOW", false, 0 } };
	struct table table;
	char text[64];
	json_t *past;
	size_t i;

	if (json_array_size(history) == 0)
		return;
	add_heading(out, "Past runs, the newest last");
	table_init(&table, columns, ARRAY_SIZE(columns));
	json_array_foreach (history, i, past) {
		add_when(text, sizeof(text), json_number_value(json_object_get(past, "ended")));
		table_addf(&table, NULL, "  %s", text);
		usage_format_span(text, sizeof(text),
				  json_number_value(json_object_get(past, "uptime")));
		table_add(&table, text, NULL);
		add_end(&table, past);
	}
	table_render(&table, out, terminal_width(), false);
	table_fini(&table);
}

static void add_log(struct buf *out, const json_t *lines)
{
	json_t *line;
	size_t i;

	if (json_array_size(lines) == 0)
		return;
	add_heading(out, "Last lines of its output");
	json_array_foreach (lines, i, line) {
		AUTO_BUF text = BUF_INIT;

		buf_addf(&text, "  %s", json_string_value(line));
		terminal_add_line(out, text.p != NULL ? text.p : "");
	}
}

void detail_add(struct buf *out, const json_t *row)
{
	add_head(out, row);
	add_tree(out, json_object_get(row, "tree"));
	add_history(out, json_object_get(row, "history"));
	add_log(out, json_object_get(row, "log"));
}
