/*
 * Arguments: a list of bytes, numbers and descriptors that is written into a note and read from it in the child.
 */
#include "ipc/args.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/wire.h"
#include "proc/spawn.h"

enum { ALIGN = 16, ITEM_SIZE = 4 + 8 + 8 };
#define NOTE_MAGIC UINT32_C(0x6d704e31)

int mps_args_new(struct mps_args **ret)
{
	struct mps_args *args = calloc(1, sizeof(*args));

	if (args == NULL)
		return -ENOMEM;
	*ret = args;
	return 0;
}

static void args_close(struct mps_args *args)
{
	for (size_t i = 0; i < args->n; i++) {
		args_close_object(&args->items[i]);
		fd_close(&args->items[i].fd);
	}
}

void args_end(struct mps_args *args)
{
	for (size_t i = 0; i < args->n; i++) {
		if (args->items[i].kind != ARG_SHM)
			args_close_object(&args->items[i]);
		fd_close(&args->items[i].fd);
	}
}

bool args_view(const struct mps_args *args, int first_fd, struct mps_args *ret)
{
	size_t n = args != NULL ? args->n : 0;

	*ret = (struct mps_args){ .n = n, .cap = n, .is_read = true };
	if (n == 0)
		return true;
	ret->items = calloc(n, sizeof(*ret->items));
	if (ret->items == NULL)
		return false;
	for (size_t i = 0; i < n; i++) {
		ret->items[i] = args->items[i];
		ret->items[i].object = NULL;
		if (args->items[i].kind >= ARG_FD)
			ret->items[i].fd = first_fd++;
	}
	return true;
}

void mps_args_free(struct mps_args *args)
{
	if (args == NULL)
		return;
	args_close(args);
	for (size_t i = 0; i < args->n && !args->is_read; i++)
		free((void *)args->items[i].p);
	free(args->items);
	free(args);
}

/* The new item's index; it takes over what a holds. */
static int add(struct mps_args *args, const struct arg *a)
{
	if (args->n == args->cap) {
		size_t cap = args->cap ? args->cap * 2 : 8;
		struct arg *items = reallocarray(args->items, cap, sizeof(*items));

		if (items == NULL)
			return -ENOMEM;
		args->items = items;
		args->cap = cap;
	}
	args->items[args->n] = *a;
	return (int)args->n++;
}

static int add_copy(struct mps_args *args, enum arg_kind kind, const void *p, size_t n)
{
	struct arg a = { .kind = kind, .n = n, .fd = -1 };
	void *copy = malloc(n + 1); /* of nothing, too, there is an address */
	int r;

	if (copy == NULL)
		return -ENOMEM;
	if (n > 0)
		memcpy(copy, p, n);
	a.p = copy;
	r = add(args, &a);
	if (r < 0)
		free(copy);
	return r;
}

int mps_args_add(struct mps_args *args, const void *p, size_t n)
{
	return add_copy(args, ARG_BYTES, p, n);
}

int mps_args_add_text(struct mps_args *args, const char *text)
{
	return add_copy(args, ARG_TEXT, text, strlen(text) + 1);
}

int mps_args_add_int(struct mps_args *args, int64_t value)
{
	return add(args, &(struct arg){ .kind = ARG_INT, .value = value, .fd = -1 });
}

/* Above those that a start makes for a moment (MPS_LOW_FDS), where there is room. */
int args_add_fd(struct mps_args *args, enum arg_kind kind, int fd)
{
	struct arg a = { .kind = kind, .fd = fcntl(fd, F_DUPFD_CLOEXEC, MPS_LOW_FDS) };
	int r;

	if (a.fd < 0)
		a.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (a.fd < 0)
		return -errno;
	r = add(args, &a);
	if (r < 0)
		fd_close(&a.fd);
	return r;
}

int mps_args_add_fd(struct mps_args *args, int fd)
{
	return args_add_fd(args, ARG_FD, fd);
}

