/*
 * Bytes are a journal: a first byte that is even gets a valid head put before the rest, so that records are reached. What
 * is read of it must be valid, and be the same when it is written and read again.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/fd.h"
#include "poke.h"
#include "track/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A head of this boot. */
static void put_head(struct buf *b)
{
	static char *boot;
	size_t n;

	if (boot == NULL)
		MUST(fd_read_file("/proc/sys/kernel/random/boot_id", 64, &boot, &n) == 0);
	buf_addf(b, "mpsup-journal 1 %.*s 1 1 fuzz\n", (int)strcspn(boot, "\n"), boot);
}

static void put_record(struct buf *b, const struct track_record *r)
{
	MUST(track_name_is_valid(r->type, r->name, r->name_length));
	buf_addf(b, "+ %s ", track_type_word(r->type));
	track_encode_name(r->name, r->name_length, b);
	buf_addf(b, " %d %u %ju %jd %ju %jd ", (int)r->creator.pid, (unsigned)r->creator.uid,
		 (uintmax_t)r->creator.start, (intmax_t)r->told_ns, (uintmax_t)r->identity.ino,
		 (intmax_t)r->identity.born_ns);
	track_encode_name(r->owner->name, strlen(r->owner->name), b);
	buf_addc(b, '\n');
}

static void put_all(struct buf *b, const struct track_registry *r)
{
	put_head(b);
	for (size_t i = 0; i < r->n_buckets; i++)
		for (const struct track_record *at = r->buckets[i]; at; at = at->next_in_bucket)
			put_record(b, at);
}

static int read_text(const struct buf *b, struct track_registry *r, struct track_heir *h)
{
	int fd = memfd_create("journal", MFD_CLOEXEC), e;

	MUST(fd >= 0 && !b->failed);
	MUST(fd_write_all(fd, b->p != NULL ? b->p : "", b->len) == 0 &&
	     lseek(fd, 0, SEEK_SET) == 0);
	e = track_journal_read_fd(fd, r, h);
	close(fd);
	return e;
}

static void write_and_read(const struct track_registry *r)
{
	AUTO_BUF b = BUF_INIT;
	struct track_registry again = { 0 };
	struct track_heir heir;

	put_all(&b, r);
	MUST(read_text(&b, &again, &heir) == 0 && again.n == r->n);
	for (size_t i = 0; i < r->n_buckets; i++)
		for (struct track_record *at = r->buckets[i]; at; at = at->next_in_bucket) {
			struct track_record *same =
				track_find_told(&again, at->type, at->name, at->name_length,
						at->creator.pid, at->told_ns);

			MUST(same != NULL && same->told_ns == at->told_ns);
			MUST(same->identity.ino == at->identity.ino);
			MUST(strcmp(same->owner->name, at->owner->name) == 0);
		}
	track_registry_fini(&again);
	track_heir_fini(&heir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct track_registry r = { 0 };
	struct track_heir heir;
	AUTO_BUF b = BUF_INIT;

	if (byte(&in) % 2 == 0)
		put_head(&b);
	buf_add(&b, in.p, in.left);
	if (read_text(&b, &r, &heir) == 0)
		write_and_read(&r);
	track_registry_fini(&r);
	track_heir_fini(&heir);
	return 0;
}
