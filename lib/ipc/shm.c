/*
 * Segments of shared memory. A handle has the whole of it mapped. Where others have made it longer it is mapped once
 * more, and what was mapped before stays until the handle is closed: threads may have pointers into it.
 *
 * The size comes before the name: a segment is made without one, gets all its memory, and is linked then. Where that
 * cannot be it has no size until all its memory is there, and what has no size is not opened.
 */
#include "ipc/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/feature.h"
#include "ipc/tracker.h"

#define FOLDER "/dev/shm"

/* A signal takes back what one fallocate(2) has done: so much at once is soon done. */
#define ALLOCATE_AT_ONCE ((off_t)16 << 20)
/* The kernel would rather kill than say that there is no memory; for less it is not asked how much there is. */
#define ALLOCATE_UNASKED ((size_t)64 << 20)

struct mapping {
	char *p;
	size_t n;
	struct mapping *before;
};

struct mps_shm {
	_Atomic(struct mapping *) last;
	int fd;
	bool writable;
	bool sealed; /* against writing: then it is mapped MAP_PRIVATE, which older kernels want */
	char *name;
};

const char *shm_name(const char *name, char room[SHM_NAME_MAX + 2])
{
	size_t n;

	if (name == NULL)
		return NULL;
	name += name[0] == '/';
	n = strlen(name);
	if (n == 0 || n > SHM_NAME_MAX || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return NULL;
	room[0] = '/';
	memcpy(room + 1, name, n + 1);
	return room;
}

static void path_of(const char *name, char path[sizeof(FOLDER) + SHM_NAME_MAX + 1])
{
	memcpy(path, FOLDER, sizeof(FOLDER) - 1);
	strcpy(path + sizeof(FOLDER) - 1, name);
}

/* ---------------------------------------------------------------------------------------------------- mappings */

static int size_of(int fd, size_t *ret)
{
	struct stat st;

	*ret = 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (size_t)st.st_size;
	return (off_t)*ret == st.st_size ? 0 : -EFBIG; /* more than there are addresses */
}

static void *map_file(const struct mps_shm *shm, void *at, size_t n)
{
	int protection = PROT_READ | (shm->writable && !shm->sealed ? PROT_WRITE : 0);
	int flags = (shm->sealed ? MAP_PRIVATE : MAP_SHARED) | (at != NULL ? MAP_FIXED : 0);

	return mmap(at, n, protection, flags, shm->fd, 0);
}

static void unmap_all(struct mps_shm *shm)
{
	struct mapping *m = atomic_exchange(&shm->last, NULL), *before;

	for (; m != NULL; m = before) {
		before = m->before;
		munmap(m->p, m->n);
		free(m);
	}
}

/* Maps its first n bytes, but where another thread has done so meanwhile. */
static int map_anew(struct mps_shm *shm, size_t n)
{
	struct mapping *m = malloc(sizeof(*m));
	struct mapping *last = atomic_load(&shm->last);

	if (m == NULL)
		return -ENOMEM;
	m->n = n;
	m->p = map_file(shm, NULL, n);
	if (m->p == MAP_FAILED) {
		int error = errno;

		free(m);
		return -error;
	}
	do {
		if (last != NULL && last->n >= n) {
			munmap(m->p, m->n);
			free(m);
			return 0;
		}
		m->before = last;
	} while (!atomic_compare_exchange_weak(&shm->last, &last, m));
	return 0;
}

/* ------------------------------------------------------------------------------------------------------ memory */

static bool has_memory_for(size_t n)
{
	AUTO_FREE char *line = NULL;
	FILE *f = n > ALLOCATE_UNASKED ? fopen("/proc/meminfo", "re") : NULL;
	unsigned long long kib, sum = 0;
	size_t room = 0;
	int found = 0;

	if (f == NULL)
		return true;
	while (found < 2 && getline(&line, &room, f) > 0)
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1 ||
		    sscanf(line, "SwapFree: %llu", &kib) == 1) {
			found++;
			sum += kib;
		}
	fclose(f);
	return found == 0 || n >> 10 <= sum;
}

/* The kernel would send SIGXFSZ. */
static bool is_allowed(size_t size)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
	       size <= limit.rlim_cur;
}

int shm_allocate(int fd, size_t from, size_t to)
{
	off_t at = (off_t)from, end = (off_t)to;

	if (to > (size_t)LONG_MAX || !is_allowed(to) || !has_memory_for(to - from))
		return -ENOSPC;
	while (at < end) {
		off_t n = end - at < ALLOCATE_AT_ONCE ? end - at : ALLOCATE_AT_ONCE;

		if (fallocate(fd, FALLOC_FL_KEEP_SIZE, at, n) == 0) {
			at += n;
		} else if (errno != EINTR) {
			int error = errno == ENOMEM || errno == EFBIG ? ENOSPC : errno;

			if (at > (off_t)from)
				fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					  (off_t)from, at - (off_t)from);
			return -error;
		}
	}
	return 0;
}

