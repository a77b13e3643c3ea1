/*
 * Who has a file, as /proc tells: for file systems without leases. Slower by far, and blind for processes of others
 * unless we are root.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "track/look.h"

/* What is looked for: a file, or where `folder` is set all in it. */
struct target {
	dev_t dev;
	ino_t ino;
	const char *base;
	const char *folder;
};

static bool is_in(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	return strncmp(path, folder, n) == 0 && path[n] == '/';
}

static bool ends_in(const char *path, const char *base)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL && strcmp(slash + 1, base) == 0;
}

static bool fd_is(int dir, const char *fd, const struct target *t)
{
	char path[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (t->folder == NULL)
		return fstatat(dir, fd, &st, 0) == 0 && st.st_dev == t->dev && st.st_ino == t->ino;
	n = readlinkat(dir, fd, path, sizeof(path) - 1);
	if (n <= 0)
		return false;
	path[n] = '\0';
	return is_in(path, t->folder);
}

/* "55d0-55d1 r--p 00000000 fe:00 1234   /a/b". Devices of btrfs and overlayfs are not those that stat(2) tells. */
static bool map_is(const char *line, const struct target *t)
{
	unsigned major, minor;
	unsigned long long ino;
	int at = 0;

	if (sscanf(line, "%*s %*s %*s %x:%x %llu %n", &major, &minor, &ino, &at) != 3 || at == 0)
		return false;
	if (t->folder != NULL)
		return is_in(line + at, t->folder);
	return ino == t->ino && (makedev(major, minor) == t->dev || ends_in(line + at, t->base));
}

static bool fds_have(int proc, const struct target *t)
{
	int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;
	bool found = false;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (!found && (e = readdir(dir)) != NULL)
		found = e->d_name[0] != '.' && fd_is(dirfd(dir), e->d_name, t);
	closedir(dir);
	return found;
}

static bool maps_have(int proc, const struct target *t)
{
	int fd = openat(proc, "maps", O_RDONLY | O_CLOEXEC);
	FILE *f = fd >= 0 ? fdopen(fd, "re") : NULL;
	AUTO_FREE char *line = NULL;
	size_t cap = 0;
	bool found = false;
	ssize_t n;

	if (f == NULL) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (!found && (n = getline(&line, &cap, f)) > 0) {
		line[n - 1] = '\0';
		found = map_is(line, t);
	}
	fclose(f);
	return found;
}

static int search(const struct target *t)
{
	DIR *dir = opendir("/proc");
	const struct dirent *e;
	int found = 0;

	if (dir == NULL)
		return -errno;
	while (found == 0 && (e = readdir(dir)) != NULL) {
		AUTO_CLOSE int proc = -1;

		if (!isdigit((unsigned char)e->d_name[0]) || atoi(e->d_name) == getpid())
			continue;
		proc = openat(dirfd(dir), e->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		found = proc >= 0 && (fds_have(proc, t) || maps_have(proc, t));
	}
	closedir(dir);
	return found;
}

int search_file(dev_t dev, ino_t ino, const char *base)
{
	struct target t = { .dev = dev, .ino = ino, .base = base };

	return search(&t);
}

int search_folder(const char *path)
{
	struct target t = { .folder = path };

	return search(&t);
}
