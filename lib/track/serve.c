/*
 * See serve.h. One thread, one loop, an event at a time. What a dead process has said before it died is read before it is
 * buried: the kernel keeps it.
 */
#include "track/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mtime.h"
#include "proc/pidfd.h"
#include "proc/tree.h"
#include "track/door.h"
#include "track/journal.h"
#include "track/object.h"
#include "track/registry.h"
#include "track/sweep.h"

/* Nobody tells of the end of a process that has no pidfd, nor when whoever holds the folder has started to speak. */
enum { LOOK_AGAIN_MS = 100 };

enum kind { LISTENER, TALKER, PROCESS };

/* What an event is of; the first member of what it is about. */
struct watched {
	enum kind kind;
	int fd;
};

struct process {
	struct watched watched; /* its pidfd; -1 = none */
	struct track_owner owner;
	struct process *next;
	pid_t pid;
	uint64_t start;
	bool has_semaphores;
	char name[64];
};

/* A connection. */
struct talker {
	struct watched watched;
	struct talker *next;
};

struct serve {
	const char *dir;
	int folder, epoll;
	int lock; /* of DIR/lock: who sweeps leaves the folder alone */
	char *socket, *journal_path;
	struct stat bound;
	struct watched listener;
	bool deaf; /* it is not waited for: there are no descriptors */
	struct process *processes;
	struct talker *talkers;
	struct track_registry registry;
	struct track_journal journal;
	struct track_owner rest; /* of the dead, in use */
	struct mps_time rest_not_before;
	bool rest_due, journal_more;
	char *text; /* TRACK_MSG_MAX */
};

static int watch(const struct serve *s, struct watched *w)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = w };

	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, w->fd, &e) < 0 ? -errno : 0;
}

/* ------------------------------------------------------------------------------------------------------ records */

static void write_down(struct serve *s)
{
	s->journal_more = track_journal_flush(&s->journal, &s->registry) == 1;
}

static void forget(struct serve *s, struct track_record *r)
{
	track_journal_remove(&s->journal, (enum track_type)r->type, r->name, r->name_length);
	track_remove(&s->registry, r);
}

/* Asks and unlinks it. False: it stays. */
static bool end_one(struct serve *s, struct track_record *r)
{
	enum object_state state;

	/* Before it has another name for a moment: who comes after us looks for it by what it is. */
	if (object_learn(r)) {
		track_journal_add(&s->journal, r);
		write_down(s);
	}
	state = object_unlink(r);
	if (state == OBJECT_USED || state == OBJECT_UNKNOWN)
		return false;
	forget(s, r);
	return true;
}

static void ask_rest(struct serve *s)
{
	struct track_owner still = { .name = "" };
	struct mps_time began = mps_now();

	s->rest_due = false;
	while (s->rest.first != NULL)
		if (!end_one(s, s->rest.first))
			track_give(s->rest.first, &still);
	while (still.first != NULL)
		track_give(still.first, &s->rest);
	/* With many of them, asking at each death would cost more than all else. */
	s->rest_not_before.ns = mps_now().ns + 10 * (mps_now().ns - began.ns);
}

/* ---------------------------------------------------------------------------------------------------- processes */

static bool is_dead(const struct process *p)
{
	struct pollfd f = { .fd = p->watched.fd, .events = POLLIN };
	struct proc_stat st;

	if (p->watched.fd >= 0)
		return poll(&f, 1, 0) > 0;
	return proc_stat_read(p->pid, &st) < 0 || st.start_ticks != p->start ||
	       !process_runs(p->pid, &st);
}

/* What it has said is read. */
static void bury(struct serve *s, struct process *p)
{
	struct process **at = &s->processes;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	if (p->has_semaphores)
		object_adopt_temporaries(&s->registry, &p->owner);
	while (p->owner.first != NULL)
		if (!end_one(s, p->owner.first))
			track_give(p->owner.first, &s->rest);
	fd_close(&p->watched.fd);
	free(p);
	s->rest_due = s->rest.first != NULL;
}

/* NULL: it is dead, or there is no memory. */
static struct process *meet(struct serve *s, pid_t pid)
{
	struct process *p = calloc(1, sizeof(*p));
	struct proc_stat st;

