/*
 * The socket on which all programs may tell how they are (NOTIFY_SOCKET), and what becomes of what they say.
 *
 * Its name is abstract, so that programs of other users and in other roots reach it, nobody can take it away, and there
 * is nothing to be removed at the end. Anyone may write to it, so the kernel says who does: the mark of lineage tells the
 * instance, and since that mark can be forged, the parents of the sender must lead to a process of ours.
 *
 * A message is taken out of the socket when it has been acted upon and written down: who follows a supervisor that was
 * killed in between reads it again. That also ends the wait of sd_notify_barrier(3), whose descriptor is let go then.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "proc/tag.h"
#include "proc/tree.h"
#include "sup/said.h"
#include "sup/sup_uv.h"

enum {
	TURN_MAX = 256, /* messages that are read before others have their turn */
	LISTEN_MAX = 4096,
	DEPTH_MAX = 256,   /* parents of a sender that are looked at */
	GEN_MASK = 0x3fff, /* the part of gen that a tag has */
};

struct notify {
	struct sup *sup;
	uv_poll_t poll;
	int fd;
	char *name; /* as NOTIFY_SOCKET has it; owned */
	uint64_t strangers;
};

/* ---------------------------------------------------------------------------------------------- what it has said */

static struct said *said_of(struct unit *u)
{
	if (u->said == NULL)
		u->said = xcalloc(1, sizeof(*u->said));
	return u->said;
}

void said_free(struct said *said)
{
	if (said == NULL)
		return;
	free(said->status);
	free(said);
}

void said_forget(struct unit *u)
{
	struct said *said = u->said;

	if (said == NULL)
		return;
	free(TAKE_PTR(said->status));
	said->stopping = said->reloading = false;
	takeover_save_said(u);
}

void said_encode(const struct said *said, struct buf *to)
{
	if (said->stopping)
		buf_adds(to, "STOPPING=1\n");
	if (said->reloading)
		buf_adds(to, "RELOADING=1\n");
	if (said->status != NULL)
		buf_addf(to, "STATUS=%s\n", said->status);
}

static void note_status(struct said *said, const struct notify_item *item)
{
	struct buf clean = BUF_INIT;

	free(said->status);
	utf8_add_clean(&clean, item->text, item->size);
	said->status = xbuf_take(&clean);
	if (said->status[0] == '\0')
		free(TAKE_PTR(said->status));
}

/* What is only remembered; true where that was all. */
static bool note(struct said *said, const struct notify_item *item)
{
	switch (item->key) {
	case NOTIFY_STATUS:
		note_status(said, item);
		return true;
	case NOTIFY_STOPPING:
		said->stopping = true;
		return true;
	case NOTIFY_RELOADING:
		said->reloading = true;
		return true;
	case NOTIFY_MAINPID:
	case NOTIFY_READY:
	case NOTIFY_WATCHDOG:
	case NOTIFY_EXTEND_TIMEOUT_USEC:
	case NOTIFY_START:
	case NOTIFY_STOP:
	case NOTIFY_RESTART:
	case NOTIFY_KILL:
	case N_NOTIFY_KEYS:
		break;
	}
	return false;
}

void said_restore(struct unit *u, const char *p, size_t n)
{
	struct notify_item items[NOTIFY_ITEMS_MAX];
	unsigned bad;
	int n_items = notify_parse(p, n, items, &bad);

	for (int i = 0; i < n_items; i++)
		note(said_of(u), &items[i]);
}

/* ------------------------------------------------------------------------------------------------ who has said it */

/* Whether the sender descends from a process of u's: 2 = from the main process, 1 = an orphan's with u's mark, 0 = no. */
static int lineage(const struct unit *u, pid_t pid, uint64_t tag)
{
	struct proc_stat st;

	for (int i = 0; i < DEPTH_MAX && pid > 0; i++, pid = st.ppid) {
		if (pid == u->svc.pid)
			return 2;
		if (proc_stat_read(pid, &st) < 0)
			return 0;
		if (st.ppid == u->sup->keeper_pid)
			return tag_get(pid) == tag;
	}
	return 0;
}

static struct unit *unit_of_tag(const struct sup *s, uint64_t tag)
{
	uint32_t keeper, instance, gen;
	struct unit *u;

	if (!tag_parse(tag, &keeper, &instance, &gen) || keeper != s->keeper_id ||
	    instance >= s->n_ids)
		return NULL;
	u = s->by_id[instance];
	return u != NULL && gen == (u->svc.gen & GEN_MASK) ? u : NULL;
}

static bool is_of_unit(struct unit *u, pid_t pid)
{
	uint64_t tag = tag_get(pid);

	return unit_of_tag(u->sup, tag) == u && lineage(u, pid, tag) > 0;
}

/* ------------------------------------------------------------------------------------------------- what it asks for */

/* What is counted is told when it begins, and then ever more rarely. */
static bool is_worth_a_line(uint64_t n)
{
	return (n & (n - 1)) == 0;
}

