/*
 * What instances have left that are no more: their journals lie in their runtime directories. Where nobody was left to end
 * their programs (keeper and supervisor were killed at once), what those had started may run on; it is ended first.
 */
#ifndef TRACK_SWEEP_H
#define TRACK_SWEEP_H

#include <stdbool.h>
#include <stddef.h>

#include "track/object.h"

/*
 * Told of each object that is still there. `who`: the owner's name, else the journal's, else "":
 * that was empty.
 */
typedef void track_sweep_fn(const struct track_record *record, enum object_state state,
			    const char *who, void *user);

/* Told when processes were killed that an instance has left which was killed. who: the journal's. */
typedef void track_sweep_killed_fn(size_t n, const char *who, void *user);

struct track_sweep {
	bool dry_run;	       /* nothing is unlinked; FREE = it would be */
	int64_t older_than_ns; /* only those of which was told so long ago, and no process; 0 = all */
	track_sweep_fn *tell; /* NULL = nobody */
	track_sweep_killed_fn *killed;
	void *user;
};

/*
 * Reads PATH, asks and unlinks what it tells of, and removes it when nothing of it is left (what is in use, and what
 * cannot be asked, stays in it). The caller holds the instance's lock, or knows that its keeper is dead. 0 or -errno.
 */
int track_sweep_journal(const char *path, const struct track_sweep *s);

/* True while the instance whose runtime directory that is, or the command of mpsup exec, is there: it holds a lock. */
bool track_dir_is_held(int dir);

/*
 * The same for the journal in each runtime directory in `base` (BASE/NAME/ipc.journal; client_runtime_base() knows it)
 * whose lock nobody holds and whose keeper does not run. How many journals were swept, or -errno; 0 where there is no base.
 */
int track_sweep_all(const char *base, const struct track_sweep *s);

#endif