	if (p == NULL)
		return NULL;
	p->watched = (struct watched){ PROCESS, pidfd_open_checked(pid) };
	if (p->watched.fd == -ESRCH || proc_stat_read(pid, &st) < 0) {
		fd_close(&p->watched.fd);
		free(p);
		return NULL;
	}
	p->pid = pid;
	p->start = st.start_ticks;
	memcpy(p->name, st.comm, sizeof(p->name));
	p->owner.name = p->name;
	if (p->watched.fd < 0 || watch(s, &p->watched) < 0) {
		fd_close(&p->watched.fd);
		p->watched.fd = -1;
	}
	p->next = s->processes;
	s->processes = p;
	return p;
}

static struct process *process_of(struct serve *s, pid_t pid)
{
	struct process *p = s->processes;

	while (p != NULL && p->pid != pid)
		p = p->next;
	if (p != NULL && is_dead(p)) { /* its number may be another's */
		bury(s, p);
		p = NULL;
	}
	return p != NULL ? p : meet(s, pid);
}

/* -------------------------------------------------------------------------------------------------------- words */

static bool may_change(const struct ucred *who, struct track_record *r)
{
	enum object_state state;

	if (who->uid == r->creator.uid || who->uid == 0)
		return true;
	state = object_ask(r);
	return state == OBJECT_ABSENT || state == OBJECT_FOREIGN;
}

/* It is the same object that he has told of before, or that was not there yet then. */
static bool is_known(const struct process *p, struct track_record *r)
{
	struct track_identity now;

	if (p == NULL || r->owner != &p->owner)
		return false;
	if (r->identity.ino == 0 && r->identity.born_ns == 0)
		return object_settle(r);
	return object_identify((enum track_type)r->type, r->name, &now) &&
	       now.ino == r->identity.ino && now.born_ns == r->identity.born_ns;
}

static void on_register(struct serve *s, const struct ucred *who, const struct track_word *w)
{
	struct process *p = process_of(s, who->pid);
	struct track_record *r = track_find(&s->registry, w->type, w->name, w->name_length);
	const struct track_creator creator = { who->pid, who->uid, p != NULL ? p->start : 0 };

	if (r != NULL && !may_change(who, r))
		return;
	if (r != NULL && is_known(p, r)) {
		track_journal_add(&s->journal, r);
		return;
	}
	if (r != NULL)
		forget(s, r);
	r = track_add(&s->registry, p != NULL ? &p->owner : &s->rest, w->type, w->name,
		      w->name_length, &creator);
	if (r == NULL)
		return;
	if (p == NULL)
		s->rest_due = true;
	else if (w->type == TRACK_SEMAPHORE)
		p->has_semaphores = true;
	if (object_begin(r))
		track_journal_add(&s->journal, r);
	else
		forget(s, r);
}

static void on_unregister(struct serve *s, const struct ucred *who, const struct track_word *w)
{
	struct track_record *r = track_find(&s->registry, w->type, w->name, w->name_length);

	if (r != NULL && may_change(who, r))
		forget(s, r);
}

static void answer(struct serve *s, int fd)
{
	static const char text[] = "PROBE:0:noop\n";

	write_down(s);
	send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void on_datagram(struct serve *s, int fd, const struct ucred *who, size_t n)
{
	char *p = s->text;
	struct track_word w;
	size_t n_words = 0;
	int r;

	while ((r = track_word_next(&p, &n, &w)) != 0) {
		if (r < 0 || w.name_length > TRACK_NAME_MAX)
			continue;
		n_words++;
		switch (w.verb) {
		case TRACK_REGISTER:
			on_register(s, who, &w);
			break;
		case TRACK_UNREGISTER:
			on_unregister(s, who, &w);
			break;
		case TRACK_PROBE:
			if (n_words == 1 && n == 0)
				answer(s, fd);
			break;
		case TRACK_SLATE:
			break;
		}
	}
}

/* -------------------------------------------------------------------------------------------------- connections */

static void hang_up(struct serve *s, struct talker *t)
{
	struct talker **at = &s->talkers;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	close(t->watched.fd);
	free(t);
}

/* All that he has said. False: he is gone. */
static bool hear(struct serve *s, struct talker *t)
{
	_Alignas(16) char control[DOOR_CONTROL_SIZE];
	bool open = true;

	for (;;) {
		struct iovec iov = { s->text, TRACK_MSG_MAX };
		struct msghdr h = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control,
				    .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(t->watched.fd, &h, MSG_DONTWAIT);
		struct ucred who;
		int64_t sent;

		if (n < 0 && (errno == EINTR || errno == ECONNRESET)) /* that is said once */
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 || !door_read_control(&h, &who, &sent)) {
			open = false;
			break;
		}
		if (who.pid > 0 && !(h.msg_flags & MSG_TRUNC))
			on_datagram(s, t->watched.fd, &who, (size_t)n);
	}
	write_down(s);
	return open;
}

