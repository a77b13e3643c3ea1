/*
 * The tracker of programs without a supervisor, with the real mpsup-host: whoever is killed, what he has left goes, and what
 * is somebody else's stays.
 */
#include "../tracker_scene.h"

TestSuite(ipc_tracker, .init = set_up);

/* ------------------------------------------------------------------------------------------------------- death */

static void make_some(int n, const char *mark)
{
	static const char *const names[] = { "plain", "a:b", "new\nline", "%41 \xff" };

	(void)n;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		make(mark, names[i]);
}

Test(ipc_tracker, a_killed_program_leaves_nothing_whatever_the_names)
{
	struct program p;
	char mark[64];

	begin(&p, make_some, mark_of(mark, "kill"));
	step(&p);
	cr_expect(is_there(mark, "a:b") && is_there(mark, "new\nline"));
	reap(&p, SIGKILL);
	EVENTUALLY(!is_there(mark, "plain") && !is_there(mark, "a:b"));
	EVENTUALLY(!is_there(mark, "new\nline") && !is_there(mark, "%41 \xff"));
	EVENTUALLY(has_ended(&p));
}

Test(ipc_tracker, the_same_without_pidfds)
{
	struct program p;
	char mark[64];

	setenv("MPSUP_NO", "pidfd,memfd,tmpfile", 1);
	begin(&p, make_some, mark_of(mark, "nopidfd"));
	step(&p);
	cr_expect(is_there(mark, "a:b"));
	reap(&p, SIGKILL);
	EVENTUALLY(!is_there(mark, "plain") && !is_there(mark, "a:b"));
	EVENTUALLY(has_ended(&p));
}

static void make_one(int n, const char *mark)
{
	char what[16];

	snprintf(what, sizeof(what), "%d", n);
	make(mark, what);
}

Test(ipc_tracker, a_killed_tracker_forgets_nothing)
{
	struct program p;
	char mark[64];
	pid_t first, second;

	begin(&p, make_one, mark_of(mark, "again"));
	step(&p);
	first = tracker_of(&p);
	kill(first, SIGKILL);
	await_death(first);
	cr_expect(is_there(mark, "0"));
	step(&p);
	second = tracker_of(&p);
	cr_expect_neq(first, second);
	cr_expect(is_there(mark, "0") && is_there(mark, "1"));
	reap(&p, SIGKILL);
	EVENTUALLY(!is_there(mark, "0") && !is_there(mark, "1"));
	EVENTUALLY(has_ended(&p));
}

Test(ipc_tracker, both_killed_and_the_next_sweep_finds_it)
{
	const struct track_sweep all = { 0 };
	AUTO_FREE char *base = runtime_base();
	struct program p;
	char mark[64];
	pid_t tracker;

	begin(&p, make_one, mark_of(mark, "both"));
	step(&p);
	tracker = tracker_of(&p);
	kill(tracker, SIGKILL);
	await_death(tracker);
	track_sweep_all(base, &all);
	cr_expect(is_there(mark, "0"), "whose maker lives is left alone");
	reap(&p, SIGKILL);
	/* Another's sweep may have the folder in its hands at this moment; then ours leaves it to that. */
	EVENTUALLY((track_sweep_all(base, &all), !is_there(mark, "0") && has_ended(&p)));
}

Test(ipc_tracker, an_orderly_end_is_an_end)
{
	struct program p;
	char mark[64];

	begin(&p, make_one, mark_of(mark, "end"));
	step(&p);
	reap(&p, 0);
	EVENTUALLY(!is_there(mark, "0"));
	EVENTUALLY(has_ended(&p));
}

/* ------------------------------------------------------------------------------------------------------ others */

static void make_and_hold(int n, const char *mark)
{
	char room[128];
	struct mps_shm *shm;

	(void)n;
	if (mps_shm_create(own(room, mark, "0"), 4096, &shm) != 0)
		_exit(9);
}

