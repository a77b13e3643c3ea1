/*
 * What a manager's objects in shared memory cost its clients: two processes that add to one counter, beside a bare atomic
 * addition to a shared page; two that put into and get from one queue, beside the bare mps_queue; a lock that one acquires and
 * releases, beside mps_lock; and the same from a remote client, which asks the server. Rounds in turn.
 * manager_shared [-r ROUNDS] [-p PART]
 */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "ipc/futex.h"
#include "mpsup.h"
#include "stat.h"

enum { BARE, OURS, N_KINDS };
static double part = 1;
#define ADDS ((int)(4000000 * part))
#define ITEMS ((int)(1000000 * part))
#define LOCKS ((int)(1000000 * part))
#define CALLS ((int)(20000 * part))

static const char *const kinds[N_KINDS] = { LIMIT, "mpsup" };

static struct world {
	_Alignas(128) _Atomic int64_t counter;
	_Alignas(128) struct mps_lock lock;
	_Atomic uint32_t ready, go;
} * w;

static struct mps_queue *queue;
static char address[64];

static struct mps_manager *client(bool remote)
{
	struct mps_manager_options o = { .remote = remote };
	struct mps_manager *m;

	if (mps_manager_connect(address, &o, &m, 5 * MPS_SECOND) < 0)
		die("mps_manager_connect");
	return m;
}

static struct mps_object *object(struct mps_manager *m, const char *type, const char *name)
{
	struct mps_object *o;

	if (mps_object_create(m, type, name, MPS_OBJECT_EXISTING | MPS_OBJECT_KEEP, NULL, 0, &o,
			      5 * MPS_SECOND) < 0)
		die("mps_object_create");
	return o;
}

/* ---------------------------------------------------------------------------------------------- what is timed */

static void add_bare(int n)
{
	for (int i = 0; i < n; i++)
		atomic_fetch_add(&w->counter, 1);
}

static void add_ours(struct mps_object *o, int n)
{
	for (int i = 0; i < n; i++)
		if (mps_object_add(o, 1, NULL) < 0)
			die("mps_object_add");
}

static void put(int kind, struct mps_object *o, int n)
{
	for (int i = 0; i < n; i++)
		if ((kind == BARE ? mps_queue_put(queue, "\x07", 1, 10 * MPS_SECOND)
				  : mps_object_put(o, "\x07", 1, 10 * MPS_SECOND)) < 0)
			die("put");
}

static void get(int kind, struct mps_object *o, int n)
{
	for (int i = 0; i < n; i++) {
		void *p;
		size_t size;

		if ((kind == BARE ? mps_queue_get_new(queue, &p, &size, 10 * MPS_SECOND)
				  : mps_object_get(o, &p, &size, 10 * MPS_SECOND)) < 0)
			die("get");
		free(p);
	}
}

static void start_together(void)
{
	atomic_fetch_add(&w->ready, 1);
	futex_wake(&w->ready, 8);
	while (atomic_load(&w->go) == 0)
		futex_wait(&w->go, 0, until_of(MPS_SECOND));
}

/* One of the two processes. */
static void run(const char *what, int kind, int who)
{
	struct mps_manager *m = kind == OURS ? client(false) : NULL;
	struct mps_object *o = m != NULL ? object(m, what, what) : NULL;

	start_together();
	if (strcmp(what, "counter") == 0 && kind == BARE)
		add_bare(ADDS);
	else if (strcmp(what, "counter") == 0)
		add_ours(o, ADDS);
	else if (who == 0)
		put(kind, o, ITEMS);
	else
		get(kind, o, ITEMS);
	_exit(0);
}

/* Millions a second, by two processes. */
static double two(const char *what, int kind, double n)
{
	pid_t pids[2];
	int64_t from;

	atomic_store(&w->ready, 0);
	atomic_store(&w->go, 0);
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run(what, kind, i);
		}
	}
	for (uint32_t r; (r = atomic_load(&w->ready)) < 2;)
		futex_wait(&w->ready, r, until_of(10 * MPS_SECOND));
	from = mps_now().ns;
	atomic_store(&w->go, 1);
	futex_wake(&w->go, 8);
	for (int i = 0; i < 2; i++) {
		int status;

		if (waitpid(pids[i], &status, 0) < 0 || status != 0)
			die(what);
	}
	return n * 1e6 / (double)(mps_now().ns - from);
}

static double locks(int kind, struct mps_object *o)
{
	int64_t from = mps_now().ns;

	for (int i = 0; i < LOCKS; i++) {
		int r = kind == BARE ? mps_lock_acquire(&w->lock, MPS_FOREVER)
				     : mps_object_acquire(o, MPS_FOREVER);

		if (r < 0 ||
		    (kind == BARE ? mps_lock_release(&w->lock) : mps_object_release(o)) < 0)
			die("lock");
	}
	return LOCKS * 1e6 / (double)(mps_now().ns - from);
}

static double calls(struct mps_object *o)
{
	int64_t from = mps_now().ns;

	for (int i = 0; i < CALLS; i++)
		if (mps_object_add(o, 1, NULL) < 0)
			die("remote mps_object_add");
	return CALLS * 1e6 / (double)(mps_now().ns - from);
}

/* ---------------------------------------------------------------------------------------------- the whole */

static void report(const char *what, struct samples s[N_KINDS])
{
	for (int k = 0; k < N_KINDS; k++)
		samples_say(&s[k], what, kinds[k], "k/s");
}

static void bench(int rounds)
{
	struct samples counter[N_KINDS] = { 0 }, items[N_KINDS] = { 0 }, lock[N_KINDS] = { 0 },
		       remote = { 0 };
	struct mps_manager *near = client(false), *far = client(true);
	struct mps_object *l = object(near, "lock", "l"), *c = object(far, "counter", "far");

	for (int i = 0; i < rounds; i++) {
		for (int k = 0; k < N_KINDS; k++) {
			samples_add(&counter[k], two("counter", k, 2.0 * ADDS));
			samples_add(&items[k], two("queue", k, ITEMS));
			samples_add(&lock[k], locks(k, l));
		}
		samples_add(&remote, calls(c));
	}
	report("counter, two processes add", counter);
	report("queue, one puts, one gets", items);
	report("lock and unlock", lock);
	samples_say(&remote, "counter, by a remote client", "mpsup", "k/s");
	mps_object_close(l);
	mps_object_close(c);
	mps_manager_close(near);
	mps_manager_close(far);
}

static pid_t start_server(void)
{
	struct mps_manager_options o = { .address = address };
	char line[256];
	const char *why;
	int ready[2];
	pid_t pid;

	snprintf(address, sizeof(address), "abstract:mpsup-bench-%d", (int)getpid());
	if (pipe(ready) < 0)
		die("pipe");
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(mps_manager_serve(&o, ready[1], &why) < 0);
	}
	close(ready[1]);
	if (read(ready[0], line, sizeof(line)) <= 0)
		die("no server");
	close(ready[0]);
	return pid;
}

int main(int argc, char **argv)
{
	struct mps_queue_options o = { .ring_size = 1 << 20 };
	int rounds = 1;
	pid_t server;

	if (!take_options(argc, argv, &rounds, &part))
		return 2;
	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w == MAP_FAILED || mps_lock_init(&w->lock) < 0 || mps_queue_new(&o, &queue) < 0)
		die("memory");
	server = start_server();
	bench(rounds);
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	mps_queue_free(queue);
	munmap(w, sizeof(*w));
	return 0;
}
