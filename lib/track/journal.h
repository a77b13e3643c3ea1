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
	char *fresh_path; /* what is to take its place */
	char *head;	  /* its first line */
	struct buf out;	  /* lines that are not written yet */
	bool behind;	  /* they were too many: only writing it anew helps */
	size_t n_lines;	  /* since it was last written anew */

	/* The new file while it is being written, a piece with each flush. */
	int fresh_fd; /* -1 = none */
	struct buf fresh;
	size_t next_bucket, n_fresh;
	struct track_registry *pinned;
};
#define TRACK_JOURNAL_INIT                                                                         \
	{                                                                                          \
		.fd = -1, .fresh_fd = -1                                                           \
	}

/*
 * Makes PATH (0600, by a new file that takes its place: what is to be kept of an old one is read before) with the boot's
 * id and what the registry holds. `who` is for people: "web". `keeper` is the pid whose end leaves it behind. 0 or -errno.
 */
int track_journal_open(struct track_journal *j, const char *path, const char *who, pid_t keeper,
		       struct track_registry *r);

/* Appends the line that says it, or that it is no more. */
void track_journal_put(struct buf *to, const struct track_record *record);
void track_journal_put_gone(struct buf *to, const struct track_record *record);

/* Both wait for track_journal_flush(). A change of what a record says is an addition again. */
void track_journal_add(struct track_journal *j, const struct track_record *record);
void track_journal_remove(struct track_journal *j, const struct track_record *record);

/*
 * Writes what is not written yet. When the file has grown to several times what the registry holds it is written anew, a
 * piece with each call. 0; 1: there is more to write anew, call again when there is nothing better to do; -errno: a full
 * disk (it is tried again the next time, and nothing is lost but by a kill).
 */
int track_journal_flush(struct track_journal *j, struct track_registry *r);

/* Closes it; with `remove` the file goes too. Takes one that was never opened. */
void track_journal_close(struct track_journal *j, bool remove);

/* What a journal says besides its records. It owns their owners, which have their names, so it goes after the registry. */
struct track_heir {
	char *who; /* of the journal; NULL where there was nothing in it */
	pid_t keeper;
	uint64_t keeper_start;
	bool other_boot; /* then there are no records */
	uid_t uid;	 /* whose file it is: only root's may tell of objects of others */
	void *owners;
};
#define TRACK_HEIR_INIT                                                                            \
	{                                                                                          \
		0                                                                                  \
	}

/*
 * Reads PATH into a registry, which may hold others' records. 0, also for an empty file, or -errno; -EBADMSG: it is no journal; -EPERM: it is
 * another user's and we are not root.
 */
int track_journal_read(const char *path, struct track_registry *r, struct track_heir *ret);
/* The same with a descriptor. */
int track_journal_read_fd(int fd, struct track_registry *r, struct track_heir *ret);
void track_heir_fini(struct track_heir *h);
/* True while the keeper that has written it runs. */
bool track_heir_has_keeper(const struct track_heir *h);

#endif
