/*
 * A queue outlives those who use it: producers and consumers are killed by SIGKILL at moments that nobody chooses, and
 * others take their places. Each item is numbered. What was put is got once, in the order of its producer, or was in the
 * hands of a consumer that was killed: one item each at most. Nobody is blocked for longer than its timeout.
 * STRESS_KILLS=5000, STRESS_SEED.
 *
 * ipc_queue threads: the same with threads that live; part of the whole.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/mtime.h"
#include "mpsup.h"
#include "stress.h"

enum { SIDES = 3, ITEMS = 1 << 25, RING = 16 << 10, LONG = 20000, LIFE_US = 3000 };
/* A put or a get that takes longer, though others go on, was blocked. */
#define PATIENCE (20 * MPS_SECOND)

/* Of an item: who has put it, which one of his it is, and how often it was got. */
struct item {
	uint32_t producer, number;
	uint32_t size, sum;
};

struct account {
	/* For each item of each producer: 0 = not confirmed, else bits. */
	_Atomic uint8_t state[SIDES][ITEMS];
	_Atomic uint32_t next[SIDES]; /* the number that the producer's place is at */
	_Atomic uint32_t
		last[SIDES][SIDES]; /* by consumer's place and producer's: 1 + the latest number */
	_Atomic uint32_t lost, again, disorder, damaged, blocked;
	_Atomic bool ends;
};
enum { PUT = 1, GOT = 2 };

static struct account *a;
static struct mps_queue *q;

static uint32_t sum_of(const struct item *item, uint32_t size)
{
	const unsigned char *p = (const unsigned char *)(item + 1);
	uint32_t sum = item->producer * 31 + item->number;

	for (uint32_t i = 0; i < size; i += 61)
		sum = sum * 33 + p[i];
	return sum;
}

/* ------------------------------------------------------------------------------------------------------- the two */

static void fill(struct item *item, uint32_t place, uint32_t number)
{
	uint32_t size = number % 64 == 0 ? LONG + number % 7777 : number % 300;

	*item = (struct item){ place, number, size, 0 };
	memset(item + 1, (int)number, size);
	item->sum = sum_of(item, size);
}

static void produce(uint32_t place)
{
	static _Thread_local char room[3][sizeof(struct item) + LONG + 8000];

	while (!atomic_load(&a->ends)) {
		uint32_t number = atomic_load(&a->next[place]);
		struct mps_item items[3];
		size_t n = number % 5 == 0 ? 3 : 1;
		int r;

		if (number + n >= ITEMS)
			return;
		for (size_t i = 0; i < n; i++) {
			struct item *item = (struct item *)(void *)room[i];

			fill(item, place, number + (uint32_t)i);
			items[i] = (struct mps_item){ item, sizeof(*item) + item->size };
		}
		/* Whoever comes next does not use the numbers again, whatever becomes of us. */
		atomic_store(&a->next[place], number + (uint32_t)n);
		r = mps_queue_put_many(q, items, n, PATIENCE);
		if (r == -EPIPE)
			return;
		if (r < 0) {
			fprintf(stderr, "ipc_queue: put: %s\n", strerror(-r));
			atomic_fetch_add(&a->blocked, 1);
			return;
		}
		for (int i = 0; i < r; i++)
			atomic_fetch_or(&a->state[place][number + (uint32_t)i], PUT);
		/* What had no room is put another time, by another number. */
	}
}

static void account_for(uint32_t place, const struct item *item, size_t n)
{
	if (n < sizeof(*item) || item->producer >= SIDES || item->number >= ITEMS ||
	    item->size != n - sizeof(*item) || item->sum != sum_of(item, item->size)) {
		atomic_fetch_add(&a->damaged, 1);
		return;
	}
	if (atomic_fetch_or(&a->state[item->producer][item->number], GOT) & GOT)
		atomic_fetch_add(&a->again, 1);
	if (item->number < atomic_load(&a->last[place][item->producer]))
		atomic_fetch_add(&a->disorder, 1);
	atomic_store(&a->last[place][item->producer], item->number + 1);
}

static void consume(uint32_t place)
{
	static _Thread_local char room[sizeof(struct item) + LONG + 8000];
	struct item *item = (struct item *)(void *)room;
	size_t n;
	int r;

	while ((r = mps_queue_get(q, item, sizeof(room), &n, PATIENCE)) == 0)
		account_for(place, item, n);
	if (r != -EPIPE) {
		fprintf(stderr, "ipc_queue: get: %s\n", strerror(-r));
		atomic_fetch_add(&a->blocked, 1);
	}
}

static void be(unsigned i)
{
	if (i < SIDES)
		produce(i);
	else
		consume(i - SIDES);
}

