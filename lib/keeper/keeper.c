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
#include "base/title.h"
#include "base/wire.h"
#include "keeper/internal.h"
#include "proc/close.h"
#include "proc/pidfd.h"
#include "proc/tag.h"

/* Handed on to the supervisor, which knows what they mean. */
static const int forwarded[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2 };

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

/* ------------------------------------------------------------------------------------------------- the end */

static void signal_mains(struct keeper *k, int sig)
{
	for (uint32_t i = 0; i < k->n_slots; i++) {
		if (k->slots[i].state == SLOT_IDLE)
			continue;
		if (sig == SIGKILL) {
			slot_signal(k, i, SIGKILL, KEEPER_SCOPE_TREE);
			continue;
		}
		slot_signal(k, i, sig, KEEPER_SCOPE_MAIN);
		slot_signal(k, i, SIGCONT, KEEPER_SCOPE_MAIN);
	}
}

static void finish(struct keeper *k, int status)
{
	if (k->finishing)
		return;
	k->finishing = true;
	k->exit_status = status;
	k->finish_deadline.ns = mps_now().ns + k->orphan_grace.ns;
	k->sweep = true;
	signal_mains(k, SIGTERM);
}

static void finish_hard(struct keeper *k)
{
	if (k->finish_kill)
		return;
	k->finish_kill = true;
	k->sweep = true;
	signal_mains(k, SIGKILL);
	if (k->supervisor > 0)
		pidfd_signal(k->supervisor_pidfd, k->supervisor, SIGKILL);
}

static bool finished(const struct keeper *k)
{
	return k->finishing && !k->sweep && k->supervisor == 0 && k->n_live == 0 &&
	       stray_count(k) == 0 && k->first_ending == NO_SLOT;
}

static void unlink_files(const struct keeper *k)
{
	struct wire w = { k->unlink_list, k->unlink_size, false };
	uint32_t n = wire_u32(&w);
	const char *path;

	while (n-- > 0 && (path = wire_str(&w)) != NULL)
		if (unlink(path) < 0 && errno == EISDIR)
			rmdir(path);
}

/* ------------------------------------------------------------------------------------------------ messages */

static void on_hello(struct keeper *k, const struct keeper_message *m)
{
	struct keeper_message answer = {
		.type = KEEPER_WELCOME,
		.protocol = KEEPER_PROTOCOL,
		.pid = k->pid,
	};

	k->orphan_grace = m->time;
	free(k->unlink_list);
	k->unlink_list = malloc(m->rest_size ? m->rest_size : 1);
	k->unlink_size = k->unlink_list != NULL ? m->rest_size : 0;
	if (k->unlink_size > 0)
		memcpy(k->unlink_list, m->rest, m->rest_size);
	for (uint32_t i = 0; i < k->n_slots; i++)
		answer.count += k->slots[i].blob != NULL;
	buf_reset(&k->out);
	keeper_encode(&answer, &k->out);
	keeper_send(k, NULL, 0);
	for (uint32_t i = 0; i < k->n_slots; i++) {
		const struct slot *s = &k->slots[i];
		struct keeper_message one = {
			.type = KEEPER_INSTANCE,
			.instance = i,
			.gen = s->gen,
			.pid = s->state == SLOT_IDLE ? 0 : s->pid,
			.code = s->state,
			.blob = s->blob,
			.blob_size = s->blob_size,
		};

		if (s->blob == NULL)
			continue;
		buf_reset(&k->out);
		keeper_encode(&one, &k->out);
		keeper_send(k, s->kept, s->n_kept);
	}
}

