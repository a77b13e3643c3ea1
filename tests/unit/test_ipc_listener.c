/*
 * Listeners: addresses, keys, those who are silent, full tables, what is left behind.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "ipc/address.h"
#include "ipc/connection.h"

#define LIMIT (60 * MPS_SECOND)

static const struct mps_address_options keyed = { .authkey = "secret", .authkey_size = 6 };
static const struct mps_address_options wrong = { .authkey = "secre7", .authkey_size = 6 };

static pid_t child(void)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(100);
	}
	return pid;
}

static int status_of(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static struct mps_listener *listening(const char *address, const struct mps_address_options *o)
{
	struct mps_listener *l;
	int r = mps_listen(address, o, &l);

	cr_assert_eq(r, 0, "%s: %s", address, strerror(-r));
	return l;
}

/* Says a word and gets it back. */
static void client(const char *address, const struct mps_address_options *o)
{
	struct mps_connection *c;
	const void *p;
	size_t n;

	if (mps_connect(address, o, &c, LIMIT) != 0)
		_exit(1);
	if (mps_send(c, "word", 4, LIMIT) != 0 || mps_recv(c, &p, &n, LIMIT) != 0 || n != 4)
		_exit(2);
	_exit(0);
}

static void echo(struct mps_listener *l)
{
	struct mps_connection *c;
	const void *p;
	size_t n;

	cr_assert_eq(mps_listener_accept(l, &c, LIMIT), 0);
	cr_assert_eq(mps_recv(c, &p, &n, LIMIT), 0);
	cr_assert_eq(mps_send(c, p, n, LIMIT), 0);
	mps_connection_close(c);
}

static void serve_one(const char *address, const struct mps_address_options *o)
{
	struct mps_listener *l = listening(address, o);
	struct pollfd p = { .fd = mps_listener_fileno(l), .events = POLLIN };
	pid_t pid = child();

	if (pid == 0)
		client(mps_listener_address(l), o);
	cr_expect_eq(poll(&p, 1, (int)(LIMIT / 1000000)), 1);
	echo(l);
	cr_assert_eq(status_of(pid), 0);
	mps_listener_close(l);
}

static char folder[4096];

static void make_folder(void)
{
	snprintf(folder, sizeof(folder), "%s/mpsup-unit-XXXXXX",
		 getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
	cr_assert_not_null(mkdtemp(folder));
}

static const char *in_folder(const char *form, const char *name)
{
	static char text[2][8192];
	static int i;

	i = !i;
	snprintf(text[i], sizeof(text[i]), "%s%s/%s", form, folder, name);
	return text[i];
}

static bool has_ipv6(void)
{
	struct mps_listener *l;
	bool has = mps_listen("tcp:[::1]:0", NULL, &l) == 0;

	if (has)
		mps_listener_close(l);
	return has;
}

Test(listener, all_kinds_of_addresses_with_and_without_a_key)
{
	char name[64];

	make_folder();
	snprintf(name, sizeof(name), "abstract:mpsup-unit-%d", (int)getpid());
	for (int i = 0; i < 2; i++) {
		const struct mps_address_options *o = i ? &keyed : NULL;

		serve_one(NULL, o);
		serve_one(in_folder("unix:", "s"), o);
		serve_one(name, o);
		serve_one("tcp:127.0.0.1:0", o);
		serve_one("tcp:localhost:0", o);
		if (has_ipv6())
			serve_one("tcp:[::1]:0", o);
	}
	cr_assert_eq(rmdir(folder), 0, "something is left");
}

/* A client of its own making, bound to an address, or not. */
static int connect_from(const char *path, bool is_abstract, const struct sockaddr_un *to)
{
	struct sockaddr_un from = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t n = strlen(path);

	memcpy(from.sun_path + is_abstract, path, n);
	if (n > 0)
		cr_assert_eq(bind(fd, (struct sockaddr *)&from,
				  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1)),
			     0);
	cr_assert_eq(connect(fd, (const struct sockaddr *)to, sizeof(*to)), 0);
	return fd;
}

static void accept_from(struct mps_listener *l, int fd, const char *want)
{
	struct mps_connection *c;

	cr_assert_eq(mps_listener_accept(l, &c, LIMIT), 0);
	mps_connection_close(c);
	close(fd);
	cr_expect_str_eq(mps_listener_last_accepted(l), want);
}

