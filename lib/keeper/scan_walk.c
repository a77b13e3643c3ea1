/*
 * Whose is a file in /dev/shm that nobody has told of, where the kernel names no one? inotify tells that it was made and
 * that somebody has closed it. Nobody has: then who has made it has it still open or mapped, or who got it from him. So
 * it is one of ours that has made it when all who have it are ours. One walk through /proc asks for all such files,
 * first our processes, and the others only if that has found any; it is worked off a part at a time, and so seldom that
 * strangers who are busy there take a tenth of our time at most. A file is there, and told of, before open(2) gives its maker a
 * descriptor: what nobody of ours has is asked for again a second later.
 *
 * What was closed before we could look, and what a stranger has open too, is left alone.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "keeper/tracker.h"
#include "proc/tag.h"
#include "track/users.h"

/* More at a time are left alone. */
enum { UNSURE_MAX = 256 };

struct unsure {
	enum track_type type;
	char *name, *file;
	struct statx st;
	struct sender maker; /* holding NULL = none of ours was seen with it */
	bool over;	     /* it cannot be told, or need not be */
	bool asked;	     /* once, and is to be again then */
	struct mps_time again;
};

struct scan_walk {
	struct unsure all[UNSURE_MAX];
	size_t n, n_asked; /* the first of them, in the walk that is on */
	bool on;
	struct pids pids;
	size_t at, n_ours; /* the first of them are ours */
	struct track_users *users;
	struct mps_time began, not_before;
	int64_t took;
};

void walk_open(struct keeper *k)
{
	struct tracker *t = k->tracker;

	if (t->inotify < 0 || (t->walk = calloc(1, sizeof(*t->walk))) == NULL)
		return;
	shm_watch_closing(t);
}

/* ------------------------------------------------------------------------------------------------------ events */

static struct track_target target_of(const struct statx *st)
{
	return (struct track_target){ makedev(st->stx_dev_major, st->stx_dev_minor), st->stx_ino };
}

/* A plain user's processes make nothing that is another's. */
static bool may_be_ours(const struct statx *st)
{
	return !S_ISDIR(st->stx_mode) && (geteuid() == 0 || st->stx_uid == geteuid());
}

static void unsure_fini(struct unsure *u)
{
	free(u->name);
	free(u->file);
}

/* Between two walks: those that are over go; where there is no room, one that was asked for. */
static void tidy(struct scan_walk *w)
{
	bool full = w->n == UNSURE_MAX;
	size_t n = 0;

	for (size_t i = 0; i < w->n; i++) {
		if (w->all[i].over || (full && w->all[i].asked)) {
			unsure_fini(&w->all[i]);
			full = false;
		} else {
			w->all[n++] = w->all[i];
		}
	}
	w->n = n;
}

static void add(struct scan_walk *w, enum track_type type, const char *name, const char *file)
{
	struct unsure u = { .type = type, .again = { mps_now().ns + MPS_NS_PER_S } };

	if (w->n == UNSURE_MAX && !w->on)
		tidy(w);
	if (w->n == UNSURE_MAX || scan_stat(file, &u.st) < 0 || !may_be_ours(&u.st))
		return;
	u.name = strdup(name);
	u.file = strdup(file);
	if (u.name == NULL || u.file == NULL) {
		unsure_fini(&u);
		return;
	}
	w->all[w->n++] = u;
}

/* Also under the other names that it has. */
static void closed(struct scan_walk *w, const char *file)
{
	for (size_t i = 0; i < w->n; i++) {
		if (strcmp(w->all[i].file, file) != 0)
			continue;
		for (size_t j = 0; j < w->n; j++)
			if (w->all[j].st.stx_ino == w->all[i].st.stx_ino)
				w->all[j].over = true;
	}
}

void walk_forget(struct tracker *t, enum track_type type, const char *name)
{
	struct scan_walk *w = t->walk;

	for (size_t i = 0; w != NULL && i < w->n; i++)
		if (w->all[i].type == type && strcmp(w->all[i].name, name) == 0)
			w->all[i].over = true;
}

void walk_drop(struct tracker *t, const struct holding *h)
{
	struct scan_walk *w = t->walk;

	for (size_t i = 0; w != NULL && i < w->n; i++)
		if (w->all[i].maker.holding == h)
			w->all[i].maker.holding = NULL;
}

void walk_on_event(struct tracker *t, uint32_t mask, enum track_type type, const char *name,
		   const char *file)
{
	struct scan_walk *w = t->walk;

	if (w == NULL)
		return;
	if (file == NULL) {
		for (size_t i = 0; i < w->n; i++)
			w->all[i].over = true;
	} else if (mask & IN_CLOSE) {
		closed(w, file);
	} else {
		walk_forget(t, type, name);
		if (mask & IN_CREATE)
			add(w, type, name, file);
	}
}

