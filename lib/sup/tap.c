/*
 * One log pipe: see tap.h. Where nothing belongs before the lines and nobody shares the file, bytes go from the window
 * straight to it; else lines are put into the sinks' windows, and a commit moves all marks at once.
 */
#include "sup/tap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "sup/strip.h"

enum { ROUNDS = 8 };

/* ------------------------------------------------------------------------------------- what stands before a line */

enum { STAMP_LEN = 24, LEAD_MAX = TAP_PREFIX_MAX + STAMP_LEN + 64 };

/* The second is spelt out once; lines that were read together have the same time. */
static void put_stamp(char *to)
{
	static char text[STAMP_LEN + 1];
	static time_t second = -1;
	struct timespec ts;
	unsigned ms;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (ts.tv_sec != second) {
		struct tm tm;

		localtime_r(&ts.tv_sec, &tm);
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S.000 ", &tm);
		second = ts.tv_sec;
	}
	ms = (unsigned)(ts.tv_nsec / 1000000);
	memcpy(to, text, STAMP_LEN);
	to[20] = (char)('0' + ms / 100);
	to[21] = (char)('0' + ms / 10 % 10);
	to[22] = (char)('0' + ms % 10);
}

static size_t make_lead(const struct tap *t, char *to)
{
	size_t n = t->prefix != NULL ? strnlen(t->prefix, TAP_PREFIX_MAX) : 0;

	if (n > 0)
		memcpy(to, t->prefix, n);
	if (t->stamp) {
		put_stamp(to + n);
		n += STAMP_LEN;
	}
	return n;
}

/* As Python's syslog() sends it for supervisord. */
static size_t make_syslog_lead(const struct tap *t, char *to)
{
	size_t n = sink_syslog_lead(LOG_INFO, to);

	return n + (size_t)snprintf(to + n, LEAD_MAX - n, "%.512s ", t->tag);
}

/* --------------------------------------------------------------------------------------------------- lines */

/* Nothing more of who wrote it is in the pipe: what is held is the last. */
static bool ends_now(const struct tap *t)
{
	return *t->ending == 1;
}

/* Where lines are put in this pass. */
struct out {
	char *start, *at;
	size_t room;
	size_t lead_len;
	char lead[LEAD_MAX];
};

static void out_init(struct out *o, struct sink *k, size_t lead_len)
{
	o->lead_len = lead_len;
	o->room = sink_room(k, &o->start);
	o->at = o->start;
}

static inline bool out_fits(const struct out *o, size_t n)
{
	return (size_t)(o->at - o->start) + o->lead_len + n + 1 <= o->room;
}

/* What is short is copied in whole words beyond its end, where there is room for that: most lines are. */
static inline void out_put(struct out *o, const char *p, size_t n, bool lead)
{
	bool far = (size_t)(o->at - o->start) + LEAD_MAX + n < o->room;

	if (lead && far && o->lead_len <= 32)
		memcpy(o->at, o->lead, 32);
	else if (lead)
		memcpy(o->at, o->lead, o->lead_len);
	o->at += lead ? o->lead_len : 0;
	memcpy(o->at, p, n);
	o->at += n;
}

static void out_line(struct out *o, const struct tap *t, const char *p, size_t n, bool lead,
		     bool end)
{
	if (t->strip && n > 0) {
		out_put(o, p, 0, lead);
		o->at += strip_copy(o->at, p, n);
	} else {
		out_put(o, p, n, lead);
	}
	if (end)
		*o->at++ = '\n';
}

/* The next line of what is held, or a piece of one that is too long or will not go on; 0 = it has to wait. */
static inline size_t next_line(const struct tap *t, const char *p, size_t n)
{
	const char *end = memchr(p, '\n', n);

	if (end != NULL)
		return (size_t)(end - p) + 1;
	if (n > LOGS_LINE_MAX)
		return LOGS_LINE_MAX;
	return ends_now(t) ? n : 0;
}

/* Puts as many lines as there is room for into the windows of the sinks. False when some found none. */
static bool put_lines(struct tap *t, struct out *file, struct out *syslog, uint32_t *ret_head,
		      bool *inside)
{
	uint32_t head = window_head(&t->window), tail = window_tail(&t->window);
	bool full = false;

	while (head < tail) {
		const char *p = t->window.p + head;
		size_t n = next_line(t, p, tail - head);
		bool whole = n > 0 && p[n - 1] == '\n';
		bool last = ends_now(t) && head + n == tail;
		/* Only in a file of its own can a long line go on. */
		bool end = !whole && (t->shared || last);

		if (n == 0)
			break;
		if ((file != NULL && !out_fits(file, n)) ||
		    (syslog != NULL && !out_fits(syslog, n))) {
			full = true;
			break;
		}
		if (file != NULL)
			out_line(file, t, p, n, !*inside, end);
		if (syslog != NULL)
			out_line(syslog, t, p, n, true, !whole);
		*inside = !whole && !end;
		head += (uint32_t)n;
	}
	*ret_head = head;
	return !full;
}

static void add_word(struct log_word *words, size_t *n, struct window *w, const struct out *o)
{
	uint32_t tail = window_tail(w) + (uint32_t)(o->at - o->start);

	words[(*n)++] = (struct log_word){ w->marks, marks_of(window_head(w), tail) };
}

