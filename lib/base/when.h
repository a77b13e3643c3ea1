/*
 * Points in time as people write them, and as programs write them at the beginning of a line.
 */
#ifndef BASE_WHEN_H
#define BASE_WHEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/*
 * Nanoseconds since the epoch. Before now: 30s, 10m, 2h, 1d, 1w. Of the local clock: HH:MM[:SS], the last one that was;
 * YYYY-MM-DD[ HH:MM[:SS[.FRACTION]]], also with T and a zone behind it (Z, +01:00, +0100, +01). @SECONDS since the epoch.
 * 0 or -EINVAL with err.
 */
int when_parse(const char *text, int64_t now_ns, int64_t *ret_ns, struct err *err);

/*
 * The time that a line begins with: YYYY-MM-DD, a blank or T, HH:MM:SS, perhaps a fraction behind . or , and a zone. False
 * where there is none. Of the local clock unless a zone is given.
 */
bool when_of_line(const char *line, size_t n, int64_t *ret_ns);

#endif
