/*
 * libmpsup-preload.so: stands before the functions of libc that make or remove objects with a name, and tells the
 * resource tracker of what the program makes: the name before the object, so that no kill can come between. Told of is
 * what was not there before; what is told of twice or in vain does no harm, and what nobody is told of (a relative path,
 * a name that mkstemp(3) has made up, a system call without libc) the tracker finds in another way.
 *
 * __open_2 and the like of _FORTIFY_SOURCE are not here: they abort where they would create. Nor is what libc does
 * within itself: shm_open(3) opens without passing here.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/tell.h"

/* X(result, name in libc, parameters) */
#define HOOKS(X)                                                                                   \
	X(int, open, (const char *path, int flags, ...))                                           \
	X(int, openat, (int folder, const char *path, int flags, ...))                             \
	X(int, creat, (const char *path, mode_t mode))                                             \
	X(FILE *, fopen, (const char *path, const char *mode))                                     \
	X(int, unlink, (const char *path))                                                         \
	X(int, unlinkat, (int folder, const char *path, int flags))                                \
	X(int, remove, (const char *path))                                                         \
	X(int, rename, (const char *from, const char *to))                                         \
	X(int, renameat, (int from_folder, const char *from, int to_folder, const char *to))       \
	X(int, renameat2,                                                                          \
	  (int from_folder, const char *from, int to_folder, const char *to, unsigned flags))      \
	X(int, link, (const char *from, const char *to))                                           \
	X(int, linkat,                                                                             \
	  (int from_folder, const char *from, int to_folder, const char *to, int flags))           \
	X(int, symlink, (const char *target, const char *path))                                    \
	X(int, symlinkat, (const char *target, int folder, const char *path))                      \
	X(int, shm_open, (const char *name, int flags, mode_t mode))                               \
	X(int, shm_unlink, (const char *name))                                                     \
	X(sem_t *, sem_open, (const char *name, int flags, ...))                                   \
	X(int, sem_unlink, (const char *name))                                                     \
	X(mqd_t, mq_open, (const char *name, int flags, ...))                                      \
	X(int, mq_unlink, (const char *name))                                                      \
	X(int, shmget, (key_t key, size_t size, int flags))                                        \
	X(int, shmctl, (int id, int command, void *buf))                                           \
	X(int, semget, (key_t key, int n, int flags))                                              \
	X(int, semctl, (int id, int number, int command, ...))                                     \
	X(int, msgget, (key_t key, int flags))                                                     \
	X(int, msgctl, (int id, int command, void *buf))

/* Under names of our own, since headers say more of those in libc than is so: that a path is never NULL, for one. */
enum {
#define X(result, name, parameters) AT_##name,
	HOOKS(X)
#undef X
		N_HOOKS
};
#define EXPORT __attribute__((visibility("default")))
#define X(result, name, parameters)                                                                \
	typedef result type_##name parameters;                                                     \
	EXPORT type_##name hook_##name __asm__(#name);
HOOKS(X)
#undef X

static const char *const names[N_HOOKS] = {
#define X(result, name, parameters) [AT_##name] = #name,
	HOOKS(X)
#undef X
};

/* The functions that would have been called without us, be they libc's or of somebody who stands there like us. */
static void *next[N_HOOKS];

/*
 * Before main, since dlsym(3) takes a lock: the first call may come in a signal handler. A constructor of another object
 * may come before ours; then the first call finds them.
 */
__attribute__((constructor)) static void find_next(void)
{
	for (int i = 0; i < N_HOOKS; i++)
		next[i] = dlsym(RTLD_NEXT, names[i]);
	tell_begin();
}

static void *find(int i)
{
	if (__builtin_expect(next[i] == NULL, 0))
		find_next();
	return next[i];
}

#define NEXT(name) ((type_##name *)find(AT_##name))

static const char register_verb[] = "REGISTER", unregister_verb[] = "UNREGISTER";

/* ---------------------------------------------------------------------------------------------- in /dev/shm */

static const char shm[] = "/dev/shm/";
enum { SHM = sizeof(shm) - 1, SEM = 4, NAME_SIZE = 256 };

static bool is_below_shm(const char *path)
{
	if (path == NULL)
		return false;
	for (int i = 0; i < SHM; i++)
		if (path[i] != shm[i])
			return false;
	return true;
}

/* Has it a name that has no other? */
static bool is_clean(const char *rest)
{
	return rest[0] != '\0' && rest[0] != '/' && strstr(rest, "//") == NULL &&
	       strstr(rest, "./") == NULL && rest[strlen(rest) - 1] != '/' &&
	       strcmp(rest, "..") != 0 && strcmp(rest, ".") != 0;
}

