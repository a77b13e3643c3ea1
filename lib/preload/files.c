/*
 * Files in /dev/shm, by their paths.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "preload/hook.h"

enum { SEM = 4 };

static bool is_below_shm(const char *path)
{
	if (path == NULL)
		return false;
	for (int i = 0; i < SHM; i++)
		if (path[i] != SHM_FOLDER[i])
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

bool object_at(const char *path, struct object *ret)
{
	const char *rest;

	if (!is_below_shm(path) || !tell_wanted())
		return false;
	rest = path + SHM;
	if (!is_clean(rest))
		return false;
	if (strchr(rest, '/') != NULL)
		*ret = (struct object){ .type = "file", .prefix = "", .name = path };
	else if (strncmp(rest, "sem.", SEM) == 0 && rest[SEM] != '\0')
		*ret = (struct object){ .type = "semaphore", .prefix = "/", .name = rest + SEM };
	else
		*ret = (struct object){ .type = "shared_memory", .prefix = "/", .name = rest };
	return true;
}

static bool is_absent(const char *path)
{
	struct stat st;

	return syscall(SYS_newfstatat, AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
	       errno == ENOENT;
}

void creation_announce(struct creation *c, bool exclusive)
{
	c->told = true;
	tell(exclusive ? ATTEMPT : REGISTER, &c->object);
}

void creation_begin(struct creation *c, const char *path, bool exclusive)
{
	int kept = errno;
	bool yes = object_at(path, &c->object) && (exclusive || is_absent(path));

	errno = kept;
	*c = (struct creation){ .object = c->object };
	if (yes)
		creation_announce(c, exclusive);
}

/*
 * Was what was asked for last, new or not, new? Then the next is too, most often, and it is not looked for but made
 * exclusively. Where it is there after all, it is asked for as it was meant.
 */
static atomic_bool expects_new;

int creation_flags(struct creation *c, int flags, bool (*is_new)(const char *), const char *name)
{
	c->told = false;
	c->kept = errno;
	c->guessed = !(flags & O_EXCL) && atomic_load(&expects_new);
	if (!(flags & O_EXCL) && !c->guessed) {
		bool yes = is_new(name);

		errno = c->kept;
		if (!yes)
			return flags;
		atomic_store(&expects_new, true);
	}
	creation_announce(c, c->guessed || (flags & O_EXCL));
	return c->guessed ? flags | O_EXCL : flags;
}

int creation_of_file(struct creation *c, const char *path, int flags)
{
	*c = (struct creation){ 0 };
	return (flags & O_CREAT) && object_at(path, &c->object)
		       ? creation_flags(c, flags, is_absent, path)
		       : flags;
}

bool creation_end(struct creation *c, bool made)
{
	if (!c->told || made)
		return false;
	tell(RETRACT, &c->object);
	if (!c->guessed || errno != EEXIST)
		return false;
	atomic_store(&expects_new, false);
	errno = c->kept;
	return true;
}

void object_removed(const char *path)
{
	struct object object;

	if (object_at(path, &object))
		tell(REMOVED, &object);
}

static mode_t mode_of(int flags, va_list ap)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

int hook_open(const char *path, int flags, ...)
{
	struct creation c;
	mode_t mode;
	va_list ap;
	int fd;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	do
		fd = NEXT(open)(path, creation_of_file(&c, path, flags), mode);
	while (creation_end(&c, fd >= 0));
	return fd;
}

int hook_openat(int folder, const char *path, int flags, ...)
{
	struct creation c;
	mode_t mode;
	va_list ap;
	int fd;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	do
		fd = NEXT(openat)(folder, path, creation_of_file(&c, path, flags), mode);
	while (creation_end(&c, fd >= 0));
	return fd;
}

