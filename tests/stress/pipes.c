/*
 * A pipe outlives its consumers: one after the other is killed by SIGKILL at a moment that nobody chooses, while the
 * producer writes numbered lines. Each byte is read once and in order; missing may be only what the killed one had taken
 * out of the pipe and had not yet accounted for, which is at most one read (in packet mode one message).
 * STRESS_KILLS=1000, STRESS_MIB=1024, STRESS_SEED.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "stress.h"

enum { LINE = 16, CHUNK = 64 << 10, LIFE_US = 1200, PACKET = 4096 };

/* Shared by all consumers, one after the other, and the driver. */
struct account {
	_Atomic int64_t next; /* the offset of the next byte */
	_Atomic int64_t lost;
	_Atomic int64_t
		lives; /* consumers since something was accounted for, the one that did it too */
	_Atomic int64_t most; /* that were lost with one life */
	_Atomic int64_t kills;
	_Atomic int64_t wrong; /* bytes out of order, or again */
	_Atomic bool ended;    /* the end of the file was read */
	int64_t total, max_kills;
	uint64_t seed;
};

static char dir[4096], self[4096], mpsup[4096];

static struct account *open_account(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct account *a;

	if (fd < 0 || ftruncate(fd, sizeof(*a)) < 0)
		fail("%s: %s", path, strerror(errno));
	a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (a == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	close(fd);
	return a;
}

/* ------------------------------------------------------------------------------------------------- producer */

/* Line n: 15 digits and a newline. */
static void fill(char *to, int64_t from_line, size_t n_lines)
{
	for (size_t i = 0; i < n_lines; i++) {
		int64_t n = from_line + (int64_t)i;

		to[LINE * i + LINE - 1] = '\n';
		for (int k = LINE - 2; k >= 0; k--, n /= 10)
			to[LINE * i + (size_t)k] = (char)('0' + n % 10);
	}
}

static int produce(size_t step, int64_t total)
{
	static char chunk[CHUNK];

	for (int64_t at = 0; at < total; at += (int64_t)step) {
		fill(chunk, at / LINE, step / LINE);
		for (size_t done = 0; done < step;) {
			ssize_t n = write(1, chunk + done, step - done);

			if (n < 0)
				fail("write: %s", strerror(errno));
			done += (size_t)n;
		}
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------- consumer */

/* The kernel kills us, some time from now. */
static void arm(struct account *a)
{
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
	uint64_t kills = (uint64_t)atomic_load(&a->kills);
	uint64_t x = a->seed + kills * UINT64_C(0x9e3779b97f4a7c15);
	struct itimerspec t = { 0 };
	timer_t timer;

	x ^= x >> 29;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 32;
	t.it_value.tv_nsec = (long)(1 + x % LIFE_US) * 1000;
	atomic_fetch_add(&a->kills, 1);
	if (timer_create(CLOCK_MONOTONIC, &e, &timer) < 0 || timer_settime(timer, 0, &t, NULL) < 0)
		fail("timer: %s", strerror(errno));
}

/* From any place in the stream: the number of the first whole line tells where it is. */
static int64_t offset_of(const char *p)
{
	size_t at = 0;
	int64_t n = 0;

	while (p[at] != '\n')
		at++;
	for (size_t i = at + 1; i < at + LINE; i++)
		n = n * 10 + (p[i] - '0');
	return n * LINE - (int64_t)at - 1;
}

/* At least two lines, so that one is whole; a short read is told from the end by 0. */
static size_t read_first(char *to)
{
	size_t got = 0;

	while (got < 2 * LINE) {
		ssize_t n = read(0, to + got, CHUNK - got);

		if (n < 0)
			fail("read: %s", strerror(errno));
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return got;
}

/* What is missing was taken out by those that were killed since. */
static void miss(struct account *a, int64_t n)
{
	int64_t each = n / (atomic_load(&a->lives) > 1 ? atomic_load(&a->lives) - 1 : 1);

	atomic_fetch_add(&a->lost, n);
	if (each > atomic_load(&a->most))
		atomic_store(&a->most, each);
}

static void account_for(struct account *a, const char *p, size_t n, int64_t at, bool first)
{
	static char expected[CHUNK + 2 * LINE];
	int64_t next = atomic_load(&a->next), line = at / LINE;
	size_t skip = (size_t)(at % LINE);

	fill(expected, line, n / LINE + 2);
	if (memcmp(expected + skip, p, n) != 0 || at < next || (!first && at != next))
		atomic_fetch_add(&a->wrong, (int64_t)n);
	if (at > next)
		miss(a, at - next);
	atomic_store(&a->next, at + (int64_t)n);
	atomic_store(&a->lives, 1);
}

/* So that there is something left for each: no more than its share until all have been killed. */
static void take_a_rest(const struct account *a, int64_t begin)
{
	int64_t share = a->total / a->max_kills * 9 / 10;

	while (atomic_load(&a->kills) <= a->max_kills && atomic_load(&a->next) - begin > share)
		pause();
}

static int consume(const char *path)
{
	static char chunk[CHUNK];
	struct account *a = open_account(path);
	bool doomed = atomic_load(&a->kills) < a->max_kills;
	int64_t begin = atomic_load(&a->next);
	ssize_t n;

	atomic_fetch_add(&a->lives, 1);
	if (doomed)
		arm(a);
	n = (ssize_t)read_first(chunk);
	if (n >= 2 * LINE)
		account_for(a, chunk, (size_t)n, offset_of(chunk), true);
	else if (n > 0)
		account_for(a, chunk, (size_t)n, a->total - n, true);
	while (n > 0) {
		if (doomed)
			take_a_rest(a, begin);
		n = read(0, chunk, CHUNK);
		if (n > 0)
			account_for(a, chunk, (size_t)n, atomic_load(&a->next), false);
	}
	if (n < 0)
		fail("read: %s", strerror(errno));
	if (atomic_load(&a->next) < a->total) /* the last words of those that were killed */
		miss(a, a->total - atomic_load(&a->next));
	atomic_store(&a->ended, true);
	return 0;
}

/* --------------------------------------------------------------------------------------------------- driver */

static void write_config(const char *config, const char *mode, size_t step, int64_t total)
{
	FILE *f = fopen(config, "w");

	if (f == NULL)
		fail("%s: %s", config, strerror(errno));
	fprintf(f,
		"[supervisord]\nidentifier=stress-pipes-%d\nlogfile=NONE\nexit_on=all\n"
		"[program:producer]\ncommand=%s produce %zu %lld\nstartsecs=0\nautorestart=false\n"
		"[program:consumer]\ncommand=%s consume "
		"%s/account\nstartsecs=0\nrestart_limit=off\n"
		"[pipe:lines]\nfrom=producer\nto=consumer\nmode=%s\n",
		getpid(), self, step, (long long)total, self, dir, mode);
	if (fclose(f) != 0)
		fail("%s: %s", config, strerror(errno));
}

static bool play(const char *mode, size_t step, int64_t kills, int64_t total)
{
	char config[8192], path[8192], out[8192];
	struct account *a;
	struct timespec t0, t1;
	int status;
	bool good;
	pid_t pid;

	snprintf(config, sizeof(config), "%s/conf", dir);
	snprintf(path, sizeof(path), "%s/account", dir);
	snprintf(out, sizeof(out), "%s/out", dir);
	write_config(config, mode, step, total);
	a = open_account(path);
	memset(a, 0, sizeof(*a));
	a->total = total;
	a->max_kills = kills;
	a->seed = chance;
	clock_gettime(CLOCK_MONOTONIC, &t0);
	pid = fork();
	if (pid == 0) {
		int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		dup2(fd, 1);
		dup2(fd, 2);
		execl(mpsup, mpsup, "run", "-c", config, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		fail("mpsup run: %s", strerror(errno));
	clock_gettime(CLOCK_MONOTONIC, &t1);
	good = status == 0 && a->ended && a->wrong == 0 && a->kills == kills &&
	       a->next + a->lost >= total && a->most <= (int64_t)step;
	printf("%s: %lld MiB, %lld kills in %.1f s: %lld bytes wrong or again, %lld taken along by "
	       "the killed, at most %lld by one%s\n",
	       mode, (long long)(total >> 20), (long long)a->kills,
	       (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9,
	       (long long)a->wrong, (long long)a->lost, (long long)a->most, good ? "" : ": FAILED");
	if (!good)
		printf("status %d, ended %d, next %lld of %lld\n", status, a->ended,
		       (long long)a->next, (long long)total);
	munmap(a, sizeof(*a));
	unlink(config);
	unlink(path);
	unlink(out);
	return good;
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR");
	int64_t kills, total;
	bool good;

	if (argc == 4 && strcmp(argv[1], "produce") == 0)
		return produce((size_t)atoll(argv[2]), atoll(argv[3]));
	if (argc == 3 && strcmp(argv[1], "consume") == 0)
		return consume(argv[2]);
	find_programs(self, mpsup);
	snprintf(dir, sizeof(dir), "%.4000s/mpsup-pipes.XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL)
		fail("%s: %s", dir, strerror(errno));
	take_seed();
	kills = (int64_t)number_of("STRESS_KILLS", 1000);
	total = (int64_t)number_of("STRESS_MIB", 1024) << 20;
	good = play("stream", CHUNK, kills, total);
	good = play("packet", PACKET, kills, total / 4) && good;
	rmdir(dir);
	return good ? 0 : 1;
}