/* Maps the memfd that carries what is too long for a datagram. NULL with *ret_error. */
static void *map_long(const struct keeper *k, size_t *ret_size, int *ret_error)
{
	const int wanted = F_SEAL_SHRINK | F_SEAL_WRITE;
	int seals;
	off_t size;
	void *p;

	*ret_error = EBADMSG;
	if (k->n_fds == 0)
		return NULL;
	size = lseek(k->fds[k->n_fds - 1], 0, SEEK_END);
	if (size <= 0 || size > KEEPER_SPAWN_MAX)
		return NULL;
	/* Sealed by the sender, so that it neither shrinks nor changes under us; what is no memfd says -1. */
	seals = fcntl(k->fds[k->n_fds - 1], F_GET_SEALS);
	if (seals < 0 || (seals & wanted) != wanted)
		return NULL;
	p = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, k->fds[k->n_fds - 1], 0);
	*ret_error = errno;
	*ret_size = (size_t)size;
	return p == MAP_FAILED ? NULL : p;
}

static void on_start(struct keeper *k, const struct keeper_message *m, bool cut)
{
	struct wire w = { m->rest, m->rest_size, false };
	bool is_long = m->type == KEEPER_START_LONG;
	struct mps_spawn spawn;
	size_t size = 0;
	void *map = NULL;
	int r = 0, error = 0;

	if (cut) { /* our table was full: the kernel dropped descriptors */
		slot_refuse(k, &m->start, MPS_STEP_RECEIVE, EMFILE);
		return;
	}
	if (is_long) {
		map = map_long(k, &size, &error);
		w = (struct wire){ map, size, false };
		r = map == NULL ? -error : 0;
	}
	if (r == 0)
		r = mps_spawn_decode(&w, k->n_fds - is_long, &k->scratch, &spawn);
	if (r == 0)
		slot_start(k, &m->start, &spawn, !is_long, m->blob, m->blob_size);
	else
		slot_refuse(k, &m->start, MPS_STEP_RECEIVE, -r);
	if (map != NULL)
		munmap(map, size);
}

static void on_signal_message(struct keeper *k, const struct keeper_message *m)
{
	if (m->instance < k->n_slots && k->slots[m->instance].gen == m->gen)
		slot_signal(k, m->instance, (int)m->signal, m->scope);
}

static void on_forget(struct keeper *k, uint32_t index)
{
	struct slot *s;

	if (index >= k->n_slots || k->slots[index].state != SLOT_IDLE)
		return;
	s = &k->slots[index];
	slot_keep(k, index, NULL, 0);
	free(s->blob);
	s->blob = NULL;
	s->blob_size = 0;
}

static void on_message(struct keeper *k, const struct keeper_message *m, bool cut)
{
	switch (m->type) {
	case KEEPER_HELLO:
		on_hello(k, m);
		break;
	case KEEPER_START:
	case KEEPER_START_LONG:
		on_start(k, m, cut);
		break;
	case KEEPER_SIGNAL:
		on_signal_message(k, m);
		break;
	case KEEPER_BLOB:
		slot_set_blob(k, m->instance, m->blob, m->blob_size);
		break;
	case KEEPER_KEEP:
		for (size_t i = 0; i < k->n_fds; i++)
			keeper_lift(&k->fds[i]);
		slot_keep(k, m->instance, k->fds, k->n_fds);
		k->n_fds = 0;
		break;
	case KEEPER_FORGET:
		on_forget(k, m->instance);
		break;
	case KEEPER_EXIT:
		finish(k, (int)m->status);
		break;
	case KEEPER_DETACH:
		dup2(k->null, STDERR_FILENO);
		break;
	case KEEPER_WELCOME:
	case KEEPER_INSTANCE:
	case KEEPER_STARTED:
	case KEEPER_FAILED:
	case KEEPER_EXITED:
	case KEEPER_GONE:
	case KEEPER_REAPED:
		break; /* ours to say: the decoder has refused them */
	}
}

/* The messages of one datagram; a malformed one ends it. */
static void on_datagram(struct keeper *k, size_t n, bool cut)
{
	struct wire w = { k->in, n, false };
	struct keeper_message m;

	while (w.n > 0 && keeper_decode_next(&w, true, &m) == 0)
		on_message(k, &m, cut);
}

