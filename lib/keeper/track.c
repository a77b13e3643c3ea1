/*
 * The tracker's door: a socket to which programs say what they make and unlink. Who has said it the kernel tells (pid and
 * uid of each datagram). Nothing is answered but a probe. What becomes of the words is track_words.c's.
 */
#include "keeper/tracker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "track/door.h"
#include "track/slate.h"

enum { BATCH = TRACK_BATCH, DRAIN_MAX = 4096 };

/* Whoever has connected before he was stamped has done so at most so long ago. */
#define FRESH_NS (2 * MPS_NS_PER_S)

static struct {
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	_Alignas(16) char control[BATCH][DOOR_CONTROL_SIZE];
	char *text; /* BATCH times TRACK_MSG_MAX */
} in;

static int64_t wall_ns(void)
{
	return mps_wall().ns;
}

/* ----------------------------------------------------------------------------------------------------- clients */

static void link_client(struct client *c, struct client **list)
{
	c->at = list;
	c->next = *list;
	if (c->next != NULL)
		c->next->at = &c->next;
	*list = c;
}

static void unlink_client(struct client *c)
{
	*c->at = c->next;
	if (c->next != NULL)
		c->next->at = c->at;
}

void track_client_belongs(struct client *c, struct holding *h)
{
	unlink_client(c);
	c->holding = h;
	link_client(c, &h->clients);
}

static void close_client(struct keeper *k, struct client *c)
{
	struct tracker *t = k->tracker;

	epoll_ctl(t->ready, EPOLL_CTL_DEL, c->fd, NULL);
	keeper_unwatch(k, &c->fd);
	unlink_client(c);
	t->clients[c->index] = NULL;
	if (c->holding != NULL)
		holding_drop(t, c->holding);
	free(c);
	while (t->n_clients > 0 && t->clients[t->n_clients - 1] == NULL)
		t->n_clients--;
}

/* An index that is free: the last ones are, mostly. */
static bool place_client(struct tracker *t, struct client *c)
{
	uint32_t at = t->n_clients;

	if (at == t->cap_clients) {
		uint32_t cap = at != 0 ? at * 2 : 16;
		struct client **p;

		for (at = 0; at < t->n_clients && t->clients[at] != NULL; at++)
			;
		if (at == t->n_clients) {
			if (at >= TRACK_CLIENTS_MAX)
				return false;
			p = realloc(t->clients, cap * sizeof(struct client *));
			if (p == NULL)
				return false;
			t->clients = p;
			t->cap_clients = cap;
		}
	}
	t->clients[at] = c;
	if (at == t->n_clients)
		t->n_clients++;
	c->index = at;
	c->number = ++t->last_number & 0xfffffff;
	return true;
}

/* ----------------------------------------------------------------------------------------------------- reading */

static void prepare(int n)
{
	for (int i = 0; i < n; i++) {
		in.iov[i] = (struct iovec){ in.text + (size_t)i * TRACK_MSG_MAX, TRACK_MSG_MAX };
		in.msgs[i].msg_hdr = (struct msghdr){
			.msg_iov = &in.iov[i],
			.msg_iovlen = 1,
			.msg_control = in.control[i],
			.msg_controllen = DOOR_CONTROL_SIZE,
		};
	}
}

/* Where he has died without reading our answer the kernel says that first, and once: his words are behind it. */
static int receive(int fd)
{
	int n = recvmmsg(fd, in.msgs, BATCH, MSG_DONTWAIT, NULL);

	return n < 0 && errno == ECONNRESET ? recvmmsg(fd, in.msgs, BATCH, MSG_DONTWAIT, NULL) : n;
}

/* One batch. How many there were; 0: nothing is there now, or it is closed. */
static int read_client(struct keeper *k, struct client *c)
{
	struct sender s = { 0 };
	bool known = false;
	int n;

	prepare(BATCH);
	n = receive(c->fd);
	if (n < 0 && errno == EAGAIN) {
		c->fresh = false;
		return 0;
	}
	shm_read(k); /* what has happened before they were said */
	for (int i = 0; i < n; i++) {
		struct msghdr *h = &in.msgs[i].msg_hdr;
		struct ucred who;
		int64_t sent;

		if (!door_read_control(h, &who, &sent)) {
			n = -1;
			break;
		}
		if (!known || s.pid != who.pid || s.uid != who.uid)
			known = track_identify(k, c, &who, &s);
		s.sent_ns = c->fresh || sent == 0 ? c->since : sent;
		if (!known || (h->msg_flags & MSG_TRUNC))
			track_drop(k->tracker);
		else
			track_datagram(k, c, &s, in.iov[i].iov_base, in.msgs[i].msg_len);
	}
	track_write_down(k->tracker);
	c->fresh =
		c->fresh && n == BATCH; /* the last of those that were not stamped may come yet */
	if (n < 0)
		close_client(k, c);
	return n > 0 ? n : 0;
}

