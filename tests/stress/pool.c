/*
 * Workers of a pool are killed by SIGKILL at moments that nobody chooses, while several threads hand over tasks: one by one, as
 * maps, as imaps. Whatever happens, each task has exactly one outcome in time; one that is done was run once, one whose
 * worker has died was begun once (or as often as its result says), and no other is lost. In the end nothing is left:
 * no child, no descriptor.
 * STRESS_KILLS=1000, STRESS_SEED, STRESS_METHOD=spawn|forkserver.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../count_fds.h"
#include "base/cleanup.h"
#include "base/mtime.h"
#include "ipc/futex.h"
#include "mpsup.h"

enum { THREADS = 4, SLOTS = 2048, WORKERS = 4, PATIENCE_S = 60, RETRIES = 2, PIDS = 1 << 15 };

/* Of a task; nobody else uses it until its outcome is known. */
struct slot {
	_Atomic uint32_t begun, done;
};

static struct slot *slots;
static struct mps_pool *pools[2];
static _Atomic bool stops;
static _Atomic uint32_t never;
static _Atomic uint64_t n_done, n_died;
static _Atomic bool was_killed[1 << 22];

static _Noreturn void die(const char *what, long a, long b)
{
	fprintf(stderr, "pool: %s (%ld, %ld) %s\n", what, a, b, mps_pool_failure(pools[0]));
	abort();
}

static uint64_t draw(uint64_t *state, uint64_t below)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*state >> 33) % below;
}

/* ----------------------------------------------------------------------------------------------------- workers */

static int have_slots(struct mps_args *args)
{
	slots = mps_shm_data(mps_args_shm(args, 0));
	return 0;
}
MPS_TARGET(have_slots);

/* Its slot, and for how many ns it is busy; the answer is the number and so many bytes. */
static int task(struct mps_args *args)
{
	const uint32_t *v = mps_args_bytes(args, 0, NULL);
	int64_t until = v[1] > 0 ? mps_now().ns + v[1] : 0;
	static char answer[1 << 16];

	atomic_fetch_add(&slots[v[0]].begun, 1);
	while (until != 0 && mps_now().ns < until)
		;
	memcpy(answer, &v[0], sizeof(v[0]));
	mps_args_reply(args, answer, v[2]);
	atomic_fetch_add(&slots[v[0]].done, 1);
	return 0;
}
MPS_TARGET(task);

/* ----------------------------------------------------------------------------------------------------- threads */

struct order {
	uint32_t slot, ns, size;
};

struct user {
	pthread_t thread;
	uint64_t state;
	uint32_t first; /* slot */
	struct order orders[SLOTS];
	struct mps_item items[SLOTS];
	uint32_t n, at;
	bool seen[SLOTS];
};

static void check(struct user *u, uint32_t retries, const struct mps_result *r, uint32_t i)
{
	struct slot *s = &slots[u->first + i];
	uint32_t slot;

	if (i >= u->n || u->seen[i])
		die("a second outcome", i, r->outcome);
	u->seen[i] = true;
	switch (r->outcome) {
	case 0:
		if (r->n != u->orders[i].size)
			die("another size", (long)r->n, u->orders[i].size);
		memcpy(&slot, r->p, sizeof(slot));
		if (slot != u->first + i || s->begun > r->tries || s->begun == 0 ||
		    (s->done != 1 && (s->done == 0 || retries == 0)))
			die("it is done, but not once", s->begun, s->done);
		n_done++;
		break;
	case MPS_POOL_E_WORKER_DIED:
		if (r->code != -SIGKILL || s->begun > r->tries || r->tries != retries + 1)
			die("it has died otherwise", r->code, s->begun);
		if (!was_killed[r->pid])
			die("it was not killed", r->pid, 0);
		n_died++;
		break;
	default:
		die("an outcome that it cannot have", r->outcome, r->code);
	}
}

