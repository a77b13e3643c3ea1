/*
 * The slate, mapped when there is something to say for the first time, and for good: forks share it. System calls are raw
 * ones, as in tell.c. A place is taken by an exchange, so threads and processes never share one.
 */
#include "preload/note.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "track/slate.h"

static _Atomic(struct slate *) slate; /* NULL: not looked for yet */
#define NO_SLATE ((struct slate *)-1)

static void *map(const char *path, unsigned uid)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path,
			      O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	void *p = NO_SLATE;

	if (fd < 0)
		return NO_SLATE;
	if (syscall(SYS_fstat, fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == uid &&
	    st.st_size == sizeof(struct slate))
		p = (void *)syscall(SYS_mmap, NULL, sizeof(struct slate), PROT_READ | PROT_WRITE,
				    MAP_SHARED, fd, 0L); /* all of a register */
	syscall(SYS_close, fd);
	return p; /* MAP_FAILED is NO_SLATE */
}

/* In the folder of the tracker's socket; one with an abstract name has none. */
static struct slate *find(const struct sockaddr_un *tracker)
{
	char path[sizeof(tracker->sun_path) + sizeof(SLATE_NAME) + 12];
	unsigned uid = (unsigned)syscall(SYS_geteuid), rest = uid;
	size_t n = strnlen(tracker->sun_path, sizeof(tracker->sun_path)), digits = 1;

	while (n > 0 && tracker->sun_path[n - 1] != '/')
		n--;
	if (n == 0)
		return NO_SLATE;
	memcpy(path, tracker->sun_path, n);
	memcpy(path + n, SLATE_NAME, sizeof(SLATE_NAME) - 1);
	n += sizeof(SLATE_NAME) - 1;
	while (rest /= 10)
		digits++;
	path[n + digits] = '\0';
	for (rest = uid; digits > 0; rest /= 10)
		path[n + --digits] = (char)('0' + rest % 10);
	return map(path, uid);
}

static struct slate *get(const struct sockaddr_un *tracker)
{
	struct slate *s = atomic_load(&slate), *none = NULL;

	if (s != NULL)
		return s;
	s = find(tracker);
	if (atomic_compare_exchange_strong(&slate, &none, s))
		return s;
	if (s != NO_SLATE) /* another thread was faster */
		syscall(SYS_munmap, s, sizeof(*s));
	return none;
}

static int64_t now(clockid_t clock, int64_t unit)
{
	struct timespec t = { 0 };

	clock_gettime(clock, &t);
	return t.tv_sec * (1000000000 / unit) + t.tv_nsec / unit;
}

/* NULL: all are taken. */
static struct slate_place *take(struct slate *s, uint64_t word, unsigned pid, int *ret_index)
{
	static _Atomic unsigned next;
	unsigned from = atomic_fetch_add(&next, 1) + pid;

	for (unsigned i = 0; i < SLATE_PLACES; i++) {
		unsigned index = (from + i) % SLATE_PLACES;
		struct slate_place *p = &s->places[index];
		uint64_t was = atomic_load(&p->taken);

		if (was != 0 && was + 2 * SLATE_STALE_MS > word)
			continue;
		if (!atomic_compare_exchange_strong(&p->taken, &was, word))
			continue;
		*ret_index = (int)index;
		return p;
	}
	return NULL;
}

struct note note_line(const struct sockaddr_un *tracker, const char *line, size_t n)
{
	uint64_t word = (uint64_t)now(CLOCK_MONOTONIC, 1000000) << 1;
	unsigned pid = (unsigned)syscall(SYS_getpid);
	struct slate_place *p;
	struct slate *s = get(tracker);
	int index;

	if (s == NO_SLATE)
		return (struct note){ .place = NOTE_NONE };
	p = n <= SLATE_LINE_MAX ? take(s, word, pid, &index) : NULL;
	if (p == NULL)
		return (struct note){ .place = NOTE_FULL };
	p->told_ns = now(CLOCK_REALTIME, 1);
	p->pid = (int32_t)pid;
	p->length = (uint32_t)n;
	memcpy(p->line, line, n);
	atomic_store(&p->taken, word | 1);
	return (struct note){ index, word | 1 };
}

void note_wipe(const struct note *note)
{
	struct slate *s = atomic_load(&slate);
	uint64_t was = note->taken;

	if (note->place >= 0 && s != NULL && s != NO_SLATE)
		atomic_compare_exchange_strong(&s->places[note->place].taken, &was, 0);
}
