/*
 * The nth call that wants something of the machine fails. $FAIL says what is wanted (a row of kinds below), $FAIL_AT which call it
 * is ("17": that one; "17+": and all of the next FOR_NS; "0": none, they are only counted), $FAIL_IN in which programs: the base
 * name and the first argument, joined by a blank ("mpsup start"; "mpsup " is all of its verbs). $FAIL_COUNT is a file of 16 bytes:
 * the number of calls so far of all of them, and when the first has failed. $FAIL_TRACE: a file that gets the stack of that one.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { MEMORY, PROCESS, DESCRIPTOR, SPACE, SHORT, N_KINDS };
static const struct {
	const char *name;
	int error;
} kinds[N_KINDS] = {
	[MEMORY] = { "memory", ENOMEM },
	[PROCESS] = { "process", EAGAIN },
	[DESCRIPTOR] = { "descriptor", EMFILE },
	[SPACE] = { "space", ENOSPC },
	[SHORT] = { "short", 0 },
};

#define FOR_NS 300000000

static enum kind wanted = N_KINDS; /* N_KINDS: nothing fails here */
static struct {
	_Atomic uint64_t n;
	_Atomic int64_t since;
} * count;
static uint64_t at;
static int goes_on;
static const char *trace;

static int is_meant(int argc, char **argv, const char *who)
{
	const char *base = argc > 0 ? strrchr(argv[0], '/') : NULL;
	char words[256];

	base = base != NULL ? base + 1 : argc > 0 ? argv[0] : "";
	snprintf(words, sizeof(words), "%s %s", base, argc > 1 ? argv[1] : "");
	return strncmp(words, who, strlen(who)) == 0;
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	const char *kind = getenv("FAIL"), *n = getenv("FAIL_AT"), *who = getenv("FAIL_IN");
	const char *path = getenv("FAIL_COUNT");
	char *end;
	void *p;
	int fd;

	if (kind == NULL || n == NULL || who == NULL || path == NULL || !is_meant(argc, argv, who))
		return;
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
	p = (void *)syscall(SYS_mmap, NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    0L);
	syscall(SYS_close, fd);
	if (fd < 0 || p == MAP_FAILED)
		return;
	count = p;
	at = strtoull(n, &end, 10);
	goes_on = *end == '+';
	trace = getenv("FAIL_TRACE");
	for (int i = 0; i < N_KINDS; i++)
		if (strcmp(kinds[i].name, kind) == 0)
			wanted = (enum kind)i;
}

static void tell(void)
{
	enum kind was = wanted;
	void *stack[32];
	int fd, n;

	if (trace == NULL)
		return;
	wanted = N_KINDS;
	fd = (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
			  0600);
	n = backtrace(stack, 32);
	backtrace_symbols_fd(stack, n, fd);
	syscall(SYS_write, fd, "\n", 1L);
	syscall(SYS_close, fd);
	wanted = was;
}

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* 0: the one before us is about to say when it was. */
static int is_still(void)
{
	int64_t since = atomic_load(&count->since);

	return since == 0 || now() - since < FOR_NS;
}

static int fails(enum kind kind)
{
	uint64_t n;

	if (kind != wanted)
		return 0;
	n = atomic_fetch_add(&count->n, 1) + 1;
	if (at == 0 || n < at || (n > at && !(goes_on && is_still())))
		return 0;
	if (n == at) {
		atomic_store(&count->since, now());
		tell();
	}
	errno = kinds[kind].error;
	return 1;
}

static int is_file(int fd)
{
	int was = errno;
	struct stat st;
	int yes = syscall(SYS_fstat, fd, &st) == 0 && S_ISREG(st.st_mode);

	errno = was;
	return yes;
}

