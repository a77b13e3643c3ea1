/*
 * A program that makes named objects, and may tell a tracker of them by hand.
 *
 *   ipc DO...      does what it is told, in this order:
 *     sem:/NAME shm:/NAME mq:/NAME      makes one, closes it
 *     hold:/NAME                        opens that shared memory and keeps it mapped
 *     raw:/NAME                         makes shared memory by a system call of its own
 *     sysvsem sysvshm sysvmsg [:KEY]    makes one; prints its id. KEY is hexadecimal
 *     sysvpost                          makes a message queue, sends a message to it; prints its id
 *     rm:/NAME rmsem:/NAME              unlinks shared memory, a semaphore
 *     say:TEXT                          tells the tracker TEXT (\n is a newline), and waits until it has heard it
 *     post:TEXT                         the same without waiting
 *     flood:N                           N registrations of its own that are never made
 *     many:N                            N pieces of shared memory /mps-PID-I, each told of before
 *     child:/NAME                       a child tells of one over our connection, makes it, and is dead before we go on
 *     mv:/NAME                          shared memory gets -n behind its name
 *     huge:N crowd:N                    a datagram of N bytes; N connections that are never used
 *     print:TEXT wait                   prints TEXT; waits for ever
 *     uid:N                             becomes another user
 *     read:PATH                         waits until somebody writes into that FIFO
 *     freeze die                        our parent, the keeper, stands still until we are dead; is killed
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "ipc: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int tracker(void)
{
	static int fd = -1;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const char *path = getenv("MPSUP_TRACKER");

	if (fd >= 0)
		return fd;
	errno = ENOENT;
	must(path != NULL && strlen(path) < sizeof(a.sun_path), "MPSUP_TRACKER");
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	must(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0, path);
	return fd;
}

static void post(const char *p, size_t n)
{
	must(send(tracker(), p, n, MSG_NOSIGNAL) == (ssize_t)n, "send");
}

static void probe(void)
{
	static const char text[] = "PROBE:0:noop\n";
	char answer[64];

	post(text, sizeof(text) - 1);
	must(recv(tracker(), answer, sizeof(answer), 0) > 0, "the tracker does not answer");
}

static void say(const char *text, int wait)
{
	char *copy = strdup(text), *to = copy;

	for (const char *p = text; *p != '\0'; p++) {
		if (p[0] == '\\' && p[1] == 'n') {
			*to++ = '\n';
			p++;
		} else {
			*to++ = *p;
		}
	}
	if (wait)
		probe(); /* so that we are known */
	post(copy, (size_t)(to - copy));
	free(copy);
	if (wait)
		probe();
}

static void flood(const char *n)
{
	char text[64];

	for (int i = 0; i < atoi(n); i++)
		post(text, (size_t)snprintf(text, sizeof(text), "REGISTER:/f-%d-%d:shared_memory\n",
					    (int)getpid(), i));
	probe();
}

static void make_sem(const char *name)
{
	must(sem_open(name, O_CREAT | O_EXCL, 0600, 0) != SEM_FAILED, name);
}

static void make_shm(const char *name)
{
	int fd = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);

	must(fd >= 0 && ftruncate(fd, 4096) == 0, name);
	close(fd);
}

static void make_raw(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/dev/shm%s", name);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	must(fd >= 0, path); /* it stays open */
}

static void make_mq(const char *name)
{
	mqd_t q = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL);

	must(q != (mqd_t)-1, name);
	mq_close(q);
}

static void hold(const char *name)
{
	int fd = shm_open(name, O_RDWR, 0);

	must(fd >= 0 && mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED,
	     name);
	close(fd);
}

static void sysv(const char *what)
{
	const char *colon = strchr(what, ':');
	key_t key = colon != NULL ? (key_t)strtoul(colon + 1, NULL, 16) : IPC_PRIVATE;
	int id = strncmp(what, "sysvsem", 7) == 0   ? semget(key, 1, IPC_CREAT | 0600)
		 : strncmp(what, "sysvshm", 7) == 0 ? shmget(key, 4096, IPC_CREAT | 0600)
						    : msgget(key, IPC_CREAT | 0600);

	must(id >= 0, what);
	printf("%d\n", id);
}

