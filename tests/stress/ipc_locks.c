/*
 * Processes use locks, semaphores, conditions, events and barriers at random, and are killed at moments that nobody chooses,
 * one or two at a time. None of the others is blocked longer than its timeout, and what must be there in the end is:
 * pairs of counters that a lock protects are equal or told to be repaired, all units are back, a barrier is whole or broken.
 * Before, the same with threads and without deaths.
 * STRESS_KILLS, STRESS_SEED: how often, and to repeat a run.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "ipc/futex.h"
#include "mpsup.h"
#include "stress.h"

enum {
	WORKERS = 6,
	KILLS = 12000,
	TURNS = 3000,
	UNITS = 3,
	PARTIES = 3,
	LIFE_US = 1500,
	QUIET_EACH = 30
};

enum use { LOCK, RLOCK, OWNED, BOUNDED, CONDITION, EVENT, BARRIER, N_USES };

/* Others are done in a millisecond: who waits for as long as this was forgotten. */
#define LONG (30 * MPS_SECOND)
/* How much later than it should a loaded machine may let a thread run. */
#define SLACK (10 * MPS_SECOND)

struct pair {
	uint64_t a, b;
};

struct world {
	struct mps_lock lock;
	struct mps_rlock rlock;
	struct mps_lock store;
	struct mps_condition filled;
	struct mps_semaphore owned, bounded;
	struct mps_event event;
	struct mps_barrier barrier;
	struct pair under_lock, under_rlock;
	uint64_t items;
	_Atomic bool stop;
	_Atomic uint32_t quiet;	    /* nobody begins anything */
	_Atomic int doing[WORKERS]; /* the use, and 1; 0: nothing */
	_Atomic bool failed;
	_Atomic int64_t late_at[WORKERS]; /* when the wait of a worker is overdue; 0: it does not */
	_Atomic uint64_t done[N_USES];
	_Atomic uint64_t repaired, broken;
	char text[256];
};

struct worker {
	unsigned number;
	uint64_t state;
	int64_t timeout;
};

static struct world *w;
static bool threads;
static pid_t driver, pids[WORKERS];

/* The driver's end: what it has started ends with it. */
static _Noreturn void give_up(void)
{
	fprintf(stderr, "ipc_locks: %s\n", w->text[0] != '\0' ? w->text : "a worker has ended");
	for (unsigned i = 0; i < WORKERS; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	exit(1);
}

__attribute__((format(printf, 1, 2))) static void wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!atomic_exchange(&w->failed, true))
		vsnprintf(w->text, sizeof(w->text), fmt, ap);
	va_end(ap);
	if (threads)
		return;
	if (getpid() == driver)
		give_up();
	_exit(1);
}

/* Around each wait. */
static int64_t before(struct worker *me, bool is_held)
{
	static const int64_t timeouts[] = {
		0, MPS_MILLISECOND / 10, MPS_MILLISECOND, 10 * MPS_MILLISECOND, LONG, LONG, LONG
	};

	me->timeout = timeouts[dice_of(&me->state, sizeof(timeouts) / sizeof(*timeouts))];
	/* Without deaths all might wait for each other, but for what one of them has. */
	if (threads && !is_held && me->timeout == LONG)
		me->timeout = 5 * MPS_MILLISECOND;
	atomic_store(&w->late_at[me->number], mps_now().ns + me->timeout + SLACK);
	/* Nothing but others ends it. */
	return me->timeout == LONG && dice_of(&me->state, 2) == 0 ? MPS_FOREVER : me->timeout;
}

static int after(struct worker *me, const char *what, int r)
{
	if (mps_now().ns > atomic_load(&w->late_at[me->number]))
		wrong("%s: waited %lld ms too long", what, (long long)(SLACK / MPS_MILLISECOND));
	if (r == -ETIMEDOUT && me->timeout == LONG)
		wrong("%s: was forgotten", what);
	if (r < 0 && r != -ETIMEDOUT && r != -EPIPE)
		wrong("%s: %s", what, strerror(-r));
	atomic_store(&w->late_at[me->number], 0);
	return r;
}

static void good(const char *what, int r)
{
	if (r < 0)
		wrong("%s: %s", what, strerror(-r));
}

static void add_to(struct worker *me, struct pair *p, int acquired, const char *what)
{
	if (acquired == EOWNERDEAD) {
		p->b = p->a;
		atomic_fetch_add(&w->repaired, 1);
	}
	if (p->a != p->b)
		wrong("%s: half a change was not told of", what);
	(*(volatile uint64_t *)&p->a)++;
	if (dice_of(&me->state, 8) == 0)
		sched_yield();
	(*(volatile uint64_t *)&p->b)++;
}

