/*
 * The processes of the machine at one moment, and which of them belong to which program: what CPU
 * and memory columns and process trees are made of. A process costs the kernel about 7 us, as much
 * as its row costs us, so all of them are read by threads of its own while the supervisor is being
 * asked; for few programs nothing is read but what belongs to them.
 */
#ifndef CMD_MPSUP_SNAPSHOT_H
#define CMD_MPSUP_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct snapshot;

/* Of a program: its main process, what descends from it, and orphans of it that the keeper has adopted. */
struct usage {
	double cpu;   /* percent of one CPU */
	uint64_t rss; /* bytes; what processes share counts for each */
};

/* Never NULL; where there is no /proc it stays empty. */
struct snapshot *snapshot_new(void);

/* There will be so many main processes, or more: with many of them it begins to read. */
void snapshot_expect(struct snapshot *s, size_t n);

/* NULL is fine. */
void snapshot_free(struct snapshot *s);

/* Waits until all is read and finds what belongs to the main processes mains[0..n), of one keeper; 0 = none. */
void snapshot_finish(struct snapshot *s, const pid_t *mains, size_t n);

/*
 * After snapshot_finish(): of the program with mains[i]; false where it has no process. CPU is what
 * ps(1) reckons, over the life of each process, or, with `before` (finished too), since then, of
 * those that were read then.
 */
bool snapshot_usage(const struct snapshot *s, size_t i, const struct snapshot *before,
		    struct usage *ret_usage);

/* Calls on for each process of the program with mains[i], which is the first, children behind their parents; depth 0 = orphan. */
void snapshot_walk(const struct snapshot *s, size_t i,
		   void (*on)(pid_t pid, unsigned depth, void *user), void *user);

#endif
