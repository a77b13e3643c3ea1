/*
 * See template.h. One socket (SEQPACKET): requests with the descriptors of a lane, answers with a pidfd, ends. A message is
 * one struct word either way.
 */
#include "pool/template.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ipc/args.h"
#include "ipc/family.h"
#include "ipc/futex.h"
#include "ipc/queue.h"
#include "pool/pool.h"

enum { LANE_FDS = 3, PATIENCE_S = 10, OWN_ARGUMENTS = 3 };

struct word {
	enum { WORD_FORK, WORD_MADE, WORD_ENDED } what;
	uint32_t index;
	int32_t pid; /* or -errno */
	int32_t code;
};

/* ------------------------------------------------------------------------------------------------- the template */

/* The pool as it was when it was copied: of that only what never changes is used. */
static struct mps_pool *original;

struct child {
	struct mps_process *process;
	struct child *next;
};

struct being {
	int sock;
	struct mps_args *args; /* socket, bell, event, and those of the initializer */
	struct child *children;
};

static struct mps_args rest_of(const struct mps_args *args)
{
	return (struct mps_args){ .items = args->items + OWN_ARGUMENTS,
				  .n = args->n - OWN_ARGUMENTS };
}

static int start_child(struct being *b, uint32_t index, const int *fds, struct child **ret)
{
	struct mps_args rest = rest_of(b->args);
	struct worker_fds all = { .lane = fds[0],
				  .bell = b->args->items[1].fd,
				  .event = b->args->items[2].fd,
				  .tasks = fds[1],
				  .results = fds[2] };
	struct child *c = calloc(1, sizeof(*c));
	int r = c != NULL ? seat_start_process(original, index, &all, &rest, &c->process) : -ENOMEM;

	if (r < 0) {
		free(c);
		return r;
	}
	c->next = b->children;
	b->children = c;
	*ret = c;
	return 0;
}

static int say(int sock, const struct word *w, int fd)
{
	return fd_send(sock, &(struct iovec){ (void *)(uintptr_t)w, sizeof(*w) }, 1, &fd, fd >= 0);
}

static void on_request(struct being *b, const struct word *w, const int *fds)
{
	struct word answer = { .what = WORD_MADE, .index = w->index };
	struct child *c;
	int r = start_child(b, w->index, fds, &c);

	answer.pid = r < 0 ? r : mps_process_pid(c->process);
	say(b->sock, &answer, r < 0 ? -1 : mps_process_sentinel(c->process));
}

/* Its tree ends with it. */
static void on_child_end(struct being *b, struct child *c)
{
	struct word w = { .what = WORD_ENDED, .pid = mps_process_pid(c->process), .code = INT_MIN };

	mps_process_join(c->process, PATIENCE_S * MPS_SECOND);
	mps_process_exitcode(c->process, &w.code);
	if (w.code != 0)
		mps_process_kill(c->process, PATIENCE_S * MPS_SECOND);
	mps_process_free(c->process);
	say(b->sock, &w, -1);
}

static void look_at_children(struct being *b, const struct pollfd *p)
{
	struct child **at = &b->children, *c;

	for (; (c = *at) != NULL; p++) {
		if (p->revents == 0) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		on_child_end(b, c);
		free(c);
	}
}

/* False: nobody wants anything any more. */
static bool hear(struct being *b)
{
	struct word w;
	int fds[LANE_FDS];
	size_t n = 0;
	bool cut;
	ssize_t r = fd_recv(b->sock, &w, sizeof(w), fds, LANE_FDS, &n, &cut);

	if (r == (ssize_t)sizeof(w) && n == LANE_FDS)
		on_request(b, &w, fds);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	return r > 0 || r == -EAGAIN || r == -EINTR;
}

static bool wait_and_act(struct being *b)
{
	size_t n = 1;
	struct pollfd *p;
	bool goes_on = true;

	for (struct child *c = b->children; c != NULL; c = c->next)
		n++;
	p = calloc(n, sizeof(*p));
	if (p == NULL)
		return false;
	n = 0;
	p[n++] = (struct pollfd){ .fd = b->sock, .events = POLLIN };
	for (struct child *c = b->children; c != NULL; c = c->next)
		p[n++] =
			(struct pollfd){ .fd = mps_process_sentinel(c->process), .events = POLLIN };
	if (poll(p, n, -1) > 0) {
		look_at_children(b, p + 1);
		goes_on = p[0].revents == 0 || hear(b);
	}
	free(p);
	return goes_on;
}

