/*
 * The places for processes: a start, and what it writes. How it ends, and what it has left, is
 * place_end.c's. Nothing is made anew for a task that can serve for the next: the stack that a
 * child begins on, the pipes, the memory of its command line.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "map/internal.h"
#include "proc/find.h"
#include "proc/tag.h"

enum { READ_SIZE = 64 << 10, SPARE_FDS = 20, PLACE_FDS = 5 };

/* A stack, and where the child says why it could not begin; the children have this in common with us. */
#define ROOM_SIZE (MPS_STACK_SIZE + 4096)

int places_init(struct map *m, struct err *err)
{
	size_t limit = fd_raise_limit((size_t)m->o->jobs * PLACE_FDS + SPARE_FDS);
	size_t room = limit > SPARE_FDS ? (limit - SPARE_FDS) / PLACE_FDS : 1;

	m->n_places = m->o->jobs;
	if (room < m->n_places) {
		m->n_places = room > 0 ? (unsigned)room : 1;
		map_say(m, "at most %u at a time: no more than %zu descriptors are allowed",
			m->n_places, limit);
	}
	m->stacks_size = (size_t)m->n_places * ROOM_SIZE;
	m->stacks = mmap(NULL, m->stacks_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			 -1, 0);
	if (m->stacks == MAP_FAILED) {
		m->stacks = NULL;
		return err_set(err, -errno, "no memory for %u tasks at a time", m->n_places);
	}
	m->places = xcalloc(m->n_places, sizeof(*m->places));
	for (unsigned i = 0; i < m->n_places; i++) {
		struct place *s = &m->places[i];

		s->number = i + 1;
		s->in = s->out = s->err = s->child_out = s->child_err = s->birth = -1;
		s->stack = (char *)m->stacks + i * ROOM_SIZE;
		s->failure = (struct mps_failure *)((char *)s->stack + MPS_STACK_SIZE);
	}
	return 0;
}

static void drop_pipes(struct map *m, struct place *s)
{
	int *const all[] = { &s->in, &s->out, &s->err };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (*all[i] >= 0)
			map_unwatch(m, *all[i]);
		fd_close(all[i]);
	}
	fd_close(&s->child_out);
	fd_close(&s->child_err);
}

void places_fini(struct map *m)
{
	for (unsigned i = 0; m->places != NULL && i < m->n_places; i++) {
		struct place *s = &m->places[i];

		drop_pipes(m, s);
		fd_close(&s->birth);
		free(s->entry_argv);
		template_room_fini(&s->command);
		lines_fini(&s->said);
		buf_fini(&s->answers);
		pids_fini(&s->told);
		free(s->found);
	}
	free(m->places);
	if (m->stacks != NULL)
		munmap(m->stacks, m->stacks_size);
}

/* --------------------------------------------------------------------------------------------------- start */

/* Ours does not block, the child's does. 0 or -errno. */
static int make_pipe(int *ret_ours, int *ret_childs, bool we_write)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*ret_ours = ends[we_write];
	*ret_childs = ends[!we_write];
	return fd_set_nonblock(*ret_ours, true);
}

static int make_pipes(struct map *m, struct place *s, int *ret_child_in)
{
	int r = 0;

	*ret_child_in = m->no_input;
	if (!m->per_task) {
		*ret_child_in = -1;
		r = make_pipe(&s->in, ret_child_in, true);
	}
	if (r == 0 && s->out < 0)
		r = make_pipe(&s->out, &s->child_out, false);
	if (r == 0 && s->err < 0) {
		r = make_pipe(&s->err, &s->child_err, false);
		if (r == 0)
			r = map_watch(m, s->out, EPOLLIN, WATCH_OUT, s->number);
		if (r == 0)
			r = map_watch(m, s->err, EPOLLIN, WATCH_ERR, s->number);
	}
	return r;
}

/* What the one before has set is not for the next. */
static void restore_pipes(struct place *s)
{
	const int fds[] = { s->child_out, s->child_err };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		int flags = fcntl(fds[i], F_GETFL);

		if (flags >= 0 && flags & O_NONBLOCK)
			fcntl(fds[i], F_SETFL, flags & ~O_NONBLOCK);
	}
}

static void give_to_shell(struct place *s, char *path)
{
	size_t n = 0;

	while (s->command.argv[n] != NULL)
		n++;
	s->command.cap = n + 2;
	s->command.argv = xrealloc(s->command.argv, s->command.cap * sizeof(char *));
	memmove(s->command.argv + 1, s->command.argv, (n + 1) * sizeof(char *));
	s->command.argv[0] = (char *)"/bin/sh";
	s->command.argv[1] = path;
}

static void make_command(struct map *m, struct place *s, struct batch *b)
{
	struct template_task task = { .seq = b->seq, .place = s->number };

	task.p = batch_task(m, b, b->answered, &task.n);
	template_expand(m->o->argv, &task, &s->command);
	s->spawn = m->spawn;
	s->spawn.path = m->o->path;
	if (m->o->path == NULL) {
		free(TAKE_PTR(s->found));
		/* Where there is none the exec says what is wrong. */
		s->spawn.path = proc_find_command(s->command.argv[0], &s->found) == 0
					? s->found
					: s->command.argv[0];
	}
	s->by_shell = m->by_shell;
	if (s->by_shell) {
		give_to_shell(s, (char *)s->spawn.path);
		s->spawn.path = s->command.argv[0];
	}
}