/* 0, with all its memory and then its size; or -errno. */
static int grow(int fd, size_t from, size_t to)
{
	int r = shm_allocate(fd, from, to);

	if (r < 0)
		return r;
	return ftruncate(fd, (off_t)to) < 0 ? -errno : 0;
}

/* ----------------------------------------------------------------------------------------------------- handles */

/* Takes the descriptor over when it succeeds. */
static int new_handle(int fd, const char *name, bool writable, struct mps_shm **ret)
{
	struct mps_shm *shm = calloc(1, sizeof(*shm));
	int seals = fcntl(fd, F_GET_SEALS);
	size_t n;
	int r;

	if (shm == NULL)
		return -ENOMEM;
	shm->fd = fd;
	shm->sealed = seals >= 0 && (seals & F_SEAL_WRITE) != 0;
	shm->writable = writable && !shm->sealed;
	if (name != NULL && (shm->name = strdup(name)) == NULL)
		r = -ENOMEM;
	else
		r = size_of(fd, &n);
	if (r == 0 && n > 0)
		r = map_anew(shm, n);
	if (r < 0) {
		free(shm->name);
		free(shm);
		return r;
	}
	*ret = shm;
	return 0;
}

static int open_nameless(void)
{
	static _Atomic unsigned last;
	char path[NAME_MAX];
	int fd = -1;

	if (feature_allowed(FEATURE_TMPFILE)) {
		fd = open(FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
			return fd >= 0 ? fd : -errno;
	}
	do {
		snprintf(path, sizeof(path), FOLDER "/.mpsup-shm-%d-%u", (int)getpid(),
			 atomic_fetch_add(&last, 1));
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	} while (fd < 0 && errno == EEXIST);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

static int open_memory(void)
{
	int fd = -1;

	if (feature_allowed(FEATURE_MEMFD)) {
		fd = memfd_create("mpsup", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (fd >= 0 || errno != ENOSYS)
			return fd >= 0 ? fd : -errno;
	}
	return open_nameless();
}

static int create_nameless(size_t size, struct mps_shm **ret)
{
	AUTO_CLOSE int fd = open_memory();
	int r = fd < 0 ? fd : grow(fd, 0, size);

	if (r < 0)
		return r;
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK); /* which a file of /dev/shm does not know */
	r = new_handle(fd, NULL, true, ret);
	if (r == 0)
		fd = -1;
	return r;
}

/* Where a file cannot be linked after its birth. */
static int create_by_name(const char *path, size_t size)
{
	AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = grow(fd, 0, size);
	if (r < 0) {
		unlink(path);
		return r;
	}
	return TAKE_FD(fd);
}

/* The descriptor or -errno. */
static int create_file(const char *path, size_t size)
{
	char self[64];
	AUTO_CLOSE int fd = -1;
	int r;

	if (feature_allowed(FEATURE_TMPFILE))
		fd = open(FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return create_by_name(path, size);
	r = grow(fd, 0, size);
	if (r < 0)
		return r;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return TAKE_FD(fd);
	if (errno == EEXIST)
		return -EEXIST;
	fd_close(&fd); /* there is no /proc; and its memory is to be had again */
	return create_by_name(path, size);
}

static int create_named(const char *name, size_t size, struct mps_shm **ret)
{
	char path[sizeof(FOLDER) + SHM_NAME_MAX + 1];
	struct stat st;
	int fd, r;

	path_of(name, path);
	if (lstat(path, &st) == 0) /* what is there is not to be told of as ours */
		return -EEXIST;
	r = tracker_say(TRACK_ATTEMPT, TRACK_SHARED_MEMORY, name);
	if (r < 0)
		return r;
	fd = r = create_file(path, size);
	if (r >= 0) {
		tracker_made(TRACK_SHARED_MEMORY, name);
		r = new_handle(fd, name, true, ret);
		if (r == 0)
			return 0;
		unlink(path);
		close(fd);
	}
	/* By now it may be another's, who has told of it. */
	tracker_say(TRACK_RETRACT, TRACK_SHARED_MEMORY, name);
	return r;
}

int mps_shm_create(const char *name, size_t size, struct mps_shm **ret)
{
	char room[SHM_NAME_MAX + 2];
	const char *checked = shm_name(name, room);

	if (size == 0 || (name != NULL && checked == NULL))
		return -EINVAL;
	return name == NULL ? create_nameless(size, ret) : create_named(checked, size, ret);
}

int mps_shm_open(const char *name, bool writable, struct mps_shm **ret)
{
	char path[sizeof(FOLDER) + SHM_NAME_MAX + 1], room[SHM_NAME_MAX + 2];
	const char *checked = shm_name(name, room);
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int r;

	if (checked == NULL)
		return -EINVAL;
	path_of(checked, path);
	fd = open(path,
		  (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size == 0)
		return -ENOENT;
	r = new_handle(fd, checked, writable, ret);
	if (r == 0)
		fd = -1;
	return r;
}

int mps_shm_from_fd(int fd, struct mps_shm **ret)
{
	struct statfs fs;
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) ||
	    ((uint32_t)fs.f_type != TMPFS_MAGIC && (uint32_t)fs.f_type != HUGETLBFS_MAGIC) ||
	    (flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH) != 0)
		return -EINVAL;
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK); /* of a memfd that was not made by us */
	return new_handle(fd, NULL, (flags & O_ACCMODE) == O_RDWR, ret);
}

int mps_shm_unlink(const char *name)
{
	char path[sizeof(FOLDER) + SHM_NAME_MAX + 1], room[SHM_NAME_MAX + 2];
	const char *checked = shm_name(name, room);

	if (checked == NULL)
		return -EINVAL;
	path_of(checked, path);
	if (unlink(path) < 0)
		return -errno;
	/* Should it not be told: who is told of what is not there forgets it. */
	tracker_say(TRACK_REMOVED, TRACK_SHARED_MEMORY, checked);
	return 0;
}

void mps_shm_close(struct mps_shm *shm)
{
	if (shm == NULL)
		return;
	unmap_all(shm);
	close(shm->fd);
	free(shm->name);
	free(shm);
}

/* ------------------------------------------------------------------------------------------------------ access */

void *mps_shm_data(const struct mps_shm *shm)
{
	const struct mapping *m = atomic_load(&shm->last);

	return m != NULL ? m->p : NULL;
}

size_t mps_shm_size(const struct mps_shm *shm)
{
	size_t n;

	return size_of(shm->fd, &n) < 0 ? 0 : n;
}

const char *mps_shm_name(const struct mps_shm *shm)
{
	return shm->name;
}

int mps_shm_fileno(const struct mps_shm *shm)
{
	return shm->fd;
}

bool shm_is_writable(const struct mps_shm *shm)
{
	return shm->writable;
}

int mps_shm_map(struct mps_shm *shm, size_t offset, size_t n, void **ret_p)
{
	const struct mapping *m;
	size_t size;
	int r = size_of(shm->fd, &size);

	if (r < 0)
		return r;
	if (n == 0 || offset > size || n > size - offset)
		return -ERANGE;
	m = atomic_load(&shm->last);
	if (m == NULL || offset + n > m->n) {
		r = map_anew(shm, size);
		if (r < 0)
			return r;
		m = atomic_load(&shm->last);
	}
	*ret_p = m->p + offset;
	return 0;
}

int mps_shm_resize(struct mps_shm *shm, size_t size)
{
	size_t now;
	int r = size_of(shm->fd, &now);

	if (r < 0)
		return r;
	if (size == 0)
		return -EINVAL;
	if (!shm->writable)
		return shm->sealed ? -EPERM : -EACCES;
	if (size > now)
		r = grow(shm->fd, now, size);
	else if (size < now && ftruncate(shm->fd, (off_t)size) < 0)
		r = -errno;
	if (r < 0 || size == now)
		return r;
	unmap_all(shm);
	return map_anew(shm, size);
}

/* 0 or -errno: then that mapping, and those before it, are as they were. */
static int map_all_over(const struct mps_shm *shm)
{
	for (struct mapping *m = atomic_load(&shm->last); m != NULL; m = m->before)
		if (map_file(shm, m->p, m->n) == MAP_FAILED)
			return -errno;
	return 0;
}

int mps_shm_seal(struct mps_shm *shm, bool writes)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | (writes ? F_SEAL_WRITE : 0);
	int has = fcntl(shm->fd, F_GET_SEALS);
	int r;

	if (has >= 0 && (has & seals) == seals)
		return 0;
	if (has < 0 || (has & F_SEAL_SEAL) != 0)
		return -EOPNOTSUPP;
	if (!writes || shm->sealed)
		return fcntl(shm->fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
	/* Our own mappings are in the way as well as those of others: from here on they are to be read. */
	shm->sealed = true;
	r = map_all_over(shm);
	if (r == 0 && fcntl(shm->fd, F_ADD_SEALS, seals) < 0)
		r = -errno;
	if (r < 0) {
		shm->sealed = false;
		map_all_over(shm);
		return r;
	}
	shm->writable = false;
	return 0;
}