static bool admit(struct serve *s, int fd)
{
	struct talker *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return false;
	t->watched = (struct watched){ TALKER, fd };
	if (watch(s, &t->watched) < 0) {
		free(t);
		return false;
	}
	door_set_option(fd, SO_PASSCRED);
	t->next = s->talkers;
	s->talkers = t;
	return true;
}

static void let_in(struct serve *s)
{
	int fd;

	while ((fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0 ||
	       errno == EINTR || errno == ECONNABORTED)
		if (fd >= 0 && !admit(s, fd))
			close(fd);
	if (errno != EAGAIN) {
		epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->listener.fd, NULL);
		s->deaf = true;
	}
}

static void hear_all(struct serve *s)
{
	struct talker *next;

	let_in(s);
	for (struct talker *t = s->talkers; t != NULL; t = next) {
		next = t->next;
		if (!hear(s, t))
			hang_up(s, t);
	}
}

/* --------------------------------------------------------------------------------------------------------- life */

static void inherit_one(struct serve *s, const struct track_record *old)
{
	struct process *p = object_has_creator(old) ? process_of(s, old->creator.pid) : NULL;
	struct track_record *r;

	r = track_add(&s->registry, p != NULL ? &p->owner : &s->rest, (enum track_type)old->type,
		      old->name, old->name_length, &old->creator);
	if (r == NULL)
		return;
	r->identity = old->identity;
	r->told_ns = old->told_ns;
	if (p != NULL && r->type == TRACK_SEMAPHORE)
		p->has_semaphores = true;
	s->rest_due = s->rest_due || p == NULL;
}

/* The one before us was killed: those of whom it knew may live. */
static void inherit(struct serve *s)
{
	struct track_heir heir = TRACK_HEIR_INIT;
	struct track_registry old = { 0 };

	if (track_journal_read(s->journal_path, &old, &heir) == 0 && !heir.other_boot)
		for (size_t i = 0; i < old.n_buckets; i++)
			for (const struct track_record *r = old.buckets[i]; r != NULL;
			     r = r->next_in_bucket)
				inherit_one(s, r);
	track_registry_fini(&old);
	track_heir_fini(&heir);
}

