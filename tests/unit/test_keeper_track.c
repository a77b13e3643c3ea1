/*
 * The tracker, through a real keeper and a program that tells of objects by hand (track_scene.h): what is unlinked when an
 * instance ends, what is not, and what the supervisor is told.
 */
#include "../track_scene.h"

#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/un.h>

__attribute__((constructor)) static void play_role(void)
{
	if (getenv(PEER_ROLE) != NULL)
		peer_be_supervisor();
}

Test(track, unlinks_what_is_left_and_tells_before_the_end)
{
	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct place p;

		open_place(&p, without[i]);
		IPC(&p, 3, "say:REGISTER:%-a:shared_memory", "shm:%-a");
		cr_expect(exists(name_of(&p, "-a")));
		end_and_unlink(&p, 3, TRACK_SHARED_MEMORY, "-a");
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
	end_and_keep(&p, 1);
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

/* Nor what was made anew before the keeper looks: wherever what the kernel tells is cut when it is read. */
Test(track, leaves_what_was_made_anew_before_it_looked)
{
	enum { N = 1000 };
	struct place p;
	char name[64];
	pid_t pid;

	open_place(&p, NULL);
	pid = start_ipc(&p, 1, 1, (const char *const[]){ "flood:1000", NULL });
	expect_output(&p.s, "ok\n");
	kill(p.s.p.keeper, SIGSTOP);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "/f-%d-%d", (int)pid, i);
		make_named(name); /* who has made it the kernel does not say */
		shm_unlink(name);
		make_named(name);
	}
	kill(p.s.p.keeper, SIGCONT);
	end(&p, 1);
	cr_expect(has_ended(&p, 1));
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "/f-%d-%d", (int)pid, i);
		cr_expect_eq(shm_unlink(name), 0, "%s is gone", name);
	}
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
		end_and_keep(&p, 2);
		end_and_unlink(&p, 1, TRACK_SHARED_MEMORY, "");
	}
	close_place(&p);
}

Test(track, leaves_what_was_handed_over)
{
	struct place p;

	open_place(&p, NULL);
	IPC(&p, 1, "say:REGISTER:%:shared_memory", "shm:%");
	IPC(&p, 2, "say:UNREGISTER:%:shared_memory");
	end_and_keep(&p, 1);
	shm_unlink(p.own);
	close_place(&p);
}

Test(track, waits_for_the_last_user)
{
	struct place p;

	open_place(&p, NULL);
	IPC(&p, 1, "say:REGISTER:%:shared_memory", "shm:%");
	IPC(&p, 2, "hold:%");
	end_and_keep(&p, 1);
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
	end_and_unlink(&p, 1, TRACK_SHARED_MEMORY, "-n");
	/* Told of as the shim does. */
	IPC(&p, 2, "say:REGISTER:%:shared_memory", "shm:%", "say:REGISTER:%-n:shared_memory",
	    "mv:%", "say:UNREGISTER:%:shared_memory");
	end_and_unlink(&p, 2, TRACK_SHARED_MEMORY, "-n");
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
	end_and_keep(&p, 2);
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

/* All are told to end in one turn of the keeper's loop. */
Test(track, works_off_several_that_end_together)
{
	enum { INSTANCES = 3, N = 400 };
	uint32_t told[INSTANCES + 1] = { 0 };
	struct place p;

	open_place(&p, NULL);
	for (uint32_t i = 1; i <= INSTANCES; i++)
		IPC(&p, i, "many:400");
	kill(p.s.p.keeper, SIGSTOP);
	for (uint32_t i = 1; i <= INSTANCES; i++)
		end(&p, i);
	kill(p.s.p.keeper, SIGCONT);
	for (int left = INSTANCES; left > 0;) {
		struct keeper_message m = { 0 };
		int r = peer_recv(&p.s.p, &m);

		cr_assert_eq(r, 0, "%s", strerror(-r));
		if (m.type == KEEPER_UNLINKED)
			told[m.instance]++;
		if (m.type != KEEPER_EXITED)
			continue;
		cr_expect_eq(told[m.instance], N, "instance %u", m.instance);
		left--;
	}
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
	end_and_keep(&p, 1);
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
	end_and_unlink(&p, 2, TRACK_SHARED_MEMORY, "");
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
		end_and_unlink(&p, 3, TRACK_SHARED_MEMORY, "-a");
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
	end_and_unlink(&p, 2, TRACK_SHARED_MEMORY, "-a");
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
