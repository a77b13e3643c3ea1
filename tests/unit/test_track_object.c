/*
 * Objects of the kernel, with real processes that hold them. What a test makes has our pid in its name.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/mtime.h"
#include "proc/tree.h"
#include "track/object.h"

/* With leases and without. */
static const char *const without[] = { "", "lease" };

static struct track_registry registry;
static struct track_owner owner;

static struct track_record *told(enum track_type type, const char *name)
{
	struct track_creator me = { .pid = getpid(), .uid = getuid() };
	struct track_record *r;

	r = track_add(&registry, &owner, type, name, strlen(name), &me);
	/* What holds semaphores and queues of SysV is the creator as long as it lives. */
	r->creator.start = 1;
	return r;
}

static void fini(void)
{
	track_registry_fini(&registry);
}

static const char *own_name(const char *suffix)
{
	static char text[64];

	snprintf(text, sizeof(text), "/mpsup-test-%d-%s", getpid(), suffix);
	return text;
}

/* --------------------------------------------------------------------------------- a process that has it */

struct holder {
	pid_t pid;
	int ready, go;
};

static void hold(struct holder *h, void (*take)(const void *what), const void *what)
{
	int ready[2], go[2];
	char c;

	cr_assert(pipe(ready) == 0 && pipe(go) == 0);
	h->pid = fork();
	if (h->pid == 0) {
		close(ready[0]);
		close(go[1]);
		take(what);
		if (write(ready[1], "r", 1) != 1 || read(go[0], &c, 1) != 0)
			_exit(1);
		_exit(0);
	}
	close(ready[1]);
	close(go[0]);
	cr_assert_eq(read(ready[0], &c, 1), 1, "it has it");
	close(ready[0]);
	h->go = go[1];
}

static void let_go(struct holder *h)
{
	int status;

	close(h->go);
	cr_assert_eq(waitpid(h->pid, &status, 0), h->pid);
	cr_expect_eq(status, 0);
}

static void must(int ok)
{
	if (!ok)
		_exit(2);
}

static void open_file(const void *path)
{
	must(open(path, O_RDONLY) >= 0);
}

static void map_file(const void *path)
{
	int fd = open(path, O_RDWR);

	must(fd >= 0 && mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	close(fd);
}

static void open_sem(const void *name)
{
	must(sem_open(name, 0) != SEM_FAILED);
}

static void open_queue(const void *name)
{
	must(mq_open(name, O_WRONLY) >= 0);
}

static void attach(const void *id)
{
	must(shmat(*(const int *)id, NULL, 0) != (void *)-1);
}

static void use_set(const void *id)
{
	must(semop(*(const int *)id, &(struct sembuf){ .sem_num = 1, .sem_op = 1 }, 1) == 0);
}

static void send_message(const void *id)
{
	struct {
		long type;
		char text[1];
	} m = { 1, "x" };

	must(msgsnd(*(const int *)id, &m, 1, 0) == 0);
}

static void be_there(const void *none)
{
	(void)none;
}

/* USED while somebody has it, also after that was asked, and gone when nobody has. */
static void used_then_free(struct track_record *r, void (*take)(const void *), const void *what)
{
	struct track_identity id;

	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct holder h;

		setenv("MPSUP_NO", without[i], 1);
		cr_expect_eq(object_ask(r), OBJECT_FREE, "%s", r->name);
		hold(&h, take, what);
		cr_expect_eq(object_ask(r), OBJECT_USED, "%s without %s", r->name, without[i]);
		cr_expect_eq(object_unlink(r), OBJECT_USED, "%s without %s", r->name, without[i]);
		cr_expect(object_identify(r->type, r->name, &id), "it is still there");
		let_go(&h);
		cr_expect_eq(object_ask(r), OBJECT_FREE, "%s without %s", r->name, without[i]);
	}
	setenv("MPSUP_NO", "", 1);
	cr_expect_eq(object_unlink(r), OBJECT_FREE);
	cr_expect_eq(object_unlink(r), OBJECT_ABSENT);
	cr_expect_eq(object_ask(r), OBJECT_ABSENT);
	cr_expect(!object_identify(r->type, r->name, &id));
}

