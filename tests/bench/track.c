/*
 * What the tracker's parts cost: records (bytes each, ns per addition, look-up and removal), lines of the journal, and
 * the question whether an object is in use beside open(2) and close(2) of the same file.
 * track [-n RECORDS] [-r ROUNDS]
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mtime.h"
#include "bench.h"
#include "stat.h"
#include "track/journal.h"
#include "track/object.h"

enum { NAME_LENGTH = 60, ASKS = 20000 };

static struct samples adds, finds, removes, worst, writes, asks, opens;
static double bytes_each;

/* As long as the promise goes. */
static size_t name_of(size_t i, char *text)
{
	return (size_t)snprintf(text, NAME_LENGTH + 1, "/worker-%052zu", i);
}

static double since(struct mps_time from)
{
	return (double)(mps_now().ns - from.ns);
}

/* Pages that we have; only the first round says what records cost, later ones reuse them. */
static size_t resident(void)
{
	unsigned long all = 0, pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f == NULL || fscanf(f, "%lu %lu", &all, &pages) != 2)
		die("/proc/self/statm");
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void add_all(struct track_registry *r, struct track_owner *owner, size_t n)
{
	struct track_creator c = { .pid = 1 };
	size_t before = resident();
	char name[NAME_LENGTH + 1];
	struct mps_time from = mps_now();
	double longest = 0;

	for (size_t i = 0; i < n; i++) {
		struct mps_time one = mps_now();
		double took;

		if (track_add(r, owner, TRACK_SEMAPHORE, name, name_of(i, name), &c) == NULL)
			die("track_add");
		took = since(one);
		if (took > longest)
			longest = took;
	}
	samples_add(&adds, since(from) / (double)n);
	samples_add(&worst, longest);
	if (bytes_each == 0)
		bytes_each = (double)(resident() - before) / (double)n;
}

static void find_all(struct track_registry *r, size_t n)
{
	char name[NAME_LENGTH + 1];
	struct mps_time from = mps_now();

	/* Not in the order in which they lie in memory. */
	for (size_t i = 0; i < n; i++)
		if (track_find(r, TRACK_SEMAPHORE, name, name_of(i * 7919 % n, name)) == NULL)
			die("track_find");
	samples_add(&finds, since(from) / (double)n);
}

static void remove_all(struct track_registry *r, size_t n)
{
	char name[NAME_LENGTH + 1];
	struct mps_time from = mps_now();

	for (size_t i = 0; i < n; i++)
		track_remove(r, track_find(r, TRACK_SEMAPHORE, name, name_of(i * 7919 % n, name)));
	samples_add(&removes, since(from) / (double)n);
}

/* Lines of one object that is made and is gone, by messages of 64. */
static void write_journal(struct track_registry *r, struct track_owner *owner, size_t n)
{
	static const char path[] = "/dev/shm/mpsup-bench-journal";
	struct track_journal j;
	struct mps_time from;

	if (track_journal_open(&j, path, "bench", getpid(), r) < 0)
		die(path);
	from = mps_now();
	for (size_t i = 0; i < n; i++) {
		track_journal_add(&j, owner->first);
		track_journal_remove(&j, owner->first);
		if (i % 32 == 31 && track_journal_flush(&j, r) < 0)
			die(path);
	}
	samples_add(&writes, since(from) / (double)n / 2);
	track_journal_close(&j, true);
}

static void ask(struct track_registry *r)
{
	static const char path[] = "/dev/shm/mpsup-bench";
	struct track_owner owner = { 0 };
	struct track_creator me = { .pid = getpid(), .uid = getuid() };
	struct track_record *record;
	struct mps_time from;

	unlink(path);
	record = track_add(r, &owner, TRACK_SHARED_MEMORY, strrchr(path, '/'),
			   strlen("/mpsup-bench"), &me);
	close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	from = mps_now();
	for (int i = 0; i < ASKS; i++)
		close(open(path, O_RDONLY | O_CLOEXEC));
	samples_add(&opens, since(from) / ASKS);
	from = mps_now();
	for (int i = 0; i < ASKS; i++)
		if (object_ask(record) != OBJECT_FREE)
			die("object_ask");
	samples_add(&asks, since(from) / ASKS);
	if (object_unlink(record) != OBJECT_FREE)
		die("object_unlink");
	track_remove(r, record);
}

int main(int argc, char **argv)
{
	size_t n = 1000000, rounds = 1;
	struct track_registry r = { 0 };
	struct track_owner owner = { .name = "web" };
	int c;

	while ((c = getopt(argc, argv, "n:r:")) != -1) {
		size_t v = optarg != NULL ? strtoul(optarg, NULL, 10) : 0;

		if (v == 0) {
			fprintf(stderr, "usage: track [-n RECORDS] [-r ROUNDS]\n");
			return 2;
		}
		*(c == 'n' ? &n : &rounds) = v;
	}
	for (size_t i = 0; i < rounds; i++) {
		add_all(&r, &owner, n);
		find_all(&r, n);
		remove_all(&r, n - 1);
		write_journal(&r, &owner, n / 4);
		ask(&r);
		track_registry_fini(&r);
	}
	say("a record, with its name", "mpsup", "bytes", bytes_each);
	samples_say(&adds, "record added", "mpsup", "ns");
	samples_say(&worst, "record added, the slowest", "mpsup", "ns");
	samples_say(&finds, "record found", "mpsup", "ns");
	samples_say(&removes, "record found and removed", "mpsup", "ns");
	samples_say(&writes, "a line of the journal", "mpsup", "ns");
	samples_say(&opens, "is it in use?", LIMIT, "ns");
	samples_say(&asks, "is it in use?", "mpsup", "ns");
	return 0;
}
