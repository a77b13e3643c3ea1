/*
 * Where log lines go: a file that is rotated at line ends and made anew when somebody takes it away; a pipe, a terminal
 * or a device; the system's log. What waits for it lies in a window of the shared memory (logs.h). Nothing is dropped
 * here but what a reader that is gone for good would have got: what the target does not take now stays where it is. No event loop: the owner calls again.
 */
#ifndef SUP_SINK_H
#define SUP_SINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sup/logs.h"

enum sink_kind {
	SINK_FILE,
	SINK_STREAM, /* pipe, terminal, device, or a file that is our standard output: never rotated */
	SINK_SYSLOG, /* a datagram a line */
};

struct sink {
	struct logs *logs;
	struct window window;
	uint32_t slot;
	enum sink_kind kind;
	int fd;
	dev_t dev;
	ino_t inode;
	char *path; /* of a file */
	mode_t mode;
	int64_t maxbytes; /* <= 0: not rotated */
	int64_t limit;	  /* maxbytes, more when a rotation has failed */
	int backups;
	bool compress;
	int64_t size;
	bool in_line; /* its last byte is no line end */
	bool moved;   /* to be opened again when the line ends */
	bool plain;   /* a stream that cannot be spliced to */
	int trouble; /* errno of what failed while we went on; 0 = none. For the owner to tell and clear */
	unsigned rotations;
	int gone; /* the last backup that was dropped, held open for the owner to close where that may take a while */
	uint64_t written; /* bytes */
	/* The file is another one: dev and inode were these. */
	void (*on_changed)(struct sink *k, dev_t dev, ino_t inode, void *user);
	void *user;
};

struct sink_spec {
	int fd; /* open for appending; becomes the sink's. -1, with a path: opened when it can be */
	const char *path; /* NULL: not a file of ours, so never opened again nor rotated */
	mode_t mode;
	int64_t maxbytes;
	int backups;
	bool compress;
};

/* Takes what an earlier process has left for the same target. 0 or -errno; the descriptor is the sink's in any case. */
int sink_init(struct sink *k, struct logs *logs, const struct sink_spec *spec);
/* How it is rotated from here on. */
void sink_set_rotation(struct sink *k, int64_t maxbytes, int backups, bool compress);
/* What still waits in its window is lost, unless `keep`: then the slot stays for who comes after us. */
void sink_fini(struct sink *k, bool keep);

/* A sink for /dev/log (RFC 3164), connected when there is something to send. */
void sink_init_syslog(struct sink *k, struct logs *logs, const char *socket_path);
/* Its descriptor is open then, until the daemon goes. 0 or -errno. */
int sink_connect_syslog(struct sink *k);
enum { SINK_SYSLOG_LEAD = 48 };
/* What belongs before each line there, as facility user; severity is one of syslog(3). Its length. */
size_t sink_syslog_lead(int severity, char to[SINK_SYSLOG_LEAD]);

/*
 * Writes all of a window: 0, or -errno when some is left. `from` is 0 for its own, else the number + 1 of the capture
 * whose window it is; that may only be given while its own is empty.
 */
int sink_write(struct sink *k, struct window *w, uint64_t from);
static inline int sink_flush(struct sink *k)
{
	return window_len(&k->window) > 0 ? sink_write(k, &k->window, 0) : 0;
}

/* Bytes to its own window, all or (false) none. */
bool sink_add(struct sink *k, const char *p, size_t n);
/* Room behind what waits, and where it begins. */
size_t sink_room(struct sink *k, char **ret_at);

/* Somebody wants the file opened again (a rotation by others): now, or when the line under way has been written. */
void sink_reopen(struct sink *k);

#endif