/* The allocator's own names: what dlsym() needs comes from here as well. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

void *malloc(size_t n)
{
	return fails(MEMORY) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return fails(MEMORY) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return fails(MEMORY) ? NULL : __libc_realloc(p, n);
}

void *memalign(size_t alignment, size_t n)
{
	return fails(MEMORY) ? NULL : __libc_memalign(alignment, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
	return memalign(alignment, n);
}

int posix_memalign(void **ret, size_t alignment, size_t n)
{
	void *p = memalign(alignment, n);

	if (p != NULL)
		*ret = p;
	return p != NULL ? 0 : ENOMEM;
}

#define CALL(kind, type, failure, name, params, args)                                              \
	type name params                                                                           \
	{                                                                                          \
		static type(*real) params;                                                         \
                                                                                                   \
		if (real == NULL)                                                                  \
			real = (type(*) params)(intptr_t)dlsym(RTLD_NEXT, #name);                  \
		return fails(kind) ? failure : real args;                                          \
	}

CALL(MEMORY, void *, MAP_FAILED, mmap, (void *p, size_t n, int prot, int flags, int fd, off_t from),
     (p, n, prot, flags, fd, from))

CALL(PROCESS, pid_t, -1, fork, (void), ())
CALL(PROCESS, pid_t, -1, _Fork, (void), ())
CALL(PROCESS, int, EAGAIN, pthread_create,
     (pthread_t * t, const pthread_attr_t *a, void *(*f)(void *), void *user), (t, a, f, user))

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int folder, const char *path, int flags);
CALL(DESCRIPTOR, int, -1, socket, (int domain, int type, int protocol), (domain, type, protocol))
CALL(DESCRIPTOR, int, -1, socketpair, (int domain, int type, int protocol, int fds[2]),
     (domain, type, protocol, fds))
CALL(DESCRIPTOR, int, -1, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags),
     (fd, a, n, flags))
CALL(DESCRIPTOR, int, -1, pipe2, (int fds[2], int flags), (fds, flags))
CALL(DESCRIPTOR, int, -1, eventfd, (unsigned n, int flags), (n, flags))
CALL(DESCRIPTOR, int, -1, epoll_create1, (int flags), (flags))
CALL(DESCRIPTOR, int, -1, memfd_create, (const char *name, unsigned flags), (name, flags))
CALL(DESCRIPTOR, int, -1, timerfd_create, (int clock, int flags), (clock, flags))
CALL(DESCRIPTOR, int, -1, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags))
CALL(DESCRIPTOR, int, -1, inotify_init1, (int flags), (flags))
CALL(DESCRIPTOR, int, -1, mkostemp, (char *path, int flags), (path, flags))
CALL(DESCRIPTOR, int, -1, __open_2, (const char *path, int flags), (path, flags))
CALL(DESCRIPTOR, int, -1, __open64_2, (const char *path, int flags), (path, flags))
CALL(DESCRIPTOR, int, -1, __openat_2, (int folder, const char *path, int flags),
     (folder, path, flags))
CALL(DESCRIPTOR, FILE *, NULL, fopen, (const char *path, const char *how), (path, how))
CALL(DESCRIPTOR, DIR *, NULL, opendir, (const char *path), (path))

CALL(SPACE, int, -1, ftruncate, (int fd, off_t n), (fd, n))
CALL(SPACE, int, -1, fallocate, (int fd, int how, off_t from, off_t n), (fd, how, from, n))
CALL(SPACE, int, ENOSPC, posix_fallocate, (int fd, off_t from, off_t n), (fd, from, n))
CALL(SPACE, int, -1, mkdir, (const char *path, mode_t mode), (path, mode))
CALL(SPACE, int, -1, mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode))
CALL(SPACE, int, -1, rename, (const char *from, const char *to), (from, to))
CALL(SPACE, int, -1, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
CALL(SPACE, int, -1, linkat, (int a, const char *from, int b, const char *to, int flags),
     (a, from, b, to, flags))
CALL(SPACE, int, -1, fsync, (int fd), (fd))

static int fails_open(int flags)
{
	return fails(DESCRIPTOR) || ((flags & O_CREAT) && fails(SPACE));
}

static mode_t mode_of(int flags, va_list *ap)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(*ap, mode_t) : 0;
}

#define OPEN(name, params, ...)                                                                    \
	int name(params const char *path, int flags, ...)                                          \
	{                                                                                          \
		va_list ap;                                                                        \
		mode_t mode;                                                                       \
                                                                                                   \
		va_start(ap, flags);                                                               \
		mode = mode_of(flags, &ap);                                                        \
		va_end(ap);                                                                        \
		if (fails_open(flags))                                                             \
			return -1;                                                                 \
		return (int)syscall(SYS_openat, __VA_ARGS__, path, flags, mode);                   \
	}
#define NOTHING
#define FOLDER int folder,
OPEN(open, NOTHING, AT_FDCWD)
OPEN(open64, NOTHING, AT_FDCWD)
OPEN(openat, FOLDER, folder)
OPEN(openat64, FOLDER, folder)

int fcntl(int fd, int what, ...)
{
	va_list ap;
	long arg;

	va_start(ap, what);
	arg = va_arg(ap, long);
	va_end(ap);
	if ((what == F_DUPFD || what == F_DUPFD_CLOEXEC) && fails(DESCRIPTOR))
		return -1;
	return (int)syscall(SYS_fcntl, fd, what, arg);
}
int fcntl64(int fd, int what, ...) __attribute__((alias("fcntl")));

/* What is called so with libc, and without a wrapper of its own. */
long syscall(long number, ...)
{
	static long (*real)(long, ...);
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (real == NULL)
		real = (long (*)(long, ...))(intptr_t)dlsym(RTLD_NEXT, "syscall");
	if ((number == SYS_clone3 && fails(PROCESS)) ||
	    (number == SYS_pidfd_open && fails(DESCRIPTOR)))
		return -1;
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int clone(int (*f)(void *), void *stack, int flags, void *user, ...)
{
	static int (*real)(int (*)(void *), void *, int, void *, ...);
	void *a[3];
	va_list ap;

	va_start(ap, user);
	for (int i = 0; i < 3; i++)
		a[i] = va_arg(ap, void *);
	va_end(ap);
	if (real == NULL)
		real = (int (*)(int (*)(void *), void *, int, void *, ...))(
			intptr_t)dlsym(RTLD_NEXT, "clone");
	return fails(PROCESS) ? -1 : real(f, stack, flags, user, a[0], a[1], a[2]);
}

/* Half of it, where there are two bytes. */
static size_t half(size_t n)
{
	return n > 1 && fails(SHORT) ? n / 2 : n;
}

#define WRITE(name, params, ...)                                                                   \
	ssize_t name(int fd, const void *p, size_t n params)                                       \
	{                                                                                          \
		if (is_file(fd)) {                                                                 \
			if (fails(SPACE))                                                          \
				return -1;                                                         \
			n = half(n);                                                               \
		}                                                                                  \
		return syscall(__VA_ARGS__);                                                       \
	}
#define OFFSET , off_t from
WRITE(write, NOTHING, SYS_write, fd, p, n)
WRITE(pwrite, OFFSET, SYS_pwrite64, fd, p, n, from)
WRITE(pwrite64, OFFSET, SYS_pwrite64, fd, p, n, from)

ssize_t writev(int fd, const struct iovec *v, int n)
{
	if (is_file(fd)) {
		if (fails(SPACE))
			return -1;
		if (n > 0 && v[0].iov_len > 1 && fails(SHORT))
			return syscall(SYS_write, fd, v[0].iov_base, v[0].iov_len / 2);
	}
	return syscall(SYS_writev, fd, v, (long)n);
}

ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t from, int flags)
{
	if (is_file(fd)) {
		if (fails(SPACE))
			return -1;
		if (n > 0 && v[0].iov_len > 1 && fails(SHORT))
			return syscall(SYS_pwrite64, fd, v[0].iov_base, v[0].iov_len / 2, from);
	}
	return syscall(SYS_pwritev2, fd, v, (long)n, from, 0L, (long)flags);
}
