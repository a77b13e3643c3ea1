/*
 * The words in which programs speak of objects.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "track/track.h"

/* What is read of one line, as text: "verb type name", or "bad". */
static char *read_one(const char *line, size_t n)
{
	static const char *const verbs[] = {
		[TRACK_REGISTER] = "register", [TRACK_UNREGISTER] = "unregister",
		[TRACK_ATTEMPT] = "attempt",   [TRACK_RETRACT] = "retract",
		[TRACK_PROBE] = "probe",       [TRACK_SLATE] = "slate"
	};
	AUTO_FREE char *copy = malloc(n + 1); /* not NUL-terminated where it would be seen */
	char *p = copy;
	struct track_word w;
	struct buf b = BUF_INIT;
	int r;

	memcpy(copy, line, n);
	r = track_word_next(&p, &n, &w);
	cr_expect_eq(n, 0, "all of it is taken");
	if (r == -EBADMSG)
		return strdup("bad");
	cr_assert_eq(r, 1);
	cr_expect_eq(w.name_length, strlen(w.name));
	buf_addf(&b, "%s %s %s", verbs[w.verb],
		 w.type < N_TRACK_TYPES ? track_type_word(w.type) : "-", w.name);
	return buf_take(&b);
}

Test(track_word, a_line_is_a_verb_a_name_and_a_type)
{
	static const struct {
		const char *line, *is;
	} rows[] = {
		{ "REGISTER:/a:semaphore", "register semaphore /a" },
		{ "REGISTER:/a:semaphore\n", "register semaphore /a" },
		{ "UNREGISTER:/a-b_c.~9:shared_memory\n", "unregister shared_memory /a-b_c.~9" },
		{ "ATTEMPT:/a:semaphore\n", "attempt semaphore /a" },
		{ "RETRACT:/a/b:shared_memory\n", "retract shared_memory /a/b" },
		{ "ATTEMPT:0:noop\n", "bad" },
		{ "PROBE:0:noop\n", "probe - 0" },
		{ "PROBE:0", "bad" },
		{ "PROBE:1:noop\n", "bad" },
		{ "SLATE:0:noop\n", "slate - 0" },
		{ "SLATE:799:noop\n", "slate - 799" },
		{ "SLATE::noop\n", "bad" },
		{ "SLATE:x:noop\n", "bad" },
		{ "SLATE:1:file\n", "bad" },
		{ "REGISTER:k0052e2c1:sysv_shm\n", "register sysv_shm k0052e2c1" },
		{ "REGISTER:%6B0052e2c1:sysv_msg\n", "register sysv_msg k0052e2c1" },
		{ "REGISTER:32769:sysv_sem\n", "register sysv_sem 32769" },
		{ "REGISTER:2147483647:sysv_msg\n", "register sysv_msg 2147483647" },
		{ "REGISTER:2147483648:sysv_msg\n", "bad" },
		{ "REGISTER:0:sysv_msg\n", "register sysv_msg 0" },
		{ "REGISTER:-1:sysv_msg\n", "bad" },
		{ "REGISTER:007:sysv_msg\n", "bad" },
		{ "REGISTER::sysv_msg\n", "bad" },
		{ "REGISTER:1x:sysv_msg\n", "bad" },
		/* Colons, newlines, %, UTF-8, bytes that are none. */
		{ "REGISTER:/a%3Ab:semaphore\n", "register semaphore /a:b" },
		{ "REGISTER:/a:b:semaphore\n", "register semaphore /a:b" },
		{ "REGISTER:/a%0Ab:semaphore\n", "register semaphore /a\nb" },
		{ "REGISTER:/%25:semaphore\n", "register semaphore /%" },
		{ "REGISTER:/%c3%A4:semaphore\n", "register semaphore /\xc3\xa4" },
		{ "REGISTER:/%FF:semaphore\n", "register semaphore /\xff" },
		{ "REGISTER:/\xff\xfe:semaphore\n", "register semaphore /\xff\xfe" },
		{ "REGISTER:/%00:semaphore\n", "bad" },
		{ "REGISTER:/%4:semaphore\n", "bad" },
		{ "REGISTER:/%:semaphore\n", "bad" },
		{ "REGISTER:/%g0:semaphore\n", "bad" },
		{ "REGISTER:/%0", "bad" },
		/* One spelling of each. */
		{ "REGISTER:a:semaphore\n", "register semaphore /a" },
		{ "REGISTER:///a:semaphore\n", "register semaphore /a" },
		{ "REGISTER:a/b//c/:shared_memory\n", "register shared_memory /a/b/c" },
		{ "REGISTER:/a/b:semaphore\n", "bad" },
		{ "REGISTER:/a/b:mqueue\n", "bad" },
		{ "REGISTER:/a/:mqueue\n", "register mqueue /a" },
		{ "REGISTER:/../etc/passwd:shared_memory\n", "bad" },
		{ "REGISTER:..:semaphore\n", "bad" },
		{ "REGISTER:/a/./b:file\n", "bad" },
		{ "REGISTER:/a/..:folder\n", "bad" },
		{ "REGISTER:/...:file\n", "register file /..." },
		{ "REGISTER:/.a/..b:file\n", "register file /.a/..b" },
		{ "REGISTER:a:file\n", "bad" },
		{ "REGISTER:/:folder\n", "bad" },
		{ "REGISTER:///:shared_memory\n", "bad" },
		/* Nonsense. */
		{ "\n", "bad" },
		{ ":\n", "bad" },
		{ "REGISTER\n", "bad" },
		{ "REGISTER:/a\n", "bad" },
		{ "REGISTER:/a:\n", "bad" },
		{ "REGISTER::semaphore\n", "bad" },
		{ "REGISTER:/a:semaphores\n", "bad" },
		{ "register:/a:semaphore\n", "bad" },
		{ "REGISTER:/a:semaphore\r\n", "bad" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_FREE char *got = read_one(rows[i].line, strlen(rows[i].line));

		cr_expect_str_eq(got, rows[i].is, "%s", rows[i].line);
	}
}

Test(track_word, a_bad_line_does_not_hide_those_after_it)
{
	char text[] = "REGISTER:/a:semaphore\nxx\n\nPROBE:0:noop\nUNREGISTER:b:semaphore";
	static const int is[] = { 1, -EBADMSG, -EBADMSG, 1, 1, 0, 0 };
	char *p = text;
	size_t n = strlen(text);
	struct track_word w;

	for (size_t i = 0; i < ARRAY_SIZE(is); i++)
		cr_expect_eq(track_word_next(&p, &n, &w), is[i], "line %zu", i);
	cr_expect_str_eq(w.name, "/b");
	cr_expect_eq(w.verb, TRACK_UNREGISTER);
}

Test(track_word, a_name_may_be_so_long_and_not_longer)
{
	for (size_t extra = 0; extra < 2; extra++) {
		AUTO_BUF name = BUF_INIT, line = BUF_INIT;
		AUTO_FREE char *got = NULL;

		buf_addc(&name, '/');
		for (size_t i = 1; i < TRACK_NAME_MAX + extra; i++)
			buf_addc(&name, '\x01');
		track_word_encode(TRACK_REGISTER, TRACK_FILE, name.p, &line);
		got = read_one(line.p, line.len);
		if (extra == 0)
			cr_expect_str_eq(strrchr(got, ' ') + 1, name.p);
		else
			cr_expect_str_eq(got, "bad");
	}
}

Test(track_word, what_is_encoded_is_read_again)
{
	for (int t = 0; t < N_TRACK_TYPES; t++)
		for (int c = 1; c < 256; c++) {
			char name[] = { '/', 'x', (char)c, 'y', '\0' };
			AUTO_BUF b = BUF_INIT;
			char *p;
			size_t n;
			struct track_word w;

			if (track_type_is_sysv((enum track_type)t) || c == '/')
				strcpy(name, track_type_is_sysv((enum track_type)t) ? "17" : "/z");
			track_word_encode(TRACK_UNREGISTER, (enum track_type)t, name, &b);
			cr_assert_eq(strspn(b.p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuv"
						 "wxyz0123456789-._~/%:\n"),
				     b.len);
			p = b.p;
			n = b.len;
			cr_assert_eq(track_word_next(&p, &n, &w), 1);
			cr_expect_str_eq(w.name, name);
			cr_expect_eq(w.type, (enum track_type)t);
			cr_expect_eq(w.verb, TRACK_UNREGISTER);
		}
}

Test(track_word, each_type_has_a_word)
{
	for (int t = 0; t < N_TRACK_TYPES; t++) {
		const char *word = track_type_word((enum track_type)t);
		enum track_type back;

		cr_assert(track_type_parse(word, strlen(word), &back));
		cr_expect_eq(back, (enum track_type)t);
		cr_expect(!track_type_parse(word, strlen(word) - 1, &back));
		cr_expect_gt(strlen(track_type_people((enum track_type)t)), 0);
	}
}
