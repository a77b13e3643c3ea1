/*
 * The manager's server with its sockets: who is let in, who is not, who holds up nobody, and its end.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <criterion/criterion.h>

#include "../manager_raw.h"
#include "base/fd.h"
#include "base/mtime.h"
#include "ipc/address.h"

static char folder[64], path[96], address[112], snapshot[96];
static struct mps_manager_options options;
static pid_t server;
static struct raw c;
static struct raw_answer a;

static void begin(void)
{
	alarm(100);
	strcpy(folder, "/tmp/mpsup-serve.XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/socket", folder);
	snprintf(address, sizeof(address), "unix:%s", path);
	snprintf(snapshot, sizeof(snapshot), "%s/snapshot", folder);
	options = (struct mps_manager_options){ .address = address };
}

static void serve(void)
{
	server = raw_serve(&options);
	cr_assert_gt(server, 0);
}

static int wait_for(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void stop(void)
{
	kill(server, SIGTERM);
	cr_assert_eq(wait_for(server), 0);
	cr_assert_neq(access(path, F_OK), 0, "the socket is removed");
}

static void end(void)
{
	stop();
	unlink(snapshot);
	cr_assert_eq(rmdir(folder), 0);
}

static int64_t number_of(const char *name)
{
	const char *key;
	const void *p;
	size_t n, n_key;
	int64_t value = -1, first;

	cr_assert_eq(raw_ask(&c, 0, WIRE_INFO, 0, NULL, 0, &a), 0);
	/* A map of text and numbers, walked by its pieces. */
	p = (const char *)a.value + 1;
	n = a.n - 1;
	while (n > 0) {
		n_key = *(const uint8_t *)p & 0x1f;
		key = (const char *)p + 1;
		p = key + n_key;
		n -= 1 + n_key;
		for (size_t size = 1; size <= n; size++)
			if (mps_unpack(p, size, "i", &first) == 0) {
				if (n_key == strlen(name) && memcmp(key, name, n_key) == 0)
					value = first;
				p = (const char *)p + size;
				n -= size;
				break;
			}
	}
	return value;
}

Test(manager_serve, local_clients_are_ours_alone)
{
	struct stat st;

	begin();
	serve();
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(raw_connect(&c, path, true), 0);
	cr_assert_eq(c.n_fds, 2, "the bell and the life");
	cr_assert_eq(number_of("clients"), 1);
	cr_assert_eq(number_of("pid"), server);
	raw_close(&c);
	end();
}

/* Whom no file's mode keeps out. */
Test(manager_serve, another_user_is_not_answered)
{
	char at[64], name[64];
	pid_t pid;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	begin();
	snprintf(at, sizeof(at), "abstract:mpsup-serve-%d", (int)getpid());
	snprintf(name, sizeof(name), "@mpsup-serve-%d", (int)getpid());
	options.address = at;
	serve();
	cr_assert_eq(raw_connect(&c, name, true), 0);
	raw_close(&c);
	pid = fork();
	if (pid == 0) {
		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(3);
		_exit(raw_connect(&c, name, true) < 0 && c.fd >= 0 ? 0 : 4);
	}
	cr_assert_eq(wait_for(pid), 0);
	end();
}

Test(manager_serve, memory_comes_with_the_answer)
{
	begin();
	serve();
	cr_assert_eq(raw_connect(&c, path, true), 0);
	for (int i = 0; i < 2; i++)
		fd_close(&c.fds[i]);
	c.n_fds = 0;
	cr_assert_gt(raw_create(&c, "lock", NULL, 0), 0);
	cr_assert_eq(a.seq, a.seq);
	cr_assert_geq(c.n_fds, 1);
	cr_assert_eq(raw_create(&c, "dict", NULL, 0) > 0, true);
	raw_close(&c);
	/* Who does not want it gets none. */
	cr_assert_eq(raw_connect(&c, path, false), 0);
	cr_assert_gt(raw_create(&c, "lock", NULL, 0), 0);
	cr_assert_eq(c.n_fds, 0);
	raw_close(&c);
	end();
}

static void client_dies(bool shares)
{
	int ends[2], child[2];
	struct raw other;
	pid_t pid;
	char byte;

	begin();
	serve();
	cr_assert_eq(raw_connect(&c, path, false), 0);
	cr_assert(pipe(ends) == 0 && pipe(child) == 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		raw_connect(&other, path, shares);
		raw_create(&other, "dict", "its", 0);
		if (fork() == 0) {
			close(child[1]);
			_exit(read(child[0], &byte, 1) != 0); /* with the socket, until we close */
		}
		_exit(write(ends[1], "x", 1) != 1 || pause());
	}
	close(child[0]);
	close(ends[1]);
	cr_assert_eq(read(ends[0], &byte, 1), 1);
	cr_assert_eq(number_of("clients"), 2);
	/* What waits for its death is asked by its death. */
	kill(pid, SIGKILL);
	wait_for(pid);
	if (!shares) {
		cr_assert_eq(number_of("clients"), 2);
		cr_assert_eq(number_of("objects"), 1);
		close(child[1]);
	}
	while (number_of("clients") != 1)
		; /* an answer a turn, and alarm() */
	cr_assert_eq(number_of("objects"), 0);
	if (shares)
		close(child[1]);
	close(ends[0]);
	raw_close(&c);
	end();
}

