/*
 * The INI dialect: each row is a text and what is read of it, written as "[section]key=value;" with \n shown as |.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "conf/ini.h"

struct result {
	struct buf text;
	struct conf conf;
	struct store *store;
};

static void add_section(struct buf *b, const struct ini_section *s)
{
	buf_addf(b, "[%s]", s->name);
	for (const struct ini_entry *e = s->first; e; e = e->next) {
		buf_addf(b, "%s=", e->key);
		for (const char *c = e->value; *c; c++)
			buf_addc(b, *c == '\n' ? '|' : *c);
		buf_addc(b, ';');
	}
}

static struct result read_text(const char *text, size_t len)
{
	struct result r = { .text = BUF_INIT, .store = store_new() };
	struct report report = { .store = r.store };
	struct ini ini;

	ini_init(&ini);
	ini_add(&ini, store_str(r.store, "f"), text, len, &report);
	if (ini.defaults)
		add_section(&r.text, ini.defaults);
	for (struct ini_section *s = ini.sections; s; s = s->hh.next)
		add_section(&r.text, s);
	ini_fini(&ini);
	report_finish(&report, &r.conf);
	return r;
}

static void drop(struct result *r)
{
	buf_fini(&r->text);
	free(r->conf.messages);
	store_free(r->store);
}

static const struct {
	const char *claim, *text, *want;
} reads[] = {
	{ "a comment starts at ; or # after a blank", "[a]\nk=v ;c\nl=v\t;c\nm=v #c\n",
	  "[a]k=v;l=v;m=v;" },
	{ "without the blank it is text", "[a]\nk=v;c\nl=v#c\nm=;c\nn=#c\no=http://x/#f\n",
	  "[a]k=v;c;l=v#c;m=;c;n=#c;o=http://x/#f;" },
	{ "only a comment leaves an empty value", "[a]\nk= ;c\n", "[a]k=;" },
	{ "quotes of other keys do not protect", "[a]\nk='x ; y'\n", "[a]k='x;" },
	{ "quotes of command protect", "[a]\ncommand=sh -c 'x ; y # z' ; c\n",
	  "[a]command=sh -c 'x ; y # z';" },
	{ "quotes of environment protect", "[a]\nenvironment=A=\"x ; y\",B=1 ; c\n",
	  "[a]environment=A=\"x ; y\",B=1;" },
	{ "an escaped quote does not end a quote", "[a]\ncommand=a \"b\\\" ; c\" ;d\n",
	  "[a]command=a \"b\\\" ; c\";" },
	{ "an apostrophe that never closes protects nothing", "[a]\ncommand=it's ; c\nk=1\n",
	  "[a]command=it's;k=1;" },
	{ "a quote may span lines", "[a]\ncommand=sh -c 'x\n  # y ; z\n  w'\n",
	  "[a]command=sh -c 'x|# y ; z|w';" },
	{ "= or :, whichever is first", "[a]\nk: v\nl = v\nm=a:b\nn: a=b\n",
	  "[a]k=v;l=v;m=a:b;n=a=b;" },
	{ "keys are lower-cased, with blanks and dots", "[a]\nMy Key.X = V\n", "[a]my key.x=V;" },
	{ "sections keep case and blanks", "[ A b ]\n[B]\n", "[ A b ][B]" },
	{ "text after the bracket is ignored", "[a] ; note\nk=1\n[b] junk\nl=1\n",
	  "[a]k=1;[b]l=1;" },
	{ "full-line comments may be indented", "; x\n[a]\n  # y\nk=1\n\t; z\n", "[a]k=1;" },
	{ "a deeper line continues", "[a]\nk=1\n b=2\n  [c]\n; x\n\n   ;y\n d\nl=1\n",
	  "[a]k=1|b=2|[c]||d;l=1;" },
	{ "comments are cut in continuations too", "[a]\nk=1 ;x\n  2 ;y\n", "[a]k=1|2;" },
	{ "an indented first key is a key", "[a]\n  k=1\n  l=2\n   3\n m=4\n",
	  "[a]k=1;l=2|3;m=4;" },
	{ "blank lines at the end go", "[a]\nk=1\n\n\n[b]\n", "[a]k=1;[b]" },
	{ "a value may start on the next line", "[a]\nk=\n  x\n  y\n", "[a]k=|x|y;" },
	{ "a backslash at the end is text", "[a]\nk=a\\\nl=b\n", "[a]k=a\\;l=b;" },
	{ "duplicate sections are merged", "[a]\nk=1\n[b]\n[a]\nk=2\n", "[a]k=1;k=2;[b]" },
	{ "DEFAULT is apart", "[DEFAULT]\nk=1\n[a]\n", "[DEFAULT]k=1;[a]" },
	{ "CRLF and lone CR end lines", "[a]\r\nk=1\r\nl=2\rm=3", "[a]k=1;l=2;m=3;" },
	{ "a byte order mark is accepted", "\xef\xbb\xbf[a]\nk=1\n", "[a]k=1;" },
	{ "quotes are kept", "[a]\nk=\"v\"\n", "[a]k=\"v\";" },
	{ "the name ends at the last bracket", "[a]b]\n", "[a]b]" },
};

Test(ini, reads_the_dialect)
{
	for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
		struct result r = read_text(reads[i].text, strlen(reads[i].text));

		cr_expect_str_eq(r.text.p, reads[i].want, "%s: %s, not %s", reads[i].claim,
				 r.text.p, reads[i].want);
		cr_expect_eq(r.conf.n_errors, 0, "%s", reads[i].claim);
		drop(&r);
	}
}

static const struct {
	const char *claim, *text;
	int lines[4]; /* of the errors, 0 ends */
} errors[] = {
	{ "a key without a delimiter", "[a]\nk\nl=1\nm\n", { 2, 4 } },
	{ "text before a section", "k=1\n[a]\n", { 1 } },
	{ "much of it is told once", "k=1\nl\n\n m\n=n\n[a]\nk\n", { 1, 7 } },
	{ "an open bracket", "[a\nk=1\n", { 1, 2 } },
	{ "a section without a name", "[]\n[a]\nk=1\n", { 1 } },
	{ "a value without a key", "[a]\n\n=1\n", { 3 } },
	{ "rem lines", "[a]\nrem x\n", { 2 } },
	{ "a comment before the delimiter", "[a]\nk ; =1\n", { 2 } },
};

