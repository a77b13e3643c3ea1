/*
 * Named semaphores, shared memory and message queues, by their names.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/hook.h"

enum { SEM = 4, NAME_SIZE = 256 };

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
	strcpy(stpcpy(stpcpy(path, SHM_FOLDER), prefix), name);
	return true;
}

static void removed_name(const char *prefix, const char *name)
{
	char path[SHM + SEM + NAME_SIZE];

	if (path_of(prefix, name, path))
		object_removed(path);
}

int hook_shm_open(const char *name, int flags, mode_t mode)
{
	char path[SHM + SEM + NAME_SIZE];
	struct creation c;
	int fd;

	if (!path_of("", name, path))
		return NEXT(shm_open)(name, flags, mode);
	do
		fd = NEXT(shm_open)(name, creation_of_file(&c, path, flags), mode);
	while (creation_end(&c, fd >= 0));
	return fd;
}

int hook_shm_unlink(const char *name)
{
	int r = NEXT(shm_unlink)(name);

	if (r == 0)
		removed_name("", name);
	return r;
}

/* As libc does it: opens what is there, else makes it, else it is there meanwhile. So nothing is looked for besides. */
static sem_t *open_or_make(const char *name, int flags, mode_t mode, unsigned value,
			   struct creation *c)
{
	sem_t *s;

	do {
		if (!(flags & O_EXCL)) {
			s = NEXT(sem_open)(name, flags & ~O_CREAT);
			if (s != SEM_FAILED || errno != ENOENT)
				return s;
		}
		creation_announce(c, true);
		s = NEXT(sem_open)(name, flags | O_EXCL, mode, value);
		creation_end(c, s != SEM_FAILED);
	} while (s == SEM_FAILED && errno == EEXIST && !(flags & O_EXCL));
	return s;
}

sem_t *hook_sem_open(const char *name, int flags, ...)
{
	char path[SHM + SEM + NAME_SIZE];
	struct creation c;
	unsigned value;
	mode_t mode;
	va_list ap;

	if (!(flags & O_CREAT))
		return NEXT(sem_open)(name, flags);
	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	value = va_arg(ap, unsigned);
	va_end(ap);
	if (!path_of("sem.", name, path) || !object_at(path, &c.object))
		return NEXT(sem_open)(name, flags, mode, value);
	return open_or_make(name, flags, mode, value, &c);
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
	*ret = (struct object){ .type = "mqueue", .prefix = "", .name = name };
	return true;
}

/* Asked for in a way in which none can be opened: EINVAL where it is there. */
static bool is_absent_queue(const char *name)
{
	return syscall(SYS_mq_open, name + 1, O_ACCMODE, 0, NULL) < 0 && errno == ENOENT;
}

mqd_t hook_mq_open(const char *name, int flags, ...)
{
	struct creation c = { 0 };
	struct mq_attr *attr;
	mode_t mode;
	va_list ap;
	mqd_t q;

	if (!(flags & O_CREAT))
		return NEXT(mq_open)(name, flags);
	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	attr = va_arg(ap, struct mq_attr *);
	va_end(ap);
	if (!queue_of(name, &c.object))
		return NEXT(mq_open)(name, flags, mode, attr);
	do
		q = NEXT(mq_open)(name, creation_flags(&c, flags, is_absent_queue, name), mode,
				  attr);
	while (creation_end(&c, q != (mqd_t)-1));
	return q;
}

int hook_mq_unlink(const char *name)
{
	int r = NEXT(mq_unlink)(name);
	struct object object;

	if (r == 0 && queue_of(name, &object))
		tell(REMOVED, &object);
	return r;
}