static void prepare(struct user *u)
{
	static const uint32_t times[] = { 0, 0, 0, 0, 0, 1000, 20000, 300000 };

	u->n = 1 + (uint32_t)draw(&u->state, SLOTS);
	u->at = 0;
	memset(u->seen, 0, sizeof(u->seen));
	for (uint32_t i = 0; i < u->n; i++) {
		struct slot *s = &slots[u->first + i];

		s->begun = s->done = 0;
		u->orders[i] =
			(struct order){ u->first + i, times[draw(&u->state, ARRAY_SIZE(times))],
					4 + (uint32_t)draw(&u->state, 60) };
		if (draw(&u->state, 200) == 0)
			u->orders[i].size = 4 + (uint32_t)draw(&u->state, 60000);
		u->items[i] = (struct mps_item){ &u->orders[i], sizeof(u->orders[i]) };
	}
}

static void finish(struct user *u)
{
	for (uint32_t i = 0; i < u->n; i++)
		if (!u->seen[i])
			die("no outcome", i, u->n);
}

static void use_map(struct user *u, struct mps_pool *p, uint32_t retries)
{
	struct mps_map_options o = { .chunk = draw(&u->state, 3) == 0 ? 1 : draw(&u->state, 200) };
	struct mps_result result;
	struct mps_future *f;
	int r = mps_pool_map(p, task, u->items, u->n, &o, &f, PATIENCE_S * MPS_SECOND);

	if (r < 0)
		die("map", r, 0);
	for (uint32_t i = 0; i < u->n; i++) {
		mps_future_result(f, i, &result);
		check(u, retries, &result, i);
	}
	mps_future_free(f);
}

static int next_order(void *user, struct mps_item *item)
{
	struct user *u = user;

	if (u->at == u->n)
		return 0;
	*item = u->items[u->at++];
	return 1;
}

static void use_imap(struct user *u, struct mps_pool *p, uint32_t retries)
{
	struct mps_imap_options o = { .input = next_order,
				      .user = u,
				      .chunk = 1 + draw(&u->state, 30),
				      .unordered = draw(&u->state, 2) };
	struct mps_result result;
	struct mps_imap *im;
	int r = mps_pool_imap(p, task, &o, &im);

	if (r < 0)
		die("imap", r, 0);
	while ((r = mps_imap_next(im, &result, PATIENCE_S * MPS_SECOND)) >= 0)
		check(u, retries, &result, (uint32_t)result.index);
	if (r != -ENODATA)
		die("imap", r, 0);
	mps_imap_free(im);
}

static void use_apply(struct user *u, struct mps_pool *p, uint32_t retries)
{
	struct mps_result result;
	struct mps_future *f[64];
	int r;

	u->n = u->n < 64 ? u->n : 64;
	for (uint32_t i = 0; i < u->n; i++) {
		r = mps_pool_apply_async(p, task, &u->items[i], 1, &f[i]);
		if (r < 0)
			die("apply_async", r, 0);
	}
	for (uint32_t i = 0; i < u->n; i++) {
		r = mps_future_get(f[i], &result, PATIENCE_S * MPS_SECOND);
		if (r < 0)
			die("get", r, 0);
		check(u, retries, &result, i);
		mps_future_free(f[i]);
	}
}

static void *use(void *user)
{
	static void (*const uses[])(struct user *, struct mps_pool *,
				    uint32_t) = { use_map, use_imap, use_apply };
	struct user *u = user;

	while (!stops) {
		unsigned which = (unsigned)draw(&u->state, 2);

		prepare(u);
		uses[draw(&u->state, ARRAY_SIZE(uses))](u, pools[which], which ? RETRIES : 0);
		finish(u);
	}
	return NULL;
}

/* ------------------------------------------------------------------------------------------------------ kills */

