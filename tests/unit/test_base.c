/*
 * The ground floor: buffers, messages, signal names, distances, lists of strings, descriptors.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/guess.h"
#include "base/sig.h"
#include "base/strv.h"

Test(buf, grows_and_stays_terminated)
{
	struct buf b = BUF_INIT;
	char *text;

	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%d,", i);
	buf_addc(&b, 'x');
	cr_expect_eq(strlen(b.p), b.len);
	buf_drop(&b, b.len - 1);
	cr_expect_str_eq(b.p, "x");
	text = buf_take(&b);
	cr_expect_str_eq(text, "x");
	free(text);
	text = buf_take(&b);
	cr_expect_str_eq(text, "");
	free(text);
}

Test(buf, out_of_memory_is_sticky)
{
	struct buf b = BUF_INIT;

	buf_adds(&b, "a");
	cr_expect_null(buf_reserve(&b, SIZE_MAX / 2));
	buf_adds(&b, "b");
	cr_expect(b.failed);
	cr_expect_null(buf_take(&b));
}

Test(err, is_set_prefixed_and_cut_at_a_character)
{
	struct err err = ERR_INIT;
	char umlauts[2 * ERR_TEXT_MAX + 1];

	cr_expect_eq(err_set(&err, -EINVAL, "bad %d", 7), -EINVAL);
	cr_expect_eq(err_prefix(&err, -EINVAL, "%s:%d: ", "f", 3), -EINVAL);
	cr_expect_str_eq(err.text, "f:3: bad 7");
	cr_expect_eq(err_set(NULL, -ENOMEM, "x"), -ENOMEM);
	for (size_t i = 0; i < ERR_TEXT_MAX; i++)
		memcpy(umlauts + 2 * i, "\xc3\xa9", 2);
	umlauts[2 * ERR_TEXT_MAX] = '\0';
	err_set(&err, 0, "%s", umlauts);
	cr_expect_lt(strlen(err.text), ERR_TEXT_MAX);
	cr_expect_str_eq(err.text + strlen(err.text) - 3, "...");
	cr_expect_neq(err.text[strlen(err.text) - 4], '\xc3');
}

static const struct {
	const char *text;
	int want;
} signals[] = {
	{ "TERM", SIGTERM }, { "SIGTERM", SIGTERM }, { " sigint ", SIGINT },
	{ "15", 15 },	     { "usr1", SIGUSR1 },    { "0", 0 },
	{ "FOO", -EINVAL },  { "", -EINVAL },	     { "-1", -EINVAL },
	{ "SIG", -EINVAL },  { "99", -EINVAL },
};

Test(sig, names_and_numbers)
{
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		cr_expect_eq(sig_parse(signals[i].text), signals[i].want, "%s", signals[i].text);
	cr_expect_eq(sig_parse("RTMIN+1"), SIGRTMIN + 1);
	cr_expect_eq(sig_parse("RTMAX-2"), SIGRTMAX - 2);
	cr_expect_str_eq(sig_name(SIGTERM), "TERM");
	cr_expect_null(sig_name(0));
}

static const struct {
	const char *a, *b;
	unsigned want;
} distances[] = {
	{ "", "", 0 },	    { "abc", "abc", 0 }, { "abc", "ABC", 0 }, { "abc", "acb", 1 },
	{ "abc", "ab", 1 }, { "abc", "xbc", 1 }, { "", "abc", 3 },    { "kitten", "sitting", 3 },
};

Test(guess, distances)
{
	for (size_t i = 0; i < sizeof(distances) / sizeof(distances[0]); i++) {
		cr_expect_eq(guess_distance(distances[i].a, distances[i].b), distances[i].want,
			     "%s %s", distances[i].a, distances[i].b);
		cr_expect_eq(guess_distance(distances[i].b, distances[i].a), distances[i].want);
	}
	cr_expect(str_is_prefix("ab", "abc") && str_is_prefix("", "a") &&
		  !str_is_prefix("abc", "ab"));
}

Test(guess, tolerance)
{
	cr_expect_eq(guess_tolerance("nope"), 1);
	cr_expect_eq(guess_tolerance("nopes"), 2);
	cr_expect_eq(guess_tolerance("autostar"), 2);
	cr_expect_eq(guess_tolerance("autostrat"), 3);
	cr_expect_eq(guess_tolerance("stopwaitsecs"), 4);
}

Test(strv, are_equal_by_what_they_hold_and_in_which_order)
{
	static char one[] = "one", two[] = "two", also_one[] = "one";
	char *none[] = { NULL }, *a[] = { one, two, NULL }, *b[] = { also_one, two, NULL };
	char *turned[] = { two, one, NULL }, *shorter[] = { one, NULL };

	cr_expect_eq(strv_length(NULL), 0);
	cr_expect_eq(strv_length(a), 2);
	cr_expect(strv_is_equal(NULL, none));
	cr_expect(strv_is_equal(a, b));
	cr_expect_not(strv_is_equal(a, turned));
	cr_expect_not(strv_is_equal(a, shorter));
	cr_expect_not(strv_is_equal(shorter, a));
	cr_expect(strv_holds(turned, also_one));
	cr_expect_not(strv_holds(shorter, two));
	cr_expect_not(strv_holds(NULL, one));
}

Test(strv, values_have_names)
{
	static char longer[] = "NAMES=no", value[] = "NAME=a=b", again[] = "NAME=late",
		    none[] = "NAME";
	char *v[] = { longer, none, value, again, NULL };

	cr_expect_str_eq(strv_value(v, "NAME and what follows", 4), "a=b");
	cr_expect_null(strv_value(v, "NAM", 3));
	cr_expect_null(strv_value(NULL, "NAME", 4));
}

Test(strv, a_packed_copy_is_one_block)
{
	char one[] = "one", empty[] = "";
	char *v[] = { one, empty, NULL }, **copy = strv_pack(v), **nothing = strv_pack(NULL);

	one[0] = 'x';
	cr_assert_eq(strv_length(copy), 2);
	cr_expect_str_eq(copy[0], "one");
	cr_expect_str_eq(copy[1], "");
	cr_expect_null(nothing[0]);
	free(copy);
	free(nothing);
}

Test(fd, descriptors_travel_with_a_datagram)
{
	int pair[2], pipes[2], got[4];
	char text[16];
	struct iovec iov = { (char *)"hi", 2 };
	size_t n = 0;
	bool cut = true;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
	cr_assert_eq(fd_send(pair[0], &iov, 1, pipes, 2), 0);
	cr_assert_eq(fd_recv(pair[1], text, sizeof(text), got, 4, &n, &cut), 2);
	cr_assert_eq(n, 2);
	cr_expect_not(cut);
	cr_expect(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	cr_expect_eq(write(got[1], "x", 1), 1);
	cr_expect_eq(read(pipes[0], text, 1), 1);
	fd_close(&pair[0]);
	cr_expect_eq(pair[0], -1);
	cr_expect_eq(fd_recv(pair[1], text, sizeof(text), got + 2, 2, &n, &cut), 0);
	for (int i = 0; i < 2; i++) {
		fd_close(&got[i]);
		fd_close(&pipes[i]);
	}
	fd_close(&pair[1]);
}

Test(fd, a_datagram_that_is_cut_says_so)
{
	int pair[2], got[2];
	char text[4];
	struct iovec iov = { (char *)"too long", 8 };
	size_t n = 0;
	bool cut = false;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(fd_send(pair[0], &iov, 1, NULL, 0), 0);
	cr_expect_gt(fd_recv(pair[1], text, sizeof(text), got, 2, &n, &cut), 0);
	cr_expect(cut);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
}

Test(fd, files_are_read_whole_or_refused)
{
	char path[] = "/tmp/test_base.XXXXXX", *text = NULL;
	int fd = mkstemp(path);
	size_t len = 0;

	cr_assert_geq(fd, 0);
	cr_expect_eq(fd_write_all(fd, "12345", 5), 0);
	cr_expect_eq(fd_read_file(path, 5, &text, &len), 0);
	cr_expect_eq(len, 5);
	cr_expect_str_eq(text, "12345");
	free(text);
	cr_expect_eq(fd_read_file(path, 4, &text, &len), -EFBIG);
	unlink(path);
	cr_expect_eq(fd_read_file(path, 4, &text, &len), -ENOENT);
	fd_close(&fd);
}

/* ----------------------------------------------------------------------------------------------------- locks */

