/*
 * The list of arguments of a target, and the note that its process gets: who it is, what it runs, and the list.
 */
#ifndef IPC_ARGS_H
#define IPC_ARGS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "mpsup.h"

struct buf;

enum arg_kind {
	ARG_BYTES,
	ARG_TEXT,
	ARG_INT,
	ARG_FD,
	ARG_SHM,
	ARG_QUEUE,
	ARG_CONNECTION,
	N_ARG_KINDS
};

struct arg {
	enum arg_kind kind;
	const void *p; /* bytes; text with its NUL; of a connection what was read ahead */
	size_t n;
	int64_t value;
	int fd;	      /* -1: taken, or none */
	void *object; /* what was made of the descriptor */
};

struct mps_args {
	struct arg *items;
	size_t n, cap;
	bool is_read; /* the bytes lie in memory that stays */
	/* Of a task: where its result goes. */
	int (*reply)(struct mps_args *args, const void *p, size_t n);
};

/* NULL where the place has none of that kind. */
struct arg *args_at(const struct mps_args *args, size_t i, enum arg_kind kind);
/* An item with a copy of that descriptor. Its index or -errno. */
int args_add_fd(struct mps_args *args, enum arg_kind kind, int fd);
/* Copies of all items, behind those that are there. 0 or -errno. */
int args_append(struct mps_args *to, const struct mps_args *from);
/* Closes what was made of the descriptors of an item. */
void args_close_object(struct arg *a);

/*
 * Of a process that ends: closes all that it holds, but for segments, which stay mapped: that somebody has died holding a
 * lock in one is told by the kernel, which looks for the lock there when the thread ends.
 */
void args_end(struct mps_args *args);
/*
 * As a copy of this process has them, their descriptors numbered from there, as long as args is; of it ret->items is to be
 * freed. False: no memory.
 */
bool args_view(const struct mps_args *args, int first_fd, struct mps_args *ret);
/* Their descriptors in their order; at most max. How many there are. */
size_t args_fds(const struct mps_args *args, int *fds, size_t max);

struct note {
	const char *name;     /* of the process */
	const char *identity; /* "1:2": its number, below that of its parent */
	const char *target;
	pid_t parent;
	uint64_t mark;	   /* that it gives to itself, 0 = none */
	bool needs_parent; /* it ends where its parent is gone already */
	int first_fd;	   /* where the descriptors of the list begin */
};

/* The caller looks at to->failed. */
void note_encode(const struct note *n, const struct mps_args *args, struct buf *to);
/* As text, for who can hand on nothing else, and back: ret has memory for it (half its length). False: it is none. */
void note_to_text(const struct buf *note, struct buf *to);
bool note_from_text(const char *text, uint8_t *ret);
/* Texts and bytes of both point into p, which is aligned to 16. 0, -EBADMSG, -ENOMEM. */
int note_decode(const void *p, size_t n, struct note *ret, struct mps_args **ret_args);

#endif
