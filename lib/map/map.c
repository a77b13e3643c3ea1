/*
 * The loop of a map. See map.h.
 */
#include "map/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "map/internal.h"
#include "proc/close.h"
#include "proc/tag.h"

enum { EVENTS = 64 };
#define DRAW_NS (100 * MPS_NS_PER_MS)
#define DRAW_FROM_NS MPS_NS_PER_S
/* So long no worker has answered anything. */
#define SILENCE_NS (10 * MPS_NS_PER_S)

bool map_is_per_task(char *const *argv)
{
	for (size_t i = 0; argv[i] != NULL; i++)
		if (template_has_placeholder(argv[i]))
			return true;
	return false;
}

void map_say(struct map *m, const char *fmt, ...)
{
	AUTO_BUF b = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	buf_addv(&b, fmt, ap);
	va_end(ap);
	if (!b.failed)
		m->o->say(b.p, m->o->user);
}

void map_end(struct map *m, bool hard)
{
	m->ending = true;
	m->hard |= hard;
	births_end(m);
	for (unsigned i = 0; i < m->n_places; i++)
		place_end(m, &m->places[i], hard);
	for (struct batch *b; (b = batch_take_again(m)) != NULL;)
		batch_done(m, b);
}

void map_give_up(struct map *m)
{
	m->outcome.trouble = true;
	map_end(m, false);
}

/* -------------------------------------------------------------------------------------------------- events */

int map_watch(struct map *m, int fd, unsigned events, enum watch what, unsigned place)
{
	struct epoll_event e = { .events = events, .data.u64 = (uint64_t)place << 8 | what };

	return epoll_ctl(m->epoll, EPOLL_CTL_ADD, fd, &e) == 0 ? 0 : -errno;
}