/* One pass; true when all lines that are complete have gone into the windows. */
static bool format(struct tap *t)
{
	static struct out outs[2]; /* large, and only one is at work at a time */
	struct out *file = t->sink != NULL ? &outs[0] : NULL;
	struct out *syslog = t->syslog != NULL ? &outs[1] : NULL;
	struct log_word words[LOGS_COMMIT_MAX];
	bool inside = *t->inside != 0, all;
	uint32_t head;
	size_t n = 0;

	if (file != NULL)
		out_init(file, t->sink, make_lead(t, file->lead));
	if (syslog != NULL)
		out_init(syslog, t->syslog, make_syslog_lead(t, syslog->lead));
	all = put_lines(t, file, syslog, &head, &inside);
	if (head == window_head(&t->window))
		return all;
	words[n++] = (struct log_word){ t->window.marks, marks_of(head, window_tail(&t->window)) };
	words[n++] = (struct log_word){ t->inside, inside };
	if (file != NULL)
		add_word(words, &n, &t->sink->window, file);
	if (syslog != NULL)
		add_word(words, &n, &t->syslog->window, syslog);
	logs_commit(t->logs, words, n);
	for (int i = 0; i < 2; i++) {
		struct sink *k = i ? t->syslog : t->sink;

		if (k != NULL)
			logs_touch(t->logs, &k->window);
	}
	return all;
}

/* ---------------------------------------------------------------------------------------------------- pump */

static bool is_raw(const struct tap *t)
{
	return t->sink != NULL && t->syslog == NULL && !t->stamp && !t->strip && !t->shared &&
	       !t->leaving && (t->prefix == NULL || *t->prefix == '\0') && *t->inside == 0;
}

/* Empties the windows of the sinks: 0, or -errno of the first that takes no more. */
static int flush(struct tap *t)
{
	int r = t->syslog != NULL ? sink_flush(t->syslog) : 0;
	int q = t->sink != NULL ? sink_flush(t->sink) : 0;

	t->failed = q < 0 ? t->sink : r < 0 ? t->syslog : NULL;
	t->error = q < 0 ? -q : -r;
	return q < 0 ? q : r;
}

/* A piece has gone out, and the line will not go on. */
static void end_piece(struct tap *t)
{
	if (*t->inside == 0 || !ends_now(t) || window_len(&t->window) > 0)
		return;
	if (t->sink == NULL || sink_add(t->sink, "\n", 1))
		log_store(t->inside, 0);
}

/* Passes on what the window holds. 0, or -errno when a sink takes no more. */
static int pass(struct tap *t)
{
	bool all;
	int r;

	if (is_raw(t)) {
		r = flush(t);
		if (r < 0 || window_len(&t->window) == 0)
			return r;
		r = sink_write(t->sink, &t->window, t->number + 1u);
		t->failed = r < 0 ? t->sink : NULL;
		t->error = -r;
		return r;
	}
	do {
		all = format(t);
		end_piece(t);
		r = flush(t);
	} while (!all && r == 0);
	return r;
}

static ssize_t read_some(struct tap *t)
{
	bool ending = tap_is_ending(t);
	size_t owed = ending ? (size_t)*t->ending - 1 : 0;
	size_t max = ending && owed < LOGS_READ_MAX ? owed : LOGS_READ_MAX;
	ssize_t n = max > 0 ? logs_read(t->logs, t->number, &t->window, t->fd, max) : -EAGAIN;

	if (ending && n == -EAGAIN)
		log_store(t->ending, 1);
	return n;
}

/* Nothing is owed and nothing is held: the next one that writes begins afresh. */
static void finish_end(struct tap *t)
{
	if (ends_now(t) && window_len(&t->window) == 0 && *t->inside == 0)
		log_store(t->ending, 0);
}

enum tap_result tap_pump(struct tap *t)
{
	for (int i = 0; i < ROUNDS; i++) {
		ssize_t n;

		if (pass(t) < 0)
			return TAP_HELD;
		finish_end(t);
		n = read_some(t);
		if (n < 0 && !tap_is_ending(t))
			return TAP_EMPTY;
	}
	return pass(t) < 0 ? TAP_HELD : TAP_MORE;
}

/* One more has ended before the rest of the one before it could be passed on: that is taken now, and gets its end. */
static void settle_end(struct tap *t)
{
	struct window *w = &t->window;
	uint32_t tail;

	while (!ends_now(t) && read_some(t) > 0)
		;
	tail = window_tail(w);
	if (!ends_now(t) || is_raw(t))
		return;
	end_piece(t);
	if (window_len(w) == 0 || w->p[tail - 1] == '\n' || tail == w->size)
		return;
	w->p[tail] = '\n';
	window_set(w, window_head(w), tail + 1);
	logs_touch(t->logs, w);
}

void tap_end(struct tap *t)
{
	int n = 0;

	if (tap_is_ending(t))
		settle_end(t);
	log_store(t->ending, ioctl(t->fd, FIONREAD, &n) == 0 && n > 0 ? (uint64_t)n + 1 : 1);
}

size_t tap_leave(struct tap *t)
{
	int n = 0;

	t->leaving = true;
	while (pass(t), format(t) && read_some(t) > 0)
		;
	end_piece(t);
	return window_len(&t->window) + (ioctl(t->fd, FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0);
}

void tap_init(struct tap *t, struct logs *logs, uint32_t number)
{
	t->logs = logs;
	t->number = number;
	t->inside = logs_capture_inside(logs, number);
	t->ending = logs_capture_ending(logs, number);
	logs_capture_window(logs, number, &t->window);
	logs_touch(logs, &t->window);
}
