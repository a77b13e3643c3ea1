/*
 * Where the files of a configuration come from: the disk, while all that is read can be recorded, or such a record. So a
 * supervisor goes on with the configuration that was in force, whatever has become of the files.
 */
#ifndef CONF_SOURCE_H
#define CONF_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/wire.h"

struct source {
	bool replays;
	struct wire from;   /* replays */
	struct buf *record; /* NULL = nobody wants one */
	bool insecure;	    /* also what others may write, as root */
	struct err *why;    /* of source_read(), where errno does not tell; empty = it does */
};

/* As stat(2), of which st_dev, st_ino and st_mode count. 0 or -errno. A record that does not have it: -ESTALE. */
int source_stat(struct source *s, const char *path, struct stat *ret);
/* As fd_read_file(). What others may write is refused for root: -EPERM with `why`. */
int source_read(struct source *s, const char *path, size_t max, char **ret_text, size_t *ret_len);
/* The paths that a pattern matches, sorted by bytes; NULL-terminated, the caller frees each and all. -ENOENT: none. */
int source_glob(struct source *s, const char *pattern, char ***ret_paths);

#endif
