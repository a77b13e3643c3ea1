/*
 * The tracker in the keeper, as its files share it: track.c (the socket and its clients), track_words.c (whose a
 * sender is, and his words), leak.c (what instances have left behind), leak_news.c (what the supervisor is told of it),
 * leak_left.c (what is in use at the end of all), shm.c (what happens in /dev/shm), and for what nobody tells of scan.c (who
 * makes it there), scan_walk.c (the same where the kernel does not say it) and scan_sysv.c. Records, journal and what the
 * kernel says of an object are lib/track's.
 *
 * A record belongs to a holding: that of the instance whose process has told of it. While the instance runs it is in the
 * list LIVE; when the instance has ended and somebody still uses the object it goes to a list of the same holding that is
 * asked again whenever an instance ends.
 */
#ifndef KEEPER_TRACKER_H
#define KEEPER_TRACKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "keeper/internal.h"
#include "track/stake.h"
#include "track/journal.h"
#include "track/object.h"
#include "track/registry.h"

/* How long the tracker may work in one turn of the loop: others wait. */
#define TRACK_TURN_NS MPS_NS_PER_MS

/* Datagrams that are read at once. */
enum { TRACK_BATCH = 32 };

enum { LIVE, OVER_A, OVER_B, N_LISTS };

/* A list of records that knows whose it is. */
struct owned {
	struct track_owner owner; /* first */
	struct holding *holding;
};

struct holding {
	char *name;	 /* of the program, for people */
	uint32_t slot;	 /* NO_SLOT: it is forgotten, and goes with its last record */
	uint8_t cleanup; /* of the last run, enum keeper_cleanup */
	uint8_t rest; /* OVER_A or OVER_B: those that were asked in this pass; the other: that were not yet */
	bool ending;	     /* its instance has ended, and LIVE is worked off */
	bool leave;	     /* .. but some of its processes are meant to stay */
	bool is_kept;	     /* is in the list of those that have records of ended runs */
	bool is_dirty;	     /* its counts have changed */
	bool has_semaphores; /* was told of one in this run */
	uint32_t pass;
	uint32_t n_cleaned;
	struct owned lists[N_LISTS];
	struct object_walk *folder; /* one that is being unlinked; NULL = none was yet */
	struct client *clients;	    /* connections that its processes have made */
	struct holding *next_ending, *next_dirty;
	struct holding *next_kept, **at_kept;
};

struct client {
	int fd;
	uint32_t index, number;
	struct holding *holding; /* of who has connected; NULL = he was dead before we could look */
	struct client *next, **at; /* of the holding, or of those without */
	bool fresh;    /* the kernel has not begun to stamp its datagrams with their time */
	int64_t since; /* .. which were not sent before this (wall clock) */
	/* Who has sent the last one. */
	pid_t pid;
	uint64_t start;
	int64_t start_read;
};

/* Something that was unlinked and is to be told. */
struct news {
	struct news *next;
	uint32_t instance;
	uint8_t type;
	pid_t pid;
	const char *program; /* behind the object's name */
	char name[];
};

/* Half of a rename(2): inotify tells of the two one after the other. */
struct moved {
	uint32_t cookie;
	struct track_identity identity;
	struct track_creator creator;
	int64_t told_ns;
	struct holding *holding;
	int list;
};

/* Who does something, and whose he is. */
struct sender {
	pid_t pid;
	uid_t uid;
	uint64_t start;
	int64_t sent_ns; /* wall clock */
	struct holding *holding;
	bool over; /* of a run that is over */
};

/* Made by one of ours, and not to be found under its name: it comes with another, or is gone. */
struct homeless {
	struct sender maker; /* holding NULL = there is none */
	unsigned size;
	unsigned char handle[128];
};

struct slate_of {
	uid_t uid;
	int fd; /* -1: it could not be made */
};

struct wipe {
	int fd;
	unsigned place;
};

struct tracker {
	char *dir, *path; /* the socket's */
	int listener;
	int ready;	   /* of the clients, those that have something to say */
	struct stat bound; /* the socket's file */
	struct track_registry registry;
	struct track_journal journal;
	struct stakes stakes;
	bool journal_more; /* it is being written anew */

	struct client **clients;
	uint32_t n_clients, cap_clients, last_number;
	struct client *unknown;	 /* those without a holding */
	int64_t connected_since; /* wall clock: nobody had connected then */

