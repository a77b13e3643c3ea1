/*
 * Bytes are a datagram between keeper and supervisor, in either direction; the first byte says which and how many
 * descriptors came along. What decodes is within its bounds and comes back from its encoding.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/wire.h"
#include "keeper/message.h"
#include "proc/spawn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static void same_words(char **a, char **b)
{
	for (; *a != NULL && *b != NULL; a++, b++)
		must(strcmp(*a, *b) == 0);
	must(*a == NULL && *b == NULL);
}

static void same_text(const char *a, const char *b)
{
	must((a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0));
}

static void check_spawn(const struct keeper_message *m, size_t n_fds)
{
	struct wire w = { m->rest, m->rest_size, false }, again;
	AUTO_BUF first = BUF_INIT;
	AUTO_BUF second = BUF_INIT;
	AUTO_BUF bytes = BUF_INIT;
	struct mps_spawn s, t;

	if (mps_spawn_decode(&w, n_fds, &first, &s) < 0)
		return;
	must(s.n_fds <= KEEPER_FDS_MAX && s.argv[0] != NULL);
	for (size_t i = 0; i < s.n_fds; i++) {
		must(i == 0 || s.fds[i].child > s.fds[i - 1].child);
		must((s.fds[i].flags & MPS_FD_ROLE) || (size_t)s.fds[i].fd < n_fds);
	}
	mps_spawn_encode(&s, &bytes);
	again = (struct wire){ bytes.p, bytes.len, false };
	must(mps_spawn_decode(&again, n_fds, &second, &t) == 0);
	must(strcmp(s.path, t.path) == 0 && s.umask == t.umask && s.nofile == t.nofile);
	must(s.n_fds == t.n_fds && s.n_groups == t.n_groups && s.set_user == t.set_user);
	must(s.n_fds == 0 || memcmp(s.fds, t.fds, s.n_fds * sizeof(*s.fds)) == 0);
	must(s.n_groups == 0 || memcmp(s.groups, t.groups, s.n_groups * sizeof(gid_t)) == 0);
	same_words(s.argv, t.argv);
	same_words(s.envp, t.envp);
	same_words(s.preload, t.preload);
	same_text(s.symbol, t.symbol);
	same_text(s.server, t.server);
	must(s.method == t.method && s.renew == t.renew);
}

static void check_message(const struct keeper_message *m, bool to_keeper)
{
	struct keeper_message again;
	AUTO_BUF bytes = BUF_INIT;

	must(m->instance < KEEPER_INSTANCES_MAX && m->first < KEEPER_INSTANCES_MAX);
	keeper_encode(m, &bytes);
	if (m->rest != NULL)
		buf_add(&bytes, m->rest, m->rest_size);
	must(keeper_decode(bytes.p, bytes.len, to_keeper, &again) == 0);
	must(again.type == m->type && again.instance == m->instance && again.gen == m->gen);
	must(again.sent == m->sent && again.rest_size == m->rest_size);
	same_text(again.text, m->text);
	must(again.time.ns == m->time.ns && again.status == m->status && again.code == m->code);
}

/* As the keeper reads the list of files that it is to unlink. */
static void read_list(const struct keeper_message *m)
{
	struct wire w = { m->rest, m->rest_size, false };
	uint32_t n = wire_u32(&w);

	while (n-- > 0 && wire_str(&w) != NULL)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool to_keeper = size > 0 && (data[0] & 1);
	size_t n_fds = size > 0 ? data[0] >> 1 & 7 : 0;
	struct keeper_message m;
	struct wire w;

	if (size == 0)
		return 0;
	w = (struct wire){ (const char *)data + 1, size - 1, false };
	while (w.n > 0 && keeper_decode_next(&w, to_keeper, &m) == 0) {
		check_message(&m, to_keeper);
		if (m.type == KEEPER_START)
			check_spawn(&m, n_fds);
		else if (m.type == KEEPER_HELLO)
			read_list(&m);
	}
	return 0;
}
