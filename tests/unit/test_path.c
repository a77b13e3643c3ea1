/*
 * base/path: which names root follows. As somebody else these are plain calls, and the rows that tell are left out.
 */
#include "base/path.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

enum { THEM = 65533 };

static char root[] = "/tmp/mpsup-path-XXXXXX";

static void make(const char *name, mode_t mode, uid_t owner)
{
	AUTO_CLOSE int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(fchmod(fd, mode), 0);
	if (geteuid() == 0)
		cr_assert_eq(fchown(fd, owner, 0), 0);
}

static void folder(const char *name, mode_t mode, uid_t owner)
{
	cr_assert_eq(mkdir(name, 0700), 0);
	cr_assert_eq(chmod(name, mode), 0);
	if (geteuid() == 0)
		cr_assert_eq(lchown(name, owner, 0), 0);
}

static void lead(const char *name, const char *to, uid_t owner)
{
	cr_assert_eq(symlink(to, name), 0);
	if (geteuid() == 0)
		cr_assert_eq(lchown(name, owner, 0), 0);
}

static void scene(void)
{
	cr_assert_not_null(mkdtemp(root));
	cr_assert_eq(chdir(root), 0);
	cr_assert_eq(chmod(".", 0755), 0);
	folder("ours", 0755, 0);
	folder("theirs", 0755, THEM);
	folder("open", 0777, 0);
	folder("sticky", 01777, 0);
	folder("theirs/ours", 0755, 0);
	make("ours/file", 0644, 0);
	make("ours/open", 0664, 0);
	make("theirs/file", 0644, THEM);
	make("theirs/ours/file", 0644, 0);
	make("sticky/ours", 0644, 0);
	make("sticky/theirs", 0644, THEM);
	make("open/file", 0644, 0);
	make("other", 0644, 0);
	cr_assert_eq(link("other", "theirs/second"), 0);
	lead("ours/link", "file", 0);
	lead("ours/up", "../theirs", 0);
	lead("ours/round", "round", 0);
	lead("ours/of-them", "file", THEM);
	lead("ours/dangling", "new", 0);
	lead("ours/slash", "../ours/", 0);
	lead("theirs/link", "../ours/file", THEM);
	lead("theirs/of-us", "../ours/file", 0);
	lead("theirs/folder", "../ours", THEM);
	lead("sticky/of-us", "../ours/file", 0);
	lead("sticky/of-them", "../ours/file", THEM);
}

static void tidy(void)
{
	AUTO_FREE char *command = NULL;

	cr_assert_gt(asprintf(&command, "rm -rf '%s'", root), 0);
	cr_assert_eq(chdir("/"), 0);
	cr_assert_eq(system(command), 0);
}

TestSuite(path, .init = scene, .fini = tidy);

Test(path, root_opens_for_writing_only_what_nobody_else_has_put_there)
{
	static const struct {
		const char *path;
		int r; /* 0 = opened */
	} rows[] = {
		{ "ours/file", 0 },
		{ "ours/link", 0 },
		{ "./ours/../ours//link", 0 },
		{ "ours/slash/file", 0 },
		{ "ours/dangling", 0 },
		{ "ours/none/file", -ENOENT },
		{ "ours/file/x", -ENOTDIR },
		{ "ours", -EISDIR },
		{ "ours/", -EISDIR },
		{ "ours/round", -ELOOP },
		{ "ours/of-them", -ELOOP },
		{ "ours/up/file", 0 },
		{ "ours/up/link", -ELOOP },
		{ "theirs/file", 0 },
		{ "theirs/new", 0 },
		{ "theirs/link", -ELOOP },
		{ "theirs/of-us", -ELOOP },
		{ "theirs/folder/file", -ELOOP },
		{ "theirs/ours/file", 0 },
		{ "theirs/second", -EMLINK },
		{ "sticky/ours", 0 },
		{ "sticky/theirs", -EMLINK },
		{ "sticky/of-us", 0 },
		{ "sticky/of-them", -ELOOP },
		{ "open/file", 0 },
		{ "/dev/null", 0 },
		{ "/proc/self/cwd/ours/file", 0 },
		{ "", -ENOENT },
	};

	if (geteuid() != 0)
		cr_skip("not root");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int fd = path_open(rows[i].path, O_WRONLY | O_CREAT | O_APPEND, 0600);

		cr_expect_eq(fd < 0 ? fd : 0, rows[i].r, "%s: %d", rows[i].path, fd);
		if (fd >= 0) {
			cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
			close(fd);
		}
	}
	cr_expect_eq(access("ours/new", F_OK), 0, "the link of root's leads on");
}

Test(path, root_reads_only_what_nobody_else_can_exchange)
{
	static const struct {
		const char *path;
		const char *text; /* in the message; NULL = accepted */
	} rows[] = {
		{ "ours/file", NULL },
		{ "ours/link", NULL },
		{ "ours/slash/link", NULL },
		{ "sticky/ours", NULL },
		{ "sticky/of-us", NULL },
		{ "ours/open", "the file (owner 0, mode 664)" },
		{ "theirs/file", "the file (owner 65533, mode 644)" },
		{ "sticky/theirs", "the file (owner 65533" },
		{ "theirs/ours/file", "the folder ./theirs (owner 65533, mode 755)" },
		{ "ours/up/ours/file", "/theirs (owner 65533, mode 755)" },
		{ "open/file", "the folder ./open (owner 0, mode 777)" },
		{ "theirs/link", "the folder ./theirs" },
		{ "sticky/of-them", "behind a link" },
		{ "ours/of-them", "behind a link" },
	};

	if (geteuid() != 0)
		cr_skip("not root");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_CLOSE int fd = open(rows[i].path, O_RDONLY | O_CLOEXEC);
		struct err err = ERR_INIT;
		int r = path_check(rows[i].path, fd, &err);

		cr_assert_geq(fd, 0, "%s", rows[i].path);
		cr_expect_eq(r, rows[i].text == NULL ? 0 : -EPERM, "%s: %d", rows[i].path, r);
		if (rows[i].text != NULL)
			cr_expect_not_null(strstr(err.text, rows[i].text), "%s: %s", rows[i].path,
					   err.text);
	}
}

Test(path, what_was_exchanged_after_it_was_opened_is_noticed)
{
	AUTO_CLOSE int fd = open("ours/file", O_RDONLY | O_CLOEXEC);
	struct err err = ERR_INIT;

	if (geteuid() != 0)
		cr_skip("not root");
	cr_expect_eq(path_check("sticky/ours", fd, &err), -EPERM);
	cr_expect_not_null(strstr(err.text, "was exchanged"), "%s", err.text);
	cr_expect_eq(path_check("ours/none", fd, &err), -EPERM);
}

Test(path, folders_are_made_on_the_way_and_told_to_be_shared)
{
	static const struct {
		const char *path;
		bool is_shared;
	} rows[] = {
		{ "ours/a/b/base", false }, { "theirs/a/base", true }, { "sticky/base", true },
		{ "ours/base", false },	    { "base", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *base;
		bool is_shared = false;
		AUTO_CLOSE int fd = path_open_folder(rows[i].path, true, &base, &is_shared);
		AUTO_FREE char *within = path_within(fd, base);
		AUTO_CLOSE int file = open(within, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		cr_expect_geq(fd, 0, "%s: %d", rows[i].path, fd);
		cr_expect_str_eq(base, "base");
		cr_expect_eq(is_shared, geteuid() == 0 && rows[i].is_shared, "%s", rows[i].path);
		cr_expect_geq(file, 0);
		cr_expect_eq(access(rows[i].path, F_OK), 0, "%s", rows[i].path);
	}
}
