/*
 * A struct mps_spawn in a message: it comes back whole, and a message that lies is refused.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/wire.h"
#include "proc/spawn.h"

static char *argv_[] = { (char *)"/bin/x", (char *)"", (char *)"-c", NULL };
static char *envp_[] = { (char *)"A=1", (char *)"B=", NULL };
static char *preload_[] = { (char *)"a.so", (char *)"/b.so", NULL };
static const gid_t groups_[] = { 5, 6, 7 };

/* Three rows, of which one is a role; two descriptors travel. */
static struct mps_spawn whole(const struct mps_fd *fds)
{
	return (struct mps_spawn){
		.path = "/bin/x",
		.argv = argv_,
		.envp = envp_,
		.cwd = "/tmp",
		.fds = fds,
		.n_fds = 3,
		.session = MPS_SESSION_GROUP,
		.umask = 027,
		.set_user = true,
		.uid = 1,
		.gid = 2,
		.groups = groups_,
		.n_groups = 3,
		.nofile = 1234,
		.pdeathsig = 9,
		.symbol = "main",
		.method = MPS_METHOD_FORKSERVER,
		.server = "one",
		.preload = preload_,
		.renew = true,
	};
}

static const struct mps_fd good_fds[] = { { 0, MPS_FD_IDLE, MPS_FD_ROLE },
					  { 1, 1, MPS_FD_REOPEN },
					  { 7, 0, 0 } };

static int decode(const struct buf *b, size_t n, struct buf *scratch, struct mps_spawn *ret)
{
	struct wire w = { b->p, n, false };

	return mps_spawn_decode(&w, 2, scratch, ret);
}

Test(spawn_code, comes_back_whole)
{
	struct mps_spawn s = whole(good_fds), r;
	AUTO_BUF scratch = BUF_INIT;
	AUTO_BUF b = BUF_INIT;

	mps_spawn_encode(&s, &b);
	cr_assert_eq(decode(&b, b.len, &scratch, &r), 0);
	cr_expect_str_eq(r.path, s.path);
	cr_expect_str_eq(r.cwd, s.cwd);
	for (size_t i = 0; i < 3; i++)
		cr_expect_str_eq(r.argv[i], argv_[i]);
	cr_expect_null(r.argv[3]);
	cr_expect_str_eq(r.envp[1], "B=");
	cr_expect_null(r.envp[2]);
	cr_expect_eq(r.n_fds, 3);
	cr_expect_eq(memcmp(r.fds, good_fds, sizeof(good_fds)), 0);
	cr_expect_eq(r.n_groups, 3);
	cr_expect_eq(memcmp(r.groups, groups_, sizeof(groups_)), 0);
	cr_expect(r.session == s.session && r.umask == 027 && r.uid == 1 && r.gid == 2);
	cr_expect(r.set_user && r.nofile == 1234 && r.pdeathsig == 9);
	cr_expect_str_eq(r.symbol, "main");
	cr_expect_str_eq(r.server, "one");
	cr_expect(r.method == MPS_METHOD_FORKSERVER && r.renew);
	cr_expect_str_eq(r.preload[1], "/b.so");
	cr_expect_null(r.preload[2]);
	/* The room in front of argv is there: nothing else changes when it is used. */
	for (size_t i = 1; i <= MPS_ENTRY_ROOM; i++)
		r.argv[-(ptrdiff_t)i] = (char *)"x";
	cr_expect_eq(memcmp(r.fds, good_fds, sizeof(good_fds)), 0);
	cr_expect_eq(memcmp(r.groups, groups_, sizeof(groups_)), 0);
	cr_expect_str_eq(r.argv[0], argv_[0]);
}

Test(spawn_code, what_is_not_set_comes_back_unset)
{
	char *none[] = { NULL };
	struct mps_spawn s = { .path = "x", .argv = argv_, .envp = none, .umask = -1 }, r;
	AUTO_BUF scratch = BUF_INIT;
	AUTO_BUF b = BUF_INIT;

	mps_spawn_encode(&s, &b);
	cr_assert_eq(decode(&b, b.len, &scratch, &r), 0);
	cr_expect(r.symbol == NULL && r.server == NULL && r.preload[0] == NULL);
	cr_expect(r.cwd == NULL && r.umask == -1 && !r.set_user && r.n_fds == 0);
	cr_expect_null(r.envp[0]);
}

