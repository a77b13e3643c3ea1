/*
 * inih asks our reader for lines. The reader takes the real line from the text, strips comments, and hands inih a short
 * stand-in of the same shape ("[s]", "k=v", " v"); when inih calls the handler, the real line is taken from the reader.
 * A stand-in that inih refuses (its handler was not called) is a mistake at the line's real number.
 */
#include "conf/ini.h"

#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/xalloc.h"

struct line {
	const char *p; /* without its end */
	size_t len;
	size_t indent; /* blanks before the first other character */
};

struct reader {
	struct ini *ini;
	struct report *report;
	const char *file;
	const char *at, *end; /* what is left of the text */
	int number;	      /* of the line, from 1 */
	size_t errors;

	struct line line; /* the one that inih is looking at, comments and outer blanks stripped */
	const char
		*waits; /* what is wrong with the line if inih does not call the handler for it */

	struct ini_section *section;
	struct ini_entry *entry; /* the last key: continuations are its */
	size_t key_indent;
	struct buf value;   /* of entry */
	size_t blank_lines; /* inside the value, added when it goes on */
	char quote;	    /* that the value so far leaves open */
	bool quotes;	    /* of command= or environment=: comments don't start inside quotes */
	bool warned;	    /* about supervisord's cut, once a value */
	bool too_long;
	bool skip;     /* the section is of no interest (only_supervisord) */
	bool skip_key; /* there was a key in it, at key_indent */
};

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct conf_place here(const struct reader *r)
{
	return (struct conf_place){ r->file, r->number };
}

static void complain(struct reader *r, const char *text)
{
	struct conf_place place = here(r);
	int shown = (int)(r->line.len > 60 ? 60 : r->line.len);

	report_add(r->report, CONF_ERROR, &place, NULL, "'%.*s%s': %s", shown, r->line.p,
		   r->line.len > 60 ? "..." : "", text);
	r->errors++;
}

/* The next line as Python's universal newlines cut it: \n, \r\n or \r. False at the end. */
static bool next_line(struct reader *r, struct line *ret)
{
	const char *p = r->at, *nl;

	if (p >= r->end)
		return false;
	nl = p;
	while (nl < r->end && *nl != '\n' && *nl != '\r')
		nl++;
	ret->p = p;
	ret->len = (size_t)(nl - p);
	if (nl < r->end && *nl == '\r' && nl + 1 < r->end && nl[1] == '\n')
		nl++;
	r->at = nl < r->end ? nl + 1 : nl;
	r->number++;
	ret->indent = 0;
	while (ret->indent < ret->len && is_blank(ret->p[ret->indent]))
		ret->indent++;
	return true;
}

/* Does the quote that is open at p close on this line, or on a line that continues the value? */
static bool quote_closes(const struct reader *r, char quote, const char *p, const char *end)
{
	if (memchr(p, quote, (size_t)(end - p)))
		return true;
	return r->at < r->end && (*r->at == ' ' || *r->at == '\t');
}

/* The state of a shell-like quote after one character; p may move over an escaped one. */
static char quote_step(char quote, const char **p, const char *end)
{
	char c = **p;

	if (c == '\\' && quote != '\'' && *p + 1 < end) {
		(*p)++;
		return quote;
	}
	if (quote)
		return c == quote ? 0 : quote;
	return c == '\'' || c == '"' ? c : 0;
}

static void warn_of_cut(struct reader *r, char c)
{
	struct conf_place place = here(r);

	if (r->warned)
		return;
	r->warned = true;
	report_add(
		r->report, CONF_WARNING, &place, NULL,
		"supervisord would cut the value at ' %c', though it is in quotes; here it is kept",
		c);
}

/*
 * Where the comment of [p, end) starts, or end: at a ; or # after a blank (RawConfigParser), but not in quotes.
 * at_start: p is the start of the line, where a comment needs no blank before it.
 */
static const char *find_comment(struct reader *r, const char *p, const char *end, bool at_start)
{
	const char *start = p;
	char quote = r->quotes ? r->quote : 0;

	for (; p < end; p++) {
		bool mark = (*p == ';' || *p == '#') && (p == start ? at_start : is_blank(p[-1]));

		if (mark && !(quote && quote_closes(r, quote, p, end)))
			break;
		if (mark)
			warn_of_cut(r, *p);
		if (r->quotes)
			quote = quote_step(quote, &p, end);
	}
	r->quote = quote;
	return p < end ? p : end;
}

static void trim(struct line *l)
{
	while (l->len > 0 && is_blank(l->p[0])) {
		l->p++;
		l->len--;
	}
	while (l->len > 0 && is_blank(l->p[l->len - 1]))
		l->len--;
}