/* ----------------------------------------------------------------------------------------------------- processes */

static pid_t start(unsigned i)
{
	pid_t pid = fork_own();

	if (pid > 0)
		return pid;
	be(i);
	_exit(0);
}

/* Until `kills` are killed: the number of consumers among them, which may have lost an item each. */
static unsigned kill_some(pid_t pids[2 * SIDES], unsigned kills)
{
	unsigned consumers = 0;

	for (unsigned k = 0; k < kills; k++) {
		unsigned i = dice(2 * SIDES);
		int status;

		pause_us(dice(LIFE_US));
		kill(pids[i], SIGKILL);
		if (waitpid(pids[i], &status, 0) < 0)
			fail("waitpid: %s", strerror(errno));
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
			fprintf(stderr, "ipc_queue: %u had ended by itself\n", i);
			atomic_fetch_add(&a->blocked, 1);
		}
		consumers += i >= SIDES;
		pids[i] = start(i);
	}
	return consumers;
}

static void end_all(pid_t pids[2 * SIDES])
{
	int status, r;

	atomic_store(&a->ends, true);
	for (unsigned i = 0; i < SIDES; i++)
		if (waitpid(pids[i], &status, 0) < 0 || status != 0)
			fail("a producer: %s", strerror(errno));
	r = mps_queue_close(q);
	if (r < 0)
		fail("close: %s", strerror(errno));
	for (unsigned i = SIDES; i < 2 * SIDES; i++)
		if (waitpid(pids[i], &status, 0) < 0 || status != 0)
			fail("a consumer: %s", strerror(errno));
}

/* An item that was put may be missing for each consumer that was killed; one that was not confirmed may be there. */
static int check(unsigned killed_consumers, unsigned kills)
{
	unsigned lost = 0, unconfirmed = 0, put = 0;

	for (unsigned p = 0; p < SIDES; p++)
		for (unsigned i = 0; i < a->next[p]; i++) {
			put += (a->state[p][i] & PUT) != 0;
			lost += a->state[p][i] == PUT;
			unconfirmed += a->state[p][i] == GOT;
		}
	printf("%u kills, %u items put, %u lost with %u killed consumers, %u got that were not "
	       "confirmed\n",
	       kills, put, lost, killed_consumers, unconfirmed);
	printf("%u twice, %u out of order, %u damaged, %u blocked, %zu left\n", a->again,
	       a->disorder, a->damaged, a->blocked, mps_queue_size(q));
	return lost <= killed_consumers && unconfirmed <= 3 * kills && a->again == 0 &&
			       a->disorder == 0 && a->damaged == 0 && a->blocked == 0 &&
			       mps_queue_size(q) == 0 && put > 0
		       ? 0
		       : 1;
}

static void begin(void)
{
	struct mps_queue_options o = { .ring_size = RING };

	a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (a == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	errno = -mps_queue_new(&o, &q);
	if (errno != 0)
		fail("queue: %s", strerror(errno));
}

static void end(void)
{
	mps_queue_free(q);
	munmap(a, sizeof(*a));
}

static int with_processes(unsigned kills)
{
	pid_t pids[2 * SIDES];
	unsigned consumers;
	int r;

	begin();
	for (unsigned i = 0; i < 2 * SIDES; i++)
		pids[i] = start(i);
	consumers = kill_some(pids, kills);
	end_all(pids);
	r = check(consumers, kills);
	end();
	return r;
}

/* ------------------------------------------------------------------------------------------------------- threads */

static void *be_thread(void *arg)
{
	be((unsigned)(uintptr_t)arg);
	return NULL;
}

static int with_threads(unsigned ms)
{
	pthread_t threads[2 * SIDES];
	int r;

	begin();
	for (uintptr_t i = 0; i < 2 * SIDES; i++)
		if (pthread_create(&threads[i], NULL, be_thread, (void *)i) != 0)
			fail("thread: %s", strerror(errno));
	pause_us(ms * 1000);
	atomic_store(&a->ends, true);
	for (unsigned i = 0; i < 2 * SIDES; i++) {
		pthread_join(threads[i], NULL);
		if (i == SIDES - 1 && mps_queue_close(q) < 0)
			fail("close: %s", strerror(errno));
	}
	r = check(0, 0);
	end();
	return r;
}

int main(int argc, char **argv)
{
	int r;

	setvbuf(stdout, NULL, _IOLBF, 0);
	take_seed();
	r = with_threads(500);
	if (argc > 1 && strcmp(argv[1], "threads") == 0)
		return r;
	return r | with_processes((unsigned)number_of("STRESS_KILLS", 5000));
}