/* A few at a time, so that a thousand starts in a row do not delay an exit. False when there are no more. */
static bool read_messages(struct keeper *k)
{
	for (int i = 0; i < 8 && k->sock >= 0; i++) {
		bool cut;
		ssize_t n = fd_recv(k->sock, k->in, KEEPER_MSG_MAX, k->fds, KEEPER_FDS_MAX,
				    &k->n_fds, &cut);

		if (n == -EAGAIN)
			return false;
		if (n <= 0) { /* its pidfd tells the rest */
			keeper_unwatch(k, &k->sock);
			return false;
		}
		on_datagram(k, (size_t)n, cut);
		slot_release_files(k, false);
		for (size_t f = 0; f < k->n_fds; f++)
			fd_close(&k->fds[f]);
		k->n_fds = 0;
	}
	return true;
}

/* ------------------------------------------------------------------------------------------------- signals */

/*
 * Kernels without pidfds tell of an exit by SIGCHLD alone. Only this thread's children are asked for: mains, the
 * supervisor, and siblings that a main has made (CLONE_PARENT), which must not hide those behind them.
 */
static void reap_without_pidfds(struct keeper *k)
{
	const int look = WEXITED | WNOHANG | __WNOTHREAD;
	siginfo_t si;

	for (;;) {
		uint32_t index;

		memset(&si, 0, sizeof(si));
		if (waitid(P_ALL, 0, &si, look | WNOWAIT) < 0 || si.si_pid == 0)
			return;
		index = slot_of_pid(k, si.si_pid);
		if (index != NO_SLOT && k->slots[index].state != SLOT_ENDING) {
			slot_on_exit(k, index);
			continue;
		}
		waitid(P_PID, (id_t)si.si_pid, &si, WEXITED | WNOHANG);
		if (si.si_pid != k->supervisor)
			continue;
		k->supervisor_code = (uint32_t)si.si_code;
		k->supervisor_status = (uint32_t)si.si_status;
		k->supervisor = -1;
	}
}

static int fail(const struct keeper *k, const char *what, int error)
{
	AUTO_BUF text = BUF_INIT;

	buf_addf(&text, "the keeper cannot start: %s: %s", what, strerror(error));
	if (!text.failed)
		k->options->note(text.p);
	return 1;
}

static void on_supervisor_gone(struct keeper *k)
{
	AUTO_BUF text = BUF_INIT;
	struct mps_failure failure;

	k->supervisor = 0;
	keeper_unwatch(k, &k->supervisor_pidfd);
	/* Its last words, EXIT among them, may still lie in the socket. */
	for (int i = 0; i < 1000 && k->sock >= 0 && read_messages(k); i++)
		;
	if (mps_spawn_result(k->exec_fd, &failure) < 0)
		fail(k, k->options->argv[0], failure.error);
	fd_close(&k->exec_fd);
	if (k->finishing)
		return;
	if (k->supervisor_code == CLD_EXITED) {
		finish(k, k->supervisor_status ? (int)k->supervisor_status : 1);
		return;
	}
	buf_addf(&text, "the supervisor was ended by signal %u; ending all its programs",
		 k->supervisor_status);
	if (!text.failed)
		k->options->note(text.p);
	finish(k, 1);
}

static void on_supervisor_exit(struct keeper *k)
{
	siginfo_t si = { 0 };

	if (waitid(P_PID, (id_t)k->supervisor, &si, WEXITED | WNOHANG) < 0 || si.si_pid == 0)
		return;
	k->supervisor_code = (uint32_t)si.si_code;
	k->supervisor_status = (uint32_t)si.si_status;
	on_supervisor_gone(k);
}

static void forward(struct keeper *k, int sig)
{
	if (k->supervisor > 0)
		pidfd_signal(k->supervisor_pidfd, k->supervisor, sig);
	else if (k->finishing && (sig == SIGTERM || sig == SIGINT || sig == SIGQUIT))
		finish_hard(k);
}

