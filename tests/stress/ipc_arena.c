/*
 * Processes that allocate, write, keep, hand over and free in one arena, and are killed at any moment. No block is given to two,
 * nothing that was written changes, what the dead have not kept is free again, and in the end all of it is one block.
 * STRESS_KILLS, STRESS_SEED: how often, and to repeat a run.
 */
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "mpsup.h"
#include "stress.h"

enum {
	WORKERS = 6,
	KILLS = 10000,
	HELD = 24,
	SLOTS = 64,
	UNIT = 64,
	ARENA = 1 << 17,
	PATIENCE_S = 30,
	LARGEST = 6000
};
#define KEPT UINT32_MAX

/* What was kept, for anybody to free. */
enum { EMPTY, TAKEN, KEEPING, THERE, FREEING };
struct slot {
	_Atomic uint32_t state;
	_Atomic uint64_t at;
	_Atomic uint32_t units;
};

/* What is known of all: the lives of workers are numbered. */
static struct shared {
	_Atomic bool killed[KILLS * 10 + WORKERS + 1];
	_Atomic uint32_t owner[ARENA / UNIT * 2]; /* of each unit: a life, KEPT, 0 */
	_Atomic uint64_t rounds, enomem;
	struct slot slots[SLOTS];
} * shared;

struct block {
	uint64_t at;
	size_t n;
	uint64_t mark;
};

static uint32_t life;

/* ----------------------------------------------------------------------------------------------------- workers */

static void own(uint64_t at, size_t n, uint32_t by, bool checked)
{
	for (size_t i = 0; i < (n + UNIT - 1) / UNIT; i++) {
		uint32_t before = atomic_exchange(&shared->owner[at / UNIT + i], by);

		if (checked && before != 0 &&
		    (before == KEPT || !atomic_load(&shared->killed[before])))
			fail("the block at %llu is life %u's, and was given to life %u",
			     (unsigned long long)at, before, by);
	}
}

static void check_marks(struct mps_arena *a, const struct block *b)
{
	char *p = mps_arena_at(a, b->at);

	if (memcmp(p, &b->mark, 8) != 0 || memcmp(p + b->n - 8, &b->mark, 8) != 0)
		fail("what life %u wrote at %llu was overwritten", life, (unsigned long long)b->at);
}

static void take(struct mps_arena *a, struct block *b)
{
	size_t n = 16 + dice(dice(8) == 0 ? LARGEST : 300);
	int r = mps_arena_alloc(a, n, &b->at);
	char *p;

	if (r == -ENOMEM) {
		atomic_fetch_add(&shared->enomem, 1);
		return;
	}
	if (r < 0)
		fail("alloc: %s", strerror(-r));
	b->n = n;
	b->mark = (uint64_t)life << 32 | dice(UINT32_MAX);
	own(b->at, n, life, true);
	p = mps_arena_at(a, b->at);
	memcpy(p, &b->mark, 8);
	memcpy(p + n - 8, &b->mark, 8);
}

static void give_back(struct mps_arena *a, struct block *b)
{
	int r;

	check_marks(a, b);
	own(b->at, b->n, 0, false);
	r = mps_arena_free(a, b->at);
	if (r < 0)
		fail("free: %s", strerror(-r));
	b->n = 0;
}

static void keep(struct mps_arena *a, struct block *b)
{
	struct slot *s = &shared->slots[dice(SLOTS)];
	uint32_t empty = EMPTY;
	int r;

	if (!atomic_compare_exchange_strong(&s->state, &empty, TAKEN))
		return;
	check_marks(a, b);
	s->at = b->at;
	s->units = (uint32_t)((b->n + UNIT - 1) / UNIT);
	s->state = KEEPING;
	r = mps_arena_keep(a, b->at);
	if (r < 0)
		fail("keep: %s", strerror(-r));
	own(b->at, b->n, KEPT, false);
	s->state = THERE;
	b->n = 0;
}