static void use_lock(struct worker *me)
{
	int r = after(me, "lock", mps_lock_acquire(&w->lock, before(me, true)));

	if (r < 0)
		return;
	add_to(me, &w->under_lock, r, "lock");
	good("lock", mps_lock_release(&w->lock));
}

static void use_rlock(struct worker *me)
{
	int r = after(me, "rlock", mps_rlock_acquire(&w->rlock, before(me, true)));
	unsigned levels = dice_of(&me->state, 3);

	if (r < 0)
		return;
	for (unsigned i = 0; i < levels; i++)
		good("rlock", mps_rlock_acquire(&w->rlock, 0));
	add_to(me, &w->under_rlock, r, "rlock");
	for (unsigned i = 0; i <= levels; i++)
		good("rlock", mps_rlock_release(&w->rlock));
}

static void use_owned(struct worker *me)
{
	uint32_t n = 1;

	if (after(me, "semaphore", mps_semaphore_acquire(&w->owned, before(me, true))) < 0)
		return;
	/* One more, if there is one: waiting for it could be for each other. */
	if (dice_of(&me->state, 3) == 0 && mps_semaphore_acquire(&w->owned, 0) == 0)
		n++;
	if (mps_semaphore_value(&w->owned) > UNITS - n)
		wrong("semaphore: there are more units than there were");
	if (dice_of(&me->state, 4) == 0)
		sched_yield();
	good("semaphore", mps_semaphore_release(&w->owned, n));
}

/* Here what the dead have taken is lost: who waited for it in vain puts it back. */
static void use_bounded(struct worker *me)
{
	int64_t timeout = before(me, false);
	int r;

	if (timeout > 10 * MPS_MILLISECOND)
		timeout = me->timeout = 10 * MPS_MILLISECOND;
	r = after(me, "bounded semaphore", mps_semaphore_acquire(&w->bounded, timeout));
	if (r == 0 || timeout > MPS_MILLISECOND) {
		r = mps_semaphore_release(&w->bounded, 1);
		if (r < 0 && r != -EOVERFLOW)
			good("bounded semaphore", r);
	}
	if (mps_semaphore_value(&w->bounded) > UNITS)
		wrong("bounded semaphore: it has grown");
}

static bool has_items(void *user)
{
	(void)user;
	return w->items > 0;
}

static void use_condition(struct worker *me)
{
	bool puts = dice_of(&me->state, 3) > 0;
	int64_t timeout;
	int r;

	r = after(me, "store", mps_lock_acquire(&w->store, before(me, true)));
	if (r < 0)
		return;
	if (puts && w->items < 5)
		w->items++;
	timeout = puts ? 0 : before(me, false);
	if (puts)
		mps_condition_notify(&w->filled, dice_of(&me->state, 2) ? UINT32_MAX : 1);
	else
		r = after(me, "condition",
			  mps_condition_wait_for(&w->filled, &w->store, has_items, NULL,
						 atomic_load(&w->stop) ? 0 : timeout));
	if (!puts && r == 0)
		w->items--;
	good("store", mps_lock_release(&w->store));
}

static void use_event(struct worker *me)
{
	switch (dice_of(&me->state, 3)) {
	case 0:
		good("event", mps_event_set(&w->event));
		break;
	case 1:
		good("event", mps_event_clear(&w->event));
		break;
	case 2:
		after(me, "event", mps_event_wait(&w->event, before(me, false)));
		break;
	}
}

static void use_barrier(struct worker *me)
{
	int r = after(me, "barrier", mps_barrier_wait(&w->barrier, before(me, false)));

	if (r >= PARTIES)
		wrong("barrier: number %d", r);
	if (r == -EPIPE || r == -ETIMEDOUT) {
		atomic_fetch_add(&w->broken, 1);
		if (dice_of(&me->state, 2) == 0 && atomic_load(&w->quiet) == 0)
			good("barrier", mps_barrier_reset(&w->barrier));
	}
}

static void (*const uses[N_USES])(struct worker *) = {
	[LOCK] = use_lock,	 [RLOCK] = use_rlock,	      [OWNED] = use_owned,
	[BOUNDED] = use_bounded, [CONDITION] = use_condition, [EVENT] = use_event,
	[BARRIER] = use_barrier,
};

