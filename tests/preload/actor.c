/*
 * A program that makes and removes objects with names, and says what came of it; it knows nothing of the shim that it is
 * tested with: actor SCENE NAME. NAME is the beginning of all names that it makes. What it says must not depend on the
 * shim: results, errno, and the numbers of its descriptors.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *name;

/* "/dev/shm/NAME.x"; several at a time. */
static const char *at(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *at(const char *format, ...)
{
	static _Thread_local char paths[4][512];
	static _Thread_local unsigned turn;
	char *path = paths[turn++ % 4], rest[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(rest, sizeof(rest), format, ap);
	va_end(ap);
	snprintf(path, sizeof(paths[0]), "/dev/shm/%s.%s", name, rest);
	return path;
}

/* "/NAME.x" */
static const char *called(const char *rest)
{
	return at("%s", rest) + strlen("/dev/shm");
}

/* errno is another before each call, and stays where the call does not fail. */
#define SAY(call)                                                                                  \
	({                                                                                         \
		long r_ = (errno = EDOM, (long)(call));                                            \
		int e_ = errno;                                                                    \
		printf("%s: %ld %s\n", #call, r_, e_ == EDOM ? "-" : strerrorname_np(e_));         \
		r_;                                                                                \
	})

static void be_shm(void)
{
	struct stat st;

	SAY(shm_open(called("a"), O_RDWR | O_CREAT, 0640));
	SAY(shm_open(called("a"), O_RDWR | O_CREAT, 0600));
	SAY(shm_open(called("a"), O_RDWR | O_CREAT | O_EXCL, 0600));
	SAY(shm_open(called("b"), O_RDWR, 0));
	SAY(shm_open("/a/b", O_RDWR | O_CREAT, 0600));
	SAY(shm_open("/", O_RDWR | O_CREAT, 0600));
	SAY(stat(at("a"), &st));
	printf("mode %o\n", st.st_mode & 0777);
	SAY(shm_unlink(called("a")));
	SAY(shm_unlink(called("a")));
	SAY(shm_open(called("c d%:\xff") + 1, O_RDWR | O_CREAT, 0600));
	SAY(shm_unlink(called("c d%:\xff")));
	SAY(open("/dev/null", O_RDONLY));
}

static void be_sem(void)
{
	sem_t *s, *again;
	int value = 0;

	s = sem_open(called("s"), O_CREAT | O_EXCL, 0600, 3);
	again = sem_open(called("s"), O_CREAT, 0600, 5);
	SAY(s == SEM_FAILED || again != s);
	SAY(sem_getvalue(s, &value));
	printf("value %d\n", value);
	SAY(sem_open(called("s"), O_CREAT | O_EXCL, 0600, 3) == SEM_FAILED);
	SAY(sem_open(called("t"), 0) == SEM_FAILED);
	SAY(sem_close(s));
	SAY(sem_close(s));
	SAY(sem_unlink(called("s")));
	SAY(sem_unlink(called("s")));
	s = sem_open(called("t"), O_CREAT, 0640, 2);
	printf("errno %d\n", errno);
	SAY(s == SEM_FAILED);
	SAY(sem_getvalue(s, &value));
	printf("value %d\n", value);
	SAY(sem_unlink(called("t")));
	SAY(sem_open(called("u"), O_CREAT, 0600, -1U) == SEM_FAILED);
	SAY(sem_open("/", O_CREAT, 0600, 1) == SEM_FAILED);
	SAY(open("/dev/null", O_RDONLY));
}

static void be_mq(void)
{
	struct mq_attr attr = { .mq_maxmsg = 2, .mq_msgsize = 16 }, is = { 0 };
	mqd_t q;

	q = mq_open(called("q"), O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	SAY(q);
	SAY(mq_getattr(q, &is));
	printf("%ld of %ld\n", is.mq_maxmsg, is.mq_msgsize);
	SAY(mq_open(called("q"), O_RDONLY | O_CREAT, 0600, NULL));
	SAY(mq_open(called("q"), O_RDONLY | O_CREAT | O_EXCL, 0600, NULL));
	SAY(mq_open(called("r"), O_RDONLY));
	SAY(mq_open("none", O_RDONLY | O_CREAT, 0600, NULL));
	SAY(mq_unlink(called("q")));
	SAY(mq_unlink(called("q")));
}

static void be_sysv(void)
{
	key_t key = 0x4d500000 | (getpid() & 0xffff);
	int id = shmget(IPC_PRIVATE, 4096, 0600), keyed;
	struct shmid_ds ds;

	keyed = shmget(key, 4096, IPC_CREAT | 0600);
	SAY(keyed < 0 || shmget(key, 100, IPC_CREAT | 0600) != keyed);
	SAY(shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600));
	SAY(shmget(IPC_PRIVATE, 0, 0600));
	SAY(shmctl(id, IPC_STAT, &ds));
	SAY(shmctl(id, IPC_RMID, NULL));
	SAY(shmctl(keyed, IPC_RMID, NULL));
	SAY(shmctl(keyed, IPC_RMID, NULL));
	id = semget(key, 2, IPC_CREAT | IPC_EXCL | 0600);
	SAY(semctl(id, 1, SETVAL, 7));
	SAY(semctl(id, 1, GETVAL));
	SAY(semget(key, 2, IPC_CREAT | IPC_EXCL | 0600));
	SAY(semctl(id, 0, IPC_RMID));
	id = msgget(key, IPC_CREAT | 0600);
	SAY(msgget(key, IPC_CREAT | IPC_EXCL | 0600));
	SAY(msgctl(id, IPC_RMID, NULL));
}

static void be_files(void)
{
	FILE *f;

	SAY(open(at("a"), O_RDWR | O_CREAT, 0600));
	SAY(open(at("a"), O_RDWR | O_CREAT | O_EXCL, 0600));
	SAY(open(at("a"), O_RDONLY));
	SAY(open64(at("b"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	SAY(openat(AT_FDCWD, at("c"), O_WRONLY | O_CREAT, 0600));
	SAY(creat(at("d"), 0600));
	f = fopen(at("e"), "a");
	SAY(f == NULL);
	SAY(fclose(f));
	SAY(fopen(at("none"), "r") == NULL);
	SAY(open(at("none/x"), O_WRONLY | O_CREAT, 0600));
	SAY(rename(at("a"), at("f")));
	SAY(renameat(AT_FDCWD, at("b"), AT_FDCWD, at("f")));
	SAY(renameat2(AT_FDCWD, at("f"), AT_FDCWD, at("c"), RENAME_NOREPLACE));
	SAY(rename(at("none"), at("g")));
	SAY(link(at("f"), at("h")));
	SAY(linkat(AT_FDCWD, at("none"), AT_FDCWD, at("i"), 0));
	SAY(symlink("f", at("j")));
	SAY(unlink(at("f")));
	SAY(unlinkat(AT_FDCWD, at("c"), 0));
	SAY(remove(at("d")));
	SAY(remove(at("e")));
	SAY(unlink(at("h")));
	SAY(unlink(at("j")));
	SAY(unlink(at("j")));
	SAY(open("/dev/null", O_RDONLY));
}

/* What is there already, after something that was not; each as it is without the shim. */
static void be_known(void)
{
	char link[512];
	struct stat st;
	int fd;

	SAY(close(open(at("a"), O_WRONLY | O_CREAT, 0600)));
	fd = open(at("a"), O_RDWR | O_CREAT, 0644);
	SAY(write(fd, "text", 4));
	SAY(close(fd));
	SAY(close(open(at("b"), O_WRONLY | O_CREAT, 0600)));
	SAY(mkdir(at("folder"), 0700));
	SAY(open(at("folder"), O_RDONLY | O_CREAT, 0600));
	SAY(rmdir(at("folder")));
	SAY(close(creat(at("c"), 0600)));
	snprintf(link, sizeof(link), "%s", at("link"));
	SAY(symlink(at("target") + strlen("/dev/shm/"), link));
	SAY(close(open(link, O_WRONLY | O_CREAT, 0600)));
	SAY(stat(link, &st));
	SAY(close(open(at("d"), O_WRONLY | O_CREAT, 0600)));
	SAY(close(open(link, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600)));
	SAY(mq_open(called("q"), O_RDWR | O_CREAT, 0600, NULL));
	SAY(mq_open(called("q"), O_RDWR | O_CREAT, 0600, NULL));
	SAY(mq_unlink(called("q")));
	SAY(unlink(link));
	SAY(unlink(at("target")));
	SAY(close(creat(at("a"), 0600)));
	SAY(stat(at("a"), &st));
	printf("%ld bytes\n", (long)st.st_size);
	SAY(unlink(at("a")));
	SAY(unlink(at("b")));
	SAY(unlink(at("c")));
	SAY(unlink(at("d")));
}

static void say_temporary(int fd, const char *path)
{
	struct stat st;

	printf("%d, flags %o, made up %d\n", fd, fcntl(fd, F_GETFL),
	       strstr(path, "XXXXXX") == NULL);
	if (fstat(fd, &st) == 0)
		printf("mode %o, it %d\n", st.st_mode, (int)access(path, F_OK));
	SAY(unlink(path));
}

static void be_temporary(void)
{
	char path[512];

	snprintf(path, sizeof(path), "%s", at("XXXXXX"));
	say_temporary(SAY(mkstemp(path)), path);
	snprintf(path, sizeof(path), "%s", at("XXXXXX"));
	say_temporary(SAY(mkostemp(path, O_APPEND | O_CLOEXEC)), path);
	snprintf(path, sizeof(path), "%s", at("XXXXXX.c"));
	say_temporary(SAY(mkstemps64(path, 2)), path);
	snprintf(path, sizeof(path), "%s", at("XXXXXX.cc"));
	say_temporary(SAY(mkostemps(path, 3, 0)), path);
	SAY(mkstemp(path));
	SAY(mkstemps(path, 3));
	SAY(mkstemps(path, 1000));
	snprintf(path, sizeof(path), "%s", at("none/XXXXXX"));
	SAY(mkstemp(path));
	snprintf(path, sizeof(path), "/tmp/%s.XXXXXX", name);
	say_temporary(SAY(mkstemp(path)), path);
	SAY(open("/dev/null", O_RDONLY));
}

/* Of these nobody is told. */
static void be_quiet(void)
{
	const char *volatile nowhere = NULL;
	char path[512];

	snprintf(path, sizeof(path), "//dev/shm/%s.a", name);
	SAY(open(path, O_WRONLY | O_CREAT, 0600));
	SAY(unlink(path));
	snprintf(path, sizeof(path), "/dev/shm/../shm/%s.a", name);
	SAY(open(path, O_WRONLY | O_CREAT, 0600));
	SAY(unlink(path));
	SAY(open("/dev/shm", O_TMPFILE | O_RDWR, 0600));
	SAY(chdir("/dev/shm"));
	snprintf(path, sizeof(path), "%s.a", name);
	SAY(open(path, O_WRONLY | O_CREAT, 0600));
	SAY(unlink(path));
	SAY(open(nowhere, O_WRONLY | O_CREAT, 0600));
	SAY(open("/dev/shm/", O_WRONLY | O_CREAT, 0600));
}

static void make_and_remove(const char *rest)
{
	SAY(close(open(at("%s", rest), O_WRONLY | O_CREAT, 0600)));
	SAY(unlink(at("%s", rest)));
}

static void be_fork(void)
{
	const char *path = at("in-vfork");
	int status;
	pid_t pid;

	make_and_remove("first");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		make_and_remove("in-fork");
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	SAY(status);
	pid = vfork();
	if (pid == 0) {
		int fd = open(path, O_WRONLY | O_CREAT, 0600);

		_exit(fd < 0 || unlink(path) < 0);
	}
	waitpid(pid, &status, 0);
	SAY(status);
	make_and_remove("last");
}

/* Its own descriptors may be where the shim had put its: those are never written to. */
static void be_close(void)
{
	struct pollfd p;
	int ends[2];

	make_and_remove("first");
	closefrom(3);
	make_and_remove("second");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0)
		abort();
	for (int fd = 100; fd < 300; fd++)
		dup2(ends[0], fd);
	make_and_remove("third");
	p = (struct pollfd){ .fd = ends[1], .events = POLLIN };
	SAY(poll(&p, 1, 0));
}

static void *on_thread(void *number)
{
	for (int i = 0; i < 200; i++) {
		const char *path = at("%ld.%d", (long)number, i);

		if (close(open(path, O_WRONLY | O_CREAT, 0600)) < 0 || unlink(path) < 0)
			return (void *)1;
	}
	return NULL;
}

static void be_threads(void)
{
	pthread_t t[8];
	void *failed;

	for (long i = 0; i < 8; i++)
		if (pthread_create(&t[i], NULL, on_thread, (void *)i) != 0)
			abort();
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], &failed);
		SAY(failed != NULL);
	}
}

static const char *in_handler;
static volatile sig_atomic_t n_signals;

static void on_alarm(int number)
{
	int kept = errno;

	(void)number;
	close(open(in_handler, O_WRONLY | O_CREAT, 0600));
	unlink(in_handler);
	errno = kept;
	n_signals = n_signals + 1;
}

/* The first of the handler's may be the first of all, in the middle of whatever libc does. */
static void be_signal(void)
{
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };

	in_handler = at("signal");
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &often, NULL);
	while (n_signals < 300) {
		void *p = malloc(1000);
		void *object = dlopen("libm.so.6", RTLD_NOW);

		if (object != NULL)
			dlclose(object);
		free(p);
		close(open("/dev/shm/", O_RDONLY));
	}
	setitimer(ITIMER_REAL, &never, NULL);
	SAY(access(in_handler, F_OK));
}

