/*
 * A barrier for who must not wait: it takes a seat, and asks until its round is over.
 */
#ifndef IPC_BARRIER_H
#define IPC_BARRIER_H

#include <stdbool.h>

#include "mpsup.h"

struct barrier_seat {
	uint32_t word; /* the round */
	uint32_t place;
	uint32_t number; /* what its wait answers; 0 = there is no seat */
};

/* 0: the round is over; -EPIPE: it is broken; -EAGAIN: *ret is to be asked about, or, if its number is 0, there is no seat yet. */
int barrier_arrive(struct mps_barrier *b, struct barrier_seat *ret);
/* By the same thread. The number, -EPIPE, -EAGAIN: not yet. give_up: the round is broken if it is not over: -ETIMEDOUT. */
int barrier_ask(struct mps_barrier *b, const struct barrier_seat *seat, bool give_up);
/* What the C library and this one would trust, see sound.h. */
bool barrier_is_sound(struct mps_barrier *b);

#endif
