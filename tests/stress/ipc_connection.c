/*
 * Senders are killed at any moment, over pipes, sockets and through a listener with a key: what is received is whole messages in
 * their order, then the end, and nothing is waited for longer than its time. Before, several threads send over one end.
 * STRESS_KILLS=2000, STRESS_SEED.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mtime.h"
#include "mpsup.h"

#define LIMIT (30 * MPS_SECOND) /* a machine that is busy is no error */
enum { LONGEST = 300000 };

static const struct mps_address_options keyed = { .authkey = "stress", .authkey_size = 6 };
static char text[LONGEST];
static unsigned seed;
static unsigned long n_messages, n_within, n_whole, n_refused;

#define MUST(what)                                                                                 \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: does not hold: %s (seed %u)\n", __FILE__,          \
				__LINE__, #what, seed);                                            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static uint32_t draw(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	return *state ^= *state << 5;
}

/* The nth message: mostly short, at times longer than any buffer between the two. */
static size_t size_of(uint32_t *state)
{
	uint32_t r = draw(state);

	switch (r % 8) {
	case 0:
		return r / 8 % LONGEST;
	case 1:
		return r / 8 % 10000;
	default:
		return r / 8 % 200;
	}
}

static _Noreturn void sender(struct mps_connection *c, uint32_t state, bool in_time)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		size_t n = size_of(&state);

		if (mps_send(c, text + n % 7, n > 7 ? n - 7 : n, in_time ? LIMIT : MPS_FOREVER) < 0)
			_exit(1);
	}
}

/* 0, or how it ended. */
static int receive(struct mps_connection *c, uint32_t *state, bool into)
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
static pid_t start(uint32_t *rng, uint32_t state, struct mps_connection **ret)
{
	struct mps_connection *b;
	pid_t pid;

	MUST(mps_pipe(draw(rng) % 2, ret, &b) == 0);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		mps_connection_close(*ret);
		sender(b, state, draw(rng) % 2);
	}
	mps_connection_close(b);
	return pid;
}

static pid_t start_client(struct mps_listener *l, uint32_t state)
{
	pid_t pid = fork();
	struct mps_connection *c;

	MUST(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mps_connect(mps_listener_address(l), &keyed, &c, LIMIT) < 0)
		_exit(1);
	sender(c, state, true);
}

static void end(struct mps_connection *c, pid_t pid, uint32_t *rng, uint32_t state)
{
	unsigned before = draw(rng) % 40;
	int r = 0;

	while (before-- > 0)
		MUST(receive(c, &state, draw(rng) % 2) == 0);
	spin(draw(rng) % 300000);
	kill(pid, SIGKILL);
	while ((r = receive(c, &state, draw(rng) % 2)) == 0)
		;
	MUST(r == -EPROTO || r == -ENODATA);
	*(r == -EPROTO ? &n_within : &n_whole) += 1;
	mps_connection_close(c);
	MUST(waitpid(pid, NULL, 0) == pid);
}

/* A client may be killed within the handshake: the listener goes on. */
static void through_listener(struct mps_listener *l, uint32_t *rng)
{
	uint32_t state = draw(rng) | 1;
	struct mps_connection *c;
	pid_t pid = start_client(l, state);

	if (draw(rng) % 2) {
		spin(draw(rng) % 1000000);
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
			    receive(c, &(uint32_t){ state }, false) == 0)
				break;
			mps_connection_close(c);
		}
		size_of(&state);
	} else {
		MUST(mps_listener_accept(l, &c, LIMIT) == 0);
	}
	end(c, pid, rng, state);
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

static unsigned number_of(const char *name, unsigned otherwise)
{
	const char *text_of = getenv(name);

	return text_of != NULL ? (unsigned)strtoul(text_of, NULL, 10) : otherwise;
}

int main(void)
{
	unsigned kills = number_of("STRESS_KILLS", 2000);
	struct mps_listener *l;
	uint32_t rng;

	seed = number_of("STRESS_SEED", (unsigned)getpid());
	rng = seed * 2654435761u | 1;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 13 + i / 255);
	threads_send(false);
	threads_send(true);
	MUST(mps_listen(NULL, &keyed, &l) == 0);
	for (unsigned i = 0; i < kills; i++) {
		uint32_t state = draw(&rng) | 1;

		if (i % 4 == 3) {
			through_listener(l, &rng);
		} else {
			struct mps_connection *c;
			pid_t pid = start(&rng, state, &c);

			end(c, pid, &rng, state);
		}
	}
	mps_listener_close(l);
	printf("seed %u: %u kills, %lu of them within a message, %lu between two, %lu clients more "
	       "in their "
	       "handshake, %lu messages\n",
	       seed, kills, n_within, n_whole, n_refused, n_messages);
	return 0;
}