static void kill_some(uint64_t *state, long kills)
{
	pid_t pids[WORKERS + 2];

	for (long done = 0; done < kills;) {
		struct mps_pool *p = pools[draw(state, 2)];
		size_t n = mps_pool_pids(p, pids, ARRAY_SIZE(pids));
		struct mps_time until = { mps_now().ns + (int64_t)draw(state, 3000000) };
		pid_t pid;

		futex_wait(&never, 0, until);
		if (n == 0)
			continue;
		pid = pids[draw(state, n < ARRAY_SIZE(pids) ? n : ARRAY_SIZE(pids))];
		was_killed[pid] = true;
		done += kill(pid, SIGKILL) == 0;
		if (draw(state, 100) == 0)
			mps_pool_resize(p, 1 + (uint32_t)draw(state, WORKERS + 2));
	}
}

/* Without a word the first is of copies of this process, which has one thread until then (with ThreadSanitizer two). */
static enum mps_start_method method_of(const char *name, int i)
{
	if (name == NULL)
		return i == 0 && !FUTEX_TSAN ? MPS_START_FORK : MPS_START_FORKSERVER;
	return strcmp(name, "spawn") == 0 ? MPS_START_SPAWN : MPS_START_FORKSERVER;
}

static void make_pools(struct mps_shm *shm)
{
	const char *method = getenv("STRESS_METHOD");
	struct mps_pool_options o = { .workers = WORKERS, .initializer = have_slots };

	mps_args_new(&o.args);
	mps_args_add_shm(o.args, shm);
	for (int i = 0; i < 2; i++) {
		int r;

		o.method = method_of(method, i);
		o.retries = i ? RETRIES : 0;
		o.ring_size = i ? 4096 : 0;
		r = mps_pool_new(&o, &pools[i]);
		if (r < 0)
			die(mps_pool_failure(NULL), r, i);
	}
	mps_args_free(o.args);
}

static void end_pools(void)
{
	for (int i = 0; i < 2; i++) {
		if (mps_pool_failure(pools[i])[0] != '\0')
			die(mps_pool_failure(pools[i]), i, 0);
		mps_pool_close(pools[i]);
		if (mps_pool_join(pools[i], PATIENCE_S * MPS_SECOND) < 0)
			die("join", i, 0);
		mps_pool_free(pools[i]);
	}
	if (mps_active_children(NULL, 0) != 0)
		die("a child is left", (long)mps_active_children(NULL, 0), 0);
}

static long number_of(const char *name, long otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? atol(text) : otherwise;
}

static int body(int argc, char **argv)
{
	static struct user users[THREADS];
	long kills = number_of("STRESS_KILLS", 1000);
	uint64_t seed = (uint64_t)number_of("STRESS_SEED", (long)mps_now().ns), state = seed;
	unsigned fds = count_fds(getpid());
	struct mps_shm *shm;
	int64_t from = mps_now().ns;

	(void)argc;
	(void)argv;
	fprintf(stderr, "STRESS_SEED=%llu\n", (unsigned long long)seed);
	if (mps_shm_create(NULL, THREADS * SLOTS * sizeof(*slots), &shm) < 0)
		return 1;
	slots = mps_shm_data(shm);
	make_pools(shm);
	for (uint32_t i = 0; i < THREADS; i++) {
		users[i].state = draw(&state, UINT32_MAX);
		users[i].first = i * SLOTS;
		if (pthread_create(&users[i].thread, NULL, use, &users[i]) != 0)
			return 1;
	}
	kill_some(&state, kills);
	stops = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(users[i].thread, NULL);
	end_pools();
	mps_shm_close(shm);
	/* The forkserver and the guard have one each, that stay. */
	if (count_fds(getpid()) > fds + 6)
		die("descriptors are left", count_fds(getpid()), fds);
	printf("%ld kills, %llu tasks done, %llu died with their workers, %.1f s\n", kills,
	       (unsigned long long)n_done, (unsigned long long)n_died,
	       (double)(mps_now().ns - from) / 1e9);
	return 0;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