static void attach(int n, const char *mark)
{
	char room[128];
	struct mps_shm *shm;

	if (n == 0 && mps_shm_open(own(room, mark, "0"), true, &shm) != 0)
		_exit(9);
	if (n == 0 && mps_shm_create(own(room, mark, "0"), 100, &shm) != -EEXIST)
		_exit(9);
	if (n == 1)
		make(mark, "own");
}

Test(ipc_tracker, who_only_attaches_takes_nothing_with_him)
{
	struct program maker, other;
	char mark[64];

	begin(&maker, make_and_hold, mark_of(mark, "attach"));
	step(&maker);
	begin(&other, attach, mark);
	step(&other);
	cr_expect_str_empty(other.socket, "nor does he need a tracker");
	step(&other);
	reap(&other, SIGKILL);
	EVENTUALLY(!is_there(mark, "own"));
	EVENTUALLY(has_ended(&other));
	cr_expect(is_there(mark, "0"));
	reap(&maker, SIGKILL);
	EVENTUALLY(!is_there(mark, "0"));
	EVENTUALLY(has_ended(&maker));
}

Test(ipc_tracker, what_others_use_stays)
{
	const struct track_sweep all = { 0 };
	AUTO_FREE char *base = runtime_base();
	struct program maker, other;
	char mark[64];
	pid_t tracker;

	begin(&maker, make_and_hold, mark_of(mark, "used"));
	step(&maker);
	begin(&other, attach, mark);
	step(&other);
	tracker = tracker_of(&maker);
	reap(&maker, SIGKILL);
	await_death(tracker);
	cr_expect(is_there(mark, "0"));
	reap(&other, SIGKILL);
	/* It is known to the next; another's may have the folder in its hands. */
	EVENTUALLY((track_sweep_all(base, &all), !is_there(mark, "0") && has_ended(&maker)));
}

static void family(int n, const char *mark)
{
	pid_t pid;

	if (n == 0) {
		make(mark, "parent");
		pid = fork();
		if (pid == 0) {
			make(mark, "child");
			raise(SIGKILL);
		}
		waitpid(pid, NULL, 0);
	}
}

Test(ipc_tracker, a_tree_has_one_and_each_process_its_own_end)
{
	struct program p;
	char mark[64];
	pid_t tracker;

	begin(&p, family, mark_of(mark, "family"));
	step(&p);
	tracker = tracker_of(&p);
	EVENTUALLY(!is_there(mark, "child"));
	cr_expect(is_there(mark, "parent"));
	cr_expect_eq(tracker_of(&p), tracker);
	reap(&p, SIGKILL);
	EVENTUALLY(!is_there(mark, "parent"));
	EVENTUALLY(has_ended(&p));
}

/* ----------------------------------------------------------------------------------------------------- threads */

enum { THREADS = 100 };

static const char *threads_mark;

static void *make_in_thread(void *user)
{
	make(threads_mark, user);
	return NULL;
}

