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

struct track_users {
	size_t n;
	struct row rows[];
};

struct walk {
	struct track_users *users;
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
	struct row *rows = w->users->rows, *end = rows + w->users->n,
		   *at = bsearch(&key, rows, w->users->n, sizeof(key), compare);

	if (at == NULL)
		return;
	while (at > rows && compare(at - 1, &key) == 0)
		at--;
	for (; at < end && compare(at, &key) == 0; at++) {
		if (at->last == pid)
			continue;
		at->last = pid;
		w->fn(at->index, pid, w->user);
	}
}

/* False: it may not be read. One that has gone meanwhile uses nothing. */
static bool read_fds(struct walk *w, pid_t pid)
{
	char path[32];
	struct dirent *entry;
	DIR *dir;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno != EACCES && errno != EPERM;
	dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return false;
	}
	while ((entry = readdir(dir)) != NULL) {
		struct statx st;

		/* A file server that does not answer is not waited for. */
		if (entry->d_name[0] != '.' &&
		    statx(dirfd(dir), entry->d_name, AT_STATX_DONT_SYNC, STATX_INO, &st) == 0)
			on_use(w, pid, makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino);
	}
	closedir(dir);
	return true;
}

/* START-END PERMS OFFSET MAJOR:MINOR INODE PATH: proc_pid_maps(5). */
static void read_maps(struct walk *w, pid_t pid)
{
	AUTO_FREE char *line = NULL;
	char path[32];
	size_t room = 0;
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
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

struct track_users *track_users_new(const struct track_target *targets, size_t n)
{
	struct track_users *u = calloc(1, sizeof(*u) + n * sizeof(u->rows[0]));

	if (u == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (targets[i].dev != 0)
			u->rows[u->n++] = (struct row){ .target = targets[i], .index = i };
	qsort(u->rows, u->n, sizeof(u->rows[0]), compare);
	return u;
}

bool track_users_of(struct track_users *u, pid_t pid, track_users_fn *fn, void *user)
{
	struct walk w = { .users = u, .fn = fn, .user = user };

	if (!read_fds(&w, pid))
		return false;
	read_maps(&w, pid);
	return true;
}

int track_users(const struct track_target *targets, size_t n, track_users_fn *fn, void *user,
		size_t *ret_hidden)
{
	AUTO_FREE struct track_users *u = track_users_new(targets, n);
	DIR *dir = u != NULL ? opendir("/proc") : NULL;
	struct dirent *entry;
	size_t hidden = 0;

	if (dir == NULL)
		return u != NULL ? -errno : -ENOMEM;
	while ((entry = readdir(dir)) != NULL) {
		pid_t pid = (pid_t)atoi(entry->d_name);

		if (pid > 0 && !track_users_of(u, pid, fn, user))
			hidden++;
	}
	closedir(dir);
	*ret_hidden = hidden;
	return 0;
}