Test(manager_serve, a_client_that_dies_is_gone_although_a_child_has_its_socket)
{
	client_dies(true);
}

Test(manager_serve, what_shares_no_memory_is_its_connection_whoever_has_it)
{
	client_dies(false);
}

Test(manager_serve, a_full_table_of_descriptors_is_told_and_recovers)
{
	enum { MANY = 100 };
	struct rlimit few = { 64, 64 }, before;
	struct raw all[MANY] = { 0 };
	struct timespec used[2];
	clockid_t clock;
	int busy = 0, open = 0;

	begin();
	getrlimit(RLIMIT_NOFILE, &before);
	pid_t pid = fork();
	if (pid == 0) {
		/* The server gets this limit. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setrlimit(RLIMIT_NOFILE, &few);
		const char *why;
		_exit(mps_manager_serve(&options, -1, &why) < 0);
	}
	server = pid;
	while ((c.fd = fd_connect_unix(SOCK_STREAM, path)) < 0)
		cr_assert_eq(waitpid(pid, NULL, WNOHANG), 0);
	cr_assert_eq(raw_open(&c, c.fd, false), 0);
	for (int i = 0; i < MANY; i++) {
		int fd = fd_connect_unix(SOCK_STREAM, path), r;

		cr_assert_geq(fd, 0);
		r = raw_open(&all[i], fd, false);
		/* It may have been told before it has said anything. */
		cr_assert(r == 0 || r == -EBUSY || r == -EPIPE || r == -ECONNRESET, "%d", r);
		open += r == 0;
		busy += r == -EBUSY || (r == -EPIPE && raw_read(&all[i], &a) == 0 && a.seq == 0 &&
					a.status == -EBUSY);
	}
	cr_assert_gt(open, 10);
	cr_assert_gt(busy, 10);
	cr_assert_eq(open + busy, MANY);
	/* Nobody asks for anything, and the table is full: it does not spin. */
	cr_assert_eq(clock_getcpuclockid(pid, &clock), 0);
	clock_gettime(clock, &used[0]);
	poll(NULL, 0, 300);
	clock_gettime(clock, &used[1]);
	cr_assert_lt((used[1].tv_sec - used[0].tv_sec) * MPS_NS_PER_S + used[1].tv_nsec -
			     used[0].tv_nsec,
		     100 * MPS_MILLISECOND);
	/* The others are served all the same. */
	cr_assert_gt(raw_create(&c, "dict", NULL, 0), 0);
	for (int i = 0; i < MANY; i++)
		raw_close(&all[i]);
	while (number_of("clients") != 1)
		;
	cr_assert_eq(raw_connect(&all[0], path, false), 0);
	raw_close(&all[0]);
	raw_close(&c);
	end();
}

/* With the options, at any port: its address. */
static void serve_tcp(char at[128])
{
	char line[134] = "";
	const char *why;
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(mps_manager_serve(&options, ends[1], &why) < 0);
	}
	cr_assert_gt(read(ends[0], line, sizeof(line) - 1), 6);
	*strchr(line, '\n') = '\0';
	strcpy(at, line + 6);
	close(ends[0]);
	close(ends[1]);
}

Test(manager_serve, over_tcp_the_key_is_asked_for_and_the_silent_are_dropped)
{
	static const struct mps_address_options good = { .authkey = "secret", .authkey_size = 6 },
						bad = { .authkey = "secreT", .authkey_size = 6 };
	struct mps_connection *connection;
	char at[128], byte;
	int silent;
	const char *why;
	int64_t from;

	begin();
	options = (struct mps_manager_options){ .address = "tcp:127.0.0.1:0",
						.handshake = 300 * MPS_MILLISECOND };
	cr_assert_eq(mps_manager_serve(&options, -1, &why), -EINVAL, "without a key");
	cr_assert_not_null(strstr(why, "key"));
	options.authkey = "secret";
	options.authkey_size = 6;
	serve_tcp(at);
	from = mps_now().ns;
	silent = address_connect(at, (struct mps_time){ INT64_MAX });
	cr_assert_geq(silent, 0);
	cr_assert_eq(mps_connect(at, &bad, &connection, MPS_FOREVER), -EACCES);
	cr_assert_eq(mps_connect(at, &good, &connection, MPS_FOREVER), 0);
	cr_assert_eq(raw_open(&c, fcntl(mps_connection_fileno(connection), F_DUPFD_CLOEXEC, 3),
			      true),
		     0);
	mps_connection_close(connection);
	cr_assert_eq(c.n_fds, 0);
	cr_assert_gt(raw_create(&c, "dict", NULL, 0), 0);
	while (recv(silent, &byte, 1, 0) > 0)
		; /* the challenge */
	cr_assert_geq(mps_now().ns - from, 300 * MPS_MILLISECOND);
	close(silent);
	raw_close(&c);
	end();
}

