/*
 * Values as they lie in messages and in memory: MessagePack without extensions. Read in place, value after value; nothing that
 * was read points outside of the bytes, whatever they are.
 */
#ifndef MANAGER_VALUE_H
#define MANAGER_VALUE_H

#include <msgpack/pack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Arrays and maps within each other. */
#define VALUE_DEPTH_MAX 64

enum value_kind {
	VALUE_NIL,
	VALUE_BOOL,
	VALUE_INT,
	VALUE_UINT, /* beyond INT64_MAX; smaller ones are VALUE_INT, however they were written */
	VALUE_FLOAT,
	VALUE_STR,
	VALUE_BIN,
	VALUE_ARRAY,
	VALUE_MAP,
};

struct value {
	enum value_kind kind;
	bool is_true;
	int64_t i; /* of VALUE_UINT the same bits */
	double d;
	const char *p; /* of VALUE_STR and VALUE_BIN */
	size_t n; /* their bytes; of VALUE_ARRAY how many values follow; of VALUE_MAP how many pairs */
};

/* What is left to be read. */
struct values {
	const uint8_t *p;
	size_t n;
};

/* The next value, of an array or map its head alone. 0; -ENODATA: nothing is left; -EINVAL: that is no value. */
int value_next(struct values *v, struct value *ret);
/* Steps over a whole one, and says where it lies. 0, -ENODATA, -EINVAL. */
int value_skip(struct values *v, const void **ret_p, size_t *ret_n);
/* 0: it is one value, and nothing behind it. -EINVAL. */
int value_check(const void *p, size_t n);
/*
 * The same value in the one way to write it (shortest forms, floats of 8 bytes; the order of maps stays), behind what is in the buffer,
 * so that equal keys are equal bytes. 0, -EINVAL, -ENOMEM.
 */
int value_canonical(const void *p, size_t n, struct buf *out);

/* The head of a packed array: how many values follow in *ret; n = 0 is an empty one. -EINVAL: it is none. */
int values_of_array(const void *p, size_t n, struct values *ret);

/* Packs to the end of a buffer: msgpack_pack_*(&k, ..). */
int value_write(void *buf, const char *p, size_t n);
static inline msgpack_packer value_packer(struct buf *b)
{
	return (msgpack_packer){ b, value_write };
}

#endif
