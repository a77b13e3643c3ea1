/*
 * The handshake of listeners: both sides of ours, the dialects of Python, and those who do not have the key.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ipc/auth.h"

#define KEY "secret"

static struct auth side(bool is_server, const char *key, bool allow_md5)
{
	return (struct auth){
		.key = key, .key_size = strlen(key), .allow_md5 = allow_md5, .is_server = is_server
	};
}

/* Messages go to and fro until nobody has one: the results of both. */
static void meet(struct auth *server, struct auth *client, int *ret_server, int *ret_client)
{
	struct auth_message m, answer;
	bool to_client = true;

	*ret_server = *ret_client = 0;
	cr_assert_eq(auth_begin(client, &m), 0);
	cr_assert_eq(m.n, 0);
	cr_assert_eq(auth_begin(server, &m), 0);
	while (m.n > 0) {
		int r = auth_feed(to_client ? client : server, m.p, m.n, &answer);

		*(to_client ? ret_client : ret_server) = r;
		to_client = !to_client;
		m = answer;
	}
}

static const struct meeting {
	const char *server, *client;
	int of_server, of_client;
} meetings[] = {
	{ KEY, KEY, 1, 1 },
	{ "", "", 1, 1 },
	{ "a much longer key than a block of the digest: a much longer key than a block of the "
	  "digest: a much longer key than a block of the digest: a much longer key than a block",
	  "a much longer key than a block of the digest: a much longer key than a block of the "
	  "digest: a much longer key than a block of the digest: a much longer key than a block",
	  1, 1 },
	{ KEY, "Secret", -EACCES, -EACCES },
	{ KEY, "", -EACCES, -EACCES },
};

Test(auth, both_sides_must_have_the_key)
{
	for (size_t i = 0; i < sizeof(meetings) / sizeof(*meetings); i++) {
		const struct meeting *m = &meetings[i];
		struct auth server = side(true, m->server, false);
		struct auth client = side(false, m->client, false);
		int r, q;

		meet(&server, &client, &r, &q);
		cr_assert_eq(r, m->of_server, "%zu: %d", i, r);
		cr_assert_eq(q, m->of_client, "%zu: %d", i, q);
	}
}

/* The bytes 0 to n - 1 behind "#CHALLENGE#" and a prefix, and the answer to them with the key KEY, made by Python. */
static const struct row {
	const char *prefix;
	size_t n;
	bool is_md5;
	const char *answer; /* hexadecimal, behind the prefix */
} rows[] = {
#include "test_ipc_auth_rows.h"
};

static size_t make_challenge(const struct row *row, uint8_t *out)
{
	size_t n = (size_t)sprintf((char *)out, "#CHALLENGE#%s", row->prefix);

	for (size_t i = 0; i < row->n; i++)
		out[n++] = (uint8_t)i;
	return n;
}

static size_t expected(const struct row *row, uint8_t *out)
{
	size_t n = (size_t)sprintf((char *)out, "%s", row->prefix);

	for (size_t i = 0; row->answer[i] != '\0'; i += 2) {
		unsigned byte;

		cr_assert_eq(sscanf(row->answer + i, "%2x", &byte), 1);
		out[n++] = (uint8_t)byte;
	}
	return n;
}

Test(auth, answers_are_those_of_python_and_md5_must_be_asked_for)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint8_t challenge[256], want[256];
		size_t n = make_challenge(&rows[i], challenge), size = expected(&rows[i], want);

		for (int allow = 0; allow < 2; allow++) {
			struct auth a = side(false, KEY, allow);
			struct auth_message m;

			cr_assert_eq(auth_begin(&a, &m), 0);
			if (rows[i].is_md5 && !allow) {
				cr_assert_eq(auth_feed(&a, challenge, n, &m), -EACCES);
				cr_assert_eq(m.n, 0);
				continue;
			}
			cr_assert_eq(auth_feed(&a, challenge, n, &m), 0);
			cr_assert_eq(m.n, size, "%s", rows[i].prefix);
			cr_assert_arr_eq(m.p, want, size);
		}
	}
}

static const struct word {
	const char *p;
	size_t n;
} no_challenges[] = {
	{ "", 0 },
	{ "#CHALLENGE", 10 },
	{ "#CHALLENGE#", 11 },
	{ "#CHALLENGE#0123456789abcdef", 27 },
	{ "#CHALLENGE#0123456789abcdef012", 30 },
	{ "#CHALLENGE#{sha1}0123456789abcdef01234567", 41 },
	{ "#CHALLENGE#{sha2560123456789abcdef01234567", 42 },
	{ "#CHALLENG!#{sha256}0123456789abcdef01234567", 43 },
	{ "#WELCOME#", 9 },
};

Test(auth, what_is_no_challenge_is_not_answered)
{
	for (size_t i = 0; i < sizeof(no_challenges) / sizeof(*no_challenges); i++) {
		struct auth a = side(false, KEY, true);
		struct auth_message m;

		cr_assert_eq(auth_begin(&a, &m), 0);
		cr_assert_eq(auth_feed(&a, no_challenges[i].p, no_challenges[i].n, &m), -EACCES);
		cr_assert_eq(m.n, 0);
	}
}

Test(auth, an_answer_of_another_length_or_digest_is_refused)
{
	static const char *const wrong[] = { "",
					     "{sha256}",
					     "{sha256}short",
					     "{md5}0123456789abcdef",
					     "0123456789abcdef",
					     "{sha3_256}",
					     "#WELCOME#" };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct auth a = side(true, KEY, i % 2);
		struct auth_message m;

		cr_assert_eq(auth_begin(&a, &m), 0);
		cr_assert_eq(m.n, 11 + 8 + 40);
		cr_assert_eq(auth_feed(&a, wrong[i], strlen(wrong[i]), &m), -EACCES);
		cr_assert_eq(m.n, 9);
		cr_assert_arr_eq(m.p, "#FAILURE#", 9);
	}
}

Test(auth, no_challenge_comes_twice)
{
	struct auth a = side(true, KEY, false);
	struct auth_message m, again;

	cr_assert_eq(auth_begin(&a, &m), 0);
	cr_assert_eq(auth_begin(&a, &again), 0);
	cr_assert_neq(memcmp(m.p, again.p, m.n), 0);
}
