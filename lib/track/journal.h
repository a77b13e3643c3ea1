/*
 * The registry on disk (tmpfs, mostly): a text file that grows by a line for each change, so that whoever comes after a
 * kill -9 knows what there was. Each line is written by one write(2) with others, and ends in a newline: a line without
 * one, and whatever cannot be read, is what the kill has torn, and is left out. No fsync: what it tells of dies with the
 * machine too; a journal of another boot tells of nothing.
 */
#ifndef TRACK_JOURNAL_H
#define TRACK_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "track/registry.h"

struct track_journal {
	int fd; /* -1 = none */
	char *path;
	struct buf out; /* lines that are not written yet */
	size_t n_lines; /* since it was last written anew */
};
#define TRACK_JOURNAL_INIT                                                                         \
	{                                                                                          \
		.fd = -1                                                                           \
	}

/*
 * Makes PATH (0600, by a new file that takes its place) with the boot's id and what the registry holds. `who` is for
 * people and for the sweep: a name without a newline, "web". `keeper` is the pid whose end leaves it behind. 0 or -errno.
 */
int track_journal_open(struct track_journal *j, const char *path, const char *who, pid_t keeper,
		       const struct track_registry *r);

/* `owner` is a name for people: that of the program. They are written by track_journal_flush(). */
void track_journal_add(struct track_journal *j, const struct track_record *record,
		       const char *owner);
void track_journal_remove(struct track_journal *j, enum track_type type, const char *name,
			  size_t n);

/*
 * Writes what is not written yet; when the file has grown to several times what the registry holds, anew. 0 or -errno: a
 * full disk (then it is tried again the next time, and nothing is lost but by a kill).
 */
int track_journal_flush(struct track_journal *j, const struct track_registry *r);

/* Closes it; with `remove` the file goes too. */
void track_journal_close(struct track_journal *j, bool remove);

/* What a journal says of a record, besides it. */
struct track_heir {
	char *who; /* of the journal */
	pid_t keeper;
	uint64_t keeper_start;
	bool other_boot; /* then there are no records */
};

/*
 * Reads PATH into an empty registry; all are `owner`'s. Owners' names are looked up by track_journal_owner(). 0 or -errno;
 * -EBADMSG: it is no journal.
 */
int track_journal_read(const char *path, struct track_registry *r, struct track_owner *owner,
		       struct track_heir *ret);
void track_heir_fini(struct track_heir *h);

#endif
