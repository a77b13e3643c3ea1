/*
 * The file for outputs. See spill.h. A hole where something was costs nothing; and where a file system makes none, the
 * file is cut when all of it was read.
 */
#include "map/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/xalloc.h"

static int open_file(void)
{
	const char *dir = getenv("TMPDIR");
	AUTO_FREE char *name = NULL;
	int fd;

	if (dir == NULL || dir[0] != '/')
		dir = "/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	name = xasprintf("%s/mpsup-map.XXXXXX", dir);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(name);
	return fd;
}

void spill_fini(struct spill *s)
{
	fd_close(&s->fd);
}

int spill_put(struct spill *s, const void *p, size_t n, struct extent *ret)
{
	size_t done = 0;

	if (s->fd < 0) {
		int fd = open_file();

		if (fd < 0)
			return fd;
		s->fd = fd;
	}
	while (done < n) {
		ssize_t w = pwrite(s->fd, (const char *)p + done, n - done, s->end + (off_t)done);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? -errno : -EIO;
		done += (size_t)w;
	}
	*ret = (struct extent){ s->end, n };
	s->end += (off_t)n;
	s->used += n;
	return 0;
}

static void give_back(struct spill *s, struct extent *e, size_t n)
{
	fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, e->at, (off_t)n);
	e->at += (off_t)n;
	e->n -= n;
	s->used -= n;
	if (s->used == 0 && ftruncate(s->fd, 0) == 0)
		s->end = 0;
}

int spill_take(struct spill *s, struct extent *e, void *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = pread(s->fd, (char *)p + done, n - done, e->at + (off_t)done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -EIO;
		done += (size_t)r;
	}
	give_back(s, e, n);
	return 0;
}

void spill_drop(struct spill *s, struct extent *e)
{
	if (e->n > 0)
		give_back(s, e, e->n);
}
