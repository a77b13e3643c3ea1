/*
 * What the words of a usage, and the values of options, may be.
 */
#ifndef CMD_MPSUP_WORDS_H
#define CMD_MPSUP_WORDS_H

#include <stdbool.h>

struct buf;
struct cmd;
struct cmd_option;

/*
 * What a word in capitals stands for; one that is not here is free text. Those in small letters are
 * what a WORD, or words with bars between them, are behind the verb of that name.
 */
struct word_kind {
	const char *name;
	enum { WORD_LIST, WORD_FILES, WORD_NAMES } source;
	void (*add)(struct buf *out); /* NULL: object_add_words() */
};
extern const struct word_kind word_kinds[]; /* the last has no name */

/* Of a list: each word after a blank. */
void word_add_list(const struct word_kind *kind, struct buf *out);

/* Of an option that takes a value; NULL: free text. */
const struct word_kind *word_kind_of(const struct cmd_option *o);

/*
 * The next word of a verb's usage, "[NAME...|all]": its kind (NULL: free text) and whether it
 * repeats. False: no more.
 */
bool word_next(const struct cmd *cmd, const char **at, const struct word_kind **ret_kind,
	       bool *ret_repeats);

#endif
