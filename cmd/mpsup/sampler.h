/*
 * Samples many processes in a thread of its own while the answer that names them is still being read: each costs the
 * kernel about 7 us, as much as its row costs us.
 */
#ifndef CMD_MPSUP_SAMPLER_H
#define CMD_MPSUP_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct sampler;
struct usage;

struct sampler *sampler_new(void);

/* To be sampled soon; pid 0 is none. Numbers count from 0 in the order of the calls. */
void sampler_add(struct sampler *s, pid_t pid);

/* Waits until all are sampled; nothing may be added after. */
void sampler_finish(struct sampler *s);

/* After sampler_finish(): NULL where there was no such process. */
const struct usage *sampler_get(const struct sampler *s, size_t i);

/* NULL is fine, and one that was not finished. */
void sampler_free(struct sampler *s);

#endif
