/*
 * Leftovers of instances that are dead, and nothing of those that are not.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mtime.h"
#include "proc/tag.h"
#include "track/journal.h"
#include "track/slate.h"
#include "track/sweep.h"

static char base[256];
static struct buf told;
static struct track_owner web = { .name = "web" }, nameless;

static void on_object(const struct track_record *record, enum object_state state, const char *who,
		      void *user)
{
	static const char *const states[] = { "absent", "foreign", "used", "free", "unknown" };

	cr_expect_eq(user, &told);
	buf_addf(&told, "%s %s %s\n", strrchr(record->name, '-'), states[state], who);
}

static struct track_sweep how = { .tell = on_object, .user = &told };

static void init(void)
{
	const char *tmp = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";

	snprintf(base, sizeof(base), "%s/mpsup-test-XXXXXX", tmp);
	cr_assert_not_null(mkdtemp(base));
}

static void fini(void)
{
	buf_fini(&told);
	cr_expect_eq(rmdir(base), 0, "all that was made is gone again");
}

static const char *in_base(const char *name, const char *file)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/%s%s%s", base, name, file[0] != '\0' ? "/" : "", file);
	return path;
}

static const char *name_of(const char *suffix)
{
	static char text[64];

	snprintf(text, sizeof(text), "/mpsup-test-%d-%s", getpid(), suffix);
	return text;
}

static void make(const char *suffix)
{
	AUTO_FREE char *path = object_path(TRACK_SHARED_MEMORY, name_of(suffix));
	AUTO_CLOSE int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
}

static bool is_there(const char *suffix)
{
	AUTO_FREE char *path = object_path(TRACK_SHARED_MEMORY, name_of(suffix));

	return access(path, F_OK) == 0;
}

static void remove_it(const char *suffix)
{
	AUTO_FREE char *path = object_path(TRACK_SHARED_MEMORY, name_of(suffix));

	cr_expect_eq(unlink(path), 0, "%s", suffix);
}

/* ---------------------------------------------------------------------------------------------- an instance */

struct instance {
	const char *name;
	struct track_registry r;
	struct track_journal j;
	pid_t keeper;
};

static void begin(struct instance *i, const char *name)
{
	*i = (struct instance){ .name = name, .keeper = fork() };
	if (i->keeper == 0)
		for (;;)
			pause();
	cr_assert_eq(mkdir(in_base(name, ""), 0700), 0);
	cr_assert_eq(track_journal_open(&i->j, in_base(name, "ipc.journal"), name, i->keeper,
					&i->r),
		     0);
}

static struct track_record *tell(struct instance *i, struct track_owner *owner,
				 enum track_type type, const char *name)
{
	struct track_creator c = { .pid = i->keeper, .uid = getuid(), .start = 1 };
	struct track_record *r = track_add(&i->r, owner, type, name, strlen(name), &c);

	cr_assert_not_null(r);
	object_settle(r);
	track_journal_add(&i->j, r);
	return r;
}

static void kill_keeper(struct instance *i)
{
	kill(i->keeper, SIGKILL);
	cr_assert_eq(waitpid(i->keeper, NULL, 0), i->keeper);
}

/* Its files are as a kill leaves them. */
static void end(struct instance *i)
{
	cr_assert_eq(track_journal_flush(&i->j, &i->r), 0);
	track_journal_close(&i->j, false);
	track_registry_fini(&i->r);
}

static bool has_journal(const char *name)
{
	return access(in_base(name, "ipc.journal"), F_OK) == 0;
}

static void expect_told(const char *lines)
{
	cr_expect_str_eq(told.p != NULL ? told.p : "", lines);
	buf_reset(&told);
}

/* ---------------------------------------------------------------------------------------------------- tests */

