/*
 * The trivial program of the benchmarks: nop FILE SLOT. Stamps its slot of the mapped FILE (nop.h) and pauses. It is
 * the same binary for every contender, so that only the starting differs.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
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

int main(int argc, char **argv)
{
	struct timespec now;
	struct nop_shared *s;
	struct nop_slot *slot;
	unsigned long i;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (argc != 3)
		_exit(2);
	i = strtoul(argv[2], NULL, 10);
	s = map_shared(argv[1], i);
	slot = &s->slot[i];
	slot->started_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
	slot->pid = getpid();
	slot->starts++;
	if (++s->ups == s->target)
		syscall(SYS_futex, &s->ups, FUTEX_WAKE, 1, NULL, NULL, 0);
	for (;;)
		pause();
}
