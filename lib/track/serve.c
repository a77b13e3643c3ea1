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

#include "base/cleanup.h"
#include "base/fd.h"
#include "proc/pidfd.h"
#include "proc/tree.h"
#include "track/door.h"
#include "track/serving.h"
#include "track/sweep.h"

/* Nobody tells of the end of a process that has no pidfd, nor when whoever holds the folder has started to speak. */
enum { LOOK_AGAIN_MS = 100 };

static int watch(const struct serve *s, struct watched *w)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = w };

	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, w->fd, &e) < 0 ? -errno : 0;
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
	serve_bury_records(s, &p->owner);
	fd_close(&p->watched.fd);
	free(p);
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

struct process *serve_process(struct serve *s, pid_t pid)
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
			serve_datagram(s, t->watched.fd, &who, (size_t)n);
	}
	serve_write_down(s);
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

	while ((fd = door_accept(s->listener.fd)) >= 0 || fd == -EINTR || fd == -ECONNABORTED)
		if (fd >= 0 && !admit(s, fd))
			close(fd);
	if (fd != -EAGAIN) {
		epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->listener.fd, NULL);
		s->deaf = true;
	}
}

void serve_hear_all(struct serve *s)
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
	struct process *p = object_has_creator(old) ? serve_process(s, old->creator.pid) : NULL;
	struct track_record *r;

	r = track_add(&s->registry, p != NULL ? &p->owner : &s->rest, (enum track_type)old->type,
		      old->name, old->name_length, &old->creator);
	if (r == NULL)
		return;
	r->over = p == NULL;
	r->identity = old->identity;
	track_told(&s->registry, r, old->told_ns);
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
	p = serve_process(s, program);
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

	serve_hear_all(s);
	for (struct process *p = s->processes; p != NULL; p = next) {
		next = p->next;
		if (is_dead(p))
			bury(s, p);
	}
	serve_write_down(s);
}

/*
 * True when it is over. Whoever holds the folder has found us, and is about to speak, or will have found nobody when he
 * gets it.
 */
static bool is_over(struct serve *s)
{
	if (s->processes != NULL || s->due.first != NULL || flock(s->folder, LOCK_EX | LOCK_NB) < 0)
		return false;
	serve_hear_all(s);
	if (s->processes != NULL || s->talkers != NULL) {
		flock(s->folder, LOCK_UN);
		return false;
	}
	return true;
}

static int next_timeout(const struct serve *s)
{
	int64_t ms = -1;

	struct mps_time due = track_young_due(&s->registry);

	if (s->rest_due && (due.ns == 0 || s->rest_not_before.ns < due.ns))
		due.ns = s->rest_not_before.ns > 0 ? s->rest_not_before.ns : 1;
	if (due.ns > 0) {
		ms = (due.ns - mps_now().ns) / MPS_NS_PER_MS + 1;
		ms = ms < 0 ? 0 : ms;
	}
	if (s->journal_more || s->due.first != NULL)
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
		serve_expire(s);
		if (s->rest_due && s->due.first == NULL && mps_now().ns >= s->rest_not_before.ns)
			serve_ask_rest(s);
		if (s->due.first != NULL)
			serve_work(s);
		else if (s->journal_more || s->journal.out.len > 0)
			serve_write_down(s);
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
	serve_ask_rest(s);
	while (s->due.first != NULL)
		serve_work(s);
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
		.due = { .name = "" },
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
