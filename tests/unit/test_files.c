/*
 * The supervisor's files: AUTO logs and their cleaning, logs and their folders, the pid file, sockets.
 */
#include "sup/files.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "conf/conf.h"

static char folder[] = "/tmp/mpsup-test.XXXXXX";
static struct conf conf;

static void enter(void)
{
	cr_assert_not_null(mkdtemp(folder));
	cr_assert_eq(chdir(folder), 0);
	conf.supervisord.childlogdir = folder;
	conf.supervisord.identifier = (char *)"super";
}

static void leave(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_expect_eq(system(command), 0);
}

static void touch(const char *path)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

TestSuite(files, .init = enter, .fini = leave);

Test(files, auto_logs_are_private_and_named_by_the_pattern)
{
	AUTO_FREE char *one = NULL;
	AUTO_FREE char *two = NULL;
	AUTO_CLOSE int fd = files_make_auto(&conf, "web", "stdout", &one);
	AUTO_CLOSE int other = files_make_auto(&conf, "web", "stdout", &two);
	struct stat st;
	char start[128];

	cr_assert(fd >= 0 && other >= 0);
	snprintf(start, sizeof(start), "%s/web-stdout---super-", folder);
	cr_expect_eq(strncmp(one, start, strlen(start)), 0, "%s", one);
	cr_expect_eq(strlen(one), strlen(start) + strlen("12345678.log"));
	cr_expect_str_neq(one, two);
	fstat(fd, &st);
	cr_expect_eq(st.st_mode & 0777, 0600);
	cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	cr_expect(fcntl(fd, F_GETFL) & O_APPEND);
}

