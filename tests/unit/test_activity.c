/*
 * The activity log's lines: supervisord's format, one line a message whatever it holds, and levels.
 */
#include "sup/activity.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <pty.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "sup/files.h"
#include "sup/sink.h"

static char folder[] = "/tmp/mpsup-test.XXXXXX", file[64], moved[64];

static struct logs logs;
static struct sink sink;

static void open_log(struct activity *a, enum conf_level level)
{
	struct conf_supervisord c = { .logfile = file, .loglevel = level };
	struct sink_spec spec = { .path = file, .mode = 0644 };

	cr_assert_not_null(mkdtemp(folder));
	snprintf(file, sizeof(file), "%s/sub/log", folder);
	snprintf(moved, sizeof(moved), "%s/sub/old", folder);
	cr_assert_eq(logs_init(&logs, -1, NULL), 0);
	spec.fd = files_open_log(file, 0644);
	cr_assert_eq(sink_init(&sink, &logs, &spec), 0);
	activity_init(a, &c, false, &sink);
}

static void matches(const char *path, const char *pattern)
{
	AUTO_FREE char *text = NULL;
	regex_t re;
	size_t n;

	cr_assert_eq(fd_read_file(path, 1 << 20, &text, &n), 0);
	cr_assert_eq(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	cr_expect_eq(regexec(&re, text, 0, NULL, 0), 0, "'%s' is no '%s'", text, pattern);
	regfree(&re);
}

static void close_log(struct activity *a)
{
	activity_fini(a);
	sink_fini(&sink, false);
	logs_fini(&logs);
	unlink(file);
	unlink(moved);
	*strrchr(moved, '/') = '\0';
	rmdir(moved);
	rmdir(folder);
}

#define STAMP "[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3} "

Test(activity, writes_supervisords_lines)
{
	struct activity a;

	open_log(&a, CONF_LEVEL_INFO);
	activity_log(&a, SVC_LOG_INFO, "spawned: '%s' with pid %d", "web", 7);
	activity_log(&a, SVC_LOG_CRIT, "bad");
	activity_log(&a, SVC_LOG_DEBG, "not this");
	activity_flush(&a);
	matches(file, "^" STAMP "INFO spawned: 'web' with pid 7\n" STAMP "CRIT bad\n$");
	close_log(&a);
}

Test(activity, a_message_is_one_line)
{
	struct activity a;

	open_log(&a, CONF_LEVEL_TRACE);
	activity_log(&a, SVC_LOG_DEBG, "a\nb\tc\033[31md");
	activity_flush(&a);
	matches(file, "^" STAMP "DEBG a b c \\[31md\n$");
	close_log(&a);
}

Test(activity, is_opened_anew_after_it_was_moved_away)
{
	struct activity a;

	open_log(&a, CONF_LEVEL_INFO);
	activity_log(&a, SVC_LOG_WARN, "first");
	activity_flush(&a);
	cr_assert_eq(rename(file, moved), 0);
	sink_reopen(&sink);
	activity_log(&a, SVC_LOG_WARN, "second");
	activity_flush(&a);
	matches(moved, "WARN first\n$");
	matches(file, "^" STAMP "WARN second\n$");
	close_log(&a);
}

Test(activity, goes_to_a_file_that_was_asked_for)
{
	static const struct {
		const char *logfile;
		bool set, foreground;
		const char *path;
	} rows[] = {
		{ "/log", true, false, "/log" },  { "/log", true, true, "/log" },
		{ "/log", false, false, "/log" }, { "/log", false, true, NULL },
		{ "NONE", true, false, NULL },	  { "syslog", true, false, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct conf_supervisord c = { .logfile = (char *)rows[i].logfile,
					      .logfile_set = rows[i].set };
		const char *path = activity_path(&c, rows[i].foreground);

		cr_expect_eq(path == NULL, rows[i].path == NULL, "row %zu", i);
		cr_expect(path == NULL || strcmp(path, rows[i].path) == 0, "row %zu", i);
	}
}

Test(activity, has_the_levels_of_the_configuration)
{
	static const struct {
		enum conf_level level;
		const char *pattern;
	} rows[] = {
		{ CONF_LEVEL_CRITICAL, "^[^\n]*CRIT this\n$" },
		{ CONF_LEVEL_ERROR, "^([^\n]*(CRIT|ERRO) this\n){2}$" },
		{ CONF_LEVEL_WARN, "^([^\n]*(CRIT|ERRO|WARN) this\n){3}$" },
		{ CONF_LEVEL_INFO, "^([^\n]*(CRIT|ERRO|WARN|INFO) this\n){4}$" },
		{ CONF_LEVEL_DEBUG, "^([^\n]*(CRIT|ERRO|WARN|INFO|DEBG) this\n){5}$" },
	};
	struct activity a;

	open_log(&a, CONF_LEVEL_INFO);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_assert_eq(ftruncate(sink.fd, 0), 0);
		activity_set_level(&a, rows[i].level);
		for (int level = SVC_LOG_CRIT; level <= SVC_LOG_DEBG; level++)
			activity_log(&a, (enum svc_level)level, "this");
		activity_flush(&a);
		matches(file, rows[i].pattern);
	}
	close_log(&a);
}

Test(activity, tells_how_many_lines_it_had_no_room_for)
{
	enum { LINE = 1000, MORE = 5 };
	struct activity a;
	char pattern[200];
	int in, full;

	open_log(&a, CONF_LEVEL_INFO);
	in = sink.fd;
	full = open("/dev/full", O_WRONLY);
	cr_assert_geq(full, 0);
	sink.fd = full;
	while (a.lost < MORE)
		activity_log(&a, SVC_LOG_INFO, "%*s", LINE, "kept");
	sink.fd = in;
	activity_log(&a, SVC_LOG_INFO, "after");
	activity_flush(&a);
	snprintf(pattern, sizeof(pattern),
		 "kept\n" STAMP "WARN %d lines are missing here: no room to write them\n" STAMP
		 "INFO after\n$",
		 MORE);
	matches(file, pattern);
	close(full);
	close_log(&a);
}

/* What standard error gets of `text`. */
static void echo(int fd, const char *text)
{
	struct conf_supervisord c = { .logfile = (char *)"none", .loglevel = CONF_LEVEL_INFO };
	int before = dup(STDERR_FILENO);
	struct activity a;

	cr_assert_geq(dup2(fd, STDERR_FILENO), 0);
	activity_init(&a, &c, true, NULL);
	activity_log(&a, SVC_LOG_WARN, "%s", text);
	activity_fini(&a);
	cr_assert_geq(dup2(before, STDERR_FILENO), 0);
	close(before);
}

Test(activity, goes_to_standard_error_where_there_is_no_loop)
{
	enum { LONG = 3 * PIPE_BUF };
	char *text = malloc(LONG + 1), *got = malloc(2 * LONG);
	int ends[2];
	ssize_t n;

	cr_assert(text != NULL && got != NULL);
	memset(text, 'x', LONG);
	text[LONG] = '\0';
	cr_assert_eq(pipe(ends), 0);
	echo(ends[1], text);
	n = read(ends[0], got, 2 * LONG);
	cr_expect(n > LONG && got[n - 1] == '\n' && memcmp(got + n - 1 - LONG, text, LONG) == 0);

	/* Nobody reads it. */
	signal(SIGPIPE, SIG_IGN);
	close(ends[0]);
	echo(ends[1], text);
	close(ends[1]);
	free(text);
	free(got);
}

Test(activity, has_colours_on_a_terminal)
{
	int terminal, ours;
	char got[200];
	ssize_t n;

	unsetenv("NO_COLOR");
	cr_assert_eq(openpty(&ours, &terminal, NULL, NULL, NULL), 0);
	echo(terminal, "text");
	n = read(ours, got, sizeof(got) - 1);
	cr_assert_gt(n, 0);
	got[n] = '\0';
	cr_expect(strncmp(got, "\033[33m", 5) == 0 && strstr(got, "WARN text\033[0m\r\n") != NULL,
		  "'%s'", got);
	close(ours);
	close(terminal);
}