	struct slate_of *slates; /* of each user that a program was started as */
	size_t n_slates;
	/* What was noted there, is recorded, and is to be wiped when it is written down. */
	struct wipe wipes[TRACK_BATCH];
	size_t n_wipes;

	/* What processes have told of whose instance could not be found any more. */
	struct holding *unclaimed;
	struct holding *ending, *last_ending;
	struct holding *kept, *at_pass; /* the next of the pass that is on */
	struct holding *dirty;
	struct mps_time counts_not_before, pass_not_before, turn_until;
	int64_t pass_took;
	uint32_t pass;
	bool pass_on, pass_due;

	struct news *first_news, *last_news, *unsent;
	size_t n_news, n_sent;		/* the first of them were sent, and not heard yet */
	uint32_t n_dropped;		/* words of strangers, or beyond limits */
	bool dropped_news, dropped_due; /* the first waits for its time */

	/* In use at the end of all. */
	struct left *left;
	size_t n_left;

	bool caught_up; /* in this turn: track_catch_up() */
	bool no_sysv;	/* .. there was no object of SysV at all then */

	int shm; /* the folder (O_PATH); -1 = none */
	int inotify;
	struct moved moved;

	int fanotify;
	struct homeless homeless;
	struct scan_walk *walk; /* NULL: fanotify tells, or nobody wants to know */
	struct given {
		uint32_t type;
		struct track_identity identity;
		char name[16];
	} * given; /* SysV objects that were handed over */
	size_t n_given;
	bool too_many_given; /* .. so that it is not known of which */
};

/* ------------------------------------------------------------------------------------------------------ track.c */
/*
 * Socket and journal in that folder, once; when it is called again the socket is made anew where it is missing. Without
 * memory or room there is no tracker, and it is said.
 */
void track_open(struct keeper *k, const char *dir);
/* The end of all: what is left is asked once more, unlinked or named. */
void track_close(struct keeper *k);
void track_on_connect(struct keeper *k);
void track_on_words(struct keeper *k, uint32_t index, uint32_t number);
/* The connection is one of this holding's. */
void track_client_belongs(struct client *c, struct holding *h);
/* What anybody has said is read. */
void track_hear_all(struct keeper *k);
/* Everything that dead processes of this holding may have said is read. */
void track_listen(struct keeper *k, struct holding *h);
/* A process of this user is about to be started in its slot. */
void track_on_start(struct keeper *k, const struct keeper_start *start, uid_t uid);
/* The slot's number may be another's from here on. */
void track_forget(struct keeper *k, uint32_t index);
/* Before somebody is reaped of whose end the loop was told; once a turn. */
void track_catch_up(struct keeper *k);
/* The loop has waited, and works now. */
void track_begin_turn(struct keeper *k);
/* A bounded part of what there is to do. */
void track_turn(struct keeper *k);
/* When the next turn is wanted; 0 = not by itself. */
struct mps_time track_next_turn(const struct keeper *k);

/* ------------------------------------------------------------------------------------------------ track_words.c */
/* Words that count for nothing. */
void track_drop(struct tracker *t);
/* The holding of the process; NULL: it is none of ours, or gone. *ret_over: of a run that is over. */
struct holding *track_whose(struct keeper *k, pid_t pid, bool *ret_over);
/* A record of that owner's, told of then; NULL: there are too many. */
struct track_record *track_record(struct tracker *t, const struct sender *s, enum track_type type,
				  const char *name, size_t n);
/* Who has sent a datagram on that connection; false: a stranger. */
bool track_identify(struct keeper *k, struct client *c, const struct ucred *who, struct sender *s);
/* For those that nobody knows any more; NULL: out of memory. */
struct holding *track_unclaimed(struct tracker *t);
void track_datagram(struct keeper *k, struct client *c, const struct sender *s, char *p, size_t n);
/* What was recorded goes into the journal, and off the slates. */
void track_write_down(struct tracker *t);