static void make_in_threads(int n, const char *mark)
{
	static char what[THREADS][16];
	pthread_t threads[THREADS];

	(void)n;
	threads_mark = mark;
	for (int i = 0; i < THREADS; i++) {
		snprintf(what[i], sizeof(what[i]), "%d", i);
		if (pthread_create(&threads[i], NULL, make_in_thread, what[i]) != 0)
			_exit(8);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

Test(ipc_tracker, a_hundred_threads_start_one)
{
	struct program p;
	char mark[64], what[16];

	begin(&p, make_in_threads, mark_of(mark, "threads"));
	step(&p);
	for (int i = 0; i < THREADS; i++) {
		snprintf(what, sizeof(what), "%d", i);
		cr_expect(is_there(mark, what), "%d", i);
	}
	reap(&p, SIGKILL);
	for (int i = 0; i < THREADS; i++) {
		snprintf(what, sizeof(what), "%d", i);
		EVENTUALLY(!is_there(mark, what));
	}
	EVENTUALLY(has_ended(&p));
}

/* ------------------------------------------------------------------------------------------------------- words */

static volatile sig_atomic_t n_sigchld;

static void on_sigchld(int sig)
{
	(void)sig;
	n_sigchld++;
}

static void look_for_children(int n, const char *mark)
{
	(void)n;
	signal(SIGCHLD, on_sigchld);
	make(mark, "0");
	if (wait(NULL) >= 0 || errno != ECHILD || n_sigchld != 0)
		_exit(7);
}

Test(ipc_tracker, the_program_has_no_child_that_it_has_not_started)
{
	struct program p;
	char mark[64];

	begin(&p, look_for_children, mark_of(mark, "child"));
	step(&p);
	reap(&p, 0);
	EVENTUALLY(has_ended(&p));
}

static void files(int n, const char *mark)
{
	char path[128], kept[128];

	(void)n;
	snprintf(path, sizeof(path), "/tmp/%s-gone", mark);
	snprintf(kept, sizeof(kept), "/tmp/%s-kept", mark);
	if (mps_track_register("file", path) != 0 || mps_track_register("file", kept) != 0 ||
	    mps_track_unregister("file", kept) != 0)
		_exit(7);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	close(open(kept, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

Test(ipc_tracker, files_and_what_is_handed_over)
{
	struct program p;
	char mark[64], path[128];

	begin(&p, files, mark_of(mark, "files"));
	step(&p);
	reap(&p, SIGKILL);
	snprintf(path, sizeof(path), "/tmp/%s-gone", mark);
	EVENTUALLY(access(path, F_OK) != 0);
	EVENTUALLY(has_ended(&p));
	snprintf(path, sizeof(path), "/tmp/%s-kept", mark);
	cr_expect_eq(unlink(path), 0);
}

static void listen_in_folder(int n, const char *mark)
{
	char path[128];
	struct mps_listener *l;

	(void)n;
	snprintf(path, sizeof(path), "/tmp/%s", mark);
	if (mkdir(path, 0700) < 0 || setenv("TMPDIR", path, 1) < 0 ||
	    mps_listen(NULL, NULL, &l) != 0)
		_exit(7);
}

Test(ipc_tracker, the_folder_of_a_killed_listener_goes)
{
	struct program p;
	char mark[64], path[128];

	begin(&p, listen_in_folder, mark_of(mark, "listener"));
	step(&p);
	snprintf(path, sizeof(path), "/tmp/%s", mark);
	cr_expect_eq(rmdir(path), -1, "there is something in it");
	reap(&p, SIGKILL);
	EVENTUALLY(has_ended(&p));
	cr_expect_eq(rmdir(path), 0);
}

Test(ipc_tracker, only_words_that_can_be)
{
	static const struct {
		const char *type, *name;
	} rows[] = { { "nothing", "/a" },	{ "file", "relative" }, { "file", "" },
		     { "semaphore", "a/b" },	{ "semaphore", "" },	{ "sysv_shm", "x" },
		     { "shared_memory", ".." }, { NULL, "/a" },		{ "file", NULL } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_expect_eq(mps_track_register(rows[i].type, rows[i].name), -EINVAL, "%zu", i);
		cr_expect_eq(mps_track_unregister(rows[i].type, rows[i].name), -EINVAL, "%zu", i);
	}
	cr_expect_null(tracker_socket(), "and nobody is asked");
}

Test(ipc_tracker, where_it_cannot_be_started_nothing_is_made)
{
	struct mps_shm *shm;

	setenv("MPSUP_HOST", "/nonexistent", 1);
	cr_expect_eq(mps_shm_create("/t-ipc-tracker-none", 4096, &shm), -ENOPKG);
	cr_expect_neq(access("/dev/shm/t-ipc-tracker-none", F_OK), 0);
	cr_expect_eq(mps_shm_create(NULL, 4096, &shm), 0, "memory without a name needs none");
	mps_shm_close(shm);
	setenv("MPSUP_HOST", "/bin/false", 1);
	cr_expect_eq(mps_shm_create("/t-ipc-tracker-none", 4096, &shm), -ECONNRESET);
	setenv("MPSUP_TRACKER", "", 1);
	cr_expect_eq(mps_shm_create("/t-ipc-tracker-none", 4096, &shm), 0);
	mps_shm_close(shm);
	cr_expect_eq(mps_shm_unlink("/t-ipc-tracker-none"), 0);
}