/* Signals of the terminal are for the caller. What is left ends with us. */
static int pool_template(struct mps_args *args)
{
	struct being b = { .sock = mps_args_fd(args, 0), .args = args };

	signal(SIGINT, SIG_IGN);
	while (wait_and_act(&b))
		;
	for (struct child *c = b.children; c != NULL; c = c->next)
		mps_process_kill(c->process, PATIENCE_S * MPS_SECOND);
	return 0;
}

__attribute__((constructor(101))) static void be_known(void)
{
	static struct mps_target_row row = { "mpsup pool template", pool_template, NULL };

	mps_target_add(&row);
}

/* --------------------------------------------------------------------------------------------------- the pool */

int template_start(struct mps_pool *p)
{
	struct mps_process_options o = { .name = p->name,
					 .method = MPS_START_FORK,
					 .target = pool_template,
					 .daemon = true,
					 .grace = MPS_SECOND };
	int ends[2], r = mps_args_new(&o.args);

	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		mps_args_free(o.args);
		return -errno;
	}
	r = mps_args_add_fd(o.args, ends[1]);
	r = r < 0 ? r : mps_args_add_shm(o.args, p->bell_shm);
	r = r < 0 ? r : mps_args_add_fd(o.args, p->event);
	r = r < 0 ? r : args_append(o.args, p->args);
	original = p;
	r = r < 0 ? r : mps_process_start(&o, &p->template.process);
	original = NULL;
	close(ends[1]);
	mps_args_free(o.args);
	if (r < 0)
		close(ends[0]);
	else
		p->template.sock = ends[0];
	return r;
}

static void remember(struct template *t, const struct word *w)
{
	if (t->n == t->cap) {
		struct template_end *bigger =
			reallocarray(t->ends, t->cap * 2 + 8, sizeof(*bigger));

		if (bigger == NULL)
			return;
		t->ends = bigger;
		t->cap = t->cap * 2 + 8;
	}
	t->ends[t->n++] = (struct template_end){ w->pid, w->code };
}

/* The next word. 0; -EPIPE: it is gone; -ETIMEDOUT. */
static int next_word(struct template *t, struct word *w, int *fd, struct mps_time until)
{
	size_t n = 0;
	bool cut;
	ssize_t r;

	*fd = -1;
	do {
		if (!wait_readable(t->sock, until))
			return -ETIMEDOUT;
		r = fd_recv(t->sock, w, sizeof(*w), fd, 1, &n, &cut);
	} while (r == -EAGAIN || r == -EINTR);
	return r == (ssize_t)sizeof(*w) ? 0 : -EPIPE;
}

int template_fork(struct mps_pool *p, struct seat *s, pid_t *ret_pid, int *ret_pidfd)
{
	struct template *t = &p->template;
	struct word w = { .what = WORD_FORK, .index = s->index };
	int fds[LANE_FDS] = { mps_shm_fileno(s->shm), queue_fileno(s->long_tasks),
			      queue_fileno(s->long_results) };
	struct mps_time until = until_of(PATIENCE_S * MPS_SECOND);
	int r = fd_send(t->sock, &(struct iovec){ &w, sizeof(w) }, 1, fds, LANE_FDS);

	while (r >= 0) {
		r = next_word(t, &w, ret_pidfd, until);
		if (r < 0)
			break;
		if (w.what == WORD_ENDED) {
			remember(t, &w);
			continue;
		}
		*ret_pid = w.pid;
		return w.pid < 0 ? w.pid : *ret_pidfd < 0 ? -EMFILE : 0;
	}
	return r;
}

int template_code(struct mps_pool *p, pid_t pid)
{
	struct template *t = &p->template;
	struct mps_time until = until_of(PATIENCE_S * MPS_SECOND);
	struct word w;
	int fd;

	for (size_t i = 0; i < t->n; i++)
		if (t->ends[i].pid == pid) {
			int code = t->ends[i].code;

			t->ends[i] = t->ends[--t->n];
			return code;
		}
	while (next_word(t, &w, &fd, until) == 0) {
		if (w.what == WORD_ENDED && w.pid == pid)
			return w.code;
		remember(t, &w);
	}
	return INT_MIN;
}

void template_stop(struct mps_pool *p)
{
	struct template *t = &p->template;

	if (t->process == NULL)
		return;
	close(t->sock);
	if (mps_process_join(t->process, PATIENCE_S * MPS_SECOND) < 0)
		mps_process_kill(t->process, MPS_FOREVER);
	mps_process_free(t->process);
	free(t->ends);
	t->process = NULL;
}
