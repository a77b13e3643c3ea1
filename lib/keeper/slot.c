/*
 * One instance in the keeper: a start, its exec, its exit, signals to it. What the supervisor is told of it is
 * slot_report.c's, what becomes of its orphans stray.c's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/internal.h"
#include "keeper/tracker.h"
#include "proc/pidfd.h"
#include "proc/tag.h"

struct slot *slot_at(struct keeper *k, uint32_t index)
{
	uint32_t n = k->n_slots ? k->n_slots : 16;
	struct slot *p;

	if (index < k->n_slots)
		return &k->slots[index];
	if (index >= KEEPER_INSTANCES_MAX)
		return NULL;
	while (n <= index)
		n += n / 2;
	p = realloc(k->slots, n * sizeof(*p));
	if (p == NULL)
		return NULL;
	memset(p + k->n_slots, 0, (n - k->n_slots) * sizeof(*p));
	for (uint32_t i = k->n_slots; i < n; i++)
		p[i].pidfd = p[i].exec_fd = p[i].heir_fd = -1;
	k->slots = p;
	k->n_slots = n;
	return &p[index];
}

uint32_t slot_of_pid(const struct keeper *k, pid_t pid)
{
	uint32_t ended = NO_SLOT;

	if (pid <= 0)
		return NO_SLOT;
	for (uint32_t i = 0; i < k->n_slots; i++) {
		if (k->slots[i].state == SLOT_IDLE || k->slots[i].pid != pid)
			continue;
		if (k->slots[i].state != SLOT_ENDING)
			return i;
		ended = i; /* its number is free and may have come again */
	}
	return ended;
}

pid_t slot_main(const struct slot *s)
{
	return s->heir != 0 ? s->heir : s->pid;
}

/* What we start leads a group, or will in a moment; until it is reaped no other has that number. */
pid_t slot_group(const struct slot *s)
{
	pid_t group = s->first != 0 ? getpgid(s->pid) : s->pid;

	return group > 1 ? group : s->pid; /* kill(2) takes -1 and 1 for all */
}

/* --------------------------------------------------------------------------------------------------- start */

static void set_failure(struct slot *s, const struct mps_failure *failure)
{
	free(s->fail_text);
	s->fail_text = failure->text[0] != '\0' ? strdup(failure->text) : NULL;
	s->fail_step = failure->step;
	s->fail_error = failure->error;
}

/* At once, as there is no slot in which it could wait until the socket has room. */
static void refuse_number(struct keeper *k, const struct keeper_start *start, int error)
{
	const struct keeper_message m = {
		.type = KEEPER_FAILED,
		.instance = start->instance,
		.gen = start->gen,
		.code = MPS_STEP_NONE,
		.status = (uint32_t)error,
	};

	buf_reset(&k->out);
	keeper_encode(&m, &k->out);
	keeper_send(k, NULL, 0);
}

void slot_refuse(struct keeper *k, const struct keeper_start *start, enum mps_step step, int error)
{
	struct slot *s = slot_at(k, start->instance);

	/* There is no memory for a table that long. */
	if (s == NULL) {
		refuse_number(k, start, error);
		return;
	}
	/* A slot that is in use keeps its own reports. */
	if (s->state != SLOT_IDLE) {
		s->refused_gen = start->gen;
		s->refused_step = (int16_t)step;
		s->refused_error = (int16_t)error;
		slot_report(k, start->instance, REPORT_REFUSED);
		return;
	}
	s->reports &= (uint8_t)~REPORT_FAILED;
	s->gen = start->gen;
	s->failed = true;
	set_failure(s, &(struct mps_failure){ (int32_t)step, error, "" });
	slot_report(k, start->instance, REPORT_FAILED);
	front_on_end(k);
}

/* Puts the keeper's own descriptors where the table names a role, those that travelled where it gives an index. */
static void resolve_fds(struct keeper *k, struct mps_spawn *spawn)
{
	struct mps_fd *fds = (struct mps_fd *)spawn->fds;

	for (size_t i = 0; i < spawn->n_fds; i++) {
		if (!(fds[i].flags & MPS_FD_ROLE))
			fds[i].fd = k->fds[fds[i].fd];
		else if (fds[i].fd == MPS_FD_NULL)
			fds[i].fd = k->null;
		else {
			fds[i].fd = k->idle[0];
			fds[i].flags |= MPS_FD_REOPEN;
		}
	}
}

