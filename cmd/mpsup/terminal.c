/*
 * What standard output is. See terminal.h.
 */
#include "mpsup/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/utf8.h"

bool terminal_is_tty(void)
{
	return isatty(STDOUT_FILENO) == 1;
}

static struct winsize size(void)
{
	struct winsize ws;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0 || ws.ws_col == 0)
		return (struct winsize){ .ws_col = 80, .ws_row = 24 };
	return ws;
}

unsigned terminal_width(void)
{
	return terminal_is_tty() ? size().ws_col : 0;
}

unsigned terminal_height(void)
{
	return size().ws_row;
}

bool terminal_has_colours(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return terminal_is_tty() && (no == NULL || no[0] == '\0') &&
	       (term == NULL || strcmp(term, "dumb") != 0);
}

const char *terminal_state_sgr(const char *state)
{
	static const struct {
		const char *state;
		const char *sgr;
	} colours[] = {
		{ "RUNNING", "32" }, { "STARTING", "36" }, { "STOPPING", "36" },
		{ "BACKOFF", "33" }, { "STOPPED", "2" },   { "EXITED", "2" },
		{ "FATAL", "1;31" }, { "UNKNOWN", "35" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(colours); i++)
		if (strcmp(colours[i].state, state) == 0)
			return colours[i].sgr;
	return NULL;
}

void terminal_add_line(struct buf *out, const char *text)
{
	unsigned width = terminal_width(), used;
	size_t n = strlen(text);

	if (width == 0 || utf8_width(text, n) <= width) {
		buf_adds(out, text);
	} else {
		buf_add(out, text, utf8_fit(text, n, width - 1, &used));
		buf_adds(out, "\xe2\x80\xa6");
	}
	buf_addc(out, '\n');
}