static void complain(struct unit *u, uint64_t n, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void complain(struct unit *u, uint64_t n, const char *fmt, ...)
{
	AUTO_BUF b = BUF_INIT;
	va_list ap;

	if (!is_worth_a_line(n))
		return;
	va_start(ap, fmt);
	buf_addv(&b, fmt, ap);
	va_end(ap);
	if (!b.failed)
		activity_log(&u->sup->log, SVC_LOG_WARN, "%s %s (%" PRIu64 " so far)", u->svc.name,
			     b.p, n);
}

static bool may(const struct unit *u, const struct unit *target)
{
	switch (u->svc.conf->control) {
	case CONF_CONTROL_OFF:
	case CONF_CONTROL_NOTIFY:
		return false;
	case CONF_CONTROL_SELF:
		return target == u;
	case CONF_CONTROL_GROUP:
		return strcmp(u->svc.conf->group, target->svc.conf->group) == 0;
	case CONF_CONTROL_ALL:
		return true;
	}
	return false;
}

struct targets {
	struct unit **list;
	size_t n;
};

static void add_target(struct svc *svc, void *user)
{
	struct targets *t = user;

	if ((t->n & (t->n - 1)) == 0)
		t->list = xrealloc(t->list, (t->n > 0 ? 2 * t->n : 1) * sizeof(struct unit *));
	t->list[t->n++] = svc->user;
}

/* "1" is the program itself. */
static long find_targets(struct unit *u, const char *name, struct targets *t, struct err *err)
{
	if (strcmp(name, "1") != 0)
		return order_find(u->sup->index, name, add_target, t, err);
	add_target(&u->svc, t);
	return 1;
}

static bool may_all(const struct unit *u, const struct targets *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (!may(u, t->list[i]))
			return false;
	return true;
}

static void do_command(struct unit *u, enum notify_key key, const char *name,
		       const struct targets *t)
{
	static const enum svc_event events[N_NOTIFY_KEYS] = {
		[NOTIFY_START] = SVC_EV_START,
		[NOTIFY_STOP] = SVC_EV_STOP,
		[NOTIFY_RESTART] = SVC_EV_RESTART,
		[NOTIFY_KILL] = SVC_EV_KILL,
	};
	bool starts = key == NOTIFY_START || key == NOTIFY_RESTART;

	if (starts && u->sup->phase != SUP_RUNNING)
		return; /* all is being stopped */
	activity_log(&u->sup->log, SVC_LOG_INFO, "%s asks for %s=%s", u->svc.name,
		     notify_key_name(key), name);
	for (size_t i = 0; i < t->n; i++)
		unit_event(t->list[i], events[key],
			   &(struct svc_arg){ .by_itself = t->list[i] == u });
}

static void on_command(struct unit *u, const struct notify_item *item, bool sure)
{
	AUTO_FREE char *name = xstrndup(item->text, item->size);
	struct targets t = { 0 };
	struct err err = ERR_INIT;
	struct said *said = u->said;

	if (find_targets(u, name, &t, &err) < 0)
		complain(u, ++said->bad, "asks for %s=%s: %s", notify_key_name(item->key), name,
			 err.text);
	else if (!sure || !may_all(u, &t))
		complain(u, ++said->denied, "may not ask for %s=%s (control)",
			 notify_key_name(item->key), name);
	else
		do_command(u, item->key, name, &t);
	free(t.list);
}

/* ------------------------------------------------------------------------------------------------------ a message */

static void on_main_pid(struct unit *u, pid_t pid)
{
	if (is_of_unit(u, pid))
		unit_name_main(u, pid);
	else
		complain(u, ++u->said->bad, "says MAINPID=%d, which is none of its own", pid);
}

static void on_item(struct unit *u, const struct notify_item *item, bool sure)
{
	const struct svc_arg longer = { .span = item->number };

	if (note(u->said, item))
		return;
	if (item->key == NOTIFY_MAINPID) {
		on_main_pid(u, (pid_t)item->number);
	} else if (item->key == NOTIFY_READY) {
		u->said->reloading = false;
		unit_event(u, SVC_EV_READY, NULL);
	} else if (item->key == NOTIFY_WATCHDOG) {
		unit_event(u, SVC_EV_ALIVE, NULL);
	} else if (item->key == NOTIFY_EXTEND_TIMEOUT_USEC) {
		unit_event(u, SVC_EV_EXTEND, &longer);
	} else {
		on_command(u, item, sure);
	}
}

/* sd_notify_barrier(3) asks only for being read. */
static bool is_barrier(const char *p, size_t n)
{
	static const char barrier[] = "BARRIER=1";

	return n == sizeof(barrier) - 1 && memcmp(p, barrier, n) == 0;
}

static bool is_too_much(struct unit *u)
{
	struct said *said = u->said;

	said->messages++;
	if (notify_allows(&said->rate, mps_now().ns))
		return false;
	complain(u, ++said->dropped, "says more than %d messages a second: the rest is dropped",
		 NOTIFY_RATE);
	return true;
}

void said_message(struct unit *u, const char *p, size_t n, bool is_cut, bool sure)
{
	struct notify_item items[NOTIFY_ITEMS_MAX];
	struct said *said = said_of(u);
	unsigned bad = 0;
	int n_items;

	if (is_barrier(p, n) || is_too_much(u))
		return;
	n_items = is_cut ? -EBADMSG : notify_parse(p, n, items, &bad);
	if (u->svc.conf->control == CONF_CONTROL_OFF) {
		complain(u, ++said->denied, "says something (control=off)");
		return;
	}
	if (n_items < 0 || bad > 0) {
		said->bad += n_items < 0 ? 1 : bad;
		complain(u, said->bad, "says what makes no sense");
	}
	for (int i = 0; i < n_items; i++)
		on_item(u, &items[i], sure);
	takeover_save_said(u);
}

/* ------------------------------------------------------------------------------------------------------ the socket */

static void on_stranger(struct notify *n, const struct ucred *who)
{
	n->strangers++;
	if (is_worth_a_line(n->strangers))
		activity_log(&n->sup->log, SVC_LOG_WARN,
			     "a message of pid %d (uid %u), which is of no program, was dropped "
			     "(%" PRIu64 " so far)",
			     who->pid, who->uid, n->strangers);
}

static void on_message(struct notify *n, const struct ucred *who, const char *p, size_t size,
		       bool is_cut)
{
	uint64_t tag = who->pid > 0 ? tag_get(who->pid) : 0;
	struct unit *u = unit_of_tag(n->sup, tag);
	int kinship;

	if (u == NULL) {
		on_stranger(n, who);
		return;
	}
	kinship = lineage(u, who->pid, tag);
	if (kinship == 0)
		on_stranger(n, who);
	else
		said_message(u, p, size, is_cut, kinship == 2);
}

/* The next message stays where it is. Its length, or -errno. */
static ssize_t peek(int fd, char *p, size_t size, struct ucred *ret_who, bool *ret_cut)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = { p, size };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
			memcpy(ret_who, CMSG_DATA(c), sizeof(*ret_who));
	*ret_cut = msg.msg_flags & MSG_TRUNC;
	return n;
}