/* Ends the value that was being read. */
static void close_entry(struct reader *r)
{
	struct store *mem = r->ini->mem;

	if (r->entry == NULL)
		return;
	if (r->too_long) {
		struct conf_place place = { r->entry->file, r->entry->line };

		report_add(r->report, CONF_ERROR, &place, r->entry->key,
			   "the value is longer than %d bytes", CONF_VALUE_MAX);
		r->errors++;
	}
	while (r->value.len > 0 && is_blank(r->value.p[r->value.len - 1]))
		r->value.len--;
	r->entry->value = store_alloc(mem, r->value.len + 1);
	if (r->value.len > 0)
		memcpy(r->entry->value, r->value.p, r->value.len);
	buf_reset(&r->value);
	r->entry = NULL;
}

static bool is_wanted(const char *name, size_t len)
{
	static const char *const wanted[] = { "supervisord", "include", "DEFAULT" };

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (strlen(wanted[i]) == len && memcmp(wanted[i], name, len) == 0)
			return true;
	return false;
}

/* Each file may include others. */
static void note_double(struct reader *r, const struct ini_section *s)
{
	struct conf_place place = here(r);

	if (strcmp(s->name, "include") != 0 || s->place.file == r->file)
		report_add(r->report, CONF_NOTE, &place, s->name,
			   "was begun before (%s:%d): these keys are added to those", s->place.file,
			   s->place.line);
}

static struct ini_section *get_section(struct reader *r, const char *name, size_t len)
{
	struct ini *ini = r->ini;
	struct ini_section *s;

	if (len == strlen("DEFAULT") && memcmp(name, "DEFAULT", len) == 0)
		s = ini->defaults;
	else
		HASH_FIND(hh, ini->sections, name, len, s);
	if (s) {
		note_double(r, s);
		return s;
	}
	s = store_alloc(ini->mem, sizeof(*s));
	s->name = store_strn(ini->mem, name, len);
	s->place = here(r);
	s->end = &s->first;
	if (strcmp(s->name, "DEFAULT") == 0)
		ini->defaults = s;
	else
		HASH_ADD_KEYPTR(hh, ini->sections, s->name, len, s);
	return s;
}

/* "[name] rest": Python's pattern is greedy, so the name ends at the last bracket. */
static void open_section(struct reader *r)
{
	const char *close = memrchr(r->line.p, ']', r->line.len);
	const char *name = r->line.p + 1;

	close_entry(r);
	if (close == NULL || close == name) {
		complain(r, close ? "a section needs a name"
				  : "a section header ends with ] (such as [program:web])");
		return;
	}
	r->skip = r->ini->only_supervisord && !is_wanted(name, (size_t)(close - name));
	r->skip_key = false;
	r->section = get_section(r, name, (size_t)(close - name));
}

/* The delimiter of "key = value" or "key: value", or NULL. */
static const char *find_delimiter(const char *p, size_t len)
{
	for (const char *end = p + len; p < end; p++)
		if (*p == '=' || *p == ':')
			return p;
	return NULL;
}

static bool key_has_quotes(const char *p, size_t len)
{
	return (len == strlen("command") && strncasecmp(p, "command", len) == 0) ||
	       (len == strlen("environment") && strncasecmp(p, "environment", len) == 0);
}

/* Strips the comment of a line that starts a key, a section or nothing. */
static void strip_first_line(struct reader *r)
{
	const char *end = r->line.p + r->line.len;
	const char *delimiter =
		find_delimiter(r->line.p + r->line.indent, r->line.len - r->line.indent);
	const char *value = r->line.p, *cut;
	struct line key;

	r->quotes = false;
	r->quote = 0;
	cut = find_comment(r, value, delimiter ? delimiter : end, true);
	if (delimiter && cut == delimiter) {
		key = (struct line){ .p = r->line.p, .len = (size_t)(delimiter - r->line.p) };
		trim(&key);
		r->quotes = key_has_quotes(key.p, key.len);
		r->warned = false;
		r->quote = 0;
		cut = find_comment(r, delimiter, end, false);
	}
	r->line.len = (size_t)(cut - r->line.p);
}

/* Does the line (not blank) belong to the key above it? */
static bool is_continuation(const struct reader *r, const struct line *l)
{
	return r->entry != NULL && l->indent > r->key_indent;
}

static bool is_comment(const struct line *l)
{
	return l->indent < l->len && (l->p[l->indent] == ';' || l->p[l->indent] == '#');
}

/* Strips comments and blanks from r->line; false when nothing is left that inih should see. */
static bool strip_line(struct reader *r)
{
	bool continues = is_continuation(r, &r->line);
	bool was_blank = r->line.indent == r->line.len;

	if (was_blank) {
		r->blank_lines++;
		return false;
	}
	if (is_comment(&r->line) && !(continues && r->quotes && r->quote))
		return false;
	if (continues)
		r->line.len = (size_t)(find_comment(r, r->line.p, r->line.p + r->line.len, true) -
				       r->line.p);
	else
		strip_first_line(r);
	trim(&r->line);
	return r->line.len > 0;
}

