/*
 * The trivial program of the benchmarks: nop FILE SLOT. Stamps its slot of the mapped FILE (nop.h) and pauses. It is
 * the same binary for every contender, so that only the starting differs. As the `run` of a service folder, without both,
 * it has the file from NOP_FILE, and the slot is the name of the folder.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "nop.h"

static struct nop_shared *map_shared(const char *path, unsigned long slot)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	size_t size = sizeof(struct nop_shared) + (slot + 1) * sizeof(struct nop_slot);
	struct nop_shared *s;

	if (fd < 0)
		_exit(111);
	s = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		_exit(111);
	close(fd);
	return s;
}

static unsigned long slot_of_folder(void)
{
	char path[4096];
	const char *name = getcwd(path, sizeof(path)) != NULL ? strrchr(path, '/') : NULL;

	return name != NULL ? strtoul(name + 1, NULL, 10) : 0;
}

int main(int argc, char **argv)
{
	const char *file = argc == 3 ? argv[1] : getenv("NOP_FILE");
	struct timespec now;
	struct nop_shared *s;
	struct nop_slot *slot;
	unsigned long i;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (file == NULL)
		_exit(2);
	i = argc == 3 ? strtoul(argv[2], NULL, 10) : slot_of_folder();
	s = map_shared(file, i);
	slot = &s->slot[i];
	slot->started_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
	slot->pid = getpid();
	slot->starts++;
	if (++s->ups == s->target)
		syscall(SYS_futex, &s->ups, FUTEX_WAKE, 1, NULL, NULL, 0);
	for (;;)
		pause();
}