Test(track_sweep, what_is_free_goes_and_what_is_used_stays, .init = init, .fini = fini)
{
	AUTO_FREE char *path = object_path(TRACK_SHARED_MEMORY, name_of("used"));
	struct track_record *r;
	struct instance i;
	int fd;

	begin(&i, "a");
	make("free");
	tell(&i, &web, TRACK_SHARED_MEMORY, name_of("free"));
	tell(&i, &web, TRACK_SHARED_MEMORY, name_of("never"));
	make("other");
	r = tell(&i, &web, TRACK_SHARED_MEMORY, name_of("other"));
	r->identity.ino++;
	track_journal_add(&i.j, r);
	end(&i);
	cr_expect_eq(track_sweep_all(base, &how), 0, "its keeper runs");
	kill_keeper(&i);
	how.dry_run = true;
	cr_expect_eq(track_sweep_all(base, &how), 1);
	expect_told("-free free web\n");
	cr_expect(is_there("free") && has_journal("a"));
	how.dry_run = false;
	cr_expect_eq(track_sweep_all(base, &how), 1);
	expect_told("-free free web\n");
	cr_expect(!is_there("free") && is_there("other") && !has_journal("a"));
	remove_it("other");
	cr_expect_eq(track_sweep_all(base, &how), 0);
	cr_assert_eq(rmdir(in_base("a", "")), 0);

	begin(&i, "b");
	make("used");
	make("free");
	tell(&i, &nameless, TRACK_SHARED_MEMORY, name_of("used"));
	tell(&i, &web, TRACK_SHARED_MEMORY, name_of("free"));
	end(&i);
	kill_keeper(&i);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	how.tell = NULL;
	cr_expect_eq(track_sweep_journal(in_base("b", "ipc.journal"), &how), 0);
	how.tell = on_object;
	cr_expect(!is_there("free") && is_there("used") && has_journal("b"));
	cr_expect_eq(track_sweep_all(base, &how), 1);
	expect_told("-used used b\n"); /* the other one is not told of again */
	close(fd);
	cr_expect_eq(track_sweep_all(base, &how), 1);
	expect_told("-used free b\n");
	cr_expect(!is_there("used") && !has_journal("b"));
	cr_assert_eq(rmdir(in_base("b", "")), 0);
}

