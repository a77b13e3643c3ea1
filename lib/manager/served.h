/*
 * What the types whose objects are values in the server share. Arguments have been checked and are written in one way only, so
 * equal values are equal bytes.
 */
#ifndef MANAGER_SERVED_H
#define MANAGER_SERVED_H

#include <errno.h>

#include "manager/server.h"

/* A packed value. */
struct packed {
	const uint8_t *p;
	size_t n;
};

/* How many arguments there are, the first of them in a[]; -EINVAL: fewer or more. */
int served_args(const struct mps_call *call, size_t min, size_t max, struct packed *a);
/* 0: there are none. -EINVAL. */
int served_none(const struct mps_call *call);
/* -EINVAL: it is no whole number. */
int served_int(const struct packed *a, int64_t *ret);
/* The values in it: how many in *ret_n. -EINVAL: it is none. */
int served_array(const struct packed *a, struct values *ret, size_t *ret_n);
int served_map(const struct packed *a, struct values *ret, size_t *ret_n);
/* The next of them; they have been checked. */
struct packed served_next(struct values *v);

/* Answers. */
int served_reply(struct mps_call *call, const void *p, size_t n);
int served_reply_int(struct mps_call *call, int64_t i);
int served_reply_bool(struct mps_call *call, bool is_so);

extern struct served_type served_dict, served_list, served_namespace;

#endif
