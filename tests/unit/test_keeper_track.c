/*
 * The tracker, through a real keeper (keeper_scene.h) and a program that makes objects and tells of them by hand
 * (tests/e2e/ipc.c): what is unlinked when an instance ends, what is not, and what the supervisor is told.
 */
#include "../keeper_scene.h"

#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "track/track.h"

__attribute__((constructor)) static void play_role(void)
{
	if (getenv(PEER_ROLE) != NULL)
		peer_be_supervisor();
}

/* Of each test: a folder for the keeper, and the beginning of names that nobody else has. */
struct place {
	struct scene s;
	struct peer_options o;
	char dir[64], tracker[96], own[64];
};

static void open_place(struct place *p, const char *no)
{
	alarm(120);
	snprintf(p->dir, sizeof(p->dir), "/tmp/mps-track.XXXXXX");
	cr_assert(mkdtemp(p->dir) != NULL);
	snprintf(p->tracker, sizeof(p->tracker), "MPSUP_TRACKER=%s/ipc.sock", p->dir);
	snprintf(p->own, sizeof(p->own), "/mps-%d", (int)getpid());
	p->o = (struct peer_options){ .dir = p->dir, .no = no, .on_crash = KEEPER_CRASH_RESTART };
	open_scene_with(&p->s, &p->o);
}

static bool exists_in(const char *folder, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s%s", folder, name);
	return access(path, F_OK) == 0;
}

static bool exists(const char *name)
{
	return exists_in("/dev/shm", name);
}

static void close_place(struct place *p)
{
	finish(&p->s);
	cr_expect_not(exists_in(p->dir, "/ipc.sock"));
	cr_expect_not(exists_in(p->dir, "/ipc.journal"));
	cr_expect_eq(rmdir(p->dir), 0, "something is left in %s", p->dir);
}

#define WORDS_MAX 12

/* Starts the program with these words, in each of which a % is the beginning of names. It prints "ok" when it is through. */
static void start_ipc(struct place *p, uint32_t i, uint32_t gen, const char *const *words)
{
	static char path[4096];
	char texts[WORDS_MAX][256], *argv[WORDS_MAX + 4];
	char *envp[] = { p->tracker, NULL };
	const char *b = getenv("B");
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/e2e/ipc", b != NULL ? b : "build/gcc");
	argv[n++] = path;
	for (size_t w = 0; words[w] != NULL && w < WORDS_MAX; w++) {
		const char *at = strchr(words[w], '%');

		if (at == NULL)
			snprintf(texts[w], sizeof(texts[w]), "%s", words[w]);
		else
			snprintf(texts[w], sizeof(texts[w]), "%.*s%s%s", (int)(at - words[w]),
				 words[w], p->own, at + 1);
		argv[n++] = texts[w];
	}
	argv[n++] = (char *)"print:ok";
	argv[n++] = (char *)"wait";
	argv[n] = NULL;
	start(&p->s, i, gen, KEEPER_LEFT_END, 0, argv, envp);
	expect(&p->s, KEEPER_STARTED);
}

#define IPC(p, i, ...)                                                                             \
	do {                                                                                       \
		start_ipc(p, i, 1, (const char *const[]){ __VA_ARGS__, NULL });                    \
		expect_output(&(p)->s, "ok\n");                                                    \
	} while (0)

static void end(struct place *p, uint32_t i)
{
	peer_signal(&p->s.p, i, 1, SIGKILL, KEEPER_SCOPE_TREE);
}

/* The object of that type and name (own and `suffix`) is told of as unlinked. */
static void expect_unlinked(struct place *p, uint32_t i, enum track_type type, const char *suffix)
{
	struct keeper_message m = expect(&p->s, KEEPER_UNLINKED);
	char name[128];

	snprintf(name, sizeof(name), "%s%s", p->own, suffix);
	cr_expect_eq(m.instance, i);
	cr_expect_eq(m.object, (uint32_t)type);
	cr_expect_str_eq(m.text, name);
	cr_expect_str_eq(m.program, "web");
	cr_expect(m.pid > 1);
}