/* -------------------------------------------------------------------------------------------------------- walk */

static bool is_ours(const struct keeper *k, pid_t pid)
{
	uint32_t keeper, index, gen;

	return tag_parse(tag_get(pid), &keeper, &index, &gen) && keeper == k->id;
}

/* Ours come first. */
static int list_processes(struct keeper *k, struct scan_walk *w)
{
	DIR *dir = opendir("/proc");
	const struct dirent *e;
	int r = dir != NULL ? 0 : -errno;

	w->pids.n = w->n_ours = w->at = 0;
	while (r == 0 && (e = readdir(dir)) != NULL) {
		pid_t pid = (pid_t)atoi(e->d_name);

		if (pid <= 0 || pid == k->pid)
			continue;
		r = pids_add(&w->pids, pid);
		if (r < 0 || !is_ours(k, pid))
			continue;
		w->pids.p[w->pids.n - 1] = w->pids.p[w->n_ours];
		w->pids.p[w->n_ours++] = pid;
	}
	if (dir != NULL)
		closedir(dir);
	return r;
}

/* {0}: there is nothing to be asked for. */
static struct mps_time next_walk(const struct scan_walk *w)
{
	struct mps_time next = { 0 };

	for (size_t i = 0; i < w->n; i++)
		keeper_earliest(&next, w->all[i].asked ? w->all[i].again : (struct mps_time){ 1 });
	return next.ns != 0 && next.ns < w->not_before.ns ? w->not_before : next;
}

static bool begin(struct keeper *k, struct scan_walk *w)
{
	struct track_target targets[UNSURE_MAX];
	struct mps_time next;

	if (w->on)
		return true;
	tidy(w);
	next = next_walk(w);
	w->began = mps_now();
	if (next.ns == 0 || w->began.ns < next.ns)
		return false;
	for (size_t i = 0; i < w->n; i++)
		targets[i] = target_of(&w->all[i].st);
	w->users = track_users_new(targets, w->n);
	w->n_asked = w->n;
	w->took = 0;
	w->on = true;
	if (w->users == NULL || list_processes(k, w) < 0)
		w->pids.n = w->n_ours = 0; /* nobody is found, then */
	return true;
}

struct seen_by {
	struct keeper *k;
	bool ours;
};

static void on_use(size_t index, pid_t pid, void *user)
{
	const struct seen_by *by = user;
	struct keeper *k = by->k;
	struct unsure *u = &k->tracker->walk->all[index];
	struct sender s = { .pid = pid };

	if (!by->ours) {
		u->over = true;
		return;
	}
	s.holding = track_whose(k, pid, &s.over);
	if (u->maker.holding == NULL)
		u->maker = s;
}

/* Of those that are not decided yet. */
static bool any_found(const struct scan_walk *w)
{
	for (size_t i = 0; i < w->n_asked; i++)
		if (!w->all[i].over && w->all[i].maker.holding != NULL)
			return true;
	return false;
}

/* False when the time is up. */
static bool go_on(struct keeper *k, struct scan_walk *w)
{
	while (w->at < w->pids.n) {
		struct seen_by by = { k, w->at < w->n_ours };

		if (w->at == w->n_ours && !any_found(w))
			break;
		track_users_of(w->users, w->pids.p[w->at++], on_use, &by);
		if (w->at < w->pids.n && mps_now().ns >= k->tracker->turn_until.ns)
			return false;
	}
	return true;
}

static void decide(struct keeper *k, struct unsure *u)
{
	const struct holding *h = u->maker.holding;

	if (!u->over && h != NULL && h->slot != NO_SLOT && k->slots[h->slot].scan)
		scan_found(k, &u->maker, u->type, u->name, &u->st);
	u->asked = true;
	u->over = u->over || h != NULL || k->tracker->walk->began.ns >= u->again.ns;
}

static void finish(struct keeper *k, struct scan_walk *w)
{
	shm_read(k); /* it was closed, or spoken of, while we looked */
	for (size_t i = 0; i < w->n_asked; i++)
		decide(k, &w->all[i]);
	free(TAKE_PTR(w->users));
	w->on = false;
	tidy(w);
}

void walk_turn(struct keeper *k)
{
	struct scan_walk *w = k->tracker->walk;
	struct mps_time from = mps_now();
	bool done;

	if (w == NULL || !begin(k, w))
		return;
	done = go_on(k, w);
	if (done)
		finish(k, w);
	w->took += mps_now().ns - from.ns;
	if (done)
		w->not_before.ns = mps_now().ns + 10 * w->took;
}

struct mps_time walk_next_turn(const struct tracker *t)
{
	const struct scan_walk *w = t->walk;

	if (w == NULL)
		return (struct mps_time){ 0 };
	return w->on ? (struct mps_time){ 1 } : next_walk(w);
}
