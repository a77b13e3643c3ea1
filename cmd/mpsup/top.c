/*
 * mpsup top: the table of status again and again. On a terminal with keys (screen.c), elsewhere as lines.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mtime.h"
#include "base/utf8.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/listing.h"
#include "mpsup/screen.h"
#include "mpsup/snapshot.h"
#include "mpsup/terminal.h"
#include "mpsup/usage.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

#define ANSWER_MS 2000 /* who takes longer hangs; keys wait as long */
#define HEAD_LINES 3   /* what all do, a message or the keys, the titles */
#define LOST_MAX 2     /* refreshes in a row without a supervisor, where nobody could press q */

static const struct cmd_option options[] = {
	{ 'S', "sort", "KEY", "cpu, memory, name, state, pid, uptime or restarts" },
	{ 'd', "delay", "SECONDS", "from one refresh to the next (default: 2)" },
	{ 'n', "count", "COUNT", "so many refreshes (default: no end; no terminal: 1)" },
	{ 0 },
};

static const struct listing_sort *by = listing_sorts;
static double delay = 2;
static unsigned long count;

struct top {
	struct cmd_context *ctx;
	struct client *client;	   /* NULL: there is none now */
	json_t *info;		   /* who answers, or answered last */
	struct snapshot *snapshot; /* of the last refresh: the next one counts CPU from there */
	struct listing listing;
	bool reverse;
	unsigned long done; /* refreshes */
	unsigned lost;	    /* refreshes in a row without a supervisor */
	int timer;
	/* The screen: */
	struct buf table; /* titles and rows, each line as it is shown */
	size_t first;	  /* row below the titles */
	struct err message;
};

static int parse_sort(const char *value, struct err *err)
{
	for (by = listing_sorts; by->name != NULL; by++)
		if (strcmp(by->name, value) == 0)
			return 0;
	return err_set(err, EXIT_USAGE,
		       "'%s' is nothing to sort by (such as cpu, memory, name or state)", value);
}

static int parse_delay(const char *value, struct err *err)
{
	char *end;

	delay = strtod(value, &end);
	if (end != value && *end == '\0' && delay >= 0.1 && delay <= 86400)
		return 0;
	return err_set(err, EXIT_USAGE, "'%s' is no number of seconds from 0.1 to 86400", value);
}

static int parse_count(const char *value, struct err *err)
{
	char *end;

	errno = 0;
	count = strtoul(value, &end, 10);
	if (value[0] >= '0' && value[0] <= '9' && *end == '\0' && errno == 0 && count > 0)
		return 0;
	return err_set(err, EXIT_USAGE, "'%s' is no number of refreshes (such as 1)", value);
}

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	switch (o->letter) {
	case 'S':
		return parse_sort(value, err);
	case 'd':
		return parse_delay(value, err);
	default:
		return parse_count(value, err);
	}
}

/* ----------------------------------------------------------------------------------------------- refreshing */

static json_int_t pid_in(const json_t *info)
{
	return json_integer_value(json_object_get(info, "supervisor_pid"));
}

static void lose(struct top *t)
{
	client_close(t->client);
	t->client = NULL;
}

static int reach(struct top *t, struct err *err)
{
	int r = connect_open(t->ctx, &t->client, err);

	return r == 0 ? client_set_timeout(t->client, ANSWER_MS) : r;
}

static int ask_who(struct top *t, bool is_new, struct err *err)
{
	json_t *info;
	int r = client_call(t->client, "info", NULL, NULL, NULL, &info, err);

	if (r != 0)
		return r;
	if (is_new)
		t->message.text[0] = '\0';
	if (t->info != NULL && pid_in(info) != pid_in(t->info))
		err_set(&t->message, 0, "process %lld supervises now, not %lld",
			(long long)pid_in(info), (long long)pid_in(t->info));
	json_decref(t->info);
	t->info = info;
	return 0;
}

