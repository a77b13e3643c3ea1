/*
 * Reads the INI dialect of supervisord (Python's RawConfigParser, not strict, inline comments) into sections and
 * entries with their places. inih tells sections, keys, continuations and mistakes apart; lines of any length,
 * indentation, comments and quotes are ours, because inih alone cuts lines at 200 bytes without a word. Values are
 * raw: nothing is expanded here.
 */
#ifndef CONF_INI_H
#define CONF_INI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"
#include "conf/report.h"

struct ini_entry {
	struct ini_entry *next;
	const char *key;  /* lower-cased, interned */
	char *value;	  /* with "\n" between continuation lines, trimmed; the tree's */
	const char *file; /* interned: files compare by pointer */
	int line;
};

struct ini_section {
	UT_hash_handle hh;	 /* in the order of first appearance */
	const char *name;	 /* case and blanks kept */
	struct conf_place place; /* where it first appeared */
	struct ini_entry
		*first; /* in order; a key that appears twice is there twice, the last counts */
	struct ini_entry **end;
};

struct ini {
	struct store *mem;	      /* of the tree itself: freed after loading */
	struct ini_section *sections; /* uthash, without [DEFAULT] */
	struct ini_section *defaults; /* [DEFAULT], which counts in every section; NULL = none */
	bool only_supervisord; /* keep no keys but those of [supervisord], [include], [DEFAULT] */
};

void ini_init(struct ini *ini);
void ini_fini(struct ini *ini);

/*
 * Adds the text of one file (`file` is its interned name) to the tree; sections that are there already are merged.
 * Mistakes go to the report, all of them, and the lines are left out. The text must not change meanwhile; it is not
 * kept. 0, or -EINVAL when there was an error.
 */
int ini_add(struct ini *ini, const char *file, const char *text, size_t len, struct report *report);

struct ini_section *ini_find(const struct ini *ini, const char *section);

/* The entry that counts: the last of the section, else the last of [DEFAULT], else NULL. */
const struct ini_entry *ini_get(const struct ini *ini, const struct ini_section *section,
				const char *key);

#endif
