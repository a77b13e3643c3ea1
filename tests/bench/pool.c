/*
 * What a pool costs for each task, beside a bare pair of rings in shared memory for each worker: slots of 64 bytes, one
 * word for each side, a bounded spin, then a futex; nobody can die there and nothing is written down. All contenders have
 * their turns one after the other.
 * pool [-r ROUNDS] [-p PART] [-w WORKERS] [-o NAME]: PART of the tasks that a row has; only rows with NAME in theirs
 */
#include <errno.h>
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

#include "base/cleanup.h"
#include "base/mtime.h"
#include "mpsup.h"
#include "stat.h"
#include "word.h"

enum { SLOTS = 64, WORKERS_MAX = 256 };

static unsigned workers = 2;
static double part = 1;

static _Noreturn void die(const char *what, int r)
{
	fprintf(stderr, "pool: %s: %s: %s\n", what, strerror(-r), mps_pool_failure(NULL));
	kill(0, SIGTERM);
	_exit(1);
}

static void must(int r, const char *what)
{
	if (r != 0)
		die(what, r);
}

/* ------------------------------------------------------------------------------------------------ the bare rings */

struct bare {
	struct word tail, head; /* tasks; results are as many as the head says */
	uint64_t slots[SLOTS][8] __attribute__((aligned(128)));
};

static _Noreturn void bare_worker(struct bare *b)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint32_t n = 0;; n++) {
		uint64_t *slot = b->slots[n % SLOTS];

		while (atomic_load_explicit(&b->tail.n, memory_order_acquire) == n)
			word_await(&b->tail, n, true);
		slot[1] = slot[0] + 1;
		word_advance(&b->head);
	}
}