static void make_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(ftruncate(fd, 4096), 0);
	close(fd);
}

/* ---------------------------------------------------------------------------------------------- each type */

Test(track_object, shared_memory_is_used_while_open_or_mapped, .fini = fini)
{
	struct track_record *r = told(TRACK_SHARED_MEMORY, own_name("shm"));
	AUTO_FREE char *path = object_path(r->type, r->name);

	cr_expect_eq(object_ask(r), OBJECT_ABSENT);
	make_file(path);
	used_then_free(r, map_file, path);
	r = told(TRACK_SHARED_MEMORY, own_name("shm"));
	make_file(path);
	used_then_free(r, open_file, path);
}

Test(track_object, semaphore, .fini = fini)
{
	struct track_record *r = told(TRACK_SEMAPHORE, own_name("sem"));
	sem_t *sem = sem_open(r->name, O_CREAT | O_EXCL, 0600, 1);

	cr_assert_neq(sem, SEM_FAILED);
	cr_expect_eq(object_ask(r), OBJECT_USED, "we have it ourselves");
	sem_close(sem);
	used_then_free(r, open_sem, r->name);
}

Test(track_object, message_queue, .fini = fini)
{
	struct track_record *r = told(TRACK_MQUEUE, own_name("mq"));
	mqd_t q = mq_open(r->name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL);

	if (q < 0)
		cr_skip_test("no message queues here");
	cr_expect(object_settle(r));
	cr_assert_eq(mq_send(q, "x", 1, 0), 0);
	mq_close(q);
	used_then_free(r, open_queue, r->name);
	q = mq_open(r->name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL);
	mq_close(q);
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN, "another one with its name");
	cr_expect_eq(mq_unlink(r->name), 0);
}

static const char *id_text(int id)
{
	static char text[16];

	cr_assert_geq(id, 0);
	snprintf(text, sizeof(text), "%d", id);
	return text;
}

Test(track_object, sysv_shared_memory, .fini = fini)
{
	int id = shmget(IPC_PRIVATE, 4096, 0600);

	used_then_free(told(TRACK_SYSV_SHM, id_text(id)), attach, &id);
}

Test(track_object, sysv_queue_is_used_by_the_last_that_used_it, .fini = fini)
{
	int id = msgget(IPC_PRIVATE, 0600);

	used_then_free(told(TRACK_SYSV_MSG, id_text(id)), send_message, &id);
}

Test(track_object, semaphore_set_is_used_by_those_who_changed_it_and_stays_the_same, .fini = fini)
{
	int id = semget(IPC_PRIVATE, 3, 0600);
	struct track_record *r = told(TRACK_SYSV_SEM, id_text(id));

	cr_expect(object_settle(r));
	r->identity.born_ns -= MPS_NS_PER_S; /* a later SETVAL moves sem_ctime on */
	used_then_free(r, use_set, &id);
}

static void wait_for_set(const void *what)
{
	const int *id = what;
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		semop(*id, &(struct sembuf){ .sem_num = 0, .sem_op = -1 }, 1);
		_exit(0);
	}
	while (semctl(*id, 0, GETNCNT) == 0)
		sched_yield();
}

Test(track_object, semaphore_set_is_used_by_those_who_wait, .fini = fini)
{
	int id = semget(IPC_PRIVATE, 1, 0600);
	struct track_record *r = told(TRACK_SYSV_SEM, id_text(id));
	struct holder h;

	hold(&h, wait_for_set, &id);
	cr_expect_eq(object_unlink(r), OBJECT_USED);
	cr_expect_eq(semctl(id, 0, GETNCNT), 1);
	semctl(id, 0, IPC_RMID);
	let_go(&h);
}