static int set_up(struct serve *s, pid_t program)
{
	struct process *p;
	int r;

	s->text = malloc(TRACK_MSG_MAX);
	if (s->text == NULL || asprintf(&s->socket, "%s/ipc.sock", s->dir) < 0 ||
	    asprintf(&s->journal_path, "%s/ipc.journal", s->dir) < 0)
		return -ENOMEM;
	s->folder = open(s->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->lock = s->folder < 0 ? -1
				: openat(s->folder, "lock",
					 O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (s->folder < 0 || s->epoll < 0 || s->lock < 0 || flock(s->lock, LOCK_EX) < 0)
		return -errno;
	p = process_of(s, program);
	inherit(s);
	r = track_journal_open(&s->journal, s->journal_path, p != NULL ? p->name : "", getpid(),
			       &s->registry);
	if (r == 0)
		r = door_open(s->socket, &s->listener.fd, &s->bound);
	return r < 0 ? r : watch(s, &s->listener);
}

/* What dead instances have left, as whoever starts looks after it. */
static void sweep(const struct serve *s)
{
	const char *slash = strrchr(s->dir, '/');
	AUTO_FREE char *base = slash != NULL ? strndup(s->dir, (size_t)(slash - s->dir)) : NULL;

	if (base != NULL)
		track_sweep_all(base, &(struct track_sweep){ 0 });
}

static bool has_blind(const struct serve *s)
{
	for (const struct process *p = s->processes; p != NULL; p = p->next)
		if (p->watched.fd < 0)
			return true;
	return false;
}

static void bury_dead(struct serve *s)
{
	struct process *next;

	hear_all(s);
	for (struct process *p = s->processes; p != NULL; p = next) {
		next = p->next;
		if (is_dead(p))
			bury(s, p);
	}
	write_down(s);
}

/*
 * True when it is over. Whoever holds the folder has found us, and is about to speak, or will have found nobody when he
 * gets it.
 */
static bool is_over(struct serve *s)
{
	if (s->processes != NULL || flock(s->folder, LOCK_EX | LOCK_NB) < 0)
		return false;
	hear_all(s);
	if (s->processes != NULL || s->talkers != NULL) {
		flock(s->folder, LOCK_UN);
		return false;
	}
	return true;
}

static int next_timeout(const struct serve *s)
{
	int64_t ms = -1;

	if (s->rest_due) {
		ms = (s->rest_not_before.ns - mps_now().ns) / MPS_NS_PER_MS + 1;
		ms = ms < 0 ? 0 : ms;
	}
	if (s->journal_more)
		return 0;
	if ((s->processes == NULL || s->deaf || has_blind(s)) && (ms < 0 || ms > LOOK_AGAIN_MS))
		ms = LOOK_AGAIN_MS;
	return ms > 1 << 30 ? 1 << 30 : (int)ms;
}

static void on_event(struct serve *s, struct watched *w)
{
	switch (w->kind) {
	case LISTENER:
		let_in(s);
		break;
	case TALKER:
		if (!hear(s, (struct talker *)w))
			hang_up(s, (struct talker *)w);
		break;
	case PROCESS:
		bury_dead(s);
		break;
	}
}

static void loop(struct serve *s)
{
	while (!is_over(s)) {
		struct epoll_event e;
		int n = epoll_wait(s->epoll, &e, 1, next_timeout(s));

		if (n > 0)
			on_event(s, e.data.ptr);
		else if (n == 0 && has_blind(s))
			bury_dead(s);
		if (s->deaf && watch(s, &s->listener) == 0) {
			s->deaf = false;
			let_in(s);
		}
		if (s->rest_due && mps_now().ns >= s->rest_not_before.ns)
			ask_rest(s);
		if (s->journal_more || s->journal.out.len > 0)
			write_down(s);
	}
}

/* Nobody can come in any more: who has connected meanwhile is told by the kernel, and starts another one. */
static void close_all(struct serve *s)
{
	bool is_ours = false;
	struct stat st;

	if (s->socket != NULL)
		is_ours = lstat(s->socket, &st) == 0 && st.st_ino == s->bound.st_ino &&
			  st.st_dev == s->bound.st_dev;
	if (is_ours)
		unlink(s->socket);
	fd_close(&s->listener.fd);
	ask_rest(s);
	track_journal_flush(&s->journal, &s->registry);
	track_journal_close(&s->journal, is_ours && s->registry.n == 0);
	if (is_ours) {
		unlinkat(s->folder, "lock", 0);
		rmdir(s->dir);
	}
}

static void serve_fini(struct serve *s)
{
	while (s->talkers != NULL)
		hang_up(s, s->talkers);
	while (s->processes != NULL) {
		struct process *p = s->processes;

		s->processes = p->next;
		fd_close(&p->watched.fd);
		free(p);
	}
	track_registry_fini(&s->registry);
	track_journal_close(&s->journal, false);
	fd_close(&s->listener.fd);
	fd_close(&s->epoll);
	fd_close(&s->lock);
	fd_close(&s->folder);
	free(s->socket);
	free(s->journal_path);
	free(s->text);
}

int track_serve(const char *dir, pid_t program, int ready_fd)
{
	struct serve s = {
		.dir = dir,
		.folder = -1,
		.lock = -1,
		.epoll = -1,
		.listener = { LISTENER, -1 },
		.journal = TRACK_JOURNAL_INIT,
		.rest = { .name = "" },
	};
	int32_t r = set_up(&s, program);

	fd_write_all(ready_fd, &r, sizeof(r));
	close(ready_fd);
	if (r == 0) {
		sweep(&s);
		loop(&s);
		close_all(&s);
	}
	serve_fini(&s);
	return r;
}
