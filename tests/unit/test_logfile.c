/*
 * Reading a log through its backups: the last lines, those since a time, and what came behind a file that moved.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mtime.h"
#include "sup/logfile.h"
#include "sup/logpick.h"

static char folder[] = "/tmp/mpsup-logfile.XXXXXX";

static void begin(void)
{
	setenv("TZ", "UTC", 1);
	cr_assert_not_null(mkdtemp(folder));
	cr_assert_eq(chdir(folder), 0);
}

static void remove_all(void)
{
	static const char *const names[] = { "log",	 "log.1",    "log.2",	 "log.3",   "log.4",
					     "log.1.gz", "log.2.gz", "log.3.gz", "log.4.gz" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(names[i]);
}

static void end(void)
{
	remove_all();
	cr_expect_eq(rmdir(folder), 0);
}

TestSuite(logfile, .init = begin, .fini = end);

static void put(const char *name, const char *text, size_t n)
{
	if (strstr(name, ".gz") != NULL) {
		gzFile to = gzopen(name, "wb");

		cr_assert_not_null(to);
		cr_assert(n == 0 || gzwrite(to, text, (unsigned)n) == (int)n);
		cr_assert_eq(gzclose(to), Z_OK);
	} else {
		int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

		cr_assert_geq(fd, 0);
		cr_assert_eq(fd_write_all(fd, text, n), 0);
		close(fd);
	}
}

static void puts_to(const char *name, const char *text)
{
	put(name, text, strlen(text));
}

static void read_rest(struct logfile *l, struct buf *b)
{
	char block[7]; /* less than a line */
	ssize_t n;

	while ((n = logfile_read(l, block, sizeof(block), NULL)) > 0)
		buf_add(b, block, (size_t)n);
	cr_assert_eq(n, 0);
}

static const char *last(long n, struct buf *b)
{
	struct err err = ERR_INIT;
	struct logfile l;

	buf_reset(b);
	buf_adds(b, "");
	cr_assert_eq(logfile_open(&l, "log", &err), 0);
	cr_assert_eq(logfile_start_last(&l, n, &err), 0, "%s", err.text);
	read_rest(&l, b);
	logfile_close(&l);
	return b->p;
}

/* The stream "1\n2\n...N\n", perhaps without its last newline, is cut at any two places into three files. */
Test(logfile, the_last_lines_are_the_same_wherever_the_files_were_cut)
{
	static const char *const names[][2] = { { "log.1", "log.2" },
						{ "log.1", "log.2.gz" },
						{ "log.1.gz", "log.2.gz" } };
	static const char whole[] = "1\n22\n\n4\n555\n6";

	for (size_t form = 0; form < ARRAY_SIZE(names); form++)
		for (size_t len = sizeof(whole) - 2; len < sizeof(whole); len++)
			for (size_t cut = 0; cut <= len * len; cut++) {
				size_t a = cut / len, c = cut % len;
				AUTO_BUF b = BUF_INIT;
				AUTO_BUF text = BUF_INIT;

				if (a > c)
					continue;
				buf_add(&text, whole, len);
				put(names[form][1], whole, a);
				put(names[form][0], whole + a, c - a);
				put("log", whole + c, len - c);
				cr_assert_str_eq(last(0, &b), "");
				cr_assert_str_eq(last(-1, &b), text.p);
				cr_assert_str_eq(last(100, &b), text.p);
				/* `len` without the 6 ends in a newline: one line less. */
				cr_assert_str_eq(last(1, &b),
						 text.p + (len == sizeof(whole) - 1 ? 12 : 8),
						 "form %zu, cut at %zu and %zu", form, a, c);
				cr_assert_str_eq(last(3, &b),
						 text.p + (len == sizeof(whole) - 1 ? 6 : 5));
				cr_assert_str_eq(last(5, &b),
						 text.p + (len == sizeof(whole) - 1 ? 2 : 0));
				remove_all();
			}
}

Test(logfile, lines_longer_than_a_block_and_many)
{
	static char text[300000];
	AUTO_BUF b = BUF_INIT;

	memset(text, 'x', sizeof(text));
	text[99999] = text[200000] = text[sizeof(text) - 1] = '\n';
	put("log", text, sizeof(text));
	last(1, &b);
	cr_expect_eq(b.len, sizeof(text) - 200001);
	last(2, &b);
	cr_expect_eq(b.len, sizeof(text) - 100000);
	last(3, &b);
	cr_expect_eq(b.len, sizeof(text));
	memset(text, '\n', sizeof(text));
	put("log", text, sizeof(text));
	for (size_t n = 65534; n <= 65538; n++) {
		last((long)n, &b);
		cr_expect_eq(b.len, n);
	}
}

