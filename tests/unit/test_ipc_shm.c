/*
 * Segments: names, sizes, seals, what openers see, and that nothing is left.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ipc/shm.h"

/* Nothing is to be told of here; what the tracker has to do with it is test_ipc_tracker.c's. */
static void set_up(void)
{
	setenv("MPSUP_TRACKER", "", 1);
	alarm(60);
}

TestSuite(ipc_shm, .init = set_up);

static const char *own_name(char room[64], const char *what)
{
	snprintf(room, 64, "/t-ipc-shm-%d-%s", (int)getpid(), what);
	return room;
}

static bool is_there(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "/dev/shm/%s", name + (name[0] == '/'));
	return access(path, F_OK) == 0;
}

Test(ipc_shm, names_are_checked_once)
{
	static char longest[SHM_NAME_MAX + 3], too_long[SHM_NAME_MAX + 3];
	static const struct {
		const char *name, *is;
	} rows[] = { { "a", "/a" },	{ "/a", "/a" },	    { "", NULL },      { "/", NULL },
		     { "//a", NULL },	{ "a/b", NULL },    { "/a/", NULL },   { ".", NULL },
		     { "/..", NULL },	{ "...", "/..." },  { "a:b", "/a:b" }, { "a\nb", "/a\nb" },
		     { "%41", "/%41" }, { "\xff", "/\xff" } };
	char room[SHM_NAME_MAX + 2];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *got = shm_name(rows[i].name, room);

		if (rows[i].is == NULL)
			cr_expect_null(got, "%s", rows[i].name);
		else
			cr_expect(got != NULL && strcmp(got, rows[i].is) == 0, "%s", rows[i].name);
	}
	memset(longest, 'x', SHM_NAME_MAX);
	memset(too_long, 'x', SHM_NAME_MAX + 1);
	cr_expect_not_null(shm_name(longest, room));
	cr_expect_null(shm_name(too_long, room));
}

static void check_nameless(void)
{
	struct mps_shm *shm, *other;
	char *p;
	int fd;

	cr_assert_eq(mps_shm_create(NULL, 10000, &shm), 0);
	cr_expect_null(mps_shm_name(shm));
	cr_expect_eq(mps_shm_size(shm), 10000);
	cr_expect_eq(fcntl(mps_shm_fileno(shm), F_GETFD), FD_CLOEXEC);
	p = mps_shm_data(shm);
	for (size_t i = 0; i < 10000; i++)
		cr_assert_eq(p[i], 0);
	p[9999] = 'x';
	fd = dup(mps_shm_fileno(shm));
	cr_assert_eq(mps_shm_from_fd(fd, &other), 0);
	cr_expect_eq(((char *)mps_shm_data(other))[9999], 'x');
	mps_shm_close(shm);
	cr_expect_eq(((char *)mps_shm_data(other))[9999], 'x');
	mps_shm_close(other);
	cr_expect_eq(mps_shm_create(NULL, 0, &shm), -EINVAL);
	mps_shm_close(NULL);
}

Test(ipc_shm, without_a_name)
{
	check_nameless();
}

Test(ipc_shm, without_a_name_and_without_memfd)
{
	setenv("MPSUP_NO", "memfd", 1);
	check_nameless();
	setenv("MPSUP_NO", "memfd,tmpfile", 1);
	check_nameless();
}

Test(ipc_shm, cannot_be_shrunk_under_anybody)
{
	struct mps_shm *shm;

	cr_assert_eq(mps_shm_create(NULL, 8192, &shm), 0);
	cr_expect_eq(ftruncate(mps_shm_fileno(shm), 100), -1);
	cr_expect_eq(errno, EPERM);
	cr_expect_eq(mps_shm_resize(shm, 4096), -EPERM);
	cr_expect_eq(mps_shm_resize(shm, 0), -EINVAL);
	cr_expect_eq(mps_shm_size(shm), 8192);
	mps_shm_close(shm);
}

