/*
 * What a queue costs, beside the bare thing that does no more than it must: a ring for one producer and one consumer with
 * a futex at each end, two futex words, two slabs that are used again and again. All contenders have their turns one after
 * the other, so that whatever else the machine does hits them alike.
 * ipc_queue [-r ROUNDS] [-p PART] [-o NAME]: PART of the items that a row has; only rows with NAME in theirs
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mtime.h"
#include "mpsup.h"
#include "stat.h"
#include "word.h"

enum { RING = 64 << 10 };

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "ipc_queue: %s: %s\n", what, strerror(errno));
	kill(0, SIGTERM);
	_exit(1);
}

static void must(int r, const char *what)
{
	if (r < 0) {
		errno = -r;
		die(what);
	}
}

static void *share(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE,
		       -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* ------------------------------------------------------------------------------------------------ the bare ones */

struct bare {
	struct word tail, head;
	uint32_t put_seen __attribute__((aligned(128)));
	uint32_t got_seen __attribute__((aligned(128)));
	char data[] __attribute__((aligned(128)));
};

static bool spins; /* the bare ones */

/* Slots of a fixed size: a length, as a queue's items have, and the bytes. */
static char *bare_slot(struct bare *b, uint32_t i, size_t n, uint32_t slots)
{
	return b->data + (size_t)(i % slots) * (n + 8);
}

static void bare_put(struct bare *b, const void *p, size_t n, uint32_t slots)
{
	uint32_t i = atomic_load_explicit(&b->tail.n, memory_order_relaxed);
	char *slot = bare_slot(b, i, n, slots);

	while (i - b->put_seen >= slots) {
		b->put_seen = atomic_load_explicit(&b->head.n, memory_order_acquire);
		if (i - b->put_seen >= slots)
			word_await(&b->head, b->put_seen, spins);
	}
	memcpy(slot, &n, 8);
	memcpy(slot + 8, p, n);
	word_advance(&b->tail);
}

static void bare_get(struct bare *b, void *p, size_t n, uint32_t slots)
{
	uint32_t i = atomic_load_explicit(&b->head.n, memory_order_relaxed);
	char *slot = bare_slot(b, i, n, slots);
	size_t size;

	while (i == b->got_seen) {
		b->got_seen = atomic_load_explicit(&b->tail.n, memory_order_acquire);
		if (i == b->got_seen)
			word_await(&b->tail, b->got_seen, spins);
	}
	memcpy(&size, slot, 8);
	memcpy(p, slot + 8, size <= n ? size : n);
	word_advance(&b->head);
}

static void word_get(struct bare *b)
{
	while (atomic_load_explicit(&b->tail.n, memory_order_acquire) == b->got_seen)
		word_await(&b->tail, b->got_seen, spins);
	b->got_seen++;
}

/* ---------------------------------------------------------------------------------------------- the contenders */

/* WORDS: two futex words that go up in turn, and nothing else. Of round trips alone. */
enum kind { QUEUE, BARE, WORDS, N_KINDS };

struct turn {
	enum kind kind;
	unsigned producers, consumers;
	size_t item, total; /* bytes, items */
	uint32_t slots;	    /* of the bare one */
	struct mps_queue *q, *back;
	struct bare *bare, *bare_back;
};

struct gate {
	_Atomic uint32_t ready, open;
};
static struct gate *gate;

static void pass_gate(void)
{
	atomic_fetch_add(&gate->ready, 1);
	futex_wake(&gate->ready, 1);
	while (!atomic_load(&gate->open))
		futex_wait(&gate->open, 0, (struct mps_time){ INT64_MAX });
}

static void put(const struct turn *t, const void *p)
{
	if (t->kind == QUEUE)
		must(mps_queue_put(t->q, p, t->item, MPS_FOREVER), "put");
	else if (t->kind == WORDS)
		word_advance(&t->bare->tail);
	else
		bare_put(t->bare, p, t->item, t->slots);
}

static void get(const struct turn *t, void *p)
{
	size_t n;

	if (t->kind == QUEUE)
		must(mps_queue_get(t->q, p, t->item, &n, MPS_FOREVER), "get");
	else if (t->kind == WORDS)
		word_get(t->bare);
	else
		bare_get(t->bare, p, t->item, t->slots);
}

static char *buffer(size_t n)
{
	char *p = malloc(n);

	if (p == NULL)
		die("malloc");
	memset(p, 'x', n);
	return p;
}

static void be_producer(const struct turn *t, unsigned i)
{
	char *p = buffer(t->item);

	(void)i;
	pass_gate();
	for (size_t k = 0; k < t->total / t->producers; k++)
		put(t, p);
}

static void be_consumer(const struct turn *t, unsigned i)
{
	char *p = buffer(t->item);

	(void)i;
	pass_gate();
	for (size_t k = 0; k < t->total / t->consumers; k++)
		get(t, p);
}

static void be_ping(const struct turn *t, unsigned i)
{
	struct turn back = *t;
	char *p = buffer(t->item);

	back.q = t->back;
	back.bare = t->bare_back;
	pass_gate();
	for (size_t k = 0; k < t->total; k++) {
		if (i == 0)
			put(t, p);
		get(i == 0 ? &back : t, p);
		if (i != 0)
			put(&back, p);
	}
}

/* There it begins, and there it stays unless it is to spin: who may use but one CPU does not. */
static void go_to(unsigned cpu, bool stays)
{
	cpu_set_t all, one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_getaffinity(0, sizeof(all), &all) < 0 ||
	    sched_setaffinity(0, sizeof(one), &one) < 0)
		die("sched_setaffinity");
	if (!stays)
		sched_setaffinity(0, sizeof(all), &all);
}

