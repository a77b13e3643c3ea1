/*
 * Messages over connections beside the same frames written and read by hand, in one run, one after the other:
 *
 *   ipc_connection [-r ROUNDS] [-p PART]: PART of the messages that a row has
 *
 * A round trip goes to a child and back; a stream to a child, which sends one byte when all has come. By hand: one writev a message;
 * of what comes one read, and a second one where the first has not brought all.
 */
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <arpa/inet.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "mpsup.h"
#include "stat.h"

enum { AHEAD = 64 << 10, BIG = 1 << 20 };

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* ------------------------------------------------------------------------------------------------------ by hand */

struct hand {
	int fd;
	size_t head, tail;
	char ahead[AHEAD];
};

static void hand_send(struct hand *h, const void *p, size_t n)
{
	uint32_t header = htonl((uint32_t)n);
	struct iovec iov[2] = { { &header, 4 }, { (void *)p, n } };
	ssize_t r = writev(h->fd, iov, 2);

	if (r < 0)
		die("writev");
	for (size_t done = (size_t)r; done < n + 4; done += (size_t)r) {
		r = write(h->fd, (const char *)p + done - 4, n + 4 - done);
		if (r <= 0)
			die("write");
	}
}

static void hand_need(struct hand *h, size_t n)
{
	while (h->tail - h->head < n) {
		ssize_t r;

		if (h->head + n > AHEAD) {
			memmove(h->ahead, h->ahead + h->head, h->tail - h->head);
			h->tail -= h->head;
			h->head = 0;
		}
		r = read(h->fd, h->ahead + h->tail, AHEAD - h->tail);
		if (r <= 0)
			exit(r < 0);
		h->tail += (size_t)r;
	}
}

static size_t hand_recv(struct hand *h, char *out)
{
	uint32_t header;
	size_t n, part;

	hand_need(h, 4);
	memcpy(&header, h->ahead + h->head, 4);
	h->head += 4;
	n = ntohl(header);
	part = h->tail - h->head < n ? h->tail - h->head : n;
	memcpy(out, h->ahead + h->head, part);
	h->head += part;
	if (h->head == h->tail)
		h->head = h->tail = 0;
	while (part < n) {
		ssize_t r = read(h->fd, out + part, n - part);

		if (r <= 0)
			exit(r < 0);
		part += (size_t)r;
	}
	return n;
}

/* ---------------------------------------------------------------------------------------------------- both kinds */

/* One direction of one of the two kinds. */
struct end {
	struct mps_connection *c;
	struct hand *h;
};

static void end_send(struct end *e, const void *p, size_t n)
{
	if (e->h != NULL)
		hand_send(e->h, p, n);
	else if (mps_send(e->c, p, n, MPS_FOREVER) < 0)
		die("mps_send");
}

static size_t end_recv(struct end *e, char *out)
{
	size_t n;
	int r;

	if (e->h != NULL)
		return hand_recv(e->h, out);
	r = mps_recv_into(e->c, out, BIG, &n, MPS_FOREVER);
	if (r < 0)
		exit(r != -ENODATA);
	return n;
}

static struct end end_of(int fd, bool by_hand)
{
	struct end e = { NULL, NULL };