void track_on_words(struct keeper *k, uint32_t index, uint32_t number)
{
	struct tracker *t = k->tracker;
	struct client *c = t != NULL && index < t->n_clients ? t->clients[index] : NULL;

	/* What there is no time for is still there in the next turn. */
	if (c != NULL && c->number == number && mps_now().ns < t->turn_until.ns)
		read_client(k, c);
}

static void drain(struct keeper *k, struct client *first)
{
	struct client *next;

	for (struct client *c = first; c != NULL; c = next) {
		int n, left = DRAIN_MAX;

		next = c->next;
		while (left > 0 && (n = read_client(k, c)) == BATCH)
			left -= n;
	}
}

/* Who talks as fast as we read is left at that. */
static void hear_client(struct keeper *k, uint32_t index)
{
	struct tracker *t = k->tracker;
	int n, left = DRAIN_MAX;

	while (left > 0 && index < t->n_clients && t->clients[index] != NULL &&
	       (n = read_client(k, t->clients[index])) == BATCH)
		left -= n;
}

void track_hear_all(struct keeper *k)
{
	struct tracker *t = k->tracker;
	struct epoll_event e[BATCH];
	int n = BATCH;

	track_on_connect(k);
	/* The kernel takes turns. */
	for (uint32_t round = 0; n == BATCH && round <= t->n_clients / BATCH; round++) {
		n = epoll_wait(t->ready, e, BATCH, 0);
		for (int i = 0; i < n; i++)
			hear_client(k, e[i].data.u32);
	}
	shm_read(k);
}

void track_listen(struct keeper *k, struct holding *h)
{
	track_on_connect(k);
	drain(k, k->tracker->unknown);
	drain(k, h->clients);
}

/* -------------------------------------------------------------------------------------------------- connecting */

/* False where it is closed again: a stranger's, one too many. */
static bool admit(struct keeper *k, int fd)
{
	struct tracker *t = k->tracker;
	struct ucred who = { 0 };
	socklen_t size = sizeof(who);
	struct holding *h;
	struct client *c;
	bool over;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
		return false;
	h = track_whose(k, who.pid, &over);
	if (h == NULL && (kill(who.pid, 0) == 0 || errno != ESRCH)) {
		track_drop(t);
		return false;
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL || !place_client(t, c)) {
		free(c);
		return false;
	}
	shm_open_watch(k); /* there is something to be looked for from here on */
	door_set_option(fd, SO_PASSCRED);
	door_set_option(fd, SO_TIMESTAMPNS);
	c->fd = fd;
	c->fresh = true;
	c->since = wall_ns() - FRESH_NS;
	if (c->since < t->connected_since)
		c->since = t->connected_since;
	c->holding = h;
	link_client(c, h != NULL ? &h->clients : &t->unknown);
	epoll_ctl(t->ready, EPOLL_CTL_ADD, fd,
		  &(struct epoll_event){ .events = EPOLLIN, .data.u32 = c->index });
	if (keeper_watch(k, fd, EPOLLIN, WATCH_CLIENT, c->index, c->number) < 0) {
		close_client(k, c);
		return true;
	}
	read_client(k, c);
	return true;
}

void track_on_connect(struct keeper *k)
{
	struct tracker *t = k->tracker;

	if (t == NULL || t->listener < 0)
		return;
	for (;;) {
		int64_t now = wall_ns();
		int fd = door_accept(t->listener);

		if (fd < 0) {
			if (fd == -EAGAIN)
				t->connected_since = now;
			break;
		}
		if (t->fanotify >= 0) /* who is asked for by his number may be gone soon */
			shm_read(k);
		keeper_lift(&fd);
		if (!admit(k, fd))
			close(fd);
	}
}

/* ------------------------------------------------------------------------------------------- opening and closing */

/* 0 or -errno. */
static int bind_socket(struct tracker *t)
{
	int r = door_open(t->path, &t->listener, &t->bound);

	if (r < 0)
		return r;
	keeper_lift(&t->listener);
	t->connected_since = wall_ns();
	return 0;
}

static bool is_bound(const struct tracker *t)
{
	struct stat st;

	return t->listener >= 0 && lstat(t->path, &st) == 0 && st.st_dev == t->bound.st_dev &&
	       st.st_ino == t->bound.st_ino;
}

