/*
 * Attempts to make what may be there already (track_scene.h): one that is taken back changes nothing, whoever has spoken,
 * made it or been killed first.
 */
#include "../track_scene.h"

__attribute__((constructor)) static void play_role(void)
{
	if (getenv(PEER_ROLE) != NULL)
		peer_be_supervisor();
}

/* What an instance waits for in the middle of its words. */
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

/* He is about to make it; what comes of that, `then`, is done at the cue. */
static void attempt_and_wait(struct place *p, uint32_t instance, const char *then, char cue[96])
{
	char read[128];

	make_cue(p, cue);
	snprintf(read, sizeof(read), "read:%s", cue);
	start_ipc(p, instance, 1, (const char *const[]){ ATTEMPT, "print:go", read, then, NULL });
	expect_output(&p->s, "go\n");
}

/* Whoever attempts to make it again, the one who has made it or somebody else, and fails, changes nothing. */
Test(attempt, keeps_it_when_another_attempt_is_taken_back)
{
	static const char *const again[] = { ATTEMPT, RETRACT, "print:ok", "wait", NULL };

	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct place p;

		open_place(&p, without[i]);
		IPC(&p, 1, ATTEMPT, "shm:%", ATTEMPT, RETRACT);
		start_ipc(&p, 2, 1, again);
		expect_output(&p.s, "ok\n");
		end_and_keep(&p, 2);
		end_and_unlink(&p, 1, TRACK_SHARED_MEMORY, "");
		cr_expect_not(exists(p.own));
		close_place(&p);
	}
}

/* Two attempt it at a time: it is his who does not take that back, whoever has spoken first. */
Test(attempt, gives_it_to_the_attempt_that_succeeds)
{
	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct place p;
		char cue[96];

		open_place(&p, without[i]);
		attempt_and_wait(&p, 1, RETRACT, cue);
		IPC(&p, 2, ATTEMPT, "shm:%");
		give_cue(cue);
		expect_output(&p.s, "ok\n");
		end_and_keep(&p, 1);
		end_and_unlink(&p, 2, TRACK_SHARED_MEMORY, "");
		close_place(&p);
	}
}

/* He is killed before he has taken it back: nobody knows which of the two has made it, so it goes when both have. */
Test(attempt, keeps_it_while_another_attempt_may_have_made_it)
{
	struct place p;

	open_place(&p, NULL);
	IPC(&p, 1, ATTEMPT);
	IPC(&p, 2, ATTEMPT, "shm:%");
	end_and_keep(&p, 1);
	end(&p, 2);
	for (int i = 0; i < 2; i++) { /* in one order or the other */
		struct keeper_message m = { 0 };

		cr_assert_eq(peer_recv(&p.s.p, &m), 0);
		cr_expect(m.type == KEEPER_EXITED ? m.instance == 2
						  : m.type == KEEPER_UNLINKED && m.instance == 2);
	}
	cr_expect_not(exists(p.own));
	close_place(&p);
}

/* A stranger's, made before the attempt or between that and its taking back; killed in between it is his still. */
Test(attempt, leaves_a_stranger_s_to_him_when_an_attempt_fails)
{
	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct place p;
		char cue[96];

		open_place(&p, without[i]);
		make_own(&p, "");
		let_time_pass(&p);
		IPC(&p, 1, ATTEMPT, RETRACT);
		IPC(&p, 2, ATTEMPT);
		end(&p, 1);
		cr_expect(has_ended(&p, 1));
		end_and_keep(&p, 2);
		shm_unlink(p.own);

		attempt_and_wait(&p, 3, RETRACT, cue);
		make_own(&p, "");
		give_cue(cue);
		expect_output(&p.s, "ok\n");
		end_and_keep(&p, 3);
		shm_unlink(p.own);
		close_place(&p);
	}
}

/* It was on record as another's when it was attempted, and had gone when it was made. */
Test(attempt, knows_an_attempt_that_succeeds_when_the_first_has_gone)
{
	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		struct place p;
		char cue[96];

		open_place(&p, without[i]);
		IPC(&p, 1, ATTEMPT, "shm:%");
		attempt_and_wait(&p, 2, "shm:%", cue);
		IPC(&p, 3, "rm:%", "say:UNREGISTER:%:shared_memory");
		give_cue(cue);
		expect_output(&p.s, "ok\n");
		end_and_keep(&p, 1);
		end_and_unlink(&p, 2, TRACK_SHARED_MEMORY, "");
		end(&p, 3);
		cr_expect(has_ended(&p, 3));
		close_place(&p);
	}
}

/* Handed over while an attempt at it was on: it stays handed over. */
Test(attempt, hands_over_nothing_to_an_attempt)
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
Test(attempt, leaves_a_file_that_was_there_when_it_was_attempted)
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
