/*
 * One child: how it is started by each method, what becomes of it, and its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "ipc/args.h"
#include "ipc/family.h"
#include "ipc/tracker.h"
#include "proc/pidfd.h"
#include "proc/spawn.h"

/* A longer one goes in a file in memory, the making, passing on and reading of which take 30 us. */
enum { NOTE_TEXT_MAX = 1024 };

#define GRACE (10 * MPS_NS_PER_S)

static _Thread_local char failure_text[768];

const char *mps_process_failure(void)
{
	return failure_text;
}

/* ------------------------------------------------------------------------------------------------- a start */

/* All that a start holds until it is over. */
struct start {
	const struct mps_process_options *o;
	enum mps_start_method method;
	struct mps_process *p;
	struct mps_spawn s;
	struct mps_fd rows[KEEPER_FDS_MAX];
	struct buf note, text;
	int note_fd; /* -1 = none */
	int ends[2]; /* in place of a pidfd */
	char *path;  /* what is executed */
	char *cwd;   /* to be freed */
	char **env;  /* too */
	char number[12];
	char *argv[5];
	struct note head;
	struct mps_args args; /* as the child has them, which copies us */
	struct copy copy;
};

static int fail(const char *what, int error)
{
	snprintf(failure_text, sizeof(failure_text), "%s: %s", what, strerror(-error));
	return error;
}

static int fail_by(const struct start *st, const struct mps_failure *f, int error)
{
	const char *of = f->step == MPS_STEP_EXEC    ? st->s.path
			 : f->step == MPS_STEP_CHDIR ? st->s.cwd
						     : "";

	snprintf(failure_text, sizeof(failure_text), "%s%s%.200s: %s",
		 mps_step_word((enum mps_step)f->step), of != NULL && of[0] != '\0' ? " " : "",
		 of != NULL ? of : "", f->text[0] != '\0' ? f->text : strerror(-error));
	return error;
}

static int compare_rows(const void *a, const void *b)
{
	const struct mps_fd *x = a, *y = b;

	return x->child < y->child ? -1 : x->child > y->child;
}

static bool has_row(const struct start *st, int child)
{
	for (size_t i = 0; i < st->o->n_fds; i++)
		if (st->o->fds[i].child == child)
			return true;
	return false;
}

static int add_row(struct start *st, int child, int fd)
{
	if (st->s.n_fds == ARRAY_SIZE(st->rows))
		return fail("set up descriptors", -EMFILE);
	st->rows[st->s.n_fds++] = (struct mps_fd){ child, fd, 0 };
	return 0;
}

/* The caller's rows; 0, 1 and 2 where they are open, and not among those. */
static int add_rows(struct start *st)
{
	const struct mps_process_options *o = st->o;
	int r = 0;

	for (int fd = 0; fd <= 2; fd++)
		if (!has_row(st, fd) && fcntl(fd, F_GETFD) >= 0)
			add_row(st, fd, fd);
	for (size_t i = 0; r == 0 && i < o->n_fds; i++) {
		if (o->fds[i].child < 0 || o->fds[i].child >= 1 << 15)
			return fail("set up descriptors", -EINVAL);
		if (fcntl(o->fds[i].fd, F_GETFD) < 0)
			return fail("set up descriptors", -errno);
		r = add_row(st, o->fds[i].child, o->fds[i].fd);
	}
	qsort(st->rows, st->s.n_fds, sizeof(st->rows[0]), compare_rows);
	for (size_t i = 1; i < st->s.n_fds; i++)
		if (st->rows[i].child == st->rows[i - 1].child)
			return fail("set up descriptors", -EINVAL);
	return r;
}

/* The first number above 2 and those of the table. */
static int next_number(const struct start *st)
{
	int last = st->s.n_fds > 0 ? st->rows[st->s.n_fds - 1].child : 0;

	return last < 2 ? 3 : last + 1;
}

/* ------------------------------------------------------------------------------------- what it is made of */

/* As execvp(3) looks for it. */
static int find_program(const char *name, char **ret)
{
	const char *path = getenv("PATH");
	int r = -ENOENT;

	if (strchr(name, '/') != NULL) {
		*ret = strdup(name);
		return *ret != NULL ? 0 : -ENOMEM;
	}
	path = path != NULL ? path : "/bin:/usr/bin";
	for (size_t n; name[0] != '\0'; path += n + 1) {
		char *full;
		struct stat st;

		n = strcspn(path, ":");
		if (asprintf(&full, "%.*s%s%s", (int)n, path, n > 0 ? "/" : "", name) < 0)
			return -ENOMEM;
		if (stat(full, &st) == 0 && S_ISREG(st.st_mode)) {
			if (faccessat(AT_FDCWD, full, X_OK, AT_EACCESS) == 0) {
				*ret = full;
				return 0;
			}
			r = -EACCES;
		}
		free(full);
		if (path[n] == '\0')
			break;
	}
	return r;
}