typedef void program(const struct turn *t, unsigned i);

static pid_t start(program *run, const struct turn *t, unsigned i, int cpu)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (cpu >= 0)
		go_to((unsigned)cpu, !spins);
	run(t, i);
	_exit(0);
}

/* Seconds from the moment that all are ready. */
static double run_turn(const struct turn *t, program *a, unsigned n_a, program *b, unsigned n_b,
		       const int cpus[2])
{
	struct mps_time begin;
	int status, bad = 0;

	atomic_store(&gate->ready, 0);
	atomic_store(&gate->open, 0);
	for (unsigned i = 0; i < n_a; i++)
		start(a, t, i, cpus[0]);
	for (unsigned i = 0; i < n_b; i++)
		start(b, t, i + (a == b), cpus[1]);
	for (uint32_t n; (n = atomic_load(&gate->ready)) < n_a + n_b;)
		futex_wait(&gate->ready, n, (struct mps_time){ INT64_MAX });
	begin = mps_now();
	atomic_store(&gate->open, 1);
	futex_wake(&gate->open, INT32_MAX);
	for (unsigned i = 0; i < n_a + n_b; i++) {
		if (wait(&status) < 0)
			die("wait");
		bad |= status;
	}
	if (bad != 0)
		die("a child");
	return (double)(mps_now().ns - begin.ns) / 1e9;
}

/* --------------------------------------------------------------------------------------------------- the tables */

static const struct row {
	const char *name;
	unsigned producers, consumers;
	size_t item, total;
	uint32_t slots;
	bool ping;
	int cpus[2];
	bool bare, spins;
} rows[] = {
	/* Where the two meet on one core is chance otherwise, and makes more of a difference than anything else. */
	{ "queue, 64 B, 1 to 1", 1, 1, 64, 3000000, 910, false, { 0, 1 }, true, true },
	{ "queue, 64 B, one core", 1, 1, 64, 3000000, 910, false, { 0, 0 }, true, false },
	{ "queue, 64 B, 4 to 4", 4, 4, 64, 1000000, 0, false, { -1, -1 }, false, true },
	{ "queue, 4 KiB, 1 to 1", 1, 1, 4096, 400000, 15, false, { 0, 1 }, true, true },
	{ "queue, 1 MiB, 1 to 1", 1, 1, 1 << 20, 4000, 2, false, { 0, 1 }, true, true },
	{ "queue, round trip, spin", 1, 1, 8, 100000, 910, true, { -1, -1 }, true, true },
	{ "queue, round trip, two cores", 1, 1, 8, 20000, 910, true, { 0, 1 }, true, false },
	{ "queue, round trip, one core", 1, 1, 8, 20000, 910, true, { 0, 0 }, true, false },
};

static bool takes_part(const struct row *row, enum kind k)
{
	return k == QUEUE || (row->bare && (k == BARE || row->ping));
}

static const char *const kinds[N_KINDS] = { "mpsup", LIMIT, "limit (two words)" };

static void run_row(const struct row *row, int rounds, double share_of)
{
	struct samples s[N_KINDS] = { 0 };
	size_t total = (size_t)((double)row->total * share_of);

	spins = row->spins;
	total -= total % (row->producers * row->consumers);
	for (int k = 0; k < N_KINDS * rounds; k++) {
		struct turn t = { .kind = k % N_KINDS,
				  .producers = row->producers,
				  .consumers = row->consumers,
				  .item = row->item,
				  .total = total,
				  .slots = row->slots };
		size_t bytes = sizeof(struct bare) + (row->item + 8) * (row->slots + 1);
		double seconds;

		if (!takes_part(row, t.kind))
			continue;
		if (t.kind != QUEUE) {
			t.bare = share(bytes);
			t.bare_back = share(bytes);
		} else {
			must(mps_queue_new(NULL, &t.q), "new");
			must(mps_queue_new(NULL, &t.back), "new");
		}
		seconds = row->ping ? run_turn(&t, be_ping, 1, be_ping, 1, row->cpus)
				    : run_turn(&t, be_producer, row->producers, be_consumer,
					       row->consumers, row->cpus);
		samples_add(&s[t.kind], row->ping ? seconds / (double)total * 1e6
						  : (double)total / seconds / 1e6);
		if (t.kind != QUEUE) {
			munmap(t.bare, bytes);
			munmap(t.bare_back, bytes);
		} else {
			mps_queue_free(t.q);
			mps_queue_free(t.back);
		}
	}
	for (int k = 0; k < N_KINDS; k++)
		samples_say(&s[k], row->name, kinds[k], row->ping ? "us" : "M/s");
}

int main(int argc, char **argv)
{
	double part = 1;
	int rounds = 1, c;
	const char *only = NULL;

	while ((c = getopt(argc, argv, "r:p:o:")) != -1)
		switch (c) {
		case 'r':
			rounds = atoi(optarg);
			break;
		case 'p':
			part = atof(optarg);
			break;
		case 'o':
			only = optarg;
			break;
		default:
			fprintf(stderr, "usage: ipc_queue [-r ROUNDS] [-p PART] [-o NAME]\n");
			return 2;
		}
	gate = share(sizeof(*gate));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (only == NULL || strstr(rows[i].name, only) != NULL)
			run_row(&rows[i], rounds, part);
	return 0;
}
