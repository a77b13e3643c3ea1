/*
 * Log pipes: where somebody has to look at the bytes, the supervisor reads what the program writes. What a pipe is to
 * the loop is here; what happens to the bytes is in tap.c, where they go in outlet_uv.c. Nothing is dropped: when an
 * outlet does not take more, its captures stop reading and the pipe holds the programs back.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/path.h"
#include "base/xalloc.h"
#include "sup/files.h"
#include "sup/outlet_uv.h"
#include "sup/prefix.h"
#include "sup/tap.h"

enum {
	STALL_S = 30,	   /* at the end, a reader that takes nothing for so long gets no more */
	STALL_ASKED_S = 3, /* the same when somebody waits for us to end */
	LOOK_MS = 100,	   /* how often we look then */
	FDS_SPARED = 32,   /* for clients, and for starts that need none for logs */
	WIDE = 512 << 10,  /* the pipe of one that writes much, so that it seldom waits for us */
	TRIM_MS = 2000,	   /* memory that was not used for so long is given back */
};

struct capture {
	struct capture *next; /* of all captures of the supervisor */
	struct unit *unit;
	struct tap tap;
	struct outlet *out, *syslog; /* NULL = none; not both */
	uv_poll_t poll;
	int ends[2];
	bool is_err, is_wide;
	struct outlet *held_by;
	struct capture *next_held;
	char *prefix; /* before each line, with colour; "" = none */
};

static struct capture *captures;

/* ------------------------------------------------------------------------------------------------- reading */

static void on_readable(uv_poll_t *poll, int status, int events);

static void on_trim(uv_timer_t *timer)
{
	struct sup *s = timer->data;

	if (logs_trim(&s->logs))
		uv_timer_start(&s->trim, on_trim, TRIM_MS, 0);
}

static void trim_later(struct sup *s)
{
	if (!uv_is_active((uv_handle_t *)&s->trim))
		uv_timer_start(&s->trim, on_trim, TRIM_MS, 0);
}

static void hold(struct capture *c, struct outlet *by)
{
	if (c->held_by != NULL)
		return;
	c->held_by = by;
	c->next_held = by->held;
	by->held = c;
	uv_poll_stop(&c->poll);
}

static void let_go(struct capture *c)
{
	struct capture **at = &c->held_by->held;

	while (*at != c)
		at = &(*at)->next_held;
	*at = c->next_held;
	c->held_by = NULL;
}

static void capture_read(struct capture *c)
{
	struct tap *t = &c->tap;
	enum tap_result r;

	t->shared = c->out != NULL && c->out->users > 1;
	do
		r = tap_pump(t);
	while (r == TAP_MORE && tap_is_ending(t));
	if (r == TAP_MORE && !c->is_wide) {
		c->is_wide = true;
		fcntl(t->fd, F_SETPIPE_SZ, WIDE);
	}
	trim_later(c->unit->sup);
	for (int i = 0; i < 2; i++) {
		struct outlet *o = i ? c->syslog : c->out;

		if (o != NULL)
			outlet_written(o, r == TAP_HELD && t->failed == &o->sink ? t->error : 0);
		if (o != NULL && r == TAP_HELD && t->failed == &o->sink)
			hold(c, o);
	}
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	capture_read(poll->data);
}

static void tell_lost(struct outlet *o)
{
	struct sup *s = o->sup;
	size_t n = s->echo_lost;

	if (s->echo != o || n == 0)
		return;
	s->echo_lost = 0;
	activity_log(&s->log, SVC_LOG_WARN,
		     "%zu lines are missing here: standard error was not read", n);
}

/* Those that are held again come into a new list. */
void capture_resume(struct outlet *o)
{
	struct capture *c, *list = NULL;

	tell_lost(o);
	while ((c = o->held) != NULL) {
		o->held = c->next_held;
		c->next_held = list;
		c->held_by = NULL;
		list = c;
	}
	while ((c = list) != NULL) {
		list = c->next_held;
		if (c->unit->removed)
			sup_later(o->sup); /* which may have waited for this only */
		uv_poll_start(&c->poll, UV_READABLE, on_readable);
		capture_read(c);
	}
}

void capture_drain(struct capture *c, bool is_end)
{
	if (is_end)
		tap_end(&c->tap);
	if (c->held_by == NULL)
		capture_read(c);
}

/* ------------------------------------------------------------------------------------------- the activity log */

/*
 * Our own description of what standard output is, so that O_NONBLOCK is not seen by the shell that shares it. Not of a
 * file, where the shared offset is what keeps writers apart, nor of a socket, which cannot be opened anew.
 */