static void check_named(const char *what)
{
	struct mps_shm *shm, *other;
	char room[64];
	const char *name = own_name(room, what);
	struct stat st;

	cr_expect_eq(mps_shm_open(name, true, &other), -ENOENT);
	cr_assert_eq(mps_shm_create(name, 5000, &shm), 0);
	cr_expect_str_eq(mps_shm_name(shm), name);
	cr_expect_eq(mps_shm_create(name + 1, 5000, &other), -EEXIST);
	cr_expect(fstat(mps_shm_fileno(shm), &st) == 0 && (st.st_mode & 07777) == 0600);
	cr_expect_geq((size_t)st.st_blocks * 512, 5000, "the memory is there");
	strcpy(mps_shm_data(shm), "hello");
	cr_assert_eq(mps_shm_open(name + 1, false, &other), 0);
	cr_expect_str_eq(mps_shm_data(other), "hello");
	cr_expect_str_eq(mps_shm_name(other), name);
	cr_expect_eq(mps_shm_resize(other, 9000), -EACCES);
	mps_shm_close(other);
	cr_expect(is_there(name), "closing is not unlinking");
	mps_shm_close(shm);
	cr_expect(is_there(name), "nor for who has made it");
	cr_expect_eq(mps_shm_unlink(name), 0);
	cr_expect(!is_there(name));
	cr_expect_eq(mps_shm_unlink(name), -ENOENT);
	cr_expect_eq(mps_shm_unlink("a/b"), -EINVAL);
}

Test(ipc_shm, with_a_name)
{
	check_named("plain");
	check_named("with:colon");
	check_named("with\nnewline");
	check_named("with %41 \xff");
}

Test(ipc_shm, with_a_name_and_without_o_tmpfile)
{
	setenv("MPSUP_NO", "tmpfile", 1);
	check_named("by-name");
}

Test(ipc_shm, what_has_no_size_yet_is_not_opened)
{
	struct mps_shm *shm;
	char room[64];
	const char *name = own_name(room, "half");
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

	cr_assert_geq(fd, 0);
	cr_expect_eq(mps_shm_open(name, true, &shm), -ENOENT);
	cr_expect_eq(ftruncate(fd, 1), 0);
	cr_expect_eq(mps_shm_open(name, true, &shm), 0);
	mps_shm_close(shm);
	close(fd);
	shm_unlink(name);
}

Test(ipc_shm, too_little_room_is_told_at_once)
{
	struct mps_shm *shm;
	char room[64];
	const char *name = own_name(room, "big");

	cr_expect_eq(mps_shm_create(name, (size_t)1 << 46, &shm), -ENOSPC);
	cr_expect(!is_there(name));
	cr_expect_eq(mps_shm_create(NULL, (size_t)1 << 46, &shm), -ENOSPC);
	cr_expect_eq(mps_shm_create(NULL, SIZE_MAX, &shm), -ENOSPC);
	cr_assert_eq(mps_shm_create(name, 4096, &shm), 0);
	cr_expect_eq(mps_shm_resize(shm, (size_t)1 << 46), -ENOSPC);
	cr_expect_eq(mps_shm_size(shm), 4096);
	memset(mps_shm_data(shm), 1, 4096);
	mps_shm_close(shm);
	mps_shm_unlink(name);
}

Test(ipc_shm, a_limit_of_the_size_of_files_is_an_error_and_no_signal)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };
	struct mps_shm *shm;
	char room[64];
	const char *name = own_name(room, "limit");

	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_expect_eq(mps_shm_create(NULL, 2 << 20, &shm), -ENOSPC);
	cr_expect_eq(mps_shm_create(name, 2 << 20, &shm), -ENOSPC);
	cr_expect(!is_there(name));
	cr_assert_eq(mps_shm_create(NULL, 1 << 20, &shm), 0);
	cr_expect_eq(mps_shm_resize(shm, (1 << 20) + 1), -ENOSPC);
	cr_expect_eq(mps_shm_size(shm), 1 << 20);
	mps_shm_close(shm);
}