static void free_kept(struct mps_arena *a)
{
	struct slot *s = &shared->slots[dice(SLOTS)];
	uint32_t there = THERE;
	int r;

	if (!atomic_compare_exchange_strong(&s->state, &there, FREEING))
		return;
	own(s->at, s->units * UNIT, 0, false);
	r = mps_arena_free(a, s->at);
	if (r < 0)
		fail("free of what was kept: %s", strerror(-r));
	s->state = EMPTY;
}

static void work(int fd)
{
	struct block held[HELD] = { 0 };
	struct mps_arena *a;
	struct mps_shm *shm;
	int r = mps_shm_from_fd(fd, &shm);

	r = r == 0 ? mps_arena_open(shm, &a) : r;
	if (r < 0)
		fail("open: %s", strerror(-r));
	for (;;) {
		struct block *b = &held[dice(HELD)];
		unsigned what = dice(100);

		if (what < 2 && (r = mps_arena_sweep(a)) < 0)
			fail("sweep: %s", strerror(-r));
		else if (what < 8)
			free_kept(a);
		else if (b->n == 0)
			take(a, b);
		else if (what < 15)
			keep(a, b);
		else
			give_back(a, b);
		atomic_fetch_add(&shared->rounds, 1);
	}
}

/* ------------------------------------------------------------------------------------------------------ parent */

static pid_t start(int fd)
{
	pid_t pid;

	life++;
	pid = fork_own();
	if (pid == 0) {
		alarm(PATIENCE_S); /* of one call, in effect: it is killed long before */
		chance ^= (uint64_t)life << 20;
		work(fd);
	}
	return pid;
}

static void check_end(struct mps_arena *a)
{
	size_t used, room;
	uint64_t at;
	int r = mps_arena_sweep(a), n_kept = 0;

	if (r < 0)
		fail("the last sweep: %s", strerror(-r));
	for (int pass = THERE; pass != EMPTY; pass = pass == THERE ? KEEPING : EMPTY)
		for (int i = 0; i < SLOTS; i++) {
			struct slot *s = &shared->slots[i];
			bool sure = s->state == THERE;

			if ((pass == THERE) != sure || s->state == EMPTY || s->state == TAKEN)
				continue;
			r = mps_arena_free(a, s->at);
			if (sure && r < 0)
				fail("what was kept at %llu is gone", (unsigned long long)s->at);
			n_kept += r == 0;
		}
	r = mps_arena_usage(a, &used, &room);
	if (r < 0 || used != 0 || room != ARENA)
		fail("%zu bytes are lost, %zu free (%d)", used, room, r);
	if (mps_arena_alloc(a, ARENA, &at) != 0)
		fail("it is not whole any more");
	printf("ipc_arena: %llu rounds, %llu times full, %d kept\n",
	       (unsigned long long)shared->rounds, (unsigned long long)shared->enomem, n_kept);
}

int main(void)
{
	long n = (long)number_of("STRESS_KILLS", KILLS);
	pid_t pids[WORKERS];
	uint32_t lives[WORKERS];
	struct mps_arena *a;
	int fd, r;

	if (n > KILLS * 10)
		n = KILLS * 10;
	take_seed();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	r = mps_arena_new(ARENA, &a);
	if (shared == MAP_FAILED || r < 0)
		fail("no memory: %s", strerror(-r));
	fd = mps_shm_fileno(mps_arena_shm(a));
	for (int i = 0; i < WORKERS; i++) {
		pids[i] = start(fd);
		lives[i] = life;
	}
	for (long i = 0; i < n + WORKERS; i++) {
		unsigned k = i < n ? dice(WORKERS) : (unsigned)(i - n);
		int status;

		if (i < n)
			pause_us(dice(400));
		atomic_store(&shared->killed[lives[k]], true);
		kill(pids[k], SIGKILL);
		waitpid(pids[k], &status, 0);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			fail("a worker ended with status %#x", (unsigned)status);
		if (i < n) {
			pids[k] = start(fd);
			lives[k] = life;
		}
	}
	check_end(a);
	mps_arena_close(a);
	return 0;
}