static int open_standard(int fd)
{
	char path[32];
	struct stat st;
	int again = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
		again = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	return again >= 0 ? again : fcntl(fd, F_DUPFD_CLOEXEC, 3);
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
	struct outlet *o = s->echo;

	/* Once some are lost, all are until they can be told of: a log with many holes is worse than with one. */
	if (s->echo_lost > 0 || !sink_add(&o->sink, p, n)) {
		s->echo_lost += count_lines(p, n);
		return;
	}
	if (!o->waiting)
		outlet_flush(o);
	trim_later(s);
}

static void flush_file(void *user)
{
	struct sup *s = user;

	if (s->log_file->waiting || window_len(&s->log_file->sink.window) == 0)
		return;
	outlet_flush(s->log_file);
	trim_later(s);
}

static int open_file(struct sup *s, const char *path, struct sink **ret)
{
	const struct conf_supervisord *c = &s->conf->supervisord;
	struct sink_spec spec = {
		.path = files_standard_fd(path) < 0 ? path : NULL,
		.mode = 0644,
		.maxbytes = c->logfile_maxbytes,
		.backups = c->logfile_backups,
		.compress = c->logfile_compress,
	};

	spec.fd = spec.path == NULL ? open_standard(files_standard_fd(path))
				    : files_open_log(path, spec.mode);
	if (spec.fd < 0 && (spec.path == NULL || s->takeover == NULL))
		return spec.fd;
	s->log_file = outlet_get(s, &spec);
	if (s->log_file == NULL)
		return -errno;
	*ret = &s->log_file->sink;
	return 0;
}

/* From here on the activity log goes through outlets, its echo in line with the programs' output. */
static void open_echo(struct sup *s)
{
	struct sink_spec spec = { .fd = s->log.echo ? open_standard(STDERR_FILENO) : -1 };

	s->log.user = s;
	if (s->log_file != NULL)
		s->log.flush_file = flush_file;
	s->echo = spec.fd >= 0 ? outlet_get(s, &spec) : NULL;
	if (s->echo != NULL)
		s->log.echo_to = echo_to;
}

/* Better without what was under way than not at all. */
static int open_memory(struct sup *s)
{
	int r = logs_init(&s->logs, s->kept_logs[0], s->kept_logs + 1);

	if (r >= 0 || s->kept_logs[0] < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(s->kept_logs); i++)
		s->kept_logs[i] = -1;
	r = logs_init(&s->logs, -1, NULL);
	return r < 0 ? r : 1;
}

int capture_open(struct sup *s, struct err *err)
{
	const struct conf_supervisord *c = &s->conf->supervisord;
	const char *path = activity_path(c, s->options->foreground);
	struct sink *file = NULL;
	int is_new = open_memory(s), r = 0;

	if (is_new < 0)
		return err_set(err, is_new, "memory for logs: %s", strerror(-is_new));
	if (path != NULL)
		r = open_file(s, path, &file);
	else if (activity_is_for_syslog(c))
		file = &(s->log_file = outlet_get_syslog(s))->sink;
	if (r < 0) {
		err_set(err, r, "logfile %s: %s", path, path_strerror(-r));
		return worker_fail_at(&s->base, &c->place_logfile, r, err);
	}
	activity_init(&s->log, c, s->options->foreground, file);
	open_echo(s);
	if (is_new)
		activity_log(&s->log, SVC_LOG_CRIT,
			     "what was on its way to the logs cannot be read: it is lost");
	return is_new;
}

void capture_reopen(struct sup *s)
{
	outlet_reopen_all(s);
}

/* -------------------------------------------------------------------------------------------------- the end */

static bool is_hopeless(const struct outlet *o)
{
	int64_t limit = o->sup->asked_to_end ? STALL_ASKED_S : STALL_S;

	return o->complained || o->sup->kill_all ||
	       mps_now().ns - o->progress.ns > limit * MPS_NS_PER_S;
}

void capture_end_all(struct sup *s)
{
	struct outlet *o, *next;

	if (s->captures_ended)
		return;
	s->captures_ended = true;
	HASH_ITER (hh, s->outlets, o, next)
		o->progress = mps_now();
	for (struct capture *c = captures; c != NULL; c = c->next)
		capture_drain(c, true);
}

static struct outlet *pending(const struct sup *s)
{
	struct outlet *o, *next;