static int ask(struct top *t, struct listing *l, struct snapshot *now, struct err *err)
{
	bool is_new = t->client == NULL;
	int r = is_new ? reach(t, err) : 0;
	json_t *params;

	if (r == 0 && (is_new || t->ctx->json)) /* JSON has its uptime too */
		r = ask_who(t, is_new, err);
	if (r != 0)
		return r;
	params = listing_params(t->ctx);
	if (!t->ctx->json)
		listing_only_table(params);
	return listing_fetch(l, t->client, params, now, err);
}

/* Who connects to the socket between two supervisors is answered by the second. */
static int fetch(struct top *t, struct listing *l, struct snapshot *now, struct err *err)
{
	bool known = t->client != NULL;
	int r = ask(t, l, now, err);

	if (r != -ECONNRESET || !known)
		return r;
	lose(t);
	listing_fini(l);
	listing_init(l);
	return ask(t, l, now, err);
}

/* 0, or what client_call() returns: then what was shown stays. */
static int refresh(struct top *t, struct err *err)
{
	struct snapshot *now = snapshot_new();
	struct listing l;
	int r;

	listing_init(&l);
	t->done++;
	r = fetch(t, &l, now, err);
	if (r != 0) {
		t->lost++;
		lose(t);
		t->message = *err;
		snapshot_free(now);
		listing_fini(&l);
		return r;
	}
	t->lost = 0;
	listing_measure(&l, now, t->snapshot);
	listing_sort(&l, by, t->reverse);
	snapshot_free(t->snapshot);
	listing_fini(&t->listing);
	t->snapshot = now;
	t->listing = l;
	return 0;
}

static bool is_done(const struct top *t)
{
	return count > 0 && t->done >= count;
}

static int start_timer(struct top *t, struct err *err)
{
	int64_t ns = (int64_t)(delay * (double)MPS_NS_PER_S);
	struct timespec span = { ns / MPS_NS_PER_S, ns % MPS_NS_PER_S };
	struct itimerspec every = { .it_interval = span, .it_value = span };

	t->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->timer < 0 || timerfd_settime(t->timer, 0, &every, NULL) < 0)
		return err_set(err, -errno, "timerfd: %s", strerror(errno));
	return 0;
}

/* -------------------------------------------------------------------------------------------------- as lines */

static void print(struct top *t)
{
	AUTO_BUF out = BUF_INIT;

	if (t->ctx->json) {
		listing_add_usage(&t->listing);
		connect_print_json(json_pack("{s:f, s:o, s:O, s:O}", "time",
					     (double)mps_wall().ns / (double)MPS_NS_PER_S,
					     "processes", listing_json(&t->listing), "errors",
					     t->listing.errors, "supervisor", t->info));
	} else {
		if (t->done > 1)
			putchar('\n');
		listing_add_table(&t->listing, &out, terminal_width(), terminal_has_colours());
		if (out.len > 0)
			fwrite(out.p, 1, out.len, stdout);
		listing_print_errors(&t->listing);
	}
	fflush(stdout);
}

/* False when whoever read the output has gone. */
static bool wait_for_timer(const struct top *t)
{
	struct pollfd p[] = { { .fd = t->timer, .events = POLLIN }, { .fd = STDOUT_FILENO } };
	uint64_t times;

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	return p[1].revents == 0 && read(t->timer, &times, sizeof(times)) > 0;
}

static int run_lines(struct top *t)
{
	struct err err = ERR_INIT;

	do {
		int r = refresh(t, &err);

		if (r == 0)
			print(t);
		else if (t->done == 1 || t->lost >= LOST_MAX || is_done(t))
			return cmd_fail(EXIT_UNREACHABLE, &err);
	} while (!ferror(stdout) && !is_done(t) && wait_for_timer(t));
	return t->listing.exit_code;
}

/* --------------------------------------------------------------------------------------------- on the screen */

