/*
 * Aligned columns. See table.h. Text and cells lie in two buffers, so that a row costs no allocation of its own.
 */
#include "base/table.h"

#include <stdarg.h>
#include <string.h>

#include "base/utf8.h"

#define GAP 2
#define LAST_MIN 16 /* columns are dropped before the last one gets less */
#define COLUMNS_MAX 16

struct cell {
	size_t at;
	size_t len;
	unsigned width;
	const char *sgr;
};

/* What a rendering has decided. */
struct layout {
	unsigned width[COLUMNS_MAX];
	bool dropped[COLUMNS_MAX];
};

void table_init(struct table *t, const struct table_column *columns, size_t n_columns)
{
	*t = (struct table){ .columns = columns, .n_columns = n_columns };
}

void table_fini(struct table *t)
{
	buf_fini(&t->text);
	buf_fini(&t->cells);
}

void table_add(struct table *t, const char *text, const char *sgr)
{
	struct cell cell = { .at = t->text.len, .sgr = sgr };

	buf_add(&t->text, "", 0); /* so that there is a pointer to add to */
	utf8_add_clean(&t->text, text, strlen(text));
	cell.len = t->text.len - cell.at;
	if (cell.len > 0)
		cell.width = utf8_width(t->text.p + cell.at, cell.len);
	buf_add(&t->cells, &cell, sizeof(cell));
}

void table_addf(struct table *t, const char *sgr, const char *fmt, ...)
{
	AUTO_BUF text = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	buf_addv(&text, fmt, ap);
	va_end(ap);
	table_add(t, text.p != NULL ? text.p : "", sgr);
}

static const struct cell *cells_of(const struct table *t)
{
	return (const struct cell *)(const void *)t->cells.p;
}

static size_t n_rows(const struct table *t)
{
	return t->cells.failed || t->text.failed
		       ? 0
		       : t->cells.len / sizeof(struct cell) / t->n_columns;
}

static unsigned title_width(const struct table_column *column)
{
	return utf8_width(column->title, strlen(column->title));
}

static unsigned total(const struct layout *l, size_t n)
{
	unsigned sum = 0;

	for (size_t i = 0; i < n; i++)
		if (!l->dropped[i])
			sum += l->width[i] + GAP;
	return sum;
}

/* Of those that stay, by as much as is missing. */
static void cut(const struct table *t, struct layout *l, unsigned need, unsigned width)
{
	size_t last = t->n_columns - 1;

	for (size_t i = 0; i < last && total(l, last) + need > width; i++) {
		unsigned least = t->columns[i].drop < 0 ? (unsigned)-t->columns[i].drop : 0;
		unsigned excess = total(l, last) + need - width;

		if (least == 0 || l->dropped[i] || l->width[i] <= least)
			continue;
		l->width[i] = l->width[i] - least > excess ? l->width[i] - excess : least;
	}
}

/* Drops columns until the last one has room enough, then cuts others, and that one. */
static void fit(const struct table *t, struct layout *l, unsigned width)
{
	size_t last = t->n_columns - 1;
	unsigned need = l->width[last] < LAST_MIN ? l->width[last] : LAST_MIN;
	unsigned before;

	while (total(l, last) + need > width) {
		size_t victim = last;

		for (size_t i = 0; i < last; i++)
			if (!l->dropped[i] && t->columns[i].drop > 0 &&
			    (victim == last || t->columns[i].drop > t->columns[victim].drop))
				victim = i;
		if (victim == last)
			break;
		l->dropped[victim] = true;
	}
	cut(t, l, need, width);
	before = total(l, last);
	if (before + l->width[last] > width)
		l->width[last] = before + need > width ? need : width - before;
}

static void layout(const struct table *t, struct layout *l, unsigned width)
{
	const struct cell *cell = cells_of(t);
	size_t rows = n_rows(t);

	memset(l, 0, sizeof(*l));
	for (size_t i = 0; i < t->n_columns; i++)
		l->width[i] = title_width(&t->columns[i]);
	for (size_t i = 0; i < rows * t->n_columns; i++)
		if (cell[i].width > l->width[i % t->n_columns])
			l->width[i % t->n_columns] = cell[i].width;
	if (width > 0)
		fit(t, l, width);
}

static void pad(struct buf *out, unsigned n)
{
	static const char blanks[] =
		"                                                                ";

	for (; n > sizeof(blanks) - 1; n -= (unsigned)sizeof(blanks) - 1)
		buf_add(out, blanks, sizeof(blanks) - 1);
	buf_add(out, blanks, n);
}

/* One cell in `width` columns: cut with an ellipsis where it is wider. Its own width afterwards. */
static unsigned add_text(struct buf *out, const char *s, size_t n, unsigned own, unsigned width)
{
	if (own <= width) {
		buf_add(out, s, n);
		return own;
	}
	if (width == 0)
		return 0;
	n = utf8_fit(s, n, width - 1, &own);
	buf_add(out, s, n);
	buf_adds(out, "\xe2\x80\xa6");
	return own + 1;
}

static void add_cell(struct buf *out, const struct table_column *column, const struct cell *cell,
		     const char *s, unsigned width, bool colours)
{
	bool coloured = colours && cell->sgr != NULL && cell->len > 0;
	unsigned used;

	if (column->right && cell->width < width)
		pad(out, width - cell->width);
	if (coloured)
		buf_addf(out, "\033[%sm", cell->sgr);
	used = add_text(out, s, cell->len, cell->width, width);
	if (coloured)
		buf_adds(out, "\033[0m");
	if (!column->right && used < width)
		pad(out, width - used);
}

static void strip_end(struct buf *out)
{
	while (out->len > 0 && out->p[out->len - 1] == ' ')
		out->p[--out->len] = '\0';
}

static void add_row(const struct table *t, const struct layout *l, struct buf *out,
		    const struct cell *row, bool colours)
{
	bool first = true;

	for (size_t i = 0; i < t->n_columns; i++) {
		const struct table_column *column = &t->columns[i];
		struct cell title = { 0, strlen(column->title), title_width(column), "1" };

		if (l->dropped[i])
			continue;
		if (!first)
			pad(out, GAP);
		first = false;
		if (row == NULL)
			add_cell(out, column, &title, column->title, l->width[i], colours);
		else
			add_cell(out, column, &row[i], t->text.p + row[i].at, l->width[i], colours);
	}
	strip_end(out);
	buf_addc(out, '\n');
}

void table_render(const struct table *t, struct buf *out, unsigned width, bool colours)
{
	struct layout l;
	size_t rows = n_rows(t);

	if (t->n_columns == 0 || t->n_columns > COLUMNS_MAX)
		return;
	layout(t, &l, width);
	add_row(t, &l, out, NULL, colours);
	for (size_t i = 0; i < rows; i++)
		add_row(t, &l, out, cells_of(t) + i * t->n_columns, colours);
}