	HASH_ITER (hh, s->outlets, o, next)
		if (window_len(&o->sink.window) > 0 && !is_hopeless(o))
			return o;
	for (struct capture *c = captures; c != NULL; c = c->next)
		if (tap_is_ending(&c->tap) && c->held_by != NULL && !is_hopeless(c->held_by))
			return c->held_by;
	return NULL;
}

bool capture_is_pending(const struct sup *s)
{
	return pending(s) != NULL;
}

void capture_finish(struct sup *s)
{
	struct outlet *o, *next;

	capture_end_all(s);
	while ((o = pending(s)) != NULL) {
		struct pollfd p = { .fd = o->sink.fd, .events = POLLOUT };

		poll(&p, o->polls ? 1 : 0, LOOK_MS);
		HASH_ITER (hh, s->outlets, o, next)
			outlet_flush(o);
	}
}

void capture_close_sinks(struct sup *s)
{
	s->log.echo_to = NULL;
	s->log.flush_file = NULL;
	s->log.file = NULL;
	s->log_file = NULL;
	outlet_close_all(s);
}

/* ------------------------------------------------------------------------------------------------- captures */

/* By default the name in the foreground, with all names padded to the longest; not in files. */
static char *make_prefix(const struct unit *u, const struct outlet *o)
{
	const char *text = u->svc.conf->log_prefix;

	if (text != NULL)
		return xstrdup(strcasecmp(text, "none") == 0 ? "" : text);
	if (o == NULL || o->sink.kind == SINK_FILE || !u->sup->options->foreground)
		return xstrdup("");
	return prefix_make(u->svc.name, (unsigned)u->sup->name_width, u->svc.id,
			   o->is_tty && getenv("NO_COLOR") == NULL);
}

static int open_auto(struct unit *u, bool is_err, struct sink_spec *spec)
{
	char **name = is_err ? &u->auto_err : &u->auto_out;

	spec->mode = 0600;
	if (*name != NULL) {
		spec->fd = files_open_log(*name, spec->mode);
	} else {
		spec->fd = files_make_auto(u->sup->conf, u->svc.conf->name,
					   is_err ? "stderr" : "stdout", name);
		takeover_save_auto(u, is_err);
	}
	spec->path = *name;
	return spec->fd;
}

static int open_spec(struct unit *u, const struct conf_log *log, bool is_err,
		     struct sink_spec *spec)
{
	const char *path = log->path;
	int standard;

	*spec = (struct sink_spec){
		.mode = 0644,
		.maxbytes = log->maxbytes,
		.backups = log->backups,
		.compress = log->compress,
	};
	if (log->kind == CONF_LOG_AUTO && !u->sup->options->foreground)
		return open_auto(u, is_err, spec);
	if (log->kind == CONF_LOG_AUTO)
		path = is_err ? "/dev/stderr" : "/dev/stdout";
	standard = files_standard_fd(path);
	spec->path = standard < 0 ? path : NULL;
	spec->fd = standard >= 0 ? open_standard(standard) : files_open_log(path, spec->mode);
	return spec->fd;
}

/* `adopted`: its program runs already, so a file that cannot be opened now is waited for. */
static int open_outlets(struct capture *c, const struct conf_log *log, bool adopted)
{
	struct unit *u = c->unit;
	struct sink_spec spec;
	int r = 0;

	if (log->kind == CONF_LOG_FILE || log->kind == CONF_LOG_AUTO) {
		r = open_spec(u, log, c->is_err, &spec);
		if (adopted && spec.path != NULL)
			r = 0;
		if (r >= 0 && (c->out = outlet_get(u->sup, &spec)) == NULL)
			r = -errno;
		if (c->out != NULL && c->out->unit == NULL)
			c->out->unit = u;
	}
	if (r >= 0 && log->syslog)
		c->syslog = outlet_get_syslog(u->sup);
	return r < 0 ? r : 0;
}

static void on_capture_closed(uv_handle_t *handle)
{
	struct capture *c = handle->data;

	fd_close(&c->ends[0]);
	fd_close(&c->ends[1]);
	free(c->prefix);
	free(c);
}

static void use_conf(struct capture *c)
{
	struct unit *u = c->unit;

	c->prefix = make_prefix(u, c->out);
	c->tap.prefix = c->prefix;
	c->tap.tag = u->svc.conf->name;
	c->tap.stamp = u->svc.conf->log_timestamp;
	c->tap.strip = u->sup->conf->supervisord.strip_ansi;
}

