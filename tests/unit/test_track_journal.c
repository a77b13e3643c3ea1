/*
 * The journal: what is written is read again, whatever has happened to it meanwhile.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "proc/tree.h"
#include "track/journal.h"

static char folder[256], path[300];
static struct track_registry registry, again;
static struct track_owner web = { .name = "web" }, odd = { .name = "a b:%\n\xff" };
static struct track_journal journal = TRACK_JOURNAL_INIT;
static struct track_heir heir;

static void init(void)
{
	const char *base = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";

	snprintf(folder, sizeof(folder), "%s/mpsup-test-XXXXXX", base);
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/journal", folder);
}

static void fini(void)
{
	track_journal_close(&journal, true);
	track_registry_fini(&registry);
	track_registry_fini(&again);
	track_heir_fini(&heir);
	unlink(path);
	cr_expect_eq(rmdir(folder), 0, "nothing else is left");
}

static struct track_record *add(struct track_owner *owner, enum track_type type, const char *name)
{
	struct track_creator c = { .pid = 4203, .uid = getuid(), .start = 77 };
	struct track_record *r;

	r = track_add(&registry, owner, type, name, strlen(name), &c);
	cr_assert_not_null(r);
	r->identity = (struct track_identity){ .ino = 12, .born_ns = 345 };
	track_journal_add(&journal, r);
	return r;
}

static void drop(enum track_type type, const char *name)
{
	struct track_record *r = track_find(&registry, type, name, strlen(name));

	track_journal_remove(&journal, r);
	track_remove(&registry, r);
}

static int flush(void)
{
	int r;

	while ((r = track_journal_flush(&journal, &registry)) > 0)
		;
	return r;
}

static void read_again(void)
{
	track_registry_fini(&again);
	track_heir_fini(&heir);
	cr_assert_eq(track_journal_read(path, &again, &heir), 0);
}

static void expect_same_record(const struct track_record *r)
{
	const struct track_record *a;

	a = track_find(&again, r->type, r->name, r->name_length);
	cr_assert_not_null(a, "%s", r->name);
	cr_expect_eq(memcmp(&a->creator, &r->creator, sizeof(r->creator)), 0);
	cr_expect_eq(memcmp(&a->identity, &r->identity, sizeof(r->identity)), 0);
	cr_expect_eq(a->told_ns, r->told_ns);
	cr_expect_str_eq(a->owner->name, r->owner->name != NULL ? r->owner->name : "");
}

/* What is read is what the registry holds. */
static void expect_same(void)
{
	read_again();
	cr_assert_eq(again.n, registry.n, "%zu, not %zu", again.n, registry.n);
	for (size_t i = 0; i < registry.n_buckets; i++)
		for (struct track_record *r = registry.buckets[i]; r; r = r->next_in_bucket)
			expect_same_record(r);
}

static void put(const char *text, size_t n)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert_eq(fd_write_all(fd, text, n), 0);
}

Test(track_journal, what_is_written_is_read, .init = init, .fini = fini)
{
	struct track_owner nameless = { 0 };
	struct proc_stat st;
	struct stat mode;

	add(&web, TRACK_SEMAPHORE, "/before");
	cr_assert_eq(track_journal_open(&journal, path, "in stance\n", getpid(), &registry), 0);
	expect_same();
	cr_expect_str_eq(heir.who, "in stance\n");
	cr_expect_eq(heir.keeper, getpid());
	cr_assert_eq(proc_stat_read(getpid(), &st), 0);
	cr_expect_eq(heir.keeper_start, st.start_ticks);
	cr_expect(!heir.other_boot);
	cr_expect(track_heir_has_keeper(&heir));
	heir.keeper_start++;
	cr_expect(!track_heir_has_keeper(&heir), "another one with its number");
	cr_assert_eq(stat(path, &mode), 0);
	cr_expect_eq(mode.st_mode & 0777, 0600);

	add(&odd, TRACK_SHARED_MEMORY, "/a:b\n%\xc3\xa4\xff c/d");
	add(&web, TRACK_SYSV_SHM, "32770");
	add(&web, TRACK_SYSV_SHM, "k0052e2c1");
	add(&nameless, TRACK_FOLDER, "/tmp/x");
	drop(TRACK_SEMAPHORE, "/before");
	cr_assert_eq(flush(), 0);
	expect_same();
	track_give(track_find(&registry, TRACK_SYSV_SHM, "32770", 5),
		   &odd); /* it is another's now */
	track_journal_add(&journal, odd.first);
	add(&web, TRACK_SEMAPHORE, "/many"); /* those of one name go one by one */
	add(&web, TRACK_SEMAPHORE, "/many");
	drop(TRACK_SEMAPHORE, "/many");
	cr_assert_eq(flush(), 0);
	expect_same();
	cr_expect_eq(registry.n, 5);
	track_registry_fini(&registry);
}

