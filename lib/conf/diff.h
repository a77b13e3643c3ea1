/*
 * What differs between two configurations, process by process and pipe by pipe, found with the key table: a new key is compared without
 * a word here. What counts is the value in force, not how or where the file says it.
 */
#ifndef CONF_DIFF_H
#define CONF_DIFF_H

#include <stddef.h>

struct conf;
struct conf_pipe;
struct conf_proc;
struct key;

/* X(NAME, in words) */
#define DIFF_KINDS(X)                                                                              \
	X(SAME, "unchanged")                                                                       \
	X(LIVE, "changed live")                                                                    \
	X(RESTART, "restarted")                                                                    \
	X(ADDED, "added")                                                                          \
	X(REMOVED, "removed")

enum diff_kind {
#define X(name, word) DIFF_##name,
	DIFF_KINDS(X)
#undef X
};

/* One process, which group:name tells from others. */
struct diff_row {
	enum diff_kind kind;
	const struct conf_proc *from; /* NULL = added */
	const struct conf_proc *to;   /* NULL = removed */
	const struct key *
		*keys; /* LIVE and RESTART: in which they differ, in the order of the table */
	size_t n_keys;
};

/* One pipe, by its name. RESTART: another one takes its place, and the programs at its ends are restarted. */
struct diff_pipe {
	enum diff_kind kind;
	const struct conf_pipe *from, *to;
	const struct key **keys;
	size_t n_keys;
};

struct diff {
	struct diff_row *rows; /* those of `from` in its order, then those that are new in theirs */
	size_t n;
	struct diff_pipe *pipes; /* likewise */
	size_t n_pipes;
	const struct key **own; /* of [supervisord] */
	size_t n_own;
};

/* Both must outlive it; processes of either are pointed to. */
struct diff *diff_new(const struct conf *from, const struct conf *to);
void diff_free(struct diff *d);

const char *diff_kind_word(enum diff_kind kind);

#endif
