/*
 * The tracker's door: a socket to which programs say what they make and unlink. Who has said it the kernel tells (pid and
 * uid of each datagram), whose process that is its tag. Nothing is answered but a probe.
 *
 * A process may be dead and reaped before its words are read: they count as those of who has made the connection. A
 * client that probes first is known before it can die.
 */
#include "keeper/tracker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "proc/tag.h"
#include "proc/tree.h"

enum { BATCH = 32, DRAIN_MAX = 4096, BACKLOG = 4096 };

/* Whoever has connected before he was stamped has done so at most so long ago. */
#define FRESH_NS (2 * MPS_NS_PER_S)
/* A number means the same process for so long; then it is looked at again. */
#define START_NS MPS_NS_PER_S

/* Room for both, and for nothing else: descriptors that come along are dropped by the kernel. */
#define CONTROL_SIZE (CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(struct timespec)))

static struct {
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	_Alignas(16) char control[BATCH][CONTROL_SIZE];
	char *text; /* BATCH times TRACK_MSG_MAX */
} in;

struct sender {
	pid_t pid;
	uid_t uid;
	uint64_t start;
	int64_t sent_ns; /* wall clock */
	struct holding *holding;
	bool over; /* of a run that is over */
};

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

static void close_client(struct keeper *k, struct client *c)
{
	struct tracker *t = k->tracker;

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

/* ------------------------------------------------------------------------------------------------- who is it? */

/* The holding of the process; NULL: it is none of ours, or gone. */
static struct holding *holding_of_pid(struct keeper *k, pid_t pid, bool *ret_over)
{
	uint32_t keeper, index, gen;
	const struct slot *s;

	if (pid <= 1 || !tag_parse(tag_get(pid), &keeper, &index, &gen) || keeper != k->id ||
	    index >= k->n_slots)
		return NULL;
	s = &k->slots[index];
	*ret_over = s->state == SLOT_IDLE || (s->gen & 0x3fff) != gen;
	return holding_of_slot(k, index);
}

static bool is_gone(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

static uint64_t start_of(struct client *c, pid_t pid)
{
	int64_t now = mps_now().ns;
	struct proc_stat st;

	if (c->pid == pid && now - c->start_read < START_NS)
		return c->start;
	c->pid = pid;
	c->start_read = now;
	c->start = proc_stat_read(pid, &st) == 0 ? st.start_ticks : 0;
	return c->start;
}

/* Of a connection that its maker did not live to see accepted. */
static struct holding *unclaimed(struct tracker *t)
{
	if (t->unclaimed == NULL && (t->unclaimed = holding_new(NO_SLOT, "")) != NULL)
		t->unclaimed->cleanup = KEEPER_CLEAN_SHUTDOWN;
	return t->unclaimed;
}

/* False: a stranger. */
static bool identify(struct keeper *k, struct client *c, const struct ucred *who, struct sender *s)
{
	s->pid = who->pid;
	s->uid = who->uid;
	s->over = false;
	s->holding = holding_of_pid(k, who->pid, &s->over);
	if (s->holding == NULL && is_gone(who->pid)) {
		s->holding = c->holding != NULL ? c->holding : unclaimed(k->tracker);
		s->over = s->holding != NULL && s->holding->slot == NO_SLOT;
	}
	if (s->holding == NULL)
		return false;
	s->start = start_of(c, who->pid);
	if (c->holding == NULL && s->holding->slot != NO_SLOT) {
		unlink_client(c);
		c->holding = s->holding;
		link_client(c, &c->holding->clients);
	}
	return true;
}

/* ------------------------------------------------------------------------------------------------------- words */

static void drop(struct tracker *t)
{
	t->n_dropped++;
	t->dropped_news = true;
}

/* Another user's object is not ours to forget, nor to be given away. */
static bool may_change(const struct sender *s, struct track_record *r)
{
	enum object_state state;

	if (s->uid == r->creator.uid || s->uid == 0)
		return true;
	state = object_ask(r);
	return state == OBJECT_ABSENT || state == OBJECT_FOREIGN;
}

/* He has told of it before, or inotify has: nothing is new. */
static bool is_known(const struct sender *s, const struct track_record *r)
{
	struct track_identity now;

	return holding_of(r) == s->holding && tracker_knows(r) &&
	       object_identify(r->type, r->name, &now) && now.ino == r->identity.ino &&
	       now.born_ns == r->identity.born_ns;
}

/*
 * A SysV object has no name until it is there. That its maker is about to make one is a record too, so that it has an
 * owner, and is found when he is killed in between: its name is his number, and how many of his threads are at it takes
 * the place of the inode.
 */
static bool is_pending(const struct track_word *w)
{
	return track_type_is_sysv(w->type) && strcmp(w->name, "?") == 0;
}

static void settle_pending(struct tracker *t, const struct sender *s, enum track_type type)
{
	char name[16];
	int n = snprintf(name, sizeof(name), "?%d", (int)s->pid);
	struct track_record *r = track_find(&t->registry, type, name, (size_t)n);

	if (r != NULL && --r->identity.ino == 0) {
		holding_changed(t, holding_of(r));
		track_remove(&t->registry, r);
	}
}

static struct track_record *add_record(struct tracker *t, const struct sender *s,
				       enum track_type type, const char *name, size_t n)
{
	const struct track_creator creator = { s->pid, s->uid, s->start };
	struct track_owner *owner =
		s->over ? holding_rest(t, s->holding) : &s->holding->lists[LIVE].owner;
	struct track_record *r;

	if (t->registry.n + t->n_news >= TRACK_RECORDS_MAX ||
	    owner->n >= TRACK_RECORDS_INSTANCE_MAX)
		return NULL;
	r = track_add(&t->registry, owner, type, name, n, &creator);
	if (r == NULL)
		return NULL;
	r->told_ns = s->sent_ns;
	holding_changed(t, s->holding);
	return r;
}

static void add_pending(struct tracker *t, const struct sender *s, enum track_type type)
{
	char name[16];
	int n = snprintf(name, sizeof(name), "?%d", (int)s->pid);
	struct track_record *r = track_find(&t->registry, type, name, (size_t)n);

	if (r == NULL)
		r = add_record(t, s, type, name, (size_t)n);
	if (r != NULL)
		r->identity.ino++;
	else
		drop(t);
}

static void on_register(struct keeper *k, const struct sender *s, const struct track_word *w)
{
	struct tracker *t = k->tracker;
	struct track_record *r;

	if (is_pending(w)) {
		add_pending(t, s, w->type);
		return;
	}
	if (track_type_is_sysv(w->type))
		settle_pending(t, s, w->type);
	r = track_find(&t->registry, w->type, w->name, w->name_length);
	if (r != NULL && is_known(s, r))
		return;
	if (r != NULL && !may_change(s, r)) {
		drop(t);
		return;
	}
	if (r != NULL)
		leak_forget(t, r);
	r = add_record(t, s, w->type, w->name, w->name_length);
	if (r == NULL) {
		drop(t);
		return;
	}
	if (object_settle(r)) {
		track_journal_add(&t->journal, r);
		return;
	}
	leak_forget(t, r); /* it was there before */
}

static void on_unregister(struct keeper *k, const struct sender *s, const struct track_word *w)
{
	struct tracker *t = k->tracker;
	struct track_record *r;

	if (is_pending(w)) {
		settle_pending(t, s, w->type);
		return;
	}
	r = track_find(&t->registry, w->type, w->name, w->name_length);
	if (r == NULL)
		return;
	if (may_change(s, r))
		leak_forget(t, r);
	else
		drop(t);
}

/* A lone probe: all that was said before it is recorded and written down. */
static void answer(struct keeper *k, const struct client *c)
{
	static const char text[] = "PROBE:0:noop\n";

	track_journal_flush(&k->tracker->journal, &k->tracker->registry);
	send(c->fd, text, sizeof(text) - 1,
	     MSG_DONTWAIT | MSG_NOSIGNAL); /* who does not read is not told */
}

static void on_datagram(struct keeper *k, struct client *c, const struct sender *s, char *p,
			size_t n)
{
	struct track_word w;
	size_t n_words = 0;
	int r;

	while ((r = track_word_next(&p, &n, &w)) != 0) {
		if (r < 0 || w.name_length > TRACK_NAME_MAX) {
			drop(k->tracker);
			continue;
		}
		n_words++;
		switch (w.verb) {
		case TRACK_REGISTER:
			on_register(k, s, &w);
			break;
		case TRACK_UNREGISTER:
			on_unregister(k, s, &w);
			break;
		case TRACK_PROBE:
			if (n_words == 1 && n == 0)
				answer(k, c);
			break;
		}
	}
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
			.msg_controllen = CONTROL_SIZE,
		};
	}
}