Test(spawn_code, every_cut_is_refused)
{
	struct mps_spawn s = whole(good_fds), r;
	AUTO_BUF scratch = BUF_INIT;
	AUTO_BUF b = BUF_INIT;

	mps_spawn_encode(&s, &b);
	for (size_t n = 0; n < b.len; n++)
		cr_expect_eq(decode(&b, n, &scratch, &r), -EBADMSG, "%zu bytes", n);
	buf_addc(&b, '\0');
	cr_expect_eq(decode(&b, b.len, &scratch, &r), -EBADMSG);
}

Test(spawn_code, a_table_that_lies_is_refused)
{
	static const struct mps_fd bad[][3] = {
		{ { 0, 0, 0 }, { 0, 1, 0 }, { 1, 0, 0 } },	     /* twice */
		{ { 1, 0, 0 }, { 0, 1, 0 }, { 2, 0, 0 } },	     /* unsorted */
		{ { 0, 0, 0 }, { 1, 2, 0 }, { 2, 0, 0 } },	     /* the third of two */
		{ { 0, 0, 0 }, { 1, -1, 0 }, { 2, 0, 0 } },	     /* negative */
		{ { -1, 0, 0 }, { 1, 1, 0 }, { 2, 0, 0 } },	     /* negative */
		{ { 0, 0, 0 }, { 1, 1, 4 }, { 2, 0, 0 } },	     /* unknown flag */
		{ { 0, 0, 0 }, { 1, 9, MPS_FD_ROLE }, { 2, 0, 0 } }, /* unknown role */
		{ { 0, 0, 0 }, { 1, 1, 0 }, { 1 << 16, 0, 0 } },     /* too high */
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct mps_spawn s = whole(bad[i]), r;
		AUTO_BUF scratch = BUF_INIT;
		AUTO_BUF b = BUF_INIT;

		mps_spawn_encode(&s, &b);
		cr_expect_eq(decode(&b, b.len, &scratch, &r), -EBADMSG, "row %zu", i);
	}
}

/* Each 32-bit word in turn says something enormous: nothing is allocated for it, nothing is read behind the end. */
Test(spawn_code, counts_that_lie_are_refused)
{
	static const uint32_t lies[] = { UINT32_MAX, INT32_MAX, 1 << 30, 0x10000 };
	struct mps_spawn s = whole(good_fds);
	AUTO_BUF b = BUF_INIT;

	mps_spawn_encode(&s, &b);
	for (size_t at = 0; at + 4 <= b.len; at++)
		for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
			AUTO_BUF scratch = BUF_INIT;
			AUTO_BUF copy = BUF_INIT;
			struct mps_spawn r;
			int e;

			buf_add(&copy, b.p, b.len);
			memcpy(copy.p + at, &lies[i], 4);
			e = decode(&copy, copy.len, &scratch, &r);
			cr_expect(e == 0 || e == -EBADMSG);
			cr_expect_leq(scratch.len, 4 * b.len + 256);
		}
}

Test(spawn_code, a_command_without_words_or_path_is_refused)
{
	char *none[] = { NULL };
	const struct mps_spawn bad[] = {
		{ .path = "x", .argv = none, .envp = none },
		{ .path = NULL, .argv = argv_, .envp = none },
		{ .path = "x", .argv = argv_, .envp = none, .umask = 01000 },
		{ .path = "x", .argv = argv_, .envp = none, .umask = -2 },
		{ .path = "x", .argv = argv_, .envp = none, .pdeathsig = 65 },
		{ .path = "x", .argv = argv_, .envp = none, .session = (enum mps_session)3 },
		{ .path = "x", .argv = argv_, .envp = none, .method = (enum mps_spawn_method)3 },
		{ .path = "x", .argv = argv_, .envp = none, .method = MPS_METHOD_FORKSERVER },
		{ .path = "x", .argv = argv_, .envp = none, .server = "one" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_BUF scratch = BUF_INIT;
		AUTO_BUF b = BUF_INIT;
		struct mps_spawn r;

		mps_spawn_encode(&bad[i], &b);
		cr_expect_eq(decode(&b, b.len, &scratch, &r), -EBADMSG, "row %zu", i);
	}
}
