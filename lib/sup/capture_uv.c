/*
 * Log pipes: where a prefix or a time belongs before each line, the supervisor reads what the program writes. A sink is
 * where lines go; several captures share one when they write to the same file, so that lines stay whole. Nothing is
 * dropped: when a sink does not take more, its captures stop reading and the pipe holds the programs back.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "sup/files.h"
#include "sup/sup_uv.h"

enum {
	READ_SIZE = 64 << 10,
	SINK_HIGH = 256 << 10,	  /* captures of a sink stop reading above */
	LINE_MAX_HELD = 64 << 10, /* a longer line is passed on in pieces */
	RETRY_MS = 100,		  /* a full disk tells nobody when it has room again */
	ECHO_HIGH = 1 << 20,	  /* above, lines of the activity log are left out of the echo */
	STALL_S = 30,	   /* at the end, a reader that takes nothing for so long gets no more */
	STALL_ASKED_S = 3, /* the same when somebody waits for us to end */
};

struct sink {
	struct sink *next;
	struct sup *sup;
	dev_t dev;
	ino_t ino;
	int fd;
	bool is_tty;
	bool polls; /* a pipe or terminal: writable is an event; a file is not */
	bool waiting;
	bool complained;
	bool writing; /* sink_write() is at work: a line that it logs must not start another */
	bool holds;   /* some of its captures have stopped reading */
	struct mps_time progress; /* when it last took something, or the end began */
	struct buf out;
	unsigned users;
	union {
		uv_handle_t handle;
		uv_poll_t poll;
		uv_timer_t timer;
	} wait;
};

struct capture {
	struct capture *next; /* of all captures of the supervisor */
	struct unit *unit;
	struct sink *sink;
	uv_poll_t poll;
	int ends[2];
	bool is_err;
	bool reading;
	char *prefix;	 /* before each line, with colour; "" = none */
	struct buf line; /* what has come of a line without its end */
	bool ending; /* who wrote it is gone: `owed` more bytes of the pipe, then the line ends */
	size_t owed;
};

static struct capture *captures;

/* --------------------------------------------------------------------------------------------------- sinks */

static void sink_write(struct sink *k);
static void tell_lost(struct sink *k);
static void on_readable(uv_poll_t *poll, int status, int events);

/* Only lets the loop look again: reading from here would come back to sink_write(). */
static void resume(struct sink *k)
{
	if (!k->holds)
		return;
	k->holds = false;
	for (struct capture *c = captures; c != NULL; c = c->next)
		if (c->sink == k && !c->reading) {
			c->reading = true;
			uv_poll_start(&c->poll, UV_READABLE, on_readable);
		}
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	sink_write(poll->data);
}

static void on_retry(uv_timer_t *timer)
{
	sink_write(timer->data);
}

static void sink_wait(struct sink *k)
{
	k->waiting = true;
	if (k->polls)
		uv_poll_start(&k->wait.poll, UV_WRITABLE, on_writable);
	else
		uv_timer_start(&k->wait.timer, on_retry, RETRY_MS, 0);
}

static void sink_stop_waiting(struct sink *k)
{
	if (!k->waiting)
		return;
	k->waiting = false;
	if (k->polls)
		uv_poll_stop(&k->wait.poll);
	else
		uv_timer_stop(&k->wait.timer);
}

/* True while it is worth trying again. */
static bool sink_failed(struct sink *k, int error)
{
	if (error == EAGAIN || error == EINTR)
		return true;
	if (!k->complained) {
		k->complained = true;
		activity_log(&k->sup->log, SVC_LOG_CRIT, "cannot write output of programs: %s",
			     strerror(error));
	}
	if (error == ENOSPC || error == EDQUOT || error == EIO)
		return true;
	buf_reset(&k->out); /* EPIPE: whoever read it is gone for good */
	return false;
}

/* False when it takes no more now. */
static bool sink_put(struct sink *k)
{
	while (k->out.len > 0) {
		ssize_t n = write(k->fd, k->out.p, k->out.len);

		if (n >= 0) {
			buf_drop(&k->out, (size_t)n);
			k->complained = false;
			k->progress = mps_now();
		} else if (sink_failed(k, errno)) {
			return false;
		}
	}
	return true;
}

