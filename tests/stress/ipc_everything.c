/*
 * A program that holds one of everything that there is, and its workers of each start method, who use all of it. It, one of the
 * workers, and its tracker are killed, in any order, each at any moment. When the last process has ended, nothing is left: no
 * name in /dev/shm, no message queue, no SysV object, no file, nothing in the runtime directory. What belongs to it is known by a
 * resource limit that only it has.
 * STRESS_KILLS=60 (three a round), STRESS_SEED.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mtime.h"
#include "base/runtime.h"
#include "mpsup.h"
#include "proc/pidfd.h"
#include "proc/tree.h"
#include "track/sweep.h"

enum { PATIENCE_S = 60, WORKERS = 3, LARGE = 1 << 20, PROGRESS_FD = 3, MOMENTS = 400 };

static uint64_t seed;

static _Noreturn void die(const char *what, int error)
{
	fprintf(stderr, "ipc_everything: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static void must(const char *what, int r)
{
	if (r < 0)
		die(what, r);
}

static uint64_t draw(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
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
	int64_t moment = (int64_t)draw(2) * MPS_MILLISECOND;

	if (mps_lock_acquire(&s->lock, PATIENCE_S * MPS_SECOND) < 0)
		die("lock", ETIMEDOUT);
	if (draw(4) == 0)
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
	draw(2) ? mps_event_set(&s->event) : mps_event_clear(&s->event);
	mps_event_wait(&s->event, moment);
}

static void use_memory(struct all *a)
{
	char name[NAME_MAX];
	struct mps_shm *shm;
	uint64_t block;
	int r;

	mps_array_add(a->array, draw(10), 1, NULL);
	mps_value_set_double(a->value, 1.5);
	if (mps_arena_alloc(a->arena, draw(4096) + 1, &block) == 0) {
		if (draw(8) == 0)
			mps_arena_keep(a->arena, block);
		else if (draw(2))
			mps_arena_free(a->arena, block);
	} else {
		mps_arena_sweep(a->arena);
	}
	snprintf(name, sizeof(name), "/%s-%d-%d", a->mark, (int)getpid(), (int)draw(4));
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

	mps_queue_put(a->queue, a->large, draw(2) ? LARGE : draw(100), MPS_MILLISECOND);
	if (draw(3) == 0 && mps_queue_get_new(a->queue, &p, &n, MPS_MILLISECOND) == 0)
		free(p);
}

static void use(struct all *a)
{
	switch (draw(4)) {
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
		mps_send(a->connection, a->large, draw(1000), 0);
	}
}

/* ---------------------------------------------------------------------------------------------------- a worker */

static int work(struct mps_args *args)
{
	struct all a = { .queue = mps_args_queue(args, 1),
			 .connection = mps_args_connection(args, 2),
			 .large = calloc(1, LARGE) };

	seed = (uint64_t)mps_args_int(args, 6) | 1;
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

static void set_limit(uint64_t value)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_RTTIME, &r) < 0)
		die("getrlimit", errno);
	r.rlim_cur = value;
	if (setrlimit(RLIMIT_RTTIME, &r) < 0)
		die("setrlimit", errno);
}

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
		die("sem_open", errno);
	must("register", mps_track_register("mqueue", name));
	if (mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &small) < 0 && errno != ENOSYS)
		die("mq_open", errno);
	snprintf(path, sizeof(path), "%s/file", tmp);
	must("register", mps_track_register("file", path));
	f = fopen(path, "we");
	snprintf(path, sizeof(path), "%s/folder", tmp);
	must("register", mps_track_register("folder", path));
	if (f == NULL || fclose(f) != 0 || mkdir(path, 0700) < 0)
		die(path, errno);
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
	must("args", mps_args_add_int(o.args, (int64_t)draw(INT64_MAX)));
	must("args", mps_args_add_text(o.args, a->mark));
	o.target = work;
	o.method = method;
	o.daemon = draw(2);
	if (mps_process_start(&o, &p) < 0) {
		fprintf(stderr, "ipc_everything: %s\n", mps_process_failure());
		exit(1);
	}
	mps_args_free(o.args);
	return mps_process_pid(p);
}

