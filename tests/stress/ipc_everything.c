/*
 * A program that holds one of everything that there is, and its workers of each start method, who use all of it. It, one of the
 * workers, and its tracker are killed, in any order, each at any moment. When the last process has ended, nothing is left: no
 * name in /dev/shm, no message queue, no SysV object, no file, nothing in the runtime directory. What belongs to it is known by a
 * resource limit that only it has.
 * STRESS_KILLS=60 (three a round), STRESS_SEED.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../find_host.h"
#include "base/cleanup.h"
#include "base/mtime.h"
#include "base/runtime.h"
#include "limit.h"
#include "mpsup.h"
#include "proc/pidfd.h"
#include "proc/tree.h"
#include "stress.h"
#include "track/sweep.h"

enum { PATIENCE_S = 60, WORKERS = 3, LARGE = 1 << 20, PROGRESS_FD = 3, MOMENTS = 400 };

static void must(const char *what, int r)
{
	if (r < 0)
		fail("%s: %s", what, strerror(-r));
}

/* -------------------------------------------------------------------------------------------------- the objects */

/* What lies in shared memory. */
struct shared {
	struct mps_lock lock;
	struct mps_rlock rlock;
	struct mps_condition condition;
	struct mps_event event;
	struct mps_semaphore semaphore;
	struct mps_barrier barrier;
};

/* What a process has of them. */
struct all {
	struct mps_shm *shm;
	struct shared *s;
	struct mps_queue *queue;
	struct mps_connection *connection;
	struct mps_array *array;
	struct mps_value *value;
	struct mps_arena *arena;
	char *large;
	char mark[64];
};

static void use_locks(struct shared *s)
{
	int64_t moment = (int64_t)dice(2) * MPS_MILLISECOND;

	if (mps_lock_acquire(&s->lock, PATIENCE_S * MPS_SECOND) < 0)
		fail("the lock is not to be had");
	if (dice(4) == 0)
		mps_condition_wait(&s->condition, &s->lock, moment);
	mps_condition_notify(&s->condition, 1);
	must("release", mps_lock_release(&s->lock));
	if (mps_rlock_acquire(&s->rlock, PATIENCE_S * MPS_SECOND) >= 0) {
		mps_rlock_acquire(&s->rlock, 0);
		mps_rlock_release(&s->rlock);
		mps_rlock_release(&s->rlock);
	}
	if (mps_semaphore_acquire(&s->semaphore, moment) == 0)
		mps_semaphore_release(&s->semaphore, 1);
	if (mps_barrier_wait(&s->barrier, moment) < 0)
		mps_barrier_reset(&s->barrier);
	dice(2) ? mps_event_set(&s->event) : mps_event_clear(&s->event);
	mps_event_wait(&s->event, moment);
}

static void use_memory(struct all *a)
{
	char name[NAME_MAX];
	struct mps_shm *shm;
	uint64_t block;
	int r;

	mps_array_add(a->array, dice(10), 1, NULL);
	mps_value_set_double(a->value, 1.5);
	if (mps_arena_alloc(a->arena, dice(4096) + 1, &block) == 0) {
		if (dice(8) == 0)
			mps_arena_keep(a->arena, block);
		else if (dice(2))
			mps_arena_free(a->arena, block);
	} else {
		mps_arena_sweep(a->arena);
	}
	snprintf(name, sizeof(name), "/%s-%d-%d", a->mark, (int)getpid(), (int)dice(4));
	r = mps_shm_create(name, 8192, &shm);
	if (r == 0)
		mps_shm_close(shm);
	else
		r = mps_shm_unlink(name);
	must("segment", r);
}

/* Those that are not taken stay in flight. */
static void use_queue(struct all *a)
{
	void *p;
	size_t n;

	mps_queue_put(a->queue, a->large, dice(2) ? LARGE : dice(100), MPS_MILLISECOND);
	if (dice(3) == 0 && mps_queue_get_new(a->queue, &p, &n, MPS_MILLISECOND) == 0)
		free(p);
}

static void use(struct all *a)
{
	switch (dice(4)) {
	case 0:
		use_locks(a->s);
		break;
	case 1:
		use_memory(a);
		break;
	case 2:
		use_queue(a);
		break;
	default:
		mps_send(a->connection, a->large, dice(1000), 0);
	}
}

/* ---------------------------------------------------------------------------------------------------- a worker */

