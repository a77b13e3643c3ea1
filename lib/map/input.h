/*
 * The stream of tasks: read as far as somebody wants one, cut at delimiters or by lengths.
 */
#ifndef MAP_INPUT_H
#define MAP_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf;

struct input {
	int fd;
	char delimiter;
	bool frame; /* each task has its length before it: 4 bytes, the highest first */
	bool ended; /* nothing more comes; what is there may still be tasks */
	bool dry;   /* a read would block: until its descriptor is ready */
	bool can_block;
	char *p;
	size_t from, to, cap, looked; /* bytes there; `looked` of them hold no delimiter */
	int64_t size;		      /* of a file, from where it stood; -1 = not known */
	int64_t taken;		      /* bytes that were handed out */
};

enum { INPUT_HEAD = 4 }; /* bytes of a length */

void input_init(struct input *in, int fd, char delimiter, bool frame);
void input_fini(struct input *in);

/*
 * Adds tasks to `to`, each with its delimiter or length, as many as are there at once, at most max_tasks and, but for the
 * first, max_bytes. *ret_n may be 0: none is there now (dry), or none will be (input_is_over). 0, -errno of the read,
 * -EMSGSIZE for a task beyond MAP_TASK_MAX, -EBADMSG where the last frame is cut off.
 */
int input_take(struct input *in, size_t max_tasks, size_t max_bytes, struct buf *to,
	       uint32_t *ret_n);
bool input_is_over(const struct input *in);

/* One item (task or answer) at the front of p[0..n): its bytes with head and delimiter, 0 = not all there. */
size_t item_length(const char *p, size_t n, bool frame, char delimiter);
/* The same for an item's own bytes. */
const char *item_text(const char *p, size_t n, bool frame, size_t *ret_n);
uint32_t frame_length(const char *p);

#endif