Test(manager_serve, strangers_over_tcp_cannot_keep_others_out)
{
	static const struct mps_address_options good = { .authkey = "k", .authkey_size = 1 };
	enum { MANY = 100 };
	struct mps_connection *connection;
	int fds[MANY];
	char at[128];

	begin();
	options = (struct mps_manager_options){ .address = "tcp:127.0.0.1:0",
						.authkey = "k",
						.authkey_size = 1,
						.handshake = 60 * MPS_SECOND };
	serve_tcp(at);
	for (int i = 0; i < MANY; i++)
		fds[i] = address_connect(at, (struct mps_time){ INT64_MAX });
	cr_assert_eq(mps_connect(at, &good, &connection, 30 * MPS_SECOND), 0);
	mps_connection_close(connection);
	for (int i = 0; i < MANY; i++)
		close(fds[i]);
	end();
}

Test(manager_serve, who_does_not_read_holds_up_nobody)
{
	enum { BIG = 200000 };
	struct raw slow;
	uint8_t frame[64];
	char *value = calloc(1, BIG);
	void *args;
	size_t n;
	int sent = 0;

	begin();
	serve();
	cr_assert_eq(raw_connect(&c, path, false), 0);
	cr_assert_eq(raw_connect(&slow, path, false), 0);
	cr_assert_eq(raw_create(&slow, "dict", NULL, 0), 1);
	cr_assert_eq(mps_pack(&args, &n, "[ib]", INT64_C(1), value, (size_t)BIG), 0);
	cr_assert_eq(raw_ask(&slow, 1, 1, 0, args, n, &a), 0);
	free(args);
	n = raw_request(frame, 1, 1, 0, 0, "\x91\x01", 2);
	/* Until the server does not take any more of it. */
	while (send(slow.fd, frame, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n)
		sent++;
	cr_assert_gt(sent, 100);
	cr_assert_gt(raw_create(&c, "dict", NULL, 0), 0);
	cr_assert_eq(number_of("clients"), 2);
	/* It gets all of them when it reads. */
	for (int i = 0; i < sent && i < 100; i++)
		cr_assert(raw_read(&slow, &a) == 0 && a.status == 0 && a.n > BIG);
	raw_close(&slow);
	raw_close(&c);
	free(value);
	end();
}

static _Noreturn void exit_if_gone(int fd)
{
	char byte;

	_exit(recv(fd, &byte, 1, 0) != 0);
}

Test(manager_serve, a_killed_server_is_followed_by_the_next)
{
	pid_t waiting;

	begin();
	serve();
	cr_assert_eq(raw_connect(&c, path, false), 0);
	waiting = fork();
	if (waiting == 0)
		exit_if_gone(c.fd);
	kill(server, SIGKILL);
	cr_assert_eq(wait_for(server), -SIGKILL);
	cr_assert_eq(wait_for(waiting), 0);
	raw_close(&c);
	cr_assert_eq(access(path, F_OK), 0);
	serve();
	cr_assert_eq(raw_connect(&c, path, false), 0);
	/* And two at once there are not. */
	const char *why;
	cr_assert_eq(mps_manager_serve(&options, -1, &why), -EADDRINUSE);
	cr_assert_not_null(strstr(why, path));
	cr_assert_gt(raw_create(&c, "list", NULL, 0), 0);
	raw_close(&c);
	end();
}

Test(manager_serve, shutdown_is_answered)
{
	begin();
	serve();
	cr_assert_eq(raw_connect(&c, path, false), 0);
	cr_assert_eq(raw_ask(&c, 0, WIRE_SHUTDOWN, 0, NULL, 0, &a), 0);
	cr_assert_eq(wait_for(server), 0);
	cr_assert_eq(raw_read(&c, &a), -ECONNRESET);
	raw_close(&c);
	cr_assert_eq(rmdir(folder), 0);
}

/* The snapshot has its name. */
static void await_snapshot(int watch)
{
	char events[4096];

	while (access(snapshot, F_OK) < 0)
		cr_assert_gt(read(watch, events, sizeof(events)), 0);
}

Test(manager_serve, a_snapshot_is_written_soon_and_at_the_end)
{
	int watch = inotify_init1(IN_CLOEXEC);

	begin();
	options.snapshot = snapshot;
	cr_assert_geq(inotify_add_watch(watch, folder, IN_MOVED_TO), 0);
	serve();
	cr_assert_eq(raw_connect(&c, path, false), 0);
	cr_assert_eq(raw_create(&c, "dict", "d", MPS_OBJECT_KEEP), 1);
	cr_assert_eq(raw_call(&c, 1, 1, 0, &a, "[ss]", "k", "soon"), 0);
	await_snapshot(watch);
	kill(server, SIGKILL);
	wait_for(server);
	raw_close(&c);
	serve();
	cr_assert_eq(raw_connect(&c, path, false), 0);
	cr_assert_eq(raw_create(&c, "dict", "d", MPS_OBJECT_EXISTING), 1);
	cr_assert_eq(raw_call(&c, 1, 0, 0, &a, "[s]", "k"), 0);
	cr_assert(a.n == 5 && memcmp(a.value, "\xa4soon", 5) == 0);
	cr_assert_eq(raw_call(&c, 1, 1, 0, &a, "[ss]", "k", "last"), 0);
	stop();
	raw_close(&c);
	serve();
	cr_assert_eq(raw_connect(&c, path, false), 0);
	cr_assert_eq(raw_create(&c, "dict", "d", MPS_OBJECT_EXISTING), 1);
	cr_assert_eq(raw_call(&c, 1, 0, 0, &a, "[s]", "k"), 0);
	cr_assert(a.n == 5 && memcmp(a.value, "\xa4last", 5) == 0);
	raw_close(&c);
	close(watch);
	end();
}

Test(manager_serve, a_damaged_snapshot_is_refused_and_stays)
{
	const char *why;
	struct stat st;
	int fd;

	begin();
	options.snapshot = snapshot;
	fd = open(snapshot, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_eq(fd_write_all(fd, "MPSSNAP1 and no more", 20), 0);
	close(fd);
	cr_assert_eq(mps_manager_serve(&options, -1, &why), -EBADMSG);
	cr_assert_not_null(strstr(why, snapshot), "%s", why);
	cr_assert_eq(stat(snapshot, &st), 0);
	cr_assert_eq(st.st_size, 20);
	cr_assert_neq(access(path, F_OK), 0);
	unlink(snapshot);
	cr_assert_eq(rmdir(folder), 0);
}

static int said[2];
static void say(const char *text)
{
	dprintf(said[1], "%s\n", text);
}

Test(manager_serve, a_snapshot_that_cannot_be_written_is_said)
{
	char text[512] = "";
	const char *why;

	begin();
	cr_assert_eq(pipe(said), 0);
	snprintf(snapshot, sizeof(snapshot), "%s/missing/file", folder);
	options.snapshot = snapshot;
	options.say = say;
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(mps_manager_serve(&options, said[1], &why) == -ENOENT && strstr(why, snapshot)
			      ? 7
			      : 0);
	}
	cr_assert_gt(read(said[0], text, sizeof(text)), 0); /* ready */
	cr_assert_eq(raw_connect(&c, path, false), 0);
	cr_assert_eq(raw_create(&c, "list", "l", MPS_OBJECT_KEEP), 1);
	cr_assert_gt(read(said[0], text, sizeof(text)), 0);
	cr_assert_not_null(strstr(text, snapshot), "%s", text);
	raw_close(&c);
	kill(server, SIGTERM);
	cr_assert_eq(wait_for(server), 7);
	close(said[0]);
	close(said[1]);
	cr_assert_eq(rmdir(folder), 0);
}

Test(manager_serve, many_clients)
{
	enum { MOST = 10000, SPARE = 100 };
	struct rlimit limit;
	int *fds = calloc(MOST, sizeof(*fds)), many;
	uint8_t frame[64];
	size_t n;

	begin();
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	/* The server has two descriptors for each. */
	many = limit.rlim_max < 2 * MOST + SPARE ? (int)(limit.rlim_max - SPARE) / 2 : MOST;
	serve();
	cr_assert_eq(raw_connect(&c, path, false), 0);
	for (int i = 0; i < many; i++) {
		fds[i] = fd_connect_unix(SOCK_STREAM, path);
		cr_assert_geq(fds[i], 0);
	}
	n = raw_request(frame, 1, 0, WIRE_HELLO, 0, "\x92\x01\xc2", 3);
	for (int i = 0; i < many; i++)
		cr_assert_eq(send(fds[i], frame, n, MSG_NOSIGNAL), (ssize_t)n);
	for (int i = 0; i < many; i++)
		cr_assert_gt(recv(fds[i], frame, sizeof(frame), 0), 16);
	cr_assert_eq(number_of("clients"), many + 1);
	for (int i = 0; i < many; i++)
		close(fds[i]);
	while (number_of("clients") != 1)
		;
	free(fds);
	raw_close(&c);
	end();
}