Test(track_journal, a_torn_record_is_left_out_wherever_it_is_torn, .init = init, .fini = fini)
{
	AUTO_FREE char *text = NULL;
	size_t n, whole[8], lines = 0;

	cr_assert_eq(track_journal_open(&journal, path, "x", getpid(), &registry), 0);
	add(&web, TRACK_SEMAPHORE, "/one");
	add(&odd, TRACK_FILE, "/two:%");
	drop(TRACK_SEMAPHORE, "/one");
	add(&web, TRACK_SEMAPHORE, "/o");
	cr_assert_eq(flush(), 0);
	cr_assert_eq(fd_read_file(path, 4096, &text, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (text[i] == '\n')
			whole[lines++] = i + 1;
	cr_assert_eq(lines, 5);
	for (size_t cut = 0; cut <= n; cut++) {
		static const size_t records[] = { 0, 0, 1, 2, 1, 2 };
		size_t k = 0;

		while (k < lines && whole[k] <= cut)
			k++;
		put(text, cut);
		read_again();
		cr_expect_eq(again.n, records[k], "cut at %zu", cut);
		/* And whoever goes on writing to it does not complete it. */
		if (k > 0 && cut > whole[k - 1]) {
			AUTO_CLOSE int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

			cr_assert_eq(fd_write_all(fd, " %\n", 3), 0);
			read_again();
			cr_expect_eq(again.n, records[k], "cut at %zu and spoilt", cut);
		}
	}
}

Test(track_journal, what_cannot_be_read_is_left_out, .init = init, .fini = fini)
{
	static const char *const junk[] = {
		"",
		"x",
		"+",
		"+ ",
		"+ semaphore",
		"+ semaphore /x",
		"+ semaphore /x 1 2 3 4 5 6", /* fine, but for its owner's name, and its user */
		"+ semaphore /x 1 0 3 4 5 -6 web",
		"+ semaphore /x 1 0 3 4 5 6 web more",
		"+ semaphore /x 1 0 3 4 5 18446744073709551616 web",
		"+ semaphore /x 99999999999 0 3 4 5 6 web",
		"+ semaphore x 1 0 3 4 5 6 web",
		"+ semaphore /%2 1 0 3 4 5 6 web",
		"+ semaphore /%00 1 0 3 4 5 6 web",
		"+ shared_memory /../../etc/passwd 1 0 3 4 5 6 web",
		"+ file /a//b 1 0 3 4 5 6 web",
		"+ sysv_shm x 1 0 3 4 5 6 web",
		"+ nothing /x 1 0 3 4 5 6 web",
		"- semaphore /good more",
		"- semaphore /goo",
		"* semaphore /good",
		"mpsup-journal 1 x 1 1 x",
	};
	AUTO_FREE char *head = NULL;
	size_t n;

	cr_assert_eq(track_journal_open(&journal, path, "x", getpid(), &registry), 0);
	add(&web, TRACK_SEMAPHORE, "/good");
	cr_assert_eq(flush(), 0);
	cr_assert_eq(fd_read_file(path, 4096, &head, &n), 0);
	for (size_t i = 0; i < ARRAY_SIZE(junk); i++) {
		AUTO_BUF b = BUF_INIT;

		buf_addf(&b, "%s%s\n", head, junk[i]);
		put(b.p, b.len);
		read_again();
		cr_expect_eq(again.n, 1 + (i == 6 && geteuid() == 0), "%s", junk[i]);
	}
	track_registry_fini(&registry);
}

Test(track_journal, one_of_another_boot_tells_nothing, .init = init, .fini = fini)
{
	static const char text[] = "mpsup-journal 1 00000000-0000-0000-0000-000000000000 1 1 web\n"
				   "+ semaphore /x 1 0 3 4 5 6 web\n";

	put(text, strlen(text));
	read_again();
	cr_expect(heir.other_boot);
	cr_expect(!track_heir_has_keeper(&heir));
	cr_expect_eq(again.n, 0);
}

Test(track_journal, what_is_none, .init = init, .fini = fini)
{
	static const char *const none[] = { "x\n", "\n", "mpsup-journal 2 x 1 1 web\n",
					    "mpsup-journal 1\n", "[program:x]\ncommand=y\n" };

	cr_expect_eq(track_journal_read(path, &again, &heir), -ENOENT);
	put("", 0);
	read_again();
	cr_expect_null(heir.who, "an empty one is one that has not begun");
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		put(none[i], strlen(none[i]));
		cr_expect_eq(track_journal_read(path, &again, &heir), -EBADMSG, "%s", none[i]);
	}
	unlink(path);
	cr_assert_eq(symlink("/etc/passwd", path), 0);
	cr_expect_eq(track_journal_read(path, &again, &heir), -ELOOP);
	cr_expect_eq(track_journal_read(folder, &again, &heir), -EBADMSG);
}

Test(track_journal, a_users_journal_tells_of_their_objects_only, .init = init, .fini = fini)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
	cr_assert_eq(track_journal_open(&journal, path, "x", getpid(), &registry), 0);
	add(&web, TRACK_SEMAPHORE, "/roots");
	add(&web, TRACK_SEMAPHORE, "/theirs")->creator.uid = 12345;
	track_journal_add(&journal, track_find(&registry, TRACK_SEMAPHORE, "/theirs", 7));
	cr_assert_eq(flush(), 0);
	expect_same();
	cr_assert_eq(chown(path, 12345, 12345), 0);
	read_again();
	cr_expect_eq(again.n, 1);
	cr_expect_not_null(track_find(&again, TRACK_SEMAPHORE, "/theirs", 7));
	track_registry_fini(&registry);
}

