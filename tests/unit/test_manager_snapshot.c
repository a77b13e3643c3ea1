/*
 * Snapshots: what is kept comes back, and what is damaged is refused.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../manager_core.h"
#include "base/err.h"
#include "manager/snapshot.h"

static const struct mps_manager_options keeps = { .snapshot = "given" };

static void fill(struct core *c)
{
	struct session *s = core_session(c, false);
	int64_t q;

	cr_assert_gt(core_refer(c, s, WIRE_CREATE,
				"[\"dict\", \"d\", 1, [{\"a\": [1, null, {\"b\": 2.5}]}]]"),
		     0);
	cr_assert_gt(core_refer(c, s, WIRE_CREATE, "[\"list\", \"l\", 1, [[1, \"two\", true]]]"),
		     0);
	cr_assert_gt(core_refer(c, s, WIRE_CREATE, "[\"namespace\", \"n\", 1, [{\"x\": 1}]]"), 0);
	cr_assert_gt(core_refer(c, s, WIRE_CREATE, "[\"dict\", \"not kept\", 0, null]"), 0);
	cr_assert_gt(core_refer(c, s, WIRE_CREATE, "[\"event\", \"not of these\", 1, null]"), 0);
	q = core_refer(c, s, WIRE_CREATE, "[\"joinable_queue\", \"q\", 1, [5]]");
	cr_assert_gt(q, 0);
	for (int i = 0; i < 4; i++) /* put */
		cr_assert_eq(core_ask(c, s, q, 1, 0, i % 2 ? "[\"odd\"]" : "[[0, {}]]", NULL), 0);
	cr_assert_eq(core_ask(c, s, q, 2, 0, "[]", "[0, {}]"), 0);
}

static void expect(struct core *c)
{
	struct session *s = core_session(c, false);
	int64_t d = core_refer(c, s, WIRE_ATTACH, "[\"dict\", \"d\"]");
	int64_t l = core_refer(c, s, WIRE_ATTACH, "[\"list\", \"l\"]");
	int64_t q = core_refer(c, s, WIRE_ATTACH, "[\"joinable_queue\", \"q\"]");

	cr_assert_eq(c->v.n_objects, 4);
	cr_assert_eq(core_ask(c, s, d, 14, 0, "[]", "{\"a\": [1, null, {\"b\": 2.5}]}"), 0);
	cr_assert_eq(core_ask(c, s, l, 9, 0, "[]", "[1, \"two\", true]"), 0);
	cr_assert_eq(core_ask(c, s, q, 0, 0, "[]", "3"), 0);
	cr_assert_eq(core_ask(c, s, q, 2, 0, "[]", "\"odd\""), 0);
	cr_assert_eq(core_ask(c, s, q, 2, 0, "[]", "[0, {}]"), 0);
	cr_assert_eq(core_ask(c, s, q, 2, 0, "[]", "\"odd\""), 0);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(core_ask(c, s, q, 1, 0, "[1]", NULL), 0);
	cr_assert_eq(core_ask(c, s, q, 1, 0, "[1]", NULL), -ETIMEDOUT, "it holds five, as before");
}

Test(manager_snapshot, what_is_kept_comes_back)
{
	struct core a, b;
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;

	core_begin(&a, &keeps);
	fill(&a);
	cr_assert_eq(snapshot_encode(&a.v, &text), 0);
	cr_assert(!snapshot_is_stale(&a.v));
	core_ask(&a, a.v.sessions, 6, 2, 0, "[]", NULL);
	cr_assert(snapshot_is_stale(&a.v), "a queue tells by itself");
	core_end(&a);
	core_begin(&b, &keeps);
	cr_assert_eq(snapshot_decode(&b.v, text.p, text.len, &err), 0, "%s", err.text);
	expect(&b);
	core_end(&b);
	buf_fini(&text);
}

Test(manager_snapshot, a_damaged_byte_is_noticed_and_so_is_a_missing_one)
{
	struct core a, b;
	struct buf text = BUF_INIT;
	struct err err;

	core_begin(&a, &keeps);
	fill(&a);
	cr_assert_eq(snapshot_encode(&a.v, &text), 0);
	core_end(&a);
	core_begin(&b, &keeps);
	for (size_t i = 0; i < text.len; i++) {
		text.p[i] ^= 0x10;
		err.text[0] = '\0';
		cr_assert_eq(snapshot_decode(&b.v, text.p, text.len, &err), -EBADMSG, "byte %zu",
			     i);
		cr_assert_str_neq(err.text, "");
		text.p[i] ^= 0x10;
		cr_assert_eq(snapshot_decode(&b.v, text.p, i, &err), -EBADMSG, "%zu bytes", i);
		cr_assert_eq(b.v.n_objects, 0);
	}
	core_end(&b);
	buf_fini(&text);
}