static bool has_ended(struct place *p, uint32_t i)
{
	struct keeper_message m = expect(&p->s, KEEPER_EXITED);

	return m.instance == i && !m.tree_left;
}

static const char *name_of(const struct place *p, const char *suffix)
{
	static char name[128];

	snprintf(name, sizeof(name), "%s%s", p->own, suffix);
	return name;
}

static void make_own(const struct place *p, const char *suffix)
{
	int fd = shm_open(name_of(p, suffix), O_CREAT | O_EXCL | O_RDWR, 0600);

	cr_assert(fd >= 0);
	close(fd);
}

/* More than the clock by which files are born may be late: others run meanwhile. */
static void let_time_pass(struct place *p)
{
	int64_t from = mps_wall().ns;

	for (uint32_t gen = 1; mps_wall().ns - from <= MPS_COARSE_LAG_NS; gen++) {
		char *argv[] = { (char *)"/bin/true", NULL };
		char *envp[] = { NULL };

		start(&p->s, 9, gen, KEEPER_LEFT_END, 0, argv, envp);
		expect(&p->s, KEEPER_STARTED);
		expect(&p->s, KEEPER_EXITED);
	}
}

static const char *const without[] = { NULL, "inotify", "lease", "pidfd,children" };

Test(track, unlinks_what_is_left_and_tells_before_the_end)
{
	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct place p;

		open_place(&p, without[i]);
		IPC(&p, 3, "say:REGISTER:%-a:shared_memory", "shm:%-a");
		cr_expect(exists(name_of(&p, "-a")));
		end(&p, 3);
		expect_unlinked(&p, 3, TRACK_SHARED_MEMORY, "-a");
		cr_expect(has_ended(&p, 3));
		cr_expect_not(exists(name_of(&p, "-a")));
		cr_expect_eq(p.s.p.objects.instance, 3);
		cr_expect_eq(p.s.p.objects.count, 0);
		cr_expect_eq(p.s.p.objects.cleaned, 1);
		close_place(&p);
	}
}

Test(track, knows_every_type)
{
	struct place p;
	char path[256];

	open_place(&p, NULL);
	snprintf(path, sizeof(path), "say:REGISTER:%s/file:file", p.dir);
	IPC(&p, 1, "say:REGISTER:%:semaphore", "sem:%", "say:REGISTER:%-q:mqueue", "mq:%-q", path);
	end(&p, 1);
	expect(&p.s, KEEPER_UNLINKED);
	expect(&p.s, KEEPER_UNLINKED);
	cr_expect(has_ended(&p, 1));
	snprintf(path, sizeof(path), "/sem.%s", p.own + 1);
	cr_expect_not(exists(path));
	close_place(&p);
}

Test(track, leaves_what_was_there_before)
{
	struct place p;

	open_place(&p, NULL);
	make_own(&p, "");
	let_time_pass(&p);
	IPC(&p, 1, "say:REGISTER:%:shared_memory");
	end(&p, 1);
	cr_expect(has_ended(&p, 1));
	cr_expect(exists(p.own));
	/* One that took its name from the one that was told of. */
	IPC(&p, 1, "say:REGISTER:%-b:shared_memory", "shm:%-b");
	shm_unlink(name_of(&p, "-b"));
	make_own(&p, "-b");
	end(&p, 1);
	cr_expect(has_ended(&p, 1));
	cr_expect(exists(name_of(&p, "-b")));
	shm_unlink(name_of(&p, "-b"));
	shm_unlink(p.own);
	close_place(&p);
}

/* Nor is it taken from whoever has made it by somebody who only found it there. */
Test(track, keeps_it_for_its_maker)
{
	struct place p;

	open_place(&p, NULL);
	for (int old = 0; old < 2; old++) {
		IPC(&p, 1, "say:REGISTER:%:shared_memory", "shm:%");
		if (old)
			let_time_pass(&p);
		IPC(&p, 2, "say:REGISTER:%:shared_memory");
		end(&p, 2);
		cr_expect(has_ended(&p, 2));
		cr_expect(exists(p.own));
		end(&p, 1);
		expect_unlinked(&p, 1, TRACK_SHARED_MEMORY, "");
		cr_expect(has_ended(&p, 1));
	}
	close_place(&p);
}

