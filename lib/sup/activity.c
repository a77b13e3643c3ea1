/*
 * The activity log. Whole lines to a file opened for appending, so that those of several writers stay whole.
 */
#include "sup/activity.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "sup/sink.h"

static const struct {
	const char *word;
	const char *colour;
	int severity; /* in the system's log */
} levels[] = {
	[SVC_LOG_CRIT] = { "CRIT", "\033[1;31m", LOG_CRIT },
	[SVC_LOG_ERRO] = { "ERRO", "\033[31m", LOG_ERR },
	[SVC_LOG_WARN] = { "WARN", "\033[33m", LOG_WARNING },
	[SVC_LOG_INFO] = { "INFO", "\033[2m", LOG_INFO },
	[SVC_LOG_DEBG] = { "DEBG", "\033[2m", LOG_DEBUG },
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

bool activity_is_for_syslog(const struct conf_supervisord *conf)
{
	return conf->logfile != NULL && strcasecmp(conf->logfile, "syslog") == 0;
}

static bool is_word(const struct conf_supervisord *conf)
{
	return conf->logfile == NULL || strcasecmp(conf->logfile, "none") == 0 ||
	       strcasecmp(conf->logfile, "off") == 0 || activity_is_for_syslog(conf);
}

const char *activity_path(const struct conf_supervisord *conf, bool foreground)
{
	/* In the foreground the terminal, or the container's log, is the place; a file only where one was asked for. */
	if (is_word(conf) || (foreground && !conf->logfile_set))
		return NULL;
	return conf->logfile;
}

void activity_init(struct activity *a, const struct conf_supervisord *conf, bool foreground,
		   struct sink *file)
{
	*a = (struct activity){ .file = file, .max_level = level_of(conf->loglevel) };
	a->echo = foreground && !conf->silent;
	a->colour = a->echo && isatty(STDERR_FILENO) && getenv("NO_COLOR") == NULL;
}

void activity_fini(struct activity *a)
{
	activity_flush(a);
	buf_fini(&a->line);
	buf_fini(&a->datagram);
	buf_fini(&a->echo_lines);
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
	LINES_MAX = 32 << 10, /* bytes of the echo kept before they are written in any case */
	LAST_WAIT_MS = 1000,
};

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

static void flush_file(struct activity *a)
{
	if (a->file != NULL && a->flush_file != NULL)
		a->flush_file(a->user);
	else if (a->file != NULL)
		sink_flush(a->file);
}

void activity_flush(struct activity *a)
{
	flush_file(a);
	flush_echo(a);
}

static bool add_to_file(struct activity *a, enum svc_level level, const char *p, size_t n)
{
	char lead[SINK_SYSLOG_LEAD];

	if (a->file->kind == SINK_SYSLOG) {
		buf_reset(&a->datagram);
		buf_add(&a->datagram, lead, sink_syslog_lead(levels[level].severity, lead));
		buf_add(&a->datagram, p, n);
		if (a->datagram.failed)
			xalloc_failed();
		p = a->datagram.p;
		n = a->datagram.len;
	}
	if (sink_add(a->file, p, n))
		return true;
	flush_file(a);
	return sink_add(a->file, p, n);
}

/* Once some are lost, they are told of before the next that finds room: on a full disk nothing waits for us. */
static void to_file(struct activity *a, enum svc_level level)
{
	char note[160];
	AUTO_BUF stamped = BUF_INIT;

	if (a->file == NULL)
		return;
	if (a->lost > 0) {
		stamp(a, &stamped);
		snprintf(note, sizeof(note),
			 "%sWARN %zu lines are missing here: no room to write them\n",
			 stamped.p != NULL ? stamped.p : "", a->lost);
		if (!add_to_file(a, SVC_LOG_WARN, note, strlen(note))) {
			a->lost++;
			return;
		}
		a->lost = 0;
	}
	if (!add_to_file(a, level, a->line.p, a->line.len))
		a->lost++;
}

static void to_echo(struct activity *a, enum svc_level level)
{
	if (!a->echo)
		return;
	if (a->colour)
		buf_addf(&a->echo_lines, "%s%.*s\033[0m\n", levels[level].colour,
			 (int)a->line.len - 1, a->line.p);
	else
		buf_add(&a->echo_lines, a->line.p, a->line.len);
	if (a->echo_lines.failed)
		xalloc_failed();
}

void activity_log(struct activity *a, enum svc_level level, const char *fmt, ...)
{
	struct buf *b = &a->line;
	size_t text;
	va_list ap;

	if ((int)level > a->max_level || (a->file == NULL && !a->echo))
		return;
	buf_reset(b);
	stamp(a, b);
	buf_addf(b, "%s ", levels[level].word);
	text = b->len;
	va_start(ap, fmt);
	buf_addv(b, fmt, ap);
	va_end(ap);
	if (b->failed)
		xalloc_failed();
	flatten(b, text);
	buf_addc(b, '\n');
	to_file(a, level);
	to_echo(a, level);
	if (a->echo_lines.len > LINES_MAX || level == SVC_LOG_CRIT)
		activity_flush(a);
}
