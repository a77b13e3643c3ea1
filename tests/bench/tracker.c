/*
 * The tracker in the keeper: how many words a second one sender gets written down, what a record costs, and whether a
 * hundred thousand leaks of one instance delay the start of another. Beside it the limit of the machine: as many datagrams
 * through such a socket to somebody who only reads them.
 *
 *   tracker [-r ROUNDS] [-n RECORDS]
 */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/un.h>

#include "../keeper_peer.h"
#include "stat.h"

static int n_records = 200000;
static char dir[] = "/tmp/mps-bench.XXXXXX";

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "tracker: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double seconds_since(struct mps_time t)
{
	return (double)(mps_now().ns - t.ns) / 1e9;
}

/* ---------------------------------------------------------------------------------------------------- the sender */

static int tracker(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", getenv("MPSUP_TRACKER"));
	must(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0, a.sun_path);
	return fd;
}

static void probe(int fd)
{
	char text[32] = "PROBE:0:noop\n";

	must(send(fd, text, strlen(text), 0) > 0 && recv(fd, text, sizeof(text), 0) > 0, "probe");
}

static double say_all(int fd, const char *verb, int n)
{
	struct mps_time began = mps_now();
	char text[96];

	for (int i = 0; i < n; i++) {
		int length = snprintf(text, sizeof(text),
				      "%s:/mps-bench-worker-%08d:shared_memory\n", verb, i);

		must(send(fd, text, (size_t)length, 0) == length, "send");
	}
	probe(fd);
	return n / seconds_since(began);
}

/* Is a worker: says and answers on its output what it has measured. */
static void be_sender(void)
{
	int n = atoi(getenv("N")), fd = tracker();
	double up, down;

	probe(fd);
	up = say_all(fd, "REGISTER", n);
	down = say_all(fd, "UNREGISTER", n);
	dprintf(STDOUT_FILENO, "%.0f %.0f\n", up, down);
	say_all(fd, "REGISTER", n);
	dprintf(STDOUT_FILENO, "full\n");
	for (;;)
		pause();
}

static void be_leaker(void)
{
	int n = atoi(getenv("N")), fd = tracker();
	char name[64], text[96];

	probe(fd);
	for (int i = 0; i < n; i++) {
		int length, shm;

		snprintf(name, sizeof(name), "/mps-bench-%d-%d", (int)getpid(), i);
		length = snprintf(text, sizeof(text), "REGISTER:%s:shared_memory\n", name);
		must(send(fd, text, (size_t)length, 0) == length, "send");
		shm = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
		must(shm >= 0, name);
		close(shm);
	}
	probe(fd);
	dprintf(STDOUT_FILENO, "full\n");
	for (;;)
		pause();
}

/* ------------------------------------------------------------------------------------------------------ the keeper */

static int out[2];

static void start(struct peer *p, uint32_t instance, uint32_t gen, const char *role, int n)
{
	char role_variable[64], tracker_variable[96], n_variable[32];
	char *argv[] = { (char *)peer_self(), NULL };
	char *envp[] = { role_variable, tracker_variable, n_variable, NULL };
	struct peer_worker w = {
		.instance = instance, .gen = gen, .argv = argv, .envp = envp, .out = out[1]
	};

	snprintf(role_variable, sizeof(role_variable), PEER_ROLE "=%s", role);
	snprintf(tracker_variable, sizeof(tracker_variable), "MPSUP_TRACKER=%s/ipc.sock", dir);
	snprintf(n_variable, sizeof(n_variable), "N=%d", n);
	must(peer_start(p, &w) == 0, "start");
}

static void until(struct peer *p, enum keeper_type type, uint32_t instance, uint32_t *ret_unlinked)
{
	struct keeper_message m;

	do {
		must(peer_recv(p, &m) == 0, "the keeper says nothing");
		if (m.type == KEEPER_UNLINKED && ret_unlinked != NULL)
			++*ret_unlinked;
	} while (m.type != type || m.instance != instance);
}

static void read_line(char *to, size_t size)
{
	size_t n = 0;

	while (n + 1 < size && read(out[0], to + n, 1) == 1 && to[n] != '\n')
		n++;
	to[n] = '\0';
}

