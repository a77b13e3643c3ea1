/*
 * The manager's server by raw frames, beside a bare epoll RPC of as many bytes (which answers with what it got) and
 * redis-server on a unix socket (where there is one): a client that waits for each answer, 8 of those, one that sends many requests
 * ahead, 8 of those. In turn, round after round.
 * manager [-r ROUNDS] [-p PART]
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/un.h>

#include "bench.h"
#include "../manager_raw.h"
#include "base/mtime.h"
#include "proc/pidfd.h"
#include "stat.h"

enum { CLIENTS = 8, AHEAD = 256 };
static int round_ms = 300;
enum { BARE, MANAGER, N_KINDS };
static const char *const names[N_KINDS] = { LIMIT, "mpsup" };
static char folder[] = "/tmp/mpsup-bench.XXXXXX";
static char paths[N_KINDS][64];

/* ---------------------------------------------------------------------------------------------------- bare */

static void echo(int fd)
{
	char room[1 << 16];
	ssize_t n = recv(fd, room, sizeof(room), 0);

	if (n <= 0 || send(fd, room, (size_t)n, MSG_NOSIGNAL) != n)
		close(fd);
}

static _Noreturn void be_bare(int listener)
{
	int set = epoll_create1(0);
	struct epoll_event e = { .events = EPOLLIN, .data.fd = listener };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	epoll_ctl(set, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		struct epoll_event events[64];
		int n = epoll_wait(set, events, 64, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd != listener) {
				echo(events[i].data.fd);
				continue;
			}
			e.data.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			epoll_ctl(set, EPOLL_CTL_ADD, e.data.fd, &e);
		}
	}
}

static pid_t start_bare(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	strcpy(a.sun_path, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0)
		die(path);
	pid = fork();
	if (pid == 0)
		be_bare(fd);
	close(fd);
	return pid;
}

static pid_t start_manager(const char *path)
{
	char address[80];
	struct mps_manager_options o = { .address = address };

	snprintf(address, sizeof(address), "unix:%s", path);
	return raw_serve(&o);
}

/* ---------------------------------------------------------------------------------------------------- clients */

/* A get() of a dict by a key of 8 bytes, the value a number. */
static size_t make_request(struct raw *c, int kind, char *to)
{
	struct raw_answer a;
	int64_t handle = 1;
	void *args;
	size_t n;

	if (kind == MANAGER) {
		handle = raw_create(c, "dict", "d", MPS_OBJECT_EXISTING);
		if (handle < 0 || raw_call(c, (uint32_t)handle, 1, 0, &a, "[si]", "key45678",
					   INT64_C(123456)) < 0)
			die("dict");
	}
	mps_pack(&args, &n, "[s]", "key45678");
	n = raw_request(to, 1, (uint32_t)handle, 0, 0, args, n);
	free(args);
	return n;
}

static void read_bytes(int fd, size_t n)
{
	static char room[1 << 16];

	while (n > 0) {
		ssize_t r = recv(fd, room, n < sizeof(room) ? n : sizeof(room), 0);

		if (r <= 0)
			die("recv");
		n -= (size_t)r;
	}
}

/* Requests in round_ms, `ahead` at a time. */
static uint64_t run_client(int kind, unsigned ahead)
{
	static char batch[AHEAD * 64];
	struct raw c = { .fd = fd_connect_unix(SOCK_STREAM, paths[kind]) };
	size_t n, size, answer;
	uint64_t done = 0;
	int64_t end;

	if (c.fd < 0 || (kind == MANAGER && raw_open(&c, c.fd, false) < 0))
		die("connect");
	size = make_request(&c, kind, batch);
	for (n = 1; n < ahead; n++)
		memcpy(batch + n * size, batch, size);
	answer = kind == BARE ? size : 4 + sizeof(struct wire_answer) + 5;
	end = mps_now().ns + round_ms * MPS_MILLISECOND;
	while (mps_now().ns < end) {
		if (raw_write(&c, batch, ahead * size) < 0)
			die("send");
		read_bytes(c.fd, ahead * answer);
		done += ahead;
	}
	raw_close(&c);
	return done;
}

