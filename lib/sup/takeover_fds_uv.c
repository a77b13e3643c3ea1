/*
 * The descriptors that one supervisor leaves to the next but those of units: their list, which goes with them, and
 * finding them again by it. The list is written by takeover_save_uv.c, and read for takeover_uv.c.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/wire.h"
#include "base/xalloc.h"
#include "sup/said.h"
#include "sup/takeover_uv.h"

void takeover_look_around(struct sup_heritage *h)
{
	h->stderr_fd = fd_set_cloexec(STDERR_FD, true) == 0 ? STDERR_FD : -1;
	h->state.fd = fd_set_cloexec(STATE_FD, true) == 0 ? STATE_FD : -1;
}

/* Of the memory of the logs, in the order of sup->kept_logs. */
static const char *const log_names[] = { "logs", "logs-out", "logs-in" };

static void list_fd(struct takeover_fds *l, int fd, const char *what, const char *address)
{
	AUTO_FREE char *name = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	name = xasprintf("%ju %d %s %s", (uintmax_t)st.st_ino, fcntl(fd, F_GETFL) & O_ACCMODE, what,
			 address);
	l->fds = xrealloc(l->fds, (l->n + 1) * sizeof(int));
	l->fds[l->n++] = fd;
	wire_put_str(&l->names, name);
}

static void list_sockets(struct takeover_fds *l, const struct socket_of *o)
{
	for (; o != NULL; o = o->next)
		list_fd(l, o->fd, "fcgi", o->address);
}

/* While a reload is at work both are needed: whoever follows goes on with it. */
struct takeover_fds takeover_list_fds(struct sup *s)
{
	const int logs[] = { s->logs.memfd, s->logs.mid[0], s->logs.mid[1] };
	struct takeover_fds l = { .names = BUF_INIT };

	for (size_t i = 0; i < ARRAY_SIZE(logs); i++)
		list_fd(&l, logs[i], log_names[i], "");
	list_fd(&l, s->kept_listener >= 0 ? s->kept_listener : control_listener(s), "control", "");
	list_fd(&l, s->kept_notify >= 0 ? s->kept_notify : notify_fd(s), "notify", "");
	list_sockets(&l, s->sockets);
	list_sockets(&l, reload_old_sockets(s));
	if (l.names.failed)
		xalloc_failed();
	return l;
}

void takeover_fds_fini(struct takeover_fds *l)
{
	free(l->fds);
	buf_fini(&l->names);
}

/*
 * A descriptor that was handed down, by its inode, since the list and the descriptors are not always of the same moment;
 * and by its mode, which tells the two ends of a pipe apart.
 */
static int find_fd(const struct sup *s, uintmax_t ino, long mode)
{
	struct stat st;

	for (size_t i = 0; i < s->n_handed; i++)
		if (fstat(s->handed[i], &st) == 0 && st.st_ino == ino &&
		    (fcntl(s->handed[i], F_GETFL) & O_ACCMODE) == mode)
			return s->handed[i];
	return -1;
}

/* What follows the numbers; NULL = no such name. */
static const char *parse_name(const char *name, uintmax_t *ret_ino, long *ret_mode)
{
	char *end;

	*ret_ino = strtoumax(name, &end, 10);
	*ret_mode = strtol(end, &end, 10);
	return *end == ' ' ? end + 1 : NULL;
}

void takeover_take_fds(struct sup *s, struct wire *names)
{
	const char *name;

	while (names->n > 0 && (name = wire_str(names)) != NULL) {
		uintmax_t ino;
		long mode;
		const char *what = parse_name(name, &ino, &mode);
		int fd = what != NULL ? find_fd(s, ino, mode) : -1;

		if (fd < 0)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(log_names); i++)
			if (strncmp(what, log_names[i], strlen(log_names[i])) == 0 &&
			    what[strlen(log_names[i])] == ' ')
				s->kept_logs[i] = fd;
		if (strcmp(what, "control ") == 0)
			s->kept_listener = fd;
		else if (strcmp(what, "notify ") == 0)
			s->kept_notify = fd;
		else if (strncmp(what, "fcgi ", 5) == 0)
			sockets_add(&s->sockets, what + 5, fd);
	}
}

static bool is_known_fd(const struct sup *s, int fd)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->kept_logs); i++)
		if (fd == s->kept_logs[i])
			return true;
	for (const struct socket_of *o = s->sockets; o != NULL; o = o->next)
		if (fd == o->fd)
			return true;
	return fd == s->kept_listener || fd == s->kept_notify;
}

void takeover_close_unknown(struct sup *s)
{
	for (size_t i = 0; i < s->n_handed; i++)
		if (!is_known_fd(s, s->handed[i]))
			close(s->handed[i]);
	free(TAKE_PTR(s->handed));
	s->n_handed = 0;
}