Test(track_object, set_and_queue_belong_to_a_creator_that_lives, .fini = fini)
{
	int ids[] = { semget(IPC_PRIVATE, 1, 0600), msgget(IPC_PRIVATE, 0600) };
	static const enum track_type types[] = { TRACK_SYSV_SEM, TRACK_SYSV_MSG };

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct track_record *r = told(types[i], id_text(ids[i]));
		struct proc_stat st;
		struct holder h;

		hold(&h, be_there, NULL);
		cr_assert_eq(proc_stat_read(h.pid, &st), 0);
		r->creator.pid = h.pid;
		r->creator.start = st.start_ticks;
		cr_expect_eq(object_unlink(r), OBJECT_USED);
		r->creator.start++; /* another process that had its number */
		cr_expect_eq(object_ask(r), OBJECT_FREE);
		r->creator.start--;
		let_go(&h);
		cr_expect_eq(object_unlink(r), OBJECT_FREE);
	}
}

/* Before it has an id it goes by its key. */
Test(track_object, what_has_a_key_is_found_by_it, .fini = fini)
{
	static const enum track_type types[] = { TRACK_SYSV_SHM, TRACK_SYSV_SEM, TRACK_SYSV_MSG };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		key_t key = (key_t)(0x6d000000 + getpid() * 4 + (int)i);
		struct track_record *r;
		char name[16];

		snprintf(name, sizeof(name), "k%08x", (unsigned)key);
		r = told(types[i], name);
		cr_expect_eq(object_ask(r), OBJECT_ABSENT);
		if (types[i] == TRACK_SYSV_SHM)
			cr_assert_geq(shmget(key, 1, IPC_CREAT | IPC_EXCL | 0600), 0);
		else if (types[i] == TRACK_SYSV_SEM)
			cr_assert_geq(semget(key, 1, IPC_CREAT | IPC_EXCL | 0600), 0);
		else
			cr_assert_geq(msgget(key, IPC_CREAT | IPC_EXCL | 0600), 0);
		cr_expect(object_settle(r));
		cr_expect_eq(object_ask(r), OBJECT_FREE);
		cr_expect_eq(object_unlink(r), OBJECT_FREE);
		cr_expect_eq(object_ask(r), OBJECT_ABSENT);
	}
	cr_expect_eq(object_unlink(told(TRACK_SYSV_SEM, "2147483647")), OBJECT_ABSENT);
}

/* ------------------------------------------------------------------------------------------------- identity */

Test(track_object, what_was_there_before_is_never_touched, .fini = fini)
{
	struct track_record *r;
	AUTO_FREE char *path = object_path(TRACK_SHARED_MEMORY, own_name("old"));
	int id = shmget(IPC_PRIVATE, 1, 0600);

	make_file(path);
	r = told(TRACK_SHARED_MEMORY, own_name("old"));
	r->told_ns += 5 * MPS_NS_PER_S;
	cr_expect(!object_settle(r));
	cr_expect_eq(object_ask(r), OBJECT_FOREIGN);
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN);
	cr_expect_eq(unlink(path), 0, "it is still there");
	r = told(TRACK_SYSV_SHM, id_text(id));
	r->told_ns += 5 * MPS_NS_PER_S;
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN);
	cr_expect_eq(shmctl(id, IPC_RMID, NULL), 0);
}