Test(manager_snapshot, of_one_that_cannot_be_made_as_a_whole_nothing_is)
{
	static const struct mps_manager_options small = { .snapshot = "given", .bytes_max = 3000 };
	struct core a, b;
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	struct session *s;

	core_begin(&a, &keeps);
	s = core_session(&a, false);
	for (int i = 0; i < 8; i++) {
		char create[64];

		snprintf(create, sizeof(create), "[\"dict\", \"d%d\", 1, [{\"a\": 1}]]", i);
		cr_assert_gt(core_refer(&a, s, WIRE_CREATE, create), 0);
	}
	cr_assert_eq(snapshot_encode(&a.v, &text), 0);
	core_end(&a);
	core_begin(&b, &small);
	s = core_session(&b, false);
	cr_assert_gt(core_refer(&b, s, WIRE_CREATE, "[\"dict\", \"before\", 1, null]"), 0);
	b.v.changed = false;
	cr_assert_eq(snapshot_decode(&b.v, text.p, text.len, &err), -EDQUOT);
	cr_assert_str_neq(err.text, "");
	cr_assert_eq(b.v.n_objects, 1);
	cr_assert_eq(b.v.names.n, 1);
	cr_assert(!b.v.changed);
	cr_assert_gt(core_refer(&b, s, WIRE_ATTACH, "[\"dict\", \"before\"]"), 0);
	core_end(&b);
	buf_fini(&text);
}

Test(manager_snapshot, only_changes_of_what_is_kept_are_changes)
{
	struct core c;
	struct session *s;
	int64_t kept, other;

	core_begin(&c, &keeps);
	s = core_session(&c, false);
	other = core_refer(&c, s, WIRE_CREATE, "[\"dict\", \"o\", 0, null]");
	cr_assert_eq(core_ask(&c, s, other, 1, 0, "[1, 2]", NULL), 0);
	cr_assert(!c.v.changed);
	kept = core_refer(&c, s, WIRE_CREATE, "[\"dict\", \"k\", 1, null]");
	cr_assert(c.v.changed);
	c.v.changed = false;
	cr_assert_eq(core_ask(&c, s, kept, 3, 0, "[1, 2]", NULL), 0);
	cr_assert_eq(core_ask(&c, s, kept, 1, 0, "[1, 2]", NULL), 0);
	cr_assert(c.v.changed);
	c.v.changed = false;
	cr_assert_eq(core_ask(&c, s, kept, 0, 0, "[1]", NULL), 0);
	cr_assert(!c.v.changed);
	cr_assert_eq(core_ask(&c, s, 0, WIRE_REMOVE, 0, "[\"k\"]", NULL), 0);
	cr_assert(c.v.changed);
	core_end(&c);
}

/* In a folder that others may write. */
Test(manager_snapshot, what_somebody_else_has_put_there_is_not_written_to)
{
	char folder[] = "/tmp/mpsup-snapshot.XXXXXX", path[64], other[80], precious[80], *text;
	struct err err = ERR_INIT;
	struct stat st;
	size_t n;

	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/file", folder);
	snprintf(other, sizeof(other), "%s.new", path);
	snprintf(precious, sizeof(precious), "%s/precious", folder);
	cr_assert_eq(snapshot_write(precious, "old", 3, &err), 0, "%s", err.text);
	for (int i = 0; i < 3; i++) {
		if (i == 0)
			cr_assert_eq(link(precious, other), 0);
		else if (i == 1)
			cr_assert_eq(symlink(precious, other), 0);
		else
			cr_assert_eq(mkfifo(other, 0666), 0);
		cr_assert_eq(snapshot_write(path, "new", 3, &err), 0, "%s", err.text);
		cr_assert_eq(fd_read_file(precious, 100, &text, &n), 0);
		cr_expect_str_eq(text, "old");
		free(text);
		cr_assert_eq(lstat(path, &st), 0);
		cr_expect(S_ISREG(st.st_mode) && st.st_nlink == 1 && (st.st_mode & 0777) == 0600);
		unlink(path);
	}
	unlink(precious);
	cr_assert_eq(rmdir(folder), 0);
}

Test(manager_snapshot, a_file_that_cannot_be_written_leaves_the_old_one)
{
	static const struct rlimit small = { 4096, RLIM_INFINITY },
				   all = { RLIM_INFINITY, RLIM_INFINITY };
	char folder[] = "/tmp/mpsup-snapshot.XXXXXX", path[64], other[80], *text;
	char *big = calloc(1, 100000);
	struct err err = ERR_INIT;
	struct stat st;
	size_t n;

	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/file", folder);
	snprintf(other, sizeof(other), "%s.new", path);
	cr_assert_eq(snapshot_write(path, "old", 3, &err), 0, "%s", err.text);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	cr_assert_eq(snapshot_write(path, big, 100000, &err), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &all);
	cr_assert_not_null(strstr(err.text, path), "%s", err.text);
	cr_assert_eq(fd_read_file(path, 100, &text, &n), 0);
	cr_assert_str_eq(text, "old");
	cr_assert_neq(access(other, F_OK), 0);
	free(text);
	free(big);
	unlink(path);
	cr_assert_eq(rmdir(folder), 0);
}