static void work(struct worker *me, unsigned turns)
{
	for (unsigned i = 0; i != turns && !atomic_load(&w->stop) && !atomic_load(&w->failed);
	     i++) {
		unsigned use = dice_of(&me->state, N_USES);

		atomic_store(&w->doing[me->number], (int)use + 1);
		if (atomic_load(&w->quiet) == 0)
			uses[use](me);
		atomic_store(&w->doing[me->number], 0);
		while (atomic_load(&w->quiet) != 0)
			futex_wait(&w->quiet, 1, until_of(MPS_FOREVER));
		atomic_fetch_add(&w->done[use], 1);
	}
}

static void *on_thread(void *p)
{
	work(p, TURNS);
	return NULL;
}

static void world_init(void)
{
	memset(w, 0, sizeof(*w));
	good("init", mps_lock_init(&w->lock));
	good("init", mps_rlock_init(&w->rlock));
	good("init", mps_lock_init(&w->store));
	good("init", mps_condition_init(&w->filled));
	good("init", mps_semaphore_init(&w->owned, UNITS, 0));
	good("init",
	     mps_semaphore_init(&w->bounded, UNITS, MPS_SEMAPHORE_BOUNDED | MPS_SEMAPHORE_UNOWNED));
	good("init", mps_event_init(&w->event));
	good("init", mps_barrier_init(&w->barrier, PARTIES));
}

static void with_threads(void)
{
	struct worker workers[WORKERS];
	pthread_t ids[WORKERS];

	threads = true;
	world_init();
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){ .number = i, .state = chance + i };
		if (pthread_create(&ids[i], NULL, on_thread, &workers[i]) != 0)
			wrong("pthread_create");
	}
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(ids[i], NULL);
	if (w->under_lock.a != w->under_lock.b || w->under_rlock.a != w->under_rlock.b)
		wrong("threads: the counters differ");
	threads = false;
}

/* -------------------------------------------------------------------------------------------------------- deaths */

static void start(unsigned number, uint64_t seed)
{
	struct worker me = { .number = number, .state = seed };

	atomic_store(&w->late_at[number], 0);
	atomic_store(&w->doing[number], 0);
	pids[number] = fork_own();
	if (pids[number] > 0)
		return;
	work(&me, UINT32_MAX);
	_exit(0);
}

static void look_after(void)
{
	int64_t now = mps_now().ns;

	for (unsigned i = 0; i < WORKERS; i++) {
		int64_t late_at = atomic_load(&w->late_at[i]);

		if (late_at != 0 && now > late_at + SLACK) {
			snprintf(w->text, sizeof(w->text), "worker %u hangs", i);
			give_up();
		}
	}
	if (atomic_load(&w->failed))
		give_up();
}

static void kill_some(unsigned first, unsigned n)
{
	int status;

	for (unsigned i = 0; i < n; i++)
		kill(pids[(first + i) % WORKERS], SIGKILL);
	for (unsigned i = 0; i < n; i++) {
		unsigned k = (first + i) % WORKERS;

		if (waitpid(pids[k], &status, 0) != pids[k] || !WIFSIGNALED(status))
			give_up();
		start(k, dice(UINT32_MAX));
	}
}

static void kill_one_or_two(void)
{
	unsigned n = 1 + (dice(4) == 0);

	kill_some(dice(WORKERS), n);
}

/* Whether somebody does this, or (N_USES) anything but waiting at the barrier; *ret_who is one of them. */
static bool somebody(enum use use, unsigned *ret_who)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		int doing = atomic_load(&w->doing[i]) - 1;

		if (doing >= 0 && (use == N_USES ? doing != BARRIER : doing == (int)use)) {
			*ret_who = i;
			return true;
		}
	}
	return false;
}

/* What only another one would bring. What others had they have given back, alive or dead. */
static void bring(unsigned who)
{
	int doing = atomic_load(&w->doing[who]) - 1;

	if (doing == EVENT)
		mps_event_set(&w->event);
	if (doing == CONDITION && mps_lock_acquire(&w->store, MPS_MILLISECOND) >= 0) {
		w->items++;
		mps_condition_notify(&w->filled, UINT32_MAX);
		mps_lock_release(&w->store);
	}
}

/*
 * Nobody begins anything: all who wait get what they wait for without a push from others, those at the barrier by the
 * death of one of them.
 */
