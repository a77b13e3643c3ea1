/*
 * Records of objects, by type and name and by owner. A record costs at most 200 bytes with its name of up to 60; finding,
 * adding and removing one do not grow with their number. Memory only: what is to survive is journal.h's.
 */
#ifndef TRACK_REGISTRY_H
#define TRACK_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "track/track.h"

struct track_record {
	struct track_record *next_in_bucket;
	struct track_record *waiting;	 /* attempts at the same name, by next_in_bucket */
	struct track_record *next, **at; /* of its owner's list; private */
	struct track_owner *owner;
	struct track_creator creator;
	struct track_identity identity;
	int64_t told_ns; /* wall clock, when it was told of: track_add() says now; who knows better puts it there */
	uint32_t hash;
	uint16_t name_length;
	uint8_t type;	  /* enum track_type */
	bool used : 1;	  /* when its owner had ended somebody else still used it */
	bool attempt : 1; /* .. to make it, of which nobody has said that it has failed */
	bool waits : 1;	  /* .. while another record stands for that name: track_wait() */
	bool found : 1;	  /* nobody has told of it */
	char name[];	  /* NUL-terminated */
};

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
};

/* Zeroed is an empty one. */
void track_registry_fini(struct track_registry *r);

/* NULL: there is none. */
struct track_record *track_find(const struct track_registry *r, enum track_type type,
				const char *name, size_t n);

/*
 * A new record of that owner; one that has that name already is this from now on, with nothing left of what it was. NULL:
 * out of memory, or there are TRACK_RECORDS_MAX; nothing has changed.
 */
struct track_record *track_add(struct track_registry *r, struct track_owner *owner,
			       enum track_type type, const char *name, size_t n,
			       const struct track_creator *creator);

/*
 * An attempt to make what has a record already, which stays as it is; either may be the one that makes it. It waits behind
 * that, in its owner's list like any other, and is not found by its name. NULL: out of memory, or there are too many.
 */
struct track_record *track_wait(struct track_registry *r, struct track_record *behind,
				struct track_owner *owner, const struct track_creator *creator);

/* The last attempt of this process at that name, which may be the record itself; NULL: there is none. */
struct track_record *track_attempt_of(struct track_record *record, pid_t pid);

/* It becomes another's. */
void track_give(struct track_record *record, struct track_owner *to);

/* Where attempts wait behind it, one of them takes its place. */
void track_remove(struct track_registry *r, struct track_record *record);

#endif
