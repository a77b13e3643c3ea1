/*
 * Numbered backups, and gzip for them: see rotate.h.
 */
#include "sup/rotate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/xalloc.h"

enum { PLAIN = 1, GZIP = 2 };

/*
 * The path by which its folder's names are changed: where others may write above it, of a descriptor (*ret_folder), as
 * they may exchange what lies on the way meanwhile. NULL with errno.
 */
static char *hold(const char *path, int *ret_folder)
{
	const char *base;
	bool is_shared;
	char *held;

	*ret_folder = path_open_folder(path, false, &base, &is_shared);
	errno = *ret_folder < 0 ? -*ret_folder : ENOMEM;
	if (*ret_folder < 0)
		return NULL;
	held = is_shared ? path_within(*ret_folder, base) : xstrdup(path);
	if (!is_shared)
		fd_close(ret_folder);
	return held;
}

static char *name_of(const char *path, int n, int form)
{
	return xasprintf("%s.%d%s", path, n, form == GZIP ? ".gz" : "");
}

static int forms_of(const char *path, int n)
{
	int forms = 0;

	for (int form = PLAIN; form <= GZIP; form++) {
		AUTO_FREE char *name = name_of(path, n, form);
		struct stat st;

		if (lstat(name, &st) == 0)
			forms |= form;
	}
	return forms;
}

static void drop(const char *path, int n, int forms)
{
	for (int form = PLAIN; form <= GZIP; form++) {
		AUTO_FREE char *name = name_of(path, n, form);

		if (forms & form)
			unlink(name);
	}
}

static int move_up(const char *path, int n)
{
	int forms = forms_of(path, n), form = forms & GZIP ? GZIP : PLAIN;
	AUTO_FREE char *from = name_of(path, n, form);
	AUTO_FREE char *to = name_of(path, n + 1, form);

	/* Both: we were killed when the compressed one was complete. */
	if (forms == (PLAIN | GZIP))
		drop(path, n, PLAIN);
	return rename(from, to) < 0 ? -errno : 0;
}

/* Only up to the first gap: a shift that was cut short has left one, and above it all is done. */
static int shift(const char *path, int backups, int *ret_gone)
{
	AUTO_FREE char *first = name_of(path, 1, PLAIN);
	AUTO_FREE char *last = name_of(path, backups, PLAIN);
	int gap = 1, r = 0;

	while (gap <= backups && forms_of(path, gap) != 0)
		gap++;
	*ret_gone = -1;
	if (gap > backups) {
		gap = backups;
		*ret_gone = open(last, O_PATH | O_CLOEXEC | O_NOFOLLOW);
		drop(path, gap, PLAIN | GZIP);
	}
	for (int n = gap - 1; n >= 1 && r == 0; n--)
		r = move_up(path, n);
	if (r == 0 && rename(path, first) < 0)
		r = -errno;
	return r;
}

int rotate_shift(const char *path, int backups, int *ret_gone)
{
	AUTO_CLOSE int folder = -1;
	AUTO_FREE char *held = hold(path, &folder);

	*ret_gone = -1;
	return held != NULL ? shift(held, backups, ret_gone) : -errno;
}

/* -------------------------------------------------------------------------------------------- compression */

struct rotate_job {
	char *path, *part; /* part: what is written, until it is complete */
	int folder;	   /* that they name, or -1 */
	int backups, fd, result;
	struct stat st; /* of the backup: its number may change meanwhile */
	bool cancelled;
};

static void job_free(struct rotate_job *job)
{
	fd_close(&job->fd);
	fd_close(&job->folder);
	free(job->path);
	free(job->part);
	free(job);
}

struct rotate_job *rotate_job_new(const char *path, int backups)
{
	struct rotate_job *job = xcalloc(1, sizeof(*job));

	*job = (struct rotate_job){ .backups = backups, .fd = -1 };
	job->path = hold(path, &job->folder);
	if (job->path == NULL) {
		job_free(job);
		return NULL;
	}
	job->part = xasprintf("%s.gz-part", job->path);
	for (int n = 1; n <= backups && job->fd < 0; n++) {
		AUTO_FREE char *name = name_of(job->path, n, PLAIN);
		int forms = forms_of(job->path, n);

		if (forms == (PLAIN | GZIP))
			drop(job->path, n, PLAIN);
		else if (forms == PLAIN)
			job->fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	}
	if (job->fd >= 0 && fstat(job->fd, &job->st) == 0 && S_ISREG(job->st.st_mode))
		return job;
	unlink(job->part); /* of one that was killed */
	job_free(job);
	return NULL;
}

static int compress_to(struct rotate_job *job, gzFile to)
{
	char in[64 << 10];
	ssize_t n;

	while ((n = read(job->fd, in, sizeof(in))) > 0) {
		if (__atomic_load_n(&job->cancelled, __ATOMIC_ACQUIRE))
			return -ECANCELED;
		if (gzwrite(to, in, (unsigned)n) != (int)n)
			return errno != 0 ? -errno : -EIO;
	}
	return n < 0 ? -errno : 0;
}

static int compress_part(struct rotate_job *job)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
	/* Its time tells what it was compressed from, and how old its lines are. */
	const struct timespec times[2] = { job->st.st_atim, job->st.st_mtim };
	int fd, r;
	gzFile to;

	unlink(job->part);
	fd = open(job->part, flags, 0600);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, job->st.st_mode & 0777) < 0 ||
	    (geteuid() == 0 && fchown(fd, job->st.st_uid, job->st.st_gid) < 0)) {
		r = -errno;
		close(fd);
		return r;
	}
	to = gzdopen(fd, "wb");
	if (to == NULL) {
		close(fd);
		return -ENOMEM;
	}
	r = compress_to(job, to);
	if (gzclose(to) != Z_OK && r == 0)
		r = errno != 0 ? -errno : -EIO;
	if (r == 0 && utimensat(AT_FDCWD, job->part, times, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	return r;
}

void rotate_job_run(struct rotate_job *job)
{
	/* On Linux of this thread alone: programs come first. */
	setpriority(PRIO_PROCESS, 0, 10);
	job->result = compress_part(job);
}

void rotate_job_cancel(struct rotate_job *job)
{
	__atomic_store_n(&job->cancelled, true, __ATOMIC_RELEASE);
}

/* The number that the backup has now; 0 = it is gone. */
static int find_number(const struct rotate_job *job)
{
	for (int n = 1; n <= job->backups; n++) {
		AUTO_FREE char *name = name_of(job->path, n, PLAIN);
		struct stat st;

		if (lstat(name, &st) == 0 && st.st_ino == job->st.st_ino &&
		    st.st_dev == job->st.st_dev)
			return n;
	}
	return 0;
}

int rotate_job_end(struct rotate_job *job)
{
	int r = job->result, n = r == 0 ? find_number(job) : 0;
	AUTO_FREE char *name = name_of(job->path, n, GZIP);

	if (n > 0 && rename(job->part, name) < 0)
		r = -errno;
	if (n > 0 && r == 0)
		drop(job->path, n, PLAIN);
	else
		unlink(job->part);
	job_free(job);
	return r;
}