static void be_quiet(void)
{
	int64_t late_at = mps_now().ns + SLACK;
	unsigned who = 0, dead = 0;

	atomic_store(&w->quiet, 1);
	while (somebody(N_USES, &who)) {
		bring(who);
		pause_us(100);
		if (mps_now().ns > late_at)
			wrong("%d: still waits, and nobody else does anything", w->doing[who] - 1);
	}
	while (somebody(BARRIER, &dead)) {
		late_at = mps_now().ns + 2 * MPS_SECOND;
		kill_some(dead, 1);
		while (somebody(BARRIER, &who) && mps_now().ns < late_at)
			pause_us(100);
		/* It may have been reset between them. */
		if (somebody(BARRIER, &who) && mps_barrier_is_broken(&w->barrier))
			wrong("barrier: nobody was told of a death");
	}
	if (mps_semaphore_value(&w->owned) != UNITS)
		wrong("semaphore: %u of %u units are back", mps_semaphore_value(&w->owned), UNITS);
	good("barrier", mps_barrier_reset(&w->barrier));
	atomic_store(&w->quiet, 0);
	futex_wake(&w->quiet, UINT32_MAX);
	look_after();
}

/* The last ones go, though what they wait for would not come. */
static void stop_all(void)
{
	unsigned left = WORKERS;

	atomic_store(&w->stop, true);
	while (left > 0) {
		left = 0;
		for (unsigned i = 0; i < WORKERS; i++) {
			int status = 0;

			if (pids[i] > 0 && waitpid(pids[i], &status, WNOHANG) == pids[i])
				pids[i] = 0;
			if (status != 0)
				give_up();
			left += pids[i] > 0;
		}
		mps_event_set(&w->event);
		mps_barrier_abort(&w->barrier);
		if (mps_lock_acquire(&w->store, MPS_MILLISECOND) >= 0) {
			w->items++;
			mps_condition_notify(&w->filled, UINT32_MAX);
			mps_lock_release(&w->store);
		}
		look_after();
		pause_us(1000);
	}
}

static void check_pair(const struct pair *p, int acquired, const char *what)
{
	if (acquired < 0 || (acquired == 0 && p->a != p->b))
		wrong("%s: %d, %llu and %llu", what, acquired, (unsigned long long)p->a,
		      (unsigned long long)p->b);
}

static void check_barrier(void)
{
	int sum = 0, status;

	good("barrier", mps_barrier_reset(&w->barrier));
	if (mps_barrier_is_broken(&w->barrier) || mps_barrier_waiting(&w->barrier) != 0)
		wrong("barrier: it is broken after a reset");
	for (unsigned i = 0; i + 1 < PARTIES; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(mps_barrier_wait(&w->barrier, LONG));
	}
	sum = mps_barrier_wait(&w->barrier, LONG);
	for (unsigned i = 0; i + 1 < PARTIES; i++) {
		waitpid(pids[i], &status, 0);
		sum += WEXITSTATUS(status);
	}
	if (sum != PARTIES * (PARTIES - 1) / 2)
		wrong("barrier: the numbers make %d", sum);
}

static void with_deaths(unsigned kills)
{
	world_init();
	for (unsigned i = 0; i < WORKERS; i++)
		start(i, chance + i);
	for (unsigned i = 0; i < kills; i++) {
		pause_us(dice(LIFE_US));
		look_after();
		kill_one_or_two();
		if (i % QUIET_EACH == 0)
			be_quiet();
	}
	stop_all();
	if (mps_semaphore_value(&w->owned) != UNITS)
		wrong("semaphore: %u of %u units are back", mps_semaphore_value(&w->owned), UNITS);
	check_pair(&w->under_lock, mps_lock_acquire(&w->lock, LONG), "lock");
	check_pair(&w->under_rlock, mps_rlock_acquire(&w->rlock, LONG), "rlock");
	check_barrier();
	for (size_t i = 0; i < N_USES; i++)
		if (w->done[i] == 0)
			wrong("use %zu: never", i);
	if (kills >= KILLS && w->repaired == 0)
		wrong("nobody ever died with a lock");
}

int main(void)
{
	unsigned kills = (unsigned)number_of("STRESS_KILLS", KILLS);

	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w == MAP_FAILED)
		return 1;
	driver = getpid();
	take_seed();
	with_threads();
	if (!w->failed && kills > 0)
		with_deaths(kills);
	if (w->failed)
		give_up();
	printf("%u times killed, %llu repaired, barrier broken %llu times;", kills,
	       (unsigned long long)w->repaired, (unsigned long long)w->broken);
	for (size_t i = 0; i < N_USES; i++)
		printf(" %llu", (unsigned long long)w->done[i]);
	puts(" uses");
	return 0;
}
