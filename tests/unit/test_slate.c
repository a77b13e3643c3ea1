/*
 * The slate: what a program is about to make stands there, whether anybody is there to be told or not, until it is wiped;
 * and nothing that somebody else has put there is believed.
 */
#include "track/slate.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../keeper_peer.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "track/door.h"
#include "track/object.h"
#include "track/registry.h"

static char folder[] = "/tmp/mpsup-slate.XXXXXX";

static void make_folder(void)
{
	cr_assert_not_null(mkdtemp(folder));
}

static void remove_folder(void)
{
	slate_remove_all(folder);
	cr_expect_eq(rmdir(folder), 0);
}

TestSuite(slate, .init = make_folder, .fini = remove_folder);

/* How many records there are then. */
static int read_all(struct track_registry *r)
{
	static struct track_owner owner;

	owner = (struct track_owner){ 0 };
	return slate_read_all(folder, r, &owner);
}

static char *shm_file(void)
{
	return xasprintf("/dev/shm/slate %%:%d", (int)getpid());
}

/* Makes that file as programs do, with the shim. */
static pid_t start_with_shim(const char *path)
{
	const char *host = peer_host();
	AUTO_FREE char *shim =
		xasprintf("%.*s/libmpsup-preload.so", (int)(strrchr(host, '/') - host), host);
	AUTO_FREE char *tracker = xasprintf("%s/ipc.sock", folder);
	pid_t pid = fork();

	if (pid == 0) {
		setenv("LD_PRELOAD", shim, 1);
		setenv("MPSUP_TRACKER", tracker, 1);
		execl("/bin/bash", "bash", "-c", ": >\"$0\"", path, NULL);
		_exit(98);
	}
	return pid;
}