static int append(struct mps_args *to, const struct arg *a)
{
	int r;

	if (a->kind < ARG_INT)
		return add_copy(to, a->kind, a->p, a->n);
	if (a->kind == ARG_INT)
		return mps_args_add_int(to, a->value);
	r = args_add_fd(to, a->kind, a->fd);
	if (r >= 0 && a->n > 0) {
		char *copy = malloc(a->n);

		if (copy == NULL)
			return -ENOMEM;
		memcpy(copy, a->p, a->n);
		to->items[r].p = copy;
		to->items[r].n = a->n;
	}
	return r;
}

int args_append(struct mps_args *to, const struct mps_args *from)
{
	int r = 0;

	for (size_t i = 0; from != NULL && r >= 0 && i < from->n; i++)
		r = append(to, &from->items[i]);
	return r < 0 ? r : 0;
}

/* ------------------------------------------------------------------------------------------------- reading */

size_t mps_args_count(const struct mps_args *args)
{
	return args->n;
}

struct arg *args_at(const struct mps_args *args, size_t i, enum arg_kind kind)
{
	return i < args->n && args->items[i].kind == kind ? &args->items[i] : NULL;
}

const void *mps_args_bytes(const struct mps_args *args, size_t i, size_t *ret_n)
{
	const struct arg *a = args_at(args, i, ARG_BYTES);

	if (ret_n != NULL)
		*ret_n = a != NULL ? a->n : 0;
	return a != NULL ? a->p : NULL;
}

const char *mps_args_text(const struct mps_args *args, size_t i)
{
	const struct arg *a = args_at(args, i, ARG_TEXT);

	return a != NULL ? a->p : NULL;
}

int64_t mps_args_int(const struct mps_args *args, size_t i)
{
	const struct arg *a = args_at(args, i, ARG_INT);

	return a != NULL ? a->value : 0;
}

int mps_args_fd(const struct mps_args *args, size_t i)
{
	const struct arg *a = args_at(args, i, ARG_FD);

	return a != NULL ? a->fd : -1;
}

int mps_args_take_fd(struct mps_args *args, size_t i)
{
	struct arg *a = args_at(args, i, ARG_FD);
	int fd = a != NULL ? a->fd : -1;

	if (a != NULL)
		a->fd = -1;
	return fd;
}

int mps_args_reply(struct mps_args *args, const void *p, size_t n)
{
	return args->reply != NULL ? args->reply(args, p, n) : -EOPNOTSUPP;
}

size_t args_fds(const struct mps_args *args, int *fds, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; args != NULL && i < args->n; i++)
		if (args->items[i].kind >= ARG_FD) {
			if (n < max)
				fds[n] = args->items[i].fd;
			n++;
		}
	return n;
}

/* ------------------------------------------------------------------------------------------------- the note */

static void align(struct buf *b)
{
	static const char zero[ALIGN];

	buf_add(b, zero, (ALIGN - b->len % ALIGN) % ALIGN);
}

/* The head, a row for each item, and behind all of them the bytes, each aligned: a row tells where. */
void note_encode(const struct note *n, const struct mps_args *args, struct buf *to)
{
	size_t count = args != NULL ? args->n : 0, at = 0;

	wire_put_u32(to, NOTE_MAGIC);
	wire_put_str(to, n->name);
	wire_put_str(to, n->identity);
	wire_put_str(to, n->target);
	wire_put_u32(to, (uint32_t)n->parent);
	wire_put_u64(to, n->mark);
	wire_put_u32(to, n->needs_parent);
	wire_put_u32(to, (uint32_t)n->first_fd);
	wire_put_u32(to, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		const struct arg *a = &args->items[i];

		wire_put_u32(to, a->kind);
		wire_put_u64(to, a->p != NULL ? at : (uint64_t)a->value);
		wire_put_u64(to, a->n);
		at += (a->n + ALIGN - 1) / ALIGN * ALIGN;
	}
	for (size_t i = 0; i < count; i++) {
		align(to);
		if (args->items[i].p != NULL)
			buf_add(to, args->items[i].p, args->items[i].n);
	}
}