/* What lies at this path; false: not in /dev/shm, or nobody is to be told. */
static bool object_at(const char *path, struct object *ret)
{
	const char *rest;

	if (!is_below_shm(path) || !tell_wanted())
		return false;
	rest = path + SHM;
	if (!is_clean(rest))
		return false;
	if (strchr(rest, '/') != NULL)
		*ret = (struct object){ "file", "", path };
	else if (strncmp(rest, "sem.", SEM) == 0 && rest[SEM] != '\0')
		*ret = (struct object){ "semaphore", "/", rest + SEM };
	else
		*ret = (struct object){ "shared_memory", "/", rest };
	return true;
}

static bool is_absent(const char *path)
{
	struct stat st;

	return syscall(SYS_newfstatat, AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
	       errno == ENOENT;
}

/* Is it about to be made? Then it has been told of. */
static bool announce(const char *path, struct object *ret)
{
	int kept = errno;
	bool yes = object_at(path, ret) && is_absent(path);

	errno = kept;
	if (yes)
		tell(register_verb, ret);
	return yes;
}

/* It could not be made. Where another was faster, that one has told of it too, and it stays so. */
static void retract(const struct object *object)
{
	if (errno != EEXIST)
		tell(unregister_verb, object);
}

static void settle(bool announced, bool made, const struct object *object)
{
	if (announced && !made)
		retract(object);
}

static void removed(const char *path)
{
	struct object object;

	if (object_at(path, &object))
		tell(unregister_verb, &object);
}

static mode_t mode_of(int flags, va_list ap)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

int hook_open(const char *path, int flags, ...)
{
	struct object object;
	bool announced = (flags & O_CREAT) && announce(path, &object);
	mode_t mode;
	va_list ap;
	int fd;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	fd = NEXT(open)(path, flags, mode);
	settle(announced, fd >= 0, &object);
	return fd;
}

int hook_openat(int folder, const char *path, int flags, ...)
{
	struct object object;
	bool announced = (flags & O_CREAT) && announce(path, &object);
	mode_t mode;
	va_list ap;
	int fd;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	fd = NEXT(openat)(folder, path, flags, mode);
	settle(announced, fd >= 0, &object);
	return fd;
}

int hook_creat(const char *path, mode_t mode)
{
	struct object object;
	bool announced = announce(path, &object);
	int fd = NEXT(creat)(path, mode);

	settle(announced, fd >= 0, &object);
	return fd;
}

FILE *hook_fopen(const char *path, const char *mode)
{
	struct object object;
	bool announced = (mode[0] == 'w' || mode[0] == 'a') && announce(path, &object);
	FILE *f = NEXT(fopen)(path, mode);

	settle(announced, f != NULL, &object);
	return f;
}

int hook_unlink(const char *path)
{
	int r = NEXT(unlink)(path);

	if (r == 0)
		removed(path);
	return r;
}

int hook_unlinkat(int folder, const char *path, int flags)
{
	int r = NEXT(unlinkat)(folder, path, flags);

	if (r == 0 && !(flags & AT_REMOVEDIR))
		removed(path);
	return r;
}

int hook_remove(const char *path)
{
	int r = NEXT(remove)(path);

	if (r == 0)
		removed(path);
	return r;
}

/* A name that was taken is told of when it is ours: until then it is somebody's. */
struct move {
	bool announced, replaces;
	struct object object;
};

static void begin_move(struct move *m, const char *to, unsigned flags)
{
	m->announced = m->replaces = false;
	if (flags & RENAME_EXCHANGE)
		return;
	m->announced = announce(to, &m->object);
	m->replaces = !m->announced && object_at(to, &m->object);
}

static void end_move(const struct move *m, const char *from, bool done, unsigned flags)
{
	settle(m->announced, done, &m->object);
	if (!done || (flags & RENAME_EXCHANGE))
		return;
	if (m->replaces)
		tell(register_verb, &m->object);
	removed(from);
}

int hook_rename(const char *from, const char *to)
{
	struct move m;
	int r;

	begin_move(&m, to, 0);
	r = NEXT(rename)(from, to);
	end_move(&m, from, r == 0, 0);
	return r;
}

int hook_renameat(int from_folder, const char *from, int to_folder, const char *to)
{
	struct move m;
	int r;

	begin_move(&m, to, 0);
	r = NEXT(renameat)(from_folder, from, to_folder, to);
	end_move(&m, from, r == 0, 0);
	return r;
}

int hook_renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
	struct move m;
	int r;

	begin_move(&m, to, flags);
	r = NEXT(renameat2)(from_folder, from, to_folder, to, flags);
	end_move(&m, from, r == 0, flags);
	return r;
}

int hook_link(const char *from, const char *to)
{
	struct object object;
	bool announced = announce(to, &object);
	int r = NEXT(link)(from, to);

	settle(announced, r == 0, &object);
	return r;
}