static void end_of(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

/* Without anybody who listens. */
static void make_with_shim(const char *path)
{
	end_of(start_with_shim(path));
}

Test(slate, what_a_program_makes_stands_there_until_it_is_wiped)
{
	AUTO_FREE char *path = shm_file();
	struct track_registry r = { 0 };
	AUTO_CLOSE int fd = slate_make(folder, geteuid());
	const char *name = path + strlen("/dev/shm");
	struct track_record *record;
	unsigned place = 0;

	cr_assert_geq(fd, 0);
	cr_expect_eq(read_all(&r), 0);
	make_with_shim(path);
	cr_assert_eq(read_all(&r), 1);
	record = track_find(&r, TRACK_SHARED_MEMORY, name, strlen(name));
	cr_assert_not_null(record);
	cr_expect_eq(record->creator.uid, geteuid());
	cr_expect_neq(record->creator.pid, getpid());
	cr_expect_eq(read_all(&r), 0); /* it is known */
	track_registry_fini(&r);
	for (; place < SLATE_PLACES; place++)
		cr_expect_eq(slate_wipe(fd, place), 0);
	cr_expect_eq(slate_wipe(fd, place), -EINVAL);
	r = (struct track_registry){ 0 };
	cr_expect_eq(read_all(&r), 0);
	cr_expect_eq(unlink(path), 0);
}

/* bash makes it with O_EXCL where it may not be there. */
static int try_with_shim(const char *path)
{
	const char *host = peer_host();
	AUTO_FREE char *command =
		xasprintf("LD_PRELOAD=%.*s/libmpsup-preload.so MPSUP_TRACKER=%s/ipc.sock "
			  "bash -c 'set -C; : >\"$0\"' '%s' 2>/dev/null",
			  (int)(strrchr(host, '/') - host), host, folder, path);

	return system(command);
}

/* What could not be made is off again. What another has on record may be this one's. */
Test(slate, an_attempt_is_noted_and_taken_back)
{
	AUTO_FREE char *path = shm_file();
	const char *name = path + strlen("/dev/shm");
	const struct track_creator me = { .pid = getpid(), .uid = geteuid() };
	struct track_registry r = { 0 }, known = { 0 };
	struct track_owner owner = { 0 };
	AUTO_CLOSE int fd = slate_make(folder, geteuid());
	struct track_record *record =
		track_add(&known, &owner, TRACK_SHARED_MEMORY, name, strlen(name), &me);

	cr_assert_eq(try_with_shim(path), 0);
	cr_expect_eq(read_all(&r), 1);
	track_registry_fini(&r);
	cr_expect(object_settle(record) && record->identity.ino != 0);
	cr_expect_eq(read_all(&known), 1);
	cr_expect_eq(read_all(&known), 0, "it is there already");
	cr_expect_not_null(track_next(track_find(&known, TRACK_SHARED_MEMORY, name, strlen(name))));
	cr_expect_eq(unlink(path), 0);
	track_registry_fini(&known);
	for (unsigned place = 0; place < SLATE_PLACES; place++)
		slate_wipe(fd, place);

	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	cr_assert_neq(try_with_shim(path), 0);
	r = (struct track_registry){ 0 };
	cr_expect_eq(read_all(&r), 0);
	track_registry_fini(&r);
	cr_expect_eq(unlink(path), 0);
}

static void hears(int fd, const char *begin)
{
	char text[2048] = "";

	cr_assert_gt(recv(fd, text, sizeof(text) - 1, 0), 0, "nothing, in place of %s", begin);
	cr_expect(strncmp(text, begin, strlen(begin)) == 0, "%s, in place of %s", text, begin);
}

/* 100 letters of two bytes, each byte of which is three when it is told. */
Test(slate, what_is_too_long_for_it_is_waited_for)
{
	AUTO_FREE char *path = shm_file();
	AUTO_FREE char *tracker = xasprintf("%s/ipc.sock", folder);
	AUTO_CLOSE int listener = -1, slate = slate_make(folder, geteuid()), client = -1;
	struct track_registry r = { 0 };
	struct stat file;
	char name[201];
	pid_t pid;

	cr_assert_geq(slate, 0);
	for (size_t i = 0; i < sizeof(name) - 1; i++)
		name[i] = (char)(i % 2 == 0 ? 0xc3 : 0xa9);
	name[sizeof(name) - 1] = '\0';
	path = xrealloc(path, strlen(path) + sizeof(name));
	strcat(path, name);
	cr_assert_eq(door_open(tracker, &listener, &file), 0);
	cr_assert_eq(fcntl(listener, F_SETFL, 0), 0);
	pid = start_with_shim(path);
	client = accept(listener, NULL, NULL);
	cr_assert_geq(client, 0);
	hears(client, "REGISTER:/slate%20%25");
	hears(client, "PROBE:0:noop\n");
	cr_assert_eq(send(client, "PROBE:0:noop\n", 13, MSG_NOSIGNAL), 13);
	end_of(pid);
	cr_expect_eq(read_all(&r), 0);
	cr_expect_eq(unlink(path), 0);
	cr_expect_eq(unlink(tracker), 0);
}

/* A full one hinders nobody, and what is old makes room. */
Test(slate, a_full_one_is_no_hindrance)
{
	AUTO_FREE char *path = shm_file();
	AUTO_CLOSE int fd = slate_make(folder, geteuid());
	struct track_registry r = { 0 };
	struct slate_place full = { .taken = UINT64_MAX >> 1 | 1 };

	for (unsigned i = 0; i < SLATE_PLACES; i++)
		cr_assert_eq(pwrite(fd, &full, sizeof(full), (off_t)(i * sizeof(full))),
			     sizeof(full));
	make_with_shim(path);
	cr_expect_eq(read_all(&r), 0);
	cr_expect_eq(unlink(path), 0);
	full.taken = 1;
	for (unsigned i = 0; i < SLATE_PLACES; i++)
		cr_assert_eq(pwrite(fd, &full, sizeof(full), (off_t)(i * sizeof(full))),
			     sizeof(full));
	make_with_shim(path);
	cr_expect_eq(read_all(&r), 1);
	cr_expect_eq(unlink(path), 0);
	track_registry_fini(&r);
}

Test(slate, garbage_is_not_believed)
{
	AUTO_FREE char *path = xasprintf("%s/" SLATE_NAME "%u", folder, geteuid() + 1);
	AUTO_CLOSE int fd = slate_make(folder, geteuid());
	static struct slate_place places[SLATE_PLACES];
	struct track_registry r = { 0 };

	for (unsigned seed = 0; seed < 50; seed++) {
		unsigned char *p = (unsigned char *)places;

		srand(seed);
		for (size_t i = 0; i < sizeof(places); i++)
			p[i] = (unsigned char)rand();
		cr_assert_eq(pwrite(fd, places, sizeof(places), 0), sizeof(places));
		cr_expect_eq(read_all(&r), 0);
	}
	memset(places, 0, sizeof(places));
	places[0].taken = 1;
	places[0].pid = 1;
	strcpy(places[0].line, "UNREGISTER:/x:semaphore\n");
	places[0].length = (uint32_t)strlen(places[0].line);
	places[1] = places[0];
	strcpy(places[1].line, "REGISTER:/x:semaphore\n");
	places[1].length = SLATE_LINE_MAX + 1;
	cr_assert_eq(pwrite(fd, places, sizeof(places), 0), sizeof(places));
	cr_expect_eq(read_all(&r), 0);
	/* A file that is not of the user in whose name it speaks. */
	places[1].length = (uint32_t)strlen(places[1].line);
	cr_assert_eq(pwrite(fd, places, sizeof(places), 0), sizeof(places));
	cr_expect_eq(read_all(&r), 1);
	track_registry_fini(&r);
	r = (struct track_registry){ 0 };
	cr_assert_eq(ftruncate(fd, 0), 0);
	fd_close(&fd);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_eq(write(fd, places, sizeof(places)), sizeof(places));
	cr_expect_eq(read_all(&r), 0);
	track_registry_fini(&r);
}

/* Such as no process has and no clock tells: who calculates with them would go wrong. */
Test(slate, numbers_that_cannot_be_are_not_believed)
{
	static const struct {
		int64_t told_ns;
		int32_t pid;
	} rows[] = { { INT64_MIN, 1 }, { -1, 1 }, { INT64_MAX, 1 }, { 1, 0 }, { 1, -1 } };
	AUTO_CLOSE int fd = slate_make(folder, geteuid());
	struct track_registry r = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct slate_place place = { .taken = 1,
					     .told_ns = rows[i].told_ns,
					     .pid = rows[i].pid,
					     .line = "REGISTER:/x:semaphore\n" };

		place.length = (uint32_t)strlen(place.line);
		cr_assert_eq(pwrite(fd, &place, sizeof(place), 0), sizeof(place));
		cr_expect_eq(read_all(&r), 0, "row %zu", i);
	}
	track_registry_fini(&r);
}
