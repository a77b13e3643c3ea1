/*
 * The bar. See bar.h. What does not fit is left out, the least important first.
 */
#include "mpsup/bar.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "map/map.h"

enum { WIDTH = 80, BAR_LEAST = 10, BAR_MOST = 60 };

static unsigned width(void)
{
	struct winsize ws;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) < 0 || ws.ws_col == 0)
		return WIDTH;
	return ws.ws_col;
}

static void add_span(struct buf *b, double seconds)
{
	unsigned long s = (unsigned long)(seconds + 0.5);

	if (s >= 360000)
		buf_addf(b, "%lud%luh", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		buf_addf(b, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
	else
		buf_addf(b, "%lu:%02lu", s / 60, s % 60);
}

static void add_count(struct buf *b, double n)
{
	static const char units[] = { 'k', 'M', 'G' };
	int i = -1;

	for (; n >= 10000 && i < 2; i++)
		n /= 1000;
	if (i >= 0)
		buf_addf(b, "%.1f%c", n, units[i]);
	else
		buf_addf(b, n < 10 ? "%.1f" : "%.0f", n);
}

/* How many there will be: known at the end of the input, guessed from a file's size before; 0 = nobody knows. */
static double total(const struct map_progress *p)
{
	if (p->ended)
		return (double)p->taken;
	if (p->size <= 0 || p->bytes <= 0 || p->bytes > p->size)
		return 0;
	return (double)p->taken * ((double)p->size / (double)p->bytes);
}

static void add_bar(struct buf *b, double part, size_t room)
{
	size_t n = room < BAR_MOST ? room : BAR_MOST, full = (size_t)((double)n * part);

	buf_addc(b, '[');
	for (size_t i = 0; i < n; i++)
		buf_addc(b, i < full ? '=' : i == full ? '>' : ' ');
	buf_adds(b, "] ");
}

void bar_draw(struct bar *bar, const struct map_progress *p)
{
	double seconds = (double)(p->now.ns - p->since.ns) / MPS_NS_PER_S, all = total(p);
	double rate = seconds > 0 ? (double)p->done / seconds : 0, part = 0;
	AUTO_BUF text = BUF_INIT;
	AUTO_BUF line = BUF_INIT;
	size_t room = width() - 1;

	buf_addf(&text, "%llu", (unsigned long long)p->done);
	if (all > 0) {
		part = (double)p->done < all ? (double)p->done / all : 1;
		buf_addf(&text, "/%s%.0f %3.0f%%", p->ended ? "" : "~", all, part * 100);
	}
	buf_addf(&text, "  %llu running", (unsigned long long)p->running);
	if (p->failed > 0)
		buf_addf(&text, "  %llu failed", (unsigned long long)p->failed);
	buf_adds(&text, "  ");
	add_count(&text, rate);
	buf_adds(&text, "/s  ");
	add_span(&text, seconds);
	if (all > 0 && rate > 0) {
		buf_adds(&text, "  ETA ");
		add_span(&text, (all - (double)p->done) / rate);
	}
	buf_addc(&line, '\r');
	if (all > 0 && text.len + BAR_LEAST + 3 <= room)
		add_bar(&line, part, room - text.len - 3);
	buf_add(&line, text.p, text.len < room ? text.len : room);
	buf_adds(&line, "\033[K");
	fd_write_all(STDERR_FILENO, line.p, line.len);
	bar->drawn = true;
}

void bar_wipe(struct bar *b)
{
	if (b->drawn)
		fd_write_all(STDERR_FILENO, "\r\033[K", 4);
	b->drawn = false;
}