int hook_creat(const char *path, mode_t mode)
{
	return hook_open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* An 'x' behind the first letter, as far as libc looks for it. */
static bool is_exclusive(const char *mode)
{
	for (int i = 1; i < 7 && mode[i] != '\0'; i++)
		if (mode[i] == 'x')
			return true;
	return false;
}

FILE *hook_fopen(const char *path, const char *mode)
{
	struct creation c = { 0 };
	FILE *f;

	if (mode[0] == 'w' || mode[0] == 'a')
		creation_begin(&c, path, is_exclusive(mode));
	f = NEXT(fopen)(path, mode);
	creation_end(&c, f != NULL);
	return f;
}

/* ------------------------------------------------------------------------------------- names that libc makes up */

enum { RANDOM = 6, TRIES = 62 * 62 * 62 };

static void make_up(char at[RANDOM])
{
	static const char set[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	uint64_t draw;

	if (syscall(SYS_getrandom, &draw, sizeof(draw), GRND_NONBLOCK) != sizeof(draw)) {
		struct timespec now;

		clock_gettime(CLOCK_MONOTONIC, &now);
		draw = ((uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec) *
		       UINT64_C(0x9e3779b97f4a7c15);
	}
	for (int i = 0; i < RANDOM; i++, draw /= 62)
		at[i] = set[draw % 62];
}

/* In /dev/shm the name is ours to make up, since it is to be told of before the file is there. False: it is not there. */
static bool make_temporary(char *template, int suffix, int flags, int *ret_fd)
{
	int kept = errno, fd = -1;
	struct object object;
	char *at;

	if (suffix < 0 || !object_at(template, &object))
		return false;
	at = template + strlen(template) - suffix - RANDOM;
	if (at < template + SHM || strncmp(at, "XXXXXX", RANDOM) != 0)
		return false;
	for (int i = 0; i < TRIES && fd < 0 && (i == 0 || errno == EEXIST); i++) {
		make_up(at);
		fd = hook_open(template, (flags & ~O_ACCMODE) | O_RDWR | O_CREAT | O_EXCL, 0600);
	}
	if (fd >= 0)
		errno = kept;
	*ret_fd = fd;
	return true;
}

int hook_mkstemp(char *template)
{
	int fd;

	return make_temporary(template, 0, 0, &fd) ? fd : NEXT(mkstemp)(template);
}

int hook_mkostemp(char *template, int flags)
{
	int fd;

	return make_temporary(template, 0, flags, &fd) ? fd : NEXT(mkostemp)(template, flags);
}

int hook_mkstemps(char *template, int suffix)
{
	int fd;

	return make_temporary(template, suffix, 0, &fd) ? fd : NEXT(mkstemps)(template, suffix);
}

int hook_mkostemps(char *template, int suffix, int flags)
{
	int fd;

	return make_temporary(template, suffix, flags, &fd)
		       ? fd
		       : NEXT(mkostemps)(template, suffix, flags);
}

/* ------------------------------------------------------------------------------------------- other names, and none */

int hook_unlink(const char *path)
{
	int r = NEXT(unlink)(path);

	if (r == 0)
		object_removed(path);
	return r;
}

int hook_unlinkat(int folder, const char *path, int flags)
{
	int r = NEXT(unlinkat)(folder, path, flags);

	if (r == 0 && !(flags & AT_REMOVEDIR))
		object_removed(path);
	return r;
}

int hook_remove(const char *path)
{
	int r = NEXT(remove)(path);

	if (r == 0)
		object_removed(path);
	return r;
}

/* A name that was taken is told of when it is ours: until then it is somebody's. */
struct move {
	struct creation made;
	bool replaces;
};

static void begin_move(struct move *m, const char *to, unsigned flags)
{
	*m = (struct move){ 0 };
	if (flags & RENAME_EXCHANGE)
		return;
	creation_begin(&m->made, to, false);
	m->replaces = !m->made.told && object_at(to, &m->made.object);
}

static void end_move(struct move *m, const char *from, bool done, unsigned flags)
{
	creation_end(&m->made, done);
	if (!done || (flags & RENAME_EXCHANGE))
		return;
	if (m->replaces)
		tell(REGISTER, &m->made.object);
	object_removed(from);
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
	struct creation c;
	int r;

	creation_begin(&c, to, true);
	r = NEXT(link)(from, to);
	creation_end(&c, r == 0);
	return r;
}

int hook_linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
	struct creation c;
	int r;

	creation_begin(&c, to, true);
	r = NEXT(linkat)(from_folder, from, to_folder, to, flags);
	creation_end(&c, r == 0);
	return r;
}

int hook_symlink(const char *target, const char *path)
{
	struct creation c;
	int r;

	creation_begin(&c, path, true);
	r = NEXT(symlink)(target, path);
	creation_end(&c, r == 0);
	return r;
}

int hook_symlinkat(const char *target, int folder, const char *path)
{
	struct creation c;
	int r;

	creation_begin(&c, path, true);
	r = NEXT(symlinkat)(target, folder, path);
	creation_end(&c, r == 0);
	return r;
}

/* The same functions, where off_t has 64 bits anyway. */
EXPORT extern type_open hook_open64 __asm__("open64") __attribute__((alias("open")));
EXPORT extern type_openat hook_openat64 __asm__("openat64") __attribute__((alias("openat")));
EXPORT extern type_creat hook_creat64 __asm__("creat64") __attribute__((alias("creat")));
EXPORT extern type_fopen hook_fopen64 __asm__("fopen64") __attribute__((alias("fopen")));
EXPORT extern type_mkstemp hook_mkstemp64 __asm__("mkstemp64") __attribute__((alias("mkstemp")));
EXPORT extern type_mkostemp hook_mkostemp64 __asm__("mkostemp64")
	__attribute__((alias("mkostemp")));
EXPORT extern type_mkstemps hook_mkstemps64 __asm__("mkstemps64")
	__attribute__((alias("mkstemps")));
EXPORT extern type_mkostemps hook_mkostemps64 __asm__("mkostemps64")
	__attribute__((alias("mkostemps")));
