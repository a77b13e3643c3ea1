/*
 * Records of one name, against a model that knows who has made what. Processes make, remove and fail to make files of the
 * same few names in /dev/shm and are killed at any moment; a tracker hears of it late, of each process in order and of
 * all in any, and of what the kernel tells before words that were said earlier. Nothing of a process that lives may go,
 * nothing of a stranger, and when all are dead nothing of theirs is left.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mtime.h"
#include "track/stake.h"
#include "track/object.h"

enum {
	PROCESSES = 4,
	NAMES = 3, /* the last is a stranger's from the start */
	STRANGER_S = NAMES - 1,
	QUEUE = 64,
	STEPS = 100, /* few: what is left goes with those that come later, since clocks are too coarse to tell */
	RUNS = 10000,
	NOBODY = 0,
	STRANGER = -1,
};

struct word {
	enum track_verb verb;
	int name;
	int64_t told_ns;
};

struct process {
	int pid;
	bool dead;
	int at; /* the name that it is about to make; -1 = none */
	struct track_owner owner;
	struct word said[QUEUE];
	size_t n_said;
};

struct event {
	int name;
	bool created;
};

static struct world {
	struct track_registry registry;
	struct track_journal journal; /* none */
	struct stakes stakes;
	struct process processes[PROCESSES];
	struct track_owner rest;
	struct event events[STEPS * 8];
	size_t n_events;
	int maker[NAMES]; /* pid */
	int last_pid;
	uint64_t chance;
	bool has_events; /* else the kernel tells nothing */
	bool passes;	 /* what has gone again, as is told, is not looked at */
} w;

static unsigned dice(unsigned below)
{
	w.chance = w.chance * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (unsigned)(w.chance >> 33) % below;
}

static const char *text_of(int name)
{
	static char text[64];

	snprintf(text, sizeof(text), "/mps-stake-%d-%d", (int)getpid(), name);
	return text;
}

static const char *path_of(int name)
{
	static char path[96];

	snprintf(path, sizeof(path), "/dev/shm%s", text_of(name));
	return path;
}

static bool exists(int name)
{
	return access(path_of(name), F_OK) == 0;
}

static void tell_event(int name, bool created)
{
	if (w.has_events)
		w.events[w.n_events++] = (struct event){ name, created };
}

/* ------------------------------------------------------------------------------------------------- the processes */

static bool make(int name, int pid)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return false;
	close(fd);
	cr_assert_eq(w.maker[name], NOBODY);
	w.maker[name] = pid;
	tell_event(name, true);
	return true;
}

static void say(struct process *p, enum track_verb verb, int name)
{
	p->said[p->n_said++] = (struct word){ verb, name, mps_wall().ns };
}

static bool lives(int pid)
{
	for (int i = 0; i < PROCESSES; i++)
		if (w.processes[i].pid == pid)
			return !w.processes[i].dead;
	return false;
}

/* What it has made, or another that lives. */
static void remove_one(struct process *p)
{
	int name = (int)dice(STRANGER_S);

	if (w.maker[name] != p->pid && !(lives(w.maker[name]) && dice(4) == 0))
		return;
	cr_assert_eq(unlink(path_of(name)), 0);
	w.maker[name] = NOBODY;
	tell_event(name, false);
	if (dice(8) > 0) /* else it is killed before it has said it */
		say(p, TRACK_REMOVED, name);
	else
		p->dead = true;
}

static void go_on(struct process *p)
{
	if (p->dead || p->n_said > QUEUE - 4)
		return;
	if (p->at >= 0) {
		bool made = make(p->at, p->pid);

		if (!made && dice(8) > 0)
			say(p, TRACK_RETRACT, p->at);
		else if (!made)
			p->dead = true;
		p->at = -1;
	} else if (dice(2) == 0) {
		p->at = (int)dice(NAMES);
		say(p, TRACK_ATTEMPT, p->at);
	} else {
		remove_one(p);
	}
}

/* --------------------------------------------------------------------------------------------------- the tracker */

static void forget(struct track_record *r, void *user)
{
	(void)user;
	track_remove(&w.registry, r);
}

static struct stake_name name_of(const char *text)
{
	return (struct stake_name){ TRACK_SHARED_MEMORY, text, strlen(text) };
}

static bool has_gone(void *user)
{
	const struct event *e = user;

	for (const struct event *later = e + 1; later < w.events + w.n_events; later++)
		if (later->name == e->name && !later->created)
			return true;
	return false;
}