static int work(struct mps_args *args)
{
	struct all a = { .queue = mps_args_queue(args, 1),
			 .connection = mps_args_connection(args, 2),
			 .large = calloc(1, LARGE) };

	chance = (uint64_t)mps_args_int(args, 6);
	snprintf(a.mark, sizeof(a.mark), "%s", mps_args_text(args, 7));
	a.shm = mps_args_shm(args, 0);
	if (a.shm == NULL || a.large == NULL || a.queue == NULL || a.connection == NULL)
		return 1;
	a.s = mps_shm_data(a.shm);
	must("array", mps_array_open(mps_args_shm(args, 3), &a.array));
	must("value", mps_value_open(mps_args_shm(args, 4), &a.value));
	must("arena", mps_arena_open(mps_args_shm(args, 5), &a.arena));
	for (;;)
		use(&a);
}
MPS_TARGET(work);

/* --------------------------------------------------------------------------------------------------- the program */

/* What it tells the killer, after which come bytes: one for each thing that it does. */
struct ready {
	pid_t workers[WORKERS];
	int sysv_shm, sysv_sem, sysv_msg;
};

/* Nobody unlinks anything of this but the tracker. */
static void make_foreign(const char *mark, struct ready *ret)
{
	char name[NAME_MAX], path[PATH_MAX];
	struct mq_attr small = { .mq_maxmsg = 1, .mq_msgsize = 64 };
	const char *tmp = getenv("TMPDIR");
	FILE *f;

	snprintf(name, sizeof(name), "/%s-sem", mark);
	must("register", mps_track_register("semaphore", name));
	if (sem_open(name, O_CREAT | O_EXCL, 0600, 1) == SEM_FAILED)
		fail("sem_open: %s", strerror(errno));
	must("register", mps_track_register("mqueue", name));
	if (mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &small) < 0 && errno != ENOSYS)
		fail("mq_open: %s", strerror(errno));
	snprintf(path, sizeof(path), "%s/file", tmp);
	must("register", mps_track_register("file", path));
	f = fopen(path, "we");
	snprintf(path, sizeof(path), "%s/folder", tmp);
	must("register", mps_track_register("folder", path));
	if (f == NULL || fclose(f) != 0 || mkdir(path, 0700) < 0)
		fail("%s: %s", path, strerror(errno));
	ret->sysv_shm = shmget(IPC_PRIVATE, 4096, 0600);
	ret->sysv_sem = semget(IPC_PRIVATE, 1, 0600);
	ret->sysv_msg = msgget(IPC_PRIVATE, 0600);
	snprintf(name, sizeof(name), "%d", ret->sysv_shm);
	must("register", mps_track_register("sysv_shm", name));
	snprintf(name, sizeof(name), "%d", ret->sysv_sem);
	must("register", mps_track_register("sysv_sem", name));
	snprintf(name, sizeof(name), "%d", ret->sysv_msg);
	must("register", mps_track_register("sysv_msg", name));
}

static void make_objects(struct all *a)
{
	struct mps_queue_options o = MPS_QUEUE_OPTIONS_INIT;
	struct mps_connection *client, *server;
	char name[NAME_MAX], queue[NAME_MAX];
	struct mps_listener *l;
	struct mps_queue *other;

	snprintf(name, sizeof(name), "/%s-shared", a->mark);
	snprintf(queue, sizeof(queue), "/%s-queue", a->mark);
	must("shm", mps_shm_create(name, sizeof(*a->s), &a->shm));
	a->s = mps_shm_data(a->shm);
	must("lock", mps_lock_init(&a->s->lock));
	must("rlock", mps_rlock_init(&a->s->rlock));
	must("condition", mps_condition_init(&a->s->condition));
	must("event", mps_event_init(&a->s->event));
	must("semaphore", mps_semaphore_init(&a->s->semaphore, 2, 0));
	must("barrier", mps_barrier_init(&a->s->barrier, 2));
	o.joinable = true;
	o.name = queue;
	must("queue", mps_queue_new(&o, &a->queue));
	must("queue", mps_queue_new(NULL, &other));
	must("put", mps_queue_put(other, a->large, LARGE, 0));
	must("array", mps_array_new('q', 10, 0, &a->array));
	must("value", mps_value_new('d', 0, &a->value));
	must("arena", mps_arena_new(1 << 20, &a->arena));
	must("listen", mps_listen(NULL, NULL, &l));
	must("connect", mps_connect(mps_listener_address(l), NULL, &client, MPS_SECOND));
	must("accept", mps_listener_accept(l, &server, MPS_SECOND));
	must("send", mps_send(client, a->large, 1000, MPS_SECOND));
}

