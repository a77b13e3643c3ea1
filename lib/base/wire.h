/*
 * Binary messages between processes of one machine: bounded getters with a sticky error, so that a decoder reads field
 * after field and asks once at its end. Native byte order; strings carry their length and a NUL.
 */
#ifndef BASE_WIRE_H
#define BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

void wire_put_u32(struct buf *b, uint32_t v);
void wire_put_u64(struct buf *b, uint64_t v);
void wire_put_bytes(struct buf *b, const void *p, size_t n); /* u32 length, then the bytes */
void wire_put_str(struct buf *b, const char *s); /* bytes with the NUL; NULL is sent as length 0 */
void wire_put_strv(struct buf *b, char *const *v); /* u32 count, then strings; NULL counts 0 */

/* What is left of a message. `failed` once a getter ran past the end or found a malformed field: all later ones answer 0. */
struct wire {
	const char *p;
	size_t n;
	bool failed;
};

uint32_t wire_u32(struct wire *w);
uint64_t wire_u64(struct wire *w);
/* Points into the message; *ret_n = 0 and NULL on failure. */
const void *wire_bytes(struct wire *w, size_t *ret_n);
/* Points into the message, NUL-terminated and without a NUL inside; NULL for a NULL or on failure. */
const char *wire_str(struct wire *w);
/* True when nothing failed and nothing is left over. */
bool wire_done(const struct wire *w);

#endif
