/*
 * Files that are read as they grow, through rotation, truncation, removal and being made (again): inotify(7) tells. What
 * is in a file when it is given to us is the caller's matter, what comes behind it ours.
 */
#ifndef CMD_MPSUP_TRAIL_H
#define CMD_MPSUP_TRAIL_H

#include <stddef.h>
#include <sys/types.h>

struct err;
struct trail;

/* user: that of the trail. */
struct trail_on {
	void (*data)(const char *p, size_t n, void *user);
	void (*cut)(void *user); /* what follows does not continue what was before */
	void (*note)(const char *text,
		     void *user); /* for people: it was truncated, it cannot be read */
};

struct trails {
	int inotify; /* readable: trails_take() has something to do */
	const struct trail_on *on;
	struct trail **list;
	int *wds; /* of the file of each in list: they are searched for every event */
	size_t n;
};

/* 0 or -errno with err. */
int trails_init(struct trails *ts, const struct trail_on *on, struct err *err);
void trails_fini(struct trails *ts);

/*
 * From `at` on of fd, which is taken; fd -1: there is no file yet, and one that comes is read from its beginning. What
 * is new since is read at once.
 */
struct trail *trails_add(struct trails *ts, const char *path, int fd, off_t at, void *user);

/* Reads what is left and ends it. */
void trails_drop(struct trails *ts, struct trail *t);

/* Does what inotify has to tell; does not wait. */
void trails_take(struct trails *ts);

/* Reads all to their ends, whether something was told or not. */
void trails_drain(struct trails *ts);

#endif