static int prepare_command(struct start *st)
{
	char what[128];
	int r = find_program(st->o->argv[0], &st->path);

	if (r < 0) {
		snprintf(what, sizeof(what), "exec %.100s", st->o->argv[0]);
		return fail(what, r);
	}
	st->s.path = st->path;
	st->s.argv = (char **)st->o->argv;
	return add_rows(st);
}

/* Those of the arguments, and before them the note's where it needs one. */
static int add_note_rows(struct start *st, int first)
{
	int fds[KEEPER_FDS_MAX], r = 0;
	size_t n = args_fds(st->o->args, fds, ARRAY_SIZE(fds));

	if (st->argv[2] == st->number) {
		st->note_fd = mps_seal(st->note.p, st->note.len);
		if (st->note_fd < 0)
			return fail("memfd", st->note_fd);
		r = add_row(st, first - 1, st->note_fd);
	}
	if (n > ARRAY_SIZE(fds))
		return fail("set up descriptors", -EMFILE);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_row(st, first++, fds[i]);
	return r;
}

static int prepare_copy(struct start *st, const struct note *note)
{
	if (!args_view(st->o->args, note->first_fd, &st->args))
		return fail("arguments", -ENOMEM);
	st->head = *note;
	st->copy = (struct copy){ .argv = { target_program(), (char *)target_role, st->p->name },
				  .note = &st->head,
				  .args = &st->args,
				  .function = st->o->target };
	st->s.argv = st->copy.argv;
	return add_note_rows(st, note->first_fd);
}

static int prepare_target(struct start *st, const struct birth_number *number)
{
	bool forks = st->method == MPS_START_FORK;
	struct note note = {
		.name = st->p->name,
		.identity = number->identity,
		.target = target_name(st->o->target),
		.parent = getpid(),
		.mark = st->method == MPS_START_FORKSERVER ? st->p->mark : 0,
		.needs_parent = !st->o->outlives,
	};
	int r;

	if (note.target == NULL)
		return fail(
			"the target is not registered by MPS_TARGET, or another one by its name",
			-ENOENT);
	if (!forks && !target_is_ready())
		return fail("mps_init() has not been called", -EPERM);
	r = add_rows(st);
	if (r < 0)
		return r;
	note.first_fd = next_number(st) + !forks;
	if (forks)
		return prepare_copy(st, &note);
	snprintf(st->number, sizeof(st->number), "%d", next_number(st));
	note_encode(&note, st->o->args, &st->note);
	st->argv[0] = target_program();
	st->argv[1] = (char *)target_role;
	st->argv[2] = st->number;
	st->argv[3] = st->p->name;
	if (st->method == MPS_START_FORKSERVER && st->note.len <= NOTE_TEXT_MAX) {
		note_to_text(&st->note, &st->text);
		st->argv[2] = st->text.p;
	}
	if (st->note.failed || st->text.failed)
		return fail("arguments", -ENOMEM);
	st->s.argv = st->argv;
	st->s.path = MPS_HOST_PATH;
	return add_note_rows(st, note.first_fd);
}

static unsigned count_threads(void)
{
	struct stat st;

	if (__libc_single_threaded)
		return 1;
	return stat("/proc/self/task", &st) == 0 && st.st_nlink > 2 ? (unsigned)st.st_nlink - 2 : 1;
}

/* Then what is left to the child cannot fail, so nobody waits for it. */
static bool is_in_place(const struct start *st)
{
	for (size_t i = 0; i < st->s.n_fds; i++)
		if (st->rows[i].fd != st->rows[i].child)
			return false;
	return true;
}

static int prepare_fork(struct start *st)
{
	if (!st->o->force && count_threads() > 1)
		return fail("fork while there are other threads", -EBUSY);
	st->s.method = MPS_METHOD_FORK;
	st->s.symbol = target_role;
	st->s.function = target_run_copy;
	st->s.cannot_fail = st->o->cwd == NULL && is_in_place(st);
	fflush(NULL); /* or both would write it */
	return 0;
}

static void prepare_forkserver(struct start *st)
{
	st->s.path = "";
	st->s.method = MPS_METHOD_FORKSERVER;
	st->s.symbol = target_role;
	st->s.server = "";
	st->s.pdeathsig = st->o->outlives ? 0 : SIGKILL;
	if (st->s.cwd == NULL)
		st->s.cwd = st->cwd = forker_cwd();
}