static void begin(struct map *m, struct place *s, pid_t pid)
{
	s->pid = pid; /* 0: not known yet */
	s->state = PLACE_RUNNING;
	s->kill_at.ns = s->deadline.ns = 0;
	s->killed = s->timed_out = s->closing = s->is_full = false;
	s->closed = s->too_much = s->too_long = false;
	s->asked = s->got = s->fed = 0;
	s->pace = 0;
	s->told.n = 0;
	s->n_flight = 0;
	s->since = mps_now();
	s->started_wall = mps_wall();
	m->n_running++;
}

/* 0 or -errno. */
static int spawn(struct map *m, struct place *s, int in)
{
	struct mps_child child = MPS_CHILD_INIT;
	enum mps_step step;
	int r;

	s->gen++;
	*s->failure = (struct mps_failure){ .step = MPS_STEP_NONE };
	s->fds[0] = (struct mps_fd){ .child = STDIN_FILENO, .fd = in };
	s->fds[1] = (struct mps_fd){ .child = STDOUT_FILENO, .fd = s->child_out };
	s->fds[2] = (struct mps_fd){ .child = STDERR_FILENO, .fd = s->child_err };
	s->spawn.argv = s->command.argv;
	s->spawn.fds = s->fds;
	s->spawn.n_fds = ARRAY_SIZE(s->fds);
	s->spawn.mark = tag_make(m->id, s->number, s->gen);
	if (m->o->symbol != NULL) {
		r = birth_start(m, s, &child.pid);
	} else {
		s->spawn.failure = s->failure;
		/* A worker's descriptors are closed here at once: it gets a copy. */
		r = mps_spawn_start(&s->spawn, m->per_task ? s->stack : NULL, &child, &step);
		fd_close(&child.pidfd);
	}
	if (r == 0)
		begin(m, s, child.pid);
	return r;
}

int place_start(struct map *m, struct place *s, struct batch *b)
{
	int in, r = make_pipes(m, s, &in);

	if (r == 0) {
		make_command(m, s, b);
		r = spawn(m, s, in);
	}
	if (!m->per_task) {
		fd_close(&in);
		fd_close(&s->child_out);
		fd_close(&s->child_err);
		if (r < 0)
			drop_pipes(m, s);
		return r;
	}
	if (r < 0)
		return r;
	s->flight[s->n_flight++] = b;
	if (m->o->timeout.ns != 0)
		s->deadline.ns = s->since.ns + m->o->timeout.ns;
	return 0;
}

/* -------------------------------------------------------------------------------------------------- output */

struct speaker {
	struct map *m;
	struct place *s;
};

static void on_said(const char *line, size_t n, void *user)
{
	struct speaker *who = user;
	struct buf *to = &who->m->err.b;
	const struct place *s = who->s;

	if (s->n_flight > 0)
		buf_addf(to, "[%llu] ",
			 (unsigned long long)(s->flight[0]->seq + s->flight[0]->answered));
	else
		buf_addf(to, "[worker %u] ", s->number);
	buf_add(to, line, n);
	buf_addc(to, '\n');
}

void place_read_err(struct map *m, struct place *s)
{
	struct speaker who = { m, s };
	char in[READ_SIZE / 4];
	ssize_t n;

	while (s->err >= 0 && (n = read(s->err, in, sizeof(in))) >= 0) {
		if (n == 0) {
			map_unwatch(m, s->err);
			fd_close(&s->err);
			break;
		}
		lines_feed(&s->said, in, (size_t)n, on_said, &who);
		if ((size_t)n < sizeof(in))
			break;
	}
}

void places_hush(struct map *m, bool hush)
{
	m->is_quiet = hush;
	for (unsigned i = 0; i < m->n_places; i++) {
		struct epoll_event e = { .events = hush ? 0 : EPOLLIN,
					 .data.u64 = (uint64_t)(i + 1) << 8 | WATCH_ERR };

		if (m->places[i].err >= 0)
			epoll_ctl(m->epoll, EPOLL_CTL_MOD, m->places[i].err, &e);
	}
}

/* A worker's; false when there is no more for now. */
static bool read_answers(struct map *m, struct place *s)
{
	char *p = buf_reserve(&s->answers, READ_SIZE);
	ssize_t n = p != NULL ? read(s->out, p, READ_SIZE) : -1;

	if (n > 0) {
		s->answers.len += (size_t)n;
		worker_on_answers(m, s);
		return n == READ_SIZE;
	}
	if (n == 0) {
		map_unwatch(m, s->out);
		fd_close(&s->out);
		s->closed = true;
		if (!s->closing && s->kill_at.ns == 0)
			s->kill_at.ns = mps_now().ns + m->o->grace.ns;
	}
	return false;
}

void place_read_out(struct map *m, struct place *s)
{
	static char in[READ_SIZE];
	ssize_t n = READ_SIZE;

	if (!m->per_task) {
		while (s->out >= 0 && read_answers(m, s))
			;
		return;
	}
	while (n == READ_SIZE && (n = read(s->out, in, sizeof(in))) > 0)
		if (s->n_flight > 0)
			batch_add(m, s->flight[0], in, (size_t)n);
}

void place_over(struct map *m, struct place *s)
{
	struct speaker who = { m, s };

	place_read_out(m, s);
	place_read_err(m, s);
	lines_end(&s->said, on_said, &who);
	m->n_left--;
	s->state = PLACE_FREE;
	s->deadline.ns = s->kill_at.ns = 0;
	m->starved = false;
	if (s->number - 1 < m->hint)
		m->hint = s->number - 1;
	if (m->per_task) {
		restore_pipes(s);
		settle_process(m, s);
		return;
	}
	worker_on_over(m, s);
	drop_pipes(m, s);
	buf_reset(&s->answers);
	s->looked = 0;
}
