#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "sup/rotate.h"

static char folder[] = "/tmp/mpsup-rotate.XXXXXX";

/* Files hold their first name. */
static void put(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	cr_assert_geq(fd, 0);
	cr_assert_eq(fd_write_all(fd, name, strlen(name)), 0);
	close(fd);
}

static void begin(void)
{
	cr_assert_not_null(mkdtemp(folder));
	cr_assert_eq(chdir(folder), 0);
}

static void end(void)
{
	static const char *const names[] = { "log",	 "log.1",    "log.2",
					     "log.3",	 "log.4",    "log.1.gz",
					     "log.2.gz", "log.3.gz", "log.gz-part" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(names[i]);
	cr_expect_eq(rmdir(folder), 0);
}

TestSuite(rotate, .init = begin, .fini = end);

static bool holds(const char *name, const char *want)
{
	char text[64] = "";
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	bool same = fd >= 0 && read(fd, text, sizeof(text) - 1) >= 0 && strcmp(text, want) == 0;

	if (fd >= 0)
		close(fd);
	return same;
}

static bool is_there(const char *name)
{
	return access(name, F_OK) == 0;
}

static void shift(int backups)
{
	int gone;

	cr_assert_eq(rotate_shift("log", backups, &gone), 0);
	fd_close(&gone);
}

Test(rotate, all_move_up_and_the_last_goes)
{
	put("log");
	put("log.1");
	put("log.2.gz");
	put("log.3");
	shift(3);
	cr_expect(!is_there("log"));
	cr_expect(holds("log.1", "log"));
	cr_expect(holds("log.2", "log.1"));
	cr_expect(holds("log.3.gz", "log.2.gz"));
	cr_expect(!is_there("log.3") && !is_there("log.4"));
}

Test(rotate, only_up_to_the_first_gap)
{
	put("log");
	put("log.1");
	put("log.3");
	shift(3);
	cr_expect(holds("log.1", "log"));
	cr_expect(holds("log.2", "log.1"));
	cr_expect(holds("log.3", "log.3"));
}

Test(rotate, what_was_compressed_completely_counts)
{
	put("log");
	put("log.1");
	put("log.1.gz");
	shift(3);
	cr_expect(holds("log.1", "log"));
	cr_expect(holds("log.2.gz", "log.1.gz"));
	cr_expect(!is_there("log.2"));
}

Test(rotate, without_a_file_it_fails_and_loses_nothing)
{
	int gone;

	put("log.2");
	cr_expect_eq(rotate_shift("log", 3, &gone), -ENOENT);
	cr_expect(holds("log.2", "log.2"));
}

static bool unzips_to(const char *name, const char *want)
{
	char text[64] = "";
	gzFile f = gzopen(name, "rb");
	bool same = f != NULL && gzread(f, text, sizeof(text) - 1) >= 0 && strcmp(text, want) == 0;

	if (f != NULL)
		gzclose(f);
	return same;
}

Test(rotate, a_backup_is_compressed_where_it_is_by_then)
{
	struct rotate_job *job;
	struct stat st;

	put("log");
	put("log.1");
	cr_assert_eq(utimensat(AT_FDCWD, "log.1", (struct timespec[2]){ { 1000, 0 }, { 1000, 0 } },
			       0),
		     0);
	job = rotate_job_new("log", 3);
	cr_assert_not_null(job);
	rotate_job_run(job);
	shift(3);
	cr_expect_eq(rotate_job_end(job), 0);
	cr_expect(unzips_to("log.2.gz", "log.1"));
	cr_expect(!is_there("log.2") && !is_there("log.gz-part") && !is_there("log.1.gz"));
	cr_expect(stat("log.2.gz", &st) == 0 && (st.st_mode & 07777) == 0640);
	cr_expect_eq(st.st_mtim.tv_sec, 1000);
}

Test(rotate, one_that_is_gone_leaves_nothing)
{
	struct rotate_job *job;

	put("log.1");
	job = rotate_job_new("log", 1);
	cr_assert_not_null(job);
	rotate_job_run(job);
	unlink("log.1");
	cr_expect_eq(rotate_job_end(job), 0);
	cr_expect(!is_there("log.1.gz") && !is_there("log.gz-part"));
}

Test(rotate, a_cancelled_job_leaves_the_backup)
{
	struct rotate_job *job;

	put("log.1");
	job = rotate_job_new("log", 1);
	cr_assert_not_null(job);
	rotate_job_cancel(job);
	rotate_job_run(job);
	cr_expect_eq(rotate_job_end(job), -ECANCELED);
	cr_expect(holds("log.1", "log.1"));
	cr_expect(!is_there("log.1.gz") && !is_there("log.gz-part"));
}

Test(rotate, what_a_kill_left_is_put_away)
{
	put("log.1");
	put("log.1.gz");
	put("log.gz-part");
	cr_expect_null(rotate_job_new("log", 3));
	cr_expect(!is_there("log.1") && !is_there("log.gz-part"));
	cr_expect(holds("log.1.gz", "log.1.gz"));
}
