/*
 * Pipes between programs. See pipes_uv.h; lib/conf/pipes.c tells which there are. At the keeper each has a number of its
 * own, as a service has, under which nothing is ever started.
 */
#include "sup/pipes_uv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/xalloc.h"
#include "sup/method.h"

struct pipe {
	UT_hash_handle hh;    /* by name */
	UT_hash_handle hh_id; /* by number */
	char *name;
	const struct conf_pipe *conf; /* in force; NULL = there is no such pipe any more */
	enum conf_pipe_mode mode;     /* of the ends that there are */
	uint32_t id, gen; /* its number at the keeper; gen is kept for who has it next */
	int ends[2];	  /* by enum conf_side; -1 = not made, or let go */
	bool is_kept;	  /* the keeper has the ends that we have */
	bool begun[2];	  /* since it was made one of this side was to be started */
	size_t active[2]; /* processes that have not ended for good */
};

static struct pipe *find(const struct sup *s, const char *name)
{
	struct pipe *p;

	HASH_FIND_STR(s->pipes, name, p);
	return p;
}

/* ------------------------------------------------------------------------------------------------- keeping */

/* No program is called so: a name has no blank. */
static char *record_name(const char *name)
{
	return xasprintf("pipe %s", name);
}

static void save(struct sup *s, const struct pipe *p)
{
	AUTO_FREE char *name = record_name(p->name);
	const struct svc_record r = {
		.name = svc_name_hash(name),
		.gen = p->gen,
		.flags = (uint8_t)(p->begun[CONF_FROM] | p->begun[CONF_TO] << 1),
	};

	if (s->state.head != NULL)
		state_put(&s->state, p->id, &r);
}

/*
 * Two descriptors or none: in the place of an end that is let go stands one that is no end of anything. Where they cannot
 * be sent for lack of others, it is better that the keeper has none than one that was let go. 0 or -errno.
 */
static int keep(struct sup *s, struct pipe *p)
{
	const struct keeper_message m = { .type = KEEPER_KEEP, .instance = p->id };
	const int none = s->state.fd;
	const int fds[2] = { p->ends[0] >= 0 ? p->ends[0] : none,
			     p->ends[1] >= 0 ? p->ends[1] : none };
	int r;

	save(s, p);
	r = keeper_link_send(s, &m, NULL, fds, p->ends[0] >= 0 || p->ends[1] >= 0 ? 2 : 0);
	p->is_kept = r == 0;
	if (r < 0)
		keeper_link_send(s, &m, NULL, NULL, 0);
	return r;
}

static bool is_end(int fd, enum conf_pipe_mode mode)
{
	struct stat st;

	return fstat(fd, &st) == 0 &&
	       (mode == CONF_PIPE_STREAM ? S_ISFIFO(st.st_mode) : S_ISSOCK(st.st_mode));
}

static struct pipe *find_by_id(const struct sup *s, uint32_t id)
{
	struct pipe *p;

	HASH_FIND(hh_id, s->pipes_by_id, &id, sizeof(id), p);
	return p;
}

bool pipes_has_id(const struct sup *s, uint32_t id)
{
	return find_by_id(s, id) != NULL;
}

bool pipes_adopt(struct sup *s, uint32_t id, int *fds, size_t n)
{
	struct pipe *p = find_by_id(s, id);

	if (p == NULL)
		return false;
	for (size_t i = 0; i < 2 && n == 2; i++)
		if (is_end(fds[i], p->mode))
			p->ends[i] = TAKE_FD(fds[i]);
	p->is_kept = true;
	return true;
}

/* ------------------------------------------------------------------------------------------------- letting go */

/* An end is held while one of its side may come back, and before the first has come. */
static bool is_wanted(const struct sup *s, const struct pipe *p, enum conf_side side)
{
	if (p->active[side] > 0)
		return true;
	return p->conf != NULL && (p->conf->on_end == CONF_END_KEEP || !p->begun[side] ||
				   reload_brings(s, p->name, side));
}

/*
 * Nobody reads at this end any more. A socket that is closed with something in it tells the other end of a broken
 * connection, not that its reader has gone (unix(7), ECONNRESET).
 */
static void let_go(struct pipe *p, enum conf_side side)
{
	char nothing[4096];

	if (p->ends[side] >= 0 && p->mode != CONF_PIPE_STREAM) {
		shutdown(p->ends[side], SHUT_RD);
		while (recv(p->ends[side], nothing, sizeof(nothing), MSG_DONTWAIT) > 0)
			;
	}
	fd_close(&p->ends[side]);
}

