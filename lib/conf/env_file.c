/*
 * env_file=: a dotenv file, as docker and foreman write them: KEY=value lines, export, quotes, # comments.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "conf/split.h"

struct env_text {
	const char *p;
	int line;
	const char *path;
};

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '.' || c == '-';
}

static void skip_blanks(struct env_text *t)
{
	while (*t->p == ' ' || *t->p == '\t' || *t->p == '\r')
		t->p++;
}

/* A quoted value, which may span lines; *p is at the quote. */
static int read_quoted(struct env_text *t, struct buf *value, struct err *err)
{
	static const char escapes[] = "n\nt\tr\r\"\"\\\\$$";
	char quote = *t->p++;
	int start = t->line;

	for (; *t->p != quote; t->p++) {
		const char *e = NULL;

		if (*t->p == '\0')
			return err_set(err, -EINVAL, "%s:%d: the quote is not closed", t->path,
				       start);
		t->line += *t->p == '\n';
		if (quote == '"' && *t->p == '\\' && t->p[1])
			for (e = escapes; *e && *e != t->p[1]; e += 2)
				;
		if (e && *e) {
			buf_addc(value, e[1]);
			t->p++;
		} else {
			buf_addc(value, *t->p);
		}
	}
	t->p++;
	skip_blanks(t);
	if (*t->p && *t->p != '\n' && *t->p != '#')
		return err_set(err, -EINVAL, "%s:%d: text after the closing quote", t->path,
			       t->line);
	t->p += strcspn(t->p, "\n");
	return 0;
}

/* To the end of the line or a # after a blank; outer blanks go. */
static void read_plain(struct env_text *t, struct buf *value)
{
	size_t n = 0;

	while (t->p[n] && t->p[n] != '\n' &&
	       !(t->p[n] == '#' && n > 0 && (t->p[n - 1] == ' ' || t->p[n - 1] == '\t')))
		n++;
	buf_add(value, t->p, n);
	while (value->len > 0 && strchr(" \t\r", value->p[value->len - 1]))
		value->p[--value->len] = '\0';
	t->p += strcspn(t->p, "\n");
}

static void put(struct words *vars, const struct buf *pair, size_t key_len)
{
	for (size_t i = 0; i < vars->n; i++) {
		if (strncmp(vars->v[i], pair->p, key_len + 1) != 0)
			continue;
		free(vars->v[i]);
		vars->v[i] = xstrdup(pair->p);
		return;
	}
	words_add(vars, pair->p, pair->len);
}

/* A bare KEY means, as for docker, what we have of it ourselves; nothing when we have none. */
static void take_own(struct words *vars, struct buf *pair, size_t key_len)
{
	AUTO_FREE char *key = xstrndup(pair->p, key_len);
	const char *value = getenv(key);

	if (value == NULL)
		return;
	buf_adds(pair, value);
	put(vars, pair, key_len);
}

static int read_variable(struct env_text *t, struct words *vars, struct err *err)
{
	AUTO_BUF pair = BUF_INIT;
	size_t key_len = 0;
	int r = 0;

	if (strncmp(t->p, "export", 6) == 0 && (t->p[6] == ' ' || t->p[6] == '\t')) {
		t->p += 6;
		skip_blanks(t);
	}
	while (is_name_char(t->p[key_len]))
		key_len++;
	buf_add(&pair, t->p, key_len);
	buf_addc(&pair, '=');
	t->p += key_len;
	skip_blanks(t);
	if (key_len > 0 && strchr("\n#", *t->p) != NULL) { /* the end of the text too */
		take_own(vars, &pair, key_len);
		return 0;
	}
	if (key_len == 0 || *t->p != '=')
		return err_set(err, -EINVAL, "%s:%d: not a KEY=value line", t->path, t->line);
	t->p++;
	skip_blanks(t);
	if (*t->p == '"' || *t->p == '\'')
		r = read_quoted(t, &pair, err);
	else
		read_plain(t, &pair);
	if (r == 0)
		put(vars, &pair, key_len);
	return r;
}

int conf_read_env_file(const char *path, char ***ret_environment, struct err *err)
{
	AUTO_FREE char *text = NULL;
	struct words vars = WORDS_INIT;
	struct env_text t = { .line = 1, .path = path };
	size_t len;
	int r = fd_read_file(path, CONF_VALUE_MAX, &text, &len);

	if (r < 0)
		return err_set(err, r, "%s: %s", path,
			       r == -EFBIG ? "is longer than 1 MiB" : strerror(-r));
	if (strlen(text) != len)
		return err_set(err, -EINVAL, "%s: holds a NUL byte", path);
	t.p = text + (strncmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
	while (r == 0) {
		skip_blanks(&t);
		if (*t.p == '#')
			t.p += strcspn(t.p, "\n");
		if (*t.p == '\0')
			break;
		if (*t.p == '\n') {
			t.p++;
			t.line++;
		} else {
			r = read_variable(&t, &vars, err);
		}
	}
	if (r < 0) {
		words_fini(&vars);
		return r;
	}
	vars.v = xrealloc(vars.v, (vars.n + 1) * sizeof(*vars.v));
	vars.v[vars.n] = NULL;
	*ret_environment = vars.v;
	return 0;
}

void conf_strv_free(char **strv)
{
	for (char **p = strv; p && *p; p++)
		free(*p);
	free(strv);
}
