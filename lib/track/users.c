/*
 * See users.h. Targets are sorted once, so a process costs what it has open and mapped, however many are asked about.
 */
#include "track/users.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"

struct row {
	struct track_target target;
	size_t index;
	pid_t last; /* a process that was told of already */
};

struct walk {
	struct row *rows;
	size_t n;
	track_users_fn *fn;
	void *user;
};

static int compare(const void *a, const void *b)
{
	const struct track_target *x = &((const struct row *)a)->target,
				  *y = &((const struct row *)b)->target;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Two records can be of one file. */
static void on_use(struct walk *w, pid_t pid, dev_t dev, ino_t ino)
{
	const struct row key = { .target = { dev, ino } };
	struct row *at = bsearch(&key, w->rows, w->n, sizeof(key), compare);

	if (at == NULL)
		return;
	while (at > w->rows && compare(at - 1, &key) == 0)
		at--;
	for (; at < w->rows + w->n && compare(at, &key) == 0; at++) {
		if (at->last == pid)
			continue;
		at->last = pid;
		w->fn(at->index, pid, w->user);
	}
}

/* False: it may not be read. One that has gone meanwhile uses nothing. */
static bool read_fds(struct walk *w, int proc, pid_t pid)
{
	char path[32];
	struct dirent *entry;
	DIR *dir;
	int fd;

	snprintf(path, sizeof(path), "%d/fd", (int)pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno != EACCES && errno != EPERM;
	dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return false;
	}
	while ((entry = readdir(dir)) != NULL) {
		struct stat st;

		if (entry->d_name[0] != '.' && fstatat(dirfd(dir), entry->d_name, &st, 0) == 0)
			on_use(w, pid, st.st_dev, st.st_ino);
	}
	closedir(dir);
	return true;
}

/* START-END PERMS OFFSET MAJOR:MINOR INODE PATH: proc_pid_maps(5). */
static void read_maps(struct walk *w, int proc, pid_t pid)
{
	AUTO_FREE char *line = NULL;
	char path[32];
	size_t room = 0;
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "%d/maps", (int)pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	f = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (f == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while (getline(&line, &room, f) > 0) {
		unsigned major, minor;
		unsigned long long ino;
		int name = 0;

		if (sscanf(line, "%*s %*s %*s %x:%x %llu %n", &major, &minor, &ino, &name) != 3 ||
		    ino == 0)
			continue;
		if (strncmp(line + name, "/SYSV", 5) == 0)
			on_use(w, pid, TRACK_SYSV_DEV, (ino_t)ino);
		else
			on_use(w, pid, makedev(major, minor), (ino_t)ino);
	}
	fclose(f);
}

static int walk_all(struct walk *w, size_t *ret_hidden)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	size_t hidden = 0;

	if (dir == NULL)
		return -errno;
	while ((entry = readdir(dir)) != NULL) {
		pid_t pid = (pid_t)atoi(entry->d_name);

		if (pid <= 0)
			continue;
		if (read_fds(w, dirfd(dir), pid))
			read_maps(w, dirfd(dir), pid);
		else
			hidden++;
	}
	closedir(dir);
	*ret_hidden = hidden;
	return 0;
}

int track_users(const struct track_target *targets, size_t n, track_users_fn *fn, void *user,
		size_t *ret_hidden)
{
	AUTO_FREE struct row *rows = calloc(n + 1, sizeof(*rows));
	struct walk w = { .rows = rows, .fn = fn, .user = user };

	if (rows == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (targets[i].dev != 0)
			rows[w.n++] = (struct row){ .target = targets[i], .index = i };
	qsort(rows, w.n, sizeof(*rows), compare);
	return walk_all(&w, ret_hidden);
}
