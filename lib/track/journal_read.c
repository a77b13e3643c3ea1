/*
 * What a journal tells. Nothing in it is trusted further than whose file it is: what cannot be read is left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/lines.h"
#include "proc/tree.h"
#include "track/journal.h"

/* An owner and its name, in a tree by name (tsearch(3)). */
struct named {
	struct track_owner owner;
	char name[];
};

struct reading {
	struct track_registry *registry;
	struct track_heir *heir;
	struct buf line; /* to decode in */
	char boot[64];
	int error;
};

/* -------------------------------------------------------------------------------------------------- fields */

struct fields {
	char *p;
	size_t n;
	bool failed;
};

/* Up to the next blank. */
static char *next(struct fields *f, size_t *ret_n)
{
	char *p = f->p, *blank = memchr(p, ' ', f->n);
	size_t n = blank != NULL ? (size_t)(blank - p) : f->n;

	f->p += n + (blank != NULL);
	f->n -= n + (blank != NULL);
	*ret_n = n;
	return p;
}

static char *next_name(struct fields *f, size_t *ret_n)
{
	char *p = next(f, ret_n);
	ssize_t n = track_decode_name(p, *ret_n);

	f->failed = f->failed || n < 0;
	*ret_n = n > 0 ? (size_t)n : 0;
	return p;
}

static bool next_is(struct fields *f, const char *text)
{
	size_t n;
	const char *p = next(f, &n);

	return n == strlen(text) && memcmp(p, text, n) == 0;
}

static uint64_t next_number(struct fields *f, uint64_t max)
{
	uint64_t v = 0;
	size_t n;
	const char *p = next(f, &n);

	f->failed = f->failed || n == 0;
	for (size_t i = 0; i < n && !f->failed; i++) {
		unsigned digit = (unsigned)(p[i] - '0');

		f->failed = digit > 9 || v > (max - digit) / 10;
		v = v * 10 + digit;
	}
	return f->failed ? 0 : v;
}

/* --------------------------------------------------------------------------------------------------- lines */