static struct holding *holding_named(struct tracker *t, const char *name)
{
	struct holding *h = t->kept;

	while (h != NULL && strcmp(h->name, name) != 0)
		h = h->next_kept;
	return h != NULL ? h : holding_new(NO_SLOT, name);
}

static void inherit_one(struct tracker *t, const struct track_record *old)
{
	struct holding *h = holding_named(t, old->owner->name != NULL ? old->owner->name : "");
	struct track_record *r;

	if (h == NULL)
		return;
	r = track_add(&t->registry, holding_rest(t, h), (enum track_type)old->type, old->name,
		      old->name_length, &old->creator);
	if (r == NULL)
		return;
	r->over = true;
	r->identity = old->identity;
	track_told(&t->registry, r, old->told_ns);
}

/* What a keeper before us could not unlink, since somebody used it, is ours to unlink now. */
static void inherit(struct tracker *t, const char *journal)
{
	struct track_heir heir = TRACK_HEIR_INIT;
	struct track_registry old = { 0 };
	struct holding *h = holding_named(t, "");

	if (track_journal_read(journal, &old, &heir) == 0 && !heir.other_boot)
		for (size_t i = 0; i < old.n_buckets; i++)
			for (const struct track_record *r = old.buckets[i]; r != NULL;
			     r = r->next_in_bucket)
				inherit_one(t, r);
	track_registry_fini(&old);
	track_heir_fini(&heir);
	if (h != NULL)
		slate_read_all(t->dir, &t->registry, holding_rest(t, h));
	for (struct track_record *r = h != NULL ? holding_rest(t, h)->first : NULL; r != NULL;
	     r = r->next)
		r->over = true;
	t->pass_due = t->kept != NULL; /* at once: their makers are dead */
}

/* Programs that run go on with those that they have. */
static void make_slates(struct tracker *t)
{
	for (size_t i = 0; i < t->n_slates; i++) {
		fd_close(&t->slates[i].fd);
		t->slates[i].fd = slate_make(t->dir, t->slates[i].uid);
		keeper_lift(&t->slates[i].fd);
	}
}

static void need_slate(struct tracker *t, uid_t uid)
{
	struct slate_of *p;

	for (size_t i = 0; i < t->n_slates; i++)
		if (t->slates[i].uid == uid)
			return;
	p = realloc(t->slates, (t->n_slates + 1) * sizeof(*p));
	if (p == NULL)
		return;
	t->slates = p;
	p[t->n_slates] = (struct slate_of){ uid, slate_make(t->dir, uid) };
	keeper_lift(&p[t->n_slates++].fd);
}

static void complain(const struct keeper *k, const char *what, int error)
{
	struct err err;

	err_set(&err, 0, "objects that programs leave behind are not tracked: %s: %s", what,
		strerror(error));
	boss_say(k, "WARN", err.text);
}

static void forget(struct track_record *r, void *user)
{
	leak_forget(user, r);
}

static struct tracker *tracker_new(const char *dir)
{
	struct tracker *t = calloc(1, sizeof(*t));

	if (t == NULL || (t->dir = strdup(dir)) == NULL ||
	    asprintf(&t->path, "%s/ipc.sock", dir) < 0 ||
	    (in.text == NULL && (in.text = malloc((size_t)BATCH * TRACK_MSG_MAX)) == NULL)) {
		if (t != NULL)
			free(t->dir);
		free(t);
		return NULL;
	}
	t->listener = t->inotify = t->fanotify = -1;
	t->ready = epoll_create1(EPOLL_CLOEXEC);
	keeper_lift(&t->ready);
	t->stakes = (struct stakes){ &t->registry, &t->journal, forget, t };
	t->shm = open(SHM_FOLDER, O_PATH | O_DIRECTORY | O_CLOEXEC);
	keeper_lift(&t->shm);
	t->journal = (struct track_journal)TRACK_JOURNAL_INIT;
	return t;
}

/*
 * 0 or -errno. Again: the folder was removed, and with it socket and journal. Slates are there only
 * while there is a journal: whoever is killed leaves none that no sweep finds, and none is gone
 * before what it tells of is in the journal.
 */
static int open_files(struct keeper *k, const char *dir)
{
	struct tracker *t = k->tracker;
	AUTO_FREE char *path = NULL;
	bool again = t->journal.fd >= 0;
	int r;

	if (asprintf(&path, "%s/ipc.journal", dir) < 0)
		return -ENOMEM;
	if (again)
		track_journal_close(&t->journal, false);
	else
		inherit(t, path);
	r = track_journal_open(&t->journal, path, k->options->name, k->pid, &t->registry);
	if (r < 0)
		return r;
	keeper_lift(&t->journal.fd);
	if (again)
		make_slates(t);
	else
		slate_remove_all(t->dir);
	keeper_unwatch(k, &t->listener);
	r = bind_socket(t);
	return r < 0 ? r : keeper_watch(k, t->listener, EPOLLIN, WATCH_TRACK, NO_SLOT, 0);
}

