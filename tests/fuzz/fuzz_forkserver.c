/*
 * Bytes are a request to a forkserver; the first says how many descriptors came along. What decodes is within its bounds.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/wire.h"
#include "proc/forkserver.h"
#include "proc/spawn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static void check_spawn(const struct forkserver_request *r, size_t n_fds)
{
	struct wire w = { r->rest, r->rest_size, false };
	AUTO_BUF scratch = BUF_INIT;
	struct mps_spawn s;

	if (mps_spawn_decode(&w, n_fds, &scratch, &s) < 0)
		return;
	must(s.path != NULL && s.argv[0] != NULL && s.n_fds <= KEEPER_FDS_MAX);
	must((s.method == MPS_METHOD_FORKSERVER) == (s.server != NULL));
	for (size_t i = 0; i < s.n_fds; i++)
		must((s.fds[i].flags & MPS_FD_ROLE) || (size_t)s.fds[i].fd < n_fds);
	for (int i = 1; i <= MPS_ENTRY_ROOM; i++)
		must(s.argv[-i] == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct forkserver_request r, again;
	AUTO_BUF bytes = BUF_INIT;

	if (size == 0 || forkserver_decode(data + 1, size - 1, &r) < 0)
		return 0;
	must(r.is_long == (r.rest_size == 0));
	forkserver_encode(&r, &bytes);
	buf_add(&bytes, r.rest, r.rest_size);
	must(forkserver_decode(bytes.p, bytes.len, &again) == 0);
	must(again.tag == r.tag && again.mark == r.mark && again.is_long == r.is_long &&
	     again.rest_size == r.rest_size);
	if (!r.is_long)
		check_spawn(&r, data[0] & 7);
	return 0;
}
