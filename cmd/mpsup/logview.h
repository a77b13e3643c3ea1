/*
 * Lines of several programs on standard output: each whole, and told apart by a prefix or as JSON. They are gathered
 * until logview_flush().
 */
#ifndef CMD_MPSUP_LOGVIEW_H
#define CMD_MPSUP_LOGVIEW_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/lines.h"

struct logview {
	bool json;
	struct buf out;
	int error; /* of writing, as -errno; all else is in vain then */
};

/* Where lines come from. */
struct logvoice {
	struct logview *view;
	const char *name, *stream;
	char *prefix; /* "" = none; the voice's own */
	struct lines lines;
};

/* What the program has written. */
void logview_add(struct logvoice *v, const char *p, size_t n);

/* One whole line, without its newline; a lines_on for a voice. */
void logview_line(const char *line, size_t n, void *voice);

/* What has no newline will get none. */
void logview_end_line(struct logvoice *v);

void logview_flush(struct logview *view);

#endif
