/*
 * Reading a log through its backups. See logfile.h. They are opened from the newest to the oldest while rotations may move
 * them the same way, and bring newer ones behind them: where a name was free or another file's a moment ago tells nothing.
 * All rests on this: a file's number never falls, and files do not overtake each other.
 */
#include "sup/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mtime.h"
#include "base/path.h"
#include "base/xalloc.h"

#define AT_END INT64_MAX /* of a part, whatever its size */

enum {
	BLOCK = 64 << 10,
	GAP = 8, /* numbers in a row that are missing: one where files are on their way up, more that somebody removed */
	MOVES = 2, /* what follows a file that stays has one of so many numbers */
};

struct logpart {
	int fd;
	gzFile gz; /* NULL = as it is */
	struct stat st;
	char *name;
	int number; /* in the name; 0 = FILE */
};

#define NO_PART ((struct logpart){ .fd = -1 })

/* -------------------------------------------------------------------------------------------------- one part */

static void part_close(struct logpart *p)
{
	if (p->gz != NULL)
		gzclose_r(p->gz);
	fd_close(&p->fd);
	free(p->name);
	*p = NO_PART;
}

static int failed(const struct logpart *p, int r, struct err *err)
{
	return err_set(err, r, "%s: %s", p->name,
		       r == -EINVAL ? "not a regular file" : path_strerror(-r));
}

