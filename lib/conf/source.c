/*
 * The disk or a record of it. See source.h. A record is the answers in the order in which they were asked for.
 */
#include "conf/source.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/xalloc.h"

enum { STAT = 1, READ, GLOB };

/* The head of each answer. */
static void put(struct source *s, unsigned what, const char *name, int r)
{
	wire_put_u32(s->record, what);
	wire_put_str(s->record, name);
	wire_put_u32(s->record, (unsigned)-r);
}

/* 0, or the error that was answered. */
static int take(struct source *s, unsigned what, const char *name)
{
	unsigned kind = wire_u32(&s->from);
	const char *asked = wire_str(&s->from);
	int error = (int)wire_u32(&s->from);

	if (s->from.failed || kind != what || asked == NULL || strcmp(asked, name) != 0 ||
	    error < 0)
		return -ESTALE;
	return -error;
}

int source_stat(struct source *s, const char *path, struct stat *ret)
{
	struct stat st = { 0 };
	int r;

	if (s->replays) {
		r = take(s, STAT, path);
		st.st_dev = wire_u64(&s->from);
		st.st_ino = wire_u64(&s->from);
		st.st_mode = wire_u32(&s->from);
	} else {
		r = stat(path, &st) < 0 ? -errno : 0;
	}
	if (s->record != NULL) {
		put(s, STAT, path, r);
		wire_put_u64(s->record, st.st_dev);
		wire_put_u64(s->record, st.st_ino);
		wire_put_u32(s->record, st.st_mode);
	}
	if (r == 0)
		*ret = st;
	return r;
}

static int read_disk(const struct source *s, const char *path, size_t max, char **ret_text,
		     size_t *ret_len)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int r = fd < 0 ? -errno : 0;

	if (r == 0 && !s->insecure)
		r = path_check(path, fd, s->why);
	return r < 0 ? r : fd_read_all(fd, max, ret_text, ret_len);
}

int source_read(struct source *s, const char *path, size_t max, char **ret_text, size_t *ret_len)
{
	AUTO_FREE char *text = NULL;
	const char *p;
	size_t len = 0;
	int r;

	if (s->replays) {
		r = take(s, READ, path);
		p = wire_bytes(&s->from, &len);
		if (s->from.failed)
			r = -ESTALE;
		text = xstrndup("", 0);
		if (len > 0) {
			text = xrealloc(text, len + 1);
			memcpy(text, p, len);
			text[len] = '\0';
		}
	} else {
		r = read_disk(s, path, max, &text, &len);
	}
	if (s->record != NULL) {
		put(s, READ, path, r);
		wire_put_bytes(s->record, text, r == 0 ? len : 0);
	}
	if (r == 0) {
		*ret_text = TAKE_PTR(text);
		*ret_len = len;
	}
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int glob_disk(const char *pattern, char ***ret)
{
	glob_t found = { 0 };
	char **paths;

	if (glob(pattern, GLOB_NOSORT | GLOB_NOESCAPE, NULL, &found) != 0 || found.gl_pathc == 0) {
		globfree(&found);
		return -ENOENT;
	}
	qsort(found.gl_pathv, found.gl_pathc, sizeof(char *), by_name);
	paths = xcalloc(found.gl_pathc + 1, sizeof(*paths));
	for (size_t i = 0; i < found.gl_pathc; i++)
		paths[i] = xstrdup(found.gl_pathv[i]);
	globfree(&found);
	*ret = paths;
	return 0;
}

static int glob_record(struct source *s, const char *pattern, char ***ret)
{
	int r = take(s, GLOB, pattern);
	uint32_t n = wire_u32(&s->from);
	char **paths;

	if (r < 0 || s->from.failed || n > s->from.n)
		return r < 0 ? r : -ESTALE;
	paths = xcalloc(n + 1, sizeof(*paths));
	for (uint32_t i = 0; i < n; i++) {
		const char *path = wire_str(&s->from);

		paths[i] = xstrdup(path != NULL ? path : "");
	}
	*ret = paths;
	return 0;
}

int source_glob(struct source *s, const char *pattern, char ***ret_paths)
{
	char **paths = NULL;
	int r = s->replays ? glob_record(s, pattern, &paths) : glob_disk(pattern, &paths);

	if (s->record != NULL) {
		put(s, GLOB, pattern, r);
		wire_put_strv(s->record, paths);
	}
	if (r == 0)
		*ret_paths = paths;
	return r;
}
