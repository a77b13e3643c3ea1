/*
 * The objects of memory beside the bare thing, in turn, round after round: a segment beside shm_open(3), a block of an arena
 * beside malloc(3), an addition beside the machine's instruction.
 * ipc_memory [-r ROUNDS] [-p PART]. The tracker of names is the real one; MPSUP_HOST says where mpsup-host is, if not beside this.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../find_host.h"
#include "base/mtime.h"
#include "bench.h"
#include "mpsup.h"
#include "stat.h"

enum { CHUNKS = 30, MAPS = 50, BLOCKS = 2000, HELD = 64, ADDITIONS = 20000, SIZE = 65536 };

static const char *const name = "/bench-ipc-memory";
static struct mps_arena *arena;
static struct mps_value *value;

static void must(int r, const char *what)
{
	errno = -r;
	if (r < 0)
		die(what);
}

/* The memory is really there in all of them. */
static void bare_segment(const char *with_name)
{
	int fd = with_name != NULL ? shm_open(with_name, O_RDWR | O_CREAT | O_EXCL, 0600)
				   : memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *p;

	if (fd < 0 || posix_fallocate(fd, 0, SIZE) != 0)
		die("bare segment");
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	munmap(p, SIZE);
	close(fd);
	if (with_name != NULL)
		shm_unlink(with_name);
}

static void our_segment(const char *with_name)
{
	struct mps_shm *shm;

	must(mps_shm_create(with_name, SIZE, &shm), "mps_shm_create");
	mps_shm_close(shm);
	if (with_name != NULL)
		must(mps_shm_unlink(with_name), "mps_shm_unlink");
}

static void bare_memfd(void)
{
	bare_segment(NULL);
}

static void our_memfd(void)
{
	our_segment(NULL);
}

static void bare_named(void)
{
	bare_segment(name);
}

static void our_named(void)
{
	our_segment(name);
}

static void untracked(void)
{
	setenv("MPSUP_TRACKER", "", 1);
	our_segment(name);
	unsetenv("MPSUP_TRACKER");
}

/* Sizes that a program would have, and an order that is not that of a stack. */
#define CHURN(take, give)                                                                          \
	do {                                                                                       \
		uint32_t dice = 1;                                                                 \
		for (int i = 0; i < BLOCKS; i++) {                                                 \
			size_t k = (dice = dice * 1664525 + 1013904223) >> 26;                     \
			size_t n = 16 + (dice >> 8) % 1000;                                        \
			if (held[k])                                                               \
				give;                                                              \
			take;                                                                      \
		}                                                                                  \
		for (size_t k = 0; k < HELD; k++)                                                  \
			if (held[k])                                                               \
				give;                                                              \
	} while (0)

static void bare_blocks(void)
{
	void *held[HELD] = { 0 };

	CHURN(held[k] = malloc(n), free(held[k]));
}

static void our_blocks(void)
{
	uint64_t held[HELD] = { 0 };

	CHURN(must(mps_arena_alloc(arena, n, &held[k]), "mps_arena_alloc"),
	      mps_arena_free(arena, held[k]));
}

static void bare_additions(void)
{
	int64_t *p = mps_value_data(value);

	for (int i = 0; i < ADDITIONS; i++)
		__atomic_fetch_add(p, 1, __ATOMIC_SEQ_CST);
}

static void our_additions(void)
{
	for (int i = 0; i < ADDITIONS; i++)
		mps_value_add(value, 1, NULL);
}

static const struct row {
	const char *what;
	void (*bare)(void), (*ours)(void);
	double each;
	const char *unit;
	int times;
} rows[] = {
	{ "segment of 64 KiB, no name", bare_memfd, our_memfd, 1e3, "us", MAPS },
	{ "segment of 64 KiB, a name", bare_named, our_named, 1e3, "us", MAPS },
	{ "segment, a name, no tracker", bare_named, untracked, 1e3, "us", MAPS },
	{ "arena: block, taken and freed", bare_blocks, our_blocks, BLOCKS, "ns", 1 },
	{ "value: an addition", bare_additions, our_additions, ADDITIONS, "ns", 1 },
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static double measure(void (*fn)(void), const struct row *row)
{
	int64_t from = mps_now().ns;

	for (int i = 0; i < row->times; i++)
		fn();
	return (double)(mps_now().ns - from) / row->times / row->each;
}

int main(int argc, char **argv)
{
	static struct samples bare[ROWS], ours[ROWS];
	double part = 1;
	int rounds = 1;

	if (!take_options(argc, argv, &rounds, &part))
		return 2;
	find_host();
	must(mps_arena_new(1 << 20, &arena), "mps_arena_new");
	must(mps_value_new('q', MPS_RAW, &value), "mps_value_new");
	for (int i = 0; i < (int)(rounds * CHUNKS * part); i++)
		for (int k = 0; k < ROWS; k++) {
			samples_add(&bare[k], measure(rows[k].bare, &rows[k]));
			samples_add(&ours[k], measure(rows[k].ours, &rows[k]));
		}
	for (int k = 0; k < ROWS; k++) {
		samples_say(&bare[k], rows[k].what, LIMIT, rows[k].unit);
		samples_say(&ours[k], rows[k].what, "mpsup", rows[k].unit);
	}
	return 0;
}
