/*
 * Bytes are what a snapshot holds, behind a head that is good. A manager takes it or refuses it; what it took it writes as
 * another one that it takes, of the same size.
 */
#include <endian.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "manager/snapshot.h"
#include "poke.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 16 + SHA256_DIGEST_SIZE };
static const struct mps_manager_options options = { .objects_max = 8, .bytes_max = 1 << 20 };

static void put_head(uint8_t head[HEAD], const uint8_t *data, size_t size)
{
	uint64_t length = htole64(size);
	struct sha256_ctx c;

	memcpy(head, "MPSSNAP1", 8);
	memcpy(head + 8, &length, sizeof(length));
	sha256_init(&c);
	sha256_update(&c, size, data);
	sha256_digest(&c, SHA256_DIGEST_SIZE, head + 16);
}

/* Whether it was taken; then what the manager would write is in `to`. */
static bool take(const void *p, size_t n, struct buf *to)
{
	struct err err = ERR_INIT;
	struct server v;
	int r;

	MUST(server_init(&v, &options) == 0);
	r = snapshot_decode(&v, p, n, &err);
	if (r < 0)
		MUST(*err.text != '\0' && v.n_objects == 0 && v.names.n == 0);
	else
		MUST(snapshot_encode(&v, to) == 0);
	server_fini(&v);
	MUST(v.n_objects == 0 && v.kept.bytes == 0);
	return r == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF first = BUF_INIT;
	AUTO_BUF second = BUF_INIT;
	AUTO_BUF third = BUF_INIT;
	uint8_t head[HEAD];

	put_head(head, data, size);
	buf_add(&first, (const char *)head, sizeof(head));
	buf_add(&first, (const char *)data, size);
	MUST(!first.failed);
	if (take(first.p, first.len, &second)) {
		MUST(take(second.p, second.len, &third));
		MUST(third.len == second.len);
	}
	return 0;
}