int hook_linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
	struct object object;
	bool announced = announce(to, &object);
	int r = NEXT(linkat)(from_folder, from, to_folder, to, flags);

	settle(announced, r == 0, &object);
	return r;
}

int hook_symlink(const char *target, const char *path)
{
	struct object object;
	bool announced = announce(path, &object);
	int r = NEXT(symlink)(target, path);

	settle(announced, r == 0, &object);
	return r;
}

int hook_symlinkat(const char *target, int folder, const char *path)
{
	struct object object;
	bool announced = announce(path, &object);
	int r = NEXT(symlinkat)(target, folder, path);

	settle(announced, r == 0, &object);
	return r;
}

/* The same functions, where off_t has 64 bits anyway. */
EXPORT extern type_open hook_open64 __asm__("open64") __attribute__((alias("open")));
EXPORT extern type_openat hook_openat64 __asm__("openat64") __attribute__((alias("openat")));
EXPORT extern type_creat hook_creat64 __asm__("creat64") __attribute__((alias("creat")));
EXPORT extern type_fopen hook_fopen64 __asm__("fopen64") __attribute__((alias("fopen")));

/* ---------------------------------------------------------------------------- named semaphores, shared memory */

/* As glibc makes a path of a name (shm_open(3), sem_overview(7)). False: it will refuse it. */
static bool path_of(const char *prefix, const char *name, char path[SHM + SEM + NAME_SIZE])
{
	size_t n;

	if (name == NULL)
		return false;
	while (*name == '/')
		name++;
	n = strlen(name);
	if (n == 0 || n + strlen(prefix) >= NAME_SIZE || strchr(name, '/') != NULL)
		return false;
	strcpy(stpcpy(stpcpy(path, shm), prefix), name);
	return true;
}

static void removed_name(const char *prefix, const char *name)
{
	char path[SHM + SEM + NAME_SIZE];

	if (path_of(prefix, name, path))
		removed(path);
}

int hook_shm_open(const char *name, int flags, mode_t mode)
{
	char path[SHM + SEM + NAME_SIZE];
	struct object object;
	bool announced = (flags & O_CREAT) && path_of("", name, path) && announce(path, &object);
	int fd = NEXT(shm_open)(name, flags, mode);

	settle(announced, fd >= 0, &object);
	return fd;
}

int hook_shm_unlink(const char *name)
{
	int r = NEXT(shm_unlink)(name);

	if (r == 0)
		removed_name("", name);
	return r;
}

sem_t *hook_sem_open(const char *name, int flags, ...)
{
	char path[SHM + SEM + NAME_SIZE];
	struct object object;
	bool announced;
	unsigned value;
	mode_t mode;
	va_list ap;
	sem_t *s;

	if (!(flags & O_CREAT))
		return NEXT(sem_open)(name, flags);
	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	value = va_arg(ap, unsigned);
	va_end(ap);
	announced = path_of("sem.", name, path) && announce(path, &object);
	s = NEXT(sem_open)(name, flags, mode, value);
	settle(announced, s != SEM_FAILED, &object);
	return s;
}

int hook_sem_unlink(const char *name)
{
	int r = NEXT(sem_unlink)(name);

	if (r == 0)
		removed_name("sem.", name);
	return r;
}

/* --------------------------------------------------------------------------------------------- message queues */

static bool queue_of(const char *name, struct object *ret)
{
	if (name == NULL || name[0] != '/' || !tell_wanted())
		return false;
	*ret = (struct object){ "mqueue", "", name };
	return true;
}

/* Asked for in a way in which none can be opened: EINVAL where it is there. */
static bool is_absent_queue(const char *name)
{
	return syscall(SYS_mq_open, name + 1, O_ACCMODE, 0, NULL) < 0 && errno == ENOENT;
}

mqd_t hook_mq_open(const char *name, int flags, ...)
{
	struct mq_attr *attr;
	struct object object;
	int kept = errno;
	bool announced;
	mode_t mode;
	va_list ap;
	mqd_t q;

	if (!(flags & O_CREAT))
		return NEXT(mq_open)(name, flags);
	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	attr = va_arg(ap, struct mq_attr *);
	va_end(ap);
	announced = queue_of(name, &object) && is_absent_queue(name);
	errno = kept;
	if (announced)
		tell(register_verb, &object);
	q = NEXT(mq_open)(name, flags, mode, attr);
	settle(announced, q != (mqd_t)-1, &object);
	return q;
}

int hook_mq_unlink(const char *name)
{
	int r = NEXT(mq_unlink)(name);
	struct object object;

	if (r == 0 && queue_of(name, &object))
		tell(unregister_verb, &object);
	return r;
}