static double bare_stream(size_t n, unsigned window)
{
	static struct bare *rings[WORKERS_MAX];
	static uint32_t put[WORKERS_MAX], got[WORKERS_MAX];
	static pid_t pids[WORKERS_MAX];
	size_t sent = 0, done = 0;
	uint64_t sum = 0;
	int64_t from;

	for (unsigned i = 0; i < workers; i++) {
		rings[i] = mmap(NULL, sizeof(struct bare), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		put[i] = got[i] = 0;
		pids[i] = fork();
		if (pids[i] == 0)
			bare_worker(rings[i]);
	}
	from = mps_now().ns;
	for (unsigned i = 0; done < n; i = (i + 1) % workers) {
		struct bare *b = rings[i];
		uint32_t head;

		for (; sent < n && put[i] - got[i] < window; sent++) {
			b->slots[put[i] % SLOTS][0] = sent;
			put[i]++;
			word_advance(&b->tail);
		}
		head = atomic_load_explicit(&b->head.n, memory_order_acquire);
		if (head == got[i] && put[i] != got[i])
			word_await(&b->head, head, true);
		for (head = atomic_load(&b->head.n); got[i] != head; got[i]++, done++)
			sum += b->slots[got[i] % SLOTS][1];
	}
	from = mps_now().ns - from;
	for (unsigned i = 0; i < workers; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
		munmap(rings[i], sizeof(struct bare));
	}
	if (sum != (uint64_t)n * (n + 1) / 2)
		die("bare: wrong sum", 0);
	return (double)from;
}

/* ----------------------------------------------------------------------------------------------------- the pool */

static int add_one(struct mps_args *task)
{
	uint64_t v = *(const uint64_t *)mps_args_bytes(task, 0, NULL) + 1;

	return mps_args_reply(task, &v, sizeof(v));
}
MPS_TARGET(add_one);

static struct mps_pool *make(void)
{
	struct mps_pool_options o = { .workers = workers };
	struct mps_pool *p;

	must(mps_pool_new(&o, &p), "mps_pool_new");
	return p;
}

struct input {
	uint64_t v;
	size_t n;
};

static int next_number(void *user, struct mps_item *item)
{
	struct input *in = user;
	static uint64_t v;

	if (in->v == in->n)
		return 0;
	v = in->v++;
	*item = (struct mps_item){ &v, sizeof(v) };
	return 1;
}

static double pool_imap(size_t n, size_t chunk, bool unordered)
{
	struct input in = { 0, n };
	struct mps_imap_options o = { .input = next_number,
				      .user = &in,
				      .chunk = chunk,
				      .prefetch = 512 * chunk,
				      .unordered = unordered };
	struct mps_pool *p = make();
	struct mps_result result;
	struct mps_imap *im;
	uint64_t sum = 0;
	int64_t from = mps_now().ns;
	int r;

	must(mps_pool_imap(p, add_one, &o, &im), "mps_pool_imap");
	while ((r = mps_imap_next(im, &result, MPS_FOREVER)) == 0)
		sum += *(uint64_t *)result.p;
	if (r != -ENODATA || sum != (uint64_t)n * (n + 1) / 2)
		die("imap: wrong sum", r);
	from = mps_now().ns - from;
	mps_imap_free(im);
	mps_pool_free(p);
	return (double)from;
}

static double pool_map(size_t n, size_t chunk)
{
	const struct mps_map_options o = { .chunk = chunk };
	struct mps_item *items = calloc(n, sizeof(*items));
	uint64_t *v = calloc(n, sizeof(*v)), sum = 0;
	struct mps_pool *p = make();
	struct mps_result result;
	struct mps_future *f;
	int64_t from;

	for (size_t i = 0; i < n; i++) {
		v[i] = i;
		items[i] = (struct mps_item){ &v[i], sizeof(v[i]) };
	}
	from = mps_now().ns;
	must(mps_pool_map(p, add_one, items, n, &o, &f, MPS_FOREVER), "mps_pool_map");
	for (size_t i = 0; i < n; i++) {
		mps_future_result(f, i, &result);
		sum += *(uint64_t *)result.p;
	}
	from = mps_now().ns - from;
	if (sum != (uint64_t)n * (n + 1) / 2)
		die("map: wrong sum", 0);
	mps_future_free(f);
	mps_pool_free(p);
	free(items);
	free(v);
	return (double)from;
}

static double pool_apply(size_t n)
{
	struct mps_pool *p = make();
	struct mps_result result;
	int64_t from = mps_now().ns;

	for (uint64_t i = 0; i < n; i++) {
		must(mps_pool_apply(p, add_one, &(struct mps_item){ &i, sizeof(i) }, 1, &result,
				    MPS_FOREVER),
		     "mps_pool_apply");
		free(result.p);
	}
	from = mps_now().ns - from;
	mps_pool_free(p);
	return (double)from;
}

/* -------------------------------------------------------------------------------------------------------- rows */

static double imap_1(size_t n)
{
	return pool_imap(n, 1, false);
}

static double imap_unordered_1(size_t n)
{
	return pool_imap(n, 1, true);
}

static double imap_100(size_t n)
{
	return pool_imap(n, 100, false);
}

static double map_1(size_t n)
{
	return pool_map(n, 1);
}

static double map_100(size_t n)
{
	return pool_map(n, 100);
}

static double map_default(size_t n)
{
	return pool_map(n, 0);
}

static double rings_64(size_t n)
{
	return bare_stream(n, SLOTS);
}

static double rings_1(size_t n)
{
	unsigned before = workers;
	double ns;

	workers = 1;
	ns = bare_stream(n, 1);
	workers = before;
	return ns;
}

static const struct row {
	const char *name, *contender;
	size_t n;
	double (*run)(size_t n);
} rows[] = {
	{ "imap, a task alone", LIMIT, 500000, rings_64 },
	{ "imap, a task alone", "mpsup", 500000, imap_1 },
	{ "imap unordered, a task alone", LIMIT, 500000, rings_64 },
	{ "imap unordered, a task alone", "mpsup", 500000, imap_unordered_1 },
	{ "map, a task alone", LIMIT, 500000, rings_64 },
	{ "map, a task alone", "mpsup", 500000, map_1 },
	{ "imap, 100 at a time", "mpsup", 2000000, imap_100 },
	{ "map, 100 at a time", "mpsup", 2000000, map_100 },
	{ "map, as many as it likes", "mpsup", 2000000, map_default },
	{ "apply, one task and its result", LIMIT, 50000, rings_1 },
	{ "apply, one task and its result", "mpsup", 50000, pool_apply },
};

static int body(int argc, char **argv)
{
	struct samples s[ARRAY_SIZE(rows)] = { 0 };
	const char *only = "";
	int rounds = 1, c;

	while ((c = getopt(argc, argv, "r:p:w:o:")) > 0) {
		if (c == 'r')
			rounds = atoi(optarg);
		else if (c == 'p')
			part = atof(optarg);
		else if (c == 'w')
			workers = (unsigned)atoi(optarg);
		else if (c == 'o')
			only = optarg;
		else
			return 2;
	}
	for (int i = 0; i < rounds; i++)
		for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
			size_t n = (size_t)((double)rows[k].n * part) + 1;

			if (strstr(rows[k].name, only) != NULL)
				samples_add(&s[k], rows[k].run(n) / (double)n / 1e3);
		}
	for (size_t k = 0; k < ARRAY_SIZE(rows); k++)
		samples_say(&s[k], rows[k].name, rows[k].contender, "us");
	return 0;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
