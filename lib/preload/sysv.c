/*
 * System V objects, by their keys before they are there, and by their ids.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "preload/hook.h"

/*
 * It has no id before it is there, so it is told of by its key. What would have none (IPC_PRIVATE) gets a random one that
 * nobody else has: with that it can be found when the program is killed before it has told the id.
 */
struct keyed {
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

static void name_key(struct keyed *c, key_t key)
{
	static const char digits[] = "0123456789abcdef";

	c->name[0] = 'k';
	for (int i = 0; i < 8; i++)
		c->name[1 + i] = digits[(unsigned)key >> (28 - 4 * i) & 15];
	c->name[9] = '\0';
}

/* It need not be a secret, but hit nobody else's (splitmix64). */
static key_t make_up_key(void)
{
	struct timespec now = { 0 };
	key_t key = IPC_PRIVATE;

	while (key == IPC_PRIVATE) {
		uint64_t z;

		clock_gettime(CLOCK_MONOTONIC, &now);
		z = ((uint64_t)now.tv_nsec << 34) ^ (uint64_t)now.tv_sec ^ (uintptr_t)&now;
		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		key = (key_t)(z ^ (z >> 31));
	}
	return key;
}

static struct keyed announce_sysv(long number, const char *type, key_t *key, int *flags)
{
	struct keyed c = { .type = type, .announced = will_make(number, *key, *flags) };

	if (!c.announced)
		return c;
	if (*key == IPC_PRIVATE) {
		c.is_private = true;
		*key = make_up_key();
		*flags |= IPC_CREAT | IPC_EXCL;
	}
	name_key(&c, *key);
	tell(REGISTER, &(struct object){ .type = type, .prefix = "", .name = c.name });
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
static bool settle_sysv(const struct keyed *c, int id)
{
	struct object key = { .type = c->type, .prefix = "", .name = c->name };
	char digits[12];

	if (!c->announced)
		return false;
	if (id < 0)
		tell(UNREGISTER, &key);
	else
		tell_instead(&(struct object){ .type = c->type,
					       .prefix = "",
					       .name = write_id(id, digits) },
			     &key);
	return id < 0 && c->is_private && errno == EEXIST;
}

static void removed_sysv(int command, int result, const char *type, int id)
{
	char digits[12];

	if (command == IPC_RMID && result == 0 && tell_wanted())
		tell(UNREGISTER,
		     &(struct object){ .type = type, .prefix = "", .name = write_id(id, digits) });
}

/* Each of the three calls is the same but for what it makes: `call` says it with the key and flags that it is to have. */
#define GET(number, word, call)                                                                    \
	({                                                                                         \
		struct keyed c_;                                                                   \
		int id_;                                                                           \
		do {                                                                               \
			key_t with_key = key;                                                      \
			int with_flags = flags;                                                    \
                                                                                                   \
			c_ = announce_sysv(number, word, &with_key, &with_flags);                  \
			id_ = call;                                                                \
		} while (settle_sysv(&c_, id_));                                                   \
		id_;                                                                               \
	})

static const char type_shm[] = "sysv_shm", type_sem[] = "sysv_sem", type_msg[] = "sysv_msg";

int hook_shmget(key_t key, size_t size, int flags)
{
	return GET(SYS_shmget, type_shm, NEXT(shmget)(with_key, size, with_flags));
}

int hook_shmctl(int id, int command, void *buf)
{
	int r = NEXT(shmctl)(id, command, buf);

	removed_sysv(command, r, type_shm, id);
	return r;
}

int hook_semget(key_t key, int n, int flags)
{
	return GET(SYS_semget, type_sem, NEXT(semget)(with_key, n, with_flags));
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
	return GET(SYS_msgget, type_msg, NEXT(msgget)(with_key, with_flags));
}

int hook_msgctl(int id, int command, void *buf)
{
	int r = NEXT(msgctl)(id, command, buf);

	removed_sysv(command, r, type_msg, id);
	return r;
}
