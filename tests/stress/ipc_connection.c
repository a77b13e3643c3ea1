/*
 * Senders are killed at any moment, over pipes, sockets and through a listener with a key: what is received is whole messages in
 * their order, then the end, and nothing is waited for longer than its time. Before, several threads send over one end.
 * STRESS_KILLS=2000, STRESS_SEED.
 */
#include <pthread.h>
#include <sys/wait.h>

#include "base/mtime.h"
#include "mpsup.h"
#include "stress.h"

#define LIMIT (30 * MPS_SECOND) /* a machine that is busy is no error */
enum { LONGEST = 300000 };

static const struct mps_address_options keyed = { .authkey = "stress", .authkey_size = 6 };
static char text[LONGEST];
static unsigned long n_messages, n_within, n_whole, n_refused;

#define MUST(what)                                                                                 \
	do {                                                                                       \
		if (!(what))                                                                       \
			fail("line %d: does not hold: %s", __LINE__, #what);                       \
	} while (0)

/* The nth message: mostly short, at times longer than any buffer between the two. */
static size_t size_of(uint64_t *state)
{
	unsigned r = dice_of(state, UINT32_MAX);

	switch (r % 8) {
	case 0:
		return r / 8 % LONGEST;
	case 1:
		return r / 8 % 10000;
	default:
		return r / 8 % 200;
	}
}

static _Noreturn void sender(struct mps_connection *c, uint64_t state, bool in_time)
{
	for (;;) {
		size_t n = size_of(&state);

		if (mps_send(c, text + n % 7, n > 7 ? n - 7 : n, in_time ? LIMIT : MPS_FOREVER) < 0)
			_exit(1);
	}
}

/* 0, or how it ended. */
static int receive(struct mps_connection *c, uint64_t *state, bool into)
{
	static char room[LONGEST];
	const void *p = room;
	size_t n, want;
	int r = into ? mps_recv_into(c, room, sizeof(room), &n, LIMIT) : mps_recv(c, &p, &n, LIMIT);

	if (r < 0)
		return r;
	want = size_of(state);
	MUST(n == (want > 7 ? want - 7 : want));
	MUST(memcmp(p, text + want % 7, n) == 0);
	n_messages++;
	return 0;
}

static void spin(int64_t ns)
{
	int64_t end = mps_now().ns + ns;

	while (mps_now().ns < end)
		;
}

/* The pid, and the receiving end. */
static pid_t start(uint64_t state, struct mps_connection **ret)
{
	struct mps_connection *b;
	pid_t pid;

	MUST(mps_pipe(dice(2), ret, &b) == 0);
	pid = fork_own();
	if (pid == 0) {
		mps_connection_close(*ret);
		sender(b, state, dice(2));
	}
	mps_connection_close(b);
	return pid;
}

static pid_t start_client(struct mps_listener *l, uint64_t state)
{
	pid_t pid = fork_own();
	struct mps_connection *c;

	if (pid > 0)
		return pid;
	if (mps_connect(mps_listener_address(l), &keyed, &c, LIMIT) < 0)
		_exit(1);
	sender(c, state, true);
}

static void end(struct mps_connection *c, pid_t pid, uint64_t state)
{
	unsigned before = dice(40);
	int r = 0;

	while (before-- > 0)
		MUST(receive(c, &state, dice(2)) == 0);
	spin(dice(300000));
	kill(pid, SIGKILL);
	while ((r = receive(c, &state, dice(2))) == 0)
		;
	MUST(r == -EPROTO || r == -ENODATA);
	*(r == -EPROTO ? &n_within : &n_whole) += 1;
	mps_connection_close(c);
	MUST(waitpid(pid, NULL, 0) == pid);
}

/* A client may be killed within the handshake: the listener goes on. */
static void through_listener(struct mps_listener *l)
{
	uint64_t state = dice(UINT32_MAX);
	struct mps_connection *c;
	pid_t pid = start_client(l, state);

	if (dice(2)) {
		spin(dice(1000000));
		kill(pid, SIGKILL);
		MUST(waitpid(pid, NULL, 0) == pid);
		n_refused++;
		/* It has done its handshake before, or the next one is served. */
		while (mps_listener_accept(l, &c, 0) == 0)
			mps_connection_close(c);
		pid = start_client(l, state);
		for (;;) {
			MUST(mps_listener_accept(l, &c, LIMIT) == 0);
			if (mps_connection_poll(c, LIMIT) == 1 &&
			    receive(c, &(uint64_t){ state }, false) == 0)
				break;
			mps_connection_close(c);
		}
		size_of(&state);
	} else {
		MUST(mps_listener_accept(l, &c, LIMIT) == 0);
	}
	end(c, pid, state);
}

/* ------------------------------------------------------------------------------------------------------- threads */

enum { THREADS = 3, EACH = 2000 };

/* Of one byte each, so that a piece of another one is seen. */
static void *send_letters(void *p)
{
	static _Atomic char next = 'a';
	char letter[3000];
	struct mps_connection *c = p;

	memset(letter, next++, sizeof(letter));
	for (int i = 0; i < EACH; i++)
		MUST(mps_send(c, letter, (size_t)(1 + i * 7919 % 3000), LIMIT) == 0);
	return NULL;
}

static void threads_send(bool duplex)
{
	pthread_t ids[THREADS];
	struct mps_connection *a, *b;
	const char *p;
	size_t n;

	MUST(mps_pipe(duplex, &a, &b) == 0);
	for (int i = 0; i < THREADS; i++)
		MUST(pthread_create(&ids[i], NULL, send_letters, b) == 0);
	for (int i = 0; i < THREADS * EACH; i++) {
		MUST(mps_recv(a, (const void **)&p, &n, LIMIT) == 0);
		for (size_t k = 1; k < n; k++)
			MUST(p[k] == p[0]);
	}
	for (int i = 0; i < THREADS; i++)
		MUST(pthread_join(ids[i], NULL) == 0);
	MUST(mps_connection_poll(a, 0) == 0);
	mps_connection_close(a);
	mps_connection_close(b);
}

int main(void)
{
	unsigned kills = (unsigned)number_of("STRESS_KILLS", 2000);
	struct mps_listener *l;

	take_seed();
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 13 + i / 255);
	threads_send(false);
	threads_send(true);
	MUST(mps_listen(NULL, &keyed, &l) == 0);
	for (unsigned i = 0; i < kills; i++) {
		uint64_t state = dice(UINT32_MAX);

		if (i % 4 == 3) {
			through_listener(l);
		} else {
			struct mps_connection *c;
			pid_t pid = start(state, &c);

			end(c, pid, state);
		}
	}
	mps_listener_close(l);
	printf("%u kills, %lu of them within a message, %lu between two, %lu clients more "
	       "in their "
	       "handshake, %lu messages\n",
	       kills, n_within, n_whole, n_refused, n_messages);
	return 0;
}
