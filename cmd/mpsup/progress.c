/*
 * What happens while a verb waits. See progress.h. Each event redraws with one write, so that the terminal never shows half.
 */
#include "mpsup/progress.h"

#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/utf8.h"
#include "mpsup/terminal.h"

#define LINES_MAX 20
#define REDRAW_NS (50 * MPS_NS_PER_MS)

void progress_init(struct progress *p, bool wanted)
{
	*p = (struct progress){ .on = wanted && terminal_is_tty() };
	if (p->on)
		p->states = json_object();
}

void progress_fini(struct progress *p)
{
	json_decref(p->states);
	p->states = NULL;
}

static void add_wipe(const struct progress *p, struct buf *b)
{
	if (p->lines > 0)
		buf_addf(b, "\033[%uA\033[J", p->lines);
}

/* One line in the terminal's width, so that counting lines back is right. */
static void add_line(struct buf *b, const char *name, const char *state, unsigned width)
{
	const char *sgr = terminal_has_colours() ? terminal_state_sgr(state) : NULL;
	unsigned room = width > 12 ? width - 12 : 1, used;
	AUTO_BUF clean = BUF_INIT;

	utf8_add_clean(&clean, name, strlen(name));
	if (clean.len > 0)
		buf_add(b, clean.p, utf8_fit(clean.p, clean.len, room, &used));
	buf_adds(b, ": ");
	if (sgr != NULL)
		buf_addf(b, "\033[%sm", sgr);
	buf_adds(b, state);
	if (sgr != NULL)
		buf_adds(b, "\033[0m");
	buf_addc(b, '\n');
}

static void add_counter(const struct progress *p, struct buf *b)
{
	static const char *const shown[] = { "RUNNING", "STARTING", "BACKOFF", "STOPPING",
					     "STOPPED", "EXITED",   "FATAL" };
	const char *between = "";

	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		const char *name;
		json_t *state;
		unsigned n = 0;

		json_object_foreach (p->states, name, state)
			n += strcmp(json_string_value(state), shown[i]) == 0;
		if (n == 0)
			continue;
		buf_addf(b, "%s%u %s", between, n, shown[i]);
		between = ", ";
	}
	buf_addc(b, '\n');
}

static void add_lines(struct progress *p, struct buf *b)
{
	const char *name;
	json_t *state;

	json_object_foreach (p->states, name, state)
		add_line(b, name, json_string_value(state), terminal_width());
	p->lines = (unsigned)json_object_size(p->states);
}

static void draw(struct progress *p)
{
	AUTO_BUF b = BUF_INIT;
	size_t n = json_object_size(p->states);
	bool many = n > LINES_MAX || n + 1 >= terminal_height();
	struct mps_time now = mps_now();

	/* Counting takes as long as there are programs: not for each of them. */
	if (many && now.ns - p->drawn.ns < REDRAW_NS)
		return;
	add_wipe(p, &b);
	if (many) {
		p->drawn = now;
		p->lines = 1;
		add_counter(p, &b);
	} else {
		add_lines(p, &b);
	}
	fd_write_all(STDOUT_FILENO, b.p, b.len);
}

void progress_event(struct progress *p, json_t *data)
{
	const char *name = json_string_value(json_object_get(data, "name"));
	json_t *state = json_object_get(data, "state");

	if (!p->on || name == NULL || !json_is_string(state))
		return;
	json_object_set(p->states, name, state);
	draw(p);
}

void progress_wipe(struct progress *p)
{
	AUTO_BUF b = BUF_INIT;

	add_wipe(p, &b);
	if (b.len > 0)
		fd_write_all(STDOUT_FILENO, b.p, b.len);
	p->lines = 0;
}