	if (by_hand) {
		e.h = malloc(sizeof(*e.h));
		if (e.h == NULL)
			die("malloc");
		*e.h = (struct hand){ .fd = fd };
	} else {
		errno = -mps_connection_open(fd, &e.c);
		if (errno != 0)
			die("mps_connection_open");
	}
	return e;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* What is measured: how many messages of that size, there and back or there alone. */
struct row {
	const char *name;
	size_t size;
	int count;
	bool duplex, back;
	int cpu; /* of the child; -1 = where the kernel likes */
};

static double part = 1;

static int count_of(const struct row *row)
{
	return (int)(row->count * part) + 1;
}

static const struct row rows[] = {
	{ "round trip 64 B, pipes, one core", 64, 5000, false, true, 0 },
	{ "round trip 64 B, pipes, two cores", 64, 2000, false, true, 1 },
	{ "round trip 64 B, socket, one core", 64, 5000, true, true, 0 },
	{ "round trip 4 KiB, pipes, one core", 4096, 5000, false, true, 0 },
	{ "stream 64 B, pipe, one core", 64, 100000, false, false, 0 },
	{ "stream 64 B, pipe, two cores", 64, 100000, false, false, 1 },
	{ "stream 64 B, socket, one core", 64, 50000, true, false, 0 },
	{ "stream 64 B, socket, two cores", 64, 50000, true, false, 1 },
	{ "stream 4 KiB, pipe, one core", 4096, 20000, false, false, 0 },
	{ "stream 4 KiB, socket, one core", 4096, 20000, true, false, 0 },
	{ "stream 1 MiB, pipe, one core", BIG, 100, false, false, 0 },
	{ "stream 1 MiB, socket, one core", BIG, 200, true, false, 0 },
	{ "stream 1 MiB, socket, two cores", BIG, 200, true, false, 1 },
};

static void child(const struct row *row, int in, int out, bool by_hand)
{
	static char room[BIG];
	struct end from = end_of(in, by_hand), to = from;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(row->cpu);
	if (out != in)
		to = end_of(out, by_hand);
	for (int i = 1;; i++) {
		size_t n = end_recv(&from, room);

		if (row->back)
			end_send(&to, room, n);
		else if (i % count_of(row) == 0)
			end_send(&to, room, 1);
	}
}

/* Nanoseconds a message. */
static double measure(const struct row *row, struct end *to, struct end *from)
{
	static char message[BIG], room[BIG];
	double t = now();

	for (int i = 0; i < count_of(row); i++) {
		end_send(to, message, row->size);
		if (row->back)
			end_recv(from, room);
	}
	if (!row->back)
		end_recv(from, room);
	return (now() - t) / count_of(row);
}

struct pair {
	struct end to, from;
	pid_t pid;
	int fds[2];
};

static void start(struct pair *p, const struct row *row, bool by_hand)
{
	int there[2], back[2];

	if ((row->duplex ? socketpair(AF_UNIX, SOCK_STREAM, 0, there) : pipe(there)) < 0 ||
	    (!row->duplex && pipe(back) < 0))
		die("pipe");
	p->pid = fork();
	if (p->pid < 0)
		die("fork");
	if (p->pid == 0)
		child(row, there[0], row->duplex ? there[0] : back[1], by_hand);
	p->fds[0] = there[1];
	p->fds[1] = row->duplex ? there[1] : back[0];
	p->to = end_of(there[1], by_hand);
	p->from = row->duplex ? p->to : end_of(back[0], by_hand);
	close(there[0]);
	if (!row->duplex)
		close(back[1]);
}

static void stop(struct pair *p)
{
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	close(p->fds[0]);
	if (p->fds[1] != p->fds[0])
		close(p->fds[1]);
}

static void run(const struct row *row, int rounds)
{
	struct samples ours = { 0 }, hand = { 0 };
	struct pair a, b;

	start(&a, row, false);
	start(&b, row, true);
	measure(row, &a.to, &a.from);
	measure(row, &b.to, &b.from);
	for (int i = 0; i < rounds; i++) {
		samples_add(&ours, measure(row, &a.to, &a.from) / 1e3);
		samples_add(&hand, measure(row, &b.to, &b.from) / 1e3);
	}
	stop(&a);
	stop(&b);
	samples_say(&ours, row->name, "mpsup", "us");
	samples_say(&hand, row->name, LIMIT, "us");
}

int main(int argc, char **argv)
{
	int rounds = 5;

	if (!take_options(argc, argv, &rounds, &part))
		return 2;
	signal(SIGPIPE, SIG_IGN);
	pin(0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (rows[i].cpu <= 0 || sysconf(_SC_NPROCESSORS_ONLN) > 1)
			run(&rows[i], rounds);
	return 0;
}
