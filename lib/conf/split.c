/*
 * Both grammars read their text once, character by character, into words.
 */
#include "conf/split.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"

void words_fini(struct words *w)
{
	for (size_t i = 0; i < w->n; i++)
		free(w->v[i]);
	free(w->v);
	*w = (struct words)WORDS_INIT;
}

void words_add(struct words *w, const char *p, size_t n)
{
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 8;
		w->v = xrealloc(w->v, w->cap * sizeof(*w->v));
	}
	w->v[w->n++] = xstrndup(p, n);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* From the quote at *p to behind the closing one; false when there is none. */
static bool read_quoted(const char **p, struct buf *word)
{
	char quote = *(*p)++;

	for (; **p != quote; (*p)++) {
		if (**p == '\0')
			return false;
		if (quote == '"' && **p == '\\' && ((*p)[1] == '"' || (*p)[1] == '\\'))
			(*p)++;
		buf_addc(word, **p);
	}
	(*p)++;
	return true;
}

int split_command(const char *text, struct words *ret, struct err *err)
{
	AUTO_BUF word = BUF_INIT;
	const char *p = text;

	for (;;) {
		while (is_blank(*p))
			p++;
		if (*p == '\0')
			return 0;
		buf_reset(&word);
		while (*p && !is_blank(*p)) {
			if (*p == '\'' || *p == '"') {
				if (!read_quoted(&p, &word))
					return err_set(err, -EINVAL, "No closing quotation");
				continue;
			}
			if (*p == '\\' && *++p == '\0')
				return err_set(err, -EINVAL, "No escaped character");
			buf_addc(&word, *p++);
		}
		words_add(ret, word.len ? word.p : "", word.len);
	}
}

static bool is_key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '.' || c == '-';
}

/* What shlex takes as one unquoted word in supervisord's environment=. */
static bool is_word_char(char c)
{
	return is_key_char(c) || strchr("/+():", c) != NULL;
}

/* The "=" of a KEY= (or "KEY"=) that starts at p (after blanks), or NULL. */
static const char *key_end(const char *p)
{
	const char *start;
	char quote = 0;

	while (is_blank(*p))
		p++;
	if (*p == '"' || *p == '\'')
		quote = *p++;
	start = p;
	while (is_key_char(*p))
		p++;
	if (p == start || (quote && *p++ != quote))
		return NULL;
	while (*p == ' ' || *p == '\t')
		p++;
	return *p == '=' ? p : NULL;
}

struct env_reader {
	const char *p;
	struct words *ret;
	split_warning on_warning;
	void *ctx;
	bool odd; /* supervisord would read this value differently */
};

static void warn(const struct env_reader *r, const char *key, const char *text)
{
	AUTO_BUF b = BUF_INIT;

	if (r->on_warning == NULL)
		return;
	buf_addf(&b, "%s: %s", key, text);
	if (b.p)
		r->on_warning(r->ctx, b.p);
}

/* Is p where a value ends: the end, a comma before KEY= or the end, a newline before KEY=? */
static bool ends_value(const char *p)
{
	const char *q = p + 1;

	if (*p == '\0')
		return true;
	if (*p == '\n')
		return key_end(q) != NULL;
	if (*p != ',' &&
	    *p != ';') /* shlex makes any lone character a separator; ; is seen in files */
		return false;
	while (is_blank(*q) || *q == ',')
		q++;
	return *q == '\0' || key_end(q) != NULL;
}

static bool has_closing(const char *p)
{
	char quote = *p++;

	for (; *p && *p != quote; p++)
		if (quote == '"' && *p == '\\' && p[1])
			p++;
	return *p == quote;
}

static void read_value(struct env_reader *r, struct buf *value)
{
	size_t keep = 0; /* quoted blanks at the end stay */
	bool quoted = false;

	while (*r->p == ' ' || *r->p == '\t')
		r->p++;
	while (!ends_value(r->p)) {
		if ((*r->p == '"' || *r->p == '\'') && has_closing(r->p)) {
			r->odd |= value->len > 0 || quoted;
			read_quoted(&r->p, value);
			keep = value->len;
			quoted = true;
			continue;
		}
		/* Blanks may stand around a value; inside an unquoted one supervisord stops reading. */
		if (!is_blank(*r->p))
			r->odd |= !is_word_char(*r->p) || quoted ||
				  (value->len > keep && is_blank(value->p[value->len - 1]));
		buf_addc(value, *r->p++);
	}
	while (value->len > keep && is_blank(value->p[value->len - 1]))
		value->p[--value->len] = '\0';
	r->odd |= value->len == 0 && !quoted;
}

static void put(struct words *ret, const char *key, size_t key_len, const struct buf *value)
{
	AUTO_BUF pair = BUF_INIT;

	buf_add(&pair, key, key_len);
	buf_addc(&pair, '=');
	buf_add(&pair, value->p ? value->p : "", value->len);
	for (size_t i = 0; i < ret->n; i++) {
		if (strncmp(ret->v[i], pair.p, key_len + 1) != 0)
			continue;
		free(ret->v[i]);
		ret->v[i] = xbuf_take(&pair);
		return;
	}
	words_add(ret, pair.p, pair.len);
}

/* One KEY=value at r->p; the value's separator is left for the caller. */
static int read_pair(struct env_reader *r, struct err *err)
{
	const char *start = r->p, *equals = key_end(r->p), *end = equals;
	AUTO_BUF value = BUF_INIT;
	AUTO_FREE char *key = NULL;

	if (equals == NULL)
		return err_set(err, -EINVAL, "'%.40s' is not KEY=value (such as A=\"1\",B=\"2\")",
			       start);
	while (is_blank(end[-1]))
		end--;
	r->odd = *start == '"' || *start == '\'';
	if (r->odd) {
		start++;
		end--;
	}
	key = xstrndup(start, (size_t)(end - start));
	r->p = equals + 1;
	read_value(r, &value);
	if (r->odd)
		warn(r, key, "supervisord would read this differently: write KEY=\"value\"");
	if (*r->p == '\n')
		warn(r, key, "supervisord needs a comma at the end of the line");
	put(r->ret, key, strlen(key), &value);
	return 0;
}

int split_environment(const char *text, struct words *ret, split_warning on_warning, void *ctx,
		      struct err *err)
{
	struct env_reader r = { .p = text, .ret = ret, .on_warning = on_warning, .ctx = ctx };

	for (;;) {
		int e;

		while (is_blank(*r.p) || *r.p == ',' || *r.p == ';')
			r.p++;
		if (*r.p == '\0')
			return 0;
		e = read_pair(&r, err);
		if (e < 0)
			return e;
	}
}