static void *open_for_ever(void *path)
{
	open(path, O_RDONLY);
	return NULL;
}

/* Waiting in open(2) can be cancelled. */
static void be_cancelled(void)
{
	char fifo[64] = "/tmp/mpsup-actor.XXXXXX", path[80];
	pthread_t t;
	void *r;

	if (mkdtemp(fifo) == NULL)
		abort();
	snprintf(path, sizeof(path), "%s/fifo", fifo);
	SAY(mkfifo(path, 0600));
	pthread_create(&t, NULL, open_for_ever, path);
	pthread_cancel(t);
	pthread_join(t, &r);
	SAY(r == PTHREAD_CANCELED);
	unlink(path);
	rmdir(fifo);
}

/* Until there is something to read, or nobody who reads: a byte for each turn. */
static void be_busy(void)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };

	do {
		close(open(at("busy"), O_WRONLY | O_CREAT, 0600));
		unlink(at("busy"));
		if (send(0, "x", 1, MSG_NOSIGNAL) < 0)
			break;
	} while (poll(&in, 1, 5) == 0);
	SAY(access(at("busy"), F_OK));
}

/* More than fits into a socket that nobody reads. */
static void be_many(void)
{
	for (int i = 0; i < 2000; i++) {
		close(open(at("many"), O_WRONLY | O_CREAT, 0600));
		unlink(at("many"));
	}
	SAY(access(at("many"), F_OK));
}

static void be_one(void)
{
	make_and_remove("one");
}

static void be_exclusive(void)
{
	SAY(close(open(at("one"), O_WRONLY | O_CREAT | O_EXCL, 0600)));
	SAY(unlink(at("one")));
}

/* Where the limit leaves no room above. */
static void be_narrow(void)
{
	make_and_remove("narrow");
	SAY(open("/dev/null", O_RDONLY));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*be)(void);
	} scenes[] = {
		{ "shm", be_shm },
		{ "sem", be_sem },
		{ "mq", be_mq },
		{ "sysv", be_sysv },
		{ "files", be_files },
		{ "known", be_known },
		{ "quiet", be_quiet },
		{ "fork", be_fork },
		{ "close", be_close },
		{ "threads", be_threads },
		{ "signal", be_signal },
		{ "busy", be_busy },
		{ "many", be_many },
		{ "cancelled", be_cancelled },
		{ "one", be_one },
		{ "exclusive", be_exclusive },
		{ "temporary", be_temporary },
		{ "narrow", be_narrow },
	};

	if (argc != 3)
		return 2;
	name = argv[2];
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		if (strcmp(scenes[i].name, argv[1]) == 0) {
			scenes[i].be();
			return 0;
		}
	return 2;
}