Test(ini, reports_each_mistake_with_its_line)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct result r = read_text(errors[i].text, strlen(errors[i].text));
		size_t n = 0;

		for (; errors[i].lines[n]; n++)
			cr_expect(n < r.conf.n_messages &&
					  r.conf.messages[n].line == errors[i].lines[n],
				  "%s: line %d", errors[i].claim, errors[i].lines[n]);
		cr_expect_eq(r.conf.n_errors, n, "%s: %zu errors", errors[i].claim,
			     r.conf.n_errors);
		drop(&r);
	}
}

Test(ini, a_nul_byte_is_an_error)
{
	static const char text[] = "[a]\nk=1\0 2\nl=3\n";
	struct result r = read_text(text, sizeof(text) - 1);

	cr_assert_eq(r.conf.n_errors, 1);
	cr_expect_eq(r.conf.messages[0].line, 2);
	cr_expect_str_eq(r.text.p, "[a]l=3;");
	drop(&r);
}

Test(ini, values_and_names_of_any_length_arrive_whole)
{
	static const size_t lengths[] = { 150, 199, 200, 300, 70000, 1 << 20 };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t n = lengths[i];
		struct buf text = BUF_INIT, want = BUF_INIT;
		struct result r;
		char *x = malloc(n + 1);

		memset(x, 'x', n);
		x[n] = '\0';
		buf_addf(&text, "[program:%.5000s]\n%.5000s = %s\nlast=%s\n", x, x, x, x);
		buf_addf(&want, "[program:%.5000s]%.5000s=%s;last=%s;", x, x, x, x);
		r = read_text(text.p, text.len);
		cr_expect(strcmp(r.text.p, want.p) == 0, "%zu bytes", n);
		drop(&r);
		buf_fini(&text);
		buf_fini(&want);
		free(x);
	}
}

Test(ini, a_value_over_the_limit_is_an_error)
{
	size_t n = (1 << 20) + 1;
	char *text = malloc(n + 20);
	struct result r;

	memcpy(text, "[a]\nk=", 6);
	memset(text + 6, 'x', n);
	strcpy(text + 6 + n, "\nl=1\n");
	r = read_text(text, strlen(text));
	cr_expect_eq(r.conf.n_errors, 1);
	cr_expect_str_eq(r.text.p, "[a]k=;l=1;");
	drop(&r);
	free(text);
}

Test(ini, warns_once_where_supervisord_would_have_cut)
{
	static const char text[] = "[a]\ncommand=sh -c 'x ; y ; z'\n  'p # q'\ndirectory='a ; b'\n";
	struct result r = read_text(text, strlen(text));

	cr_assert_eq(r.conf.n_messages, 1);
	cr_expect_eq(r.conf.messages[0].level, CONF_WARNING);
	cr_expect_eq(r.conf.messages[0].line, 2);
	drop(&r);
}
