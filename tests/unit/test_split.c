/*
 * command= and environment=: words are shown in <>.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/split.h"

static void show(struct buf *b, const struct words *w)
{
	buf_adds(b, "");
	for (size_t i = 0; i < w->n; i++)
		buf_addf(b, "<%s>", w->v[i]);
}

static const struct {
	const char *text, *want, *error;
} commands[] = {
	{ "/bin/cat", "</bin/cat>", NULL },
	{ "  a  b\tc\nd  ", "<a><b><c><d>", NULL },
	{ "sh -c 'echo $HOME; \"x\"'", "<sh><-c><echo $HOME; \"x\">", NULL },
	{ "a \"b \\\" \\\\ \\n\"", "<a><b \" \\ \\n>", NULL },
	{ "a\\ b \\'c", "<a b><'c>", NULL },
	{ "a''b \"\"", "<ab><>", NULL },
	{ "a # b", "<a><#><b>", NULL },
	{ "--x=\"a b\"c", "<--x=a bc>", NULL },
	{ "", "", NULL },
	{ " \n ", "", NULL },
	{ "a 'b", "<a>", "No closing quotation" },
	{ "a \"b\\\"", "<a>", "No closing quotation" },
	{ "a b\\", "<a>", "No escaped character" },
};

Test(split, commands_as_shlex)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		struct words words = WORDS_INIT;
		struct err err = ERR_INIT;
		struct buf b = BUF_INIT;
		int r = split_command(commands[i].text, &words, &err);

		show(&b, &words);
		cr_expect_str_eq(b.p, commands[i].want, "%s: %s", commands[i].text, b.p);
		cr_expect_eq(r < 0, commands[i].error != NULL);
		cr_expect_str_eq(err.text, commands[i].error ? commands[i].error : "");
		buf_fini(&b);
		words_fini(&words);
	}
}

static void count(void *ctx, const char *text)
{
	(void)text;
	(*(int *)ctx)++;
}

static const struct {
	const char *text, *want;
	int warnings;
} environments[] = {
	{ "A=\"1\",B=\"2\"", "<A=1><B=2>", 0 },
	{ "A=1,B=2", "<A=1><B=2>", 0 },
	{ "A=\"a,b\"", "<A=a,b>", 0 },
	{ "A=\"a=b\"", "<A=a=b>", 0 },
	{ "A='a,B=1'", "<A=a,B=1>", 0 },
	{ "A=\"x\" ,B=\"y\"", "<A=x><B=y>", 0 },
	{ "A=\"x\",", "<A=x>", 0 },
	{ "A=1,\n  B=2", "<A=1><B=2>", 0 },
	{ "A=\"\",B=1", "<A=><B=1>", 0 },
	{ "A=\"a\\\"b\"", "<A=a\"b>", 0 },
	{ "A = 1 , B = 2", "<A=1><B=2>", 0 },
	{ "A=1;B=2", "<A=1><B=2>", 0 },
	{ "A=/usr/bin:/bin", "<A=/usr/bin:/bin>", 0 },
	{ "A=1,A=2", "<A=2>", 0 },
	{ "A=\" x \"", "<A= x >", 0 },
	{ "", "", 0 },
	{ "A=", "<A=>", 1 },
	{ "A=,B=1", "<A=><B=1>", 1 },
	{ "A=a=b", "<A=a=b>", 1 },
	{ "A=a@b", "<A=a@b>", 1 },
	{ "A=foo*bar,B=1", "<A=foo*bar><B=1>", 1 },
	{ "A={x}", "<A={x}>", 1 },
	{ "A=1 B=2", "<A=1 B=2>", 1 },
	{ "A=1\nB=2", "<A=1><B=2>", 1 },
	{ "A=1,,B=2", "<A=1><B=2>", 0 },
	{ "A=#x", "<A=#x>", 1 },
	{ "A=$HOME", "<A=$HOME>", 1 },
	{ "A=~/x", "<A=~/x>", 1 },
	{ "A=a b", "<A=a b>", 1 },
	{ "A=http://x.com/?q=1,B=2", "<A=http://x.com/?q=1><B=2>", 1 },
	{ "A=x,y,B=2", "<A=x,y><B=2>", 1 },
	{ "\"A\"=\"1\",'B'=2", "<A=1><B=2>", 2 },
	{ "A=\"\"'q'", "<A=q>", 1 },
	{ "A=it's,B=2", "<A=it's><B=2>", 1 },
};

Test(split, environments_leniently_with_a_warning)
{
	for (size_t i = 0; i < sizeof(environments) / sizeof(environments[0]); i++) {
		struct words words = WORDS_INIT;
		struct err err = ERR_INIT;
		struct buf b = BUF_INIT;
		int warnings = 0;

		cr_expect_eq(split_environment(environments[i].text, &words, count, &warnings,
					       &err),
			     0, "%s: %s", environments[i].text, err.text);
		show(&b, &words);
		cr_expect_str_eq(b.p, environments[i].want, "%s: %s", environments[i].text, b.p);
		cr_expect_eq(warnings, environments[i].warnings, "%s: %d warnings",
			     environments[i].text, warnings);
		buf_fini(&b);
		words_fini(&words);
	}
}

Test(split, an_environment_without_a_key_is_an_error)
{
	static const char *const texts[] = { "A", "=1", "A=1,(B)=2,=3", "%x" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct words words = WORDS_INIT;
		struct err err = ERR_INIT;
		int r = split_environment(texts[i], &words, NULL, NULL, &err);

		if (i == 2) /* what is no key belongs to the value before it */
			cr_expect_eq(r, 0);
		else
			cr_expect(r < 0 && strstr(err.text, "is not KEY=value"), "%s", texts[i]);
		words_fini(&words);
	}
}