/* The clock by which they are made may be behind that by which they are told of. */
Test(track_object, what_seems_to_be_a_moment_older_is_what_was_told_of, .fini = fini)
{
	const int64_t late = 50 * MPS_NS_PER_MS;
	AUTO_FREE char *path = object_path(TRACK_SHARED_MEMORY, own_name("late"));
	int id = semget(IPC_PRIVATE, 1, 0600);
	struct track_record *r;
	struct semid_ds ds;

	make_file(path);
	r = told(TRACK_SHARED_MEMORY, own_name("late"));
	r->told_ns += late;
	cr_expect(object_settle(r));
	cr_expect_eq(object_unlink(r), OBJECT_FREE);
	cr_assert_geq(semctl(id, 0, IPC_STAT, &ds), 0);
	r = told(TRACK_SYSV_SEM, id_text(id));
	r->told_ns = ds.sem_ctime * MPS_NS_PER_S + MPS_NS_PER_S + late;
	cr_expect(object_settle(r));
	cr_expect_eq(semctl(id, 0, IPC_RMID), 0); /* we live, who have made it */
}

Test(track_object, what_came_after_is_never_touched, .fini = fini)
{
	struct track_record *r = told(TRACK_SHARED_MEMORY, own_name("new"));
	AUTO_FREE char *path = object_path(r->type, r->name);
	AUTO_FREE char *other = object_path(r->type, own_name("other"));

	make_file(path);
	cr_expect(object_settle(r));
	cr_expect_eq(object_ask(r), OBJECT_FREE);
	make_file(other);
	cr_assert_eq(rename(other, path), 0);
	cr_expect(object_settle(r), "it was settled before");
	cr_expect_eq(object_ask(r), OBJECT_FOREIGN);
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN);
	cr_expect_eq(unlink(path), 0, "it is still there");
	cr_assert_eq(mkdir(path, 0700), 0);
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN);
	cr_expect_eq(rmdir(path), 0);
	cr_assert_eq(symlink("/etc/passwd", path), 0);
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN);
	cr_expect_eq(unlink(path), 0);
}

Test(track_object, what_is_another_users_is_never_touched, .fini = fini)
{
	struct track_record *r = told(TRACK_SHARED_MEMORY, own_name("uid"));
	AUTO_FREE char *path = object_path(r->type, r->name);
	int id = shmget(IPC_PRIVATE, 1, 0600);
	struct shmid_ds ds;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	make_file(path);
	cr_assert_eq(chown(path, 12345, 12345), 0);
	cr_expect(!object_settle(r));
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN);
	r->creator.uid = 12345;
	cr_expect_eq(object_ask(r), OBJECT_FREE, "that is theirs");
	cr_assert_eq(chown(path, 0, 0), 0);
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN, "and not any more");
	cr_expect_eq(unlink(path), 0);

	r = told(TRACK_SYSV_SHM, id_text(id));
	cr_expect(object_settle(r));
	cr_assert_eq(shmctl(id, IPC_STAT, &ds), 0);
	ds.shm_perm.uid = 12345;
	cr_assert_eq(shmctl(id, IPC_SET, &ds), 0);
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN, "it was given away");
	cr_expect_eq(shmctl(id, IPC_RMID, NULL), 0);
}

/* ---------------------------------------------------------------------------------------- files and folders */

/* A folder that is told of, in a scratch folder. */
static char *scratch(void)
{
	const char *base = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
	char *path = NULL;

	cr_assert_geq(asprintf(&path, "%s/mpsup-test-XXXXXX", base), 0);
	cr_assert_not_null(mkdtemp(path));
	return path;
}

static void make_tree(const char *root)
{
	char path[512];

	cr_assert_eq(mkdir(root, 0700), 0);
	snprintf(path, sizeof(path), "%s/a", root);
	cr_assert_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/a/b", root);
	cr_assert_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/a/b/file", root);
	make_file(path);
	snprintf(path, sizeof(path), "%s/link", root);
	cr_assert_eq(symlink("..", path), 0);
	snprintf(path, sizeof(path), "%s/pipe", root);
	cr_assert_eq(mkfifo(path, 0600), 0);
	snprintf(path, sizeof(path), "%s/a/b", root);
	cr_assert_eq(chmod(path, 0500), 0);
}

