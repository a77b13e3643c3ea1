/*
 * What a supervisor leaves behind: records, texts, and the configuration as it was read.
 */
#include "sup/state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/wire.h"
#include "conf/conf.h"
#include "sup/svc_state.h"

/* ------------------------------------------------------------------------------------------------------- records */

static const struct conf_proc program = { .name = (char *)"p", .group = (char *)"p" };

static void fill(struct svc *s, struct svc_past *history, struct mps_time *limited)
{
	s->state = SVC_STOPPING;
	s->gen = 7;
	s->pid = 123;
	s->restarts = 8;
	s->backoff = 9;
	s->busy = 10;
	s->streak = 11;
	s->started.ns = 12;
	s->started_wall.ns = 13;
	s->changed.ns = 14;
	s->changed_wall.ns = 15;
	s->timer_at.ns = 16;
	s->last_exit = (struct svc_exit){ 2, 9, true, { 17 } };
	s->want_start = s->exited = s->too_soon = true;
	s->history = history;
	s->limited = limited;
}

Test(state, a_service_comes_back_as_it_was_saved)
{
	static struct svc_past past[SVC_HISTORY], ring_past[SVC_HISTORY];
	static struct mps_time limited[CONF_LIMIT_MAX], ring_limited[CONF_LIMIT_MAX];
	const struct svc_rings rings = { ring_past, ring_limited };
	struct svc_record r = { 0 }, again;
	struct svc a = { 0 }, b;

	a.name = (char *)"p";
	fill(&a, past, limited);
	/* More runs than the ring holds, and each saved. */
	for (unsigned i = 0; i < SVC_HISTORY + 3; i++) {
		const struct svc_record before = r;

		past[a.n_history++ % SVC_HISTORY] = (struct svc_past){ { i }, i, (int32_t)i, 1 };
		limited[a.n_limited++] = (struct mps_time){ i + 1 };
		svc_save(&a, &before, &r, &rings);
	}
	svc_init(&b, 3, "p", &program, NULL, NULL);
	cr_assert(svc_restore(&b, &r, &rings));
	svc_save(&b, &r, &again, &rings);
	cr_expect_eq(memcmp(&r, &again, sizeof(r)), 0);
	cr_expect_eq(memcmp(b.history, past, sizeof(past)), 0);
	cr_expect_eq(memcmp(b.limited, limited, a.n_limited * sizeof(*limited)), 0);
	cr_expect_eq(b.state, SVC_STOPPING);
	cr_expect_eq(b.gen, 7);
	cr_expect(b.want_start && b.exited && b.too_soon && !b.killed && !b.stop_asked);
	cr_expect(b.last_exit.tree_left && b.last_exit.wall.ns == 17);
	b.timer_at.ns = 0; /* it has no ops to disarm it with */
	svc_fini(&b);
}

Test(state, a_record_of_another_name_is_not_taken)
{
	struct svc_record r = { .name = svc_name_hash("q") };
	struct svc s;

	svc_init(&s, 3, "p", &program, NULL, NULL);
	cr_expect_not(svc_restore(&s, &r, &(struct svc_rings){ 0 }));
	r = (struct svc_record){ .name = svc_name_hash("p"), .state = N_SVC_STATES };
	cr_expect_not(svc_restore(&s, &r, &(struct svc_rings){ 0 }));
	svc_fini(&s);
}

static void open_state(struct state *st)
{
	struct err err = ERR_INIT;

	cr_assert_eq(state_create(st, 10, &err), 0, "%s", err.text);
}

/* As the next process sees it. */
static void open_again(const struct state *st, struct state *ret)
{
	struct err err = ERR_INIT;

	cr_assert_eq(state_open(ret, dup(st->fd), &err), 0, "%s", err.text);
}

Test(state, is_read_by_the_next_process)
{
	const struct state_whole whole = { .phase = 2, .next_id = 5, .kill_all = 1 };
	struct state_whole w;
	struct svc_record r;
	struct state st, next;

	open_state(&st);
	for (uint32_t i = 0; i < 5; i++) /* both copies of each */
		for (unsigned k = 0; k < 2 + i % 2; k++)
			state_put(&st, i, &(struct svc_record){ .name = i + 1, .gen = k });
	state_put_whole(&st, &whole);
	open_again(&st, &next);
	for (uint32_t i = 0; i < 5; i++) {
		state_get(&next, i, &r);
		cr_expect_eq(r.name, i + 1);
		cr_expect_eq(r.gen, 1 + i % 2);
	}
	state_get(&next, 6, &r);
	cr_expect_eq(r.name, 0);
	state_get_whole(&next, &w);
	cr_expect_eq(w.phase, 2);
	cr_expect_eq(w.next_id, 5);
	cr_expect_eq(w.kill_all, 1);
	state_close(&next);
	state_close(&st);
}