static void make_cue(const struct place *p, char path[96])
{
	snprintf(path, 96, "%s/cue", p->dir);
	cr_assert_eq(mkfifo(path, 0600), 0);
}

static void give_cue(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	cr_assert(fd >= 0 && write(fd, "x", 1) == 1);
	close(fd);
	unlink(path);
}

#define ATTEMPT "say:ATTEMPT:%:shared_memory"
#define RETRACT "say:RETRACT:%:shared_memory"

/* Whoever attempts to make it again, the one who has made it or somebody else, and fails, changes nothing. */
Test(track, keeps_it_when_another_attempt_is_taken_back)
{
	static const char *const again[] = { ATTEMPT, RETRACT, "print:ok", "wait", NULL };

	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct place p;

		open_place(&p, without[i]);
		IPC(&p, 1, ATTEMPT, "shm:%", ATTEMPT, RETRACT);
		start_ipc(&p, 2, 1, again);
		expect_output(&p.s, "ok\n");
		end(&p, 2);
		cr_expect(has_ended(&p, 2));
		cr_expect(exists(p.own));
		end(&p, 1);
		expect_unlinked(&p, 1, TRACK_SHARED_MEMORY, "");
		cr_expect(has_ended(&p, 1));
		cr_expect_not(exists(p.own));
		close_place(&p);
	}
}

/* Two attempt it at a time: it is his who does not take that back, whoever has spoken first. */
Test(track, gives_it_to_the_attempt_that_succeeds)
{
	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct place p;
		char cue[96], read[128];

		open_place(&p, without[i]);
		make_cue(&p, cue);
		snprintf(read, sizeof(read), "read:%s", cue);
		start_ipc(&p, 1, 1,
			  (const char *const[]){ ATTEMPT, "print:go", read, RETRACT, NULL });
		expect_output(&p.s, "go\n");
		IPC(&p, 2, ATTEMPT, "shm:%");
		give_cue(cue);
		expect_output(&p.s, "ok\n");
		end(&p, 1);
		cr_expect(has_ended(&p, 1));
		cr_expect(exists(p.own));
		end(&p, 2);
		expect_unlinked(&p, 2, TRACK_SHARED_MEMORY, "");
		cr_expect(has_ended(&p, 2));
		close_place(&p);
	}
}

/* He is killed before he has taken it back: as long as the other lives nobody knows which of the two has made it. */
Test(track, keeps_it_while_another_attempt_may_have_made_it)
{
	struct place p;

	open_place(&p, NULL);
	IPC(&p, 1, ATTEMPT);
	IPC(&p, 2, ATTEMPT, "shm:%");
	end(&p, 1);
	cr_expect(has_ended(&p, 1));
	cr_expect(exists(p.own));
	end(&p, 2);
	for (int i = 0; i < 2; i++) { /* in one order or the other */
		struct keeper_message m = { 0 };

		cr_assert_eq(peer_recv(&p.s.p, &m), 0);
		cr_expect(m.type == KEEPER_EXITED ? m.instance == 2
						  : m.type == KEEPER_UNLINKED && m.instance == 1);
	}
	cr_expect_not(exists(p.own));
	close_place(&p);
}

/* A stranger's, made before the attempt or between that and its taking back; killed in between it is his still. */
Test(track, leaves_a_stranger_s_to_him_when_an_attempt_fails)
{
	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct place p;
		char cue[96], read[128];

		open_place(&p, without[i]);
		make_own(&p, "");
		let_time_pass(&p);
		IPC(&p, 1, ATTEMPT, RETRACT);
		IPC(&p, 2, ATTEMPT);
		end(&p, 1);
		cr_expect(has_ended(&p, 1));
		end(&p, 2);
		cr_expect(has_ended(&p, 2));
		cr_expect(exists(p.own));
		shm_unlink(p.own);

		make_cue(&p, cue);
		snprintf(read, sizeof(read), "read:%s", cue);
		start_ipc(&p, 3, 1,
			  (const char *const[]){ ATTEMPT, "print:go", read, RETRACT, NULL });
		expect_output(&p.s, "go\n");
		make_own(&p, "");
		give_cue(cue);
		expect_output(&p.s, "ok\n");
		end(&p, 3);
		cr_expect(has_ended(&p, 3));
		cr_expect(exists(p.own));
		shm_unlink(p.own);
		close_place(&p);
	}
}