static struct birth_room *free_room(struct keeper *k)
{
	for (size_t i = 0; i < BIRTHS_MAX; i++) {
		if (k->rooms[i].busy)
			continue;
		if (k->rooms[i].in == NULL)
			k->rooms[i].in = malloc(KEEPER_MSG_MAX);
		return k->rooms[i].in != NULL ? &k->rooms[i] : NULL;
	}
	return NULL;
}

/* The message that the child reads goes into the room; what was there serves for the next message. */
static void lend_room(struct keeper *k, struct slot *s, struct birth_room *room,
		      const struct mps_child *child)
{
	char *in = k->in;
	struct buf scratch = k->scratch;

	k->in = room->in;
	k->scratch = room->scratch;
	room->in = in;
	room->scratch = scratch;
	room->busy = true;
	s->room = room;
	if (child->error_fd < 0)
		return;
	memcpy(room->fds, k->fds, k->n_fds * sizeof(int));
	room->n_fds = k->n_fds;
	k->n_fds = 0;
	room->fds[room->n_fds++] = child->error_fd;
	k->n_sharing++;
}

static void release_files(struct keeper *k, struct birth_room *room)
{
	if (room->n_fds == 0)
		return;
	while (room->n_fds > 0)
		fd_close(&room->fds[--room->n_fds]);
	k->n_sharing--;
}

void slot_release_files(struct keeper *k, bool about_to_wait)
{
	for (size_t i = 0; i < BIRTHS_MAX && k->n_sharing > 0; i++)
		if (k->rooms[i].n_fds > 0 && mps_child_has_files(k->rooms[i].stack, about_to_wait))
			release_files(k, &k->rooms[i]);
}

static void return_room(struct keeper *k, struct slot *s)
{
	if (s->room == NULL)
		return;
	release_files(k, s->room);
	s->room->busy = false;
	s->room = NULL;
}

/* Out of descriptors or of watches: then SIGCHLD has to do, from here on and for all. */
static void watch_process(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];

	if (s->pidfd < 0 || keeper_watch(k, s->pidfd, EPOLLIN, WATCH_PIDFD, index, s->gen) < 0)
		k->have_pidfd = false;
}

void slot_start(struct keeper *k, const struct keeper_start *start, struct mps_spawn *spawn,
		bool lend)
{
	struct slot *s = slot_at(k, start->instance);
	bool by_server = spawn->method == MPS_METHOD_FORKSERVER;
	struct birth_room *room = lend && !by_server ? free_room(k) : NULL;
	struct ask *ask = NULL;
	struct mps_child child = MPS_CHILD_INIT;
	enum mps_step step = MPS_STEP_NONE;
	bool refused = k->finishing; /* it would only be ended again */
	int r = s == NULL ? -ENOMEM : refused || s->state != SLOT_IDLE ? -EBUSY : 0;

	if (r == 0) {
		resolve_fds(k, spawn);
		spawn->tag = tag_make(k->id, start->instance, start->gen);
		spawn->signals_are_default = true;
		track_on_start(k, start, spawn->set_user ? spawn->uid : geteuid());
		if (room != NULL) {
			room->spawn = *spawn;
			spawn = &room->spawn;
		}
		r = by_server ? server_ask(k, start->instance, spawn, &ask, &child, &step)
			      : mps_spawn_start(spawn, room != NULL ? room->stack : NULL, &child,
						&step);
	}
	if (r < 0) {
		slot_refuse(k, start, step, -r);
		return;
	}
	s->gen = start->gen;
	s->pid = child.pid;
	s->pidfd = child.pidfd;
	s->exec_fd = child.exec_fd;
	s->ask = ask;
	keeper_lift(&s->pidfd);
	keeper_lift(&s->exec_fd);
	s->state = SLOT_EXEC;
	s->leftovers = (uint8_t)start->leftovers;
	s->grace = start->grace;
	s->reports &= REPORT_OBJECTS;
	s->kill = s->tree_left = false;
	s->first = 0;
	s->deadline.ns = 0;
	k->n_live++;
	s->sent = 0;
	s->failed = false;
	s->started.ns = 0;
	if (child.shares_memory)
		lend_room(k, s, room, &child);
	keeper_watch(k, s->exec_fd, EPOLLIN, WATCH_EXEC, start->instance, s->gen);
	if (ask != NULL)
		server_go_on(k, ask);
	else
		watch_process(k, start->instance);
}

static void close_kept(struct slot *s, uint32_t from)
{
	while (s->n_kept > from)
		fd_close(&s->kept[--s->n_kept]);
	if (s->n_kept == 0)
		free(TAKE_PTR(s->kept));
}