Test(ipc_shm, resize_and_map)
{
	struct mps_shm *a, *b;
	char room[64], *old, *p;
	const char *name = own_name(room, "resize");
	void *v;

	cr_assert_eq(mps_shm_create(name, 4096, &a), 0);
	cr_assert_eq(mps_shm_open(name, true, &b), 0);
	old = mps_shm_data(b);
	strcpy(old, "first");
	cr_expect_eq(mps_shm_map(b, 4096, 1, &v), -ERANGE);
	cr_expect_eq(mps_shm_map(b, 0, 0, &v), -ERANGE);
	cr_expect_eq(mps_shm_map(b, SIZE_MAX, 2, &v), -ERANGE);
	cr_expect_eq(mps_shm_map(b, 1, SIZE_MAX, &v), -ERANGE);
	cr_assert_eq(mps_shm_resize(a, 3 << 20), 0);
	p = mps_shm_data(a);
	strcpy(p + (3 << 20) - 10, "last");
	cr_assert_eq(mps_shm_map(b, (3 << 20) - 10, 10, &v), 0);
	cr_expect_str_eq(v, "last");
	cr_expect_str_eq(old, "first", "what was mapped before stays");
	cr_assert_eq(mps_shm_resize(a, 4096), 0);
	cr_expect_eq(mps_shm_map(b, 4096, 1, &v), -ERANGE, "nobody runs into SIGBUS");
	cr_expect_eq(mps_shm_map(b, 7, 4089, &v), 0);
	cr_expect_eq(mps_shm_size(b), 4096);
	mps_shm_close(a);
	mps_shm_close(b);
	mps_shm_unlink(name);
}

Test(ipc_shm, seals)
{
	struct mps_shm *shm, *other;
	char *p;
	int fd;

	cr_assert_eq(mps_shm_create(NULL, 4096, &shm), 0);
	p = mps_shm_data(shm);
	strcpy(p, "text");
	cr_expect_eq(mps_shm_seal(shm, false), 0);
	cr_expect_eq(mps_shm_resize(shm, 8192), -EPERM);
	strcpy(p, "more");
	fd = dup(mps_shm_fileno(shm));
	cr_assert_eq(mps_shm_from_fd(fd, &other), 0);
	cr_expect_eq(mps_shm_seal(shm, true), -EBUSY);
	strcpy(p, "still");
	cr_expect_str_eq(mps_shm_data(other), "still", "the mapping is what it was");
	mps_shm_close(other);
	cr_expect_eq(mps_shm_seal(shm, true), 0);
	cr_expect_str_eq(p, "still");
	cr_expect_eq(pwrite(mps_shm_fileno(shm), "x", 1, 0), -1);
	cr_expect_eq(mps_shm_seal(shm, true), 0);
	fd = dup(mps_shm_fileno(shm));
	cr_assert_eq(mps_shm_from_fd(fd, &other), 0);
	cr_expect_str_eq(mps_shm_data(other), "still");
	cr_expect_eq(mps_shm_resize(other, 8192), -EPERM);
	mps_shm_close(other);
	mps_shm_close(shm);
	setenv("MPSUP_NO", "memfd", 1);
	cr_assert_eq(mps_shm_create(NULL, 4096, &shm), 0);
	cr_expect_eq(mps_shm_seal(shm, true), -EOPNOTSUPP);
	mps_shm_close(shm);
}

