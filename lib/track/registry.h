/*
 * Records of objects, by type and name and by owner. A record costs at most 200 bytes with its name of up to 60; finding,
 * adding and removing one do not grow with their number. Memory only: what is to survive is journal.h's.
 *
 * Several may have one name: each is of one word that somebody is about to make it, and may be of the object that has the
 * name now, of one that is yet to come, or of none. What becomes of them when more is heard is stake.h's.
 */
#ifndef TRACK_REGISTRY_H
#define TRACK_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mtime.h"
#include "track/track.h"

struct track_record {
	struct track_record *next_in_bucket;
	struct track_record *next, **at; /* of its owner's list; private */
	struct track_owner *owner;
	struct track_creator creator;
	struct track_identity identity;
	int64_t told_ns; /* wall clock, when it was told of: track_told() */
	uint32_t hash;
	uint32_t young_at; /* private */
	uint16_t name_length;
	uint8_t type;  /* enum track_type */
	bool over : 1; /* its owner has ended: somebody else still used it, or may have made it */
	bool attempt : 1; /* to make it, of which nobody has said that it has failed */
	bool young : 1;	  /* see track_young_next() */
	bool gone : 1; /* what came of it has gone, it seems: identity.born_ns says when, and ino is 0 */
	bool heard : 1; /* all that was said before its object was looked at is read: nobody else can have made that */
	bool found : 1; /* nobody has told of it */
	char name[];	/* NUL-terminated */
};

/* Which object it is of, not only which name. */
static inline bool track_knows(const struct track_record *r)
{
	return r->identity.ino != 0 || r->identity.born_ns != 0;
}

/* Whose it is: embed one in whatever owns objects. Zeroed = owns nothing. */
struct track_owner {
	struct track_record *first;
	const char *
		name; /* for people and the journal ("web"); whoever embeds it keeps it. NULL is "" */
	uint32_t n;
};

/*
 * Linear hashing: with each record one bucket is split or joined, so that no addition pays for all. The hash is seeded:
 * nobody can choose names that meet.
 */
struct track_registry {
	struct track_record **buckets;
	size_t n_buckets, n;
	unsigned
		pinned; /* while > 0 no buckets are joined: who walks them upwards meets each record that stays */
	uint64_t seed[2];
	/* The young ones in the order in which they were told, a ring. */
	struct track_young *young;
	uint32_t young_cap, young_first, young_end;
};

/* Zeroed is an empty one. */
void track_registry_fini(struct track_registry *r);

/* One of that name, and another one; NULL: there is none. */
struct track_record *track_find(const struct track_registry *r, enum track_type type,
				const char *name, size_t n);
struct track_record *track_next(const struct track_record *record);

/* A new record of that owner. NULL: out of memory, or too many, of that name or of all. */
struct track_record *track_add(struct track_registry *r, struct track_owner *owner,
			       enum track_type type, const char *name, size_t n,
			       const struct track_creator *creator);

/*
 * Since when it is known; track_add() says now. By its creator and this a record is told from others of its name, so it
 * may become a little later.
 */
void track_told(const struct track_registry *r, struct track_record *record, int64_t told_ns);
/* The record of that process of then; NULL: there is none. */
struct track_record *track_find_told(const struct track_registry *r, enum track_type type,
				     const char *name, size_t n, pid_t pid, int64_t told_ns);

/*
 * It is young for a while (TRACK_YOUNG_NS): what it is about may be under way. Takes the next one off the list that is not
 * young any more; NULL: there is none. When the next is due; 0: there is none.
 */
void track_young_add(struct track_registry *r, struct track_record *record);
struct track_record *track_young_next(struct track_registry *r, struct mps_time now);
struct mps_time track_young_due(const struct track_registry *r);

/* It becomes another's. */
void track_give(struct track_record *record, struct track_owner *to);

void track_remove(struct track_registry *r, struct track_record *record);

#endif
