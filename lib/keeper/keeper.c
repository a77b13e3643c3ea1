/*
 * The keeper's loop: messages from the supervisor, signals, deadlines, and the end. Two threads, of which the first only
 * waits: orphans fall to it (see stray.c) while the second forks, so that the two kinds of children stay apart.
 */
#include "keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/feature.h"
#include "base/title.h"
#include "base/wire.h"
#include "keeper/internal.h"
#include "keeper/tracker.h"
#include "proc/close.h"
#include "proc/pidfd.h"
#include "proc/tag.h"

/* Handed on to the supervisor, which knows what they mean. */
static const int forwarded[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2 };

uint32_t keeper_forwarded(void)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++)
		bits |= UINT32_C(1) << forwarded[i];
	return bits;
}

int keeper_watch(struct keeper *k, int fd, uint32_t events, enum watch what, uint32_t slot,
		 uint32_t gen)
{
	struct epoll_event e = { .events = events };

	/* 4 bits kind, 28 bits gen, 32 bits slot. */
	e.data.u64 = (uint64_t)what << 60 | (uint64_t)(gen & 0xfffffff) << 32 | slot;
	if (epoll_ctl(k->epoll, EPOLL_CTL_ADD, fd, &e) == 0)
		return 0;
	if (errno == EEXIST && epoll_ctl(k->epoll, EPOLL_CTL_MOD, fd, &e) == 0)
		return 0;
	return -errno;
}

/*
 * Closing is not enough: epoll watches the open file, and a child that has not reached its exec still holds it, so the
 * loop would be told of it again and again.
 */
void keeper_unwatch(struct keeper *k, int *fd)
{
	if (*fd >= 0)
		epoll_ctl(k->epoll, EPOLL_CTL_DEL, *fd, NULL);
	fd_close(fd);
}

void keeper_lift(int *fd)
{
	int high;

	if (*fd < 0 || *fd >= MPS_LOW_FDS)
		return;
	high = fcntl(*fd, F_DUPFD_CLOEXEC, MPS_LOW_FDS);
	if (high < 0)
		return; /* no room up there: it stays where it is */
	fd_close(fd);
	*fd = high;
}

int keeper_spawn(const struct mps_spawn *spawn, int ends[2], struct mps_child *ret,
		 enum mps_step *ret_step)
{
	int r = mps_spawn_start(spawn, NULL, ret, ret_step);

	fd_close(&ends[1]);
	if (r < 0) {
		fd_close(&ends[0]);
		return r;
	}
	keeper_lift(&ret->pidfd);
	keeper_lift(&ret->exec_fd);
	keeper_lift(&ends[0]);
	return 0;
}

enum { SEND_AGAIN_MS = 20 };

bool keeper_send(struct keeper *k, const int *fds, size_t n)
{
	struct iovec iov = { k->out.p, k->out.len };
	int r;

	if (k->boss.sock < 0 || k->out.failed)
		return true;
	r = fd_send(k->boss.sock, &iov, 1, fds, n);
	/* Too many descriptors are under way for this user (unix(7)); nobody tells when they have been taken. */
	if (r == -ETOOMANYREFS || r == -EMFILE || r == -ENFILE) {
		k->send_again.ns = mps_now().ns + SEND_AGAIN_MS * MPS_NS_PER_MS;
		return false;
	}
	if (r != -EAGAIN && r != -ENOBUFS && r != -ENOMEM)
		return true; /* a supervisor that is gone is noticed by its pidfd */
	if (!k->sock_full) {
		k->sock_full = true;
		keeper_watch(k, k->boss.sock, EPOLLIN | EPOLLOUT, WATCH_SOCK, NO_SLOT, 0);
	}
	return false;
}

/* ------------------------------------------------------------------------------------------------- signals */

static bool note_boss(struct boss *b, const siginfo_t *si)
{
	if (si->si_pid != b->pid)
		return false;
	b->code = (uint32_t)si->si_code;
	b->status = (uint32_t)si->si_status;
	b->pid = -1;
	return true;
}

/*
 * Whatever of this thread's children is dead: mains, the supervisor, and siblings that a main has made (CLONE_PARENT),
 * which must not hide those behind them. The kernel looks at all children for it, so it is for kernels that tell of an
 * exit by SIGCHLD alone, and for siblings, which have no pidfd.
 */
