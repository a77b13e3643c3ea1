/*
 * The journal: a line of a head, then a line for each change. Fields are parted by one blank; names are percent-encoded
 * and so have none. Reading is journal_read.c's.
 *
 *   mpsup-journal 1 BOOT-ID KEEPER-PID KEEPER-START WHO
 *   + TYPE NAME PID UID START TOLD INODE BORN OWNER
 *   - TYPE NAME PID TOLD
 *
 * Of the records of one name each is told by its process and when it was told of; what is added again is changed.
 *
 * Written anew it is by PATH.new, in pieces: it gets all changes from then on as the old one does, and between them the
 * records of one bucket after the other. A record that comes twice says the same twice.
 */
#include "track/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "proc/tree.h"

/* It is written anew when it has so many times the lines that it needs, and at least so many. */
enum { GROWN = 4, GROWN_MIN = 4096, PIECE = 64 << 10 };

/* --------------------------------------------------------------------------------------------------- lines */

static void put_word(struct buf *to, const char *text)
{
	const char *s = text != NULL ? text : "";

	buf_addc(to, ' ');
	track_encode_name(s, strlen(s), to);
}

void track_journal_put(struct buf *to, const struct track_record *r)
{
	buf_addf(to, "+ %s ", track_type_word(r->type));
	track_encode_name(r->name, r->name_length, to);
	buf_addf(to, " %d %u %" PRIu64 " %" PRId64 " %" PRIu64 " %" PRId64, (int)r->creator.pid,
		 (unsigned)r->creator.uid, r->creator.start, r->told_ns, r->identity.ino,
		 r->identity.born_ns);
	put_word(to, r->owner->name);
	buf_addc(to, '\n');
}

void track_journal_put_gone(struct buf *to, const struct track_record *r)
{
	buf_addf(to, "- %s ", track_type_word(r->type));
	track_encode_name(r->name, r->name_length, to);
	buf_addf(to, " %d %" PRId64 "\n", (int)r->creator.pid, r->told_ns);
}

static int make_head(const char *who, pid_t keeper, char **ret)
{
	AUTO_FREE char *boot = NULL;
	struct proc_stat st;
	struct buf b = BUF_INIT;
	size_t n;
	int r = fd_read_file("/proc/sys/kernel/random/boot_id", 64, &boot, &n);

	if (r == 0)
		r = proc_stat_read(keeper, &st);
	if (r < 0)
		return r;
	buf_addf(&b, "mpsup-journal 1 %.*s %d %" PRIu64, (int)strcspn(boot, "\n"), boot,
		 (int)keeper, st.start_ticks);
	put_word(&b, who);
	buf_addc(&b, '\n');
	*ret = buf_take(&b);
	return *ret != NULL ? 0 : -ENOMEM;
}

/* Writes what the file takes of it. 0 or -errno; -ENOMEM: some of it is lost already. */
static int drain(int fd, struct buf *b)
{
	size_t done = 0;
	int r = b->failed ? -ENOMEM : 0;

	while (r == 0 && done < b->len) {
		ssize_t n = write(fd, b->p + done, b->len - done);

		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			r = -ENOSPC;
		else if (errno != EINTR)
			r = -errno;
	}
	if (done > 0)
		buf_drop(b, done);
	return r;
}

/* ---------------------------------------------------------------------------------------------- written anew */

static void renew_drop(struct track_journal *j)
{
	fd_close(&j->fresh_fd);
	buf_fini(&j->fresh);
	if (j->pinned != NULL)
		j->pinned->pinned--;
	j->pinned = NULL;
}

static int renew_failed(struct track_journal *j, int r)
{
	renew_drop(j);
	j->n_lines /= 2; /* not at once again */
	unlink(j->fresh_path);
	return r;
}

