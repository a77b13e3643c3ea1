/*
 * The process that forks for others. Between two requests nothing of the last is left in it: no descriptor, no child.
 */
#include "proc/forkserver.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
	wire_put_u32(to, r->is_long);
}

int forkserver_decode(const void *p, size_t n, struct forkserver_request *ret)
{
	struct wire w = { p, n, false };
	struct forkserver_request r = { .tag = wire_u64(&w) };
	uint32_t is_long = wire_u32(&w);

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
	struct loaded *loaded;
	size_t n_loaded;
	char *in; /* KEEPER_MSG_MAX bytes */
	int fds[FORKSERVER_FDS_MAX];
	size_t n_fds;
	struct buf scratch;
};

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

static void write_failure(int fd, enum mps_step step, int error)
{
	const struct mps_failure failure = { (int32_t)step, error, "" };

	fd_write_all(fd, &failure, sizeof(failure));
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
static int start(struct forkserver *f, const struct forkserver_request *r, struct wire *w)
{
	struct mps_spawn s;
	size_t others = 1 + (size_t)r->is_long;
	int e = mps_spawn_decode(w, f->n_fds - others, &f->scratch, &s);

	if (e < 0)
		return e;
	if (has_flags(&s))
		return -EBADMSG;
	if (s.renew && is_stale(f))
		return -ESTALE;
	resolve(f, &s);
	s.tag = r->tag;
	if (s.symbol != NULL)
		s.function = mps_entry_find(s.path, s.symbol);
	/* What was loaded has set up what it needs; a program of its own shall not see that. */
	s.signals_are_default = s.symbol != NULL;
	e = mps_spawn_sibling(&s, f->fds[0]);
	if (e < 0)
		write_failure(f->fds[0], MPS_STEP_FORK, -e);
	return 0;
}

static int on_request(struct forkserver *f, size_t n, bool cut)
{
	struct forkserver_request r;
	struct wire w;
	size_t size;
	void *map = NULL;
	int e = forkserver_decode(f->in, n, &r);

	if (e < 0 || f->n_fds < 1 + (size_t)r.is_long)
		return -EBADMSG;
	if (cut) { /* our table was full: the kernel dropped descriptors */
		write_failure(f->fds[0], MPS_STEP_RECEIVE, EMFILE);
		return 0;
	}
	w = (struct wire){ r.rest, r.rest_size, false };
	if (r.is_long) {
		e = mps_unseal(f->fds[f->n_fds - 1], &map, &size);
		if (e < 0)
			return e;
		w = (struct wire){ map, size, false };
	}
	e = start(f, &r, &w);
	if (map != NULL)
		munmap(map, size);
	return e;
}

static int serve(struct forkserver *f)
{
	struct pollfd p = { .fd = f->sock, .events = POLLIN };
	int e = 0;

	while (e == 0 && (poll(&p, 1, -1) > 0 || errno == EINTR)) {
		bool cut;
		ssize_t n = fd_recv(f->sock, f->in, KEEPER_MSG_MAX, f->fds, FORKSERVER_FDS_MAX,
				    &f->n_fds, &cut);

		if (n == 0)
			return 0; /* nobody is there any more */
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n < 0)
			return 1;
		e = on_request(f, (size_t)n, cut);
		while (f->n_fds > 0)
			fd_close(&f->fds[--f->n_fds]);
	}
	return e == -ESTALE ? FORKSERVER_STALE : 2;
}

static void fini(struct forkserver *f)
{
	for (size_t i = 0; i < f->n_loaded; i++)
		free(f->loaded[i].path);
	free(f->loaded);
	free(f->in);
	buf_fini(&f->scratch);
}

int forkserver_run(char **argv, int sock)
{
	struct forkserver f = { .sock = sock };
	int status = 1;

	title_set("mpsup: forkserver %s", argv[0]);
	fd_set_cloexec(sock, true);
	f.in = malloc(KEEPER_MSG_MAX);
	if (f.in != NULL && preload(&f, argv + 1)) {
		say(&f, NULL);
		status = serve(&f);
	}
	fini(&f);
	return status;
}