Test(listener, who_came_last_is_known_by_its_address)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char name[64], want[80];
	struct mps_connection *c, *peer;
	struct mps_listener *l;

	make_folder();
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", in_folder("", "to"));
	l = listening(in_folder("unix:", "to"), NULL);
	cr_expect_str_eq(mps_listener_last_accepted(l), "");
	accept_from(l, connect_from(in_folder("", "from"), false, &to), in_folder("unix:", "from"));
	accept_from(l, connect_from("", false, &to), "");
	snprintf(name, sizeof(name), "mpsup-from-%d", (int)getpid());
	snprintf(want, sizeof(want), "abstract:%s", name);
	accept_from(l, connect_from(name, true, &to), want);
	mps_listener_close(l);
	cr_expect_eq(unlink(in_folder("", "from")), 0);
	cr_expect_eq(rmdir(folder), 0);

	l = listening("tcp:127.0.0.1:0", NULL);
	cr_assert_eq(mps_connect(mps_listener_address(l), NULL, &c, LIMIT), 0);
	cr_assert_eq(mps_listener_accept(l, &peer, LIMIT), 0);
	cr_expect_eq(strncmp(mps_listener_last_accepted(l), "tcp:127.0.0.1:", 14), 0);
	cr_expect_str_neq(mps_listener_last_accepted(l), mps_listener_address(l));
	mps_connection_close(c);
	mps_connection_close(peer);
	mps_listener_close(l);
}

static const char *const no_addresses[] = {
	"",	      "/tmp/x",		 "unix:",    "unix:/tmp/",	    "abstract:",
	"tcp:",	      "tcp:80",		 "tcp::80",  "tcp:host:",	    "tcp:::1:80",
	"tcp:a:b:80", "udp:127.0.0.1:1", "tcp:[]:1", "tcp:127.0.0.1:http!",
};

Test(listener, what_is_no_address_is_refused)
{
	struct mps_connection *c;
	struct mps_listener *l;

	for (size_t i = 0; i < sizeof(no_addresses) / sizeof(*no_addresses); i++) {
		cr_assert_lt(mps_listen(no_addresses[i], NULL, &l), 0, "%s", no_addresses[i]);
		cr_assert_lt(mps_connect(no_addresses[i], NULL, &c, LIMIT), 0);
	}
	cr_assert_eq(mps_listen("x:", NULL, &l), -EINVAL);
	cr_assert_eq(mps_connect("x:", NULL, &c, LIMIT), -EINVAL);
	cr_assert_eq(mps_connect("unix:/nonexistent/x", NULL, &c, LIMIT), -ENOENT);
	cr_assert_eq(mps_connect("abstract:mpsup-nobody", NULL, &c, LIMIT), -ECONNREFUSED);
}

Test(listener, the_path_of_a_socket_may_be_long)
{
	char deep[8192], name[201];

	make_folder();
	memset(name, 'd', sizeof(name) - 1);
	name[200] = '\0';
	snprintf(deep, sizeof(deep), "%s/%s", folder, name);
	cr_assert_eq(mkdir(deep, 0700), 0);
	snprintf(deep, sizeof(deep), "unix:%s/%s/socket", folder, name);
	serve_one(deep, &keyed);
	/* Also where nobody has chosen it. */
	cr_assert_eq(setenv("TMPDIR", in_folder("", name), 1), 0);
	serve_one(NULL, NULL);
	cr_assert_eq(rmdir(address_path(in_folder("unix:", name))), 0);
	cr_assert_eq(rmdir(folder), 0);
}