static void read_events(void)
{
	for (size_t i = 0; i < w.n_events; i++) {
		struct stake_name name = name_of(text_of(w.events[i].name));
		bool passed = w.passes && has_gone(&w.events[i]);

		if (passed && w.events[i].created)
			stake_passed(&w.stakes, &name);
		else if (w.events[i].created)
			stake_made(&w.stakes, &name, has_gone, &w.events[i]);
		else if (!passed)
			stake_standing(&w.stakes, &name);
	}
	w.n_events = 0;
}

static void hear_word(struct process *p, const struct word *word)
{
	struct stake_name name = name_of(text_of(word->name));
	const struct track_creator creator = { .pid = p->pid, .uid = getuid() };
	struct track_record *r;

	if (word->verb == TRACK_RETRACT) {
		stake_retract(&w.stakes, &name, p->pid);
	} else if (word->verb == TRACK_REMOVED) {
		stake_removed(&w.stakes, &name, p->pid);
	} else {
		r = track_add(&w.registry, &p->owner, name.type, name.p, name.n, &creator);
		cr_assert_not_null(r);
		track_told(&w.registry, r, word->told_ns);
		stake_begin(&w.stakes, r, true);
	}
}

static void hear(struct process *p, size_t n)
{
	read_events();
	n = n < p->n_said ? n : p->n_said;
	for (size_t i = 0; i < n; i++)
		hear_word(p, &p->said[i]);
	p->n_said -= n;
	memmove(p->said, p->said + n, p->n_said * sizeof(p->said[0]));
}

static void hear_all(void)
{
	for (int i = 0; i < PROCESSES; i++)
		hear(&w.processes[i], QUEUE);
	read_events();
}

static int number_of(const struct track_record *r)
{
	return atoi(strrchr(r->name, '-') + 1);
}

static void end_one(struct track_record *r)
{
	int name = number_of(r);

	switch (stake_end(&w.stakes, r)) {
	case STAKE_HEAR:
		hear_all();
		return;
	case STAKE_WAIT:
		r->over = true;
		track_give(r, &w.rest);
		return;
	case STAKE_UNLINK:
		if (object_unlink(r) == OBJECT_FREE) {
			cr_assert_neq(w.maker[name], STRANGER, "seed %d", (int)w.chance);
			cr_assert_not(lives(w.maker[name]), "%s was of one that lives", r->name);
			w.maker[name] = NOBODY;
			tell_event(name, false);
		}
		break;
	case STAKE_NOTHING:
		break;
	case STAKE_UNKNOWN:
		cr_assert_fail("%s", strerror(errno));
	}
	forget(r, NULL);
}

static void ask_rest(void)
{
	struct track_owner again = { 0 };

	while (w.rest.first != NULL)
		track_give(w.rest.first, &again);
	while (again.first != NULL)
		end_one(again.first);
}

/* The instance is over, and another begins. */
static void bury(struct process *p)
{
	hear(p, QUEUE);
	while (p->owner.first != NULL)
		end_one(p->owner.first);
	p->pid = ++w.last_pid;
	p->dead = false;
	p->at = -1;
	ask_rest();
}

/* Nobody is about to make anything, and all is heard: what was said before is long ago. */
static void let_grow_old(void)
{
	struct mps_time later = { mps_now().ns + 2 * TRACK_YOUNG_NS };

	for (int i = 0; i < PROCESSES; i++)
		if (w.processes[i].at >= 0 && !w.processes[i].dead)
			return;
	hear_all();
	while (stake_expire(&w.stakes, later))
		;
	ask_rest();
}

static void step(void)
{
	struct process *p = &w.processes[dice(PROCESSES)];

	switch (dice(16)) {
	case 0:
		p->dead = true;
		break;
	case 1:
		if (p->dead)
			bury(p);
		break;
	case 2:
		let_grow_old();
		break;
	case 3:
	case 4:
	case 5:
		hear(p, 1 + dice(4));
		break;
	case 6:
		read_events();
		break;
	default:
		go_on(p);
	}
}

static void begin(unsigned seed)
{
	memset(&w, 0, sizeof(w));
	w.chance = seed;
	w.has_events = seed % 2 == 0;
	w.passes = seed % 4 == 0;
	w.journal = (struct track_journal)TRACK_JOURNAL_INIT;
	w.stakes = (struct stakes){ &w.registry, &w.journal, forget, NULL };
	for (int i = 0; i < PROCESSES; i++) {
		w.processes[i].pid = ++w.last_pid;
		w.processes[i].at = -1;
	}
	w.maker[STRANGER_S] = STRANGER;
}