static int compare_named(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static struct track_owner *owner_of(struct track_heir *h, const char *name, size_t n)
{
	struct named *o = calloc(1, sizeof(*o) + n + 1), **at;

	if (o == NULL)
		return NULL;
	memcpy(o->name, name, n);
	o->owner.name = o->name;
	at = tsearch(o, &h->owners, compare_named);
	if (at == NULL || *at != o)
		free(o);
	return at != NULL ? &(*at)->owner : NULL;
}

static void read_head(struct reading *r, struct fields *f)
{
	struct track_heir *h = r->heir;
	size_t n;
	char *p;

	r->error = -EBADMSG;
	if (!next_is(f, "mpsup-journal") || !next_is(f, "1"))
		return;
	p = next(f, &n);
	h->other_boot = n != strlen(r->boot) || memcmp(p, r->boot, n) != 0;
	h->keeper = (pid_t)next_number(f, INT_MAX);
	h->keeper_start = next_number(f, UINT64_MAX);
	p = next_name(f, &n);
	if (f->failed)
		return;
	h->who = strndup(p, n);
	r->error = h->who != NULL ? 0 : -ENOMEM;
}

static void read_record(struct reading *r, struct fields *f, enum track_type type, const char *name,
			size_t n)
{
	struct track_creator c = { .pid = (pid_t)next_number(f, INT_MAX),
				   .uid = (uid_t)next_number(f, UINT32_MAX),
				   .start = next_number(f, UINT64_MAX) };
	int64_t told = (int64_t)next_number(f, TRACK_TOLD_MAX);
	struct track_identity id = { .ino = next_number(f, UINT64_MAX),
				     .born_ns = (int64_t)next_number(f, INT64_MAX) };
	struct track_owner *owner;
	struct track_record *record;
	size_t owner_n;
	const char *owner_name = next_name(f, &owner_n);

	if (f->failed || f->n > 0 || (r->heir->uid != 0 && c.uid != r->heir->uid))
		return;
	owner = owner_of(r->heir, owner_name, owner_n);
	record = track_find_told(r->registry, type, name, n, c.pid, told);
	if (record != NULL)
		track_remove(r->registry, record);
	record = owner != NULL ? track_add(r->registry, owner, type, name, n, &c) : NULL;
	if (record == NULL) {
		r->error = -ENOMEM;
		return;
	}
	track_told(r->registry, record, told);
	record->identity = id;
}

static void read_gone(struct reading *r, struct fields *f, enum track_type type, const char *name,
		      size_t n)
{
	pid_t pid = (pid_t)next_number(f, INT_MAX);
	int64_t told = (int64_t)next_number(f, TRACK_TOLD_MAX);
	struct track_record *record = NULL;

	if (!f->failed && f->n == 0)
		record = track_find_told(r->registry, type, name, n, pid, told);
	if (record != NULL)
		track_remove(r->registry, record);
}

static void read_change(struct reading *r, struct fields *f)
{
	bool adds = next_is(f, "+");
	enum track_type type;
	const char *word, *name;
	size_t n;

	word = next(f, &n);
	if (!track_type_parse(word, n, &type))
		return;
	name = next_name(f, &n);
	if (f->failed || !track_name_is_valid(type, name, n))
		return;
	if (adds)
		read_record(r, f, type, name, n);
	else
		read_gone(r, f, type, name, n);
}

static void on_line(const char *line, size_t n, void *user)
{
	struct reading *r = user;
	struct fields f;

	if (r->error < 0 || r->heir->other_boot)
		return;
	buf_reset(&r->line);
	buf_add(&r->line, line, n);
	if (r->line.failed) {
		r->error = -ENOMEM;
		return;
	}
	f = (struct fields){ r->line.p, r->line.len, false };
	if (r->heir->who == NULL)
		read_head(r, &f);
	else if (n > 2 && (line[0] == '+' || line[0] == '-') && line[1] == ' ')
		read_change(r, &f);
}

/* ------------------------------------------------------------------------------------------------ interface */

static int read_boot_id(struct reading *r)
{
	AUTO_FREE char *text = NULL;
	size_t n;
	int e = fd_read_file("/proc/sys/kernel/random/boot_id", sizeof(r->boot) - 1, &text, &n);

	if (e == 0) {
		memcpy(r->boot, text, n);
		r->boot[strcspn(r->boot, "\n")] = '\0';
	}
	return e;
}

/* The last line counts if it has an end. */
static int read_lines(struct reading *r, int fd)
{
	AUTO_FREE char *piece = malloc(64 << 10);
	struct lines lines = { 0 };
	ssize_t n = 1;

	if (piece == NULL)
		return -ENOMEM;
	while (r->error == 0 && n != 0) {
		n = read(fd, piece, 64 << 10);
		if (n > 0)
			lines_feed(&lines, piece, (size_t)n, on_line, r);
		else if (n < 0 && errno != EINTR)
			r->error = -errno;
	}
	lines_fini(&lines);
	return r->error;
}

int track_journal_read_fd(int fd, struct track_registry *registry, struct track_heir *ret)
{
	struct reading r = { .registry = registry, .heir = ret };
	struct stat st;
	int e;

	*ret = (struct track_heir)TRACK_HEIR_INIT;
	if (fstat(fd, &st) < 0)
		return -errno;
	/* A second name of it may have been made by somebody else. */
	if (!S_ISREG(st.st_mode) || st.st_nlink > 1)
		return -EBADMSG;
	if (geteuid() != 0 && st.st_uid != geteuid())
		return -EPERM;
	ret->uid = st.st_uid;
	e = read_boot_id(&r);
	if (e == 0)
		e = read_lines(&r, fd);
	buf_fini(&r.line);
	if (e < 0) {
		track_registry_fini(registry);
		track_heir_fini(ret);
	}
	return e;
}

int track_journal_read(const char *path, struct track_registry *registry, struct track_heir *ret)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0) {
		int e = -errno;

		*ret = (struct track_heir)TRACK_HEIR_INIT;
		return e;
	}
	return track_journal_read_fd(fd, registry, ret);
}

void track_heir_fini(struct track_heir *h)
{
	tdestroy(h->owners, free);
	free(h->who);
	*h = (struct track_heir)TRACK_HEIR_INIT;
}

bool track_heir_has_keeper(const struct track_heir *h)
{
	struct proc_stat st;

	return !h->other_boot && h->keeper > 0 && proc_stat_read(h->keeper, &st) == 0 &&
	       st.state != 'Z' && st.state != 'X' && st.start_ticks == h->keeper_start;
}
