/*
 * The activity log. One write(2) a line to a file opened for appending, so that lines of several writers stay whole.
 */
#include "sup/activity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
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

static void stamp(struct buf *b)
{
	struct timespec ts;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	localtime_r(&ts.tv_sec, &tm);
	buf_addf(b, "%04d-%02d-%02d %02d:%02d:%02d,%03ld ", tm.tm_year + 1900, tm.tm_mon + 1,
		 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000);
}

void activity_log(struct activity *a, enum svc_level level, const char *fmt, ...)
{
	AUTO_BUF line = BUF_INIT;
	va_list ap;
	size_t text;

	if ((int)level > a->max_level || (a->fd < 0 && !a->echo))
		return;
	stamp(&line);
	buf_addf(&line, "%s ", levels[level].word);
	text = line.len;
	va_start(ap, fmt);
	buf_addv(&line, fmt, ap);
	va_end(ap);
	if (line.failed)
		return;
	flatten(&line, text);
	buf_addc(&line, '\n');
	if (a->fd >= 0)
		fd_write_all(a->fd, line.p, line.len);
	if (!a->echo)
		return;
	if (a->colour) {
		AUTO_BUF coloured = BUF_INIT;

		line.p[--line.len] = '\0';
		buf_addf(&coloured, "%s%s\033[0m\n", levels[level].colour, line.p);
		fd_write_all(STDERR_FILENO, coloured.p, coloured.len);
		return;
	}
	fd_write_all(STDERR_FILENO, line.p, line.len);
}
