/*
 * GNU parallel's joblog. See joblog.h. It may be anything that somebody calls by this name: lines that are none are
 * counted and left out.
 */
#include "map/joblog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/path.h"
#include "base/xalloc.h"

static const char title[] =
	"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/* -------------------------------------------------------------------------------------------------- a line */

struct field {
	const char *p;
	size_t n;
};

static bool next_field(struct field *rest, struct field *ret)
{
	const char *tab = memchr(rest->p, '\t', rest->n);

	if (tab == NULL)
		return false;
	*ret = (struct field){ rest->p, (size_t)(tab - rest->p) };
	rest->n -= ret->n + 1;
	rest->p = tab + 1;
	return true;
}

static bool take_number(struct field *rest, uint64_t *ret)
{
	struct field f;
	uint64_t v = 0;

	if (!next_field(rest, &f) || f.n == 0 || f.n > 18)
		return false;
	for (size_t i = 0; i < f.n; i++) {
		if (f.p[i] < '0' || f.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(f.p[i] - '0');
	}
	*ret = v;
	return true;
}

/* Digits with a point among them, blanks before: by hand, because strtod(3) goes by the locale. */
static bool take_seconds(struct field *rest, double *ret)
{
	double v = 0, unit = 0;
	struct field f;

	if (!next_field(rest, &f) || f.n > 40)
		return false;
	for (size_t i = 0; i < f.n; i++) {
		if (f.p[i] == ' ' && v == 0)
			continue;
		if (f.p[i] == '.' && unit == 0) {
			unit = 1;
			continue;
		}
		if (f.p[i] < '0' || f.p[i] > '9')
			return false;
		unit /= 10;
		v = unit == 0 ? v * 10 + (f.p[i] - '0') : v + unit * (f.p[i] - '0');
	}
	*ret = v;
	return true;
}

static bool take_small(struct field *rest, int *ret)
{
	uint64_t v;

	if (!take_number(rest, &v) || v > 65535)
		return false;
	*ret = (int)v;
	return true;
}

bool joblog_parse(const char *line, size_t n, struct joblog_entry *ret)
{
	struct field rest = { line, n }, host;
	struct joblog_entry e;

	if (!take_number(&rest, &e.seq) || e.seq == 0 || !next_field(&rest, &host) ||
	    !take_seconds(&rest, &e.started) || !take_seconds(&rest, &e.seconds) ||
	    !take_number(&rest, &e.sent) || !take_number(&rest, &e.received) ||
	    !take_small(&rest, &e.status) || !take_small(&rest, &e.signal))
		return false;
	e.command = rest.p;
	e.n_command = rest.n;
	*ret = e;
	return true;
}

static size_t length_logged(size_t n)
{
	return n < MAP_JOBLOG_LINE_MAX ? n : MAP_JOBLOG_LINE_MAX;
}

void joblog_format(const struct joblog_entry *e, struct buf *to)
{
	size_t n = length_logged(e->n_command);
	char *at;

	buf_addf(to, "%llu\t:\t%.3f\t%10.3f\t%llu\t%llu\t%d\t%d\t", (unsigned long long)e->seq,
		 e->started, e->seconds, (unsigned long long)e->sent,
		 (unsigned long long)e->received, e->status, e->signal);
	at = buf_reserve(to, n + 1);
	if (at == NULL)
		return;
	for (size_t i = 0; i < n; i++)
		at[i] = e->command[i] != '\n' ? e->command[i] : '\0';
	to->len += n;
	buf_addc(to, '\n');
}

/* FNV-1a, of what is written of it. */
uint64_t joblog_hash(const char *command, size_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	n = length_logged(n);
	for (size_t i = 0; i < n; i++) {
		h ^= (unsigned char)(command[i] != '\n' ? command[i] : '\0');
		h *= UINT64_C(0x100000001b3);
	}
	return h;
}

/* ------------------------------------------------------------------------------------------------ the list */

static void add(struct joblog *j, const struct joblog_entry *e)
{
	if (j->n_done == j->cap_done) {
		j->cap_done = j->cap_done > 0 ? j->cap_done * 2 : 64;
		j->done = xrealloc(j->done, j->cap_done * sizeof(*j->done));
	}
	j->done[j->n_done++] = (struct joblog_done){
		.seq = e->seq,
		.line = j->n_lines++,
		.hash = joblog_hash(e->command, e->n_command),
		.good = e->status == 0 && e->signal == 0,
	};
}

static int compare(const void *a, const void *b)
{
	const struct joblog_done *x = a, *y = b;

	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return (x->line > y->line) - (x->line < y->line);
}

static void sort(struct joblog *j)
{
	size_t n = 0;

	if (j->n_done == 0)
		return;
	qsort(j->done, j->n_done, sizeof(*j->done), compare);
	for (size_t i = 0; i < j->n_done; i++) {
		if (n > 0 && j->done[n - 1].seq == j->done[i].seq)
			n--;
		j->done[n++] = j->done[i];
	}
	j->n_done = n;
}

void joblog_read(struct joblog *j, const char *text, size_t n, size_t *ret_good)
{
	size_t at = 0;
	const char *end;

	while (at < n && (end = memchr(text + at, '\n', n - at)) != NULL) {
		size_t len = (size_t)(end - text) - at;
		struct joblog_entry e;

		if (joblog_parse(text + at, len, &e))
			add(j, &e);
		else if (at > 0 || len + 1 != strlen(title) || memcmp(text, title, len) != 0)
			j->n_bad++;
		at += len + 1;
	}
	*ret_good = at;
	sort(j);
}

const struct joblog_done *joblog_find(struct joblog *j, uint64_t seq)
{
	while (j->at < j->n_done && j->done[j->at].seq < seq)
		j->at++;
	return j->at < j->n_done && j->done[j->at].seq == seq ? &j->done[j->at] : NULL;
}

/* ------------------------------------------------------------------------------------------------ the file */

/* 0 with what stands there, and the file cut behind its last whole line; -errno. */
static int read_file(struct joblog *j, size_t size)
{
	size_t good;
	char *p;

	if (size == 0)
		return 0;
	p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, j->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	joblog_read(j, p, size, &good);
	munmap(p, size);
	return good == size || ftruncate(j->fd, (off_t)good) == 0 ? 0 : -errno;
}

int joblog_open(struct joblog *j, const char *path, bool resume, struct err *err)
{
	struct stat st;
	int r = 0;

	/* Emptied when it is known to be ours. */
	*j = (struct joblog){ .fd = path_open(path, O_RDWR | O_CREAT | O_APPEND, 0666) };
	if (j->fd == -EINVAL) /* a pipe cannot be opened so everywhere, nor read back */
		j->fd = path_open(path, O_WRONLY, 0);
	if (j->fd < 0)
		r = j->fd;
	else if (fstat(j->fd, &st) < 0)
		r = -errno;
	else if (resume && !S_ISREG(st.st_mode))
		r = -EINVAL;
	else if (resume)
		r = read_file(j, (size_t)st.st_size);
	else if (S_ISREG(st.st_mode) && ftruncate(j->fd, 0) < 0)
		r = -errno;
	if (r == 0 && fstat(j->fd, &st) < 0)
		r = -errno;
	if (r < 0)
		return err_set(err, r, "--joblog %s: %s", path, path_strerror(-r));
	if (st.st_size == 0)
		buf_adds(&j->b, title);
	return 0;
}

void joblog_flush(struct joblog *j)
{
	if (j->fd < 0 || j->b.len == 0 || j->error != 0)
		return;
	j->error = fd_write_all(j->fd, j->b.p, j->b.len);
	buf_reset(&j->b);
}

void joblog_fini(struct joblog *j)
{
	if (j->fd > 0)
		fd_close(&j->fd);
	buf_fini(&j->b);
	free(j->done);
	j->done = NULL;
}