struct looking {
	int dir;
	atomic_bool enough;
};

static void *look_for_lock(void *user)
{
	struct looking *l = user;

	while (!atomic_load(&l->enough))
		fd_is_locked(l->dir, "lock");
	return NULL;
}

/* Those who look are taken for nobody who holds it, neither by each other nor by whoever takes it. */
Test(base, a_lock_is_not_held_by_those_who_look)
{
	char dir[] = "/tmp/mps-lock.XXXXXX", path[64];
	struct looking looking = { 0 };
	pthread_t threads[2];
	int fd, again;

	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	again = open(path, O_RDONLY | O_CLOEXEC);
	looking.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(fd >= 0 && again >= 0 && looking.dir >= 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, look_for_lock, &looking), 0);
	for (int i = 0; i < 2000; i++) {
		cr_assert_not(fd_is_locked(looking.dir, "lock"));
		cr_assert_eq(fd_lock(fd), 0, "%d", i);
		cr_assert(fd_is_locked(looking.dir, "lock"));
		cr_assert_eq(fd_lock(again), -EWOULDBLOCK);
		flock(fd, LOCK_UN);
	}
	atomic_store(&looking.enough, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	close(fd);
	close(again);
	close(looking.dir);
	unlink(path);
	rmdir(dir);
}

/* FDSize of /proc/self/status: how many the table has room for. */
static long table_size(void)
{
	AUTO_FREE char *text = NULL;
	const char *line;
	size_t n;

	cr_assert_eq(fd_read_file("/proc/self/status", 1 << 16, &text, &n), 0);
	line = strstr(text, "FDSize:");
	cr_assert_not_null(line);
	return strtol(line + strlen("FDSize:"), NULL, 10);
}

Test(fd, room_is_made_for_many_and_none_is_open_for_that)
{
	int before = dup(0), after;

	fd_make_room(1000);
	cr_expect_geq(table_size(), 1000);
	after = dup(0);
	cr_expect_eq(after, before + 1);
	close(before);
	close(after);
}
