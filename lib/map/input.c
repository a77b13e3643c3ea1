/*
 * Reading tasks. See input.h.
 */
#include "map/input.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/xalloc.h"

enum { READ_SIZE = 256 << 10 };

void input_init(struct input *in, int fd, char delimiter, bool frame)
{
	struct stat st;
	off_t at;

	*in = (struct input){ .fd = fd, .delimiter = delimiter, .frame = frame, .size = -1 };
	if (fstat(fd, &st) < 0)
		return;
	in->can_block = !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
	at = S_ISREG(st.st_mode) ? lseek(fd, 0, SEEK_CUR) : -1;
	if (at >= 0 && st.st_size >= at)
		in->size = st.st_size - at;
}

void input_fini(struct input *in)
{
	free(in->p);
	in->p = NULL;
}

uint32_t frame_length(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

size_t item_length(const char *p, size_t n, bool frame, char delimiter)
{
	const char *end;

	if (frame)
		return n >= INPUT_HEAD && n - INPUT_HEAD >= frame_length(p)
			       ? INPUT_HEAD + (size_t)frame_length(p)
			       : 0;
	end = memchr(p, delimiter, n);
	return end != NULL ? (size_t)(end - p) + 1 : 0;
}

const char *item_text(const char *p, size_t n, bool frame, size_t *ret_n)
{
	*ret_n = frame ? n - INPUT_HEAD : n - 1;
	return frame ? p + INPUT_HEAD : p;
}

/* Room for a read behind what is there. */
static void make_room(struct input *in)
{
	if (in->from > 0) {
		memmove(in->p, in->p + in->from, in->to - in->from);
		in->to -= in->from;
		in->from = 0;
	}
	if (in->cap - in->to >= READ_SIZE / 2 && in->p != NULL)
		return;
	in->cap = in->cap > 0 ? in->cap * 2 : READ_SIZE;
	in->p = xrealloc(in->p, in->cap + 1);
}

/* 1 = something came, or the end did; 0 = nothing now; -errno. */
static int more(struct input *in)
{
	struct pollfd p = { .fd = in->fd, .events = POLLIN };
	ssize_t n;

	if (in->can_block && poll(&p, 1, 0) == 0) {
		in->dry = true;
		return 0;
	}
	make_room(in);
	n = read(in->fd, in->p + in->to, in->cap - in->to);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		in->dry = true;
		return 0;
	}
	if (n < 0)
		return -errno;
	in->ended = n == 0;
	in->to += (size_t)n;
	/* The last one may have no delimiter; it gets one. */
	if (in->ended && in->from < in->to && !in->frame && in->p[in->to - 1] != in->delimiter)
		in->p[in->to++] = in->delimiter;
	return 1;
}

/* The first task that is there whole, 0 = none is. */
static size_t first(struct input *in)
{
	size_t n;

	if (in->from == in->to)
		return 0;
	if (in->frame)
		return item_length(in->p + in->from, in->to - in->from, true, 0);
	n = item_length(in->p + in->from + in->looked, in->to - in->from - in->looked, false,
			in->delimiter);
	if (n > 0)
		return in->looked + n;
	in->looked = in->to - in->from;
	return 0;
}

static bool is_too_long(const struct input *in)
{
	size_t n = in->to - in->from;

	if (in->frame)
		return n >= INPUT_HEAD && frame_length(in->p + in->from) > MAP_TASK_MAX;
	return n > MAP_TASK_MAX;
}

int input_take(struct input *in, size_t max_tasks, size_t max_bytes, struct buf *to,
	       uint32_t *ret_n)
{
	size_t from, n;
	int r = 1;

	*ret_n = 0;
	while ((n = first(in)) == 0 && !in->ended && !is_too_long(in) && r > 0)
		if ((r = more(in)) < 0)
			return r;
	if (n > MAP_TASK_MAX + INPUT_HEAD || (n == 0 && is_too_long(in)))
		return -EMSGSIZE;
	if (n == 0)
		return in->ended && in->from < in->to ? -EBADMSG : 0;
	from = in->from;
	while (n > 0 && *ret_n < max_tasks && (*ret_n == 0 || in->from - from + n <= max_bytes)) {
		in->from += n;
		in->looked = 0;
		++*ret_n;
		n = first(in);
	}
	buf_add(to, in->p + from, in->from - from);
	in->taken += (int64_t)(in->from - from);
	if (in->from == in->to)
		in->from = in->to = 0;
	return 0;
}

bool input_is_over(const struct input *in)
{
	return in->ended && in->from == in->to;
}
