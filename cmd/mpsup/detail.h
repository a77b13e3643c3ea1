/*
 * All about one process, for `mpsup status NAME`.
 */
#ifndef CMD_MPSUP_DETAIL_H
#define CMD_MPSUP_DETAIL_H

#include <jansson.h>

struct buf;
struct snapshot;

/*
 * Adds to a row of status with detail what only this machine's /proc and files tell: "tree" (an array of pid, depth,
 * command), from a finished snapshot for this row alone, and "log" (the last lines of its standard output, where that is
 * a readable regular file).
 */
void detail_fill(json_t *row, const struct snapshot *snapshot);

/* The row as text for a person. */
void detail_add(struct buf *out, const json_t *row);

#endif
