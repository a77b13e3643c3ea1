/*
 * The bytes of log pipes that are under way: all of them lie in one shared memory file, which outlives this process in
 * the keeper, with records of what was being done. Whoever maps it next goes on with the next byte, wherever the last
 * one was killed: no line is lost, doubled or torn. No event loop here; one thread.
 *
 * A window is a piece of that file, always the same for a capture; what waits in it lies between two marks that are
 * stored as one word. An empty one that rests costs no memory.
 */
#ifndef SUP_LOGS_H
#define SUP_LOGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	LOGS_CAPTURE_SIZE = 256 << 10, /* the window of a capture */
	LOGS_SINK_SIZE = 512 << 10,    /* the window of a sink */
	LOGS_LINE_MAX =
		64 << 10, /* a longer line that must be held until it ends goes on in pieces */
	LOGS_READ_MAX = 128 << 10,
	LOGS_COMMIT_MAX = 4,
};

struct logs;

struct window {
	struct window *next; /* of those that hold memory */
	uint64_t *marks;     /* head << 32 | tail, in the shared memory */
	char *p;
	uint32_t size;
	bool warm, used; /* in the list; since logs_trim() has last looked */
};

/* The shared state of a sink. */
struct log_slot {
	uint64_t key; /* what it writes to; 0 = the slot is free */
	uint64_t marks;
	/* A write to a file that is under way: `n` bytes (0 = none) of a window from `head`, to a file of `before` bytes. */
	uint64_t n, before, inode, head;
	uint64_t from; /* 0 = of its own window, else the number of a capture + 1 */
	uint64_t spare;
};

/* One word of a commit. */
struct log_word {
	uint64_t *at;
	uint64_t value;
};

struct logs {
	int memfd, mid[2];
	uint32_t instances; /* there is room for those numbered below it */
	struct log_head *head;
	uint32_t *free_slots; /* numbers below head->used */
	size_t n_free, cap_free;
	struct log_left
		*left; /* uthash: slots of the process before us that nobody has asked for yet */
	struct window *warm;
};

/*
 * memfd -1: a new one, with room for as many instances as there are addresses for (ulimit -v). Else that of an earlier
 * process, with its private pipe: what it did not finish is finished.
 */
int logs_init(struct logs *l, int memfd, const int mid[2]);
void logs_fini(struct logs *l);

/*
 * The window of a capture; it holds what was left there. Also its words "a piece of a line has gone out", and "so many
 * bytes of the pipe less one, then the line ends" (0 = it does not), which logs_read() counts down.
 */
void logs_capture_window(struct logs *l, uint32_t capture, struct window *ret);
uint64_t *logs_capture_inside(struct logs *l, uint32_t capture);
uint64_t *logs_capture_ending(struct logs *l, uint32_t capture);
/* The capture is gone for good. */
void logs_capture_drop(struct logs *l, uint32_t capture);

/* The slot that was left with this key, or a free one. */
uint32_t logs_slot_take(struct logs *l, uint64_t key);
struct log_slot *logs_slot(struct logs *l, uint32_t slot);
void logs_slot_window(struct logs *l, uint32_t slot, struct window *ret);
void logs_slot_free(struct logs *l, uint32_t slot);
/* All that will come back has: slots that nobody asked for are free. */
void logs_slots_adopted(struct logs *l);

/*
 * Moves at most `max` bytes of a pipe behind what the window of a capture holds. The number of bytes, 0 when there is no
 * room, or -errno (-EAGAIN: the pipe is empty).
 */
ssize_t logs_read(struct logs *l, uint32_t capture, struct window *w, int fd, size_t max);

/*
 * Writes at most `max` bytes from the window of a slot to a pipe, a terminal, a socket or a device, so that who comes after us knows how much
 * of it was taken. The number of bytes, or -errno; -EINVAL: not to one of this kind.
 */
ssize_t logs_write(struct logs *l, uint32_t slot, uint64_t from, struct window *w, int fd,
		   size_t max);

/* All words or none, whenever we are killed. */
void logs_commit(struct logs *l, const struct log_word *words, size_t n);

/* The window was written to: logs_trim() gives its memory back when it is empty and was not used since the last call. */
void logs_touch(struct logs *l, struct window *w);
void logs_forget(struct logs *l, struct window *w);
/* False when no window holds memory that could be given back. */
bool logs_trim(struct logs *l);

static inline uint64_t marks_of(uint32_t head, uint32_t tail)
{
	return (uint64_t)head << 32 | tail;
}

static inline uint32_t window_head(const struct window *w)
{
	return (uint32_t)(*w->marks >> 32);
}

static inline uint32_t window_tail(const struct window *w)
{
	return (uint32_t)*w->marks;
}

static inline uint32_t window_len(const struct window *w)
{
	return window_tail(w) - window_head(w);
}

/* What is stored before is seen before; a word is stored as a whole. */
static inline void log_store(uint64_t *at, uint64_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

static inline void window_set(struct window *w, uint32_t head, uint32_t tail)
{
	log_store(w->marks, marks_of(head, tail));
}

#endif
