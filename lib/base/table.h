/*
 * Aligned columns for a terminal or a pipe. Cells are cleaned of control characters; widths are those of UTF-8 text.
 */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct table_column {
	const char *title;
	bool right; /* numbers */
	/*
	 * Where the width does not suffice the highest goes first; 0 = stays; -N = stays, but is cut to N columns at least when
	 * none is left that can go.
	 */
	int drop;
};

/* Zeroed plus columns and n_columns is an empty table. Out of memory is sticky in the buffers, see buf.h. */
struct table {
	const struct table_column
		*columns; /* the caller's; the last one is cut where the width does not suffice */
	size_t n_columns;
	struct buf text;
	struct buf cells; /* struct cell */
};

void table_init(struct table *t, const struct table_column *columns, size_t n_columns);
void table_fini(struct table *t);

/* The next cell, row by row. sgr is the parameter of a colour ("31"), static, or NULL. */
void table_add(struct table *t, const char *text, const char *sgr);
void table_addf(struct table *t, const char *sgr, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Title line and rows, two blanks between columns, none at the end of a line. width is the terminal's, 0 = as wide as the
 * text. Colours only when asked for. An unfinished last row is left out.
 */
void table_render(const struct table *t, struct buf *out, unsigned width, bool colours);

#endif