void track_open(struct keeper *k, const char *dir)
{
	bool first = k->tracker == NULL;
	int r;

	if (first && (k->tracker = tracker_new(dir)) == NULL) {
		complain(k, dir, ENOMEM);
		return;
	}
	if (!first && is_bound(k->tracker))
		return;
	r = open_files(k, dir);
	if (r < 0)
		complain(k, k->tracker->path, -r);
}

void track_close(struct keeper *k)
{
	struct tracker *t = k->tracker;

	if (t == NULL)
		return;
	t->turn_until.ns = INT64_MAX;
	track_on_connect(k);
	for (uint32_t i = 0; i < t->n_clients; i++)
		if (t->clients[i] != NULL)
			read_client(k, t->clients[i]);
	leak_end_all(k);
	if (is_bound(t))
		unlink(t->path);
	track_journal_flush(&t->journal, &t->registry);
	for (size_t i = 0; i < t->n_slates; i++)
		slate_remove(t->dir, t->slates[i].uid);
	track_journal_close(&t->journal, t->registry.n == 0);
	scan_close(t);
}

/* -------------------------------------------------------------------------------------------------------- slots */

void track_on_start(struct keeper *k, const struct keeper_start *start, uid_t uid)
{
	struct slot *s = &k->slots[start->instance];
	const char *name = start->name != NULL ? start->name : "";

	s->cleanup = (uint8_t)start->cleanup;
	s->scan = start->scan;
	s->uid = uid;
	s->began = wall_ns();
	sysv_forget(s);
	if (k->tracker != NULL && s->scan)
		scan_open(k);
	if (k->tracker != NULL && (s->name == NULL || strcmp(s->name, name) != 0)) {
		free(s->name);
		s->name = strdup(name);
	}
	if (s->holding != NULL)
		s->holding->cleanup = s->cleanup;
	if (k->tracker != NULL && k->tracker->journal.fd >= 0)
		need_slate(k->tracker, uid);
}

void track_forget(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];
	struct holding *h = s->holding;

	free(TAKE_PTR(s->name));
	sysv_forget(s);
	if (h == NULL)
		return;
	s->holding = NULL;
	h->slot = NO_SLOT;
	holding_drop(k->tracker, h);
}

/* What has happened before the loop woke up, and so before any death of which it was told then. */
void track_catch_up(struct keeper *k)
{
	if (k->tracker == NULL || k->tracker->caught_up)
		return;
	track_on_connect(k);
	shm_read(k);
	k->tracker->no_sysv = sysv_is_none();
	k->tracker->caught_up = true;
}

void track_begin_turn(struct keeper *k)
{
	if (k->tracker == NULL)
		return;
	k->tracker->turn_until.ns = mps_now().ns + TRACK_TURN_NS;
	k->tracker->caught_up = false;
}

void track_turn(struct keeper *k)
{
	struct tracker *t = k->tracker;
	struct mps_time now = mps_now();

	if (t == NULL)
		return;
	if (shm_has_more())
		shm_on_event(k);
	leak_turn(k);
	walk_turn(k);
	if (stake_expire(&t->stakes, now))
		t->pass_due = t->kept != NULL;
	leak_flush_counts(k, now);
	if (t->journal.out.len > 0 || t->journal_more)
		t->journal_more = track_journal_flush(&t->journal, &t->registry) == 1;
	if (k->finishing)
		leak_say_news(k);
}

struct mps_time track_next_turn(const struct keeper *k)
{
	const struct tracker *t = k->tracker;
	struct mps_time next = { 0 };

	if (t == NULL)
		return next;
	if (t->ending != NULL || t->pass_on || t->journal_more || shm_has_more())
		return (struct mps_time){ 1 };
	keeper_earliest(&next, walk_next_turn(t));
	keeper_earliest(&next, track_young_due(&t->registry));
	if (t->pass_due)
		keeper_earliest(&next, t->pass_not_before.ns > 0 ? t->pass_not_before
								 : (struct mps_time){ 1 });
	if (t->dirty != NULL || t->dropped_news)
		keeper_earliest(&next, t->counts_not_before.ns > 0 ? t->counts_not_before
								   : (struct mps_time){ 1 });
	return next;
}
