/*
 * Reads the configuration file and what it includes into one INI tree: globs in supervisord's order, files that
 * include files (supervisord reads one level), each file once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "conf/load.h"

/* A file that was read or is being read. */
struct file_id {
	dev_t dev;
	ino_t ino;
	bool open; /* being read: it would include itself */
};

struct files {
	struct loader *l;
	struct file_id *seen;
	size_t n;
	int depth;
};

static void read_one(struct files *f, const char *path, const struct conf_place *from);

char *conf_absolute_path(const char *path)
{
	AUTO_FREE char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);
	AUTO_FREE char *full = xasprintf("%s/%s", cwd ? cwd : "", path);
	AUTO_BUF out = BUF_INIT;

	for (const char *p = full; *p;) {
		size_t n = strcspn(p, "/");

		if (n == 2 && memcmp(p, "..", 2) == 0) {
			while (out.len > 0 && out.p[--out.len] != '/')
				;
		} else if (n > 0 && !(n == 1 && *p == '.')) {
			buf_addc(&out, '/');
			buf_add(&out, p, n);
		}
		p += n + (p[n] == '/');
	}
	if (out.len == 0)
		buf_addc(&out, '/');
	else
		out.p[out.len] = '\0';
	return xbuf_take(&out);
}

/* Opened and closed again by fd_read_file: identity is taken from the path just before. */
static struct file_id *remember(struct files *f, const struct stat *st)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->seen[i].dev == st->st_dev && f->seen[i].ino == st->st_ino)
			return &f->seen[i];
	f->seen = xrealloc(f->seen, (f->n + 1) * sizeof(*f->seen));
	f->seen[f->n] = (struct file_id){ st->st_dev, st->st_ino, false };
	f->n++;
	return NULL;
}

static void include_pattern(struct files *f, const char *pattern, const struct ini_entry *entry)
{
	struct conf_place place = { entry->file, entry->line };
	const char *slash = strrchr(entry->file, '/');
	AUTO_FREE char *full = NULL;
	char **paths;

	full = pattern[0] == '/'
		       ? xstrdup(pattern)
		       : xasprintf("%.*s/%s", (int)(slash - entry->file), entry->file, pattern);
	if (source_glob(&f->l->source, full, &paths) < 0) {
		report_add(&f->l->report, CONF_WARNING, &place, "include.files",
			   "no file matches '%s'", full);
		return;
	}
	for (char **p = paths; *p != NULL; p++) {
		AUTO_FREE char *path = conf_absolute_path(*p);

		read_one(f, path, &place);
	}
	conf_strv_free(paths);
}

/* The files= that this very file says: another's are not meant again. */
static void follow_includes(struct files *f, const char *file)
{
	static const struct section_kind *kind;
	struct ini_section *section = ini_find(&f->l->ini, "include");
	struct scope scope = { .l = f->l, .section = section };
	const struct ini_entry *files = NULL;
	AUTO_BUF text = BUF_INIT;
	const char *name;

	kind = section_find("include", &name);
	scope.kind = kind;
	for (const struct ini_entry *e = section ? section->first : NULL; e; e = e->next)
		if (e->file == file && strcmp(e->key, "files") == 0)
			files = e;
	if (files == NULL)
		return;
	scope.entry = files;
	scope.key = key_find(SECTION_INCLUDE, "files");
	if (section_expand(&scope, files->value, &text) < 0 || text.p == NULL)
		return;
	for (char *save, *p = strtok_r(text.p, " \t\r\n\f\v", &save); p;
	     p = strtok_r(NULL, " \t\r\n\f\v", &save))
		include_pattern(f, p, files);
}

static void complain(struct files *f, enum conf_severity level, const char *path,
		     const struct conf_place *from, const char *what)
{
	struct conf_place here = { path, 0 };

	if (from)
		report_add(&f->l->report, level, from, "include.files", "%s: %s", path, what);
	else
		report_add(&f->l->report, level, &here, NULL, "%s", what);
}

/* Reads one regular (or special: a pipe) file. from: the include that names it, NULL for the first. */
static void read_one(struct files *f, const char *path, const struct conf_place *from)
{
	struct loader *l = f->l;
	const char *file = store_str(l->conf->store, path);
	AUTO_FREE char *text = NULL;
	struct err why = ERR_INIT;
	struct file_id *known;
	struct stat st;
	size_t index, len;
	int r;

	r = source_stat(&l->source, path, &st);
	if (r < 0) {
		complain(f, from && r == -ENOENT ? CONF_WARNING : CONF_ERROR, path, from,
			 strerror(-r));
		return;
	}
	if (S_ISDIR(st.st_mode)) {
		complain(f, from ? CONF_WARNING : CONF_ERROR, path, from,
			 "is a folder, not a file");
		return;
	}
	known = remember(f, &st);
	if (known) {
		if (known->open)
			complain(f, CONF_WARNING, path, from,
				 "the files include each other in a circle");
		return;
	}
	if (f->n > CONF_FILES_MAX || f->depth >= CONF_INCLUDE_DEPTH_MAX) {
		complain(f, CONF_ERROR, path, from,
			 f->n > CONF_FILES_MAX ? "too many files" : "files include files too deep");
		return;
	}
	l->source.why = &why;
	r = source_read(&l->source, path, CONF_FILE_MAX, &text, &len);
	l->source.why = NULL;
	if (r < 0) {
		complain(f, CONF_ERROR, path, from,
			 why.text[0] != '\0' ? why.text
			 : r == -EFBIG	     ? "is longer than 16 MiB"
					     : strerror(-r));
		return;
	}
	index = f->n - 1;
	f->seen[index].open = true;
	f->depth++;
	if (from)
		report_add(&l->report, CONF_NOTE, from, "include.files", "includes %s", path);
	ini_add(&l->ini, file, text, len, &l->report);
	follow_includes(f, file);
	f->depth--;
	f->seen[index].open = false;
}

void load_files(struct loader *l, const char *path)
{
	struct files f = { .l = l };

	read_one(&f, path, NULL);
	free(f.seen);
}
