/*
 * Bytes are what comes over a connection. However they are cut and whatever is asked for, what is received is what a plain
 * reading of all of them gives, and the end comes for the right reason.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ipc/connection.h"
#include "poke.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STREAM_MAX = 150000, ROOM = 1 << 18 };

/* A plain reading. */
struct plain {
	const uint8_t *p;
	size_t n, limit;
};

static int plain_next(struct plain *s, const uint8_t **ret_p, size_t *ret_n)
{
	uint64_t length;
	int header = frame_decode(s->p, s->n, &length);

	if (s->n == 0)
		return -ENODATA;
	if (header < 0)
		return header;
	if (header > 0 && length > s->limit)
		return -EMSGSIZE;
	if (header == 0 || s->n - (size_t)header < length)
		return -EPROTO;
	*ret_p = s->p + header;
	*ret_n = (size_t)length;
	s->p += (size_t)header + length;
	s->n -= (size_t)header + length;
	return 0;
}

static uint32_t next(uint32_t *seed)
{
	return *seed = *seed * 1664525 + 1013904223;
}

/* One thing is asked for: 1 = a message was received, and is the one that it should be. */
static int ask(struct mps_connection *c, struct plain *s, uint32_t what, char *room)
{
	struct plain before = *s;
	const uint8_t *want = NULL;
	const void *p = room;
	size_t n = 0, want_n = 0, space = what & 4 ? ROOM : (what >> 8) % 64;
	int expected = plain_next(s, &want, &want_n), r;

	if (what & 1)
		MUST(mps_connection_poll(c, 0) >= 0);
	if (what & 2)
		r = mps_recv_into(c, room, space, &n, 0);
	else
		r = mps_recv(c, &p, &n, 0);
	if (r == 0) {
		MUST(expected == 0 && n == want_n && (n == 0 || memcmp(p, want, n) == 0));
		return 1;
	}
	*s = before;
	if (r == -ENOBUFS)
		MUST(n > space);
	else
		MUST(r == -ETIMEDOUT || r == expected);
	return r == -ENOBUFS ? -ETIMEDOUT : r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char room[ROOM];
	struct mps_connection *a, *b;
	struct plain s;
	uint32_t seed;
	size_t sent = 0;
	int fd, r = -ETIMEDOUT;

	if (size < 5 || size > STREAM_MAX)
		return 0;
	memcpy(&seed, data, 4);
	s = (struct plain){ data + 5, size - 5, data[4] == 0 ? ROOM : (size_t)data[4] * 1000 };
	MUST(mps_pipe(true, &a, &b) == 0);
	mps_connection_set_limit(a, s.limit);
	fd = connection_take_fd(b);
	size -= 5;
	data += 5;
	while (sent < size) {
		size_t n = 1 + next(&seed) % (size - sent);

		MUST(fd_write_all(fd, data + sent, n) == 0);
		sent += n;
		r = ask(a, &s, next(&seed), room);
	}
	fd_close(&fd);
	for (unsigned i = 0; i < 20 * STREAM_MAX && (r >= 0 || r == -ETIMEDOUT); i++)
		r = ask(a, &s, next(&seed) >> 8 | 4, room);
	MUST(r == plain_next(&s, &(const uint8_t *){ NULL }, &(size_t){ 0 }));
	mps_connection_close(a);
	return 0;
}