/* It was on record as another's when it was attempted, and had gone when it was made. */
Test(track, knows_an_attempt_that_succeeds_when_the_first_has_gone)
{
	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct place p;
		char cue[96], read[128];

		open_place(&p, without[i]);
		make_cue(&p, cue);
		snprintf(read, sizeof(read), "read:%s", cue);
		IPC(&p, 1, ATTEMPT, "shm:%");
		start_ipc(&p, 2, 1,
			  (const char *const[]){ ATTEMPT, "print:go", read, "shm:%", NULL });
		expect_output(&p.s, "go\n");
		IPC(&p, 3, "rm:%", "say:UNREGISTER:%:shared_memory");
		give_cue(cue);
		expect_output(&p.s, "ok\n");
		end(&p, 1);
		cr_expect(has_ended(&p, 1));
		cr_expect(exists(p.own));
		end(&p, 2);
		expect_unlinked(&p, 2, TRACK_SHARED_MEMORY, "");
		cr_expect(has_ended(&p, 2));
		end(&p, 3);
		cr_expect(has_ended(&p, 3));
		close_place(&p);
	}
}

/* Handed over while an attempt at it was on: it stays handed over. */
Test(track, hands_over_nothing_to_an_attempt)
{
	struct place p;

	open_place(&p, NULL);
	IPC(&p, 1, ATTEMPT, "shm:%");
	IPC(&p, 2, ATTEMPT);
	IPC(&p, 3, "say:UNREGISTER:%:shared_memory");
	for (uint32_t i = 1; i <= 3; i++) {
		end(&p, i);
		cr_expect(has_ended(&p, i));
	}
	cr_expect(exists(p.own));
	shm_unlink(p.own);
	close_place(&p);
}