static void reap_all(struct keeper *k)
{
	const int look = WEXITED | WNOHANG | __WNOTHREAD;
	siginfo_t si;

	for (;;) {
		uint32_t index, server;

		memset(&si, 0, sizeof(si));
		if (waitid(P_ALL, 0, &si, look | WNOWAIT) < 0 || si.si_pid == 0)
			break;
		index = slot_of_pid(k, si.si_pid);
		if (index != NO_SLOT && k->slots[index].state != SLOT_ENDING) {
			slot_on_exit(k, index);
			continue;
		}
		if (server_has_pid(k, si.si_pid, &server)) {
			server_on_exit(k, server);
			continue;
		}
		/* Perhaps a forkserver's that has not said its number yet: when it has, we are called again. */
		if (index == NO_SLOT && k->n_under_way > 0 && si.si_pid != k->boss.pid &&
		    si.si_pid != k->next.pid) {
			k->reap_later = true;
			break;
		}
		if (si.si_pid == k->boss.pid)
			boss_take_unheard(k);
		waitid(P_PID, (id_t)si.si_pid, &si, WEXITED | WNOHANG);
		if (note_boss(&k->boss, &si))
			k->gone_pid = si.si_pid;
		else
			note_boss(&k->next, &si);
	}
	if (k->boss.pid < 0)
		boss_on_gone(k, &k->boss);
	if (k->next.pid < 0)
		boss_on_gone(k, &k->next);
}

/* One SIGCHLD may tell of many deaths: a sibling that it does not name is found with the next that it does. */
static bool is_sibling(const struct keeper *k, pid_t pid)
{
	siginfo_t si = { 0 };
	uint32_t index;

	if (pid == k->boss.pid || pid == k->next.pid || server_has_pid(k, pid, &index) ||
	    waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT | __WNOTHREAD) < 0 ||
	    si.si_pid != pid)
		return false;
	index = slot_of_pid(k, pid);
	return index == NO_SLOT || k->slots[index].state == SLOT_ENDING;
}

static void read_signals(struct keeper *k)
{
	struct signalfd_siginfo si[16];
	ssize_t n = read(k->signals, si, sizeof(si)); /* the rest in the next turn */

	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(si[0]); i++) {
		if (si[i].ssi_signo == SIGCHLD) {
			k->sweep = true;
			k->dead = (pid_t)si[i].ssi_pid;
			front_on_stop(k);
		} else {
			boss_signal(k, (int)si[i].ssi_signo);
		}
	}
	if (k->sweep && !k->have_pidfd)
		reap_all(k);
}

/* ---------------------------------------------------------------------------------------------------- loop */

void keeper_earliest(struct mps_time *best, struct mps_time t)
{
	if (t.ns != 0 && (best->ns == 0 || t.ns < best->ns))
		*best = t;
}