static void read_signals(struct keeper *k)
{
	struct signalfd_siginfo si[16];
	ssize_t n = read(k->signals, si, sizeof(si)); /* the rest in the next turn */

	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(si[0]); i++) {
		if (si[i].ssi_signo == SIGCHLD)
			k->sweep = true;
		else
			forward(k, (int)si[i].ssi_signo);
	}
	if (k->sweep && !k->have_pidfd)
		reap_without_pidfds(k);
	if (k->supervisor < 0)
		on_supervisor_gone(k);
}

/* ---------------------------------------------------------------------------------------------------- loop */

static void earliest(struct mps_time *best, struct mps_time t)
{
	if (t.ns != 0 && (best->ns == 0 || t.ns < best->ns))
		*best = t;
}

/* Milliseconds to the next deadline, rounded up; -1 = none. */
static int next_timeout(const struct keeper *k, struct mps_time now)
{
	struct mps_time best = { 0 };
	int64_t ms;

	for (uint32_t i = k->first_ending; i != NO_SLOT; i = k->slots[i].next_ending)
		if (!k->slots[i].kill)
			earliest(&best, k->slots[i].deadline);
	if (k->finishing && !k->finish_kill)
		earliest(&best, k->finish_deadline);
	if (k->sweep && stray_sweep_is_urgent(k))
		return 0;
	if (k->sweep)
		earliest(&best, k->sweep_not_before);
	if (best.ns == 0)
		return -1;
	if (best.ns <= now.ns)
		return 0;
	ms = (best.ns - now.ns) / MPS_NS_PER_MS + 1;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

static void check_deadlines(struct keeper *k, struct mps_time now)
{
	for (uint32_t i = k->first_ending; i != NO_SLOT; i = k->slots[i].next_ending) {
		struct slot *s = &k->slots[i];

		if (!s->kill && s->deadline.ns != 0 && now.ns >= s->deadline.ns)
			s->kill = k->sweep = true;
	}
	if (k->finishing && now.ns >= k->finish_deadline.ns)
		finish_hard(k);
}

static void on_event(struct keeper *k, const struct epoll_event *e)
{
	enum watch what = (enum watch)(e->data.u64 >> 60);
	uint32_t index = (uint32_t)e->data.u64, gen = (uint32_t)(e->data.u64 >> 32) & 0xfffffff;
	bool current = index < k->n_slots && (k->slots[index].gen & 0xfffffff) == gen;

	switch (what) {
	case WATCH_SOCK:
		if (e->events & EPOLLOUT) {
			k->sock_full = false;
			keeper_watch(k, k->sock, EPOLLIN, WATCH_SOCK, NO_SLOT, 0);
		}
		read_messages(k);
		break;
	case WATCH_SIGNALS:
		read_signals(k);
		break;
	case WATCH_SUPERVISOR:
		on_supervisor_exit(k);
		break;
	case WATCH_EXEC:
		if (current && k->slots[index].exec_fd >= 0)
			slot_on_exec(k, index);
		break;
	case WATCH_PIDFD:
		if (current && k->slots[index].pidfd >= 0)
			slot_on_exit(k, index);
		break;
	}
}

static void *loop(void *user)
{
	struct keeper *k = user;
	struct epoll_event events[64];

	while (!finished(k)) {
		int n;

		slot_release_files(k, true);
		n = epoll_wait(k->epoll, events, ARRAY_SIZE(events), next_timeout(k, mps_now()));

		for (int i = 0; i < n; i++)
			on_event(k, &events[i]);
		check_deadlines(k, mps_now());
		if (k->sweep)
			stray_sweep(k, mps_now());
		slot_flush_reports(k);
	}
	stray_last_look(k);
	unlink_files(k);
	_exit(k->exit_status);
}

/* --------------------------------------------------------------------------------------------------- start */

/* The supervisor is started like any worker; it finds its end of the socketpair on KEEPER_SUPERVISOR_FD. */
static int start_supervisor(struct keeper *k, enum mps_step *ret_step)
{
	int ends[2], r;
	struct mps_fd fds[] = {
		{ 0, 0, 0 },
		{ 1, 1, 0 },
		{ 2, 2, 0 },
		{ KEEPER_SUPERVISOR_FD, -1, 0 },
		{ KEEPER_READY_FD, k->options->ready_fd, 0 },
	};
	struct mps_spawn spawn = {
		.path = k->options->argv[0],
		.argv = k->options->argv,
		.envp = environ,
		.fds = fds,
		.n_fds = k->options->ready_fd >= 0 ? 5 : 4,
		.session = MPS_SESSION_NEW,
		.umask = -1,
		.nofile = k->nofile, /* workers shall see what we were given, not what we need */
		.signals_are_default = true,
	};
	struct mps_child child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		*ret_step = MPS_STEP_PIPE;
		return -errno;
	}
	fds[3].fd = ends[1];
	r = mps_spawn_start(&spawn, NULL, &child, ret_step);
	fd_close(&ends[1]);
	if (r < 0) {
		fd_close(&ends[0]);
		return r;
	}
	if (k->options->ready_fd >=
	    0) /* who waits for it must see it closed when the supervisor is gone */
		close(k->options->ready_fd);
	k->exec_fd = child.exec_fd; /* read when it exits at once */
	k->sock = ends[0];
	k->supervisor = child.pid;
	k->supervisor_pidfd = child.pidfd;
	k->have_pidfd = child.pidfd >= 0;
	keeper_watch(k, k->sock, EPOLLIN, WATCH_SOCK, NO_SLOT, 0);
	if (child.pidfd >= 0)
		keeper_watch(k, child.pidfd, EPOLLIN, WATCH_SUPERVISOR, NO_SLOT, 0);
	return 0;
}