/* A FIFO must not even be opened: it would get a reader who goes away. */
static int part_open(struct logpart *p, bool compressed)
{
	if (stat(p->name, &p->st) < 0)
		return -errno;
	if (!S_ISREG(p->st.st_mode))
		return -EINVAL;
	p->fd = path_open(p->name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (p->fd < 0)
		return p->fd;
	if (fstat(p->fd, &p->st) < 0)
		return -errno;
	if (!S_ISREG(p->st.st_mode))
		return -EINVAL;
	if (!compressed)
		return 0;
	p->gz = gzdopen(fcntl(p->fd, F_DUPFD_CLOEXEC, 3), "rb");
	return p->gz != NULL ? 0 : -ENOMEM;
}

static ssize_t gz_read(struct logpart *p, off_t at, char *to, size_t size)
{
	int n;

	if (gztell(p->gz) != at && gzseek(p->gz, at, SEEK_SET) < 0)
		return -EIO;
	n = gzread(p->gz, to, (unsigned)size);
	return n < 0 ? -EIO : n;
}

/* What a file has got since it was opened is not there. */
static ssize_t part_read(struct logpart *p, off_t at, char *to, size_t size)
{
	ssize_t n;

	if (at == AT_END || (p->gz == NULL && at >= p->st.st_size))
		return 0;
	if (p->gz != NULL)
		return gz_read(p, at, to, size);
	if ((off_t)size > p->st.st_size - at)
		size = (size_t)(p->st.st_size - at);
	do
		n = pread(p->fd, to, size, at);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int64_t changed_ns(const struct logpart *p)
{
	return p->st.st_mtim.tv_sec * MPS_NS_PER_S + p->st.st_mtim.tv_nsec;
}

/* The last four bytes of a compressed file are its size before, modulo 2^32. */
static bool has_had_size(const struct logpart *p, off_t size)
{
	unsigned char end[4];

	if (p->st.st_size < 18 || pread(p->fd, end, sizeof(end), p->st.st_size - 4) != sizeof(end))
		return false;
	return ((uint32_t)end[0] | (uint32_t)end[1] << 8 | (uint32_t)end[2] << 16 |
		(uint32_t)end[3] << 24) == (uint32_t)size;
}

static bool has_same_text(struct logpart *p, int fd)
{
	char ours[BLOCK / 4], theirs[BLOCK / 4];
	off_t at = 0;
	ssize_t n;

	do {
		n = part_read(p, at, theirs, sizeof(theirs));
		if (n < 0 || pread(fd, ours, sizeof(ours), at) != n ||
		    memcmp(ours, theirs, (size_t)n) != 0)
			return false;
		at += n;
	} while (n > 0);
	return true;
}

/* Time and size alone are not enough: files that fill quickly have both in common. */
static bool is_compressed_from(struct logpart *p, int fd, const struct stat *st)
{
	return p->gz != NULL && p->st.st_mtim.tv_sec == st->st_mtim.tv_sec &&
	       p->st.st_mtim.tv_nsec == st->st_mtim.tv_nsec && has_had_size(p, st->st_size) &&
	       has_same_text(p, fd);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Of the same text as the open file, by itself or compressed: as that is now, since it may have grown after it was opened. */
static bool is_file(struct logpart *p, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (is_same(&p->st, &st) || is_compressed_from(p, fd, &st));
}

/* Where it was met. It is open, so that no other can have its inode. */
static bool is_there(const struct logpart *p)
{
	struct stat st;

	return stat(p->name, &st) == 0 && is_same(&p->st, &st);
}

/* --------------------------------------------------------------------------------------------- all its parts */

/* 0, or -errno with err and nothing open. */
static int open_name(const struct logfile *l, int number, bool compressed, struct logpart *ret,
		     struct err *err)
{
	struct logpart p = NO_PART;
	int r;

	p.number = number;
	p.name = number == 0 ? xstrdup(l->path)
			     : xasprintf("%s.%d%s", l->path, number, compressed ? ".gz" : "");
	r = part_open(&p, compressed);
	if (r < 0) {
		failed(&p, r, err);
		part_close(&p);
	}
	*ret = p;
	return r;
}

static void add(struct logfile *l, const struct logpart *p)
{
	l->parts = xrealloc(l->parts, (l->n + 1) * sizeof(*l->parts));
	l->parts[l->n++] = *p;
}

void logfile_close(struct logfile *l)
{
	for (size_t i = 0; i < l->n; i++)
		part_close(&l->parts[i]);
	free(l->parts);
	free(l->path);
	*l = (struct logfile){ 0 };
}

/*
 * The first that is there, with this number or one above it. As above, or 1 if `at`, which is open with the number before
 * or is none, did not stay where it was meanwhile.
 */
static int open_from(const struct logfile *l, int number, const struct logpart *at,
		     struct logpart *ret, struct err *err)
{
	int r = -ENOENT;

	for (int n = 1; r == -ENOENT && n <= GAP; n++, number++) {
		for (int gz = 0; r == -ENOENT && gz <= (number > 0); gz++)
			r = open_name(l, number, gz, ret, err);
		if ((r == -ENOENT && n != MOVES) || at->fd < 0 || is_there(at))
			continue;
		part_close(ret);
		return 1;
	}
	return r;
}

/* Between two files the newest is FILE.1. */
int logfile_open(struct logfile *l, const char *path, struct err *err)
{
	struct logpart p;
	int r;

	*l = (struct logfile){ .path = xstrdup(path) };
	r = open_name(l, 0, false, &p, err);
	if (r == -ENOENT && open_from(l, 1, &NO_PART, &p, NULL) == 0)
		r = 0;
	if (r < 0)
		logfile_close(l);
	else
		add(l, &p);
	return r;
}

/*
 * What is older than the last part. That is looked for first, from where it was: what is met before it is newer than all
 * parts. A file that stays where it is until the next was opened has that behind it, as no other can have come between; and
 * what is behind a file moves once at most while it stays. If it does not stay, the last part has gone up too.
 */
static int find_older(const struct logfile *l, struct logpart *ret, struct err *err)
{
	const struct logpart *last = &l->parts[l->n - 1];
	struct logpart at = NO_PART, next;
	int from = last->number, r;
	bool found = false; /* `at` is the last part */

	for (;;) {
		r = open_from(l, from, &at, &next, err);
		if (r > 0) {
			from = at.number + (at.gz != NULL); /* or it was compressed */
			part_close(&at);
			found = false;
		} else if (r == -ENOENT && at.fd < 0 && from > 0) {
			from--; /* to what can stay */
		} else if (r < 0 || (found && !is_same(&next.st, &last->st))) {
			break;
		} else {
			part_close(&at);
			at = next;
			from = at.number + 1;
			found = is_file(&at, last->fd);
		}
	}
	part_close(&at);
	*ret = next;
	return r;
}

/* One older part more. 1, 0 = there is none, or -errno with err: then it is left out, and all before. */
static int open_older(struct logfile *l, struct err *err)
{
	struct logpart p;
	int r;

	if (l->whole)
		return 0;
	r = find_older(l, &p, err);
	if (r == 0)
		add(l, &p);
	else
		l->whole = true;
	return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

static void start_at(struct logfile *l, size_t part, off_t at)
{
	l->start = l->now = (struct logplace){ part, at };
}

void logfile_rewind(struct logfile *l)
{
	l->now = l->start;
}

ssize_t logfile_read(struct logfile *l, char *p, size_t size, struct err *err)
{
	for (;;) {
		ssize_t n = part_read(&l->parts[l->now.part], l->now.at, p, size);

		if (n < 0)
			return failed(&l->parts[l->now.part], (int)n, err);
		l->now.at += n;
		if (n > 0 || l->now.part == 0)
			return n;
		l->now = (struct logplace){ l->now.part - 1, 0 };
	}
}

int logfile_take_fd(struct logfile *l, off_t *ret_size)
{
	*ret_size = l->parts[0].st.st_size;
	return TAKE_FD(l->parts[0].fd);
}

/* ------------------------------------------------------------------------------------------------- last lines */

/* Newlines that are still to be met on the way back; the one at the very end begins no line. */
struct back {
	unsigned long need;
	bool at_end;
	off_t at; /* found: behind the last of them */
};

/* True: found. `end` is the offset of what is behind block[n - 1]. */
static bool back_block(struct back *b, const char *block, size_t n, off_t end)
{
	const char *at = block + n, *newline;

	if (n > 0 && b->at_end) {
		b->at_end = false;
		at -= at[-1] == '\n';
	}
	while ((newline = memrchr(block, '\n', (size_t)(at - block))) != NULL) {
		if (--b->need == 0) {
			b->at = end - (off_t)(block + n - newline) + 1;
			return true;
		}
		at = newline;
	}
	return false;
}

/* 1 = found, 0 = all of it is needed, or -errno. */
static int back_plain(struct back *b, struct logpart *p)
{
	char block[BLOCK];
	off_t end = p->st.st_size;

	while (end > 0) {
		size_t n = end % BLOCK != 0 ? (size_t)(end % BLOCK) : BLOCK;
		ssize_t got = part_read(p, end - (off_t)n, block, n);

		if (got < 0)
			return (int)got;
		if ((size_t)got < n)
			return 0; /* truncated meanwhile */
		if (back_block(b, block, n, end))
			return 1;
		end -= (off_t)n;
	}
	return 0;
}

/* Behind the newline with this number, or all of them counted; *ret_last: the last byte. */
static ssize_t count_lines(struct logpart *p, unsigned long until, unsigned long *ret_n,
			   char *ret_last, off_t *ret_at)
{
	char block[BLOCK];
	unsigned long count = 0;
	off_t at = 0;
	ssize_t n;

	while ((n = part_read(p, at, block, sizeof(block))) > 0) {
		const char *end = block + n, *c = block;

		for (; (c = memchr(c, '\n', (size_t)(end - c))) != NULL; c++)
			if (++count == until) {
				*ret_at = at + (c - block) + 1;
				return 0;
			}
		*ret_last = end[-1];
		at += n;
	}
	*ret_n = count;
	*ret_at = at;
	return n;
}

/* The same for what can only be read forwards: twice. */
static int back_compressed(struct back *b, struct logpart *p)
{
	unsigned long n = 0;
	char last = '\0';
	off_t size = 0;
	int r = (int)count_lines(p, 0, &n, &last, &size);

	if (r < 0)
		return r;
	if (b->at_end && size > 0) {
		b->at_end = false;
		n -= last == '\n';
	}
	if (n < b->need) {
		b->need -= n;
		return 0;
	}
	r = (int)count_lines(p, n - b->need + 1, &n, &last, &b->at);
	return r < 0 ? r : 1;
}

/* What cannot be read is left out. */
static int without_oldest(struct logfile *l, int r, struct err *err)
{
	failed(&l->parts[l->n - 1], r, err);
	if (l->n == 1)
		return r;
	part_close(&l->parts[--l->n]);
	l->whole = true;
	start_at(l, l->n - 1, 0);
	return 1;
}

int logfile_start_last(struct logfile *l, long n, struct err *err)
{
	struct back b = { .need = (unsigned long)n, .at_end = true };
	int r;

	if (n == 0) {
		start_at(l, 0, AT_END);
		return 0;
	}
	if (n < 0)
		return logfile_start_since(l, INT64_MIN, err);
	do {
		struct logpart *p = &l->parts[l->n - 1];

		r = p->gz != NULL ? back_compressed(&b, p) : back_plain(&b, p);
		if (r < 0)
			return without_oldest(l, r, err);
		start_at(l, l->n - 1, r == 1 ? b.at : 0);
		if (r == 1)
			return 0;
		r = open_older(l, err);
	} while (r > 0);
	return r < 0;
}

int logfile_start_since(struct logfile *l, int64_t ns, struct err *err)
{
	int r;

	if (changed_ns(&l->parts[0]) < ns) {
		start_at(l, 0, AT_END);
		return 0;
	}
	do
		r = open_older(l, err);
	while (r > 0 && changed_ns(&l->parts[l->n - 1]) >= ns);
	start_at(l, l->n - 1 - (r > 0), 0);
	return r < 0;
}

int logfile_start_behind(struct logfile *l, int fd)
{
	struct logpart ours = { .fd = fd };
	bool newer = true;

	start_at(l, 0, 0);
	if (fstat(fd, &ours.st) < 0)
		return 0;
	if (is_file(&l->parts[0], fd)) {
		start_at(l, 0, AT_END);
		return 1;
	}
	for (size_t i = 1; open_older(l, NULL) > 0; i++) {
		if (is_file(&l->parts[i], fd)) {
			start_at(l, i - 1, 0);
			return 1;
		}
		newer = newer && changed_ns(&l->parts[i]) >= changed_ns(&ours);
		if (newer)
			start_at(l, i, 0);
	}
	return 0;
}