Test(logfile, a_number_may_be_missing_while_files_move_up)
{
	AUTO_BUF b = BUF_INIT;

	puts_to("log", "4\n");
	puts_to("log.2", "3\n");
	puts_to("log.3.gz", "2\n");
	cr_expect_str_eq(last(-1, &b), "2\n3\n4\n");
	cr_assert_eq(rename("log.3.gz", "log.4.gz"), 0);
	cr_expect_str_eq(last(2, &b), "3\n4\n");
	cr_expect_str_eq(last(-1, &b), "2\n3\n4\n");
	/* One that was seen already has been moved on. */
	cr_assert_eq(link("log", "log.1"), 0);
	cr_expect_str_eq(last(-1, &b), "2\n3\n4\n");
}

Test(logfile, what_was_written_since_is_not_taken_for_a_backup)
{
	for (int compressed = 0; compressed <= 1; compressed++) {
		AUTO_CLOSE int fd = -1;
		AUTO_BUF b = BUF_INIT;
		struct logfile l, behind;

		puts_to("log.1", "1\n");
		puts_to("log", "2\n");
		fd = open("log.1", O_RDONLY | O_CLOEXEC);
		cr_assert_eq(logfile_open(&l, "log", NULL), 0);
		cr_assert_eq(logfile_open(&behind, "log", NULL), 0);
		cr_assert_eq(rename("log.1", "log.3"), 0);
		cr_assert_eq(rename("log", "log.2"), 0);
		puts_to(compressed ? "log.1.gz" : "log.1", "3\n");
		puts_to("log", "4\n");
		cr_assert_eq(logfile_start_last(&l, -1, NULL), 0);
		read_rest(&l, &b);
		cr_expect_str_eq(b.p, "1\n2\n");
		buf_reset(&b);
		cr_expect_eq(logfile_start_behind(&behind, fd), 1);
		read_rest(&behind, &b);
		cr_expect_str_eq(b.p, "2\n");
		logfile_close(&l);
		logfile_close(&behind);
		remove_all();
	}
}

Test(logfile, between_two_files_the_newest_is_the_first_backup)
{
	AUTO_CLOSE int fd = -1;
	AUTO_BUF b = BUF_INIT;
	struct logfile l;

	puts_to("log.2.gz", "1\n");
	puts_to("log.1", "2\n");
	fd = open("log.1", O_RDONLY | O_CLOEXEC);
	cr_expect_str_eq(last(-1, &b), "1\n2\n");
	cr_expect_str_eq(last(1, &b), "2\n");
	cr_assert_eq(logfile_open(&l, "log", NULL), 0);
	cr_expect_eq(logfile_start_behind(&l, fd), 1);
	buf_reset(&b);
	read_rest(&l, &b);
	cr_expect_eq(b.len, 0);
	logfile_close(&l);
	unlink("log.1");
	cr_expect_str_eq(last(0, &b), "");
	cr_expect_str_eq(last(1, &b), "1\n");
}

Test(logfile, what_is_no_file_is_not_opened)
{
	struct err err = ERR_INIT;
	struct logfile l;

	cr_expect_eq(logfile_open(&l, "log", &err), -ENOENT);
	cr_expect_str_eq(err.text, "log: No such file or directory");
	cr_assert_eq(mkfifo("log", 0600), 0);
	cr_expect_eq(logfile_open(&l, "log", &err), -EINVAL);
	cr_expect_str_eq(err.text, "log: not a regular file");
}

Test(logfile, a_backup_that_cannot_be_read_is_left_out)
{
	struct err err = ERR_INIT;
	AUTO_BUF b = BUF_INIT;
	struct logfile l;

	puts_to("log", "5\n");
	puts_to("log.1", "4\n");
	cr_assert_eq(mkfifo("log.2", 0600), 0);
	puts_to("log.3", "2\n");
	for (long n = -1; n < 100; n += 100) {
		buf_reset(&b);
		cr_assert_eq(logfile_open(&l, "log", &err), 0);
		cr_expect_eq(logfile_start_last(&l, n, &err), 1);
		cr_expect_str_eq(err.text, "log.2: not a regular file");
		read_rest(&l, &b);
		cr_expect_str_eq(b.p, "4\n5\n");
		logfile_close(&l);
	}
}

static void set_time(const char *name, int64_t s)
{
	const struct timespec times[2] = { { .tv_sec = s }, { .tv_sec = s } };

	cr_assert_eq(utimensat(AT_FDCWD, name, times, 0), 0);
}