static void check(struct sup *s, struct pipe *p)
{
	bool changed = false;

	for (int side = CONF_FROM; side <= CONF_TO; side++)
		if (p->ends[side] >= 0 && !is_wanted(s, p, side)) {
			let_go(p, side);
			changed = true;
			activity_log(&s->log, SVC_LOG_DEBG, "pipe %s: the last %s has ended",
				     p->name, side == CONF_FROM ? "producer" : "consumer");
		}
	if (changed)
		keep(s, p);
}

/* Also one that will turn out not to be there to be started. */
static void begin(struct sup *s, struct pipe *p, enum conf_side side)
{
	p->active[side]++;
	if (p->begun[side] || (p->ends[0] < 0 && p->ends[1] < 0))
		return;
	p->begun[side] = true;
	save(s, p);
}

void pipes_enter(struct sup *s, const struct conf_proc *conf)
{
	for (size_t i = 0; i < conf->n_wires; i++)
		begin(s, find(s, conf->wires[i].pipe), conf->wires[i].side);
}

void pipes_leave(struct sup *s, const struct conf_proc *conf)
{
	for (size_t i = 0; i < conf->n_wires; i++) {
		struct pipe *p = find(s, conf->wires[i].pipe);

		p->active[conf->wires[i].side]--;
		check(s, p);
	}
}

void pipes_settle(struct sup *s)
{
	for (struct pipe *p = s->pipes; p != NULL; p = p->hh.next)
		check(s, p);
}

/* --------------------------------------------------------------------------------------------------- making */

static void refuse_size(struct sup *s, const struct pipe *p, int64_t got, const char *why)
{
	activity_log(&s->log, SVC_LOG_WARN,
		     "pipe %s: size %" PRId64 " is refused (%s): it has %" PRId64, p->name,
		     p->conf->size, why, got);
}

static void resize_stream(struct sup *s, const struct pipe *p, int fd)
{
	static const char limit[] = "/proc/sys/fs/pipe-max-size";
	AUTO_FREE char *text = NULL;
	size_t n;
	int error;

	if (fcntl(fd, F_SETPIPE_SZ, (int)p->conf->size) >= 0)
		return;
	error = errno;
	if (error == EPERM && fd_read_file(limit, 64, &text, &n) == 0)
		fcntl(fd, F_SETPIPE_SZ, atoi(text));
	refuse_size(s, p, fcntl(fd, F_GETPIPE_SZ),
		    error == EPERM   ? limit
		    : error == EBUSY ? "it holds more than that now"
				     : strerror(error));
}

static int send_buffer(int fd)
{
	int size = 0;
	socklen_t n = sizeof(size);

	return getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &n) == 0 ? size : -1;
}

/* The kernel doubles it, for what it has to keep beside the bytes (socket(7)). */
static void resize_socket(struct sup *s, const struct pipe *p, int fd)
{
	int size = (int)p->conf->size;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (send_buffer(fd) / 2 < size / 2)
		refuse_size(s, p, send_buffer(fd), "/proc/sys/net/core/wmem_max");
}

static void resize(struct sup *s, const struct pipe *p)
{
	if (p->conf == NULL || p->conf->size <= 0)
		return;
	if (p->mode == CONF_PIPE_STREAM && (p->ends[0] >= 0 || p->ends[1] >= 0))
		resize_stream(s, p, p->ends[0] >= 0 ? p->ends[0] : p->ends[1]);
	else if (p->ends[CONF_FROM] >= 0)
		resize_socket(s, p, p->ends[CONF_FROM]);
	if (p->mode == CONF_PIPE_DUPLEX && p->ends[CONF_TO] >= 0)
		resize_socket(s, p, p->ends[CONF_TO]);
}

static int make_ends(enum conf_pipe_mode mode, int ends[2])
{
	int stream[2];

	switch (mode) {
	case CONF_PIPE_STREAM:
		if (pipe2(stream, O_CLOEXEC) < 0)
			return -errno;
		/* A program of another user may open /dev/stdin; nobody else gets at it by name. */
		fchmod(stream[0], 0666);
		ends[CONF_FROM] = stream[1];
		ends[CONF_TO] = stream[0];
		return 0;
	case CONF_PIPE_PACKET:
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
			return -errno;
		shutdown(ends[CONF_TO], SHUT_WR); /* and so nothing can be read at the other */
		return 0;
	case CONF_PIPE_DUPLEX:
		return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : 0;
	}
	return -EINVAL;
}

/* Who still has an end of the one before sees that its other end is gone. */
static int make(struct sup *s, struct pipe *p, enum conf_pipe_mode mode)
{
	int ends[2], r = make_ends(mode, ends);

	if (r < 0)
		return r;
	for (int side = CONF_FROM; side <= CONF_TO; side++) {
		let_go(p, side);
		p->ends[side] = ends[side];
		p->begun[side] = p->active[side] > 0;
	}
	p->mode = mode;
	resize(s, p);
	return 0;
}