/* What the kernel says of a datagram; false where it says nobody's name: the connection has ended. */
static bool read_control(struct msghdr *h, struct ucred *ret_who, int64_t *ret_sent)
{
	bool found = false;

	*ret_sent = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(ret_who, CMSG_DATA(c), sizeof(*ret_who));
			found = true;
		} else if (c->cmsg_type == SCM_TIMESTAMPNS) {
			struct timespec ts;

			memcpy(&ts, CMSG_DATA(c), sizeof(ts));
			*ret_sent = (int64_t)ts.tv_sec * MPS_NS_PER_S + ts.tv_nsec;
		}
	}
	return found;
}

/* One batch. How many there were; 0: nothing is there now, or it is closed. */
static int read_client(struct keeper *k, struct client *c)
{
	struct sender s = { 0 };
	bool known = false;
	int n;

	prepare(BATCH);
	n = recvmmsg(c->fd, in.msgs, BATCH, MSG_DONTWAIT, NULL);
	if (n < 0 && errno == EAGAIN) {
		c->fresh = false;
		return 0;
	}
	shm_read(k); /* what has happened before they were said */
	for (int i = 0; i < n; i++) {
		struct msghdr *h = &in.msgs[i].msg_hdr;
		struct ucred who;
		int64_t sent;

		if (!read_control(h, &who, &sent)) {
			n = -1;
			break;
		}
		if (!known || s.pid != who.pid || s.uid != who.uid)
			known = identify(k, c, &who, &s);
		s.sent_ns = c->fresh || sent == 0 ? c->since : sent;
		if (!known || (h->msg_flags & MSG_TRUNC))
			drop(k->tracker);
		else
			on_datagram(k, c, &s, in.iov[i].iov_base, in.msgs[i].msg_len);
	}
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

void track_listen(struct keeper *k, struct holding *h)
{
	track_on_connect(k);
	drain(k, k->tracker->unknown);
	drain(k, h->clients);
}

/* -------------------------------------------------------------------------------------------------- connecting */

static void set_option(int fd, int option)
{
	int one = 1;

	setsockopt(fd, SOL_SOCKET, option, &one, sizeof(one));
}

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
	h = holding_of_pid(k, who.pid, &over);
	if (h == NULL && !is_gone(who.pid)) {
		drop(t);
		return false;
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL || !place_client(t, c)) {
		free(c);
		return false;
	}
	set_option(fd, SO_PASSCRED);
	set_option(fd, SO_TIMESTAMPNS);
	c->fd = fd;
	c->fresh = true;
	c->since = wall_ns() - FRESH_NS;
	if (c->since < t->connected_since)
		c->since = t->connected_since;
	c->holding = h;
	link_client(c, h != NULL ? &h->clients : &t->unknown);
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
		int fd = accept4(t->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			if (errno == EAGAIN)
				t->connected_since = now;
			break;
		}
		keeper_lift(&fd);
		if (!admit(k, fd))
			close(fd);
	}
}

