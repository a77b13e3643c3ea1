/*
 * See list.h. Files by statx(2), SysV objects from the tables of /proc/sysvipc (sysvipc(7)).
 */
#include "track/list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "track/object.h"

#define NS_PER_S INT64_C(1000000000)

static int look_at_file(const char *path, struct track_look *ret)
{
	struct statx st;

	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
		return -errno;
	*ret = (struct track_look){
		.size = st.stx_size,
		.uid = st.stx_uid,
		.target = { makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino },
	};
	if (st.stx_mask & STATX_BTIME)
		ret->born_ns = st.stx_btime.tv_sec * NS_PER_S + st.stx_btime.tv_nsec;
	return 0;
}

/* --------------------------------------------------------------------------------------------------- SysV */

/* The columns of a table that count, from 0; -1 = it has none. */
static const struct table {
	enum track_type type;
	const char *path;
	int size, uid, creator, born;
} tables[] = {
	{ TRACK_SYSV_SHM, "/proc/sysvipc/shm", 3, 7, 4, 13 },
	{ TRACK_SYSV_SEM, "/proc/sysvipc/sem", 3, 4, -1, 9 },
	{ TRACK_SYSV_MSG, "/proc/sysvipc/msg", 3, 7, -1, 13 },
};

enum { COLUMNS = 16 };

static long long field(const long long *fields, int column)
{
	return column >= 0 ? fields[column] : 0;
}

static void read_row(const struct table *t, const char *line, char name[static 24],
		     struct track_look *ret)
{
	long long fields[COLUMNS] = { 0 };
	char *end;

	for (int i = 0; i < COLUMNS; i++, line = end)
		fields[i] = strtoll(line, &end, i == 2 ? 8 : 10);
	snprintf(name, 24, "%lld", fields[1]);
	*ret = (struct track_look){
		.size = (uint64_t)field(fields, t->size),
		.uid = (uid_t)field(fields, t->uid),
		.creator = (pid_t)field(fields, t->creator),
		.born_ns = field(fields, t->born) * NS_PER_S,
	};
	if (t->type == TRACK_SYSV_SHM)
		ret->target = (struct track_target){ TRACK_SYSV_DEV, (ino_t)fields[1] };
}

static int list_table(const struct table *t, track_list_fn *fn, void *user)
{
	FILE *f = fopen(t->path, "re");
	AUTO_FREE char *line = NULL;
	struct track_look look;
	size_t room = 0;
	char name[24];

	if (f == NULL)
		return errno == ENOENT ? 0 : -errno; /* a kernel without them */
	if (getline(&line, &room, f) > 0)	     /* its head */
		while (getline(&line, &room, f) > 0) {
			read_row(t, line, name, &look);
			fn(t->type, name, &look, user);
		}
	fclose(f);
	return 0;
}

struct wanted {
	const char *name;
	struct track_look *ret;
	bool found;
};

static void take_wanted(enum track_type type, const char *name, const struct track_look *look,
			void *user)
{
	struct wanted *w = user;

	(void)type;
	if (strcmp(name, w->name) != 0)
		return;
	*w->ret = *look;
	w->found = true;
}

/* ------------------------------------------------------------------------------------------------------ all */

int track_look(enum track_type type, const char *name, struct track_look *ret)
{
	struct wanted wanted = { name, ret, false };
	AUTO_FREE char *path = object_path(type, name);
	int r = -ENOENT;

	if (path != NULL)
		return look_at_file(path, ret);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		if (tables[i].type == type)
			r = list_table(&tables[i], take_wanted, &wanted);
	return r < 0 ? r : wanted.found ? 0 : -ENOENT;
}

static int list_file(const char *folder, const char *file, track_list_fn *fn, void *user)
{
	AUTO_BUF path = BUF_INIT;
	AUTO_FREE char *name = NULL;
	enum track_type type = TRACK_MQUEUE;
	struct track_look look;

	buf_addf(&path, "%s/%s", folder, file);
	if (strcmp(folder, "/dev/shm") == 0)
		type = object_of_shm_file(file, &name);
	else if (asprintf(&name, "/%s", file) < 0)
		name = NULL;
	if (path.failed || name == NULL)
		return -ENOMEM;
	if (look_at_file(path.p, &look) == 0)
		fn(type, name, &look, user);
	return 0;
}

static int list_folder(const char *folder, track_list_fn *fn, void *user)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int r = 0;

	if (dir == NULL)
		return errno == ENOENT ? 0 : -errno;
	while (r == 0 && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = list_file(folder, entry->d_name, fn, user);
	closedir(dir);
	return r;
}

int track_list(track_list_fn *fn, void *user)
{
	int r = list_folder("/dev/shm", fn, user), e = list_folder("/dev/mqueue", fn, user);

	r = r < 0 ? r : e;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		e = list_table(&tables[i], fn, user);
		r = r < 0 ? r : e;
	}
	return r;
}
