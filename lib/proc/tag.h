/*
 * The mark of lineage: tells which instance a process descends from, whatever it did with its session, its parents and
 * its environment. It is the soft RLIMIT_LOCKS, which the kernel has not enforced since 2.4.25 (setrlimit(2)), which
 * every fork and exec passes on, which nobody sets, and which anyone may read (prlimit(2), /proc/PID/limits).
 * The child sets it: struct mps_spawn's tag.
 */
#ifndef PROC_TAG_H
#define PROC_TAG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Packs: a magic number, 24 bits that tell one keeper from another, the instance (18 bits) and its start (14 bits).
 * Never 0 and never RLIM_INFINITY.
 */
uint64_t tag_make(uint32_t keeper, uint32_t instance, uint32_t gen);

/* False where the value is no tag. gen is the low 14 bits. */
bool tag_parse(uint64_t tag, uint32_t *ret_keeper, uint32_t *ret_instance, uint32_t *ret_gen);

/*
 * 24 bits that tell the keeper `pid` from others of this boot: made from its pid and start time. What has the same as
 * another that runs at the same time would end its processes along with its own: one pair in 16 million.
 */
uint32_t tag_keeper_id(pid_t pid);
/* The same of one that is dead: start_ticks as in struct proc_stat. */
uint32_t tag_keeper_id_of(pid_t pid, uint64_t start_ticks);

/* The tag of a process, 0 when it has none or is gone. */
uint64_t tag_get(pid_t pid);

/*
 * The same for the mark by which a program knows the children that it starts through libmpsup, and theirs: in the soft
 * RLIMIT_RSS, which the kernel has not enforced since 2.4.30, so that the tag of a supervisor above stays what it is. Its
 * "keeper" is the program, its "instance" the child.
 */
uint64_t mark_get(pid_t pid);

#endif