/* A process with the mark of that keeper, as its programs hand it on. */
static pid_t descendant(pid_t keeper)
{
	struct rlimit r;
	int ends[2];
	pid_t pid;
	char c;

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		getrlimit(RLIMIT_LOCKS, &r);
		r.rlim_cur = tag_make(tag_keeper_id(keeper), 3, 1);
		if (setrlimit(RLIMIT_LOCKS, &r) == 0 && write(ends[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(ends[1]);
	cr_assert_eq(read(ends[0], &c, 1), 1);
	close(ends[0]);
	return pid;
}

/* Waits for none: it is dead when the sweep is over. */
static bool has_ended(pid_t pid)
{
	siginfo_t si = { 0 };

	cr_assert_eq(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT), 0);
	return si.si_pid == pid;
}

static void end_process(pid_t pid)
{
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

/* A sweep removes a journal in which nothing is left. */
static void write_journal(const char *text, size_t n)
{
	AUTO_CLOSE int fd =
		open(in_base("a", "ipc.journal"), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	cr_assert_eq(fd_write_all(fd, text, n), 0);
}

static void make_socket(void)
{
	AUTO_CLOSE int fd = open(in_base("a", "ipc.sock"), O_CREAT | O_CLOEXEC | O_WRONLY, 0600);

	cr_assert_geq(fd, 0);
}

static size_t n_killed;

static void on_killed(size_t n, const char *who, void *user)
{
	(void)user;
	cr_expect_str_eq(who, "a");
	n_killed += n;
}

Test(track_sweep, processes_of_one_that_was_killed_are_ended_and_of_no_other, .init = init,
     .fini = fini)
{
	struct track_sweep sweep = { .killed = on_killed };
	AUTO_FREE char *text = NULL;
	size_t n;
	pid_t left, other;
	struct instance i;

	begin(&i, "a");
	end(&i);
	cr_assert_geq(fd_read_file(in_base("a", "ipc.journal"), 4096, &text, &n), 0);
	left = descendant(i.keeper);
	other = descendant(getpid());
	make_socket();
	cr_expect_eq(track_sweep_all(base, &sweep), 0, "its keeper runs");
	cr_expect(!has_ended(left));
	kill_keeper(&i);

	sweep.dry_run = true;
	cr_expect_eq(track_sweep_all(base, &sweep), 1);
	sweep.dry_run = false;
	sweep.older_than_ns = 1;
	cr_expect_eq(track_sweep_all(base, &sweep), 1);
	sweep.older_than_ns = 0;
	write_journal(text, n);
	cr_expect_eq(track_sweep_all(base, &sweep), 1);
	cr_expect(!has_ended(left), "its keeper has ended by itself: that is without a socket");

	write_journal(text, n);
	make_socket();
	cr_expect_eq(track_sweep_all(base, &sweep), 1);
	cr_expect(has_ended(left) && !has_ended(other));
	cr_expect_eq(n_killed, 1);
	end_process(left);
	end_process(other);
	cr_expect(!has_journal("a"));
	cr_assert_eq(rmdir(in_base("a", "")), 0);
}

/* Whoever can write a journal can name any keeper in it that is dead, and so the mark of any that lives. */
Test(track_sweep, a_journal_of_a_user_ends_no_processes_of_others, .init = init, .fini = fini)
{
	struct track_sweep sweep = { .killed = on_killed };
	struct instance i;
	pid_t other;

	if (getuid() != 0)
		cr_skip_test("for root");
	begin(&i, "a");
	end(&i);
	other = descendant(i.keeper);
	make_socket();
	kill_keeper(&i);
	cr_assert_eq(chown(in_base("a", ""), 54329, 54329), 0);
	cr_assert_eq(chown(in_base("a", "ipc.journal"), 54329, 54329), 0);
	cr_expect_eq(track_sweep_all(base, &sweep), 1);
	cr_expect(!has_ended(other));
	cr_expect_eq(n_killed, 0);
	end_process(other);
	cr_assert_eq(rmdir(in_base("a", "")), 0);
}

Test(track_sweep, one_whose_lock_is_held_is_left_alone, .init = init, .fini = fini)
{
	struct instance i;
	int lock;

	begin(&i, "a");
	make("x");
	tell(&i, &web, TRACK_SHARED_MEMORY, name_of("x"));
	end(&i);
	kill_keeper(&i);
	lock = open(in_base("a", "lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_eq(flock(lock, LOCK_EX), 0);
	cr_expect_eq(track_sweep_all(base, &how), 0);
	cr_expect(is_there("x") && has_journal("a"));
	cr_expect_eq(track_sweep_journal(in_base("a", "ipc.journal"), &how), 0, "by its own");
	cr_expect(!is_there("x") && !has_journal("a"));
	close(lock);
	cr_assert_eq(unlink(in_base("a", "lock")), 0);
	cr_assert_eq(rmdir(in_base("a", "")), 0);
}

/* Of two that look for its users at a time each would be one for the other. */
Test(track_sweep, several_sweeps_at_a_time_leave_nothing, .init = init, .fini = fini)
{
	struct instance i;

	for (int round = 0; round < 50; round++) {
		begin(&i, "a");
		make("x");
		make("y");
		tell(&i, &web, TRACK_SHARED_MEMORY, name_of("x"));
		tell(&i, &web, TRACK_SHARED_MEMORY, name_of("y"));
		end(&i);
		kill_keeper(&i);
		for (int k = 0; k < 4; k++)
			if (fork() == 0)
				_exit(track_sweep_all(base, &how) < 0);
		while (wait(NULL) > 0)
			;
		cr_expect(!is_there("x") && !is_there("y") && !has_journal("a"));
		cr_assert_eq(rmdir(in_base("a", "")), 0);
	}
}

Test(track_sweep, only_what_is_old_enough, .init = init, .fini = fini)
{
	struct instance i;

	begin(&i, "a");
	make("old");
	make("new");
	tell(&i, &web, TRACK_SHARED_MEMORY, name_of("old"))->told_ns -= 3600 * MPS_NS_PER_S;
	track_journal_add(&i.j, web.first);
	tell(&i, &web, TRACK_SHARED_MEMORY, name_of("new"));
	end(&i);
	kill_keeper(&i);
	how.older_than_ns = 600 * MPS_NS_PER_S;
	cr_expect_eq(track_sweep_all(base, &how), 1);
	expect_told("-old free web\n");
	cr_expect(!is_there("old") && is_there("new") && has_journal("a"));
	how.older_than_ns = 0;
	cr_expect_eq(track_sweep_all(base, &how), 1);
	expect_told("-new free web\n");
	cr_assert_eq(rmdir(in_base("a", "")), 0);
}

Test(track_sweep, a_torn_last_line_stays_torn, .init = init, .fini = fini)
{
	struct instance i;
	AUTO_CLOSE int held = -1;
	AUTO_FREE char *path = object_path(TRACK_SHARED_MEMORY, name_of("used"));
	int fd;

	begin(&i, "a");
	make("used");
	make("free");
	tell(&i, &web, TRACK_SHARED_MEMORY, name_of("used"));
	tell(&i, &web, TRACK_SHARED_MEMORY, name_of("free"));
	end(&i);
	kill_keeper(&i);
	fd = open(in_base("a", "ipc.journal"), O_WRONLY | O_APPEND | O_CLOEXEC);
	dprintf(fd, "- shared_memory %s", name_of("used")); /* of a longer name, "used-not" */
	close(fd);
	held = open(path, O_RDONLY | O_CLOEXEC);
	for (int round = 0; round < 2; round++) {
		cr_expect_eq(track_sweep_all(base, &how), 1);
		buf_reset(&told);
		cr_expect(has_journal("a"));
	}
	fd_close(&held);
	cr_expect_eq(track_sweep_all(base, &how), 1);
	expect_told("-used free web\n");
	cr_assert_eq(rmdir(in_base("a", "")), 0);
}

/* Told of by its key, and its maker was killed before he could tell the id; nobody else's goes. */
Test(track_sweep, what_has_no_id_yet_is_found_by_its_key, .init = init, .fini = fini)
{
	key_t key = (key_t)(0x6e000000 + getpid());
	int other = shmget(IPC_PRIVATE, 1, 0600), made;
	struct instance i;
	char name[16];

	begin(&i, "a");
	snprintf(name, sizeof(name), "k%08x", (unsigned)key);
	tell(&i, &web, TRACK_SYSV_SHM, name);
	made = shmget(key, 1, IPC_CREAT | IPC_EXCL | 0600);
	cr_assert_geq(made, 0);
	end(&i);
	kill_keeper(&i);
	how.tell = NULL;
	cr_expect_eq(track_sweep_all(base, &how), 1);
	how.tell = on_object;
	cr_expect_eq(shmctl(made, IPC_RMID, NULL), -1, "it is gone already");
	cr_expect_eq(shmctl(other, IPC_RMID, NULL), 0, "and the other is not");
	cr_expect(!has_journal("a"));
	cr_assert_eq(rmdir(in_base("a", "")), 0);
}

static void make_file(const char *path, const char *link_to)
{
	AUTO_CLOSE int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, 32), 0);
	if (link_to != NULL)
		cr_assert_eq(link(path, link_to), 0);
}

/* As sem_open(3) leaves it before it has linked it, and after. */
Test(track_sweep, what_a_killed_sem_open_leaves_goes, .init = init, .fini = fini)
{
	AUTO_FREE char *path = object_path(TRACK_SEMAPHORE, name_of("linked"));
	char before[32], after[32], others[32];
	struct instance i;

	snprintf(before, sizeof(before), "/dev/shm/sem.a%05d", getpid() % 100000);
	snprintf(after, sizeof(after), "/dev/shm/sem.b%05d", getpid() % 100000);
	snprintf(others, sizeof(others), "/dev/shm/sem.c%06d", getpid() % 1000000);
	begin(&i, "a");
	make_file(before, NULL);
	make_file(after, path);
	make_file(others, NULL);
	tell(&i, &web, TRACK_SEMAPHORE, name_of("unseen"));
	tell(&i, &web, TRACK_SEMAPHORE, name_of("linked"));
	end(&i);
	kill_keeper(&i);
	how.tell = NULL;
	cr_expect_eq(track_sweep_all(base, &how), 1);
	how.tell = on_object;
	cr_expect_neq(access(before, F_OK), 0);
	cr_expect_neq(access(after, F_OK), 0);
	cr_expect_neq(access(path, F_OK), 0);
	cr_expect_eq(unlink(others), 0, "its name is another");
	cr_expect(!has_journal("a"));
	cr_assert_eq(rmdir(in_base("a", "")), 0);
}

static void put_journal(const char *name, const char *text)
{
	AUTO_CLOSE int fd = -1;

	cr_assert_eq(mkdir(in_base(name, ""), 0700), 0);
	fd = open(in_base(name, "ipc.journal"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_eq(fd_write_all(fd, text, strlen(text)), 0);
}

Test(track_sweep, what_else_lies_there, .init = init, .fini = fini)
{
	static const char boot[] = "mpsup-journal 1 00000000-0000-0000-0000-000000000000 1 1 x\n";
	static const struct {
		const char *name, *text;
		bool goes;
	} rows[] = {
		{ "other-boot", boot, true },
		{ "empty", "", true },
		{ "none", "[supervisord]\n", false },
		{ "whole", "x", true }, /* a head that was torn */
	};

	cr_expect_eq(track_sweep_all(in_base("nowhere", ""), &how), 0);
	cr_expect_eq(track_sweep_journal(in_base("nowhere", "x"), &how), -ENOENT);
	cr_assert_eq(mkdir(in_base("nothing", ""), 0700), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		put_journal(rows[i].name, rows[i].text);
	put_journal("strange", "");
	if (geteuid() == 0)
		cr_assert_eq(chown(in_base("strange", "ipc.journal"), 12345, 12345), 0);
	cr_expect_eq(track_sweep_all(base, &how), 3 + (geteuid() != 0));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_expect_eq(!has_journal(rows[i].name), rows[i].goes, "%s", rows[i].name);
		unlink(in_base(rows[i].name, "ipc.journal"));
		rmdir(in_base(rows[i].name, ""));
	}
	cr_expect_eq(has_journal("strange"), geteuid() == 0);
	unlink(in_base("strange", "ipc.journal"));
	rmdir(in_base("strange", ""));
	rmdir(in_base("nothing", ""));
	expect_told("");
}

/* One place of the slate, as the shim writes it. */
static void write_slate(const char *name, unsigned place, const char *suffix)
{
	AUTO_CLOSE int fd = open(in_base(name, ""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *file = NULL;
	AUTO_CLOSE int slate = -1;
	struct slate_place p = { .taken = 1, .told_ns = mps_wall().ns, .pid = getpid() };

	p.length = (uint32_t)snprintf(p.line, sizeof(p.line), "REGISTER:%s:shared_memory\n",
				      name_of(suffix));
	cr_assert_gt(asprintf(&file, SLATE_NAME "%u", geteuid()), 0);
	slate = openat(fd, file, O_WRONLY | O_CLOEXEC);
	cr_assert_eq(pwrite(slate, &p, sizeof(p), (off_t)(place * sizeof(p))), sizeof(p));
}

/* What only a slate tells of goes as well; what stays of it is in the journal then, and the slate is read once. */
Test(track_sweep, slates_are_read_once, .init = init, .fini = fini)
{
	AUTO_FREE char *path = object_path(TRACK_SHARED_MEMORY, name_of("used"));
	struct instance i;
	int fd;

	begin(&i, "a");
	make("before");
	make("again");
	tell(&i, &web, TRACK_SHARED_MEMORY, name_of("again"));
	remove_it("again");
	fd = slate_make(in_base("a", ""), geteuid());
	cr_assert_geq(fd, 0);
	close(fd);
	end(&i);
	kill_keeper(&i);
	/* What is older than that was there before it was told of. */
	poll(NULL, 0, MPS_COARSE_LAG_NS / MPS_NS_PER_MS + 1);
	write_slate("a", 0, "free");
	write_slate("a", 1, "used");
	write_slate("a", 2, "before");
	write_slate("a", 3, "never");
	write_slate("a", 4, "again"); /* the one that the journal tells of was unlinked before */
	make("free");
	make("used");
	make("again");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	how.dry_run = true;
	cr_expect_eq(track_sweep_all(base, &how), 1);
	buf_reset(&told); /* in any order */
	how.dry_run = false;
	how.tell = NULL;
	cr_expect_eq(track_sweep_all(base, &how), 1);
	how.tell = on_object;
	cr_expect(!is_there("free") && is_there("used") && is_there("before") && has_journal("a"));
	cr_expect(!is_there("again"));
	make("never"); /* somebody else's, later */
	close(fd);
	cr_expect_eq(track_sweep_all(base, &how), 1);
	expect_told("-used free a\n");
	cr_expect(!is_there("used") && is_there("never") && !has_journal("a"));
	remove_it("before");
	remove_it("never");
	cr_assert_eq(rmdir(in_base("a", "")), 0, "the slate is gone");
}
