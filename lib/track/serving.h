/*
 * The tracker of programs without a supervisor, as its files share it: serve.c (processes, connections, life),
 * serve_words.c (what they say, and what becomes of it).
 */
#ifndef TRACK_SERVING_H
#define TRACK_SERVING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/mtime.h"
#include "track/stake.h"
#include "track/journal.h"
#include "track/object.h"
#include "track/registry.h"

enum kind { LISTENER, TALKER, PROCESS };

/* What an event is of; the first member of what it is about. */
struct watched {
	enum kind kind;
	int fd;
};

struct process {
	struct watched watched; /* its pidfd; -1 = none */
	struct track_owner owner;
	struct process *next;
	pid_t pid;
	uint64_t start;
	bool has_semaphores;
	char name[64];
};

/* A connection. */
struct talker {
	struct watched watched;
	struct talker *next;
};

struct serve {
	const char *dir;
	int folder, epoll;
	int lock; /* of DIR/lock: who sweeps leaves the folder alone */
	char *socket, *journal_path;
	struct stat bound;
	struct watched listener;
	bool deaf; /* it is not waited for: there are no descriptors */
	struct process *processes;
	struct talker *talkers;
	struct track_registry registry;
	struct track_journal journal;
	struct track_owner due;	 /* of the dead, to be asked */
	struct track_owner rest; /* .. in use */
	struct mps_time rest_not_before;
	int64_t took; /* since there was nothing to be asked */
	bool rest_due, journal_more;
	struct object_walk walk; /* one that is being unlinked */
	char *text;		 /* TRACK_MSG_MAX */
};

/* ------------------------------------------------------------------------------------------------------ serve.c */
/* NULL: it is dead, or there is no memory. */
struct process *serve_process(struct serve *s, pid_t pid);
/* What anybody has said is read. */
void serve_hear_all(struct serve *s);

/* ------------------------------------------------------------------------------------------------ serve_words.c */
void serve_write_down(struct serve *s);
/* What is in `text`. */
void serve_datagram(struct serve *s, int fd, const struct ucred *who, size_t n);
/* All that it has is to be asked. */
void serve_bury_records(struct serve *s, struct track_owner *dead);
void serve_expire(struct serve *s);
/* What was in use is asked again. */
void serve_ask_rest(struct serve *s);
/* Asks and unlinks a part of what is due. */
void serve_work(struct serve *s);

#endif