static void sink_write(struct sink *k)
{
	bool all;

	if (k->writing)
		return;
	k->writing = true;
	all = sink_put(k);
	k->writing = false;
	if (!all) {
		sink_wait(k);
		return;
	}
	sink_stop_waiting(k);
	tell_lost(k);
	resume(k);
}

/*
 * Our own description of what standard output is, so that O_NONBLOCK is not seen by the shell that shares it. Not of a
 * file, where the shared offset is what keeps writers apart, nor of a socket, which cannot be opened anew.
 */
static int open_again(int fd)
{
	char path[32];
	struct stat st;
	int again = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
		again = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	return again >= 0 ? again : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static int sink_open_fd(struct unit *u, const struct conf_log *log, bool is_err)
{
	const char *path = log->path;
	int standard;

	if (log->kind == CONF_LOG_AUTO && !u->sup->options->foreground) {
		char **name = is_err ? &u->auto_err : &u->auto_out;

		return *name != NULL ? files_open_log(*name, 0600)
				     : files_make_auto(u->sup->conf, u->svc.conf->name,
						       is_err ? "stderr" : "stdout", name);
	}
	if (log->kind == CONF_LOG_AUTO)
		path = is_err ? "/dev/stderr" : "/dev/stdout";
	standard = files_standard_fd(path);
	return standard >= 0 ? open_again(standard) : files_open_log(path, 0644);
}

static struct sink *sink_find(struct sup *s, const struct stat *st)
{
	for (struct sink *k = s->sinks; k != NULL; k = k->next)
		if (k->dev == st->st_dev && k->ino == st->st_ino)
			return k;
	return NULL;
}

/* Takes fd. */
static struct sink *sink_get(struct sup *s, int fd)
{
	struct sink *k;
	struct stat st;

	if (fstat(fd, &st) < 0) {
		fd_close(&fd);
		return NULL;
	}
	k = sink_find(s, &st);
	if (k != NULL) {
		fd_close(&fd);
		k->users++;
		return k;
	}
	k = xcalloc(1, sizeof(*k));
	*k = (struct sink){ .sup = s, .fd = fd, .dev = st.st_dev, .ino = st.st_ino, .users = 1 };
	k->is_tty = isatty(fd);
	k->polls = !S_ISREG(st.st_mode) && uv_poll_init(&s->loop, &k->wait.poll, fd) == 0;
	if (!k->polls)
		uv_timer_init(&s->loop, &k->wait.timer);
	k->wait.handle.data = k;
	k->next = s->sinks;
	s->sinks = k;
	return k;
}

static size_t count_lines(const char *p, size_t n)
{
	size_t lines = 0;

	for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
		lines++;
	return lines;
}

static void echo_to(void *user, const char *p, size_t n)
{
	struct sup *s = user;
	struct sink *k = s->echo;

	/* Once some are lost, all are until they can be told of: a log with many holes is worse than with one. */
	if (s->echo_lost > 0 || k->out.len + n > ECHO_HIGH) {
		s->echo_lost += count_lines(p, n);
		return;
	}
	buf_add(&k->out, p, n);
	if (!k->waiting)
		sink_write(k);
}

static void tell_lost(struct sink *k)
{
	struct sup *s = k->sup;
	size_t n = s->echo_lost;

	if (s->echo != k || n == 0)
		return;
	s->echo_lost = 0;
	activity_log(&s->log, SVC_LOG_WARN,
		     "%zu lines are missing here: standard error was not read", n);
}

void capture_open_echo(struct sup *s)
{
	int fd = s->log.echo ? open_again(STDERR_FILENO) : -1;

	s->echo = fd >= 0 ? sink_get(s, fd) : NULL;
	if (s->echo == NULL)
		return;
	s->log.echo_to = echo_to;
	s->log.user = s;
}

static void on_sink_closed(uv_handle_t *handle)
{
	struct sink *k = handle->data;

	fd_close(&k->fd);
	buf_fini(&k->out);
	free(k);
}

void capture_close_sinks(struct sup *s)
{
	s->log.echo_to = NULL;
	while (s->sinks != NULL) {
		struct sink *k = s->sinks;

		s->sinks = k->next;
		uv_close(&k->wait.handle, on_sink_closed);
	}
}

/* ------------------------------------------------------------------------------------------------- captures */

static void add_timestamp(struct buf *b)
{
	struct timespec ts;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	localtime_r(&ts.tv_sec, &tm);
	buf_addf(b, "%04d-%02d-%02d %02d:%02d:%02d.%03ld ", tm.tm_year + 1900, tm.tm_mon + 1,
		 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000);
}

static void emit(struct capture *c, const char *p, size_t n)
{
	struct buf *out = &c->sink->out;

	buf_adds(out, c->prefix);
	if (c->unit->svc.conf->log_timestamp)
		add_timestamp(out);
	buf_add(out, c->line.p, c->line.len);
	buf_add(out, p, n);
	buf_reset(&c->line);
	if (out->len == 0 || out->p[out->len - 1] != '\n')
		buf_addc(out, '\n');
}

static void take(struct capture *c, const char *p, size_t n)
{
	while (n > 0) {
		const char *end = memchr(p, '\n', n);
		size_t len = end != NULL ? (size_t)(end - p) + 1 : n;

		if (end == NULL && c->line.len + n <= LINE_MAX_HELD) {
			buf_add(&c->line, p, n);
			return;
		}
		emit(c, p, len);
		p += len;
		n -= len;
	}
}

static void end_line(struct capture *c)
{
	c->ending = false;
	if (c->line.len > 0)
		emit(c, "", 0);
}

/* One buffer; false when nothing is there. What was written behind the end is not read together with what is before. */
static bool read_some(struct capture *c)
{
	static char in[READ_SIZE];
	size_t size = c->ending && c->owed < sizeof(in) ? c->owed : sizeof(in);
	ssize_t n = read(c->ends[0], in, size);

	if (n > 0)
		take(c, in, (size_t)n);
	if (!c->ending)
		return n > 0;
	c->owed = n > 0 ? c->owed - (size_t)n : 0;
	if (c->owed == 0)
		end_line(c);
	return n > 0;
}

/* Reads what is there, at most a few buffers so that one talkative program does not hold the others. */
static void capture_read(struct capture *c)
{
	struct sink *k = c->sink;
	int rounds = 4;

	while (rounds-- > 0 && k->out.len < SINK_HIGH)
		if (!read_some(c))
			break;
	if (k->out.len > 0 && !k->waiting)
		sink_write(k);
	c->reading = k->out.len < SINK_HIGH;
	if (c->reading) {
		uv_poll_start(&c->poll, UV_READABLE, on_readable);
	} else {
		k->holds = true;
		uv_poll_stop(&c->poll);
	}
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	capture_read(poll->data);
}

void capture_drain(struct capture *c, bool is_end)
{
	int n = 0;

	if (is_end) {
		c->owed = ioctl(c->ends[0], FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
		c->ending = true;
		if (c->owed == 0)
			end_line(c);
	}
	capture_read(c);
}

/* -------------------------------------------------------------------------------------------------- the end */

static bool sink_is_hopeless(const struct sink *k)
{
	int64_t limit = k->sup->asked_to_end ? STALL_ASKED_S : STALL_S;

	return k->complained || k->sup->kill_all ||
	       mps_now().ns - k->progress.ns > limit * MPS_NS_PER_S;
}

void capture_end_all(struct sup *s)
{
	if (s->captures_ended)
		return;
	s->captures_ended = true;
	for (struct sink *k = s->sinks; k != NULL; k = k->next)
		k->progress = mps_now();
	for (struct capture *c = captures; c != NULL; c = c->next)
		capture_drain(c, true);
}

static struct sink *pending(const struct sup *s)
{
	for (struct sink *k = s->sinks; k != NULL; k = k->next)
		if (k->out.len > 0 && !sink_is_hopeless(k))
			return k;
	for (struct capture *c = captures; c != NULL; c = c->next)
		if (c->ending && !sink_is_hopeless(c->sink))
			return c->sink;
	return NULL;
}

bool capture_is_pending(const struct sup *s)
{
	return pending(s) != NULL;
}

void capture_finish(struct sup *s)
{
	struct sink *k;

	capture_end_all(s);
	while ((k = pending(s)) != NULL) {
		struct pollfd p = { .fd = k->fd, .events = POLLOUT };

		poll(&p, 1, RETRY_MS);
		for (k = s->sinks; k != NULL; k = k->next)
			sink_write(k);
		for (struct capture *c = captures; c != NULL; c = c->next)
			if (c->ending)
				capture_read(c);
	}
}

/* ------------------------------------------------------------------------------------------------- captures */

/* "web:0  | " in a colour of its own; all names are padded to the longest. */
static char *make_prefix(const struct unit *u, const struct sink *k)
{
	static const char *const colours[] = { "36", "33", "32", "35", "34",
					       "96", "93", "92", "95", "94" };
	const char *text = u->svc.conf->log_prefix;
	size_t width = u->sup->name_width;

	if (text != NULL && strcasecmp(text, "none") == 0)
		return xstrdup("");
	if (text != NULL && strcasecmp(text, "auto") != 0)
		return xstrdup(text);
	if (text == NULL && !u->sup->options->foreground)
		return xstrdup("");
	if (!k->is_tty || getenv("NO_COLOR") != NULL)
		return xasprintf("%-*s | ", (int)width, u->svc.name);
	return xasprintf("\033[%sm%-*s |\033[0m ", colours[u->svc.id % ARRAY_SIZE(colours)],
			 (int)width, u->svc.name);
}

struct capture *capture_adopt(struct sup *s, struct unit *u, const struct conf_log *log,
			      bool is_err, int read_end, int write_end)
{
	struct capture *c = xcalloc(1, sizeof(*c));
	int fd = sink_open_fd(u, log, is_err);

	*c = (struct capture){ .unit = u, .is_err = is_err, .ends = { read_end, write_end } };
	fd_set_nonblock(read_end, true);
	c->sink = fd >= 0 ? sink_get(s, fd) : NULL;
	if (c->sink == NULL || uv_poll_init(&s->loop, &c->poll, read_end) < 0) {
		errno = fd < 0 ? -fd : errno;
		free(c);
		return NULL;
	}
	c->poll.data = c;
	c->prefix = make_prefix(u, c->sink);
	c->reading = true;
	c->next = captures;
	captures = c;
	uv_poll_start(&c->poll, UV_READABLE, on_readable);
	return c;
}

/* The pipe is made once and outlives restarts; the keeper holds both ends, so that no worker sees it break. */
struct capture *capture_new(struct sup *s, struct unit *u, const struct conf_log *log, bool is_err)
{
	struct capture *c;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return NULL;
	c = capture_adopt(s, u, log, is_err, ends[0], ends[1]);
	if (c == NULL) {
		fd_close(&ends[0]);
		fd_close(&ends[1]);
	}
	return c;
}

void capture_reconfigure(struct capture *c)
{
	free(c->prefix);
	c->prefix = make_prefix(c->unit, c->sink);
}

int capture_write_end(const struct capture *c)
{
	return c->ends[1];
}

int capture_read_end(const struct capture *c)
{
	return c->ends[0];
}

static void on_capture_closed(uv_handle_t *handle)
{
	struct capture *c = handle->data;

	fd_close(&c->ends[0]);
	fd_close(&c->ends[1]);
	buf_fini(&c->line);
	free(c->prefix);
	free(c);
}

/* One user less. What holds something yet is closed at the very end. */
static void sink_release(struct sink *k)
{
	struct sink **at = &k->sup->sinks;

	if (--k->users > 0 || k->out.len > 0 || k->waiting)
		return;
	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	uv_close(&k->wait.handle, on_sink_closed);
}

void capture_close(struct capture *c)
{
	struct capture **at = &captures;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	sink_release(c->sink);
	uv_close((uv_handle_t *)&c->poll, on_capture_closed);
}