static void fill_tap(struct capture *c)
{
	struct unit *u = c->unit;
	struct tap *t = &c->tap;

	tap_init(t, &u->sup->logs, 2 * u->svc.id + c->is_err);
	t->fd = c->ends[0];
	t->sink = c->out != NULL ? &c->out->sink : NULL;
	t->syslog = c->syslog != NULL ? &c->syslog->sink : NULL;
	use_conf(c);
}

static struct capture *make(struct unit *u, bool is_err, const int ends[2], bool adopted)
{
	const struct conf_log *log = is_err ? &u->svc.conf->err : &u->svc.conf->out;
	struct capture *c = xcalloc(1, sizeof(*c));
	int r;

	*c = (struct capture){ .unit = u, .is_err = is_err, .ends = { ends[0], ends[1] } };
	fd_set_nonblock(c->ends[0], true);
	r = open_outlets(c, log, adopted);
	if (r == 0)
		r = uv_poll_init(&u->sup->loop, &c->poll, c->ends[0]);
	if (r < 0) {
		if (c->out != NULL)
			outlet_release(c->out);
		if (c->syslog != NULL)
			outlet_release(c->syslog);
		free(c);
		errno = -r;
		return NULL;
	}
	c->poll.data = c;
	fill_tap(c);
	c->next = captures;
	captures = c;
	uv_poll_start(&c->poll, UV_READABLE, on_readable);
	if (window_len(&c->tap.window) > 0)
		capture_read(c); /* left by the process before us */
	return c;
}

/* The lowest free number is taken, so it tells how many are open. The limit may be changed while we run. */
static bool is_near_limit(int fd)
{
	struct rlimit l;

	return getrlimit(RLIMIT_NOFILE, &l) == 0 && (rlim_t)fd + FDS_SPARED > l.rlim_cur;
}

struct capture *capture_adopt(struct unit *u, bool is_err, const int ends[2])
{
	return make(u, is_err, ends, true);
}

/* The pipe is made once and outlives restarts; the keeper holds both ends, so that no worker sees it break. */
struct capture *capture_new(struct unit *u, bool is_err)
{
	struct sup *s = u->sup;
	struct capture *c;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return NULL;
	if (is_near_limit(ends[1]) || u->svc.id >= s->logs.instances) {
		close(ends[0]);
		close(ends[1]);
		errno = is_near_limit(ends[1]) ? EMFILE : ENOMEM;
		return NULL;
	}
	fchmod(ends[1], 0622); /* a program of another user may open /dev/stdout */
	logs_capture_drop(&s->logs, 2 * u->svc.id + is_err);
	c = make(u, is_err, ends, false);
	if (c == NULL) {
		fd_close(&ends[0]);
		fd_close(&ends[1]);
	}
	return c;
}

void capture_reconfigure(struct capture *c)
{
	free(c->prefix);
	use_conf(c);
}

void capture_use_conf(struct sup *s)
{
	const struct conf_supervisord *c = &s->conf->supervisord;

	if (s->log_file != NULL)
		sink_set_rotation(&s->log_file->sink, c->logfile_maxbytes, c->logfile_backups,
				  c->logfile_compress);
}

int capture_write_end(const struct capture *c)
{
	return c->ends[1];
}

int capture_read_end(const struct capture *c)
{
	return c->ends[0];
}

size_t capture_leave(struct capture *c)
{
	capture_drain(c, true);
	return c->held_by != NULL ? tap_leave(&c->tap) : 0;
}

/* Its program is gone for good, or writes elsewhere: an outlet that has something left outlives it. */
static void leave_rest(struct capture *c)
{
	size_t n = capture_leave(c);

	if (n > 0)
		activity_log(&c->unit->sup->log, SVC_LOG_CRIT,
			     "%zu bytes of the output of %s are lost: its log takes no more", n,
			     c->unit->svc.name);
}

static void leave_outlet(struct capture *c)
{
	struct capture *other = captures;

	while (other != NULL && other->out != c->out)
		other = other->next;
	if (c->out->unit == c->unit)
		c->out->unit = other != NULL ? other->unit : NULL;
	outlet_release(c->out);
}

void capture_close(struct capture *c)
{
	struct capture **at = &captures;
	struct sup *s = c->unit->sup;

	leave_rest(c);
	if (c->held_by != NULL)
		let_go(c);
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	logs_forget(&s->logs, &c->tap.window);
	logs_capture_drop(&s->logs, c->tap.number);
	if (c->out != NULL)
		leave_outlet(c);
	if (c->syslog != NULL)
		outlet_release(c->syslog);
	uv_close((uv_handle_t *)&c->poll, on_capture_closed);
}