/* Our file, which is "4\n", is where it is said to be, or removed; the others are as long. */
Test(logfile, behind_a_file_that_has_moved)
{
	static const struct {
		const char *ours;
		int64_t age; /* of what it was compressed to */
		int64_t own; /* our last change; that of the others is 1000 */
		int found;
		const char *rest;
	} rows[] = {
		{ "log.1", 0, 1000, 1, "9\n" },
		{ "log.3", 0, 1000, 1, "1\n2\n9\n" },
		{ "log.1.gz", 0, 1000, 1, "9\n" },
		{ "log.3.gz", 0, 1000, 1, "1\n2\n9\n" },
		{ "log.3.gz", -1, 1000, 0, "1\n2\n9\n" },
		{ NULL, 0, 1000, 0, "0\n1\n2\n9\n" },
		{ NULL, 0, 1001, 0, "9\n" },
	};
	static const char *const plain[] = { "log.1", "log.2", "log.3" };
	static const char *const packed[] = { "log.1.gz", "log.2.gz", "log.3.gz" };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		const char *ours = rows[i / 2].ours;
		const char *const *names = i % 2 ? packed : plain;
		AUTO_CLOSE int fd = -1;
		AUTO_BUF b = BUF_INIT;
		struct logfile l;

		puts_to("log.4", "4\n");
		set_time("log.4", rows[i / 2].own);
		fd = open("log.4", O_RDONLY | O_CLOEXEC);
		puts_to("log", "9\n");
		for (size_t k = 0; k < 3; k++)
			if (ours == NULL || ours[4] != names[k][4]) {
				puts_to(names[k], (const char *[]){ "2\n", "1\n", "0\n" }[k]);
				set_time(names[k], 1000);
			}
		if (ours != NULL && strlen(ours) > 5) {
			puts_to(ours, "4\n");
			set_time(ours, 1000 + rows[i / 2].age);
			unlink("log.4");
		} else if (ours != NULL) {
			cr_assert_eq(rename("log.4", ours), 0);
		} else {
			unlink("log.4");
		}
		cr_assert_eq(logfile_open(&l, "log", NULL), 0);
		cr_expect_eq(logfile_start_behind(&l, fd), rows[i / 2].found, "row %zu", i);
		read_rest(&l, &b);
		cr_expect_str_eq(b.p, rows[i / 2].rest, "row %zu: '%s'", i, b.p);
		logfile_close(&l);
		remove_all();
	}
}

/* ------------------------------------------------------------------------------------------------ since a time */

static void on_line(const char *line, size_t n, void *user)
{
	struct buf *b = user;

	buf_add(b, line, n);
	buf_addc(b, '|');
}

static const char *picked(long n, int64_t since_s, bool to_the_end, struct buf *b)
{
	const struct logpick pick = { n, since_s * MPS_NS_PER_S, to_the_end };
	struct err err = ERR_INIT;
	struct lines lines = { 0 };
	struct logfile l;

	buf_reset(b);
	buf_adds(b, "");
	cr_assert_eq(logfile_open(&l, "log", &err), 0);
	cr_assert_eq(logpick_run(&pick, &l, &lines, on_line, b, &err), 0, "%s", err.text);
	if (lines.held.len > 0)
		buf_addf(b, "%s...", lines.held.p);
	lines_fini(&lines);
	logfile_close(&l);
	return b->p;
}

#define T0 1772366400 /* 2026-03-01 12:00:00 */

Test(logfile, lines_have_the_time_that_they_begin_with_or_that_of_the_line_before)
{
	AUTO_BUF b = BUF_INIT;

	puts_to("log.1", "of a\n2026-03-01 12:00:00 b\nof b\n");
	puts_to("log", "of b too\n2026-03-01 12:00:10,5 c\nof c\n2026-03-01T12:00:20Z d\nof d");
	cr_expect_str_eq(picked(-1, T0 - 5, true, &b),
			 "of a|2026-03-01 12:00:00 b|of b|of b too|2026-03-01 12:00:10,5 c|of c|"
			 "2026-03-01T12:00:20Z d|of d|");
	cr_expect_str_eq(picked(-1, T0 + 1, true, &b),
			 "2026-03-01 12:00:10,5 c|of c|2026-03-01T12:00:20Z d|of d|");
	cr_expect_str_eq(picked(-1, T0 + 11, true, &b), "2026-03-01T12:00:20Z d|of d|");
	cr_expect_str_eq(picked(-1, T0 + 100, true, &b), "");
	cr_expect_str_eq(picked(3, T0 + 1, true, &b), "of c|2026-03-01T12:00:20Z d|of d|");
	cr_expect_str_eq(picked(100, T0 + 11, true, &b), "2026-03-01T12:00:20Z d|of d|");
	cr_expect_str_eq(picked(0, T0 - 5, true, &b), "");
	cr_expect_str_eq(picked(-1, T0 + 11, false, &b), "2026-03-01T12:00:20Z d|of d...");
}

Test(logfile, without_any_time_files_count_as_a_whole_by_their_last_change)
{
	AUTO_BUF b = BUF_INIT;

	puts_to("log", "5\n");
	puts_to("log.1.gz", "3\n4\n");
	puts_to("log.2", "1\n2\n");
	set_time("log", T0);
	set_time("log.1.gz", T0 - 60);
	set_time("log.2", T0 - 120);
	cr_expect_str_eq(picked(-1, T0 + 1, true, &b), "");
	cr_expect_str_eq(picked(-1, T0, true, &b), "5|");
	cr_expect_str_eq(picked(-1, T0 - 59, true, &b), "5|");
	cr_expect_str_eq(picked(-1, T0 - 60, true, &b), "3|4|5|");
	cr_expect_str_eq(picked(2, T0 - 60, true, &b), "4|5|");
	cr_expect_str_eq(picked(-1, T0 - 1000, true, &b), "1|2|3|4|5|");
}