/* ------------------------------------------------------------------------------------------------------- leak.c */
struct holding *holding_of_slot(struct keeper *k, uint32_t index);
struct holding *holding_new(uint32_t slot, const char *name);
struct holding *holding_of(const struct track_record *r);
/* It has no slot and nothing in it any more. */
void holding_drop(struct tracker *t, struct holding *h);
/* Counts have changed. */
void holding_changed(struct tracker *t, struct holding *h);
/* Where records of runs that are over go; it is asked in the next pass. */
struct track_owner *holding_rest(struct tracker *t, struct holding *h);
/* Out of the registry and the journal. */
void leak_take_out(struct tracker *t, struct track_record *r);
/* .. and its holding goes, if that was the last. */
void leak_forget(struct tracker *t, struct track_record *r);
/* The last process of the instance is gone: works off what it has left. False: there is more, slot_gone() will be called. */
bool track_on_end(struct keeper *k, uint32_t index);
/* False when the turn was too short for all. */
bool leak_turn(struct keeper *k);
void leak_end_all(struct keeper *k);

/* -------------------------------------------------------------------------------------------------- leak_news.c */
void leak_tell(struct keeper *k, const struct track_record *r);
void track_heard(struct keeper *k, uint32_t n);
/* False when the socket is full. */
bool track_send_news(struct keeper *k);
void track_encode_counts(struct keeper *k, uint32_t index);
/* To a new supervisor. */
void track_tell_all(struct keeper *k);
void leak_flush_counts(struct keeper *k, struct mps_time now);
/* There is no supervisor any more: in the log. */
void leak_say_news(struct keeper *k);
/* It stays, in use (error 0) by `users`, " by sh (pid 7)" or "", or because nobody can tell. */
void leak_say_left(struct keeper *k, const struct track_record *r, const char *users, int error);

/* -------------------------------------------------------------------------------------------------- leak_left.c */
/* It stays, since it is in use; who uses it is looked for when all are known. */
void leak_left_add(struct tracker *t, const struct track_record *r);
void leak_left_say(struct keeper *k);

/* -------------------------------------------------------------------------------------------------------- shm.c */
#define SHM_FOLDER "/dev/shm"
bool shm_is_tmpfs(void);
void shm_open_watch(struct keeper *k);
void shm_close_watch(struct tracker *t);
/* When files are closed there is of interest too. */
void shm_watch_closing(struct tracker *t);
/* Some of what has happened; what was read of it for a look ahead comes first. */
void shm_on_event(struct keeper *k);
/* There is something that was read, and not worked off: nobody else will tell of it. */
bool shm_has_more(void);
/* Bytes of events that can be read from there now. */
int shm_queued(int fd);
/* All that has happened before the call. */
void shm_read(struct keeper *k);
/* .. but what fanotify tells. */
void shm_catch_up(struct keeper *k);

/* ------------------------------------------------------------------------------------------------------- scan.c */
/* There is an instance of which it is to be known what it makes and does not tell. */
void scan_open(struct keeper *k);
void scan_close(struct tracker *t);
/* All that fanotify has to tell. */
void scan_read(struct keeper *k);
/*
 * What one of ours has made, known by st, becomes a record unless it is one, was there before his instance, or is another
 * user's by now.
 */
void scan_found(struct keeper *k, const struct sender *maker, enum track_type type,
		const char *name, const struct statx *st);
int scan_stat(const char *file, struct statx *ret);

/* -------------------------------------------------------------------------------------------------- scan_walk.c */
void walk_open(struct keeper *k);
/* What inotify tells of a file in /dev/shm (NULL: it could not tell all) that is in no record. */
void walk_on_event(struct tracker *t, uint32_t mask, enum track_type type, const char *name,
		   const char *file);
/* It was spoken of. */
void walk_forget(struct tracker *t, enum track_type type, const char *name);
/* It is freed. */
void walk_drop(struct tracker *t, const struct holding *h);
void walk_turn(struct keeper *k);
struct mps_time walk_next_turn(const struct tracker *t);

/* -------------------------------------------------------------------------------------------------- scan_sysv.c */
/* A process of the instance: what SysV objects it makes. `start` as in track_creator. */
void sysv_seen(struct keeper *k, uint32_t index, pid_t pid, uint64_t start);
void sysv_forget(struct slot *s);
/* .. is reaped. */
void sysv_reaped(struct keeper *k, uint32_t index, pid_t pid);
/* Whatever has that name is nobody's any more. */
void sysv_given(struct tracker *t, enum track_type type, const char *name);
/* There is no shared memory and no queue, whose ever. */
bool sysv_is_none(void);
/* The instance has ended: what it has made and nobody has told of becomes records. */
void sysv_scan(struct keeper *k, uint32_t index);

#endif