static void add_summary(const struct top *t, struct buf *out)
{
	const struct listing *l = &t->listing;
	char cpu[32], size[32];
	struct usage all = { 0 };
	AUTO_BUF line = BUF_INIT, clean = BUF_INIT;

	buf_addf(&line, "%s  %zu %s", listing_text(t->info, "name"), l->n,
		 l->n == 1 ? "program" : "programs");
	for (size_t s = 0; listing_states[s] != NULL; s++) {
		size_t n = 0;

		for (size_t i = 0; i < l->n; i++)
			n += strcmp(listing_text(l->list[i].json, "state"), listing_states[s]) == 0;
		if (n > 0)
			buf_addf(&line, ", %zu %s", n, listing_states[s]);
	}
	for (size_t i = 0; i < l->n; i++) {
		all.cpu += l->list[i].usage.cpu;
		all.rss += l->list[i].usage.rss;
	}
	usage_format_cpu(cpu, sizeof(cpu), all.cpu);
	usage_format_size(size, sizeof(size), all.rss);
	buf_addf(&line, "  CPU %s  MEM %s  by %s%s", cpu, size, t->reverse ? "-" : "", by->name);
	utf8_add_clean(&clean, line.p, line.len);
	terminal_add_line(out, clean.p);
}

static void add_keys(struct buf *out)
{
	buf_adds(out, "q quit, sort by");
	for (const struct listing_sort *s = listing_sorts; s->name != NULL; s++)
		buf_addf(out, "%s%c %s", s == listing_sorts ? " " : ", ", s->letter, s->name);
}

static void add_message(const struct top *t, struct buf *out)
{
	const json_t *error = json_array_get(t->listing.errors, 0);
	const char *text =
		t->message.text[0] != '\0' ? t->message.text : listing_text(error, "message");
	AUTO_BUF clean = BUF_INIT;

	utf8_add_clean(&clean, text, strlen(text));
	if (clean.len == 0)
		add_keys(&clean);
	terminal_add_line(out, clean.p);
}

static size_t rows_shown(void)
{
	unsigned height = terminal_height();

	return height > HEAD_LINES ? height - HEAD_LINES : 1;
}

/* Not below the last row. */
static void clamp(struct top *t)
{
	size_t n = t->listing.n, shown = rows_shown();
	size_t last = n > shown ? n - shown : 0;

	if (t->first > last)
		t->first = last;
}

static void add_rows(const struct top *t, struct buf *out)
{
	const char *at = t->table.p != NULL ? t->table.p : "", *end;
	size_t shown = rows_shown() + 1; /* with the titles, which are line 0 */

	for (size_t i = 0; shown > 0 && (end = strchr(at, '\n')) != NULL; i++, at = end + 1) {
		if (i > 0 && i <= t->first)
			continue;
		buf_add(out, at, (size_t)(end - at) + 1);
		shown--;
	}
}

static void draw(struct top *t)
{
	AUTO_BUF out = BUF_INIT;

	clamp(t);
	add_summary(t, &out);
	add_message(t, &out);
	add_rows(t, &out);
	out.p[--out.len] = '\0'; /* the last newline would scroll */
	screen_draw(&out);
}

static void redraw(struct top *t)
{
	buf_reset(&t->table);
	listing_add_table(&t->listing, &t->table, terminal_width(), terminal_has_colours());
	draw(t);
}

static void refresh_screen(struct top *t)
{
	struct err err = ERR_INIT;

	refresh(t, &err);
	redraw(t);
}

static void scroll(struct top *t, int key)
{
	size_t page = rows_shown();

	if (key == SCREEN_UP || key == SCREEN_PAGE_UP) {
		size_t n = key == SCREEN_UP ? 1 : page;

		t->first = t->first > n ? t->first - n : 0;
	} else if (key == SCREEN_DOWN || key == SCREEN_PAGE_DOWN) {
		t->first += key == SCREEN_DOWN ? 1 : page;
	} else {
		t->first = key == SCREEN_HOME ? 0 : t->listing.n;
	}
	draw(t);
}