static void play(unsigned seed)
{
	begin(seed);
	for (int i = 0; i < STEPS; i++)
		step();
	for (int i = 0; i < PROCESSES; i++)
		w.processes[i].dead = true;
	for (unsigned i = 0, from = dice(PROCESSES); i < PROCESSES; i++)
		bury(&w.processes[(from + i) % PROCESSES]);
	for (int i = 0; i < STRANGER_S; i++) {
		cr_assert_eq(w.maker[i], NOBODY, "seed %u: %s is left", seed, text_of(i));
		cr_assert_not(exists(i));
	}
	cr_assert(exists(STRANGER_S), "seed %u: the stranger's is gone", seed);
	cr_assert_eq(w.registry.n, 0, "seed %u: %zu records are left", seed, w.registry.n);
	track_registry_fini(&w.registry);
}

Test(track_stake, whatever_is_said_in_whatever_order)
{
	int64_t from = mps_wall().ns;

	make(STRANGER_S, STRANGER);
	while (mps_wall().ns - from <= MPS_COARSE_LAG_NS) /* it was there before */
		;
	for (unsigned seed = 1; seed <= RUNS; seed++)
		play(seed);
	cr_expect_eq(unlink(path_of(STRANGER_S)), 0);
}

/* ------------------------------------------------------------------------------------------------ some by hand */

static void attempt(struct process *p)
{
	say(p, TRACK_ATTEMPT, 0);
	cr_assert(make(0, p->pid));
}

static void remove_own(struct process *p)
{
	cr_assert_eq(unlink(path_of(0)), 0);
	w.maker[0] = NOBODY;
	tell_event(0, false);
	say(p, TRACK_REMOVED, 0);
}

static void end_process(struct process *p)
{
	p->dead = true;
	bury(p);
}

/* One says that he is about to make it, and another does, who is not heard yet. */
static void begin_race(unsigned seed, struct process *first, struct process *maker)
{
	begin(seed);
	say(first, TRACK_ATTEMPT, 0);
	hear(first, QUEUE);
	attempt(maker);
}

static void expect_nothing_left(void)
{
	for (int i = 0; i < PROCESSES; i++)
		end_process(&w.processes[i]);
	cr_expect_not(exists(0));
	cr_expect_eq(w.registry.n, 0);
	track_registry_fini(&w.registry);
}

/* One has removed what he had made, and is heard after the other, who has made it since. */
Test(track_stake, who_has_removed_his_own_takes_nothing_from_the_next)
{
	struct process *a = &w.processes[0], *b = &w.processes[1];

	for (unsigned seed = 0; seed < 2; seed++) {
		begin(seed);
		attempt(a);
		remove_own(a);
		attempt(b);
		hear(b, QUEUE);
		hear(a, QUEUE);
		expect_nothing_left();
	}
}

/* Somebody who is not heard yet makes it and removes it, while another is about to. */
Test(track_stake, what_has_gone_was_not_his_who_is_about_to_make_it)
{
	struct process *a = &w.processes[0], *b = &w.processes[1];

	for (unsigned seed = 0; seed < 2; seed++) {
		begin_race(seed, b, a);
		read_events();
		remove_own(a);
		read_events();
		hear(a, 1);
		hear(a, 1);
		cr_assert(make(0, b->pid));
		expect_nothing_left();
	}
}

/* Who was about to make it is killed, and another has made it, who is not heard yet. */
Test(track_stake, it_stays_while_he_lives_who_has_made_it)
{
	struct process *a = &w.processes[0], *b = &w.processes[1];

	for (unsigned seed = 0; seed < 2; seed++) {
		begin_race(seed, b, a);
		read_events();
		end_process(b);
		cr_expect(exists(0));
		expect_nothing_left();
	}
}

/* Two were about to make it; the one that has is dead when the other says that he has failed. */
Test(track_stake, it_goes_when_the_other_has_failed)
{
	struct process *a = &w.processes[0], *b = &w.processes[1];

	for (unsigned seed = 0; seed < 2; seed++) {
		begin_race(seed, a, b);
		end_process(b);
		cr_expect(exists(0));
		say(a, TRACK_RETRACT, 0);
		hear(a, QUEUE);
		ask_rest();
		cr_expect_not(exists(0));
		expect_nothing_left();
	}
}
