/*
 * mps_lock and mps_rlock beside a bare robust process-shared mutex of the C library, in turn, round after round: what acquire and
 * release cost alone, how many there are with 2 and 4 processes that want it, and how long the death of a holder takes to
 * reach who waits.
 * ipc_lock [-r ROUNDS] [-p PART]: PART of how often each is done in a round
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "ipc/futex.h"
#include "mpsup.h"
#include "stat.h"

enum { BARE, LOCK, RLOCK, N_KINDS };
/* Short ones, so that most are not interrupted where others use the machine, too. */
enum { ALONE = 20000, CHUNKS = 60, ROUND_MS = 30, SHARES = 4, DEATHS = 20 };

static const char *const names[N_KINDS] = { LIMIT, "mpsup", "mpsup rlock" };

static struct world {
	_Alignas(64) pthread_mutex_t bare;
	_Alignas(64) struct mps_lock lock;
	_Alignas(64) struct mps_rlock rlock;
	_Alignas(64) _Atomic uint32_t step;
	_Atomic bool stop;
	_Atomic int64_t got_at;
	_Atomic uint64_t total;
	_Alignas(64) volatile uint64_t counter;
} * w;

static void bare_init(void)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	if (pthread_mutex_init(&w->bare, &a) != 0)
		die("pthread_mutex_init");
}

static inline void acquire(int kind)
{
	int r;

	if (kind == BARE) {
		r = pthread_mutex_lock(&w->bare);
		if (r == EOWNERDEAD)
			pthread_mutex_consistent(&w->bare);
	} else if (kind == LOCK) {
		r = mps_lock_acquire(&w->lock, MPS_FOREVER);
	} else {
		r = mps_rlock_acquire(&w->rlock, MPS_FOREVER);
	}
	if (r != 0 && r != EOWNERDEAD)
		die(names[kind]);
}

static inline void release(int kind)
{
	if (kind == BARE)
		pthread_mutex_unlock(&w->bare);
	else if (kind == LOCK)
		mps_lock_release(&w->lock);
	else
		mps_rlock_release(&w->rlock);
}

/* So that the compiler makes a loop for each. */
#define LOOP(kind_, while_)                                                                        \
	do {                                                                                       \
		while (while_) {                                                                   \
			acquire(kind_);                                                            \
			w->counter++;                                                              \
			release(kind_);                                                            \
		}                                                                                  \
	} while (0)

/* ns each */
static double alone(int kind)
{
	int64_t from = mps_now().ns;
	int n = ALONE;

	if (kind == BARE)
		LOOP(BARE, n-- > 0);
	else if (kind == LOCK)
		LOOP(LOCK, n-- > 0);
	else
		LOOP(RLOCK, n-- > 0);
	return (double)(mps_now().ns - from) / ALONE;
}

static pid_t child(void (*run)(int), int kind)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run(kind);
		_exit(0);
	}
	return pid;
}

static void await(uint32_t step)
{
	uint32_t now;

	while ((now = atomic_load(&w->step)) != step)
		futex_wait(&w->step, now, until_of(MPS_FOREVER));
}

static void contend(int kind)
{
	uint64_t n = 0;

	futex_add_wake(&w->step, 1, UINT32_MAX);
	if (kind == BARE)
		LOOP(BARE, (n += 1) && !atomic_load_explicit(&w->stop, memory_order_relaxed));
	else if (kind == LOCK)
		LOOP(LOCK, (n += 1) && !atomic_load_explicit(&w->stop, memory_order_relaxed));
	else
		LOOP(RLOCK, (n += 1) && !atomic_load_explicit(&w->stop, memory_order_relaxed));
	atomic_fetch_add(&w->total, n);
}

/* Millions a second, of all processes. */
static double contended(int kind, unsigned processes)
{
	_Atomic uint32_t never = 0;
	pid_t pids[8];
	int64_t from;

	atomic_store(&w->step, 0);
	atomic_store(&w->stop, false);
	atomic_store(&w->total, 0);
	for (unsigned i = 0; i < processes; i++)
		pids[i] = child(contend, kind);
	await(processes);
	from = mps_now().ns;
	futex_wait(&never, 0, until_of(ROUND_MS * MPS_MILLISECOND));
	atomic_store(&w->stop, true);
	from = mps_now().ns - from;
	for (unsigned i = 0; i < processes; i++)
		waitpid(pids[i], NULL, 0);
	return (double)w->total * 1e3 / (double)from;
}

static void hold(int kind)
{
	acquire(kind);
	futex_add_wake(&w->step, 1, UINT32_MAX);
	while (pause() < 0)
		;
}

static void succeed(int kind)
{
	acquire(kind);
	atomic_store(&w->got_at, mps_now().ns);
	release(kind);
}

/* Until a process sleeps in the kernel. */
static void await_sleep(pid_t pid)
{
	char path[64], state = 'R';

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	while (state != 'S') {
		FILE *f = fopen(path, "re");

		if (f == NULL || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			die(path);
		fclose(f);
	}
}

/* Microseconds from the kill until the next one has it. */
static double death(int kind)
{
	pid_t holder, next;
	int64_t from;

	atomic_store(&w->step, 0);
	holder = child(hold, kind);
	await(1);
	next = child(succeed, kind);
	await_sleep(next);
	from = mps_now().ns;
	kill(holder, SIGKILL);
	waitpid(next, NULL, 0);
	waitpid(holder, NULL, 0);
	return (double)(w->got_at - from) / 1e3;
}

static void report(const char *what, const char *unit, struct samples *s)
{
	for (int k = 0; k < N_KINDS; k++)
		samples_say(&s[k], what, names[k], unit);
}

int main(int argc, char **argv)
{
	struct samples cost[N_KINDS] = { 0 }, two[N_KINDS] = { 0 }, four[N_KINDS] = { 0 },
		       dead[N_KINDS] = { 0 };
	double part = 1;
	int rounds = 1;

	if (!take_options(argc, argv, &rounds, &part))
		return 2;
	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w == MAP_FAILED)
		die("mmap");
	bare_init();
	if (mps_lock_init(&w->lock) < 0 || mps_rlock_init(&w->rlock) < 0)
		die("init");
	for (int i = 0; i < rounds; i++) {
		for (int j = 0; j < (int)(CHUNKS * part) * N_KINDS; j++)
			samples_add(&cost[j % N_KINDS], alone(j % N_KINDS));
		for (int j = 0; j < ((int)(SHARES * part) + 1) * N_KINDS; j++) {
			samples_add(&two[j % N_KINDS], contended(j % N_KINDS, 2));
			samples_add(&four[j % N_KINDS], contended(j % N_KINDS, 4));
		}
		for (int j = 0; j < (int)(DEATHS * part) * N_KINDS; j++)
			samples_add(&dead[j % N_KINDS], death(j % N_KINDS));
	}
	report("lock and unlock, alone", "ns", cost);
	report("lock, 2 processes", "M/s", two);
	report("lock, 4 processes", "M/s", four);
	report("kill -9 of the holder, to the next", "us", dead);
	return 0;
}
