/*
 * Bytes are what happens to the messages of a handshake on their way: any of them is changed, cut, made longer, or another one
 * comes instead. Both sides are content only if nothing has happened to any of them.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/auth.h"
#include "poke.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *at;
static size_t left;

static uint8_t next(void)
{
	if (left == 0)
		return 0;
	left--;
	return *at++;
}

/* Returns whether anything has happened to it. */
static bool happen(struct auth_message *m)
{
	struct auth_message before = *m;

	switch (next() % 5) {
	case 1: /* changed */
		m->p[m->n > 0 ? next() % m->n : 0] ^= next();
		break;
	case 2: /* cut, or longer */
		m->n = next();
		break;
	case 3: /* another one */
		m->n = next();
		if (m->n > left)
			m->n = left;
		memcpy(m->p, at, m->n);
		at += m->n;
		left -= m->n;
		break;
	}
	return m->n != before.n || memcmp(m->p, before.p, m->n) != 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct auth server = { .key = "key", .key_size = 3, .is_server = true };
	struct auth client = { .key = "key", .key_size = 3 };
	struct auth_message m = { { 0 }, 0 }, answer = { { 0 }, 0 };
	bool changed = false, to_client = true;
	int r[2] = { 0, 0 };

	at = data;
	left = size;
	server.allow_md5 = next() & 1;
	client.allow_md5 = next() & 1;
	MUST(auth_begin(&client, &m) == 0 && m.n == 0);
	MUST(auth_begin(&server, &m) == 0 && m.n > 0);
	while (m.n > 0) {
		changed |= happen(&m);
		r[to_client] = auth_feed(to_client ? &client : &server, m.p, m.n, &answer);
		MUST(r[to_client] == 0 || r[to_client] == 1 || r[to_client] == -EACCES);
		MUST(answer.n <= sizeof(answer.p));
		to_client = !to_client;
		m = answer;
	}
	MUST((r[0] == 1 && r[1] == 1) == !changed);
	return 0;
}