/* In a section that nobody wants: everything up to the next header. */
static bool skip_line(struct reader *r, const struct line *l)
{
	if (!r->skip)
		return false;
	if (l->indent == l->len || is_comment(l) || (r->skip_key && l->indent > r->key_indent))
		return true;
	if (l->p[l->indent] == '[')
		return false;
	r->skip_key = true;
	r->key_indent = l->indent;
	return true;
}

/* Judges the line that inih was given last, now that it wants another. */
static void settle(struct reader *r)
{
	if (r->waits)
		complain(r, r->waits);
	r->waits = NULL;
}

static char *give(char *to, const char *stand_in)
{
	return strcpy(to, stand_in);
}

/* inih's fgets: the next line that is not empty, as a stand-in (inih's buffer has 200 bytes). */
static char *read_line(char *to, int size, void *stream)
{
	struct reader *r = stream;
	struct line *l = &r->line;
	bool continues;

	(void)size;
	settle(r);
	do {
		do {
			if (!next_line(r, l))
				return NULL;
		} while (skip_line(r, l));
		continues = is_continuation(r, l);
		if (memchr(l->p, '\0', l->len)) {
			complain(r, "the line holds a NUL byte: is this a text file?");
			l->len = l->indent = 0;
			continue;
		}
	} while (!strip_line(r));
	if (continues)
		return give(to, " v");
	r->key_indent = l->indent;
	if (l->p[0] == '[') {
		open_section(r);
		return give(to, "[s]");
	}
	close_entry(r);
	r->blank_lines = 0;
	if (r->section == NULL) {
		complain(r, "a section header must come first (such as [supervisord])");
		r->skip = true; /* once is enough: up to the header each line has the same fault */
		return give(to, "");
	}
	r->waits = "not a key = value line; a line that goes on with a value must be indented";
	return give(to, find_delimiter(l->p, l->len) ? "k=v" : "k");
}

static void add_key(struct reader *r)
{
	const char *delimiter = find_delimiter(r->line.p, r->line.len);
	struct line key = { .p = r->line.p, .len = (size_t)(delimiter - r->line.p) };
	struct line value = { .p = delimiter + 1,
			      .len = r->line.len - (size_t)(delimiter + 1 - r->line.p) };
	struct ini_entry *e;
	char *name;

	trim(&key);
	trim(&value);
	if (key.len == 0) {
		complain(r, "there is no key before the delimiter");
		return;
	}
	name = xstrndup(key.p, key.len);
	for (char *c = name; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	e = store_alloc(r->ini->mem, sizeof(*e));
	e->key = store_str(r->ini->mem, name);
	e->file = r->file;
	e->line = r->number;
	free(name);
	*r->section->end = e;
	r->section->end = &e->next;
	r->entry = e;
	r->too_long = value.len > CONF_VALUE_MAX;
	buf_reset(&r->value);
	buf_add(&r->value, value.p, r->too_long ? 0 : value.len);
}

static void add_continuation(struct reader *r)
{
	if (r->value.len + r->blank_lines + r->line.len + 1 > CONF_VALUE_MAX) {
		r->too_long = true;
		return;
	}
	for (size_t i = 0; i < r->blank_lines + 1; i++)
		buf_addc(&r->value, '\n');
	r->blank_lines = 0;
	buf_add(&r->value, r->line.p, r->line.len);
}

/* inih calls this for a key and for each line that continues one; `value` tells which (see the stand-ins). */
static int on_line(void *user, const char *section, const char *name, const char *value)
{
	struct reader *r = user;

	(void)section;
	(void)name;
	(void)value;
	r->waits = NULL;
	if (r->entry)
		add_continuation(r);
	else
		add_key(r);
	return 1;
}

void ini_init(struct ini *ini)
{
	*ini = (struct ini){ .mem = store_new() };
}

void ini_fini(struct ini *ini)
{
	HASH_CLEAR(hh, ini->sections);
	store_free(ini->mem);
	*ini = (struct ini){ 0 };
}

int ini_add(struct ini *ini, const char *file, const char *text, size_t len, struct report *report)
{
	struct reader r = {
		.ini = ini,
		.report = report,
		.file = file,
		.at = text,
		.end = text + len,
		.value = BUF_INIT,
	};

	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		r.at += 3;
	ini_parse_stream(read_line, &r, on_line, &r);
	settle(&r);
	close_entry(&r);
	buf_fini(&r.value);
	return r.errors ? -EINVAL : 0;
}

struct ini_section *ini_find(const struct ini *ini, const char *section)
{
	struct ini_section *s;

	HASH_FIND_STR(ini->sections, section, s);
	return s;
}

static const struct ini_entry *last_of(const struct ini_section *section, const char *key)
{
	const struct ini_entry *found = NULL;

	for (const struct ini_entry *e = section ? section->first : NULL; e; e = e->next)
		if (strcmp(e->key, key) == 0)
			found = e;
	return found;
}

const struct ini_entry *ini_get(const struct ini *ini, const struct ini_section *section,
				const char *key)
{
	const struct ini_entry *e = last_of(section, key);

	return e ? e : last_of(ini->defaults, key);
}