static off_t size_of_file(void)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	return st.st_size;
}

Test(track_journal, it_is_written_anew_while_it_changes, .init = init, .fini = fini)
{
	off_t largest = 0;
	unsigned pieces = 0;
	char name[32];

	cr_assert_eq(track_journal_open(&journal, path, "x", getpid(), &registry), 0);
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "/stays-%d", i);
		add(&web, TRACK_SEMAPHORE, name);
	}
	for (int i = 0; i < 60000; i++) {
		snprintf(name, sizeof(name), "/goes-%d", i);
		add(&odd, TRACK_SEMAPHORE, name);
		if (i >= 500) {
			snprintf(name, sizeof(name), "/goes-%d", i - 500);
			drop(TRACK_SEMAPHORE, name);
		}
		if (i % 10 != 0)
			continue;
		pieces += track_journal_flush(&journal, &registry) > 0;
		if (size_of_file() > largest)
			largest = size_of_file();
		if (i % 5000 == 0 || journal.fresh_fd >= 0)
			expect_same(); /* the old one is whole as long as it is there */
	}
	cr_assert_eq(flush(), 0);
	expect_same();
	cr_expect_gt(pieces, 3, "it is written in pieces");
	cr_expect_lt(largest, 3 << 20, "and does not grow for ever: %ld", (long)largest);
	cr_expect_eq(registry.pinned, 0);
	track_registry_fini(&registry);
}

