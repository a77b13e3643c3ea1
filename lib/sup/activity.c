/*
 * The activity log. Whole lines to a file opened for appending, so that those of several writers stay whole.
 */
#include "sup/activity.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "sup/files.h"

static const struct {
	const char *word;
	const char *colour;
} levels[] = {
	[SVC_LOG_CRIT] = { "CRIT", "\033[1;31m" }, [SVC_LOG_ERRO] = { "ERRO", "\033[31m" },
	[SVC_LOG_WARN] = { "WARN", "\033[33m" },   [SVC_LOG_INFO] = { "INFO", "\033[2m" },
	[SVC_LOG_DEBG] = { "DEBG", "\033[2m" },
};

static int level_of(enum conf_level level)
{
	switch (level) {
	case CONF_LEVEL_CRITICAL:
		return SVC_LOG_CRIT;
	case CONF_LEVEL_ERROR:
		return SVC_LOG_ERRO;
	case CONF_LEVEL_WARN:
		return SVC_LOG_WARN;
	case CONF_LEVEL_INFO:
		return SVC_LOG_INFO;
	case CONF_LEVEL_DEBUG:
	case CONF_LEVEL_TRACE:
	case CONF_LEVEL_BLATHER:
		return SVC_LOG_DEBG;
	}
	return SVC_LOG_INFO;
}

void activity_set_level(struct activity *a, enum conf_level level)
{
	a->max_level = level_of(level);
}

static bool is_word(const char *path)
{
	return path == NULL || strcasecmp(path, "none") == 0 || strcasecmp(path, "off") == 0 ||
	       strcasecmp(path, "syslog") == 0;
}

int activity_open(struct activity *a, const struct conf_supervisord *conf, bool foreground,
		  struct err *err)
{
	*a = (struct activity){ .fd = -1, .max_level = level_of(conf->loglevel) };
	a->echo = foreground && !conf->silent;
	a->colour = a->echo && isatty(STDERR_FILENO) && getenv("NO_COLOR") == NULL;
	/* In the foreground the terminal, or the container's log, is the place; a file only where one was asked for. */
	if (is_word(conf->logfile) || (foreground && !conf->logfile_set))
		return 0;
	a->path = xstrdup(conf->logfile);
	a->fd = files_open_log(a->path, 0644);
	if (a->fd >= 0)
		return 0;
	return err_set(err, a->fd, "logfile %s: %s", a->path, strerror(-a->fd));
}

void activity_reopen(struct activity *a)
{
	int fd;

	activity_flush(a);
	if (a->path == NULL)
		return;
	fd = files_open_log(a->path, 0644);
	if (fd < 0) {
		activity_log(a, SVC_LOG_CRIT, "logfile %s: %s; the old one stays open", a->path,
			     strerror(-fd));
		return;
	}
	fd_close(&a->fd);
	a->fd = fd;
}

void activity_close(struct activity *a)
{
	activity_flush(a);
	buf_fini(&a->file_lines);
	buf_fini(&a->echo_lines);
	fd_close(&a->fd);
	free(a->path);
	a->path = NULL;
}

/* A line must stay one line, whatever a program's name or an error text holds. */
static void flatten(struct buf *b, size_t from)
{
	for (size_t i = from; i < b->len; i++)
		if ((unsigned char)b->p[i] < ' ')
			b->p[i] = ' ';
}

static void stamp(struct activity *a, struct buf *b)
{
	struct timespec ts;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (ts.tv_sec != a->stamped || a->second[0] == '\0') {
		localtime_r(&ts.tv_sec, &tm);
		strftime(a->second, sizeof(a->second), "%Y-%m-%d %H:%M:%S", &tm);
		a->stamped = ts.tv_sec;
	}
	buf_addf(b, "%s,%03ld ", a->second, ts.tv_nsec / 1000000);
}

enum {
	LINES_MAX = 32 << 10, /* bytes kept before they are written in any case */
	LAST_WAIT_MS = 1000,
};

static void flush_to(int fd, struct buf *lines)
{
	if (lines->len > 0 && fd >= 0)
		fd_write_all(fd, lines->p, lines->len);
	buf_reset(lines);
}

/* In pieces that a pipe takes as a whole: what nobody reads must hold neither the start nor the end for ever. */
static void write_echo(const char *p, size_t n)
{
	struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };

	while (n > 0 && poll(&out, 1, LAST_WAIT_MS) > 0) {
		size_t piece = n < PIPE_BUF ? n : PIPE_BUF;

		if (fd_write_all(STDERR_FILENO, p, piece) < 0)
			return;
		p += piece;
		n -= piece;
	}
}

static void flush_echo(struct activity *a)
{
	/* Taken first: whoever writes it may log that it cannot. */
	AUTO_BUF lines = a->echo_lines;

	a->echo_lines = (struct buf)BUF_INIT;
	if (lines.len == 0)
		return;
	if (a->echo_to != NULL)
		a->echo_to(a->user, lines.p, lines.len);
	else
		write_echo(lines.p, lines.len);
}

void activity_flush(struct activity *a)
{
	flush_to(a->fd, &a->file_lines);
	flush_echo(a);
}

void activity_log(struct activity *a, enum svc_level level, const char *fmt, ...)
{
	struct buf *b = a->fd >= 0 ? &a->file_lines : &a->echo_lines;
	size_t start, text;
	va_list ap;

	if ((int)level > a->max_level || (a->fd < 0 && !a->echo))
		return;
	if (b == &a->echo_lines && a->colour)
		buf_adds(b, levels[level].colour);
	start = b->len;
	stamp(a, b);
	buf_addf(b, "%s ", levels[level].word);
	text = b->len;
	va_start(ap, fmt);
	buf_addv(b, fmt, ap);
	va_end(ap);
	if (b->failed)
		abort();
	flatten(b, text);
	if (b == &a->file_lines && a->echo)
		buf_addf(&a->echo_lines, "%s%.*s%s\n", a->colour ? levels[level].colour : "",
			 (int)(b->len - start), b->p + start, a->colour ? "\033[0m" : "");
	buf_adds(b, b == &a->echo_lines && a->colour ? "\033[0m\n" : "\n");
	if (b->len > LINES_MAX || level == SVC_LOG_CRIT)
		activity_flush(a);
}