Test(track_object, folder_goes_with_all_in_it_and_nothing_else, .fini = fini)
{
	AUTO_FREE char *top = scratch();
	char root[300], beside[300], path[512];
	struct track_record *r;

	snprintf(root, sizeof(root), "%s/it", top);
	snprintf(beside, sizeof(beside), "%s/beside", top);
	make_file(beside);
	r = told(TRACK_FOLDER, root);
	make_tree(root);
	snprintf(path, sizeof(path), "%s/a/b/file", root);
	used_then_free(r, map_file, path);
	cr_expect_eq(unlink(beside), 0, "it is still there");
	cr_expect_eq(rmdir(top), 0, "and nothing else is");
}

enum { WIDE = 7 };

static const char *in_wide(const char *root, int i, int j)
{
	static char path[512];

	snprintf(path, sizeof(path), j < 0 ? "%s/%d" : "%s/%d/%d", root, i, j);
	return path;
}

static void make_wide(const char *root)
{
	cr_assert_eq(mkdir(root, 0700), 0);
	for (int i = 0; i < WIDE; i++) {
		cr_assert_eq(mkdir(in_wide(root, i, -1), 0700), 0);
		for (int j = 0; j < WIDE; j++)
			make_file(in_wide(root, i, j));
	}
}

static int n_in_wide(const char *root)
{
	int n = 0;

	for (int i = 0; i < WIDE * WIDE; i++)
		n += access(in_wide(root, i / WIDE, i % WIDE), F_OK) == 0;
	return n;
}

/* The time is always up: so each call does the least that it may. */
static enum object_state unlink_slowly(struct track_record *r, struct object_walk *walk,
				       int *ret_calls)
{
	enum object_state state;
	int n = 1;

	while (!object_unlink_some(r, walk, mps_now(), &state))
		cr_assert_lt(n++, 10 * WIDE * WIDE, "it does not get on");
	*ret_calls = n;
	return state;
}

Test(track_object, folder_goes_in_parts_once_all_of_it_was_asked, .fini = fini)
{
	AUTO_FREE char *top = scratch();
	struct object_walk walk = { 0 };
	char root[300];
	struct track_record *r;
	int n;

	snprintf(root, sizeof(root), "%s/it", top);
	r = told(TRACK_FOLDER, root);
	make_wide(root);
	for (int i = 0; i < WIDE * WIDE; i++) {
		AUTO_CLOSE int fd = open(in_wide(root, i / WIDE, i % WIDE), O_RDONLY | O_CLOEXEC);

		cr_assert_geq(fd, 0);
		cr_expect_eq(unlink_slowly(r, &walk, &n), OBJECT_USED, "file %d", i);
		cr_expect_eq(n_in_wide(root), WIDE * WIDE, "the first of it has gone");
	}
	cr_expect_eq(unlink_slowly(r, &walk, &n), OBJECT_FREE);
	cr_expect_geq(n, 2 * WIDE * WIDE, "%d calls", n);
	cr_expect_eq(rmdir(top), 0);
}

Test(track_object, folder_stays_whole_when_something_in_it_is_not_ours, .fini = fini)
{
	AUTO_FREE char *top = scratch();
	char root[300], path[512];
	struct track_record *r;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	snprintf(root, sizeof(root), "%s/it", top);
	r = told(TRACK_FOLDER, root);
	make_tree(root);
	snprintf(path, sizeof(path), "%s/a/b/file", root);
	cr_assert_eq(chown(path, 12345, 12345), 0);
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN);
	cr_expect_eq(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/pipe", root);
	cr_expect_eq(access(path, F_OK), 0, "all of it");
	snprintf(path, sizeof(path), "%s/a/b/file", root);
	cr_assert_eq(chown(path, 0, 0), 0);
	cr_expect_eq(object_unlink(r), OBJECT_FREE);
	cr_expect_eq(rmdir(top), 0);
}