static int renew_begin(struct track_journal *j, struct track_registry *r)
{
	/* What a kill has left of an earlier one; nobody follows a link that lies there. */
	if (unlink(j->fresh_path) < 0 && errno != ENOENT)
		return -errno;
	j->fresh_fd = open(j->fresh_path,
			   O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (j->fresh_fd < 0)
		return -errno;
	j->pinned = r;
	r->pinned++;
	j->next_bucket = j->n_fresh = 0;
	buf_adds(&j->fresh, j->head);
	return 0;
}

/* It takes the place of the old one, and what was not written to that need not be. */
static int renew_end(struct track_journal *j)
{
	if (rename(j->fresh_path, j->path) < 0)
		return renew_failed(j, -errno);
	fd_close(&j->fd);
	j->fd = TAKE_FD(j->fresh_fd);
	j->n_lines = j->n_fresh;
	j->behind = false;
	buf_fini(&j->out);
	renew_drop(j);
	return 0;
}

/* 1: there is more. */
static int renew_go_on(struct track_journal *j)
{
	const struct track_registry *r = j->pinned;
	size_t enough = j->fresh.len + PIECE; /* however many changes there are */
	int e;

	for (; j->next_bucket < r->n_buckets && j->fresh.len < enough; j->next_bucket++)
		for (const struct track_record *at = r->buckets[j->next_bucket]; at != NULL;
		     at = at->next_in_bucket) {
			track_journal_put(&j->fresh, at);
			j->n_fresh++;
		}
	e = drain(j->fresh_fd, &j->fresh);
	if (e < 0)
		return renew_failed(j, e);
	return j->next_bucket < r->n_buckets ? 1 : renew_end(j);
}

/* ------------------------------------------------------------------------------------------------ interface */

int track_journal_open(struct track_journal *j, const char *path, const char *who, pid_t keeper,
		       struct track_registry *r)
{
	int e;

	*j = (struct track_journal)TRACK_JOURNAL_INIT;
	j->path = strdup(path);
	if (asprintf(&j->fresh_path, "%s.new", path) < 0)
		j->fresh_path = NULL;
	e = j->path != NULL && j->fresh_path != NULL ? make_head(who, keeper, &j->head) : -ENOMEM;
	if (e == 0)
		e = renew_begin(j, r);
	if (e == 0)
		do
			e = renew_go_on(j);
		while (e > 0);
	if (e < 0)
		track_journal_close(j, false);
	return e;
}

/* Of a full disk: memory does not grow for ever. A line that is torn then is the last one of the old file. */
static void added(struct track_journal *j)
{
	j->n_lines++;
	j->n_fresh++;
	if (j->out.failed || j->out.len > TRACK_JOURNAL_BEHIND_MAX) {
		buf_fini(&j->out);
		j->behind = true;
	}
}

void track_journal_add(struct track_journal *j, const struct track_record *record)
{
	if (j->fd < 0)
		return;
	if (!j->behind)
		track_journal_put(&j->out, record);
	if (j->fresh_fd >= 0)
		track_journal_put(&j->fresh, record);
	added(j);
}

void track_journal_remove(struct track_journal *j, const struct track_record *record)
{
	if (j->fd < 0)
		return;
	if (!j->behind)
		track_journal_put_gone(&j->out, record);
	if (j->fresh_fd >= 0)
		track_journal_put_gone(&j->fresh, record);
	added(j);
}

static bool has_grown(const struct track_journal *j, const struct track_registry *r)
{
	return j->behind || j->n_lines > (r->n < GROWN_MIN ? GROWN_MIN : r->n) * GROWN;
}

int track_journal_flush(struct track_journal *j, struct track_registry *r)
{
	int old = j->fd < 0 || j->behind ? 0 : drain(j->fd, &j->out), fresh = 0;
	bool renews;

	if (j->fd < 0)
		return 0;
	if (j->fresh_fd < 0 && has_grown(j, r))
		fresh = renew_begin(j, r);
	renews = j->fresh_fd >= 0;
	if (renews)
		fresh = renew_go_on(j);
	if (renews && fresh == 0) /* all is in the new one */
		return 0;
	if (old < 0)
		return old;
	return fresh > 0 || j->behind ? fresh : 0;
}

void track_journal_close(struct track_journal *j, bool remove)
{
	if (j->fresh_fd >= 0)
		renew_failed(j, 0);
	if (j->fd >= 0 && !remove && !j->behind)
		drain(j->fd, &j->out);
	if (j->fd >= 0 && remove)
		unlink(j->path);
	fd_close(&j->fd);
	buf_fini(&j->out);
	free(j->path);
	free(j->fresh_path);
	free(j->head);
	*j = (struct track_journal)TRACK_JOURNAL_INIT;
}
