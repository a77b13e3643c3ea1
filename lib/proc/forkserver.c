/*
 * The process that forks for others. It reads no request itself: a copy of it waits for each, which is forked ahead.
 */
#include "proc/forkserver.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/strv.h"
#include "base/title.h"
#include "base/wire.h"
#include "proc/entry.h"
#include "proc/spawn.h"

/* ------------------------------------------------------------------------------------------------ requests */

void forkserver_encode(const struct forkserver_request *r, struct buf *to)
{
	wire_put_u64(to, r->tag);
	wire_put_u64(to, r->mark);
	wire_put_u32(to, r->is_long);
}

int forkserver_decode(const void *p, size_t n, struct forkserver_request *ret)
{
	struct wire w = { p, n, false };
	struct forkserver_request r = { .tag = wire_u64(&w) };
	uint32_t is_long;

	r.mark = wire_u64(&w);
	is_long = wire_u32(&w);
	r.is_long = is_long != 0;
	r.rest = w.p;
	r.rest_size = w.n;
	if (w.failed || is_long > 1 || r.is_long != (w.n == 0))
		return -EBADMSG;
	*ret = r;
	return 0;
}

/* ------------------------------------------------------------------------------------------------- preload */

/* What was loaded, as it was then. */
struct loaded {
	char *path;
	struct stat st;
};

struct forkserver {
	int sock;
	int spare;	     /* where one speaks, -1 = there is none */
	bool yields;	     /* see there */
	mps_entry *function; /* NULL: it is an object's */
	struct buf spare_title;
	struct loaded *loaded;
	size_t n_loaded;
	char *in; /* KEEPER_MSG_MAX bytes */
	int fds[FORKSERVER_FDS_MAX];
	size_t n_fds;
	void *map; /* of a request that is long */
	size_t map_size;
	struct buf scratch;
};

static void fini(struct forkserver *f)
{
	for (size_t i = 0; i < f->n_loaded; i++)
		free(f->loaded[i].path);
	free(f->loaded);
	free(f->in);
	buf_fini(&f->spare_title);
	buf_fini(&f->scratch);
}