Test(listener, the_sockets_file_is_ours_alone_and_goes_with_the_listener)
{
	struct mps_listener *l, *other;
	struct stat st;
	const char *address;
	pid_t pid;

	make_folder();
	address = in_folder("unix:", "s");
	umask(0);
	l = listening(address, NULL);
	cr_assert_eq(lstat(address_path(address), &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(mps_listen(address, NULL, &other), -EADDRINUSE);
	pid = child();
	if (pid == 0) {
		mps_listener_close(l); /* a copy's end is not the socket's */
		_exit(0);
	}
	cr_assert_eq(status_of(pid), 0);
	cr_assert_eq(lstat(address_path(address), &st), 0);
	cr_assert_eq(unlink(address_path(address)), 0);
	other = listening(address, NULL);
	mps_listener_close(l);
	cr_assert_eq(lstat(address_path(address), &st), 0, "another one's file is not removed");
	mps_listener_close(other);
	cr_assert_lt(lstat(address_path(address), &st), 0);
	cr_assert_eq(rmdir(folder), 0);
}

Test(listener, a_killed_listeners_file_does_not_keep_the_next_one_away)
{
	const char *address;
	pid_t pid;

	make_folder();
	address = in_folder("unix:", "s");
	pid = child();
	if (pid == 0) {
		struct mps_listener *l;

		_exit(mps_listen(address, NULL, &l) != 0);
	}
	cr_assert_eq(status_of(pid), 0);
	cr_assert_eq(access(address_path(address), F_OK), 0);
	serve_one(address, NULL);
	cr_assert_eq(close(open(address_path(address), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	cr_assert_eq(mps_listen(address, NULL, &(struct mps_listener *){ NULL }), -EADDRINUSE,
		     "a file that is no socket stays");
	cr_assert_eq(unlink(address_path(address)), 0);
	cr_assert_eq(rmdir(folder), 0);
}

Test(listener, a_wrong_key_is_refused_and_the_right_one_served)
{
	struct mps_listener *l = listening(NULL, &keyed);
	pid_t bad = child(), good;

	if (bad == 0) {
		struct mps_connection *c;

		_exit(mps_connect(mps_listener_address(l), &wrong, &c, LIMIT) == -EACCES ? 0 : 1);
	}
	good = child();
	if (good == 0)
		client(mps_listener_address(l), &keyed);
	echo(l);
	cr_assert_eq(status_of(good), 0);
	while (waitpid(bad, NULL, WNOHANG) == 0) {
		struct mps_connection *c;

		cr_assert_eq(mps_listener_accept(l, &c, MPS_MILLISECOND), -ETIMEDOUT);
	}
	mps_listener_close(l);
}

/* What a listener of theirs without a key does: it is silent. */
Test(listener, a_handshake_ends_in_time)
{
	struct mps_address_options o = keyed;
	struct mps_listener *l = listening(NULL, NULL);
	struct mps_connection *c;

	o.handshake = 20 * MPS_MILLISECOND;
	cr_assert_eq(mps_connect(mps_listener_address(l), &o, &c, MPS_FOREVER), -ETIMEDOUT);
	o.handshake = 0;
	cr_assert_eq(mps_connect(mps_listener_address(l), &o, &c, 20 * MPS_MILLISECOND),
		     -ETIMEDOUT);
	mps_listener_close(l);
}

Test(listener, nobody_comes)
{
	struct mps_listener *l = listening("tcp:127.0.0.1:0", &keyed);
	struct mps_connection *c;

	cr_assert_eq(mps_listener_accept(l, &c, 0), -ETIMEDOUT);
	cr_assert_eq(mps_listener_accept(l, &c, 1000), -ETIMEDOUT);
	mps_listener_close(l);
}

static size_t n_open(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int silent(const char *address)
{
	int fd = address_connect(address, (struct mps_time){ INT64_MAX });

	cr_assert_geq(fd, 0);
	return fd;
}

Test(listener, silent_ones_hold_up_nobody_and_are_dropped_in_time)
{
	struct mps_address_options o = keyed;
	struct mps_listener *l;
	struct mps_connection *c;
	int quiet[20];
	size_t before;
	pid_t pid;
	char byte;

	o.handshake = 100 * MPS_MILLISECOND;
	l = listening(NULL, &o);
	for (int i = 0; i < 20; i++)
		quiet[i] = silent(mps_listener_address(l));
	before = n_open();
	pid = child();
	if (pid == 0)
		client(mps_listener_address(l), &keyed);
	echo(l);
	cr_assert_eq(status_of(pid), 0);
	/* Nobody speaks any more: the timer alone makes the descriptor readable. */
	while (n_open() > before)
		cr_assert_eq(mps_listener_accept(l, &c, 10 * MPS_MILLISECOND), -ETIMEDOUT);
	for (int i = 0; i < 20; i++) {
		while (read(quiet[i], &byte, 1) > 0)
			;
		close(quiet[i]);
	}
	mps_listener_close(l);
}

static void limit_fds(rlim_t n)
{
	struct rlimit limit = { n, n };

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

Test(listener, two_hundred_silent_ones_and_a_table_of_64)
{
	struct mps_listener *l = listening(NULL, &keyed);
	int ready[2];
	pid_t crowd, good;
	char byte;

	cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
	crowd = child();
	if (crowd == 0) {
		for (int i = 0; i < 200; i++)
			silent(mps_listener_address(l));
		cr_assert_eq(fd_write_all(ready[1], "x", 1), 0);
		pause();
	}
	limit_fds(64);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	for (int i = 0; i < 3; i++) {
		good = child();
		if (good == 0)
			client(mps_listener_address(l), &keyed);
		echo(l);
		cr_assert_eq(status_of(good), 0);
	}
	kill(crowd, SIGKILL);
	status_of(crowd);
	mps_listener_close(l);
}

Test(listener, a_table_that_others_have_filled_is_told_and_nothing_spins)
{
	struct mps_listener *l = listening(NULL, &keyed);
	struct mps_connection *c;
	int fds[64], n = 0;
	pid_t pid;

	pid = child();
	if (pid == 0) {
		int r = mps_connect(mps_listener_address(l), &keyed, &c, LIMIT);

		_exit(r == -ECONNRESET ? 0 : 1);
	}
	limit_fds(64);
	while ((fds[n] = dup(0)) >= 0)
		n++;
	cr_assert_eq(mps_listener_accept(l, &c, LIMIT), -EMFILE);
	cr_assert_eq(mps_listener_accept(l, &c, 10 * MPS_MILLISECOND), -ETIMEDOUT);
	cr_assert_eq(status_of(pid), 0);
	while (n > 0)
		close(fds[--n]);
	pid = child();
	if (pid == 0)
		client(mps_listener_address(l), &keyed);
	echo(l);
	cr_assert_eq(status_of(pid), 0);
	mps_listener_close(l);
}

Test(listener, many_clients_at_once_are_all_served)
{
	enum { N = 60 };
	struct mps_listener *l = listening(NULL, &keyed);
	pid_t pids[N];

	for (int i = 0; i < N; i++) {
		pids[i] = child();
		if (pids[i] == 0)
			client(mps_listener_address(l), &keyed);
	}
	for (int i = 0; i < N; i++)
		echo(l);
	for (int i = 0; i < N; i++)
		cr_assert_eq(status_of(pids[i]), 0);
	mps_listener_close(l);
}

Test(listener, a_full_backlog_is_waited_for)
{
	struct mps_address_options o = { .backlog = 1 };
	struct mps_listener *l = listening(NULL, &o);
	struct mps_connection *c;
	int waiting[2];
	pid_t pid;

	for (int i = 0; i < 2; i++)
		waiting[i] = silent(mps_listener_address(l));
	cr_assert_eq(mps_connect(mps_listener_address(l), NULL, &c, 0), -ETIMEDOUT);
	cr_assert_eq(mps_connect(mps_listener_address(l), NULL, &c, 10 * MPS_MILLISECOND),
		     -ETIMEDOUT);
	pid = child();
	if (pid == 0)
		client(mps_listener_address(l), NULL);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(mps_listener_accept(l, &c, LIMIT), 0);
		mps_connection_close(c);
		close(waiting[i]);
	}
	echo(l);
	cr_assert_eq(status_of(pid), 0);
	mps_listener_close(l);
}

/* The other side says what it says only before the challenge, at once, or much too long. */
Test(listener, who_does_not_speak_the_language_is_dropped)
{
	static const struct {
		const char *p;
		size_t n;
	} rows[] = {
		{ "GET / HTTP/1.1\r\n\r\n", 18 },
		{ "\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 12 },
		{ "\0\0\1\1", 4 },
		{ "\0\0\0\0", 4 },
		{ "\0\0\0\x9#WELCOME#", 13 },
	};
	struct mps_listener *l = listening("tcp:127.0.0.1:0", &keyed);
	struct mps_connection *c;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int fd = silent(mps_listener_address(l));
		char room[256];
		ssize_t r;

		cr_assert_eq(fd_write_all(fd, rows[i].p, rows[i].n), 0);
		cr_assert_eq(mps_listener_accept(l, &c, 5 * MPS_MILLISECOND), -ETIMEDOUT);
		while ((r = read(fd, room, sizeof(room))) > 0)
			;
		cr_assert(r == 0 || errno == ECONNRESET);
		close(fd);
	}
	mps_listener_close(l);
}

Test(listener, without_a_key_only_ones_own_user_is_let_in)
{
	char name[64];
	struct mps_listener *l;
	struct mps_connection *c;
	pid_t pid;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	snprintf(name, sizeof(name), "abstract:mpsup-unit-%d", (int)getpid());
	if (setegid(65534) < 0 || seteuid(65534) < 0)
		cr_skip_test("cannot become another user");
	l = listening(name, NULL);
	pid = child();
	if (pid == 0) {
		const void *p;
		size_t n;

		if (seteuid(0) < 0 || setegid(1) < 0 || setresuid(1, 1, 1) < 0)
			_exit(3);
		if (mps_connect(name, NULL, &c, LIMIT) != 0)
			_exit(1);
		_exit(mps_recv(c, &p, &n, LIMIT) == -ENODATA ? 0 : 2);
	}
	while (waitpid(pid, &(int){ 0 }, WNOHANG) == 0)
		cr_assert_eq(mps_listener_accept(l, &c, 5 * MPS_MILLISECOND), -ETIMEDOUT);
	mps_listener_close(l);
	cr_assert(seteuid(0) == 0 && setegid(0) == 0);
	prctl(PR_SET_DUMPABLE, 1); /* for who looks for leaks at the exit */
}