static void sysv_post(void)
{
	struct {
		long type;
		char text[4];
	} m = { 1, "abc" };
	int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);

	must(id >= 0 && msgsnd(id, &m, sizeof(m.text), 0) == 0, "sysvpost");
	printf("%d\n", id);
}

static void remove_shm(const char *name)
{
	must(shm_unlink(name) == 0, name);
}

static void remove_sem(const char *name)
{
	must(sem_unlink(name) == 0, name);
}

static void move(const char *name)
{
	char from[256], to[256];

	snprintf(from, sizeof(from), "/dev/shm%s", name);
	snprintf(to, sizeof(to), "/dev/shm%s-n", name);
	must(rename(from, to) == 0, to);
}

static void register_one(const char *name)
{
	char text[256];

	post(text, (size_t)snprintf(text, sizeof(text), "REGISTER:%s:shared_memory\n", name));
	make_shm(name);
}

static void many(const char *n)
{
	char name[64];

	for (int i = 0; i < atoi(n); i++) {
		snprintf(name, sizeof(name), "/mps-%d-%d", (int)getpid(), i);
		register_one(name);
	}
	probe();
}

static void child(const char *name)
{
	pid_t pid;

	tracker();
	pid = fork();
	if (pid == 0) {
		register_one(name);
		_exit(0);
	}
	must(pid > 0 && waitpid(pid, NULL, 0) == pid, "child");
}

static void huge(const char *n)
{
	size_t size = (size_t)atoi(n);
	char *p = calloc(1, size);

	memset(p, 'x', size);
	post(p, size);
	free(p);
}

static void crowd(const char *n)
{
	for (int i = 0; i < atoi(n); i++) {
		struct sockaddr_un a = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

		strcpy(a.sun_path, getenv("MPSUP_TRACKER"));
		if (fd < 0)
			break; /* so many as we may have */
		must(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0, "crowd");
		for (int j = 0; j < 3; j++)
			send(fd, "PROBE:0:noop\n", 13, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
}

static void print(const char *text)
{
	printf("%s\n", text);
}

static void say_and_wait(const char *text)
{
	say(text, 1);
}

static void only_post(const char *text)
{
	say(text, 0);
}

static void become(const char *uid)
{
	must(setuid((uid_t)atoi(uid)) == 0, "setuid");
}

static void freeze(const char *unused)
{
	pid_t keeper = getppid();
	struct pollfd we = { .fd = (int)syscall(SYS_pidfd_open, getpid(), 0), .events = POLLIN };

	(void)unused;
	must(we.fd >= 0 && kill(keeper, SIGSTOP) == 0, "freeze");
	if (fork() != 0)
		return;
	close(tracker()); /* nobody has it any more then */
	poll(&we, 1, -1);
	kill(keeper, SIGCONT);
	_exit(0);
}

static void read_from(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char c;

	must(fd >= 0 && read(fd, &c, 1) == 1, path);
	close(fd);
}

static void die(const char *unused)
{
	(void)unused;
	raise(SIGKILL);
}

static const struct {
	const char *word;
	void (*act)(const char *text);
} acts[] = {
	{ "sem", make_sem },	 { "shm", make_shm },	  { "mq", make_mq },
	{ "hold", hold },	 { "raw", make_raw },	  { "rm", remove_shm },
	{ "rmsem", remove_sem }, { "say", say_and_wait }, { "post", only_post },
	{ "flood", flood },	 { "print", print },	  { "many", many },
	{ "child", child },	 { "mv", move },	  { "huge", huge },
	{ "crowd", crowd },	 { "uid", become },	  { "freeze", freeze },
	{ "die", die },		 { "read", read_from },
};

static void act(const char *what)
{
	size_t n = strcspn(what, ":");

	if (strcmp(what, "sysvpost") == 0) {
		sysv_post();
		return;
	}
	if (strncmp(what, "sysv", 4) == 0) {
		sysv(what);
		return;
	}
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		if (strlen(acts[i].word) == n && strncmp(acts[i].word, what, n) == 0) {
			acts[i].act(what[n] == ':' ? what + n + 1 : "");
			return;
		}
	errno = EINVAL;
	must(0, what);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "wait") == 0)
			for (;;)
				pause();
		act(argv[i]);
		fflush(stdout);
	}
	return 0;
}