/* Without pidfds: a pipe whose write end is open as long as the child is, and all that have inherited it. */
static int prepare_sentinel(struct start *st)
{
	static _Atomic bool has_pidfds;
	int fd = has_pidfds ? -1 : pidfd_open_checked(getpid());

	if (fd >= 0) {
		close(fd);
		has_pidfds = true;
	}
	if (has_pidfds)
		return 0;
	if (pipe2(st->ends, O_CLOEXEC) < 0)
		return fail("pipe", -errno);
	return add_row(st, next_number(st), st->ends[1]);
}

static int prepare(struct start *st, const struct birth_number *number)
{
	const struct mps_process_options *o = st->o;
	int r = o->target != NULL ? prepare_target(st, number) : prepare_command(st);

	if (r == 0)
		r = prepare_sentinel(st);
	if (r < 0)
		return r;
	st->s.fds = st->rows;
	st->s.envp = (char **)(o->env != NULL ? o->env : environ);
	if (st->method != MPS_START_FORK && (st->env = tracker_environ(st->s.envp)) != NULL)
		st->s.envp = st->env;
	st->s.cwd = o->cwd;
	st->s.session = MPS_SESSION_KEEP;
	st->s.umask = -1;
	st->s.mark = st->p->mark;
	st->s.needs_parent = !o->outlives;
	st->s.pdeathsig = !o->outlives && is_main_thread() ? SIGKILL : 0;
	if (st->method == MPS_START_FORK)
		return prepare_fork(st);
	if (st->method == MPS_START_FORKSERVER)
		prepare_forkserver(st);
	return 0;
}

/* ------------------------------------------------------------------------------------------------- starting */

static int make_process(const struct mps_process_options *o, const struct birth_number *number,
			struct mps_process **ret)
{
	char own[80];
	const char *name = o->name != NULL ? o->name : own;
	struct mps_process *p;

	snprintf(own, sizeof(own), "process-%s", number->identity);
	p = calloc(1, sizeof(*p) + strlen(name) + 1);
	if (p == NULL)
		return fail("start", -ENOMEM);
	strcpy(p->name, name);
	p->sentinel = -1;
	p->daemon = o->daemon;
	p->grace = o->grace > 0 ? o->grace : GRACE;
	*ret = p;
	return 0;
}

static int run(struct start *st)
{
	struct mps_child child = MPS_CHILD_INIT;
	struct mps_failure failure = { 0 };
	int r;

	family_forks(st->method == MPS_START_FORK);
	r = st->method == MPS_START_FORKSERVER ? forker_start(&st->s, &child, &failure)
					       : launch(&st->s, &child, &failure);
	family_forks(false);
	if (r < 0)
		return fail_by(st, &failure, r);
	st->p->pid = child.pid;
	st->p->has_pidfd = child.pidfd >= 0;
	st->p->sentinel = child.pidfd >= 0 ? child.pidfd : TAKE_FD(st->ends[0]);
	lift_fd(&st->p->sentinel);
	return 0;
}

static void fini(struct start *st)
{
	fd_close(&st->note_fd);
	fd_close(&st->ends[0]);
	fd_close(&st->ends[1]);
	free(st->path);
	free(st->cwd);
	free(st->env);
	free(st->args.items);
	buf_fini(&st->note);
	buf_fini(&st->text);
}

static bool is_possible(const struct mps_process_options *o, enum mps_start_method method)
{
	return (o->target == NULL) != (o->argv == NULL) && method <= MPS_START_FORKSERVER &&
	       (o->target != NULL ||
		(method == MPS_START_SPAWN && o->argv[0] != NULL && o->args == NULL));
}

static enum mps_start_method method_of(const struct mps_process_options *o)
{
	if (o->method != MPS_START_DEFAULT)
		return o->method;
	return o->target != NULL ? mps_get_start_method() : MPS_START_SPAWN;
}

