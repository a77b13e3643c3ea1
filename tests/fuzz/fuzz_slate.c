/*
 * The slate of a user who writes what he likes: pieces are [time, pid, length of the line, two bytes; number of bytes] and so
 * many bytes of the line. Each record that comes of it has a name and that user, and reading again finds nothing new.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "poke.h"
#include "track/registry.h"
#include "track/slate.h"
#include "track/track.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/mpsup-fuzz.XXXXXX";

static void remove_folder(void)
{
	slate_remove_all(folder);
	rmdir(folder);
}

static int make_slate(void)
{
	AUTO_CLOSE int fd = -1;
	static bool made;

	if (!made) {
		MUST(mkdtemp(folder) != NULL);
		atexit(remove_folder);
		made = true;
	}
	fd = slate_make(folder, geteuid());
	MUST(fd >= 0);
	return TAKE_FD(fd);
}

static void fill(int fd, struct input *in)
{
	for (unsigned i = 0; i < SLATE_PLACES && in->left > 0; i++) {
		struct slate_place p = { 0 };
		size_t n;

		p.taken = byte(in);
		p.told_ns = (int8_t)byte(in);
		p.pid = (int8_t)byte(in);
		p.length = byte(in) | byte(in) << 8;
		n = byte(in) + 1;
		if (n > in->left)
			n = in->left;
		memcpy(p.line, in->p, n);
		in->p += n;
		in->left -= n;
		MUST(pwrite(fd, &p, sizeof(p), (off_t)(i * sizeof(p))) == sizeof(p));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct track_registry r = { 0 };
	struct track_owner owner = { 0 };
	AUTO_CLOSE int fd = make_slate();
	int n;

	fill(fd, &in);
	n = slate_read_all(folder, &r, &owner);
	MUST(n >= 0);
	MUST(slate_read_all(folder, &r, &owner) == 0);
	for (const struct track_record *e = owner.first; e != NULL; e = e->next, n--) {
		MUST(e->creator.uid == geteuid());
		MUST(track_name_is_valid(e->type, e->name, strlen(e->name)));
	}
	MUST(n == 0);
	track_registry_fini(&r);
	return 0;
}
