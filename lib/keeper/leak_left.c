/*
 * What is still in use at the end of all: people are told by whom. One walk through /proc for all of it, when nobody waits
 * for the keeper any more but for its end.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "keeper/tracker.h"
#include "proc/tree.h"
#include "track/list.h"

enum { NAMED_MAX = 3 };

/* The record is the registry's, which loses none from here on. */
struct left {
	const struct track_record *record;
	struct buf users;
	size_t n;
};

void leak_left_add(struct tracker *t, const struct track_record *r)
{
	struct left *p = realloc(t->left, (t->n_left + 1) * sizeof(*p));

	if (p == NULL)
		return; /* it is in the journal */
	t->left = p;
	p[t->n_left++] = (struct left){ r, BUF_INIT, 0 };
}

static void on_user(size_t index, pid_t pid, void *user)
{
	struct left *l = (struct left *)user + index;
	struct proc_stat st;

	if (++l->n > NAMED_MAX || proc_stat_read(pid, &st) < 0)
		return;
	buf_adds(&l->users, l->users.len > 0 ? ", " : " by ");
	utf8_add_clean(&l->users, st.comm, strlen(st.comm));
	buf_addf(&l->users, " (pid %d)", (int)pid);
}

static void find_users(struct left *left, size_t n)
{
	AUTO_FREE struct track_target *targets = calloc(n, sizeof(*targets));
	size_t hidden;

	for (size_t i = 0; targets != NULL && i < n; i++) {
		const struct track_record *r = left[i].record;
		struct track_look look;

		if (track_look((enum track_type)r->type, r->name, &look) == 0)
			targets[i] = look.target;
	}
	if (targets != NULL)
		track_users(targets, n, on_user, left, &hidden);
}

void leak_left_say(struct keeper *k)
{
	struct tracker *t = k->tracker;

	if (t->n_left > 0)
		find_users(t->left, t->n_left);
	for (size_t i = 0; i < t->n_left; i++) {
		struct left *l = &t->left[i];

		if (l->n > NAMED_MAX)
			buf_addf(&l->users, " and %zu more", l->n - NAMED_MAX);
		leak_say_left(k, l->record, l->users.len > 0 && !l->users.failed ? l->users.p : "",
			      0);
		buf_fini(&l->users);
	}
	free(TAKE_PTR(t->left));
	t->n_left = 0;
}
