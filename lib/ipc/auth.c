/*
 * HMAC over random bytes, both ways.
 *
 * The challenge names a digest, "{sha256}" before its bytes, and the answer too (Python from 3.12 on). Python up to 3.11 knows MD5
 * only: its challenge is 20 bytes, its answer 16, and nothing is named. Since the name is a part of what is signed nobody can
 * have it changed on the way. An MD5 that the key is used with is refused unless it was asked for.
 */
#include "ipc/auth.h"

#include <errno.h>
#include <nettle/hmac.h>
#include <nettle/md5.h>
#include <nettle/memops.h>
#include <nettle/nettle-meta.h>
#include <nettle/sha2.h>
#include <nettle/sha3.h>
#include <string.h>
#include <sys/random.h>

#define CHALLENGE "#CHALLENGE#"
#define WELCOME "#WELCOME#"
#define FAILURE "#FAILURE#"
#define OURS "{sha256}"

enum {
	MD5_CHALLENGE = 20, /* how long those of Python up to 3.11 are */
	RANDOM = 40,
	DIGEST_MAX = 64,
};

struct digest {
	const char *prefix;
	const struct nettle_hash *hash;
	bool is_md5;
};

static const struct digest digests[] = {
	{ "{sha256}", &nettle_sha256, false },
	{ "{sha384}", &nettle_sha384, false },
	{ "{sha3_256}", &nettle_sha3_256, false },
	{ "{sha3_384}", &nettle_sha3_384, false },
	{ "{md5}", &nettle_md5, true },
};
static const struct digest plain_md5 = { "", &nettle_md5, true };

/* How a challenge wants to be answered, or how an answer was made. NULL: in no way that we know, or would use. */
static const struct digest *digest_of(const struct auth *a, const uint8_t *p, size_t n)
{
	const struct digest *found = NULL;

	if (n == MD5_CHALLENGE || n == MD5_DIGEST_SIZE)
		found = &plain_md5;
	for (size_t i = 0; found == NULL && i < sizeof(digests) / sizeof(*digests); i++) {
		size_t len = strlen(digests[i].prefix);

		if (n > len && memcmp(p, digests[i].prefix, len) == 0)
			found = &digests[i];
	}
	return found != NULL && found->is_md5 && !a->allow_md5 ? NULL : found;
}

static void sign(const struct auth *a, const struct digest *d, const uint8_t *p, size_t n,
		 uint8_t out[DIGEST_MAX])
{
	union {
		struct md5_ctx md5;
		struct sha256_ctx sha256;
		struct sha512_ctx sha512;
		struct sha3_256_ctx sha3_256;
		struct sha3_384_ctx sha3_384;
	} outer, inner, state;

	hmac_set_key(&outer, &inner, &state, d->hash, a->key_size, a->key);
	hmac_update(&state, d->hash, n, p);
	hmac_digest(&outer, &inner, &state, d->hash, d->hash->digest_size, out);
	explicit_bzero(&outer, sizeof(outer));
	explicit_bzero(&inner, sizeof(inner));
	explicit_bzero(&state, sizeof(state));
}

static void put(struct auth_message *m, const void *p, size_t n)
{
	memcpy(m->p + m->n, p, n);
	m->n += n;
}

static void put_text(struct auth_message *m, const char *text)
{
	put(m, text, strlen(text));
}

static bool is_text(const uint8_t *p, size_t n, const char *text)
{
	return n == strlen(text) && memcmp(p, text, n) == 0;
}

static int challenge(struct auth *a, struct auth_message *ret)
{
	uint8_t random[RANDOM];
	ssize_t r;

	do
		r = getrandom(random, sizeof(random), 0);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	a->step = AUTH_AWAITS_ANSWER;
	put_text(ret, CHALLENGE OURS);
	put(ret, random, sizeof(random));
	a->challenge_size = ret->n - strlen(CHALLENGE);
	memcpy(a->challenge, ret->p + strlen(CHALLENGE), a->challenge_size);
	return 0;
}

static int answer(struct auth *a, const uint8_t *p, size_t n, struct auth_message *ret)
{
	const size_t prefix = strlen(CHALLENGE);
	const struct digest *d = NULL;
	uint8_t digest[DIGEST_MAX];

	if (n >= prefix + MD5_CHALLENGE && memcmp(p, CHALLENGE, prefix) == 0)
		d = digest_of(a, p + prefix, n - prefix);
	if (d == NULL)
		return -EACCES;
	sign(a, d, p + prefix, n - prefix, digest);
	put_text(ret, d->prefix);
	put(ret, digest, d->hash->digest_size);
	a->step = AUTH_AWAITS_WELCOME;
	return 0;
}

static int verify(struct auth *a, const uint8_t *p, size_t n, struct auth_message *ret)
{
	const struct digest *d = digest_of(a, p, n);
	uint8_t digest[DIGEST_MAX];
	size_t prefix = d != NULL ? strlen(d->prefix) : 0;
	bool good = d != NULL && n == prefix + d->hash->digest_size;

	if (good) {
		sign(a, d, a->challenge, a->challenge_size, digest);
		good = memeql_sec(digest, p + prefix, d->hash->digest_size);
	}
	put_text(ret, good ? WELCOME : FAILURE);
	a->step = AUTH_AWAITS_CHALLENGE;
	return !good ? -EACCES : !a->is_server;
}

int auth_begin(struct auth *a, struct auth_message *ret)
{
	ret->n = 0;
	a->step = AUTH_AWAITS_CHALLENGE;
	return a->is_server ? challenge(a, ret) : 0;
}

static int feed(struct auth *a, const void *p, size_t n, struct auth_message *ret)
{
	switch (a->step) {
	case AUTH_AWAITS_CHALLENGE:
		return answer(a, p, n, ret);
	case AUTH_AWAITS_ANSWER:
		return verify(a, p, n, ret);
	case AUTH_AWAITS_WELCOME:
		if (!is_text(p, n, WELCOME))
			return -EACCES;
		return a->is_server ? 1 : challenge(a, ret);
	case AUTH_OVER:
		break;
	}
	return -EACCES;
}

int auth_feed(struct auth *a, const void *p, size_t n, struct auth_message *ret)
{
	int r;

	ret->n = 0;
	r = feed(a, p, n, ret);
	if (r != 0)
		a->step = AUTH_OVER;
	return r;
}