static void limit_files(rlim_t size)
{
	struct rlimit r;

	getrlimit(RLIMIT_FSIZE, &r);
	r.rlim_cur = size;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* A limit on files stands for the full disk: it too writes a part, then nothing. */
Test(track_journal, a_full_disk_tears_nothing_and_is_made_good, .init = init, .fini = fini)
{
	char name[64];

	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(track_journal_open(&journal, path, "x", getpid(), &registry), 0);
	add(&web, TRACK_SEMAPHORE, "/first");
	cr_assert_eq(flush(), 0);
	limit_files((rlim_t)size_of_file() + 50);
	add(&web, TRACK_SEMAPHORE, "/second");
	cr_expect_eq(flush(), -EFBIG);
	read_again();
	cr_expect_eq(again.n, 1);
	limit_files(RLIM_INFINITY);
	cr_expect_eq(flush(), 0, "it goes on where it was");
	expect_same();

	limit_files((rlim_t)size_of_file() + 50);
	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "/%060d", i);
		add(&web, TRACK_SEMAPHORE, name);
		if (i % 100 == 0)
			cr_assert_eq(flush(), -EFBIG);
	}
	cr_expect_leq(journal.out.len, TRACK_JOURNAL_BEHIND_MAX, "memory does not grow for ever");
	limit_files(RLIM_INFINITY);
	cr_expect_eq(flush(), 0);
	expect_same();
	track_registry_fini(&registry);
}

Test(track_journal, what_cannot_be_opened, .init = init, .fini = fini)
{
	cr_expect_eq(track_journal_open(&journal, "/nowhere/journal", "x", getpid(), &registry),
		     -ENOENT);
	cr_expect_eq(journal.fd, -1);
	cr_expect_eq(registry.pinned, 0);
	add(&web, TRACK_SEMAPHORE, "/x");
	cr_expect_eq(flush(), 0, "without one nothing is written");
	track_registry_fini(&registry);
}

/* At random moments of its life the writer is killed: what is read is what it held at some moment before. */
Test(track_journal, a_killed_writer_leaves_a_prefix_of_its_life, .init = init, .fini = fini)
{
	for (int round = 0; round < 30; round++) {
		int told[2], status;
		unsigned last = 0;
		pid_t pid;
		char name[32];

		cr_assert_eq(pipe(told), 0);
		pid = fork();
		if (pid == 0) {
			track_journal_open(&journal, path, "x", getpid(), &registry);
			for (unsigned i = 1;; i++) {
				snprintf(name, sizeof(name), "/%u", i);
				add(&web, TRACK_SEMAPHORE, name);
				if (i > 100) {
					snprintf(name, sizeof(name), "/%u", i - 100);
					drop(TRACK_SEMAPHORE, name);
				}
				if (track_journal_flush(&journal, &registry) < 0 ||
				    write(told[1], &i, sizeof(i)) != sizeof(i))
					_exit(1);
			}
		}
		close(told[1]);
		while (last < (unsigned)round * 300 + 7)
			cr_assert_eq(read(told[0], &last, sizeof(last)), (ssize_t)sizeof(last));
		kill(pid, SIGKILL);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		while (read(told[0], &last, sizeof(last)) > 0)
			;
		close(told[0]);
		read_again();
		snprintf(name, sizeof(name), "/%u", last);
		cr_expect(track_find(&again, TRACK_SEMAPHORE, name, strlen(name)) != NULL,
			  "%s was written before it was told", name);
		cr_expect_leq(again.n, 101);
		cr_expect(again.n >= 100 || last < 101);
	}
	{
		AUTO_FREE char *fresh = NULL;

		cr_assert_geq(asprintf(&fresh, "%s.new", path), 0);
		unlink(fresh);
	}
}