Test(files, cleaning_takes_our_auto_logs_and_nothing_else)
{
	static const struct {
		const char *name;
		bool goes;
	} rows[] = {
		{ "web-stdout---super-abcdefgh.log", true },
		{ "web-stderr---super-abcdefgh.log.1", true },
		{ "web-stderr---super-abcdefgh.log.12", true },
		{ "web-stderr---super-abcdefgh.log.12.gz", true },
		{ "web-stderr---super-abcdefgh.log.gz-part", true },
		{ "web-stdout---other-abcdefgh.log", false },
		{ "web-stdout---super-abcdefgh.txt", false },
		{ "web-stdout---super-abcdefgh.log.gz", false },
		{ "---super-abcdefgh.log", false },
		{ "web.log", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		touch(rows[i].name);
	files_clean_auto(&conf);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		cr_expect_eq(exists(rows[i].name), !rows[i].goes, "%s", rows[i].name);
	conf.supervisord.childlogdir = (char *)"/nonexistent";
	files_clean_auto(&conf);
}

Test(files, a_log_is_appended_to_and_its_folders_are_made)
{
	AUTO_CLOSE int fd = files_open_log("a/b/log", 0640);

	cr_assert_geq(fd, 0);
	cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	cr_expect_eq(fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK), O_APPEND);
	touch("file");
	cr_expect_eq(files_open_log("file/x", 0640), -ENOTDIR);
	cr_expect_eq(files_open_log("a", 0640), -EISDIR);
}

Test(files, a_fifo_that_nobody_reads_does_not_hold_us_up, .timeout = 10)
{
	cr_assert_eq(mkfifo("fifo", 0600), 0);
	cr_expect_eq(files_open_log("fifo", 0600), -ENXIO);
}

Test(files, our_own_output_is_known_by_its_names)
{
	static const struct {
		const char *path;
		int fd;
	} rows[] = {
		{ "/dev/stdout", 1 }, { "/dev/stderr", 2 },	{ "/dev/fd/1", 1 },
		{ "/dev/fd/2", 2 },   { "/proc/self/fd/2", 2 }, { "/dev/null", -1 },
		{ "/dev/fd/11", -1 }, { "stdout", -1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		cr_expect_eq(files_standard_fd(rows[i].path), rows[i].fd, "%s", rows[i].path);
	{
		AUTO_CLOSE int fd = files_open_log("/dev/stdout", 0);

		cr_expect_gt(fd, 2);
		cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	}
}

Test(files, the_pid_file_is_replaced_as_a_whole)
{
	AUTO_FREE char *text = NULL;
	size_t n;

	touch("old");
	cr_assert_eq(symlink("old", "pid"), 0);
	cr_expect_eq(files_write_pid("pid", 1234), 0);
	cr_assert_eq(fd_read_file("pid", 100, &text, &n), 0);
	cr_expect_str_eq(text, "1234\n");
	{
		struct stat st;

		cr_assert_eq(lstat("pid", &st), 0);
		cr_expect(S_ISREG(st.st_mode));
		cr_expect_eq(stat("old", &st), 0);
		cr_expect_eq(st.st_size, 0);
	}
	cr_expect_eq(files_write_pid("no/pid", 1), -ENOENT);
}

Test(files, a_unix_socket_listens_with_its_mode_in_place_of_an_old_one)
{
	struct conf_proc p = { .kind = CONF_FCGI_PROGRAM, .socket_mode = 0720 };
	char address[128];
	struct err err = ERR_INIT;
	struct stat st;
	int listens = 0;
	socklen_t n = sizeof(listens);

	snprintf(address, sizeof(address), "unix://%s/sock", folder);
	p.socket = address;
	for (int i = 0; i < 2; i++) {
		AUTO_CLOSE int fd = files_open_socket(&p, &err);

		cr_assert_geq(fd, 0, "%s", err.text);
		cr_assert_eq(stat("sock", &st), 0);
		cr_expect_eq(st.st_mode & 0777, 0720);
		getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n);
		cr_expect_eq(listens, 1);
	}
}

Test(files, a_socket_that_cannot_be_made_says_why)
{
	static const struct {
		const char *address, *text;
	} rows[] = {
		{ "unix:///nonexistent/sock", "socket /nonexistent/sock: No such file" },
		{ "tcp://127.0.0.1", "no port" },
		{ "tcp://256.256.256.256:80", "socket tcp://256.256.256.256:80: " },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct conf_proc p = { .socket = (char *)rows[i].address, .socket_mode = 0700 };
		struct err err = ERR_INIT;

		cr_expect_lt(files_open_socket(&p, &err), 0);
		cr_expect_not_null(strstr(err.text, rows[i].text), "%s", err.text);
	}
}

Test(files, a_socket_is_its_owners)
{
	static const struct {
		const char *owner;
		uid_t uid;
		gid_t gid;
		const char *error;
	} rows[] = {
		{ "65534:65533", 65534, 65533, NULL },
		{ "root:0", 0, 0, NULL },
		{ "nobody:no such group", 0, 0, "socket_owner: no group 'no such group'" },
		{ "no such user", 0, 0, "socket_owner: no user 'no such user'" },
	};
	AUTO_FREE char *address = xasprintf("unix://%s/owned", folder);

	if (geteuid() != 0)
		cr_skip_test("only root gives files away");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct conf_proc p = { .kind = CONF_FCGI_PROGRAM,
				       .socket = address,
				       .socket_mode = 0700,
				       .socket_owner = (char *)rows[i].owner };
		struct err err = ERR_INIT;
		AUTO_CLOSE int fd = files_open_socket(&p, &err);
		struct stat st;

		cr_assert_eq(stat("owned", &st), 0);
		if (rows[i].error != NULL) {
			cr_expect_eq(fd, -ENOENT);
			cr_expect_str_eq(err.text, rows[i].error);
			continue;
		}
		cr_assert_geq(fd, 0, "%s", err.text);
		cr_expect_eq(st.st_uid, rows[i].uid);
		cr_expect_eq(st.st_gid, rows[i].gid);
	}
}

Test(files, a_tcp_socket_listens_and_one_whose_port_is_taken_says_so)
{
	struct sockaddr_in a;
	socklen_t n = sizeof(a);
	struct conf_proc p = { .kind = CONF_FCGI_PROGRAM, .socket = (char *)"tcp://127.0.0.1:0" };
	AUTO_FREE char *taken = NULL;
	struct err err = ERR_INIT;
	AUTO_CLOSE int fd = files_open_socket(&p, &err);

	cr_assert_geq(fd, 0, "%s", err.text);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	cr_expect_eq(a.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	p.socket = taken = xasprintf("tcp://127.0.0.1:%u", ntohs(a.sin_port));
	cr_expect_eq(files_open_socket(&p, &err), -EADDRINUSE);
	cr_expect_not_null(strstr(err.text, "Address already in use"), "%s", err.text);
}