/* Milliseconds to the next deadline, rounded up; -1 = none. */
static int next_timeout(const struct keeper *k, struct mps_time now)
{
	struct mps_time best = { 0 };
	int64_t ms;

	keeper_earliest(&best, k->ending_deadline);
	if (k->finishing && !k->finish_kill)
		keeper_earliest(&best, k->finish_deadline);
	keeper_earliest(&best, k->next_deadline);
	keeper_earliest(&best, k->send_again);
	keeper_earliest(&best, server_next_deadline(k));
	keeper_earliest(&best, track_next_turn(k));
	if (k->sweep && stray_sweep_due(k).ns <= now.ns)
		return 0;
	if (k->sweep)
		keeper_earliest(&best, stray_sweep_due(k));
	if (best.ns == 0)
		return -1;
	if (best.ns <= now.ns)
		return 0;
	ms = (best.ns - now.ns) / MPS_NS_PER_MS + 1;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

static void check_ending(struct keeper *k, struct mps_time now)
{
	if (k->ending_deadline.ns == 0 || now.ns < k->ending_deadline.ns)
		return;
	k->ending_deadline.ns = 0;
	for (uint32_t i = k->first_ending; i != NO_SLOT; i = k->slots[i].next_ending) {
		struct slot *s = &k->slots[i];

		if (!s->kill && s->deadline.ns != 0 && now.ns >= s->deadline.ns)
			s->kill = k->sweep = true;
		if (!s->kill)
			keeper_earliest(&k->ending_deadline, s->deadline);
	}
}

static void check_deadlines(struct keeper *k, struct mps_time now)
{
	check_ending(k, now);
	if (k->finishing && now.ns >= k->finish_deadline.ns)
		end_hard(k);
	if (k->send_again.ns != 0 && now.ns >= k->send_again.ns)
		k->send_again.ns = 0;
	boss_check_deadline(k, now);
	server_check_deadlines(k, now);
}

static enum watch what_of(const struct epoll_event *e)
{
	return (enum watch)(e->data.u64 >> 60);
}

static void on_event(struct keeper *k, const struct epoll_event *e)
{
	uint32_t index = (uint32_t)e->data.u64, gen = (uint32_t)(e->data.u64 >> 32) & 0xfffffff;
	bool current = index < k->n_slots && (k->slots[index].gen & 0xfffffff) == gen;

	switch (what_of(e)) {
	case WATCH_SOCK:
		if (e->events & EPOLLOUT) {
			k->sock_full = false;
			keeper_watch(k, k->boss.sock, EPOLLIN, WATCH_SOCK, NO_SLOT, 0);
		}
		dispatch_read(k);
		break;
	case WATCH_SIGNALS:
		read_signals(k);
		break;
	case WATCH_BOSS:
		boss_on_exit(k, &k->boss);
		break;
	case WATCH_NEXT:
		boss_on_exit(k, &k->next);
		break;
	case WATCH_NEXT_SOCK:
		boss_on_next(k);
		break;
	case WATCH_SERVER:
		server_on_exit(k, index);
		break;
	case WATCH_SERVER_SOCK:
		server_on_word(k, index);
		break;
	case WATCH_TRACK:
		track_on_connect(k);
		break;
	case WATCH_CLIENT:
		track_on_words(k, index, gen);
		break;
	case WATCH_SHM:
		shm_on_event(k);
		break;
	case WATCH_SCAN:
		shm_read(k);
		break;
	case WATCH_EXEC:
		if (current && k->slots[index].exec_fd >= 0)
			slot_on_exec(k, index);
		break;
	case WATCH_PIDFD:
		if (current && k->slots[index].pidfd >= 0)
			slot_on_exit(k, index);
		break;
	case WATCH_HEIR:
		if (current && k->slots[index].heir_fd >= 0)
			heir_on_exit(k, index);
		break;
	}
}

static void *loop(void *user)
{
	struct keeper *k = user;
	struct epoll_event events[64];

	while (!end_reached(k)) {
		int n;

		slot_release_files(k, true);
		n = epoll_wait(k->epoll, events, ARRAY_SIZE(events), next_timeout(k, mps_now()));

		track_begin_turn(k);
		/* What the supervisor has said of one that has died since comes first. */
		for (int i = 0; i < n; i++)
			if (what_of(&events[i]) == WATCH_SOCK)
				on_event(k, &events[i]);
		for (int i = 0; i < n; i++)
			if (what_of(&events[i]) != WATCH_SOCK)
				on_event(k, &events[i]);
		server_reap_spares(k);
		/* After the events: most that have died were mains, and are reaped by now. */
		if (k->dead > 0 && k->have_pidfd && is_sibling(k, k->dead))
			reap_all(k);
		k->dead = 0;
		check_deadlines(k, mps_now());
		if (k->reap_again) {
			k->reap_again = false;
			reap_all(k);
		}
		if (k->sweep)
			stray_sweep(k, mps_now());
		track_turn(k);
		slot_flush_reports(k);
	}
	stray_last_look(k);
	track_close(k);
	front_leave(k);
	end_unlink(k);
	/* Who waits for our end need not wait for the kernel to let go of our watches, which takes it 10 ms. */
	if (k->options->lock_fd >= 0)
		close(k->options->lock_fd);
	_exit(k->exit_status);
}

/* --------------------------------------------------------------------------------------------------- start */

static int open_signals(bool in_job)
{
	static const int stopping[] = { SIGTSTP, SIGTTIN, SIGTTOU };
	sigset_t set, blocked;

	/* Whoever started us may have ignored or blocked anything; workers shall inherit none of it. */
	mps_reset_signals();
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++)
		sigaddset(&set, forwarded[i]);
	blocked = set;
	sigaddset(&blocked, SIGPIPE);
	sigaddset(&blocked, SIGXFSZ); /* a limit of the size of files is an error of writing */
	/* What stops a job does not stop us: until the front's command is there we are part of it. */
	for (size_t i = 0; in_job && i < ARRAY_SIZE(stopping); i++)
		sigaddset(&blocked, stopping[i]);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/*
 * Beyond that the table of descriptors grows while we work: 8 bytes each, and a wait for all CPUs,
 * since threads share it. One command's keeper has what keeper_lift() lifts, and little more.
 */
enum { MANY_FDS = 4096, FRONT_FDS = 256 };

/* 0 or -errno with *ret_what. */
static int init(struct keeper *k, const char **ret_what)
{
	struct rlimit nofile;

	*ret_what = "prctl";
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return -errno;
	if (k->options->front == NULL) { /* else they are the command's, and the limits too */
		cloexec_from(3);
		if (getrlimit(RLIMIT_NOFILE, &nofile) == 0)
			k->nofile = nofile.rlim_cur;
		fd_raise_limit(1 << 20);
	}
	fd_make_room(k->options->front == NULL ? MANY_FDS : FRONT_FDS);
	*ret_what = "signalfd";
	k->signals = open_signals(k->options->front != NULL);
	if (k->signals < 0)
		return -errno;
	*ret_what = "epoll";
	k->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (k->epoll < 0 || keeper_watch(k, k->signals, EPOLLIN, WATCH_SIGNALS, NO_SLOT, 0) < 0)
		return -errno;
	*ret_what = "/dev/null";
	k->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (k->null < 0)
		return -errno;
	*ret_what = "memory";
	k->in = malloc(KEEPER_MSG_MAX);
	/* The room for reports too: one that there is no memory for would be lost. */
	if (k->in == NULL || buf_reserve(&k->out, KEEPER_MSG_MAX) == NULL)
		return -ENOMEM;
	*ret_what = "pipe";
	if (pipe2(k->idle, O_CLOEXEC) < 0)
		return -errno;
	if (k->options->front == NULL)
		k->children = children_open(k->pid, k->pid);
	return 0;
}

/* The thread that forks must be the one that works, and must live as long as the workers: PR_SET_PDEATHSIG. */
static void *start_and_loop(void *user)
{
	struct keeper *k = user;
	enum mps_step step = MPS_STEP_NONE;
	int r = k->options->front != NULL ? front_start(k) : boss_start(k, &step);

	if (r < 0)
		_exit(boss_fail(k, mps_step_word(step), -r));
	return loop(k);
}

static int start_thread(struct keeper *k)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	/* Room for the main of an entry, which begins here as a copy of us; what is not touched costs nothing. */
	pthread_attr_setstacksize(&attr, 8 << 20);
	r = pthread_create(&thread, &attr, start_and_loop, k);
	pthread_attr_destroy(&attr);
	if (r == 0)
		pthread_join(thread, NULL); /* never returns: the loop ends the process */
	return r;
}

int keeper_run(const struct keeper_options *options)
{
	static struct keeper k; /* half a megabyte of rooms: only what is used of it is touched */
	const char *what = "";
	int r;

	k.options = options;
	k.pid = getpid();
	k.boss = k.next = (struct boss)BOSS_INIT;
	k.ready_fd = options->ready_fd;
	k.log_fd = k.children = -1;
	k.have_pidfd = true;
	k.no_crash_limit = !feature_allowed(FEATURE_CRASH_LIMIT);
	k.first_ending = k.first_report = NO_SLOT;
	k.orphan_grace.ns = MPS_NS_PER_S / 2;
	k.id = tag_keeper_id(k.pid);
	title_set("mpsup: keeper %s", options->name);
	r = init(&k, &what);
	if (r < 0)
		return boss_fail(&k, what, -r);
	return boss_fail(&k, "thread", start_thread(&k));
}
