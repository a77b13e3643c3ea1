/*
 * What each hook of the shim costs besides its message: the same call with the shim, and without it after the message was
 * sent by hand (of the same size, on the same kind of socket), in processes that have their turns one after the other.
 * Each call is timed by itself; what makes room for the next one is not. Here the tracker reads, wipes the slate and
 * forgets. hooks [-r TURNS] FOLDER-OF-MPSUP; hooks -w WHAT is a turn.
 */
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "track/slate.h"
#include "turns.h"

enum { CALLS = 3000 };

static char folder[64], path[64], other[64], sem_path[64];
static const char *name; /* "/mpsup-bench.PID" */
static int key = 0x6d700000;

/* -------------------------------------------------------------------------------------------------------- calls */

static long call_open_excl(void)
{
	return open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

static long call_open(void)
{
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static long call_creat(void)
{
	return creat(path, 0600);
}

static long call_shm_excl(void)
{
	return shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
}

static long call_shm(void)
{
	return shm_open(name, O_RDWR | O_CREAT, 0600);
}

static long call_sem_excl(void)
{
	return (long)sem_open(name, O_CREAT | O_EXCL, 0600, 1);
}

static long call_sem(void)
{
	return (long)sem_open(name, O_CREAT, 0600, 1);
}

static long call_mq_excl(void)
{
	return mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
}

static long call_mq(void)
{
	return mq_open(name, O_RDWR | O_CREAT, 0600, NULL);
}

static long call_link(void)
{
	return link(other, path);
}

static long call_mkstemp(void)
{
	strcpy(path + strlen(path) - 6, "XXXXXX");
	return mkstemp(path);
}

static long call_shmget(void)
{
	return shmget(++key, 4096, IPC_CREAT | 0600);
}

static long call_shmget_private(void)
{
	return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
}

static long call_semget(void)
{
	return semget(++key, 1, IPC_CREAT | 0600);
}

static long call_msgget(void)
{
	return msgget(++key, IPC_CREAT | 0600);
}

/* ------------------------------------------------------------------------------ undone past any hook, and untimed */

static void drop(long fd)
{
	close((int)fd);
	syscall(SYS_unlink, path);
}

static void drop_sem(long s)
{
	sem_close((sem_t *)s);
	syscall(SYS_unlink, sem_path);
}

static void drop_mq(long q)
{
	mq_close((mqd_t)q);
	syscall(SYS_mq_unlink, name + 1);
}

static void drop_name(long r)
{
	(void)r;
	syscall(SYS_unlink, path);
}

static void drop_shmget(long id)
{
	syscall(SYS_shmctl, id, IPC_RMID, NULL);
}

static void drop_semget(long id)
{
	syscall(SYS_semctl, id, 0, IPC_RMID, NULL);
}

static void drop_msgget(long id)
{
	syscall(SYS_msgctl, id, IPC_RMID, NULL);
}

static void keep(long fd)
{
	close((int)fd);
}

static void keep_sem(long s)
{
	sem_close((sem_t *)s);
}

/* What is sent by hand is what the hook has to say at the least, when it has to. */
static const struct what {
	const char *name;
	long (*call)(void);
	void (*undo)(long r);
	const char *type;
	bool before, after, exists; /* it is there already */
} whats[] = {
	{ "open, O_EXCL", call_open_excl, drop, "shared_memory", true, false, false },
	{ "open", call_open, drop, "shared_memory", true, false, false },
	{ "creat", call_creat, drop, "shared_memory", true, false, false },
	{ "mkstemp", call_mkstemp, drop, "shared_memory", true, false, false },
	{ "link", call_link, drop_name, "shared_memory", true, false, false },
	{ "shm_open, O_EXCL", call_shm_excl, drop, "shared_memory", true, false, false },
	{ "shm_open", call_shm, drop, "shared_memory", true, false, false },
	{ "sem_open, O_EXCL", call_sem_excl, drop_sem, "semaphore", true, false, false },
	{ "sem_open", call_sem, drop_sem, "semaphore", true, false, false },
	{ "mq_open, O_EXCL", call_mq_excl, drop_mq, "mqueue", true, false, false },
	{ "mq_open", call_mq, drop_mq, "mqueue", true, false, false },
	{ "shmget", call_shmget, drop_shmget, "sysv_shm", true, true, false },
	{ "shmget, IPC_PRIVATE", call_shmget_private, drop_shmget, "sysv_shm", true, true, false },
	{ "semget", call_semget, drop_semget, "sysv_sem", true, true, false },
	{ "msgget", call_msgget, drop_msgget, "sysv_msg", true, true, false },
	{ "open of what is there", call_open, keep, "", false, false, true },
	{ "shm_open of what is there", call_shm, keep, "", false, false, true },
	{ "sem_open of what is there", call_sem, keep_sem, "", false, false, true },
	{ "one message", NULL, NULL, "shared_memory", true, false, false },
};

/* -------------------------------------------------------------------------------------------------------- turns */

/* The sender and the tracker each on a processor of its own, always the same: where they meet costs more than any hook. */
static void stay_on(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	sched_setaffinity(0, sizeof(set), &set); /* where there is only one, it does without */
}

static void send_word(const struct what *w)
{
	char text[128];
	int n = snprintf(text, sizeof(text), "REGISTER:%s:%s\nSLATE:100:noop\n", name, w->type);

	if (send(sender, text, (size_t)n, MSG_NOSIGNAL) < 0)
		die("send");
}

static double time_call(const struct what *w, bool with)
{
	double begin = now_us(CLOCK_MONOTONIC), end;
	long r = 0;

	if (!with && w->before)
		send_word(w);
	if (w->call != NULL)
		r = w->call();
	if (!with && w->after)
		send_word(w);
	end = now_us(CLOCK_MONOTONIC);
	if (r == -1 || (r == 0 && strncmp(w->name, "sem_", 4) == 0))
		die(w->name);
	if (w->undo != NULL)
		w->undo(r);
	return end - begin;
}

static int be_turn(const struct what *w)
{
	bool with = getenv("LD_PRELOAD") != NULL;
	struct samples all = { 0 };
	double median;
	pid_t pid = getpid();

	stay_on(0);
	snprintf(path, sizeof(path), "/dev/shm/mpsup-bench.%d%s", pid,
		 w->call == call_mkstemp ? ".XXXXXX" : "");
	snprintf(other, sizeof(other), "/dev/shm/mpsup-bench-other.%d", pid);
	snprintf(sem_path, sizeof(sem_path), "/dev/shm/sem.mpsup-bench.%d", pid);
	name = path + strlen("/dev/shm");
	key += pid << 12;
	if (!with || w->call == NULL)
		connect_sender();
	if (w->call == call_link)
		close(creat(other, 0600));
	if (w->exists)
		keep_sem(call_sem()), keep(call_open());
	for (int i = 0; i < CALLS / 10; i++)
		time_call(w, with && w->call != NULL);
	for (int i = 0; i < CALLS; i++)
		samples_add(&all, time_call(w, with && w->call != NULL));
	syscall(SYS_unlink, other);
	syscall(SYS_unlink, path);
	syscall(SYS_unlink, sem_path);
	median = samples_quantile(&all, 0.5);
	samples_free(&all);
	return write(1, &median, sizeof(median)) != sizeof(median);
}

/* ------------------------------------------------------------------------------------------------------ tracker */

static void hear(int client, int slate)
{
	static char text[16385];
	ssize_t n;

	while ((n = recv(client, text, sizeof(text) - 1, 0)) > 0) {
		const char *place;

		text[n] = '\0';
		place = strstr(text, "SLATE:");
		if (place != NULL)
			slate_wipe(slate, (unsigned)atoi(place + strlen("SLATE:")));
		if (strncmp(text, "PROBE", 5) == 0)
			send(client, text, (size_t)n, MSG_NOSIGNAL);
	}
	close(client);
}

static pid_t start_tracker(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), slate;
	pid_t pid;

	strcpy(folder, "/tmp/mpsup-bench.XXXXXX");
	if (mkdtemp(folder) == NULL)
		die(folder);
	snprintf(address, sizeof(address), "%s/ipc.sock", folder);
	strcpy(a.sun_path, address);
	slate = slate_make(folder, geteuid());
	if (slate < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 8) < 0)
		die(address);
	pid = fork();
	if (pid != 0) {
		close(fd);
		close(slate);
		return pid;
	}
	stay_on(1);
	for (;;)
		hear(accept(fd, NULL, NULL), slate); /* one at a time, as the turns are */
}

int main(int argc, char **argv)
{
	int turns = 30;
	pid_t tracker;

	if (argc == 3 && strcmp(argv[1], "-w") == 0)
		return be_turn(&whats[atoi(argv[2])]);
	if (!take_turns_options(argc, argv, &turns))
		return 2;
	tracker = start_tracker();
	for (size_t i = 0; i < ARRAY_SIZE(whats); i++)
		compare(whats[i].name, (int)i, turns, false);
	kill(tracker, SIGKILL);
	waitpid(tracker, NULL, 0);
	unlink(address);
	slate_remove_all(folder);
	rmdir(folder);
	return 0;
}