static void sort_by_key(struct top *t, int key)
{
	const struct listing_sort *s = listing_sorts;

	while (s->name != NULL && s->letter != key)
		s++;
	if (s->name == NULL)
		return;
	t->reverse = s == by && !t->reverse;
	by = s;
	listing_sort(&t->listing, by, t->reverse);
	redraw(t);
}

/* False: quit. */
static bool take_keys(struct top *t, struct screen *s)
{
	bool good = screen_read(s) == 0;
	int key;

	while (good && (key = screen_key()) >= 0) {
		t->message.text[0] = '\0';
		if (key >= SCREEN_UP)
			scroll(t, key);
		else if (key == ' ')
			refresh_screen(t);
		else
			sort_by_key(t, key);
		good = key != 'q';
	}
	return good;
}

static void watch(struct top *t, struct screen *s)
{
	enum { KEYS, SIGNALS, TIMER, SUPERVISOR, N };
	bool on = true;

	while (on && !is_done(t)) {
		struct pollfd p[N] = {
			[KEYS] = { .fd = s->keys, .events = POLLIN },
			[SIGNALS] = { .fd = s->signals, .events = POLLIN },
			[TIMER] = { .fd = t->timer, .events = POLLIN },
			[SUPERVISOR] = { .fd = t->client != NULL ? client_fd(t->client) : -1,
					 .events = POLLIN },
		};
		uint64_t times;

		if (poll(p, N, -1) < 0)
			continue;
		if (p[SIGNALS].revents != 0) {
			screen_signal(s);
			redraw(t);
		}
		/* Before the refresh, which takes its time where the supervisor hangs. */
		if (p[KEYS].revents != 0)
			on = take_keys(t, s);
		if (on && (p[SUPERVISOR].revents != 0 ||
			   (p[TIMER].revents != 0 && read(t->timer, &times, sizeof(times)) > 0)))
			refresh_screen(t);
	}
}

static int run_screen(struct top *t)
{
	struct err err = ERR_INIT;
	struct screen screen;
	int r = refresh(t, &err);

	if (r != 0)
		return cmd_fail(EXIT_UNREACHABLE, &err);
	if (t->listing.n == 0 && t->listing.exit_code == EXIT_UNREACHABLE) {
		listing_print_errors(&t->listing);
		return EXIT_UNREACHABLE;
	}
	r = screen_open(&screen);
	if (r < 0) {
		err_set(&err, r, "signalfd: %s", strerror(-r));
		return cmd_fail(EXIT_GENERIC, &err);
	}
	redraw(t);
	watch(t, &screen);
	screen_close(&screen);
	listing_print_errors(&t->listing);
	if (t->lost > 0)
		return cmd_fail(EXIT_UNREACHABLE, &t->message);
	return t->listing.exit_code;
}

static int run(struct cmd_context *ctx)
{
	bool lines = ctx->json || !terminal_is_tty();
	struct top t = { .ctx = ctx, .timer = -1 };
	struct err err = ERR_INIT;
	int r;

	if (count == 0 && !terminal_is_tty() && !ctx->json)
		count = 1;
	if (start_timer(&t, &err) < 0)
		r = cmd_fail(EXIT_GENERIC, &err);
	else
		r = lines ? run_lines(&t) : run_screen(&t);
	fd_close(&t.timer);
	lose(&t);
	json_decref(t.info);
	snapshot_free(t.snapshot);
	listing_fini(&t.listing);
	buf_fini(&t.table);
	return r;
}

const struct cmd cmd_top = {
	.name = "top",
	.args = "[NAME...]",
	.summary = "show what the programs do, again and again",
	.help = "Sorted by CPU, if nothing else is said. Keys: q ends it, c m n s p u r sort by\n"
		"CPU, MEM, NAME, STATE, PID, UPTIME and restarts, again the other way round;\n"
		"arrows, page up and down, home and end scroll; space refreshes.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = options,
	.on_option = on_option,
	.run = run,
};