static void tell(const void *p, size_t n)
{
	if (write(PROGRESS_FD, p, n) != (ssize_t)n)
		die("the killer is gone", errno);
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
	seed = strtoull(argv[2], NULL, 10) | 1;
	if (a.large == NULL)
		die("memory", ENOMEM);
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

/* One that has ended, and that the machine's first process has not reaped yet, is none any more. */
static bool is_of(pid_t pid, void *user)
{
	struct proc_stat st;
	struct rlimit r;

	return prlimit(pid, RLIMIT_RTTIME, NULL, &r) == 0 && r.rlim_cur == *(uint64_t *)user &&
	       proc_stat_read(pid, &st) == 0 && st.state != 'Z';
}

static void await_end(uint64_t limit)
{
	int64_t until = mps_now().ns + PATIENCE_S * MPS_NS_PER_S;
	struct pids list = { 0 };

	for (;;) {
		processes_list(is_of, &limit, &list);
		if (list.n == 0)
			break;
		for (size_t i = 0; i < list.n; i++) {
			struct pollfd p = { .fd = pidfd_open_checked(list.p[i]), .events = POLLIN };
			int64_t left = (until - mps_now().ns) / MPS_NS_PER_MS;
			char command[100];

			if (p.fd >= 0 && poll(&p, 1, left > 0 ? (int)left : 0) == 0) {
				snprintf(command, sizeof(command), "ps -o pid,ppid,args -p %d >&2",
					 list.p[i]);
				if (system(command) >= 0)
					die("a process is left", ETIMEDOUT);
			}
			if (p.fd >= 0)
				close(p.fd);
		}
	}
	pids_fini(&list);
}

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

	for (uint64_t n = draw(MOMENTS); n > 0 && read(progress, &byte, 1) == 1; n--)
		;
}

static void expect_empty(const char *folder, const char *prefix)
{
	AUTO_FREE char *base = runtime_base();
	DIR *d = opendir(folder != NULL ? folder : base);
	const struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0) {
			fprintf(stderr, "ipc_everything: %s/%s is left\n",
				folder != NULL ? folder : base, e->d_name);
			exit(1);
		}
	if (d != NULL)
		closedir(d);
}

static void expect_nothing(const struct ready *r, pid_t pid, const char *mark)
{
	char text[100];
	struct shmid_ds shm;
	struct msqid_ds msg;

	expect_empty("/dev/shm", mark);
	snprintf(text, sizeof(text), "sem.%s", mark);
	expect_empty("/dev/shm", text);
	expect_empty("/dev/mqueue", mark);
	expect_empty(getenv("TMPDIR"), "");
	snprintf(text, sizeof(text), "track-%d.", pid);
	expect_empty(NULL, text);
	snprintf(text, sizeof(text), "/%s-sem", mark);
	if (mq_open(text, O_RDONLY) >= 0 || shmctl(r->sysv_shm, IPC_STAT, &shm) == 0 ||
	    semctl(r->sysv_sem, 0, GETVAL) >= 0 || msgctl(r->sysv_msg, IPC_STAT, &msg) == 0)
		die("a queue or a SysV object is left", EEXIST);
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
	snprintf(random, sizeof(random), "%llu", (unsigned long long)draw(INT64_MAX));
	if (pipe2(ends, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		die("fork", errno);
	if (pid == 0) {
		if (ends[1] == PROGRESS_FD)
			fcntl(PROGRESS_FD, F_SETFD, 0);
		else
			dup2(ends[1], PROGRESS_FD);
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
		unsigned k = (unsigned)draw(i + 1);

		order[i] = order[k];
		order[k] = (enum victim)i;
	}
}

/* How many were killed. */
static unsigned play(uint64_t limit, const char *mark)
{
	AUTO_FREE char *base = runtime_base();
	AUTO_CLOSE int progress = -1, worker = -1;
	enum victim order[N_VICTIMS];
	pid_t pid = start_program(limit, mark, &progress);
	bool is_orphaned = false;
	struct ready ready;
	unsigned kills = 0;

	if (read(progress, &ready, sizeof(ready)) != sizeof(ready))
		die("the program has failed", EPIPE);
	worker = pidfd_open_checked(ready.workers[draw(WORKERS)]);
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
		die("waitpid", errno);
	await_end(limit);
	/* With the program its tracker is nobody's to start again: the next start of anything sweeps. */
	if (is_orphaned)
		track_sweep_all(base, &(struct track_sweep){ 0 });
	expect_nothing(&ready, pid, mark);
	return kills;
}

static void set_up(char folder[PATH_MAX])
{
	char self[PATH_MAX] = "", host[PATH_MAX + 32];

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0)
		die("/proc/self/exe", errno);
	*strrchr(self, '/') = '\0';
	snprintf(host, sizeof(host), "%s/../mpsup-host", self);
	setenv("MPSUP_HOST", host, 0);
	unsetenv("MPSUP_TRACKER");
	snprintf(folder, PATH_MAX, "%s/everything-XXXXXX",
		 getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
	if (mkdtemp(folder) == NULL)
		die(folder, errno);
	setenv("TMPDIR", folder, 1);
}

static unsigned number(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
	unsigned wanted = number("STRESS_KILLS", 60), kills = 0;
	char folder[PATH_MAX], mark[64];

	if (mps_init(&argc, &argv) < 0)
		return 1;
	if (argc == 5)
		return program(argv + 2);
	seed = number("STRESS_SEED", (unsigned)mps_now().ns) | 1;
	printf("STRESS_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	set_up(folder);
	snprintf(mark, sizeof(mark), "stress-everything-%d", (int)getpid());
	for (unsigned n = 0; kills < wanted; n++)
		kills += play((UINT64_C(1) << 40) + (uint64_t)getpid() * 20 + n % 20, mark);
	rmdir(folder);
	printf("%u kills, and each time nothing was left\n", kills);
	return 0;
}