static void say(struct forkserver *f, const char *failure)
{
	struct forkserver_word word = { .failed = failure != NULL };

	snprintf(word.text, sizeof(word.text), "%s", failure != NULL ? failure : "");
	while (send(f->sock, &word, sizeof(word), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* The file may be replaced while it is being loaded: what it was before counts, so that a doubt means "changed". */
static void note_file(struct forkserver *f, const char *object, void *handle,
		      const struct stat *before)
{
	struct loaded *l = &f->loaded[f->n_loaded];
	const struct link_map *map = NULL;

	if (before != NULL) {
		*l = (struct loaded){ strdup(object), *before };
	} else { /* a name that the loader has searched for */
		if (dlinfo(handle, RTLD_DI_LINKMAP, &map) < 0 || stat(map->l_name, &l->st) < 0)
			return;
		l->path = strdup(map->l_name);
	}
	f->n_loaded += l->path != NULL;
}

static bool preload(struct forkserver *f, char **objects)
{
	char why[SPAWN_TEXT_MAX];

	f->loaded = calloc(strv_length(objects) + 1, sizeof(*f->loaded));
	if (f->loaded == NULL)
		return false;
	for (; *objects != NULL; objects++) {
		struct stat st;
		bool there = strchr(*objects, '/') != NULL && stat(*objects, &st) == 0;
		void *handle = mps_entry_load(*objects, why, sizeof(why));

		if (handle == NULL) {
			AUTO_BUF text = BUF_INIT;

			buf_addf(&text, "preload %s: %s", *objects, why);
			say(f, text.failed ? "out of memory" : text.p);
			return false;
		}
		note_file(f, *objects, handle, there ? &st : NULL);
	}
	fflush(NULL); /* or each child would write it again */
	return true;
}

static bool is_stale(const struct forkserver *f)
{
	for (size_t i = 0; i < f->n_loaded; i++) {
		const struct stat *was = &f->loaded[i].st;
		struct stat st;

		if (stat(f->loaded[i].path, &st) < 0 || st.st_dev != was->st_dev ||
		    st.st_ino != was->st_ino || st.st_size != was->st_size ||
		    st.st_mtim.tv_sec != was->st_mtim.tv_sec ||
		    st.st_mtim.tv_nsec != was->st_mtim.tv_nsec)
			return true;
	}
	return false;
}

/* -------------------------------------------------------------------------------------------------- starts */

/* Where not even the pipe has come along, its end says that it is to be asked again. */
static void write_failure(const struct forkserver *f, enum mps_step step, int error)
{
	const struct mps_failure failure = { (int32_t)step, error, "" };

	if (f->n_fds > 0)
		fd_write_all(f->fds[0], &failure, sizeof(failure));
}

/* The table's indexes count from the first descriptor behind the pipe. */
static void resolve(const struct forkserver *f, const struct mps_spawn *s)
{
	struct mps_fd *fds = (struct mps_fd *)s->fds;

	for (size_t i = 0; i < s->n_fds; i++)
		fds[i].fd = f->fds[1 + fds[i].fd];
}

/* The child has our numbers only until we go on: it cannot open one again. */
static bool has_flags(const struct mps_spawn *s)
{
	for (size_t i = 0; i < s->n_fds; i++)
		if (s->fds[i].flags != 0)
			return true;
	return false;
}

/* 0, or -EBADMSG and the like: who says such things is not listened to any more. */
static int read_spawn(struct forkserver *f, const struct forkserver_request *r, struct wire *w,
		      struct mps_spawn *ret)
{
	size_t others = 1 + (size_t)r->is_long;
	int e = mps_spawn_decode(w, f->n_fds - others, &f->scratch, ret);

	if (e < 0)
		return e;
	if (has_flags(ret))
		return -EBADMSG;
	if (ret->renew && is_stale(f))
		return -ESTALE;
	resolve(f, ret);
	ret->tag = r->tag;
	ret->mark = r->mark;
	/* What was loaded has set up what it needs; a program of its own shall not see that. */
	ret->signals_are_default = ret->symbol != NULL;
	return 0;
}

/* What has come with a request. */
static void drop(struct forkserver *f)
{
	while (f->n_fds > 0)
		fd_close(&f->fds[--f->n_fds]);
	if (f->map != NULL)
		munmap(f->map, f->map_size);
	f->map = NULL;
}

/* The next request. 0 or as above; -EPIPE: nobody is there any more; -EMFILE: it came without all of its descriptors. */
static int take(struct forkserver *f, struct mps_spawn *ret)
{
	struct pollfd p = { .fd = f->sock, .events = POLLIN };
	struct forkserver_request r;
	struct wire w;
	bool cut;
	ssize_t n;
	int e;

	do {
		poll(&p, 1, -1);
		n = fd_recv(f->sock, f->in, KEEPER_MSG_MAX, f->fds, FORKSERVER_FDS_MAX, &f->n_fds,
			    &cut);
	} while (n == -EINTR || n == -EAGAIN);
	if (n <= 0)
		return n == 0 ? -EPIPE : (int)n;
	if (cut) /* our table was full: the kernel dropped descriptors */
		return -EMFILE;
	e = forkserver_decode(f->in, (size_t)n, &r);
	if (e < 0 || f->n_fds < 1 + (size_t)r.is_long)
		return -EBADMSG;
	w = (struct wire){ r.rest, r.rest_size, false };
	if (r.is_long) {
		e = mps_unseal(f->fds[f->n_fds - 1], KEEPER_SPAWN_MAX, &f->map, &f->map_size);
		if (e < 0)
			return e;
		w = (struct wire){ f->map, f->map_size, false };
	}
	return read_spawn(f, &r, &w, ret);
}

/* ------------------------------------------------------------------------------------------------- spares */

/*
 * A spare says that it is ready, and with what exit status we are to end, if we are. That it has taken a request, or is no
 * more, is told by the end of its pipe.
 */
enum { SPARE_READY = 0, GARBAGE_HEARD = 2 };

static int status_after(int error)
{
	return error == -ESTALE ? FORKSERVER_STALE : GARBAGE_HEARD;
}

static void speak(int tell, int word)
{
	unsigned char byte = (unsigned char)word;

	while (write(tell, &byte, 1) < 0 && errno == EINTR)
		;
}

/* That, or negative: it is gone. */
static int hear(struct forkserver *f)
{
	unsigned char byte;
	ssize_t n;

	do
		n = read(f->spare, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return byte;
	fd_close(&f->spare);
	return -1;
}

/*
 * Goes once through what a request needs, one that asks for nothing, so that the pages which that touches are the copy's
 * own before somebody waits for it.
 */
static void rehearse(struct forkserver *f)
{
	static char *none[] = { NULL };
	const struct mps_fd row = { 0, 0, 0 };
	const struct forkserver_request head = { 0 };
	struct mps_spawn s = { .path = "", .argv = none, .envp = none, .fds = &row, .n_fds = 1 };
	AUTO_BUF b = BUF_INIT;
	struct iovec iov;
	int ends[2], sock = f->sock;

	if (f->n_loaded > 0)
		mps_entry_find(f->loaded[0].path, "");
	forkserver_encode(&head, &b);
	mps_spawn_encode(&s, &b);
	iov = (struct iovec){ b.p, b.len };
	if (b.failed || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return;
	f->sock = ends[1];
	if (fd_send(ends[0], &iov, 1, ends, 2) == 0)
		take(f, &s);
	f->sock = sock;
	drop(f);
	close(ends[0]);
	close(ends[1]);
}

/* Whoever sends a spare a signal, which waits there like all others, does not mean what comes of it. */
static void forget_signals(void)
{
	const struct timespec at_once = { 0, 0 };
	sigset_t all;

	sigfillset(&all);
	while (sigtimedwait(&all, NULL, &at_once) > 0)
		;
}

/* To a starter that may have children whom it does not know of. */
static void say_spare(const struct forkserver *f, pid_t pid)
{
	const struct forkserver_spare word = { pid };

	while (send(f->sock, &word, sizeof(word), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
	       errno == EINTR)
		;
}

/*
 * The life of a copy that is made ahead, so that no start waits for a fork: it takes the next request itself, and becomes
 * what that asks for. Its end of the pipe goes with all else that it has no use for then.
 */
static _Noreturn void be_spare(struct forkserver *f, int tell, struct mps_birth *birth)
{
	struct mps_spawn s;
	int e;

	fd_close(&f->spare);
	if (f->function == NULL) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		title_put(f->spare_title.p);
	} else { /* and its parent may be a thread that ends */
		say_spare(f, getpid());
		mps_reset_signals();
	}
	if (f->yields)
		sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 });
	rehearse(f);
	speak(tell, SPARE_READY);
	e = take(f, &s);
	if (e == -EMFILE)
		write_failure(f, MPS_STEP_RECEIVE, EMFILE);
	else if (e < 0 && e != -EPIPE)
		speak(tell, status_after(e));
	if (e < 0)
		_exit(0);
	if (s.symbol != NULL)
		s.function = f->function != NULL ? f->function : mps_entry_find(s.path, s.symbol);
	forget_signals();
	birth->error_fd = f->fds[0];
	mps_child_run(&s, birth);
}

/* 0 when it is ready, or -errno. */
static int make_spare(struct forkserver *f)
{
	/* Asked here: to a spare that looks too late its parent is whoever has got the orphans of the one that is meant. */
	struct mps_birth birth = { .maker = getpid(), .parent = getppid(), .announces = true };
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	f->spare = ends[0];
	pid = mps_fork_sibling();
	if (pid == 0)
		be_spare(f, ends[1], &birth);
	close(ends[1]);
	if (pid > 0 && hear(f) == SPARE_READY)
		return 0;
	if (pid > 0 && f->function != NULL) /* it may have come to its end before it could */
		say_spare(f, pid);
	fd_close(&f->spare);
	return pid > 0 ? -EAGAIN : pid;
}

/* Waits for a word of the spare, or for `events`. False: nobody is there any more, and the spare has seen it too. */
static bool await(const struct forkserver *f, short events)
{
	struct pollfd p[] = { { .fd = f->sock, .events = events },
			      { .fd = f->spare, .events = POLLIN } };

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	return p[1].revents != 0 || !(p[0].revents & (POLLHUP | POLLERR));
}

/* Answers in place of the spare that there is not. 0, or an exit status. */
static int refuse(struct forkserver *f, int error)
{
	struct mps_spawn s;
	int e = take(f, &s);

	if (e == 0 || e == -EMFILE)
		write_failure(f, MPS_STEP_FORK, error);
	drop(f);
	return e == 0 || e == -EMFILE ? 0 : status_after(e);
}

static int serve(struct forkserver *f)
{
	for (;;) {
		int e = make_spare(f), word;

		if (e < 0) { /* once more when one is needed */
			if (!await(f, POLLIN))
				return 0;
			e = make_spare(f);
		}
		if (e < 0) {
			word = refuse(f, -e);
			if (word != 0)
				return word;
			continue;
		}
		if (!await(f, 0))
			return 0;
		word = hear(f);
		if (word >= 0)
			return word;
	}
}

/*
 * Who lets a spare go makes the next, which it shall not do on the processor of the one that somebody waits for: to this
 * policy the kernel gives no processor at once (sched(7)). No other that we were given is changed.
 */
static void yield_to_spares(struct forkserver *f)
{
	f->yields = sched_getscheduler(0) == SCHED_OTHER &&
		    sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 }) == 0;
}

int forkserver_run(char **argv, int sock)
{
	struct forkserver f = { .sock = sock, .spare = -1 };
	int status = 1;

	title_set("mpsup: forkserver %s", argv[0]);
	buf_addf(&f.spare_title, "mpsup: spare of forkserver %s", argv[0]);
	fd_set_cloexec(sock, true);
	f.in = malloc(KEEPER_MSG_MAX);
	if (f.in != NULL && !f.spare_title.failed && preload(&f, argv + 1)) {
		say(&f, NULL);
		yield_to_spares(&f);
		status = serve(&f);
	}
	fini(&f);
	return status;
}

int forkserver_serve(int sock, mps_entry *function)
{
	struct forkserver f = { .sock = sock, .spare = -1, .function = function };
	int status = 1;

	f.in = malloc(KEEPER_MSG_MAX);
	if (f.in != NULL) {
		yield_to_spares(&f);
		status = serve(&f);
	}
	fini(&f);
	return status;
}
