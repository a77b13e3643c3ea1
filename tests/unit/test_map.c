/*
 * The parts of a map that need no process: placeholders, cutting the input, the joblog, the file for outputs.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "map/input.h"
#include "map/joblog.h"
#include "map/spill.h"
#include "map/template.h"

Test(map, placeholders)
{
	static const struct {
		const char *arg, *task, *want;
		bool has;
	} rows[] = {
		{ "{}", "a b", "a b", true },
		{ "x{}y{}", "1", "x1y1", true },
		{ "{.}", "/a.b/c.tar.gz", "/a.b/c.tar", true },
		{ "{.}", "/a.b/c", "/a.b/c", true },
		{ "{.}", ".profile", ".profile", true },
		{ "{/}", "/a.b/c.gz", "c.gz", true },
		{ "{/}", "c/", "", true },
		{ "{//}", "/a/b", "/a", true },
		{ "{//}", "/a", "/", true },
		{ "{//}", "a", ".", true },
		{ "{/.}", "/a.b/c.tar.gz", "c.tar", true },
		{ "{#}-{%}", "x", "77-3", true },
		{ "{x} { {} }", "1", "{x} { 1 }", true },
		{ "{{}}", "1", "{1}", true },
		{ "{x", "1", "{x", false },
		{ "", "1", "", false },
		{ "{///}", "1", "{///}", false },
	};
	struct template_room room = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *argv[] = { (char *)rows[i].arg, (char *)"end", NULL };
		const struct template_task task = { rows[i].task, strlen(rows[i].task), 77, 3 };

		template_expand(argv, &task, &room);
		cr_assert_str_eq(room.argv[0], rows[i].want, "%s", rows[i].arg);
		cr_assert_str_eq(room.argv[1], "end");
		cr_assert_null(room.argv[2]);
		cr_assert_eq(template_has_placeholder(rows[i].arg), rows[i].has, "%s", rows[i].arg);
	}
	template_room_fini(&room);
}

/* No argument can have a NUL in it: what is behind one is lost, and the arguments behind that are not. */
Test(map, task_with_nul)
{
	char *argv[] = { (char *)"<{}>", (char *)"{#}", NULL };
	const struct template_task task = { "a\0b", 3, 5, 1 };
	struct template_room room = { 0 };

	template_expand(argv, &task, &room);
	cr_assert_str_eq(room.argv[0], "<a>");
	cr_assert_str_eq(room.argv[1], "5");
	template_room_fini(&room);
}

static void cut(struct input *in, const char *text, size_t n, char delimiter, bool frame)
{
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	cr_assert_eq(write(ends[1], text, n), (ssize_t)n);
	close(ends[1]);
	input_init(in, ends[0], delimiter, frame);
}

Test(map, input_is_cut_at_lines)
{
	AUTO_BUF b = BUF_INIT;
	struct input in;
	uint32_t n;

	cut(&in, "a\n\nccc\nd", 8, '\n', false);
	cr_assert_eq(input_take(&in, 2, 100, &b, &n), 0);
	cr_assert_eq(n, 2);
	cr_assert_str_eq(b.p, "a\n\n");
	buf_reset(&b);
	/* The first one may be longer than what is asked for. */
	cr_assert_eq(input_take(&in, 9, 1, &b, &n), 0);
	cr_assert_eq(n, 1);
	cr_assert_str_eq(b.p, "ccc\n");
	buf_reset(&b);
	cr_assert_not(input_is_over(&in));
	cr_assert_eq(input_take(&in, 9, 100, &b, &n), 0);
	cr_assert_str_eq(b.p, "d\n");
	cr_assert_eq(input_take(&in, 9, 100, &b, &n), 0);
	cr_assert_eq(n, 0);
	cr_assert(input_is_over(&in));
	close(in.fd);
	input_fini(&in);
}

Test(map, input_is_cut_at_lengths)
{
	AUTO_BUF b = BUF_INIT;
	struct input in;
	uint32_t n;

	cut(&in, "\0\0\0\2\n\n\0\0\0\0\0\0\0\3xy", 16, '\n', true);
	cr_assert_eq(input_take(&in, 9, 100, &b, &n), 0);
	cr_assert_eq(n, 2);
	cr_assert_eq(b.len, 10);
	cr_assert_eq(input_take(&in, 9, 100, &b, &n), -EBADMSG);
	close(in.fd);
	input_fini(&in);
	cut(&in, "\xff\0\0\0", 4, '\n', true);
	cr_assert_eq(input_take(&in, 9, 100, &b, &n), -EMSGSIZE);
	close(in.fd);
	input_fini(&in);
}

Test(map, joblog_lists_the_last_of_each)
{
	static const char text[] =
		"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
		"2\t:\t1.5\t     0.001\t0\t0\t0\t0\ttwo\n"
		"1\t:\t1.5\t     0.001\t0\t0\t1\t0\tone\n"
		"nonsense\n"
		"1\t:\t1.5\t     0.001\t0\t0\t0\t0\tone\n"
		"3\t:\t1.5\t     0.001\t0\t0\t0\t9\tthree\n"
		"4\t:\t1.5";
	struct joblog j = { .fd = -1 };
	size_t good;

	joblog_read(&j, text, strlen(text), &good);
	cr_assert_eq(good, strlen(text) - strlen("4\t:\t1.5"));
	cr_assert_eq(j.n_done, 3);
	cr_assert_eq(j.n_bad, 1);
	cr_assert(joblog_find(&j, 1)->good);
	cr_assert_eq(joblog_find(&j, 2)->hash, joblog_hash("two", 3));
	cr_assert_not(joblog_find(&j, 3)->good);
	cr_assert_null(joblog_find(&j, 4));
	joblog_fini(&j);
}

Test(map, spilled_is_read_back)
{
	struct spill s = SPILL_INIT;
	struct extent a, b;
	char in[8];

	cr_assert_eq(spill_put(&s, "abcdef", 6, &a), 0);
	cr_assert_eq(spill_put(&s, "xyz", 3, &b), 0);
	cr_assert_eq(spill_take(&s, &a, in, 4), 0);
	cr_assert_eq(memcmp(in, "abcd", 4), 0);
	cr_assert_eq(spill_take(&s, &b, in, 3), 0);
	cr_assert_eq(memcmp(in, "xyz", 3), 0);
	cr_assert_neq(s.end, 0);
	spill_drop(&s, &a);
	cr_assert_eq(s.end, 0, "all was read: the file begins anew");
	spill_fini(&s);
}
