/*
 * What becomes of the records of one name when more is heard of it, and when the kernel is asked. Words come in any order:
 * those of one process as it has said them, those of several as they are read, and what the kernel tells of /dev/shm
 * (inotify) before words that were said earlier. So:
 *
 * - A word adds a record of its own, and takes none away but its sender's. Only UNREGISTER does: it hands over what there
 *   is.
 * - A record is of what has its name when it is the only one that can be. Who is killed is no reason to take that for
 *   somebody else's: as long as another lives that may have made it, it stays.
 * - What a record was of has gone: another may have made that while its own maker was about to, whose word is still to be
 *   read. As long as it is young and such a word comes, it is of nothing yet again; else it goes.
 * - A record that is of nothing goes when its process is gone, says that it has removed what had that name, or has failed
 *   to make it; an attempt also when nothing has come of it for TRACK_YOUNG_NS.
 * - Nothing is unlinked before all is read that was said before it was looked at.
 */
#ifndef TRACK_STAKE_H
#define TRACK_STAKE_H

#include <stdbool.h>

#include "track/journal.h"
#include "track/registry.h"

/* Embedded in a tracker. */
struct stakes {
	struct track_registry *registry;
	struct track_journal *journal;
	/* Takes it out of the registry and the journal. */
	void (*forget)(struct track_record *record, void *user);
	void *user;
};

struct stake_name {
	enum track_type type;
	const char *p;
	size_t n;
};

/*
 * A record that was just added, and told of. Looks for what it is of, and writes it down. False: it was forgotten, since
 * what has its name was there before, and it is no attempt.
 */
bool stake_begin(const struct stakes *c, struct track_record *record, bool attempt);

/*
 * The record of what has that name; NULL: there is none. What has gone, as the kernel may have
 * told, is gone afterwards.
 */
struct track_record *stake_standing(const struct stakes *c, const struct stake_name *name);

/*
 * The kernel has told that something of that name has been made. Once what has the name now was
 * looked at, `has_gone` is asked whether what was made has gone again: then that is another.
 */
void stake_made(const struct stakes *c, const struct stake_name *name, bool (*has_gone)(void *user),
		void *user);

/*
 * .. and, behind that, that it has gone: nothing is looked at. What is known of the name is so when the caller comes to
 * that, and calls stake_standing() or stake_made().
 */
void stake_passed(const struct stakes *c, const struct stake_name *name);

/* That process has failed to make it. False: it had not said that it would. */
bool stake_retract(const struct stakes *c, const struct stake_name *name, pid_t pid);

/* That process has removed it, whoever had made it. */
void stake_removed(const struct stakes *c, const struct stake_name *name, pid_t pid);

/* Whatever has that name is nobody's any more, for that process and user. False: it is another user's. */
bool stake_hand_over(const struct stakes *c, const struct stake_name *name, pid_t pid, uid_t uid);

/* The object is that user's, or there is none. */
bool stake_may_change(struct track_record *record, uid_t uid);

/* What is to be done with a record whose process is gone. */
enum stake_end {
	STAKE_HEAR, /* all that was said is to be read; then, if it is still there, it is to be asked again */
	STAKE_UNLINK,  /* it is of that object, should that still be there */
	STAKE_WAIT,    /* somebody who lives may have made that: he says so if he has not */
	STAKE_NOTHING, /* it is of nothing */
	STAKE_UNKNOWN, /* that cannot be told (errno) */
};
enum stake_end stake_end(const struct stakes *c, struct track_record *record);

/* As far as it can be told, what it is of is known. For the end of all, when nobody is heard any more. */
void stake_learn(const struct stakes *c, struct track_record *record);

/* A few of those that are not young any more. True where one has gone: what waits for it is to be asked again. */
bool stake_expire(const struct stakes *c, struct mps_time now);

#endif