static long rss_of(pid_t pid)
{
	char path[64];
	long pages = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	f = fopen(path, "r");
	must(f != NULL && fscanf(f, "%*d %ld", &pages) == 1, path);
	fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

/* The machine's limit: a reader that does nothing with them. */
static void *only_read(void *user)
{
	char text[128];

	while (recv(*(int *)user, text, sizeof(text), 0) > 0)
		;
	return NULL;
}

static double limit_of_machine(int n)
{
	struct mps_time began;
	pthread_t reader;
	char text[96];
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0, "socketpair");
	must(pthread_create(&reader, NULL, only_read, &ends[1]) == 0, "thread");
	began = mps_now();
	for (int i = 0; i < n; i++) {
		int length = snprintf(text, sizeof(text),
				      "REGISTER:/mps-bench-worker-%08d:shared_memory\n", i);

		send(ends[0], text, (size_t)length, 0);
	}
	close(ends[0]);
	pthread_join(reader, NULL);
	close(ends[1]);
	return n / seconds_since(began);
}

static void words(struct peer *p, uint32_t gen)
{
	double up, down, limit = limit_of_machine(n_records);
	long before = rss_of(p->keeper);
	char line[128];

	start(p, 1, gen, "sender", n_records);
	until(p, KEEPER_STARTED, 1, NULL);
	read_line(line, sizeof(line));
	must(sscanf(line, "%lf %lf", &up, &down) == 2, line);
	read_line(line, sizeof(line));
	say("a word, to the tracker", LIMIT, "k/s", limit / 1e3);
	say("a word, to the tracker", "mpsup", "k/s", up / 1e3);
	say("a word, taken back", "mpsup", "k/s", down / 1e3);
	say("a record, in the keeper", "mpsup", "bytes",
	    (double)(rss_of(p->keeper) - before) / n_records);
	peer_signal(p, 1, gen, SIGKILL, KEEPER_SCOPE_TREE);
	until(p, KEEPER_EXITED, 1, NULL);
}

static void leaks(struct peer *p, uint32_t gen, int n)
{
	struct mps_time began;
	double slowest = 0;
	uint32_t unlinked = 0, g = gen * 1000;
	char line[16];

	start(p, 2, gen, "leaker", n);
	until(p, KEEPER_STARTED, 2, NULL);
	read_line(line, sizeof(line));
	peer_signal(p, 2, gen, SIGKILL, KEEPER_SCOPE_TREE);
	began = mps_now();
	/* Meanwhile others are started, one after the other. */
	for (int i = 0; i < 20; i++) {
		struct mps_time t = mps_now();

		start(p, 3, ++g, "nobody", 0);
		until(p, KEEPER_EXITED, 3, &unlinked);
		if (seconds_since(t) > slowest)
			slowest = seconds_since(t);
	}
	while (unlinked < (uint32_t)n) {
		struct keeper_message m;

		must(peer_recv(p, &m) == 0, "leaks");
		unlinked += m.type == KEEPER_UNLINKED;
	}
	say("leaks, unlinked", "mpsup", "k/s", n / seconds_since(began) / 1e3);
	say("a start meanwhile, at most", "mpsup", "ms", slowest * 1e3);
}

int main(int argc, char **argv)
{
	const struct peer_options o = { .dir = dir };
	const char *role = getenv(PEER_ROLE);
	struct peer p;
	int rounds = 1, c;

	if (role != NULL && strcmp(role, "sender") == 0)
		be_sender();
	if (role != NULL && strcmp(role, "leaker") == 0)
		be_leaker();
	if (role != NULL && strcmp(role, "nobody") == 0)
		return 0;
	if (role != NULL)
		peer_be_supervisor();
	while ((c = getopt(argc, argv, "r:n:")) != -1) {
		if (c == 'r')
			rounds = atoi(optarg);
		else if (c == 'n')
			n_records = atoi(optarg);
		else
			return 2;
	}
	must(mkdtemp(dir) != NULL, dir);
	must(pipe2(out, O_CLOEXEC) == 0, "pipe");
	must(peer_open(&p, &o), "no keeper");
	for (int i = 1; i <= rounds; i++)
		words(&p, (uint32_t)i);
	leaks(&p, 1, n_records / 5);
	must(peer_finish(&p, 0) == 0, "the keeper's end");
	return rmdir(dir) != 0;
}
