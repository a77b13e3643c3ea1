/*
 * Reading a log through its backups while they are rotated and compressed. The writer is a thread that stops before each
 * call that changes a name; before each call of the reader on a name it does some: all orders, but the same in each run.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "sup/logfile.h"
#include "sup/rotate.h"

enum { BACKUPS = 5, ROUNDS = 400, DIGITS = 7 };

static sem_t may_go, has_stopped;
static _Thread_local bool is_writer;
static bool is_read, ending; /* the reader's calls are the writer's moments; no more moments */
static unsigned newest;	     /* FILE holds its number, in DIGITS */

/* xorshift */
static unsigned dice(unsigned n)
{
	static unsigned seed = 2463534242;

	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % n;
}

/* The writer does so many calls. */
static void let_write(unsigned n)
{
	while (n-- > 0) {
		sem_post(&may_go);
		sem_wait(&has_stopped);
	}
}

static void moment_of_writer(void)
{
	if (is_writer && !ending) {
		sem_post(&has_stopped);
		sem_wait(&may_go);
	}
}

static void moment_of_reader(void)
{
	static const unsigned most[] = { 1, 1, 1, 1, 1, 3, 3, 24 };

	if (!is_writer && is_read)
		let_write(dice(most[dice(ARRAY_SIZE(most))]));
}

/* The C library's, for the whole program. */
int stat(const char *path, struct stat *st)
{
	moment_of_reader();
	return fstatat(AT_FDCWD, path, st, 0);
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (flags & O_CREAT)
		moment_of_writer();
	moment_of_reader();
	return openat(AT_FDCWD, path, flags, mode);
}

int rename(const char *from, const char *to)
{
	moment_of_writer();
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlink(const char *path)
{
	moment_of_writer();
	return unlinkat(AT_FDCWD, path, 0);
}

/* ------------------------------------------------------------------------------------------------- the writer */

static void write_new(void)
{
	int fd = open("log", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	newest++;
	cr_assert_eq(dprintf(fd, "%0*u\n", DIGITS, newest), DIGITS + 1);
	close(fd);
}

static void turn(void)
{
	int gone;

	cr_assert_eq(rotate_shift("log", BACKUPS, &gone), 0);
	fd_close(&gone);
	write_new();
}

static void *write_all(void *unused)
{
	(void)unused;
	is_writer = true;
	moment_of_writer();
	write_new();
	while (!ending) {
		struct rotate_job *job = dice(2) ? rotate_job_new("log", BACKUPS) : NULL;

		if (job != NULL)
			rotate_job_run(job);
		for (unsigned n = dice(4); n > 0; n--)
			turn();
		if (job != NULL)
			rotate_job_end(job);
	}
	return NULL;
}

/* ------------------------------------------------------------------------------------------------- the reader */

struct seen {
	unsigned first, last; /* 0, 0 = nothing */
};

/* What is read is each number once, in order. */
static struct seen read_numbers(struct logfile *l, unsigned round)
{
	char block[3 * (DIGITS + 1)] = "";
	struct seen seen = { 0 };
	ssize_t n;

	while ((n = logfile_read(l, block, DIGITS + 1, NULL)) > 0) {
		unsigned number = (unsigned)strtoul(block, NULL, 10);

		cr_assert_eq(n, DIGITS + 1);
		if (seen.first == 0)
			seen.first = number;
		else
			cr_assert_eq(number, seen.last + 1, "round %u: %u follows %u", round,
				     number, seen.last);
		seen.last = number;
	}
	cr_assert_eq(n, 0);
	return seen;
}

/* The oldest that is there for certain. */
static unsigned oldest(void)
{
	return newest > BACKUPS ? newest - BACKUPS + 1 : 1;
}

static void begin_reading(struct logfile *l, unsigned *ret_newest)
{
	struct err err = ERR_INIT;

	*ret_newest = newest;
	is_read = true;
	cr_assert_eq(logfile_open(l, "log", &err), 0, "%s", err.text);
}

static void end_reading(struct logfile *l)
{
	is_read = false;
	logfile_close(l);
}

static void read_whole(unsigned round)
{
	struct err err = ERR_INIT;
	unsigned was_newest;
	struct logfile l;
	struct seen seen;

	begin_reading(&l, &was_newest);
	cr_assert_eq(logfile_start_last(&l, dice(2) ? -1 : 100, &err), 0, "%s", err.text);
	seen = read_numbers(&l, round);
	cr_expect_geq(seen.last, was_newest, "round %u: ends with %u", round, seen.last);
	if (seen.last >= oldest())
		cr_expect_leq(seen.first, oldest(), "round %u: begins with %u", round, seen.first);
	end_reading(&l);
}

/* Our file is FILE, and then the writer goes on. */
static void read_behind(unsigned round)
{
	AUTO_CLOSE int fd = open("log", O_RDONLY | O_CLOEXEC);
	char text[DIGITS + 1] = "";
	unsigned ours, was_newest;
	struct logfile l;
	struct seen seen;
	int found;

	if (fd < 0 || read(fd, text, DIGITS) != DIGITS)
		return; /* between two */
	ours = (unsigned)strtoul(text, NULL, 10);
	let_write(dice(50));
	begin_reading(&l, &was_newest);
	found = logfile_start_behind(&l, fd);
	seen = read_numbers(&l, round);
	if (found)
		cr_expect(seen.first == ours + 1 || (seen.first == 0 && was_newest == ours),
			  "round %u: %u follows ours, %u", round, seen.first, ours);
	else
		cr_expect_gt(seen.first, ours, "round %u: ours, %u, twice", round, ours);
	if (seen.first != 0)
		cr_expect_geq(seen.last, was_newest, "round %u: ends with %u", round, seen.last);
	if (ours >= oldest())
		cr_expect(found, "round %u: ours, %u, is there", round, ours);
	end_reading(&l);
}

Test(logfile_moves, each_file_is_read_once_and_in_order)
{
	char folder[] = "/tmp/mpsup-logfile.XXXXXX";
	pthread_t writer;
	AUTO_BUF clean = BUF_INIT;

	cr_assert_not_null(mkdtemp(folder));
	cr_assert_eq(chdir(folder), 0);
	sem_init(&may_go, 0, 0);
	sem_init(&has_stopped, 0, 0);
	cr_assert_eq(pthread_create(&writer, NULL, write_all, NULL), 0);
	sem_wait(&has_stopped);
	while (newest == 0)
		let_write(1);
	for (unsigned round = 0; round < ROUNDS; round++) {
		let_write(dice(10));
		if (round % 2)
			read_behind(round);
		else
			read_whole(round);
	}
	ending = true;
	sem_post(&may_go);
	pthread_join(writer, NULL);
	buf_addf(&clean, "rm -r %s", folder);
	cr_expect_eq(system(clean.p), 0);
}