Test(track_object, folder_is_not_left_by_a_mount, .fini = fini)
{
	AUTO_FREE char *top = scratch();
	char root[300], path[512];
	struct track_record *r;

	snprintf(root, sizeof(root), "%s/it", top);
	r = told(TRACK_FOLDER, root);
	make_tree(root);
	snprintf(path, sizeof(path), "%s/a", root);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(top, path, NULL, MS_BIND, NULL) < 0) {
		cr_expect_eq(object_unlink(r), OBJECT_FREE);
		rmdir(top);
		cr_skip_test("cannot mount");
	}
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN, "of the same file system, too");
	cr_assert_eq(umount(path), 0);
	cr_expect_eq(object_unlink(r), OBJECT_FREE);
	cr_expect_eq(rmdir(top), 0);
}

Test(track_object, folder_may_be_so_deep_and_not_deeper, .fini = fini)
{
	AUTO_FREE char *top = scratch();
	char path[TRACK_FOLDER_DEPTH_MAX * 2 + 300];
	struct track_record *r;
	int n, depth;

	n = snprintf(path, sizeof(path), "%s/d", top);
	r = told(TRACK_FOLDER, path);
	for (depth = 0; depth <= TRACK_FOLDER_DEPTH_MAX; depth++) {
		cr_assert_eq(mkdir(path, 0700), 0);
		n += sprintf(path + n, "/d");
	}
	cr_expect_eq(object_unlink(r), OBJECT_UNKNOWN);
	path[n - 2] = '\0';
	cr_assert_eq(rmdir(path), 0);
	cr_expect_eq(object_unlink(r), OBJECT_FREE);
	cr_expect_eq(rmdir(top), 0);
}

Test(track_object, file_of_any_kind, .fini = fini)
{
	AUTO_FREE char *top = scratch();
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	AUTO_CLOSE int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct track_record *r;
	struct holder h;
	char path[100];

	snprintf(path, sizeof(path), "%s/file", top);
	r = told(TRACK_FILE, path);
	make_file(path);
	used_then_free(r, open_file, path);

	snprintf(path, sizeof(path), "%s/link", top);
	r = told(TRACK_FILE, path);
	cr_assert_eq(symlink("/etc/passwd", path), 0);
	cr_expect_eq(object_unlink(r), OBJECT_FREE);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/socket", top);
	r = told(TRACK_FILE, at.sun_path);
	cr_assert_eq(bind(sock, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_expect_eq(object_unlink(r), OBJECT_FREE);

	snprintf(path, sizeof(path), "%s/pipe", top);
	r = told(TRACK_FILE, path);
	cr_assert_eq(mkfifo(path, 0600), 0);
	close(sock);
	sock = open(path, O_RDWR | O_CLOEXEC); /* so that opening it for reading does not wait */
	hold(&h, open_file, path);
	cr_expect_eq(object_unlink(r), OBJECT_USED);
	let_go(&h);
	cr_expect_eq(object_unlink(r), OBJECT_FREE);
	cr_expect_eq(rmdir(top), 0);
}

/* ------------------------------------------------------------------------------------------------- the lease */

static void open_for_ever(const void *path)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid > 0)
		return;
	/* An opener must be faster than the lease is broken by force: 45 s (lease-break-time). */
	alarm(30);
	for (;;) {
		struct stat st;
		int fd = open(path, O_RDWR);

		must(fd >= 0 || errno == ENOENT);
		if (fd < 0)
			_exit(0);
		must(fstat(fd, &st) == 0);
		close(fd);
		if (st.st_nlink == 0)
			_exit(0);
	}
}

/* Nobody dies of a lease, neither we when ours is broken nor an opener, who is not even refused. */
Test(track_object, openers_break_leases_and_nobody_dies_of_it, .fini = fini)
{
	struct track_record *r = told(TRACK_SHARED_MEMORY, own_name("race"));
	AUTO_FREE char *path = object_path(r->type, r->name);
	unsigned used = 0, free_ = 0;
	struct holder h;

	make_file(path);
	hold(&h, open_for_ever, path);
	for (int i = 0; i < 20000; i++)
		*(object_ask(r) == OBJECT_USED ? &used : &free_) += 1;
	while (object_unlink(r) == OBJECT_USED)
		;
	let_go(&h);
	cr_expect_eq(object_ask(r), OBJECT_ABSENT);
	cr_log_info("%u times in use, %u free", used, free_);
}

