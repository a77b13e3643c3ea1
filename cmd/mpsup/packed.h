/*
 * Values of a manager as people and scripts write and read them: JSON, or plain text.
 */
#ifndef CMD_MPSUP_PACKED_H
#define CMD_MPSUP_PACKED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct err;

/*
 * One JSON value, packed to the end of a buffer. {"$bytes": "BASE64"} are bytes. 0, or -EINVAL with err: where it is wrong.
 */
int packed_add_json(struct buf *out, const char *text, struct err *err);
/* Text; a whole number, if that would be written as the text is. */
void packed_add_plain(struct buf *out, const char *text);
void packed_add_text(struct buf *out, const char *text, size_t n);
void packed_add_int(struct buf *out, int64_t i);
void packed_add_array(struct buf *out, size_t n);

/*
 * A packed value (n = 0: nil) as JSON. Keys of maps that are no text stand there as their JSON would; what JSON has no word
 * for is null (NaN, infinity), what is no UTF-8 is U+FFFD.
 */
void packed_to_json(const void *p, size_t n, struct buf *out);
/*
 * And for people and the tools of a shell: a line a value, of an array or map a line for each that is in it, key and value with a tab
 * between them (pairs: as if it were a map); nil is nothing. What is within these is JSON.
 */
void packed_to_plain(const void *p, size_t n, bool pairs, struct buf *out);
/* A JSON string; NULL: null. */
void packed_add_json_text(struct buf *out, const char *text, size_t n);
bool packed_is_map(const void *p, size_t n);
/* A packed bool; of others: whether they are more than nothing. */
bool packed_is_true(const void *p, size_t n);

#endif