/* ------------------------------------------------------------------------------------------- opening and closing */

/* 0 or -errno. */
static int bind_socket(struct tracker *t)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (strlen(t->path) >= sizeof(at.sun_path))
		return -ENAMETOOLONG;
	strcpy(at.sun_path, t->path);
	unlink(t->path);
	/* Those that the kernel hands on to connections made before they are accepted. */
	set_option(fd, SO_PASSCRED);
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return -errno;
	/* Who may come in is for the folder to say; as root programs of all users are ours. */
	if (chmod(t->path, geteuid() == 0 ? 0666 : 0600) < 0 || listen(fd, BACKLOG) < 0 ||
	    lstat(t->path, &t->bound) < 0)
		return -errno;
	t->listener = TAKE_FD(fd);
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
	r->identity = old->identity;
	r->told_ns = old->told_ns;
}

/* What a keeper before us could not unlink, since somebody used it, is ours to unlink now. */
static void inherit(struct tracker *t, const char *journal)
{
	struct track_heir heir = TRACK_HEIR_INIT;
	struct track_registry old = { 0 };

	if (track_journal_read(journal, &old, &heir) == 0 && !heir.other_boot)
		for (size_t i = 0; i < old.n_buckets; i++)
			for (const struct track_record *r = old.buckets[i]; r != NULL;
			     r = r->next_in_bucket)
				inherit_one(t, r);
	track_registry_fini(&old);
	track_heir_fini(&heir);
}