void note_to_text(const struct buf *note, struct buf *to)
{
	char *p = buf_reserve(to, note->len * 2);

	for (size_t i = 0; p != NULL && i < note->len; i++) {
		unsigned char c = (unsigned char)note->p[i];

		to->p[to->len++] = (char)('a' + (c >> 4));
		to->p[to->len++] = (char)('a' + (c & 15));
	}
	buf_addc(to, '\0');
}

bool note_from_text(const char *text, uint8_t *ret)
{
	for (; *text != '\0'; text += 2) {
		unsigned high = (unsigned)(text[0] - 'a'), low = (unsigned)(text[1] - 'a');

		if (high > 15 || low > 15)
			return false;
		*ret++ = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* What belongs to an item of that kind is there. */
static bool complete(struct arg *a, const char *bytes, size_t size, int *fd)
{
	uint64_t at = (uint64_t)a->value;

	if (a->kind >= ARG_FD)
		a->fd = (*fd)++;
	if (a->kind == ARG_INT || (a->kind >= ARG_FD && a->n == 0))
		return true;
	if (at > size || a->n > size - at)
		return false;
	a->p = bytes + at;
	return a->kind != ARG_TEXT || (a->n > 0 && memchr(a->p, 0, a->n) == bytes + at + a->n - 1);
}

static int decode_items(struct wire *w, const char *start, size_t count, int fd,
			struct mps_args *args)
{
	const char *rows = w->p;
	size_t left, skip;

	if (w->failed || count > w->n / ITEM_SIZE)
		return -EBADMSG;
	left = w->n - count * ITEM_SIZE;
	skip = (ALIGN - (size_t)(rows + count * ITEM_SIZE - start) % ALIGN) % ALIGN;
	skip = skip < left ? skip : left;
	args->items = calloc(count + 1, sizeof(*args->items));
	if (args->items == NULL)
		return -ENOMEM;
	args->cap = count + 1;
	for (args->n = 0; args->n < count;) {
		struct arg *a = &args->items[args->n];
		uint32_t kind = wire_u32(w);

		a->fd = -1;
		a->kind = (enum arg_kind)kind;
		a->value = (int64_t)wire_u64(w);
		a->n = wire_u64(w);
		if (kind >= N_ARG_KINDS ||
		    !complete(a, rows + count * ITEM_SIZE + skip, left - skip, &fd))
			return -EBADMSG;
		args->n++;
	}
	return 0;
}

/* Descriptors that were never ours are not to be closed. */
static int give_up(struct mps_args *args, int error)
{
	for (size_t i = 0; i < args->n; i++)
		args->items[i].fd = -1;
	mps_args_free(args);
	return error;
}

int note_decode(const void *p, size_t n, struct note *ret, struct mps_args **ret_args)
{
	struct wire w = { p, n, false };
	struct mps_args *args;
	struct note note;
	uint32_t count;
	int r;

	if (wire_u32(&w) != NOTE_MAGIC)
		return -EBADMSG;
	note.name = wire_str(&w);
	note.identity = wire_str(&w);
	note.target = wire_str(&w);
	note.parent = (pid_t)wire_u32(&w);
	note.mark = wire_u64(&w);
	note.needs_parent = wire_u32(&w) != 0;
	note.first_fd = (int)wire_u32(&w);
	count = wire_u32(&w);
	if (note.name == NULL || note.identity == NULL || note.target == NULL ||
	    note.first_fd < 3 || note.first_fd > 1 << 16)
		return -EBADMSG;
	r = mps_args_new(&args);
	if (r < 0)
		return r;
	args->is_read = true;
	r = decode_items(&w, p, count, note.first_fd, args);
	if (r < 0)
		return give_up(args, r);
	*ret = note;
	*ret_args = args;
	return 0;
}
