/*
 * A sink with its events: what waits for it, when it is tried again, and the compression of its backups. One for each
 * file, whoever writes to it. Only capture_uv.c and outlet_uv.c know it.
 */
#ifndef SUP_OUTLET_UV_H
#define SUP_OUTLET_UV_H

#include <uv.h>

#include "base/hash.h"
#include "sup/sink.h"
#include "sup/sup_uv.h"

struct outlet_id {
	uint64_t dev, inode;
};

struct outlet {
	struct sink sink;
	struct sup *sup;
	struct unit *unit; /* one of those that write to it; NULL = only the activity log does */
	struct outlet_id id;
	UT_hash_handle hh, hh_path; /* the second of files only */
	unsigned users;
	bool is_tty;
	bool polls; /* a pipe, a terminal, the system's log: writable is an event; of a file nobody tells when there is room */
	int epoll; /* of the system's log, whose socket is another each time its daemon is: watches that; else -1 */
	bool waiting;
	bool complained;
	bool closing;
	unsigned rotations;	  /* those that we know of */
	uint64_t written;	  /* the same, bytes */
	struct mps_time progress; /* when it last took something, or the end began */
	struct capture *held;	  /* these have stopped reading until there is room */
	struct compression *compression;
	union {
		uv_handle_t handle;
		uv_poll_t poll;
		uv_timer_t timer;
	} wait;
};

/*
 * The outlet for this target, one user more; the descriptor is its. Two names of one file are one target, and so are two
 * files that had the same name one after the other; the last one who comes says how it is rotated. NULL with errno.
 */
struct outlet *outlet_get(struct sup *s, const struct sink_spec *spec);
/* The one for the system's log. */
struct outlet *outlet_get_syslog(struct sup *s);
/* One user less; without any it is closed as soon as it is empty. */
void outlet_release(struct outlet *o);
/* Writes what waits in it, tells what went wrong, and tries later what did not go. */
void outlet_flush(struct outlet *o);
/* After it was written to, by whomever: 0, or the errno of what did not go. */
void outlet_written(struct outlet *o, int error);
void outlet_reopen_all(struct sup *s);
/* Closes all; what they still hold is lost. */
void outlet_close_all(struct sup *s);

/* capture_uv.c: the outlet takes something again. */
void capture_resume(struct outlet *o);

#endif
