/*
 * What the words of usages stand for, from the tables of those who read them. See words.h.
 */
#include "mpsup/words.h"

#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "base/sig.h"
#include "base/strv.h"
#include "conf/keys.h"
#include "mpsup/cmd.h"
#include "mpsup/listing.h"
#include "mpsup/map_worker.h"
#include "mpsup/verbs.h"
#include "sup/events.h"
#include "sup/goal.h"

static void add_verbs(struct buf *out)
{
	for (size_t i = 0; cmds[i] != NULL; i++)
		if (!(cmds[i]->flags & CMD_HIDDEN))
			buf_addf(out, " %s", cmds[i]->name);
}

static void add_signals(struct buf *out)
{
	for (int sig = 1; sig < 32; sig++)
		if (sig_name(sig) != NULL)
			buf_addf(out, " %s", sig_name(sig));
}

static void add_sorts(struct buf *out)
{
	for (const struct listing_sort *s = listing_sorts; s->name != NULL; s++)
		buf_addf(out, " %s", s->name);
}

static void add_sections(struct buf *out)
{
	for (const struct section_kind *k = section_kinds; k->name != NULL; k++)
		buf_addf(out, " %s", k->name);
}

/* In small letters, as people write them behind an option. */
static void add_states(struct buf *out)
{
	const char *word;

	for (size_t i = 0; (word = goal_word(i)) != NULL; i++) {
		buf_addc(out, ' ');
		for (; *word != '\0'; word++)
			buf_addc(out, (char)tolower((unsigned char)*word));
	}
}

static void add_events(struct buf *out)
{
	for (enum event_type t = 0; t < N_EVENT_TYPES; t++)
		buf_addf(out, " %s", event_name(t));
}

static void add_actions(struct buf *out)
{
	for (size_t i = 0; ipc_actions[i] != NULL; i++)
		buf_addf(out, " %s", ipc_actions[i]);
}

static void add_methods(struct buf *out)
{
	for (size_t i = 0; map_worker_methods[i] != NULL; i++)
		buf_addf(out, " %s", map_worker_methods[i]);
}

static void add_tracks(struct buf *out)
{
	buf_adds(out, " preload scan off");
}

static void add_frames(struct buf *out)
{
	buf_adds(out, " line len");
}

static void add_questions(struct buf *out)
{
	buf_adds(out, " ls info rm");
}

const struct word_kind word_kinds[] = {
	{ "NAME", WORD_NAMES, NULL },	    { "FILE", WORD_FILES, NULL },
	{ "PATH", WORD_FILES, NULL },	    { "SIGNAL", WORD_LIST, add_signals },
	{ "KEY", WORD_LIST, add_sorts },    { "SECTION", WORD_LIST, add_sections },
	{ "STATE", WORD_LIST, add_states }, { "TYPE", WORD_LIST, add_events },
	{ "VERB", WORD_LIST, add_verbs },   { "ACTION", WORD_LIST, add_actions },
	{ "M", WORD_LIST, add_methods },    { "HOW", WORD_LIST, add_tracks },
	{ "FRAME", WORD_LIST, add_frames }, { "manager", WORD_LIST, add_questions },
	{ "dict", WORD_LIST, NULL },	    { "list", WORD_LIST, NULL },
	{ "queue", WORD_LIST, NULL },	    { "counter", WORD_LIST, NULL },
	{ "event", WORD_LIST, NULL },	    { "barrier", WORD_LIST, NULL },
	{ NULL, WORD_LIST, NULL },
};

void word_add_list(const struct word_kind *kind, struct buf *out)
{
	if (kind->add != NULL)
		kind->add(out);
	else
		object_add_words(kind->name, out);
}

static const struct word_kind *kind_named(const char *name, size_t n)
{
	for (size_t i = 0; word_kinds[i].name != NULL; i++)
		if (strlen(word_kinds[i].name) == n && memcmp(word_kinds[i].name, name, n) == 0)
			return &word_kinds[i];
	return NULL;
}

/* By the capitals at the front of `text`, *ret_end = what follows them. NULL: free text. */
static const struct word_kind *kind_find(const char *text, const char **ret_end)
{
	size_t n = 0;

	while (isupper((unsigned char)text[n]))
		n++;
	*ret_end = text + n;
	return kind_named(text, n);
}

const struct word_kind *word_kind_of(const struct cmd_option *o)
{
	const char *end;

	return kind_find(o->arg, &end);
}

bool word_next(const struct cmd *cmd, const char **at, const struct word_kind **ret_kind,
	       bool *ret_repeats)
{
	const char *word = *at + strspn(*at, " ["), *end;
	size_t n = strcspn(word, " ");

	if (*word == '\0')
		return false;
	*at = word + n;
	*ret_kind = kind_find(word, &end);
	if (cmd->flags & CMD_NAMED) /* the name is none of a program */
		*ret_kind = NULL;
	else if (str_is_prefix("WORD", word) ||
		 (islower((unsigned char)*word) && memchr(word, '|', n) != NULL))
		*ret_kind = kind_named(cmd->name, strlen(cmd->name));
	*ret_repeats = strncmp(end, "...", 3) == 0;
	return true;
}
