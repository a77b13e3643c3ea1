/*
 * The registry against a model that is too simple to be wrong.
 */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mtime.h"
#include "track/registry.h"

enum { N_NAMES = 4000, N_OWNERS = 7, N_STEPS = 100000 };

struct model {
	struct track_registry r;
	struct track_owner owners[N_OWNERS];
	int owner_of[N_NAMES]; /* -1 = not there */
	uint64_t pid_of[N_NAMES];
	uint32_t n_of[N_OWNERS];
	size_t n;
	uint64_t state;
};

static unsigned draw(struct model *m, unsigned below)
{
	m->state = m->state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (unsigned)(m->state >> 33) % below;
}

/* Names of many lengths; the same text for two types is two objects. */
static enum track_type name_of(int i, char *text, size_t size)
{
	int half = i / 2;

	snprintf(text, size, "/%d%.*s", half, half % 67,
		 "-------------------------------------------------------------------");
	return i % 2 ? TRACK_SEMAPHORE : TRACK_SHARED_MEMORY;
}

static struct track_record *look(struct model *m, int i)
{
	char name[128];
	enum track_type type = name_of(i, name, sizeof(name));

	return track_find(&m->r, type, name, strlen(name));
}

static void put(struct model *m, int i, unsigned owner)
{
	char name[128];
	enum track_type type = name_of(i, name, sizeof(name));
	struct track_creator creator = { .pid = (pid_t)draw(m, 1 << 20), .uid = 7 };
	struct track_record *record;

	if (m->owner_of[i] >= 0)
		track_remove(&m->r, look(m, i));
	record = track_add(&m->r, &m->owners[owner], type, name, strlen(name), &creator);
	cr_assert_not_null(record);
	cr_assert_str_eq(record->name, name);
	if (m->owner_of[i] < 0)
		m->n++;
	else
		m->n_of[m->owner_of[i]]--;
	m->owner_of[i] = (int)owner;
	m->n_of[owner]++;
	m->pid_of[i] = (uint64_t)creator.pid;
}

static void step(struct model *m, unsigned add_of_ten)
{
	int i = (int)draw(m, N_NAMES);
	struct track_record *record = look(m, i);
	unsigned owner = draw(m, N_OWNERS);

	cr_assert_eq(record != NULL, m->owner_of[i] >= 0);
	if (record != NULL)
		cr_assert_eq((uint64_t)record->creator.pid, m->pid_of[i]);
	if (draw(m, 10) < add_of_ten) {
		put(m, i, owner);
	} else if (record != NULL && draw(m, 4) == 0) {
		track_give(record, &m->owners[owner]);
		m->n_of[m->owner_of[i]]--;
		m->n_of[owner]++;
		m->owner_of[i] = (int)owner;
	} else if (record != NULL) {
		track_remove(&m->r, record);
		m->n_of[m->owner_of[i]]--;
		m->owner_of[i] = -1;
		m->n--;
	}
	cr_assert_eq(m->r.n, m->n);
}

static void check_owners(struct model *m)
{
	for (int o = 0; o < N_OWNERS; o++) {
		uint32_t n = 0;

		for (struct track_record *at = m->owners[o].first; at != NULL; at = at->next, n++) {
			cr_assert_eq(at->owner, &m->owners[o]);
			cr_assert_eq(*at->at, at);
		}
		cr_assert_eq(n, m->n_of[o]);
		cr_assert_eq(m->owners[o].n, n);
	}
}

Test(track_registry, does_what_a_table_of_names_does)
{
	struct model *m = calloc(1, sizeof(*m));

	m->state = 4;
	for (int i = 0; i < N_NAMES; i++)
		m->owner_of[i] = -1;
	for (int i = 0; i < N_STEPS; i++) {
		step(m, i / 10000 % 2 ? 1 : 9); /* grows and shrinks in turn */
		if (i % 1000 == 0)
			check_owners(m);
	}
	for (int i = 0; i < N_NAMES; i++)
		if (m->owner_of[i] >= 0)
			track_remove(&m->r, look(m, i));
	cr_expect_eq(m->r.n, 0);
	cr_expect_lt(m->r.n_buckets, 64, "the table has become small again");
	put(m, 3, 2);
	track_registry_fini(&m->r);
	cr_expect_null(m->owners[2].first);
	cr_expect_null(look(m, 3));
	free(m);
}