static void read_some(struct notify *n, int max)
{
	static char in[NOTIFY_MSG_MAX + 1];

	for (int i = 0; i < max; i++) {
		struct ucred who = { 0 };
		bool is_cut = false;
		ssize_t size = peek(n->fd, in, sizeof(in), &who, &is_cut);

		if (size == -EINTR)
			continue;
		if (size < 0)
			return;
		on_message(n, &who, in, (size_t)size, is_cut);
		while (recv(n->fd, NULL, 0, MSG_DONTWAIT) < 0 && errno == EINTR)
			;
	}
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	read_some(poll->data, TURN_MAX);
}

void notify_listen(struct sup *s)
{
	if (s->notify != NULL)
		read_some(s->notify, LISTEN_MAX);
}

/* Nobody else can have taken a name with a random number in it. */
static int bind_new(const struct sup *s, int *ret_fd)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int on = 1, length;
	uint64_t id;

	if (fd < 0)
		return -errno;
	if (getrandom(&id, sizeof(id), GRND_NONBLOCK) != sizeof(id))
		id = (uint64_t)mps_now().ns;
	length = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "mpsup/%s/%016" PRIx64,
			  s->options->name, id);
	if (length >= (int)sizeof(a.sun_path) - 1)
		return -ENAMETOOLONG;
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&a,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static char *name_of(int fd)
{
	struct sockaddr_un a = { 0 };
	socklen_t size = sizeof(a);

	if (getsockname(fd, (struct sockaddr *)&a, &size) < 0)
		return xstrdup("");
	return xasprintf("@%.*s", (int)(size - offsetof(struct sockaddr_un, sun_path) - 1),
			 a.sun_path + 1);
}

int notify_open(struct sup *s, struct err *err)
{
	struct notify *n;
	int fd = TAKE_FD(s->kept_notify), r = 0;

	if (fd < 0)
		r = bind_new(s, &fd);
	if (r < 0)
		return err_set(err, r, "socket for what programs say: %s", strerror(-r));
	n = xcalloc(1, sizeof(*n));
	n->sup = s;
	n->fd = fd;
	n->name = name_of(fd);
	r = uv_poll_init(&s->loop, &n->poll, fd);
	if (r < 0) {
		close(fd);
		free(n->name);
		free(n);
		return err_set(err, r, "socket for what programs say: %s", strerror(-r));
	}
	n->poll.data = n;
	s->notify = n;
	s->base.notify = n->name;
	uv_poll_start(&n->poll, UV_READABLE, on_readable);
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct notify *n = handle->data;

	free(n->name);
	free(n);
}

void notify_close(struct sup *s)
{
	struct notify *n = TAKE_PTR(s->notify);

	if (n == NULL)
		return;
	s->base.notify = NULL;
	uv_close((uv_handle_t *)&n->poll, on_closed);
	fd_close(&n->fd);
}

int notify_fd(const struct sup *s)
{
	return s->notify != NULL ? s->notify->fd : -1;
}

uint64_t notify_strangers(const struct sup *s)
{
	return s->notify != NULL ? s->notify->strangers : 0;
}
