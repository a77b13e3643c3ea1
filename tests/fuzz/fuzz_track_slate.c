/*
 * Bytes are a slate, which the programs of a user write. What is read of it must be a record that can be calculated with,
 * of that user, with a valid name; and read again it is known.
 */
#include <stdint.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "poke.h"
#include "track/registry.h"
#include "track/slate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/mpsup-fuzz-slate.XXXXXX";

static void remove_folder(void)
{
	slate_remove_all(folder);
	rmdir(folder);
}

static int slate(void)
{
	static int fd = -1;

	if (fd < 0) {
		MUST(mkdtemp(folder) != NULL);
		fd = slate_make(folder, geteuid());
		MUST(fd >= 0);
		atexit(remove_folder);
	}
	return fd;
}

/* As it is; the last one is filled up. */
static void write_places(struct input *in)
{
	struct slate_place p;
	int fd = slate();

	MUST(ftruncate(fd, 0) == 0);
	for (off_t at = 0; in->left > 0 && at < (off_t)sizeof(struct slate); at += sizeof(p)) {
		size_t n = in->left < sizeof(p) ? in->left : sizeof(p);

		memset(&p, 0, sizeof(p));
		memcpy(&p, in->p, n);
		in->p += n;
		in->left -= n;
		MUST(pwrite(fd, &p, sizeof(p), at) == sizeof(p));
	}
}

static void check(const struct track_record *r)
{
	MUST(track_name_is_valid((enum track_type)r->type, r->name, r->name_length));
	MUST(strlen(r->name) == r->name_length);
	MUST(r->creator.uid == geteuid() && r->creator.pid > 0);
	MUST(r->told_ns >= 0 && r->told_ns <= TRACK_TOLD_MAX + SLATE_PLACES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct track_registry r = { 0 };
	struct track_owner owner = { .name = "" };
	int n;

	write_places(&in);
	n = slate_read_all(folder, &r, &owner);
	MUST(n >= 0 && (size_t)n == r.n && owner.n == r.n);
	for (const struct track_record *at = owner.first; at != NULL; at = at->next)
		check(at);
	MUST(slate_read_all(folder, &r, &owner) == 0);
	track_registry_fini(&r);
	return 0;
}
