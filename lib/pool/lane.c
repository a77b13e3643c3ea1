/*
 * Lanes: how they are mapped, and the bell.
 */
#include "pool/lane.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/futex.h"

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

size_t lane_segment_size(size_t ring)
{
	return page_size() + 2 * ring;
}

static bool map_at(char *to, size_t n, int fd, size_t offset)
{
	return mmap(to, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) !=
	       MAP_FAILED;
}

int lane_map(const struct mps_shm *shm, size_t ring, struct lane_map *ret)
{
	size_t page = page_size();
	int fd = mps_shm_fileno(shm), r;
	char *p;

	if (mps_shm_size(shm) < page + 2 * ring)
		return -EBADMSG;
	p = mmap(NULL, page + 4 * ring, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	if (!map_at(p, page + ring, fd, 0) || !map_at(p + page + ring, ring, fd, page) ||
	    !map_at(p + page + 2 * ring, ring, fd, page + ring) ||
	    !map_at(p + page + 3 * ring, ring, fd, page + ring)) {
		r = -errno;
		munmap(p, page + 4 * ring);
		return r;
	}
	*ret = (struct lane_map){ .s = (struct lane_shared *)(void *)p,
				  .tasks = p + page,
				  .results = p + page + 2 * ring,
				  .ring = ring };
	return 0;
}

void lane_unmap(struct lane_map *m)
{
	if (m->s != NULL)
		munmap(m->s, page_size() + 4 * m->ring);
	*m = (struct lane_map){ 0 };
}

void bell_wake(struct bell *b)
{
	if (bell_mode_of(atomic_load(&b->word)) == BELL_FUTEX)
		futex_clear_wake(&b->word, BELL_FUTEX, 1);
}