void map_unwatch(struct map *m, int fd)
{
	epoll_ctl(m->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* Those that are only of interest now and then. */
static void watch_if(struct map *m, bool wanted, bool *is, int fd, unsigned events, enum watch what)
{
	if (wanted == *is)
		return;
	if (wanted)
		*is = map_watch(m, fd, events, what, 0) == 0;
	else
		map_unwatch(m, fd);
	*is = wanted && *is;
}

/* By Ctrl-C and the like: the results that are not written are lost, as they are where nobody runs them for us. */
static void on_end_signal(struct map *m, int sig)
{
	bool again = m->outcome.signal != 0;

	m->outcome.signal = sig;
	map_end(m, again);
}

/* Those below us have groups of their own, and the terminal does not reach them. */
static void on_stop(struct map *m)
{
	places_signal(m, SIGTSTP);
	if (m->o->wipe != NULL)
		m->o->wipe(m->o->user);
	kill(getpid(), SIGSTOP);
	places_signal(m, SIGCONT);
}

static void on_signals(struct map *m)
{
	struct signalfd_siginfo si;
	bool reap = false;

	while (read(m->signals, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			reap = true;
		else if (si.ssi_signo == SIGTSTP)
			on_stop(m);
		else if (si.ssi_signo == SIGCONT)
			places_signal(m, SIGCONT);
		else
			on_end_signal(m, (int)si.ssi_signo);
	}
	if (reap)
		places_reap(m);
}

static void on_event(struct map *m, uint64_t data)
{
	uint64_t number = data >> 8;
	struct place *s = number > 0 ? &m->places[number - 1] : NULL;

	switch ((enum watch)(data & 0xff)) {
	case WATCH_SIGNALS:
		on_signals(m);
		break;
	case WATCH_INPUT:
		m->input.dry = false;
		break;
	case WATCH_STDOUT:
		m->out.full = false;
		break;
	case WATCH_STDERR:
		m->err.full = false;
		break;
	case WATCH_OUT:
		if (s->out >= 0)
			place_read_out(m, s);
		break;
	case WATCH_ERR:
		place_read_err(m, s);
		break;
	case WATCH_IN:
		if (s->in >= 0 && s->is_full)
			worker_write(m, s);
		break;
	case WATCH_BIRTH:
		birth_read(m, s);
		places_reap(m);
		break;
	case WATCH_FORKER:
		if (m->forker.pid != 0)
			birth_on_word(m);
		break;
	}
}

/* -------------------------------------------------------------------------------------------------- output */

static void on_output_error(struct map *m)
{
	if (m->ending)
		return;
	if (m->out.error == -EPIPE)
		m->outcome.signal = SIGPIPE;
	else {
		map_say(m, "cannot write the output: %s", strerror(-m->out.error));
		m->outcome.trouble = true;
	}
	map_end(m, false);
}

static void flush_joblog(struct map *m)
{
	joblog_flush(&m->joblog);
	if (m->joblog.error == 0 || m->joblog_said)
		return;
	m->joblog_said = true;
	m->outcome.trouble = true;
	map_say(m, "--joblog %s: %s; nothing is logged from here on", m->o->joblog,
		strerror(-m->joblog.error));
}

static void flush(struct map *m)
{
	bool shows;

	results_feed(m);
	shows = (m->err.is_tty && drain_waiting(&m->err) > 0) ||
		(m->out.is_tty && drain_waiting(&m->out) > 0);
	if (m->o->wipe != NULL && shows)
		m->o->wipe(m->o->user);
	while (drain_waiting(&m->out) > 0 && !m->out.full && m->out.error == 0) {
		drain_flush(&m->out);
		results_feed(m);
	}
	if (m->out.error != 0)
		on_output_error(m);
	/* Where both lead to the same place a line comes between lines. */
	if (drain_waiting(&m->err) > 0 && !m->err.full &&
	    !(m->err_waits_for_out && drain_waiting(&m->out) > 0))
		drain_flush(&m->err);
	if (m->is_quiet != (drain_waiting(&m->err) > MAP_OUT_MAX))
		places_hush(m, !m->is_quiet);
	flush_joblog(m);
}

/* ---------------------------------------------------------------------------------------------------- loop */

static struct mps_time draw(struct map *m, struct mps_time now)
{
	const struct map_progress p = {
		.done = m->outcome.done,
		.failed = m->outcome.failed,
		.running = m->n_running,
		.taken = m->seq,
		.bytes = m->input.taken,
		.size = m->input.size,
		.ended = input_is_over(&m->input),
		.since = m->begun,
		.now = now,
	};
	struct mps_time next = { m->drawn.ns + DRAW_NS };

	if (m->o->draw == NULL || m->ending)
		return (struct mps_time){ 0 };
	if (m->drawn.ns == 0 && !m->o->eager)
		next.ns = m->begun.ns + DRAW_FROM_NS;
	if (now.ns < next.ns)
		return next;
	m->o->draw(&p, m->o->user);
	m->drawn = now;
	return (struct mps_time){ now.ns + DRAW_NS };
}

/* A worker that has its answers behind a buffer is not given what would fill it. It may just be slow: so this is said, once. */
static struct mps_time warn_of_silence(struct map *m, struct mps_time now)
{
	struct mps_time first = { INT64_MAX };

	if (m->per_task || m->silence_said || m->answered || m->ending)
		return (struct mps_time){ 0 };
	for (unsigned i = 0; i < m->n_places; i++)
		if (m->places[i].state == PLACE_RUNNING && m->places[i].n_flight > 0 &&
		    m->places[i].since.ns < first.ns)
			first = m->places[i].since;
	if (first.ns == INT64_MAX)
		return (struct mps_time){ 0 };
	if (now.ns < first.ns + SILENCE_NS)
		return (struct mps_time){ first.ns + SILENCE_NS };
	map_say(m, "no worker has answered yet; does it write out each answer at once, as with "
		   "perl -e '$|=1', mawk -W interactive, jq --unbuffered?");
	m->silence_said = true;
	return (struct mps_time){ 0 };
}

static struct mps_time earlier(struct mps_time a, struct mps_time b)
{
	return a.ns == 0 || (b.ns != 0 && b.ns < a.ns) ? b : a;
}

static int timeout_ms(struct map *m)
{
	struct mps_time now = mps_now();
	struct mps_time next =
		earlier(earlier(places_on_time(m, now), draw(m, now)), warn_of_silence(m, now));
	int64_t ms = (next.ns - now.ns) / MPS_NS_PER_MS + 1;

	if (next.ns == 0)
		return -1;
	return ms < 0 ? 0 : ms < 1 << 30 ? (int)ms : 1 << 30;
}

static bool is_over(const struct map *m)
{
	if (!schedule_is_over(m))
		return false;
	if (m->out.error != 0 || (m->ending && m->outcome.signal != 0))
		return true;
	return drain_waiting(&m->out) == 0 && m->first == NULL && drain_waiting(&m->err) == 0;
}

static void loop(struct map *m)
{
	struct epoll_event events[EVENTS];

	for (;;) {
		int n, timeout;

		schedule(m);
		flush(m);
		if (is_over(m))
			return;
		watch_if(m, m->idle_wanted && m->input.dry && !m->input.ended, &m->watches_input,
			 m->input.fd, EPOLLIN, WATCH_INPUT);
		watch_if(m, m->out.full, &m->watches_out, m->out.fd, EPOLLOUT, WATCH_STDOUT);
		watch_if(m, m->err.full, &m->watches_err, m->err.fd, EPOLLOUT, WATCH_STDERR);
		timeout = timeout_ms(m);
		n = epoll_wait(m->epoll, events, EVENTS, timeout);
		for (int i = 0; i < n; i++)
			on_event(m, events[i].data.u64);
	}
}

/* ----------------------------------------------------------------------------------------------- beginning */

/* What our children are to find as we have found it. */
static int take_signals(struct map *m)
{
	static const int ending[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
	sigset_t old;

	sigemptyset(&m->taken);
	sigaddset(&m->taken, SIGCHLD);
	sigaddset(&m->taken, SIGCONT);
	for (size_t i = 0; i < ARRAY_SIZE(ending); i++) {
		struct sigaction a;

		if (sigaction(ending[i], NULL, &a) == 0 && a.sa_handler != SIG_IGN)
			sigaddset(&m->taken, ending[i]);
	}
	m->signals = signalfd(-1, &m->taken, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signals < 0)
		return -errno;
	sigaddset(&m->taken, SIGPIPE); /* writes say so */
	sigprocmask(SIG_BLOCK, &m->taken, &old);
	m->spawn.blocked = 0;
	for (int sig = 1; sig <= 64; sig++)
		if (sigismember(&old, sig) == 1)
			m->spawn.blocked |= UINT64_C(1) << (sig - 1);
	return map_watch(m, m->signals, EPOLLIN, WATCH_SIGNALS, 0);
}

static void prepare_spawn(struct map *m)
{
	struct rlimit r;

	m->spawn = (struct mps_spawn){
		.envp = (char **)m->o->envp,
		.session = MPS_SESSION_GROUP,
		.umask = -1,
		.pdeathsig = SIGKILL,
		.cannot_fail = true,
		.signals_are_default = true,
	};
	if (getrlimit(RLIMIT_NOFILE, &r) == 0)
		m->spawn.nofile = r.rlim_cur; /* ours is raised */
	close_prepare();
}

static int begin(struct map *m, struct err *err)
{
	int r = 0;

	if (m->o->joblog != NULL)
		r = joblog_open(&m->joblog, m->o->joblog, m->o->resume, err);
	if (r < 0)
		return r;
	if (m->joblog.n_bad > 0)
		map_say(m, "--joblog %s: %llu lines of it are none of a joblog, and are left out",
			m->o->joblog, (unsigned long long)m->joblog.n_bad);
	prepare_spawn(m);
	m->epoll = epoll_create1(EPOLL_CLOEXEC);
	m->no_input = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r = m->epoll < 0 || m->no_input < 0 ? -errno : take_signals(m);
	if (r == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		r = -errno;
	if (r < 0)
		return err_set(err, r, "cannot begin: %s", strerror(-r));
	m->children = children_open(getpid(), getpid());
	m->id = tag_keeper_id(getpid());
	r = places_init(m, err);
	return r == 0 ? births_begin(m, err) : r;
}

static void finish(struct map *m)
{
	births_fini(m);
	places_fini(m);
	results_fini(m);
	input_fini(&m->input);
	joblog_fini(&m->joblog);
	drain_fini(&m->out);
	drain_fini(&m->err);
	pids_fini(&m->orphans);
	buf_fini(&m->scratch);
	buf_fini(&m->line);
	fd_close(&m->epoll);
	fd_close(&m->signals);
	fd_close(&m->children);
	fd_close(&m->no_input);
}

int map_run(const struct map_options *o, struct map_outcome *ret, struct err *err)
{
	struct map m = {
		.o = o,
		.per_task = map_is_per_task(o->argv),
		.delimiter = o->nul ? '\0' : '\n',
		.joblog = { .fd = -1 },
		.spill = SPILL_INIT,
		.epoll = -1,
		.signals = -1,
		.children = -1,
		.no_input = -1,
		.forker = { .sock = -1, .exec_fd = -1 },
		.begun = mps_now(),
	};
	int r;

	input_init(&m.input, STDIN_FILENO, m.delimiter, o->frame);
	drain_init(&m.out, STDOUT_FILENO);
	drain_init(&m.err, STDERR_FILENO);
	m.err_waits_for_out = drain_is_same(&m.out, &m.err);
	r = begin(&m, err);
	if (r == 0)
		loop(&m);
	if (o->wipe != NULL)
		o->wipe(o->user);
	*ret = m.outcome;
	finish(&m);
	return r;
}