static int open_signals(void)
{
	sigset_t set;

	/* Whoever started us may have ignored or blocked anything; workers shall inherit none of it. */
	mps_reset_signals();
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGPIPE);
	for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++)
		sigaddset(&set, forwarded[i]);
	sigprocmask(SIG_SETMASK, &set, NULL);
	sigdelset(&set, SIGPIPE);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* 0 or -errno with *ret_what. */
static int init(struct keeper *k, const char **ret_what)
{
	struct rlimit nofile;

	*ret_what = "prctl";
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return -errno;
	cloexec_from(3);
	if (getrlimit(RLIMIT_NOFILE, &nofile) == 0)
		k->nofile = nofile.rlim_cur;
	fd_raise_limit(1 << 20);
	*ret_what = "signalfd";
	k->signals = open_signals();
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
	k->children = children_open(k->pid, k->pid);
	return 0;
}

/* The thread that forks must be the one that works, and must live as long as the workers: PR_SET_PDEATHSIG. */
static void *start_and_loop(void *user)
{
	struct keeper *k = user;
	enum mps_step step = MPS_STEP_NONE;
	int r = start_supervisor(k, &step);

	if (r < 0)
		_exit(fail(k, mps_step_word(step), -r));
	return loop(k);
}

static int start_thread(struct keeper *k)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	r = pthread_create(&thread, &attr, start_and_loop, k);
	pthread_attr_destroy(&attr);
	if (r == 0)
		pthread_join(thread, NULL); /* never returns: the loop ends the process */
	return r;
}

int keeper_run(const struct keeper_options *options)
{
	static struct keeper k;
	const char *what = "";
	int r;

	k = (struct keeper){
		.options = options,
		.pid = getpid(),
		.sock = -1,
		.exec_fd = -1,
		.first_ending = NO_SLOT,
		.first_report = NO_SLOT,
		.orphan_grace = { MPS_NS_PER_S / 2 },
	};
	k.id = tag_keeper_id(k.pid);
	title_set("mpsup: keeper %s", options->name);
	r = init(&k, &what);
	if (r < 0)
		return fail(&k, what, -r);
	return fail(&k, "thread", start_thread(&k));
}