void slot_keep(struct keeper *k, uint32_t index, uint32_t first, const int *fds, size_t n)
{
	struct slot *s = slot_at(k, index);
	int *p = NULL;

	if (s != NULL) {
		close_kept(s, first);
		if (n > 0)
			p = realloc(s->kept, (s->n_kept + n) * sizeof(*p));
	}
	for (size_t i = 0; i < n; i++) {
		if (p != NULL)
			p[s->n_kept++] = fds[i];
		else
			close(fds[i]);
	}
	if (p != NULL)
		s->kept = p;
}

/* ---------------------------------------------------------------------------------------------------- exit */

/* A forkserver has made it. False when it is no child of ours. */
static bool on_born(struct keeper *k, uint32_t index, pid_t pid)
{
	struct slot *s = &k->slots[index];
	siginfo_t si;
	uint32_t server;
	uint64_t early;

	if (s->ask == NULL || pid <= 1 || pid == k->boss.pid || pid == k->next.pid ||
	    server_has_pid(k, pid, &server) ||
	    waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
		return false;
	s->pid = pid;
	s->pidfd = pidfd_open_child(pid);
	keeper_lift(&s->pidfd);
	watch_process(k, index);
	early = server_on_born(k, TAKE_PTR(s->ask));
	for (int sig = 1; early != 0 && sig <= 64; sig++)
		if (early & UINT64_C(1) << (sig - 1))
			slot_signal(k, index, sig,
				    sig == SIGKILL ? KEEPER_SCOPE_TREE : KEEPER_SCOPE_MAIN);
	return true;
}

/* The pipe has ended and no child has spoken: none was made. False when none will be. */
static bool ask_again(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];
	int fd = server_ask_again(k, s->ask);

	if (fd < 0) {
		set_failure(s, &(struct mps_failure){
				       MPS_STEP_SERVER, -fd,
				       "it ends, or does not answer, again and again" });
		return false;
	}
	keeper_lift(&fd);
	s->exec_fd = fd;
	keeper_watch(k, s->exec_fd, EPOLLIN, WATCH_EXEC, index, s->gen);
	server_go_on(k, s->ask);
	return true;
}

/* The exec's outcome is known: reads it. False when the process never became what it should. */
static bool settle_exec(struct keeper *k, uint32_t index, bool exited)
{
	struct slot *s = &k->slots[index];
	struct mps_failure failure;
	bool was_born = false;
	int r;

	while ((r = mps_spawn_result(s->exec_fd, &failure)) == 2) {
		if (!on_born(k, index, failure.error)) {
			failure = (struct mps_failure){ MPS_STEP_SERVER, EPROTO, "" };
			r = -1;
			break;
		}
		was_born = true;
	}
	if (k->reap_later && (was_born || s->ask != NULL)) {
		k->reap_later = false;
		k->reap_again = true;
	}
	if (r == 0 && !exited)
		return true;
	keeper_unwatch(k, &s->exec_fd);
	if (r < 0) { /* it is about to _exit, and stands on its room until then */
		set_failure(s, &failure);
		return false;
	}
	if (s->ask != NULL)
		return ask_again(k, index);
	return_room(k, s);
	s->state = SLOT_ALIVE;
	s->started = mps_now();
	slot_report(k, index, REPORT_STARTED | (s->heir != 0 ? REPORT_MAIN : 0));
	return true;
}

void slot_on_exec(struct keeper *k, uint32_t index)
{

	/* A failure is reported when the child is reaped, so that its slot is free by then. */
	if (!settle_exec(k, index, false))
		slot_on_exit(k, index);
}

void slot_fail(struct keeper *k, uint32_t index, const struct mps_failure *failure)
{
	keeper_unwatch(k, &k->slots[index].exec_fd);
	set_failure(&k->slots[index], failure);
	slot_on_exit(k, index);
}

static void forget_process(struct keeper *k, struct slot *s)
{
	return_room(k, s);
	server_forget(k, TAKE_PTR(s->ask));
	keeper_unwatch(k, &s->pidfd);
	keeper_unwatch(k, &s->exec_fd);
	heir_drop(k, s);
	k->n_live--;
}

static void link_ending(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];

	s->linked = true;
	s->prev_ending = NO_SLOT;
	s->next_ending = k->first_ending;
	if (k->first_ending != NO_SLOT)
		k->slots[k->first_ending].prev_ending = index;
	k->first_ending = index;
}