Test(track_object, what_is_taken_while_it_is_asked_for_stays, .fini = fini)
{
	struct track_record *r = told(TRACK_SHARED_MEMORY, own_name("hold"));
	AUTO_FREE char *path = object_path(r->type, r->name);

	make_file(path);
	for (int i = 0; i < 50; i++) {
		AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
		struct stat st;

		cr_assert_eq(object_unlink(r), OBJECT_USED);
		cr_assert_eq(fstat(fd, &st), 0);
		cr_assert_eq(st.st_nlink, 1);
	}
	cr_expect_eq(object_unlink(r), OBJECT_FREE);
}

/* The moment between hiding it and its end. */
Test(track_object, what_was_hidden_by_one_who_was_killed_is_found, .fini = fini)
{
	struct track_record *r = told(TRACK_SHARED_MEMORY, own_name("hidden"));
	AUTO_FREE char *path = object_path(r->type, r->name);
	char hidden[64];
	struct holder h;

	make_file(path);
	cr_assert(object_settle(r));
	snprintf(hidden, sizeof(hidden), "/dev/shm/" OBJECT_HIDDEN "%llx",
		 (unsigned long long)r->identity.ino);
	cr_assert_eq(rename(path, hidden), 0);
	cr_expect_eq(object_ask(r), OBJECT_FREE);
	hold(&h, map_file, hidden);
	cr_expect_eq(object_ask(r), OBJECT_USED);
	cr_expect_eq(access(hidden, F_OK), 0);
	cr_expect_eq(object_unlink(r), OBJECT_USED);
	cr_expect_neq(access(hidden, F_OK), 0);
	cr_expect_eq(access(path, F_OK), 0, "it has its name again");
	let_go(&h);

	cr_assert_eq(rename(path, hidden), 0);
	make_file(path);
	cr_expect_eq(object_unlink(r), OBJECT_FREE, "the hidden one");
	cr_expect_eq(object_unlink(r), OBJECT_FOREIGN);
	cr_expect_neq(access(hidden, F_OK), 0);
	cr_expect_eq(unlink(path), 0);
}

/* ---------------------------------------------------------------------------------------------------- names */

Test(track_object, paths)
{
	static const struct {
		enum track_type type;
		const char *name, *path;
	} rows[] = {
		{ TRACK_SEMAPHORE, "/x", "/dev/shm/sem.x" },
		{ TRACK_SHARED_MEMORY, "/x", "/dev/shm/x" },
		{ TRACK_SHARED_MEMORY, "/x/y", "/dev/shm/x/y" },
		{ TRACK_FILE, "/x/y", "/x/y" },
		{ TRACK_FOLDER, "/x", "/x" },
		{ TRACK_SYSV_SHM, "7", NULL },
	};
	static const struct {
		const char *file;
		enum track_type type;
		const char *name;
	} files[] = {
		{ "sem.x", TRACK_SEMAPHORE, "/x" },
		{ "x", TRACK_SHARED_MEMORY, "/x" },
		{ "sem.", TRACK_SHARED_MEMORY, "/sem." },
		{ "semx", TRACK_SHARED_MEMORY, "/semx" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_FREE char *path = object_path(rows[i].type, rows[i].name);

		if (rows[i].path == NULL)
			cr_expect_null(path);
		else
			cr_expect_str_eq(path, rows[i].path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		AUTO_FREE char *name = NULL;

		cr_expect_eq(object_of_shm_file(files[i].file, &name), files[i].type);
		cr_expect_str_eq(name, files[i].name);
	}
}