/* A file that was there is not the attempt's, whoever of ours has it killed. */
Test(track, leaves_a_file_that_was_there_when_it_was_attempted)
{
	struct place p;
	char path[96], word[128];
	int fd;

	open_place(&p, NULL);
	snprintf(path, sizeof(path), "%s/file", p.dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	let_time_pass(&p);
	snprintf(word, sizeof(word), "say:ATTEMPT:%s:file", path);
	IPC(&p, 1, word);
	end(&p, 1);
	cr_expect(has_ended(&p, 1));
	cr_expect_eq(unlink(path), 0);
	close_place(&p);
}

Test(track, leaves_what_was_handed_over)
{
	struct place p;

	open_place(&p, NULL);
	IPC(&p, 1, "say:REGISTER:%:shared_memory", "shm:%");
	IPC(&p, 2, "say:UNREGISTER:%:shared_memory");
	end(&p, 1);
	cr_expect(has_ended(&p, 1));
	cr_expect(exists(p.own));
	shm_unlink(p.own);
	close_place(&p);
}

Test(track, waits_for_the_last_user)
{
	struct place p;

	open_place(&p, NULL);
	IPC(&p, 1, "say:REGISTER:%:shared_memory", "shm:%");
	IPC(&p, 2, "hold:%");
	end(&p, 1);
	cr_expect(has_ended(&p, 1));
	cr_expect(exists(p.own));
	end(&p, 2);
	for (int i = 0; i < 2; i++) { /* in which order is not said */
		struct keeper_message m = { 0 };

		cr_assert_eq(peer_recv(&p.s.p, &m), 0);
		cr_expect(m.type == KEEPER_UNLINKED ? m.instance == 1 : m.instance == 2);
	}
	cr_expect_not(exists(p.own));
	close_place(&p);
}

Test(track, follows_a_rename)
{
	struct place p;
	char from[128], to[128];

	open_place(&p, NULL);
	IPC(&p, 1, "say:REGISTER:%:shared_memory", "shm:%");
	snprintf(from, sizeof(from), "/dev/shm%s", p.own);
	snprintf(to, sizeof(to), "/dev/shm%s-n", p.own);
	cr_assert_eq(rename(from, to), 0);
	end(&p, 1);
	expect_unlinked(&p, 1, TRACK_SHARED_MEMORY, "-n");
	cr_expect(has_ended(&p, 1));
	/* Told of as the shim does. */
	IPC(&p, 2, "say:REGISTER:%:shared_memory", "shm:%", "say:REGISTER:%-n:shared_memory",
	    "mv:%", "say:UNREGISTER:%:shared_memory");
	end(&p, 2);
	expect_unlinked(&p, 2, TRACK_SHARED_MEMORY, "-n");
	cr_expect(has_ended(&p, 2));
	close_place(&p);
}

Test(track, does_as_the_program_wants_it)
{
	struct place p;

	open_place(&p, NULL);
	p.s.cleanup = KEEPER_CLEAN_OFF;
	IPC(&p, 1, "say:REGISTER:%:shared_memory", "shm:%");
	p.s.cleanup = KEEPER_CLEAN_SHUTDOWN;
	IPC(&p, 2, "say:REGISTER:%-s:shared_memory", "shm:%-s");
	end(&p, 1);
	cr_expect(has_ended(&p, 1));
	end(&p, 2);
	cr_expect(has_ended(&p, 2));
	cr_expect(exists(p.own));
	cr_expect(exists(name_of(&p, "-s")));
	close_place(&p);
	cr_expect(exists(p.own));
	cr_expect_not(exists(name_of(&p, "-s")));
	shm_unlink(p.own);
}

/* Of what it has made, which it prints before its "ok". */
static int read_id(struct place *p)
{
	char text[32];
	ssize_t n;

	cr_assert(peer_wait_readable(p->s.out[0], PEER_PATIENCE));
	n = read(p->s.out[0], text, sizeof(text) - 1);
	cr_assert(n > 0);
	text[n] = '\0';
	if (strstr(text, "ok") == NULL)
		expect_output(&p->s, "ok\n");
	return atoi(text);
}

Test(track, finds_what_the_killed_could_not_name)
{
	struct place p;
	char word[64], make[64];
	unsigned key = 0x6a000000 + (unsigned)getpid();
	int id;

	open_place(&p, NULL);
	snprintf(word, sizeof(word), "say:REGISTER:k%08x:sysv_shm", key);
	snprintf(make, sizeof(make), "sysvshm:%08x", key);
	start_ipc(&p, 1, 1, (const char *const[]){ word, make, NULL });
	id = read_id(&p);
	end(&p, 1);
	cr_expect_eq(expect(&p.s, KEEPER_UNLINKED).object, (uint32_t)TRACK_SYSV_SHM);
	cr_expect(has_ended(&p, 1));
	cr_expect_eq(shmctl(id, IPC_RMID, NULL), -1);
	close_place(&p);
}

/* One after the other, none lost, also to a supervisor that comes later; and others' ends are not delayed. */
Test(track, works_off_thousands)
{
	enum { N = 3000 };
	struct place p;
	uint32_t told = 0;

	open_place(&p, NULL);
	IPC(&p, 1, "many:3000");
	kill(p.s.p.supervisor, SIGSTOP);
	end(&p, 1);
	kill(p.s.p.supervisor, SIGKILL);
	cr_assert(peer_next(&p.s.p));
	peer_hello_from(&p.s.p, KEEPER_CRASH_RESTART, p.dir);
	for (;;) {
		struct keeper_message m = { 0 };

		int r = peer_recv(&p.s.p, &m);

		cr_assert_eq(r, 0, "%s after %u", strerror(-r), told);
		if (m.type == KEEPER_UNLINKED)
			told++;
		if (m.type == KEEPER_EXITED ||
		    (m.type == KEEPER_INSTANCE && m.state == KEEPER_IS_ENDED))
			break;
	}
	cr_expect_eq(told, N);
	/* The counts come with the next thing that is told. */
	IPC(&p, 2, "crowd:0");
	close_place(&p);
}

static int stranger(const struct place *p)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/ipc.sock", p->dir);
	cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

Test(track, hears_no_stranger)
{
	struct place p;
	char text[16];
	int fd;

	open_place(&p, NULL);
	fd = stranger(&p);
	make_own(&p, "");
	send(fd, "REGISTER:/x:shared_memory\n", 26, MSG_NOSIGNAL);
	/* He is shown out. */
	cr_assert(peer_wait_readable(fd, PEER_PATIENCE));
	cr_expect_leq(recv(fd, text, sizeof(text), 0), 0);
	close(fd);
	/* Nor can he take from others: the connection is not his. */
	IPC(&p, 1, "crowd:0");
	end(&p, 1);
	cr_expect(has_ended(&p, 1));
	cr_expect(exists(p.own));
	cr_expect_geq(p.s.p.strangers, 1);
	shm_unlink(p.own);
	close_place(&p);
}

/* Nobody can make it stop listening to others. */
Test(track, bears_with_bad_clients)
{
	struct place p;

	open_place(&p, NULL);
	IPC(&p, 1, "post:REGISTER:\\n:\\n::\\nREGISTER:%41%4:semaphore", "post:garbage",
	    "post:", "huge:60000", "crowd:1000", "post:UNREGISTER:k0052e2c1:sysv_shm",
	    "flood:20000");
	IPC(&p, 2, "say:REGISTER:%:shared_memory", "shm:%");
	end(&p, 2);
	expect_unlinked(&p, 2, TRACK_SHARED_MEMORY, "");
	cr_expect(has_ended(&p, 2));
	end(&p, 1);
	cr_expect(has_ended(&p, 1));
	close_place(&p);
}

/* A process whose words are read after its death, and one that has connected for its child. */
Test(track, hears_the_dead)
{
	struct place p;

	open_place(&p, NULL);
	for (uint32_t gen = 1; gen <= 20; gen++) {
		start_ipc(&p, 1, gen,
			  (const char *const[]){ "post:PROBE:0:noop", "child:%", NULL });
		expect_output(&p.s, "ok\n");
		peer_signal(&p.s.p, 1, gen, SIGKILL, KEEPER_SCOPE_TREE);
		expect_unlinked(&p, 1, TRACK_SHARED_MEMORY, "");
		cr_expect(has_ended(&p, 1));
		cr_expect_not(exists(p.own));
	}
	close_place(&p);
}

/* An answer that the dead have not read is an error on the connection, which is told before their words. */
Test(track, hears_the_dead_who_have_not_listened)
{
	struct keeper_message m = { 0 };
	struct place p;

	open_place(&p, NULL);
	start_ipc(&p, 1, 1,
		  (const char *const[]){ "post:PROBE:0:noop", "say:REGISTER:%-n:shared_memory",
					 "freeze", "child:%", "die", NULL });
	while (m.type != KEEPER_UNLINKED) /* who has thawed it may be left for a moment */
		cr_assert_eq(peer_recv(&p.s.p, &m), 0);
	cr_expect_str_eq(m.text, p.own);
	cr_expect_not(exists(p.own));
	close_place(&p);
}

/* ------------------------------------------------------------------------------------------ what nobody tells of */

static const char *const scans[] = { NULL, "inotify", "fanotify", "fanotify,children" };

static bool has_fanotify(const char *no)
{
	return geteuid() == 0 && (no == NULL || strstr(no, "fanotify") == NULL);
}

/* Open files are looked at soon: it is told with the counts. */
static void await_held(struct place *p, uint32_t i, uint32_t n)
{
	while (p->s.p.objects.instance != i || p->s.p.objects.count != n) {
		struct keeper_message m = { 0 };

		cr_assert_eq(peer_recv_any(&p->s.p, &m), 0, "it holds %u", p->s.p.objects.count);
	}
}

Test(track, finds_what_nobody_has_told_of)
{
	for (size_t i = 0; i < ARRAY_SIZE(scans); i++) {
		struct place p;

		/* With neither of the two nothing is found. */
		if (i == 1 && !has_fanotify(scans[i]))
			continue;
		open_place(&p, scans[i]);
		make_own(&p, "-s");
		IPC(&p, 3, "raw:%-a", "hold:%-s");
		make_own(&p, "-t");
		IPC(&p, 4, "hold:%-t");
		if (!has_fanotify(scans[i]))
			await_held(&p, 3, 1);
		end(&p, 3);
		expect_unlinked(&p, 3, TRACK_SHARED_MEMORY, "-a");
		cr_expect(has_ended(&p, 3));
		end(&p, 4);
		cr_expect(has_ended(&p, 4));
		cr_expect_not(exists(name_of(&p, "-a")));
		cr_expect(exists(name_of(&p, "-s")) && exists(name_of(&p, "-t")));
		shm_unlink(name_of(&p, "-s"));
		shm_unlink(name_of(&p, "-t"));
		close_place(&p);
	}
}

Test(track, leaves_what_a_stranger_has_too)
{
	struct place p;
	int fd;

	open_place(&p, "fanotify");
	IPC(&p, 1, "crowd:0");
	fd = shm_open(p.own, O_CREAT | O_EXCL | O_RDWR, 0600);
	cr_assert(fd >= 0);
	IPC(&p, 2, "hold:%", "raw:%-a");
	await_held(&p, 2, 1); /* the walk is over */
	close(fd);
	end(&p, 2);
	expect_unlinked(&p, 2, TRACK_SHARED_MEMORY, "-a");
	cr_expect(has_ended(&p, 2));
	cr_expect(exists(p.own));
	shm_unlink(p.own);
	close_place(&p);
}

/* Under another name as soon as it is there. */
Test(track, finds_it_under_its_last_name)
{
	struct place p;

	if (!has_fanotify(NULL))
		cr_skip_test("not root");
	open_place(&p, NULL);
	for (uint32_t gen = 1; gen <= 20; gen++) {
		start_ipc(&p, 1, gen, (const char *const[]){ "raw:%", "mv:%", NULL });
		expect_output(&p.s, "ok\n");
		peer_signal(&p.s.p, 1, gen, SIGKILL, KEEPER_SCOPE_TREE);
		expect_unlinked(&p, 1, TRACK_SHARED_MEMORY, "-n");
		cr_expect(has_ended(&p, 1));
	}
	close_place(&p);
}

Test(track, finds_sysv_by_its_maker)
{
	struct place p;
	int id, other = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600), queue;

	open_place(&p, NULL);
	start_ipc(&p, 1, 1, (const char *const[]){ "sysvshm", NULL });
	id = read_id(&p);
	start_ipc(&p, 2, 1, (const char *const[]){ "sysvpost", NULL });
	queue = read_id(&p);
	end(&p, 1);
	cr_expect_eq(expect(&p.s, KEEPER_UNLINKED).object, (uint32_t)TRACK_SYSV_SHM);
	cr_expect(has_ended(&p, 1));
	cr_expect_eq(shmctl(id, IPC_RMID, NULL), -1);
	end(&p, 2);
	cr_expect_eq(expect(&p.s, KEEPER_UNLINKED).object, (uint32_t)TRACK_SYSV_MSG);
	cr_expect(has_ended(&p, 2));
	cr_expect_eq(msgctl(queue, IPC_RMID, NULL), -1);
	close_place(&p);
	cr_expect_eq(shmctl(other, IPC_RMID, NULL), 0);
}

Test(track, leaves_sysv_that_was_handed_over)
{
	struct place p;
	char word[64];
	int id;

	open_place(&p, NULL);
	start_ipc(&p, 1, 1, (const char *const[]){ "sysvshm", NULL });
	id = read_id(&p);
	snprintf(word, sizeof(word), "say:UNREGISTER:%d:sysv_shm", id);
	IPC(&p, 2, word);
	end(&p, 1);
	cr_expect(has_ended(&p, 1));
	cr_expect_eq(shmctl(id, IPC_RMID, NULL), 0);
	close_place(&p);
}