Test(ipc_shm, only_memory_is_taken)
{
	struct mps_shm *shm;
	int ends[2], fd;

	cr_assert_eq(pipe(ends), 0);
	cr_expect_eq(mps_shm_from_fd(ends[0], &shm), -EINVAL);
	fd = open("/proc/self/maps", O_RDONLY);
	cr_expect_eq(mps_shm_from_fd(fd, &shm), -EINVAL);
	cr_expect_eq(mps_shm_from_fd(-1, &shm), -EBADF);
	cr_expect_neq(fcntl(fd, F_GETFD), -1, "on error it stays the caller's");
	cr_assert_eq(mkfifo("/dev/shm/t-ipc-shm-fifo", 0600), 0);
	cr_expect_eq(mps_shm_open("t-ipc-shm-fifo", false, &shm), -EINVAL);
	unlink("/dev/shm/t-ipc-shm-fifo");
	cr_assert_eq(symlink("/etc/passwd", "/dev/shm/t-ipc-shm-link"), 0);
	cr_expect_eq(mps_shm_open("t-ipc-shm-link", false, &shm), -ELOOP);
	unlink("/dev/shm/t-ipc-shm-link");
}

Test(ipc_shm, no_descriptor_is_left)
{
	struct mps_shm *shm;
	int before = dup(0), after;
	struct rlimit r = { 0, 0 }, old;

	close(before);
	getrlimit(RLIMIT_NOFILE, &old);
	for (int i = 0; i < 100; i++) {
		cr_assert_eq(mps_shm_create(NULL, 4096, &shm), 0);
		mps_shm_close(shm);
		cr_assert_eq(mps_shm_create(NULL, (size_t)1 << 46, &shm), -ENOSPC);
	}
	r = old;
	r.rlim_cur = (rlim_t)before;
	setrlimit(RLIMIT_NOFILE, &r);
	cr_expect_eq(mps_shm_create(NULL, 4096, &shm), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
	after = dup(0);
	cr_expect_eq(before, after);
	close(after);
}

/* ----------------------------------------------------------------------------------------------- threads, processes */

struct mapper {
	pthread_t thread;
	struct mps_shm *shm;
	int bad;
};

static void *map_often(void *user)
{
	struct mapper *m = user;
	void *p;

	for (int i = 0; i < 2000; i++) {
		size_t n = mps_shm_size(m->shm);

		if (mps_shm_map(m->shm, n - 1, 1, &p) != 0 || *(volatile char *)p != 0)
			m->bad++;
	}
	return NULL;
}

Test(ipc_shm, many_threads_map_while_it_grows)
{
	struct mapper m[4] = { 0 };
	struct mps_shm *shm, *grower;

	cr_assert_eq(mps_shm_create(NULL, 4096, &shm), 0);
	cr_assert_eq(mps_shm_from_fd(dup(mps_shm_fileno(shm)), &grower), 0);
	for (size_t i = 0; i < ARRAY_SIZE(m); i++) {
		m[i].shm = shm;
		pthread_create(&m[i].thread, NULL, map_often, &m[i]);
	}
	for (size_t n = 2; n < 200; n++)
		cr_assert_eq(mps_shm_resize(grower, n * 4096), 0);
	for (size_t i = 0; i < ARRAY_SIZE(m); i++) {
		pthread_join(m[i].thread, NULL);
		cr_expect_eq(m[i].bad, 0);
	}
	mps_shm_close(shm);
	mps_shm_close(grower);
}

/* An opener finds all of it, or nothing. */
Test(ipc_shm, a_half_made_segment_is_not_seen)
{
	char room[64];
	const char *name = own_name(room, "race");
	pid_t pid = fork();
	struct mps_shm *shm;
	int status, seen = 0;

	if (pid == 0) {
		for (int i = 0; i < 300; i++) {
			if (i == 150)
				setenv("MPSUP_NO", "tmpfile", 1);
			if (mps_shm_create(name, 1 << 20, &shm) != 0 || mps_shm_unlink(name) != 0)
				_exit(1);
			mps_shm_close(shm);
		}
		_exit(0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0)
		if (mps_shm_open(name, false, &shm) == 0) {
			seen++;
			cr_assert_eq(mps_shm_size(shm), 1 << 20);
			mps_shm_close(shm);
		}
	cr_expect_eq(status, 0);
	cr_log_info("%d seen", seen);
}