/* ------------------------------------------------------------------------------------------------- System V */

/*
 * It has no id before it is there, so it is told of by its key. What would have none (IPC_PRIVATE) gets a random one that
 * nobody else has: with that it can be found when the program is killed before it has told the id.
 */
struct creation {
	const char *type;
	bool announced, is_private;
	char name[10]; /* of the key, as the tracker spells it */
};

/* `number` is that of the system call that looks for it. */
static bool will_make(long number, key_t key, int flags)
{
	int kept = errno;
	bool yes;

	if (!tell_wanted() || (key != IPC_PRIVATE && !(flags & IPC_CREAT)))
		return false;
	yes = key == IPC_PRIVATE || (syscall(number, key, 0, 0) < 0 && errno == ENOENT);
	errno = kept;
	return yes;
}

static void name_key(struct creation *c, key_t key)
{
	static const char digits[] = "0123456789abcdef";

	c->name[0] = 'k';
	for (int i = 0; i < 8; i++)
		c->name[1 + i] = digits[(unsigned)key >> (28 - 4 * i) & 15];
	c->name[9] = '\0';
}

static struct creation announce_sysv(long number, const char *type, key_t *key, int *flags)
{
	struct creation c = { .type = type, .announced = will_make(number, *key, *flags) };

	if (!c.announced)
		return c;
	if (*key == IPC_PRIVATE) {
		c.is_private = true;
		while (*key == IPC_PRIVATE)
			if (syscall(SYS_getrandom, key, sizeof(*key), GRND_NONBLOCK) < 0) {
				*key = (key_t)(uintptr_t)&c ^ (key_t)syscall(SYS_gettid);
				break;
			}
		*flags |= IPC_CREAT | IPC_EXCL;
	}
	name_key(&c, *key);
	tell(register_verb, &(struct object){ type, "", c.name });
	return c;
}

static const char *write_id(int id, char digits[static 12])
{
	char *p = digits + 11;

	*p = '\0';
	do
		*--p = (char)('0' + id % 10);
	while ((id /= 10) > 0);
	return p;
}

/* True where another had that random key: once more. */
static bool settle_sysv(const struct creation *c, int id)
{
	const struct object key = { c->type, "", c->name };
	char digits[12];

	if (!c->announced)
		return false;
	if (id < 0)
		tell(unregister_verb, &key);
	else
		tell_instead(&(struct object){ c->type, "", write_id(id, digits) }, &key);
	return id < 0 && c->is_private && errno == EEXIST;
}

static void removed_sysv(int command, int result, const char *type, int id)
{
	char digits[12];

	if (command == IPC_RMID && result == 0 && tell_wanted())
		tell(unregister_verb, &(struct object){ type, "", write_id(id, digits) });
}

static const char type_shm[] = "sysv_shm", type_sem[] = "sysv_sem", type_msg[] = "sysv_msg";

int hook_shmget(key_t key, size_t size, int flags)
{
	struct creation c;
	int id;

	do {
		key_t with_key = key;
		int with_flags = flags;

		c = announce_sysv(SYS_shmget, type_shm, &with_key, &with_flags);
		id = NEXT(shmget)(with_key, size, with_flags);
	} while (settle_sysv(&c, id));
	return id;
}

int hook_shmctl(int id, int command, void *buf)
{
	int r = NEXT(shmctl)(id, command, buf);

	removed_sysv(command, r, type_shm, id);
	return r;
}

int hook_semget(key_t key, int n, int flags)
{
	struct creation c;
	int id;

	do {
		key_t with_key = key;
		int with_flags = flags;

		c = announce_sysv(SYS_semget, type_sem, &with_key, &with_flags);
		id = NEXT(semget)(with_key, n, with_flags);
	} while (settle_sysv(&c, id));
	return id;
}

/* Whether there is a fourth is the command's matter, and where there is none it does no harm. */
int hook_semctl(int id, int number, int command, ...)
{
	void *fourth;
	va_list ap;
	int r;

	va_start(ap, command);
	fourth = va_arg(ap, void *);
	va_end(ap);
	r = NEXT(semctl)(id, number, command, fourth);
	removed_sysv(command, r, type_sem, id);
	return r;
}

int hook_msgget(key_t key, int flags)
{
	struct creation c;
	int id;

	do {
		key_t with_key = key;
		int with_flags = flags;

		c = announce_sysv(SYS_msgget, type_msg, &with_key, &with_flags);
		id = NEXT(msgget)(with_key, with_flags);
	} while (settle_sysv(&c, id));
	return id;
}

int hook_msgctl(int id, int command, void *buf)
{
	int r = NEXT(msgctl)(id, command, buf);

	removed_sysv(command, r, type_msg, id);
	return r;
}