static void complain(const struct keeper *k, const char *what, int error)
{
	AUTO_BUF text = BUF_INIT;

	buf_addf(&text, "objects that programs leave behind are not tracked: %s: %s", what,
		 strerror(error));
	if (!text.failed)
		boss_say(k, "WARN", text.p);
}

static struct tracker *tracker_new(const char *dir)
{
	struct tracker *t = calloc(1, sizeof(*t));

	if (t == NULL || asprintf(&t->path, "%s/ipc.sock", dir) < 0 ||
	    (in.text == NULL && (in.text = malloc((size_t)BATCH * TRACK_MSG_MAX)) == NULL)) {
		free(t);
		return NULL;
	}
	t->listener = t->inotify = -1;
	t->journal = (struct track_journal)TRACK_JOURNAL_INIT;
	return t;
}

/* 0 or -errno. Again: the folder was removed, and with it socket and journal. */
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
	else if (first)
		shm_open_watch(k);
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
	track_journal_close(&t->journal, t->registry.n == 0);
}

/* -------------------------------------------------------------------------------------------------------- slots */

void track_on_start(struct keeper *k, const struct keeper_start *start)
{
	struct slot *s = &k->slots[start->instance];
	const char *name = start->name != NULL ? start->name : "";

	s->cleanup = (uint8_t)start->cleanup;
	s->scan = start->scan;
	if (k->tracker != NULL && (s->name == NULL || strcmp(s->name, name) != 0)) {
		free(s->name);
		s->name = strdup(name);
	}
	if (s->holding != NULL)
		s->holding->cleanup = s->cleanup;
}

void track_forget(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];
	struct holding *h = s->holding;

	free(TAKE_PTR(s->name));
	if (h == NULL)
		return;
	s->holding = NULL;
	h->slot = NO_SLOT;
	holding_drop(k->tracker, h);
}

void track_begin_turn(struct keeper *k)
{
	if (k->tracker != NULL)
		k->tracker->turn_until.ns = mps_now().ns + TRACK_TURN_NS;
}

void track_turn(struct keeper *k)
{
	struct tracker *t = k->tracker;
	struct mps_time now = mps_now();

	if (t == NULL)
		return;
	leak_turn(k);
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
	if (t->ending != NULL || t->pass_on || t->journal_more)
		return (struct mps_time){ 1 };
	if (t->pass_due)
		keeper_earliest(&next, t->pass_not_before.ns > 0 ? t->pass_not_before
								 : (struct mps_time){ 1 });
	if (t->dirty != NULL || t->dropped_news)
		keeper_earliest(&next, t->counts_not_before.ns > 0 ? t->counts_not_before
								   : (struct mps_time){ 1 });
	return next;
}