int mps_process_start(const struct mps_process_options *o, struct mps_process **ret)
{
	struct start st = { .o = o, .method = method_of(o), .note_fd = -1, .ends = { -1, -1 } };
	struct birth_number number;
	int r;

	if (!is_possible(o, st.method))
		return fail("start", -EINVAL);
	family_number(&number);
	r = make_process(o, &number, &st.p);
	if (r < 0)
		return r;
	family_reap_all();
	servers_lock();
	st.p->mark = lineage_mark(number.n, o->outlives);
	if (!o->outlives)
		guard_ensure();
	servers_unlock();
	r = prepare(&st, &number);
	if (r == 0)
		r = run(&st);
	fini(&st);
	if (r < 0) {
		free(st.p);
		return r;
	}
	family_add(st.p);
	*ret = st.p;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ its life */

pid_t mps_process_pid(const struct mps_process *p)
{
	return p->pid;
}

const char *mps_process_name(const struct mps_process *p)
{
	return p->name;
}

int mps_process_sentinel(const struct mps_process *p)
{
	return p->sentinel;
}

/* A handle that was copied with its process is another's. */
static bool is_ours(const struct mps_process *p)
{
	return p->owner == getpid();
}

bool mps_process_is_alive(struct mps_process *p)
{
	return is_ours(p) && !family_reap(p);
}

bool wait_readable(int fd, struct mps_time until)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (;;) {
		int64_t left = time_left(until);
		struct timespec ts = { left / MPS_NS_PER_S, left % MPS_NS_PER_S };

		if (left < 0)
			ts = (struct timespec){ 0, 0 };
		if (ppoll(&p, 1, until.ns == INT64_MAX ? NULL : &ts, NULL) > 0)
			return true;
		if (left <= 0)
			return false;
	}
}

/*
 * Where the kernel has no pidfds: the end of the pipe comes early from who has closed it, and late where it was passed on.
 * So it is looked at now and then.
 */
static void doze(const struct mps_process *p, struct mps_time until)
{
	enum { SLICE_MS = 10 };
	struct mps_time slice = until_of(SLICE_MS * MPS_NS_PER_MS);
	struct pollfd pipe = { .fd = p->sentinel };

	if (until.ns < slice.ns)
		slice = until;
	wait_readable(poll(&pipe, 1, 0) > 0 ? -1 : p->sentinel, slice);
}

static int join_until(struct mps_process *p, struct mps_time until)
{
	while (!family_reap(p)) {
		if (p->has_pidfd) {
			if (!wait_readable(p->sentinel, until))
				return -ETIMEDOUT;
			family_reap(
				p); /* not if somebody traces it, who is told first: yet it has ended */
			return 0;
		}
		if (time_left(until) <= 0)
			return -ETIMEDOUT;
		doze(p, until);
	}
	return 0;
}

int mps_process_join(struct mps_process *p, int64_t timeout)
{
	return is_ours(p) ? join_until(p, until_of(timeout)) : -ECHILD;
}

int mps_process_exitcode(struct mps_process *p, int *ret_code)
{
	if (!is_ours(p))
		return -ECHILD;
	if (!family_reap(p))
		return -EBUSY;
	if (!p->is_known)
		return -ENODATA;
	*ret_code = p->code;
	return 0;
}

int mps_process_signal(struct mps_process *p, int sig)
{
	int r;

	if (!is_ours(p))
		return -ECHILD;
	if (family_reap(p))
		return 0;
	r = pidfd_signal(p->has_pidfd ? p->sentinel : -1, p->pid, sig);
	return r == -ESRCH ? 0 : r;
}

int mps_process_free(struct mps_process *p)
{
	if (p == NULL)
		return 0;
	if (!family_reap(p))
		return -EBUSY;
	family_remove(p);
	if (is_ours(p)) /* else the number may be somebody's */
		fd_close(&p->sentinel);
	free(p);
	return 0;
}

/* -------------------------------------------------------------------------------------------------- its end */

/* What is stopped takes no signal but SIGKILL before it goes on. */
void process_ask_to_end(struct mps_process *p)
{
	int fd = p->has_pidfd ? p->sentinel : -1;

	pidfd_signal(fd, p->pid, SIGTERM);
	pidfd_signal(fd, p->pid, SIGCONT);
}

/* It is reaped before its tree is looked for, so that nothing of it is in sight there. */
int process_end(struct mps_process *p, struct mps_time kill_at, struct mps_time until)
{
	struct mps_time wait = kill_at.ns < until.ns ? kill_at : until;
	int r;

	if (join_until(p, wait) < 0) {
		mps_process_signal(p, SIGKILL);
		join_until(p, until);
	}
	r = lineage_kill(p->mark, until);
	if (join_until(p, until) < 0)
		return -ETIMEDOUT;
	return r;
}

int mps_process_terminate(struct mps_process *p, int64_t timeout)
{
	struct mps_time until = until_of(timeout);

	if (!is_ours(p))
		return -ECHILD;
	if (!family_reap(p))
		process_ask_to_end(p);
	return process_end(p, until_of(p->grace), until);
}

int mps_process_kill(struct mps_process *p, int64_t timeout)
{
	return is_ours(p) ? process_end(p, (struct mps_time){ 0 }, until_of(timeout)) : -ECHILD;
}