static pid_t start_worker(const struct all *a, enum mps_start_method method,
			  const struct mps_connection *theirs)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	struct mps_process *p;

	must("args", mps_args_new(&o.args));
	must("args", mps_args_add_shm(o.args, a->shm));
	must("args", mps_args_add_queue(o.args, a->queue));
	must("args", mps_args_add_connection(o.args, theirs));
	must("args", mps_args_add_shm(o.args, mps_array_shm(a->array)));
	must("args", mps_args_add_shm(o.args, mps_value_shm(a->value)));
	must("args", mps_args_add_shm(o.args, mps_arena_shm(a->arena)));
	must("args", mps_args_add_int(o.args, (int64_t)chance));
	must("args", mps_args_add_text(o.args, a->mark));
	o.target = work;
	o.method = method;
	o.daemon = dice(2);
	if (mps_process_start(&o, &p) < 0) {
		fail("%s", mps_process_failure());
	}
	mps_args_free(o.args);
	return mps_process_pid(p);
}

static void tell(const void *p, size_t n)
{
	if (write(PROGRESS_FD, p, n) != (ssize_t)n)
		fail("the killer is gone: %s", strerror(errno));
}

/* argv: the limit, the mark, the seed. */
static int program(char **argv)
{
	struct all a = { .large = calloc(1, LARGE) };
	struct mps_connection *theirs;
	struct ready ready;

	fcntl(PROGRESS_FD, F_SETFD, FD_CLOEXEC);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	set_limit(strtoull(argv[0], NULL, 10));
	snprintf(a.mark, sizeof(a.mark), "%s", argv[1]);
	chance = strtoull(argv[2], NULL, 10);
	if (a.large == NULL)
		fail("memory");
	make_foreign(a.mark, &ready);
	make_objects(&a);
	must("pipe", mps_pipe(true, &a.connection, &theirs));
	for (int i = 0; i < WORKERS; i++)
		ready.workers[i] =
			start_worker(&a, (enum mps_start_method)(MPS_START_SPAWN + i), theirs);
	tell(&ready, sizeof(ready));
	for (;;) {
		use(&a);
		tell("", 1);
	}
}

/* ---------------------------------------------------------------------------------------------------- the killer */

/* Its tracker, -ESRCH: there is none at the moment. */
static int find_tracker(uint64_t limit)
{
	struct pids list = { 0 };
	int fd = -ESRCH;

	processes_list(is_of, &limit, &list);
	for (size_t i = 0; i < list.n && fd < 0; i++) {
		char path[64], exe[PATH_MAX];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/exe", list.p[i]);
		n = readlink(path, exe, sizeof(exe) - 1);
		if (n > 10 && memcmp(exe + n - 10, "mpsup-host", 10) == 0)
			fd = pidfd_open_checked(list.p[i]);
	}
	pids_fini(&list);
	return fd;
}

/* So many things are done by the program before it goes on, or it is dead. */
static void await_moment(int progress)
{
	char byte;

	for (uint64_t n = dice(MOMENTS); n > 0 && read(progress, &byte, 1) == 1; n--)
		;
}

/* What is there that begins so; "" = nothing. */
static const char *find_in(const char *folder, const char *prefix)
{
	static char found[PATH_MAX + NAME_MAX];
	DIR *d = opendir(folder);
	const struct dirent *e;

	found[0] = '\0';
	while (d != NULL && found[0] == '\0' && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0)
			snprintf(found, sizeof(found), "%s/%s", folder, e->d_name);
	if (d != NULL)
		closedir(d);
	return found;
}

/* The first thing that is left of it, or "". */
static const char *find_left(const struct ready *r, pid_t pid, const char *mark)
{
	AUTO_FREE char *base = runtime_base();
	char sem[80], track[32], queue[80];
	const char *const places[][2] = {
		{ "/dev/shm", mark },	  { "/dev/shm", sem }, { "/dev/mqueue", mark },
		{ getenv("TMPDIR"), "" }, { base, track },
	};
	struct shmid_ds shm;
	struct msqid_ds msg;

	snprintf(sem, sizeof(sem), "sem.%.64s", mark);
	snprintf(track, sizeof(track), "track-%d.", pid);
	snprintf(queue, sizeof(queue), "/%.64s-sem", mark);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (find_in(places[i][0], places[i][1])[0] != '\0')
			return find_in(places[i][0], places[i][1]);
	if (mq_open(queue, O_RDONLY) >= 0)
		return "a message queue";
	if (shmctl(r->sysv_shm, IPC_STAT, &shm) == 0)
		return "a SysV segment";
	if (semctl(r->sysv_sem, 0, GETVAL) >= 0)
		return "a SysV semaphore";
	return msgctl(r->sysv_msg, IPC_STAT, &msg) == 0 ? "a SysV queue" : "";
}