static double run(int kind, unsigned clients, unsigned ahead)
{
	int ends[2];
	uint64_t all = 0, one;

	if (clients == 1)
		return (double)run_client(kind, ahead) * 1000 / round_ms;
	if (pipe(ends) < 0)
		die("pipe");
	for (unsigned i = 0; i < clients; i++)
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			one = run_client(kind, ahead);
			_exit(write(ends[1], &one, sizeof(one)) != sizeof(one));
		}
	for (unsigned i = 0; i < clients; i++) {
		if (read(ends[0], &one, sizeof(one)) != sizeof(one))
			die("client");
		all += one;
	}
	for (unsigned i = 0; i < clients; i++)
		wait(NULL);
	close(ends[0]);
	close(ends[1]);
	return (double)all * 1000 / round_ms;
}

/* ---------------------------------------------------------------------------------------------------- redis */

/* It says when it is ready, as to systemd, or ends, where it is not there. */
static pid_t start_redis(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct pollfd p[2] = { { .events = POLLIN }, { .events = POLLIN } };
	pid_t pid;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/ready", folder);
	p[0].fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (p[0].fd < 0 || bind(p[0].fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die(a.sun_path);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setenv("NOTIFY_SOCKET", a.sun_path, 1);
		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path,
		       "--save", "", "--appendonly", "no", "--dir", folder, "--supervised",
		       "systemd", (char *)NULL);
		_exit(127);
	}
	p[1].fd = pidfd_open_child(pid);
	poll(p, 2, 10000);
	close(p[0].fd);
	close(p[1].fd);
	unlink(a.sun_path);
	return pid;
}

/* GETs a second as redis-benchmark says; 0 = it is not there. */
static double run_redis(const char *path, unsigned clients, unsigned ahead)
{
	char command[256];
	double rate = 0;
	FILE *f;

	snprintf(command, sizeof(command),
		 "redis-benchmark -s %s -t get -c %u -P %u -n %u --csv 2>/dev/null", path, clients,
		 ahead, (ahead > 1 ? 400000 : 20000) * round_ms / 300);
	f = popen(command, "r");
	if (f == NULL)
		return 0;
	while (fgets(command, sizeof(command), f) != NULL)
		sscanf(command, "\"GET\",\"%lf\"", &rate);
	pclose(f);
	return rate;
}

static void bench(const char *what, unsigned clients, unsigned ahead, int rounds, const char *redis)
{
	struct samples s[N_KINDS] = { 0 }, other = { 0 };

	for (int i = 0; i < rounds; i++) {
		double rate = run_redis(redis, clients, ahead) / 1e3;

		for (int k = 0; k < N_KINDS; k++)
			samples_add(&s[k], run(k, clients, ahead) / 1e3);
		if (rate > 0)
			samples_add(&other, rate);
		else
			say_missing("redis-server");
	}
	for (int k = 0; k < N_KINDS; k++)
		samples_say(&s[k], what, names[k], "k/s");
	samples_say(&other, what, "redis", "k/s");
}

int main(int argc, char **argv)
{
	char redis[64];
	pid_t pids[3];
	double part = 1;
	int rounds = 1;

	if (!take_options(argc, argv, &rounds, &part))
		return 2;
	round_ms = (int)(round_ms * part) + 1;
	if (mkdtemp(folder) == NULL)
		die(folder);
	for (int k = 0; k < N_KINDS; k++)
		snprintf(paths[k], sizeof(paths[k]), "%s/%d", folder, k);
	snprintf(redis, sizeof(redis), "%s/redis", folder);
	pids[0] = start_bare(paths[BARE]);
	pids[1] = start_manager(paths[MANAGER]);
	pids[2] = start_redis(redis);
	if (pids[0] < 0 || pids[1] < 0 || pids[2] < 0)
		die("start");
	bench("dict get, 1 client", 1, 1, rounds, redis);
	bench("dict get, 8 clients", CLIENTS, 1, rounds, redis);
	bench("dict get, 1 client, 256 ahead", 1, AHEAD, rounds, redis);
	bench("dict get, 8 clients, 256 ahead", CLIENTS, AHEAD, rounds, redis);
	for (int i = 0; i < 3; i++) {
		kill(pids[i], i == 1 ? SIGTERM : SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	unlink(paths[BARE]);
	unlink(redis);
	return rmdir(folder) < 0 ? 1 : 0;
}
