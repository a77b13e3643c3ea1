/*
 * What programs are about to make and the tracker has not written down yet. A message that is still under way when the
 * tracker is killed dies with it; so a program first puts the name on a slate, which is a file that it has mapped, tells
 * the tracker, and makes the object. The tracker writes it into its journal and wipes the place, of which the same
 * datagram tells it by a line "SLATE:PLACE:noop". Whoever sweeps up after a kill -9 of all finds on the slate what is not
 * in the journal.
 *
 * There is one for each user, DIR/ipc.slate.UID, which only that user can write to, and what stands there is believed of
 * objects of that user alone. This much is known to libmpsup-preload.so too, which includes nothing else of ours; the
 * functions are slate.c's.
 */
#ifndef TRACK_SLATE_H
#define TRACK_SLATE_H

#include <stdatomic.h>
#include <stdint.h>

#define SLATE_NAME "ipc.slate."

enum {
	SLATE_PLACES = 800,
	SLATE_LINE_MAX = 296, /* with a longer one the program waits until the tracker has it */
};

struct slate_place {
	/*
	 * 0: free. Else milliseconds (CLOCK_MONOTONIC) when it was taken, times two, plus one when the rest is there. Who
	 * finds no free place takes one that is older than SLATE_STALE_MS: its program was killed, or the tracker is slow.
	 */
	_Atomic uint64_t taken;
	int64_t told_ns; /* wall clock */
	int32_t pid;
	uint32_t length;
	char line[SLATE_LINE_MAX]; /* as the tracker is told it: REGISTER or ATTEMPT */
};
_Static_assert(sizeof(struct slate_place) == 320, "the same for all who have it mapped");

struct slate {
	struct slate_place places[SLATE_PLACES];
};

#define SLATE_STALE_MS 10000

/* ------------------------------------------------------------------------------------------------------------------ */

struct track_owner;
struct track_registry;

/* Makes DIR/ipc.slate.UID, empty, its owner's alone; a descriptor (CLOEXEC) or -errno. */
int slate_make(const char *dir, unsigned uid);

/* Needs neither memory nor a descriptor. */
void slate_remove(const char *dir, unsigned uid);

/* The tracker has written down what stands there. -EINVAL: there is no such place. */
int slate_wipe(int fd, unsigned place);

/*
 * Adds what stands on the slates in DIR and is not in the registry, or was told of there before: the name was free again
 * when it was put on the slate. All are `owner`'s. How many, or -errno: some could not be read.
 */
int slate_read_all(const char *dir, struct track_registry *r, struct track_owner *owner);
int slate_read_at(int dir, struct track_registry *r, struct track_owner *owner);

void slate_remove_all(const char *dir);
void slate_remove_at(int dir);

#endif
