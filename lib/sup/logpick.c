/*
 * Picking lines. See logpick.h. Nothing is kept: what must be known before the first line is printed is found by reading
 * once more.
 */
#include "sup/logpick.h"

#include "base/when.h"
#include "sup/logfile.h"

enum { BLOCK = 64 << 10 };

struct picking {
	int64_t since_ns;
	bool shows;	     /* the time of the lines now is in */
	bool found;	     /* a time */
	unsigned long count; /* of lines that are in */
	unsigned long skip;  /* so many of them first */
	lines_on *on;	     /* NULL = only count */
	void *user;
};

static void on_line(const char *line, size_t n, void *user)
{
	struct picking *p = user;
	int64_t at;

	if (when_of_line(line, n, &at))
		p->shows = at >= p->since_ns;
	if (!p->shows || p->count++ < p->skip || p->on == NULL)
		return;
	p->on(line, n, p->user);
}

static void on_first_time(const char *line, size_t n, void *user)
{
	struct picking *p = user;
	int64_t at;

	if (p->found || !when_of_line(line, n, &at))
		return;
	p->found = true;
	p->shows = at >= p->since_ns;
}

/* Until the end, or *stop. */
static int each(struct logfile *l, struct lines *lines, const bool *stop, lines_on *on, void *user,
		struct err *err)
{
	char block[BLOCK];
	ssize_t n = 0;

	logfile_rewind(l);
	while (!*stop && (n = logfile_read(l, block, sizeof(block), err)) > 0)
		lines_feed(lines, block, (size_t)n, on, user);
	return n < 0 ? (int)n : 0;
}

static int print(const struct logpick *pick, struct logfile *l, struct lines *lines, lines_on *on,
		 void *user, struct err *err)
{
	bool never = false;
	int r = each(l, lines, &never, on, user, err);

	if (pick->to_the_end)
		lines_end(lines, on, user);
	return r;
}

/* Of no effect but on p. */
static int look(struct picking *p, struct logfile *l, const bool *stop, lines_on *on,
		struct err *err)
{
	struct lines lines = { 0 };
	int r = each(l, &lines, stop, on, p, err);

	lines_end(&lines, on, p);
	lines_fini(&lines);
	return r;
}

static int pick_since(const struct logpick *pick, struct logfile *l, struct lines *lines,
		      lines_on *on, void *user, struct err *err)
{
	struct picking p = { .since_ns = pick->since_ns, .shows = true };
	bool never = false, first;
	int r = look(&p, l, &p.found, on_first_time, err);

	first = p.shows;
	if (r == 0 && pick->lines >= 0) {
		r = look(&p, l, &never, on_line, err);
		p.skip = p.count > (unsigned long)pick->lines ? p.count - (unsigned long)pick->lines
							      : 0;
	}
	if (r < 0)
		return r;
	p.shows = first;
	p.count = 0;
	p.on = on;
	p.user = user;
	return print(pick, l, lines, on_line, &p, err);
}

int logpick_run(const struct logpick *pick, struct logfile *l, struct lines *lines, lines_on *on,
		void *user, struct err *err)
{
	bool dated = pick->since_ns != LOGPICK_EVER;
	int left_out, r;

	left_out = dated ? logfile_start_since(l, pick->since_ns, err)
			 : logfile_start_last(l, pick->lines, err);
	if (left_out < 0)
		return left_out;
	r = dated ? pick_since(pick, l, lines, on, user, err)
		  : print(pick, l, lines, on, user, err);
	return r < 0 ? r : left_out;
}