/*
 * All processes have ended. If the tracker was killed with them nobody is left to start it again: the next start of anything
 * sweeps, but leaves alone what the sweep of somebody else is at.
 */
static void expect_nothing(const struct ready *r, pid_t pid, const char *mark, bool is_orphaned)
{
	int64_t until = mps_now().ns + PATIENCE_S * MPS_NS_PER_S;
	AUTO_FREE char *base = runtime_base();
	const char *left;

	if (is_orphaned)
		track_sweep_all(base, &(struct track_sweep){ 0 });
	while ((left = find_left(r, pid, mark))[0] != '\0') {
		if (!is_orphaned || mps_now().ns > until) {
			fail("%s is left%s", left, is_orphaned ? ", the tracker was killed" : "");
		}
		poll(NULL, 0, 10);
		track_sweep_all(base, &(struct track_sweep){ 0 });
	}
}

static pid_t start_program(uint64_t limit, const char *mark, int *ret_progress)
{
	char number[24], random[24];
	char *argv[] = {
		program_invocation_name, (char *)"program", number, (char *)mark, random, NULL
	};
	int ends[2];
	pid_t pid;

	snprintf(number, sizeof(number), "%llu", (unsigned long long)limit);
	snprintf(random, sizeof(random), "%llu", (unsigned long long)chance);
	if (pipe2(ends, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		fail("fork: %s", strerror(errno));
	if (pid == 0) {
		if (ends[1] == PROGRESS_FD)
			fcntl(PROGRESS_FD, F_SETFD, 0);
		else
			dup2(ends[1], PROGRESS_FD);
		/* Who is killed in the middle of looking for leaks says so. */
		setenv("LSAN_OPTIONS", "detect_leaks=0", 1);
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	close(ends[1]);
	*ret_progress = ends[0];
	return pid;
}

enum victim { PROGRAM, WORKER, TRACKER, N_VICTIMS };

static void shuffle(enum victim *order)
{
	for (unsigned i = 0; i < N_VICTIMS; i++) {
		unsigned k = (unsigned)dice(i + 1);

		order[i] = order[k];
		order[k] = (enum victim)i;
	}
}

/* How many were killed. */
static unsigned play(uint64_t limit, const char *mark)
{
	AUTO_CLOSE int progress = -1, worker = -1;
	enum victim order[N_VICTIMS];
	pid_t pid = start_program(limit, mark, &progress);
	bool is_orphaned = false;
	struct ready ready;
	unsigned kills = 0;

	if (read(progress, &ready, sizeof(ready)) != sizeof(ready))
		fail("the program has failed");
	worker = pidfd_open_checked(ready.workers[dice(WORKERS)]);
	shuffle(order);
	for (unsigned i = 0; i < N_VICTIMS; i++) {
		AUTO_CLOSE int tracker = order[i] == TRACKER ? find_tracker(limit) : -1;
		int fd = order[i] == WORKER ? worker : tracker;

		await_moment(progress);
		if (order[i] == PROGRAM)
			kills += kill(pid, SIGKILL) == 0;
		else if (fd >= 0 && pidfd_signal(fd, 0, SIGKILL) == 0) {
			kills++;
			is_orphaned |= order[i] == TRACKER;
		}
	}
	if (waitpid(pid, NULL, 0) != pid)
		fail("waitpid: %s", strerror(errno));
	await_end(limit, PATIENCE_S, "the kills");
	expect_nothing(&ready, pid, mark, is_orphaned);
	return kills;
}

static void set_up(char folder[PATH_MAX])
{
	find_host();
	unsetenv("MPSUP_TRACKER");
	snprintf(folder, PATH_MAX, "%s/everything-XXXXXX",
		 getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
	if (mkdtemp(folder) == NULL)
		fail("%s: %s", folder, strerror(errno));
	setenv("TMPDIR", folder, 1);
}

int main(int argc, char **argv)
{
	unsigned wanted = (unsigned)number_of("STRESS_KILLS", 60), kills = 0;
	char folder[PATH_MAX], mark[64];

	if (mps_init(&argc, &argv) < 0)
		return 1;
	if (argc == 5)
		return program(argv + 2);
	take_seed();
	set_up(folder);
	snprintf(mark, sizeof(mark), "stress-everything-%d", (int)getpid());
	for (unsigned n = 0; kills < wanted; n++)
		kills += play((UINT64_C(1) << 40) + (uint64_t)getpid() * 20 + n % 20, mark);
	rmdir(folder);
	printf("%u kills, and each time nothing was left\n", kills);
	return 0;
}