/* Each is told from the others by who has said it and when. */
Test(track_registry, several_may_have_one_name)
{
	struct track_registry r = { 0 };
	struct track_owner a = { 0 }, b = { 0 };
	struct track_creator first = { .pid = 1 }, second = { .pid = 2 };
	struct track_record *one = track_add(&r, &a, TRACK_FILE, "/x", 2, &first), *two, *three;

	track_told(&r, one, 7);
	two = track_add(&r, &b, TRACK_FILE, "/x", 2, &second);
	track_told(&r, two, 7);
	three = track_add(&r, &b, TRACK_FILE, "/x", 2, &first);
	track_told(&r, three, 7);
	cr_expect_eq(one->told_ns, 7);
	cr_expect_eq(two->told_ns, 7);
	cr_expect_eq(three->told_ns, 8, "it is another");
	cr_expect_eq(r.n, 3);
	cr_expect_eq(a.n, 1);
	cr_expect_eq(b.n, 2);
	cr_expect_eq(track_find_told(&r, TRACK_FILE, "/x", 2, 1, 7), one);
	cr_expect_eq(track_find_told(&r, TRACK_FILE, "/x", 2, 2, 7), two);
	cr_expect_eq(track_find_told(&r, TRACK_FILE, "/x", 2, 1, 8), three);
	cr_expect_null(track_find_told(&r, TRACK_FILE, "/x", 2, 2, 8));
	for (int i = 0; i < 1000; i++) { /* so that the bucket is split */
		char name[16];

		track_add(&r, &a, TRACK_FILE, name, (size_t)snprintf(name, 16, "/%d", i), &first);
	}
	cr_expect_eq(track_find_told(&r, TRACK_FILE, "/x", 2, 1, 7), one);
	track_remove(&r, two);
	cr_expect_not_null(track_find(&r, TRACK_FILE, "/x", 2));
	track_give(three, &a);
	track_remove(&r, one);
	cr_expect_eq(track_find(&r, TRACK_FILE, "/x", 2), three);
	cr_expect_null(track_next(three));
	for (int i = 1; i < TRACK_SAME_NAME_MAX; i++)
		cr_assert_not_null(track_add(&r, &b, TRACK_FILE, "/x", 2, &second));
	cr_expect_null(track_add(&r, &b, TRACK_FILE, "/x", 2, &second));
	cr_expect_null(track_add(&r, &b, TRACK_FILE, "/y", TRACK_NAME_MAX + 1, &second));
	track_registry_fini(&r);
	track_registry_fini(&r);
	cr_expect_null(b.first);
}

Test(track_registry, tells_of_those_that_are_not_young_any_more)
{
	struct track_registry r = { 0 };
	struct track_owner o = { 0 };
	struct track_creator c = { .pid = 1 };
	struct track_record *all[300];
	struct mps_time later = { mps_now().ns + 2 * TRACK_YOUNG_NS };

	cr_expect_eq(track_young_due(&r).ns, 0);
	for (int i = 0; i < 300; i++) {
		all[i] = track_add(&r, &o, TRACK_FILE, "/x", 2, &c);
		track_young_add(&r, all[i]);
		track_young_add(&r, all[i]);
	}
	cr_expect(track_young_due(&r).ns > mps_now().ns && track_young_due(&r).ns < later.ns);
	cr_expect_null(track_young_next(&r, mps_now()));
	for (int i = 0; i < 300; i += 3)
		track_remove(&r, all[i]);
	for (int i = 0; i < 300; i++) {
		if (i % 3 == 0)
			continue;
		cr_assert(all[i]->young);
		cr_assert_eq(track_young_next(&r, later), all[i]);
		cr_assert_not(all[i]->young);
	}
	cr_expect_null(track_young_next(&r, later));
	cr_expect_eq(track_young_due(&r).ns, 0);
	track_young_add(&r, all[1]);
	cr_expect_eq(track_young_next(&r, later), all[1]);
	track_registry_fini(&r);
}

/* While buckets are walked upwards records come and go: each that stays is met. */
Test(track_registry, a_walk_meets_all_that_stay)
{
	struct track_registry r = { 0 };
	struct track_owner o = { 0 };
	struct track_creator c = { 0 };
	enum { STAY = 1000, MORE = 5000 };
	static unsigned char met[STAY];
	char name[32];

	memset(met, 0, sizeof(met));
	for (int i = 0; i < STAY + MORE; i++)
		track_add(&r, &o, TRACK_FILE, name, (size_t)snprintf(name, 32, "/%d", i), &c);
	r.pinned++;
	for (size_t b = 0, gone = 0; b < r.n_buckets; b++) {
		for (struct track_record *at = r.buckets[b]; at != NULL; at = at->next_in_bucket)
			if (atoi(at->name + 1) < STAY)
				met[atoi(at->name + 1)] = 1;
		for (int k = 0; k < 3 && gone < MORE; k++, gone++) {
			int n = snprintf(name, 32, "/%zu", STAY + gone);

			track_remove(&r, track_find(&r, TRACK_FILE, name, (size_t)n));
		}
		if (b % 3 == 0 && b < 6000)
			track_add(&r, &o, TRACK_SYSV_SEM, name,
				  (size_t)snprintf(name, 32, "%zu", b), &c);
	}
	for (int i = 0; i < STAY; i++)
		cr_expect(met[i], "/%d", i);
	r.pinned--;
	track_registry_fini(&r);
}