static void unlink_ending(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];

	if (!s->linked)
		return;
	s->linked = false;
	if (s->prev_ending != NO_SLOT)
		k->slots[s->prev_ending].next_ending = s->next_ending;
	else
		k->first_ending = s->next_ending;
	if (s->next_ending != NO_SLOT)
		k->slots[s->next_ending].prev_ending = s->prev_ending;
}

/* False when it is not dead yet. Never waits: even one that has failed to exec may have been stopped before its exit. */
static bool reap(const struct slot *s, siginfo_t *ret)
{
	memset(ret, 0, sizeof(*ret));
	/* By number: it is our child until here, and P_PIDFD is younger than pidfds (Linux 5.4). */
	if (waitid(P_PID, (id_t)s->pid, ret, WEXITED | WNOHANG) == 0)
		return ret->si_pid == s->pid;
	ret->si_code = CLD_EXITED; /* an heir that has shed our mark was reaped as a stray */
	return s->first != 0 && errno == ECHILD;
}

void slot_on_exit(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];
	bool failed = s->exec_fd < 0 && s->state == SLOT_EXEC;
	siginfo_t si;

	/* While the zombie holds the number, its process group can be no other's. */
	if (s->kill && s->state == SLOT_ALIVE && s->leftovers != KEEPER_LEFT_KEEP)
		kill(-slot_group(s), SIGKILL);
	track_catch_up(k); /* as long as it is a zombie it can be told whose it is */
	if (s->pid != 0 && !reap(s, &si))
		return;
	if (s->exec_fd >= 0)
		failed = !settle_exec(k, index, true);
	if (!failed && heir_succeeds(k, index)) {
		slot_on_exit(k, index);
		return;
	}
	forget_process(k, s);
	if (failed) {
		s->state = SLOT_IDLE;
		s->failed = true;
		slot_report(k, index, REPORT_FAILED);
		front_on_end(k);
		return;
	}
	s->exit_code = si.si_code;
	s->exit_status = si.si_status;
	s->ended_wall = mps_wall();
	s->state = SLOT_ENDING;
	link_ending(k, index);
	k->sweep = true;
}

void slot_after_sweep(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];

	if (s->n_left > 0) {
		if (s->deadline.ns == 0) {
			s->deadline.ns = mps_now().ns + s->grace.ns;
			keeper_earliest(&k->ending_deadline, s->deadline);
			s->tree_left = true;
			slot_report(k, index, REPORT_EXITED);
		}
		return;
	}
	if (s->reaped) {
		k->sweep = true; /* its children, if it had any, are not counted yet */
		return;
	}
	if (track_on_end(k, index))
		slot_gone(k, index);
}

void slot_gone(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];

	unlink_ending(k, index);
	s->state = SLOT_IDLE;
	slot_report(k, index, s->tree_left ? REPORT_GONE : REPORT_EXITED);
	front_on_end(k);
}

/* ------------------------------------------------------------------------------------------------- signals */

static void signal_group(const struct slot *s, int sig)
{
	/* Before the child's setsid there is no such group; then it is alone. */
	if (kill(-slot_group(s), sig) < 0)
		pidfd_signal(s->pidfd, s->pid, sig);
	if (s->heir != 0 && getpgid(s->heir) != s->pid)
		pidfd_signal(s->heir_fd, s->heir, sig);
}

/* It gets it when it is there; one that would end by it need not be made. */
static void signal_unborn(struct keeper *k, uint32_t index, int sig)
{
	const struct mps_failure stopped = { MPS_STEP_SERVER, ECANCELED,
					     "the start was called off" };

	if (!server_signal(k->slots[index].ask, sig))
		slot_fail(k, index, &stopped);
}

void slot_signal(struct keeper *k, uint32_t index, int sig, enum keeper_scope scope)
{
	struct slot *s = &k->slots[index];

	if (s->state == SLOT_IDLE)
		return;
	if (s->ask != NULL) {
		signal_unborn(k, index, sig);
		return;
	}
	if (scope == KEEPER_SCOPE_TREE && sig == SIGKILL) {
		s->kill = true;
		k->sweep = true;
	} else if (scope == KEEPER_SCOPE_TREE || s->state == SLOT_ENDING) {
		stray_signal(k, index, sig);
	}
	if (s->state == SLOT_ENDING)
		return;
	if (scope == KEEPER_SCOPE_MAIN) {
		pidfd_signal(s->heir != 0 ? s->heir_fd : s->pidfd, slot_main(s), sig);
		return;
	}
	signal_group(s, sig);
	if (sig == SIGKILL)
		pidfd_signal(s->pidfd, s->pid, sig); /* also where it left its group */
}