Test(state, of_another_version_is_refused)
{
	static const size_t places[] = { 0, 8, 12, 16 }; /* magic, version, sizes */

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct err err = ERR_INIT;
		struct state st, next;
		uint32_t wrong = 77;

		open_state(&st);
		cr_assert_eq(pwrite(st.fd, &wrong, 4, (off_t)places[i]), 4);
		cr_expect_eq(state_open(&next, st.fd, &err), -EPROTO, "place %zu", places[i]);
		cr_expect(strstr(err.text, "cannot go on") != NULL);
		state_close(&st);
	}
}

/* --------------------------------------------------------------------------------------------------------- texts */

static void expect_texts(const struct state *st, const char *wanted)
{
	AUTO_FREE char *texts = NULL;
	AUTO_BUF got = BUF_INIT;
	struct wire w = { 0 };
	enum state_kind kind;
	const char *p;
	uint32_t id;
	size_t n;

	cr_assert_eq(state_read_texts(st, &texts, &w.n), 0);
	w.p = texts;
	while (state_next_text(&w, &kind, &id, &p, &n))
		buf_addf(&got, "%u:%u:%.*s ", kind, id, (int)n, n > 0 ? p : "");
	cr_expect_str_eq(got.p != NULL ? got.p : "", wanted);
}

Test(state, texts_are_added_and_replaced)
{
	struct state st, next;

	open_state(&st);
	expect_texts(&st, "");
	cr_assert_eq(state_add_text(&st, STATE_ERROR, 3, "no", 2), 0);
	cr_assert_eq(state_add_text(&st, STATE_ERROR, 3, NULL, 0), 0);
	expect_texts(&st, "2:3:no 2:3: ");
	/* Over and over, in turn before and behind the old ones. */
	for (int i = 0; i < 50; i++) {
		AUTO_BUF all = BUF_INIT;
		char text[64];
		struct stat status;

		snprintf(text, sizeof(text), "%0*d", 1 + i % 40, i);
		state_encode_text(&all, STATE_AUTO_OUT, 4, text, strlen(text));
		cr_assert_eq(state_replace_texts(&st, &all), 0);
		cr_assert_eq(state_add_text(&st, STATE_ERROR, 5, "x", 1), 0);
		open_again(&st, &next);
		snprintf(text, sizeof(text), "3:4:%0*d 2:5:x ", 1 + i % 40, i);
		expect_texts(&next, text);
		state_close(&next);
		cr_assert_eq(fstat(st.fd, &status), 0);
		cr_expect_lt(status.st_size, (off_t)st.size + 1000);
	}
	state_close(&st);
}

/* ------------------------------------------------------------------------------------------------- configuration */

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	cr_assert_not_null(f, "%s", path);
	fputs(text, f);
	fclose(f);
}

Test(state, a_configuration_is_read_again_as_it_was)
{
	char folder[] = "/tmp/mpsup-test.XXXXXX", main_file[64], other[64], command[128];
	struct conf_options o = { 0 };
	struct conf *first, *second, *third;
	AUTO_BUF record = BUF_INIT;

	cr_assert_not_null(mkdtemp(folder));
	snprintf(main_file, sizeof(main_file), "%s/main.conf", folder);
	snprintf(other, sizeof(other), "%s/b.inc", folder);
	write_file(main_file,
		   "[include]\nfiles=*.inc missing.* /nonexistent\n[program:a]\ncommand=x\n");
	write_file(other, "[program:b]\ncommand=y z\nnumprocs=3\nprocess_name=%(process_num)d\n");
	o.record = &record;
	first = conf_load(main_file, &o);
	cr_expect_eq(first->n_procs, 4);
	write_file(main_file, "[program:a\nwhat is this");
	unlink(other);
	snprintf(other, sizeof(other), "%s/c.inc", folder);
	write_file(other, "[program:c]\ncommand=y\n");
	o = (struct conf_options){ .replay = record.p, .replay_size = record.len };
	second = conf_load(main_file, &o);
	cr_expect_eq(second->n_errors, 0);
	cr_expect_eq(second->n_messages, first->n_messages);
	cr_assert_eq(second->n_procs, first->n_procs);
	for (size_t i = 0; i < first->n_procs; i++) {
		cr_expect_str_eq(second->procs[i].name, first->procs[i].name);
		cr_expect_str_eq(second->procs[i].command, first->procs[i].command);
		cr_expect_str_eq(second->procs[i].place.file, first->procs[i].place.file);
	}
	/* One that is cut off is an error, at whatever byte, and nothing worse. */
	for (size_t n = 1; n < record.len; n++) {
		AUTO_FREE char *cut = malloc(n);

		memcpy(cut, record.p, n);
		o.replay = cut;
		o.replay_size = n;
		third = conf_load(main_file, &o);
		cr_expect(third->n_errors > 0 || third->n_procs <= first->n_procs);
		conf_free(third);
	}
	conf_free(first);
	conf_free(second);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_expect_eq(system(command), 0);
}