/* Either end of a stream leads to both, with all that is in it. -1 with errno. */
static int open_again(int fd, enum conf_side side)
{
	AUTO_FREE char *path = xasprintf("/proc/self/fd/%d", fd);

	return open(path, (side == CONF_FROM ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
}

static int ensure(struct sup *s, struct pipe *p, const struct conf_wire *wire)
{
	if (p->mode == wire->mode && p->ends[wire->side] >= 0)
		return 0;
	if (p->mode == wire->mode && p->mode == CONF_PIPE_STREAM && p->ends[!wire->side] >= 0)
		p->ends[wire->side] = open_again(p->ends[!wire->side], wire->side);
	if (p->mode == wire->mode && p->ends[wire->side] >= 0)
		return 0;
	return make(s, p, wire->mode);
}

/*
 * A stream is opened anew for each process, so that the O_NONBLOCK of one is not that of the others. Of a socket there is
 * only one for all; an earlier process may have left it so.
 */
static int copy_end(const struct pipe *p, enum conf_side side)
{
	int fd = p->mode == CONF_PIPE_STREAM ? open_again(p->ends[side], side) : -1;

	if (fd >= 0)
		return fd;
	fd_set_nonblock(p->ends[side], false);
	fd = fcntl(p->ends[side], F_DUPFD_CLOEXEC, 0);
	return fd >= 0 ? fd : -errno;
}

int pipes_end(struct unit *u, const struct conf_wire *wire, struct err *err)
{
	struct pipe *p = find(u->sup, wire->pipe);
	int before = p->ends[wire->side], fd;
	int r = ensure(u->sup, p, wire);

	if (r == 0 && (!p->is_kept || p->ends[wire->side] != before))
		r = keep(u->sup, p);
	fd = r == 0 ? copy_end(p, wire->side) : r;
	return fd >= 0 ? fd
		       : err_set(err, fd, "pipe %s: %s (%s:%d)", p->name, strerror(-fd),
				 wire->place.file, wire->place.line);
}

/* ----------------------------------------------------------------------------------------------------- all */

static struct pipe *add(struct sup *s, const struct conf_pipe *conf, uint32_t id)
{
	struct pipe *p = xcalloc(1, sizeof(*p));

	p->name = xstrdup(conf->name);
	p->mode = conf->mode;
	p->ends[0] = p->ends[1] = -1;
	p->id = id;
	if (id == 0)
		p->id = units_take_id(s, &p->gen);
	HASH_ADD_KEYPTR(hh, s->pipes, p->name, strlen(p->name), p);
	HASH_ADD(hh_id, s->pipes_by_id, id, sizeof(p->id), p);
	return p;
}

static void forget(struct sup *s, struct pipe *p)
{
	HASH_DEL(s->pipes, p);
	HASH_DELETE(hh_id, s->pipes_by_id, p);
	fd_close(&p->ends[0]);
	fd_close(&p->ends[1]);
	free(p->name);
	free(p);
}

/* One that was never made has no record, and nothing to go on with. */
static void restore(struct sup *s, const struct conf_pipe *conf, const struct by_name *known,
		    size_t n)
{
	AUTO_FREE char *name = record_name(conf->name);
	uint32_t id = takeover_find(known, n, name);
	struct svc_record r;
	struct pipe *p;

	if (id == 0)
		return;
	state_get(&s->state, id, &r);
	p = add(s, conf, id);
	p->gen = r.gen;
	p->begun[CONF_FROM] = r.flags & 1;
	p->begun[CONF_TO] = r.flags & 2;
}

void pipes_restore(struct sup *s, const struct conf *conf)
{
	AUTO_FREE struct by_name *known = NULL;
	size_t n = 0;

	if (s->state.head != NULL)
		known = takeover_index(s, &n);
	for (size_t i = 0; known != NULL && i < conf->n_pipes; i++)
		if (find(s, conf->pipes[i].name) == NULL)
			restore(s, &conf->pipes[i], known, n);
}

int pipes_make(struct sup *s, struct err *err)
{
	pipes_restore(s, s->conf);
	if (!units_have_room(s, pipes_count_new(s, s->conf)))
		return err_set(err, -EPROTO, "the state is damaged: it has no room for pipes");
	pipes_use_conf(s);
	for (size_t i = 0; i < s->n_units; i++)
		if (!s->units[i]->ended)
			pipes_enter(s, s->units[i]->svc.conf);
	return 0;
}

void pipes_use_conf(struct sup *s)
{
	for (struct pipe *p = s->pipes; p != NULL; p = p->hh.next)
		p->conf = NULL;
	for (size_t i = 0; i < s->conf->n_pipes; i++) {
		const struct conf_pipe *conf = &s->conf->pipes[i];
		struct pipe *p = find(s, conf->name);

		if (p == NULL)
			p = add(s, conf, 0);
		p->conf = conf;
	}
}

void pipes_reconfigure(struct sup *s, const char *name)
{
	struct pipe *p = find(s, name);

	resize(s, p);
	check(s, p);
}

size_t pipes_count_new(const struct sup *s, const struct conf *conf)
{
	size_t n = 0;

	for (size_t i = 0; i < conf->n_pipes; i++)
		n += find(s, conf->pipes[i].name) == NULL;
	return n;
}

void pipes_arrange(struct sup *s)
{
	struct pipe *p, *tmp;

	HASH_ITER (hh, s->pipes, p, tmp) {
		if (p->conf != NULL)
			continue;
		units_free_id(s, p->id, p->gen);
		forget(s, p);
	}
}

void pipes_free(struct sup *s)
{
	struct pipe *p, *tmp;

	HASH_ITER (hh, s->pipes, p, tmp)
		forget(s, p);
}

/* ------------------------------------------------------------------------------------------------- the method */

static const char *state_of(const struct pipe *p)
{
	static const char *const words[2][2] = { { "closed", "ended" }, { "broken", "open" } };

	return words[p->ends[CONF_FROM] >= 0][p->ends[CONF_TO] >= 0];
}

/* Bytes that lie there for who reads at this fd. */
static json_t *waiting_at(int fd)
{
	int n;

	return fd >= 0 && ioctl(fd, FIONREAD, &n) == 0 ? json_integer(n) : json_null();
}

static json_t *waiting_in(const struct pipe *p)
{
	bool is_stream = p->mode == CONF_PIPE_STREAM;

	return waiting_at(is_stream && p->ends[CONF_TO] < 0 ? p->ends[CONF_FROM]
							    : p->ends[CONF_TO]);
}

static json_t *capacity_of(const struct pipe *p)
{
	int fd = p->ends[CONF_FROM] >= 0 ? p->ends[CONF_FROM] : p->ends[CONF_TO];
	int n = -1;

	if (fd >= 0)
		n = p->mode == CONF_PIPE_STREAM ? fcntl(fd, F_GETPIPE_SZ) : send_buffer(fd);
	return n >= 0 ? json_integer(n) : json_null();
}

static json_t *ends_of(const struct conf_pipe *conf, enum conf_side side)
{
	json_t *list = json_array();

	for (size_t i = 0; i < conf->n_ends[side]; i++)
		json_array_append_new(list, json_pack("{s:o, s:i}", "program",
						      method_text(conf->ends[side][i].program),
						      "fd", conf->ends[side][i].fd));
	return list;
}

static json_t *row_of(const struct pipe *p)
{
	const struct conf_pipe *c = p->conf;
	AUTO_FREE char *place =
		xasprintf("%s:%d", c->place.file != NULL ? c->place.file : "", c->place.line);

	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "name", p->name,
			 "variable", c->variable, "mode", conf_pipe_mode_word(c->mode), "on_end",
			 conf_on_end_word(c->on_end), "from", ends_of(c, CONF_FROM), "to",
			 ends_of(c, CONF_TO), "state", state_of(p), "waiting", waiting_in(p),
			 "waiting_back",
			 p->mode == CONF_PIPE_DUPLEX ? waiting_at(p->ends[CONF_FROM]) : json_null(),
			 "capacity", capacity_of(p), "config", method_text(place));
}

json_t *pipes_of(const struct sup *s, const struct conf_proc *conf)
{
	json_t *list = json_array();

	for (size_t i = 0; i < conf->n_wires; i++) {
		const struct conf_wire *w = &conf->wires[i];
		const struct pipe *p = find(s, w->pipe);
		json_t *row = p->conf != NULL ? row_of(p) : NULL;

		if (row == NULL) /* a reload is taking it away */
			continue;
		json_object_set_new(row, "side", json_string(w->side == CONF_FROM ? "from" : "to"));
		json_object_set_new(row, "fd", json_integer(w->fd));
		json_array_append_new(list, row);
	}
	return list;
}

static void produce_pipes(struct request *r)
{
	const struct conf *conf = r->sup->conf;
	size_t end = r->at + METHOD_ROWS < conf->n_pipes ? r->at + METHOD_ROWS : conf->n_pipes;
	bool more = end < conf->n_pipes;
	json_t *rows = json_array();

	for (; r->at < end; r->at++)
		json_array_append_new(rows, row_of(find(r->sup, conf->pipes[r->at].name)));
	request_answer_part(r, json_pack("{s:o}", "pipes", rows), more);
}

void method_pipes(struct request *r)
{
	r->produce = produce_pipes;
	r->produce(r);
}
